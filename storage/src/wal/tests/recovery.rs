//! Recovery: torn tails swept byte by byte, damage refused or repaired, the rewrite of the tail.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::rng::Rng;

use super::{
    super::{
        block::{BLOCK_HEADER_BYTES, BlockHeader},
        sim_fs::Faults,
        *,
    },
    support::*,
};

/// A file with a few blocks of two partitions: its bytes as they were before any seal, and the
/// positions where blocks start, with the end of the last at the back.
struct Image {
    bytes: Bytes,
    starts: Vec<u64>,
    logs: Logs,
}

async fn image(marked: bool) -> Image {
    let log = Log::with(1, WalOptions { first_file_bytes: 64 << 10, ..small() }).await;
    let (a, b) = (Partition::new(0, 0), Partition::new(1, 0));
    let mut starts = vec![4096];
    for tag in 0..4 {
        a.append(&log.wal, &[batch(tag, 2, 300), batch(tag, 1, 900)]).unwrap();
        let waiter = b.append(&log.wal, &[batch(tag, 1, 3_500)]).unwrap().1;
        waiter.synced().await.unwrap();
        starts.push(log.wal.synced_position().end);
    }
    if marked {
        pass(Duration::from_millis(200)).await;
    }
    let bytes = log.fs.contents(&FileName::log(1)).unwrap();
    let (_, kept) = recovered(&disk(&bytes)).await.unwrap();
    Image { bytes, starts, logs: kept.logs }
}

fn disk(bytes: &[u8]) -> SimWalFs {
    let fs = SimWalFs::new(Rng::seeded(0));
    fs.plant(&FileName::log(1), bytes);
    fs
}

fn content_end(bytes: &[u8], start: u64) -> u64 {
    start + BlockHeader::decode(&bytes[start as usize..]).unwrap().content_len()
}

fn cut(logs: &Logs, blocks: usize) -> Logs {
    // Each block of the image has two batches of partition 0 and one of partition 1.
    let mut logs = logs.clone();
    for (partition, batches) in [(0, 2), (1, 1)] {
        let log = logs.get_mut(&key(partition)).unwrap();
        *log = std::mem::take(log).into_iter().take(blocks * batches).collect();
    }
    logs
}

