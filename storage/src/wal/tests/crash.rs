//! Power loss at every operation of a workload, process crashes, write errors and crashes within
//! recovery, from seeds: what was acknowledged is there, in order, once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use common::{PartitionKey, rng::Rng};
use protocol::records::batch_refs;

use super::{
    super::{sim_fs::Faults, *},
    support::*,
};

const PARTITIONS: i32 = 3;

/// What clients know, over all lives of a log.
#[derive(Default)]
struct History {
    /// Acknowledged batches by their offset, as they were sent.
    acknowledged: BTreeMap<(PartitionKey, i64), Bytes>,
    /// All that was ever enqueued there.
    sent: BTreeMap<(PartitionKey, i64), Vec<Bytes>>,
    /// What was in files when they were released.
    released: Logs,
}

type Shared = Arc<Mutex<History>>;

/// The part of a batch that the log does not stamp.
fn body(batch: &Bytes) -> Bytes {
    batch.slice(17..)
}

async fn client(wal: WalHandle, target: Arc<Partition>, history: Shared, rng: Rng, first_tag: u64) {
    let mut pending: Vec<(i64, Bytes, CompletionWaiter)> = Vec::new();
    for index in 0..12 {
        let records = 1 + rng.below(3) as usize;
        let sent = batch(first_tag + index * 10, records, 10 + rng.below(4_000) as usize);
        let Ok(permit) = wal.admit(sent.len()).await else { return };
        let appended = {
            let mut history = history.lock().unwrap();
            let appended = target.append(&wal, std::slice::from_ref(&sent));
            if let Ok((offset, _)) = &appended {
                history.sent.entry((target.key(), *offset)).or_default().push(sent.clone());
            }
            appended
        };
        drop(permit);
        match appended {
            Ok((offset, waiter)) => pending.push((offset, sent, waiter)),
            Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
        if rng.below(3) == 0 {
            settle(&mut pending, &target, &history).await;
        }
        if rng.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(rng.below(30))).await;
        }
    }
    settle(&mut pending, &target, &history).await;
}

async fn settle(
    pending: &mut Vec<(i64, Bytes, CompletionWaiter)>,
    target: &Arc<Partition>,
    history: &Shared,
) {
    for (offset, sent, waiter) in pending.drain(..) {
        if waiter.synced().await.is_ok() {
            let before = history.lock().unwrap().acknowledged.insert((target.key(), offset), sent);
            assert!(before.is_none(), "an offset is acknowledged once");
        }
    }
}

/// Releases sealed files, as an uploader that has put them into objects.
async fn release(log: &mut Log, history: &Shared, rng: &Rng) {
    loop {
        let Some(event) = log.events.recv().await else { return };
        let WalEvent::Sealed { file, end } = event else { continue };
        if rng.below(2) == 0 {
            continue;
        }
        let mut scanner = BlockScanner::new(file.as_ref(), None, 4096..end);
        while let Some(block) = scanner.next().await.unwrap() {
            let payload = scanner.payload(&block).await.unwrap();
            let mut history = history.lock().unwrap();
            for run in block.directory.runs {
                let log = history.released.entry(run.key).or_default();
                for found in batch_refs(&payload[run.range()]) {
                    let found = found.unwrap();
                    let bytes = Bytes::copy_from_slice(found.bytes());
                    log.insert(found.header().base_offset, bytes);
                }
            }
        }
        log.wal.release(file.id).await.unwrap();
    }
}

/// One life of the log, to the power loss or the end of the work.
async fn live(mut log: Log, history: &Shared, rng: &Rng, life: u64) {
    let mut clients = Vec::new();
    for partition in 0..PARTITIONS {
        let known = history.lock().unwrap().released.get(&key(partition)).cloned();
        let released =
            Kept { logs: [(key(partition), known.unwrap_or_default())].into(), ..Kept::default() };
        let next = log.kept.next_offset(partition).max(released.next_offset(partition));
        let target = Partition::new(partition, next);
        let tag = life * 1_000_000 + partition as u64 * 10_000;
        let work = client(log.wal.clone(), target, Arc::clone(history), rng.clone(), tag);
        clients.push(tokio::spawn(work));
    }
    let (fs, wal) = (log.fs.clone(), log.wal.clone());
    let work = async {
        futures::future::join_all(clients).await.into_iter().for_each(Result::unwrap);
        wal.seal().await.ok();
    };
    tokio::select! {
        () = fs.powered_off() => {}
        () = work => {}
        () = release(&mut log, history, rng) => {}
    }
}

