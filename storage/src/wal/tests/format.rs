//! The persisted format: the bytes of version 1 are still read, and still written.

use std::{path::PathBuf, time::Duration};

use common::rng::Rng;

use super::{
    super::{sim_fs::Faults, *},
    support::*,
};

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/wal-v1.bin")
}

/// A sealed file with two partitions, a commit marker, and a block of more than one sector.
async fn sample() -> Bytes {
    let log = Log::start(SimWalFs::new(Rng::seeded(1)), Rng::seeded(2), small()).await;
    let (a, b) = (Partition::new(0, 0), Partition::new(1, 1_000));
    a.append(&log.wal, &[batch(1, 2, 40), batch(3, 1, 10)]).unwrap();
    b.append(&log.wal, &[batch(4, 1, 30)]).unwrap().1.synced().await.unwrap();
    pass(Duration::from_secs(1)).await;
    b.append(&log.wal, &[batch(5, 3, 1_500)]).unwrap();
    log.wal.shutdown().await.unwrap();
    log.fs.set_faults(Faults::default());
    log.fs.contents(&FileName::log(1)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_version_1_are_still_written() {
    let bytes = sample().await;
    if std::env::var_os("STREAMHOUSE_BLESS").is_some() {
        std::fs::write(golden(), &bytes).unwrap();
    }
    assert!(std::fs::read(golden()).unwrap() == bytes, "the format has changed: needs a version");
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_version_1_are_still_read() {
    let fs = SimWalFs::new(Rng::seeded(0));
    fs.plant(&FileName::log(1), &std::fs::read(golden()).unwrap());
    let (state, kept) = recovered(&fs).await.unwrap();
    assert_eq!(state.next_sequence, 5);
    assert_eq!((kept.next_offset(0), kept.next_offset(1)), (3, 1_004));
    let offsets: Vec<i64> = kept.logs.values().flat_map(|log| log.keys().copied()).collect();
    assert_eq!(offsets, [0, 2, 1_000, 1_001]);
    assert_eq!(kept.blocks.iter().map(|(_, from, _)| *from).collect::<Vec<_>>(), [4096, 12_288]);
}