#[tokio::test(start_paused = true)]
async fn torn_tail_is_cut_at_every_byte_of_the_last_block() {
    let image = image(false).await;
    let (start, end) = (image.starts[3] as usize, image.starts[4] as usize);
    let content = content_end(&image.bytes, start as u64) as usize;
    let three = cut(&image.logs, 3);
    for at in start..end {
        let expected = if at < content { &three } else { &image.logs };
        let truncated = image.bytes[..at].to_vec();
        let mut flipped = image.bytes.to_vec();
        flipped[at] ^= 1 << (at % 8);
        let mut garbage = image.bytes.to_vec();
        garbage[at..end].fill(0xa5);
        let mut zeroed = image.bytes.to_vec();
        zeroed[at..end].fill(0);
        for (what, bytes) in [
            ("truncated", truncated),
            ("flipped", flipped),
            ("garbage", garbage),
            ("zeroed", zeroed),
        ] {
            let fs = disk(&bytes);
            let (state, kept) = recovered(&fs).await.unwrap_or_else(|e| panic!("{what} {at}: {e}"));
            if what == "zeroed" && bytes[..] == image.bytes[..] {
                assert!(kept.logs == image.logs, "{what} at {at} changes nothing");
            } else if what == "truncated" && at >= content {
                // The padding is part of the block: without it the block is not whole.
                assert!(kept.logs == three, "{what} at {at}");
            } else {
                assert!(&kept.logs == expected, "{what} at {at}");
            }
            assert_eq!(state.files[0].end, state.files[0].file.len().unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_recovered_file_is_sealed_and_recovers_to_the_same() {
    let image = image(false).await;
    let fs = disk(&image.bytes[..image.bytes.len() - 20_000]);
    let (first, kept) = recovered(&fs).await.unwrap();
    let (second, again) = recovered(&fs.restart_machine()).await.unwrap();
    assert!(kept.logs == again.logs);
    assert_eq!(first.next_sequence, second.next_sequence);
    assert_eq!(first.files[0].end, second.files[0].end);
}

#[tokio::test(start_paused = true)]
async fn losing_power_at_any_operation_of_recovery_loses_nothing() {
    let image = image(false).await;
    let torn_at = image.starts[4] as usize;
    let mut torn = image.bytes.to_vec();
    torn[torn_at..torn_at + 3_000].fill(0x5a);
    for (seed, power_loss_after) in (0..30).flat_map(|seed| (0..12).map(move |op| (seed, op))) {
        for bytes in [&image.bytes[..], &torn] {
            let mut fs = SimWalFs::new(Rng::seeded(seed));
            fs.plant(&FileName::log(1), bytes);
            for _ in 0..3 {
                let power_loss_after = Some(power_loss_after);
                fs.set_faults(Faults { power_loss_after, ..Faults::default() });
                tokio::select! {
                    () = fs.powered_off() => {}
                    result = recovered(&fs) => drop(result.unwrap()),
                }
                fs = fs.restart_machine();
            }
            let (_, kept) = recovered(&fs).await.unwrap();
            assert!(kept.logs == image.logs, "seed {seed}, operation {power_loss_after}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn damage_to_any_synced_byte_is_refused_with_file_and_position_or_repaired() {
    let image = image(true).await;
    for block in 0..4 {
        let start = image.starts[block];
        let content = content_end(&image.bytes, start);
        let directory = start + BLOCK_HEADER_BYTES as u64;
        for at in start..content {
            let mut bytes = image.bytes.to_vec();
            bytes[at as usize] ^= 1 << (at % 8);
            let Err(RecoverError::Damage(damage)) = recovered(&disk(&bytes)).await else {
                panic!("a flip at {at} is not seen");
            };
            assert_eq!((damage.from, damage.to), (start, image.starts[block + 1]));
            // The number of the very first block is known from nothing else.
            let sequence = if block == 0 { 0 } else { block as u64 + 1 };
            assert_eq!((&damage.file, damage.sequence), (&FileName::log(1), sequence));
            if at > content - 3_000 && at >= directory {
                assert_eq!(damage.extents.len(), 2, "the directory is whole");
                assert_eq!(damage.extents[1].key, key(1));
                assert_eq!(damage.extents[1].base_offset, block as i64);
            }

            let fs = disk(&bytes);
            let mut kept = Kept { copies: [(1, image.bytes.clone())].into(), ..Kept::default() };
            recover(Arc::new(fs.clone()), 0, &mut kept).await.unwrap();
            assert!(kept.logs == image.logs, "repaired at {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_copy_repairs_nothing() {
    let image = image(true).await;
    let mut bytes = image.bytes.to_vec();
    bytes[image.starts[1] as usize + 100] ^= 1;
    let mut copy = image.bytes.to_vec();
    copy[image.starts[1] as usize + 200] ^= 1;
    let fs = disk(&bytes);
    let mut kept = Kept { copies: [(1, copy.into())].into(), ..Kept::default() };
    let refused = recover(Arc::new(fs.clone()), 0, &mut kept).await.unwrap_err();
    assert!(refused.to_string().contains("not valid"), "{refused}");
    assert_eq!(fs.contents(&FileName::log(1)).unwrap(), bytes);
}

#[tokio::test(start_paused = true)]
async fn whole_blocks_that_are_zeroed_swapped_or_repeated_are_damage() {
    let image = image(true).await;
    let [one, two, three] = [image.starts[0], image.starts[1], image.starts[2]].map(|s| s as usize);
    let mut zeroed = image.bytes.to_vec();
    zeroed[one..two].fill(0);
    let mut swapped = image.bytes.to_vec();
    swapped.copy_within(two..three, one);
    let mut both = image.bytes.to_vec();
    both[one..three].fill(0);
    for bytes in [zeroed, swapped, both] {
        assert!(matches!(recovered(&disk(&bytes)).await, Err(RecoverError::Damage(_))));
    }
}

/// A log of several files, all sealed but the last.
async fn several_files(seed: u64) -> (SimWalFs, Logs) {
    let log = Log::fresh(seed).await;
    let target = Partition::new(0, 0);
    for tag in 0..20 {
        target.append(&log.wal, &[batch(tag, 1, 6_000)]).unwrap().1.synced().await.unwrap();
    }
    assert!(log.wal.synced_position().file_id > 2);
    let fs = log.fs.restart_process();
    let (_, kept) = recovered(&fs.copy()).await.unwrap();
    (fs, kept.logs)
}

#[tokio::test(start_paused = true)]
async fn a_damaged_seal_is_noticed_when_a_later_file_was_used() {
    let (fs, _) = several_files(1).await;
    let mut bytes = fs.contents(&FileName::log(1)).unwrap().to_vec();
    let last = bytes.len() - 4096;
    bytes[last + 17] ^= 1;
    fs.plant(&FileName::log(1), &bytes);
    let Err(RecoverError::Damage(damage)) = recovered(&fs).await else { panic!("not seen") };
    assert_eq!((damage.from, damage.to), (last as u64, last as u64 + 4096));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_seal_of_the_last_file_is_noticed_by_its_length() {
    let log = Log::fresh(1).await;
    let target = Partition::new(0, 0);
    target.append(&log.wal, &[batch(1, 1, 6_000)]).unwrap();
    log.wal.shutdown().await.unwrap();
    let fs = log.fs.restart_process();
    let whole = fs.contents(&FileName::log(1)).unwrap();
    for at in [whole.len() - 4096, 4096 + 70, 4096 + 3_000] {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1;
        fs.plant(&FileName::log(1), &bytes);
        assert!(matches!(recovered(&fs).await, Err(RecoverError::Damage(_))), "flip at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_file_is_damage_unless_it_was_released() {
    let (fs, logs) = several_files(2).await;
    fs.remove(&FileName::log(2)).await.unwrap();
    assert!(matches!(recovered(&fs.copy()).await, Err(RecoverError::Damage(_))));
    // The first file may be gone: files are released in order.
    fs.remove(&FileName::log(1)).await.unwrap();
    let (_, kept) = recovered(&fs.copy()).await.unwrap();
    assert!(kept.logs[&key(0)].iter().all(|(offset, batch)| logs[&key(0)][offset] == *batch));
}

#[tokio::test(start_paused = true)]
async fn a_released_gap_is_accepted_on_the_sinks_word() {
    let log = Log::fresh(3).await;
    let (a, b) = (Partition::new(0, 0), Partition::new(1, 0));
    for (tag, target) in [(1, &a), (2, &b), (3, &a)] {
        target.append(&log.wal, &[batch(tag, 1, 10)]).unwrap();
        log.wal.seal().await.unwrap();
    }
    log.fs.remove(&FileName::log(2)).await.unwrap();
    let fs = log.fs.restart_process();
    let mut kept = Kept { released: true, ..Kept::default() };
    recover(Arc::new(fs), 0, &mut kept).await.unwrap();
    assert_eq!((kept.next_offset(0), kept.next_offset(1)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_head_or_a_renamed_file_is_refused() {
    let image = image(true).await;
    for at in [0, 30, 4095] {
        let mut bytes = image.bytes.to_vec();
        bytes[at] ^= 4;
        let Err(RecoverError::Damage(damage)) = recovered(&disk(&bytes)).await else { panic!() };
        assert_eq!((damage.from, damage.to), (0, 4096));
    }
    let fs = SimWalFs::new(Rng::seeded(0));
    fs.plant(&FileName::log(2), &image.bytes);
    assert!(matches!(recovered(&fs).await, Err(RecoverError::Damage(_))));
}

#[tokio::test(start_paused = true)]
async fn unused_and_unfinished_files_are_reused_or_removed_and_ids_never_repeat() {
    let log = Log::fresh(1).await;
    pass(Duration::from_secs(1)).await;
    let fs = log.fs.restart_process();
    fs.plant("wal-0000000000000009.log.tmp", b"half");
    fs.plant("something-else", b"kept");
    let (state, _) = recovered(&fs).await.unwrap();
    assert_eq!(state.next_file_id, 2);
    assert!(state.prepared.is_some(), "the unused file is used now");
    assert_eq!(fs.list().await.unwrap(), ["something-else", &*FileName::log(1)]);
    let state = recover(Arc::new(fs), 40, &mut Kept::default()).await.unwrap();
    assert_eq!(state.next_file_id, 40);
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_the_seal_are_cut_off() {
    let (fs, logs) = several_files(4).await;
    let mut bytes = fs.contents(&FileName::log(1)).unwrap().to_vec();
    let end = bytes.len();
    bytes.extend_from_slice(b"an unfinished footer");
    fs.plant(&FileName::log(1), &bytes);
    let (state, kept) = recovered(&fs).await.unwrap();
    assert!(kept.logs == logs && state.files[0].end == end as u64);
    assert_eq!(fs.contents(&FileName::log(1)).unwrap().len(), end);
}

#[tokio::test(start_paused = true)]
async fn recovered_files_are_announced_as_sealed_and_writing_goes_on_behind_them() {
    let (fs, _) = several_files(5).await;
    let mut log = Log::start(fs, Rng::seeded(9), small()).await;
    let files = log.events();
    assert!(files.len() > 1 && files.iter().all(|e| matches!(e, WalEvent::Sealed { .. })));
    let target = Partition::new(0, log.kept.next_offset(0));
    let (base, waiter) = target.append(&log.wal, &[batch(99, 1, 10)]).unwrap();
    waiter.synced().await.unwrap();
    assert_eq!(base, 20);
    let (_, kept) = recovered(&log.fs.restart_machine()).await.unwrap();
    assert_eq!(kept.next_offset(0), 21);
}

#[tokio::test]
async fn real_files_are_written_recovered_renamed_and_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Arc::new(OsWalFs::open(dir.path().join("wal")).unwrap());
    let recovered = recover(fs.clone(), 0, &mut Kept::default()).await.unwrap();
    let deps = WalDeps {
        fs: fs.clone(),
        clock: common::clock::SystemClock::shared(),
        rng: Rng::seeded(1),
        spawner: common::spawn::Spawner::threads(common::spawn::Fatal::abort_process()),
    };
    let (wal, mut events) = start(deps.clone(), small(), recovered).await.unwrap();
    let target = Partition::new(0, 0);
    for tag in 0..30 {
        target.append(&wal, &[batch(tag, 2, 3_000)]).unwrap().1.synced().await.unwrap();
    }
    wal.shutdown().await.unwrap();
    let run = target.runs().remove(0);
    let destination = dir.path().join("objects/00/object");
    fs.rename_out(&run.file.name(), &destination).await.unwrap();
    assert_eq!(run.file.read_at(run.position, run.len as usize).unwrap(), run.data.unwrap());
    wal.release(run.file.id).await.unwrap();
    assert!(destination.exists() && fs.free_bytes().await.unwrap() > 0);
    assert!(std::iter::from_fn(|| events.try_recv().ok()).count() > 30);

    let mut kept = Kept::default();
    let state = recover(fs.clone(), 0, &mut kept).await.unwrap();
    assert_eq!(kept.next_offset(0), 60);
    let (wal, _events) = start(deps, small(), state).await.unwrap();
    let target = Partition::new(0, 60);
    target.append(&wal, &[batch(1, 1, 10)]).unwrap().1.synced().await.unwrap();
    wal.shutdown().await.unwrap();
    let mut kept = Kept::default();
    recover(fs, 0, &mut kept).await.unwrap();
    assert_eq!(kept.next_offset(0), 61);
}