fn check(kept: &Kept, history: &History, context: &str) {
    let mut union: BTreeMap<(PartitionKey, i64), &Bytes> = BTreeMap::new();
    for (key, log) in history.released.iter().chain(&kept.logs) {
        for (offset, batch) in log {
            if let Some(other) = union.insert((*key, *offset), batch) {
                assert_eq!(other, batch, "{context}: one value per offset");
            }
        }
    }
    for (at, sent) in &history.acknowledged {
        let found = union.get(at).unwrap_or_else(|| panic!("{context}: acked {at:?} is lost"));
        assert_eq!(body(found), body(sent), "{context}: {at:?}");
    }
    for (at, found) in union {
        let sent = &history.sent[&at];
        assert!(sent.iter().any(|sent| body(sent) == body(found)), "{context}: {at:?} never sent");
    }
}

/// Recovers, half of the time after a first attempt that loses power as well.
async fn recover_after(fs: SimWalFs, rng: &Rng) -> (SimWalFs, Recovered, Kept) {
    let mut fs = fs;
    if rng.below(2) == 0 {
        let power_loss_after = Some(rng.below(8));
        fs.set_faults(Faults { power_loss_after, ..Faults::default() });
        tokio::select! {
            () = fs.powered_off() => {}
            result = recovered(&fs) => drop(result.unwrap()),
        }
        fs = if rng.below(3) == 0 { fs.restart_process() } else { fs.restart_machine() };
    }
    fs.set_faults(Faults::default());
    let (state, kept) = recovered(&fs).await.unwrap();
    (fs, state, kept)
}

fn run(seed: u64, power_loss_after: u64) -> bool {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let context = format!("seed {seed}, power loss after {power_loss_after}");
        let rng = Rng::seeded(seed);
        let history = Shared::default();
        let mut fs = SimWalFs::new(rng.clone());
        let (mut state, mut kept) = recovered(&fs).await.unwrap();
        let mut lost_power = false;
        for life in 0..3 {
            let faults = Faults {
                power_loss_after: Some(power_loss_after + life * 3),
                fail_sync_after: (rng.below(6) == 0).then(|| rng.below(30)),
                write_error_one_in: [0, 20][rng.below(2) as usize],
                latency_ms_max: [0, 20][rng.below(2) as usize],
                ..Faults::default()
            };
            fs.set_faults(faults);
            let log = tokio::select! {
                log = Log::go_on(fs.clone(), rng.clone(), small(), state, kept) => Some(log),
                () = fs.powered_off() => None,
            };
            if let Some(log) = log {
                live(log, &history, &rng, life).await;
            }
            lost_power |= fs.operations() > power_loss_after;
            let after = if rng.below(4) == 0 { fs.restart_process() } else { fs.restart_machine() };
            (fs, state, kept) = recover_after(after, &rng).await;
            check(&kept, &history.lock().unwrap(), &context);
        }
        lost_power
    })
}

#[test]
fn power_loss_at_every_operation_loses_nothing_acknowledged() {
    let mut reached = 0;
    for power_loss_after in 0..120 {
        reached += u32::from(run(power_loss_after * 7 + 1, power_loss_after));
    }
    assert!(reached > 60, "the workload is long enough for the sweep: {reached}");
}

#[test]
fn seeded_crashes_lose_nothing_acknowledged() {
    let count = std::env::var("STREAMHOUSE_SEEDS").ok().and_then(|count| count.parse().ok());
    for seed in 10_000..10_000 + count.unwrap_or(150) {
        run(seed, seed % 90);
    }
}
