//! The writer: order, group commit, roll-back, failed syncs, limits, seals and shutdown.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use common::rng::Rng;

use super::{
    super::{block::BlockHeader, sim_fs::Faults, *},
    support::*,
};

#[tokio::test(start_paused = true)]
async fn synced_runs_carry_the_stamped_batches_in_order() {
    let mut log = Log::fresh(1).await;
    let (a, b) = (Partition::new(0, 10), Partition::new(1, 0));
    let (_, first) = a.append(&log.wal, &[batch(1, 2, 100), batch(3, 1, 100)]).unwrap();
    b.append(&log.wal, &[batch(4, 1, 100)]).unwrap();
    let (base, second) = a.append(&log.wal, &[batch(5, 1, 100)]).unwrap();
    assert_eq!(base, 13);
    first.written().await.unwrap();
    second.synced().await.unwrap();

    let runs = a.runs();
    assert_eq!(runs.len(), 1, "three appends of one partition in one block are one run");
    assert_eq!((runs[0].base_offset, runs[0].last_offset, runs[0].max_timestamp), (10, 13, 1_001));
    let events = log.events();
    let [WalEvent::Synced { from, to, object_class: false, .. }] = &events[..] else {
        panic!("one block: {events:?}")
    };
    assert_eq!((*from, to % 4096), (4096, 0));
    assert_eq!(log.wal.synced_position(), WalPosition { file_id: 1, end: *to });
}

#[tokio::test(start_paused = true)]
async fn log_append_time_is_stamped_and_the_crc_follows() {
    let log = Log::fresh(1).await;
    let target = Partition::new(0, 0);
    let waiter = target.append_at(&log.wal, &[batch(1, 1, 20)], Some(77_000)).unwrap().1;
    waiter.synced().await.unwrap();
    let (_, kept) = recovered(&log.fs.restart_process()).await.unwrap();
    let batch = protocol::records::batch_refs(&kept.logs[&key(0)][&0]).next().unwrap().unwrap();
    batch.verify_crc().unwrap();
    assert_eq!((batch.header().max_timestamp, batch.header().partition_leader_epoch), (77_000, 3));
}

#[tokio::test(start_paused = true)]
async fn refuses_bytes_that_are_no_whole_batch() {
    let log = Log::fresh(1).await;
    let target = Partition::new(0, 0);
    let whole = batch(1, 2, 20);
    let header = BatchHeader::parse(&whole).unwrap();
    let append = |records: Bytes, base_offset, header| {
        log.wal.enqueue(WalAppend {
            target: Arc::clone(&target) as Arc<dyn AppendTarget>,
            leader_epoch: 0,
            base_offset,
            records,
            header,
            log_append_time: None,
            object_class: false,
            completion: None,
        })
    };
    let cut = whole.slice(..whole.len() - 1);
    let twice = Bytes::from([&whole[..], &whole[..]].concat());
    for (records, base_offset) in [(cut, 0), (twice, 0), (Bytes::new(), 0), (whole.clone(), -1)] {
        let refused = append(records, base_offset, header);
        assert!(matches!(refused, Err(WalError::Malformed { .. })), "{refused:?}");
    }
    append(whole, 0, header).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_writer_appends_one_synced_marker() {
    let log = Log::fresh(1).await;
    let target = Partition::new(0, 0);
    target.append(&log.wal, &[batch(1, 1, 20)]).unwrap().1.synced().await.unwrap();
    let end = log.wal.synced_position().end;
    pass(Duration::from_secs(10)).await;
    assert_eq!(log.wal.synced_position().end, end + 4096);
    let file = log.fs.contents(&FileName::log(1)).unwrap();
    let marker = BlockHeader::decode(&file[end as usize..]).unwrap();
    assert!(marker.commit && !marker.seal);
    assert_eq!((marker.sequence, marker.synced_through), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_trickle_pays_at_most_ten_markers_a_second() {
    let log = Log::with(1, WalOptions { first_file_bytes: 1 << 20, ..small() }).await;
    let target = Partition::new(0, 0);
    for tag in 0..100 {
        target.append(&log.wal, &[batch(tag, 1, 20)]).unwrap().1.synced().await.unwrap();
        pass(Duration::from_millis(10)).await;
    }
    let blocks = (log.wal.synced_position().end - 4096) / 4096;
    assert!((105..=111).contains(&blocks), "{blocks} blocks for 100 requests in a second");
}

#[tokio::test(start_paused = true)]
async fn full_files_are_sealed_cut_and_followed() {
    let mut log = Log::fresh(1).await;
    let target = Partition::new(0, 0);
    for tag in 0..40 {
        target.append(&log.wal, &[batch(tag, 1, 5_000)]).unwrap().1.synced().await.unwrap();
    }
    let sealed: Vec<(u64, u64)> = log
        .events()
        .into_iter()
        .filter_map(|event| match event {
            WalEvent::Sealed { file, end } => Some((file.len().unwrap(), end)),
            WalEvent::Synced { .. } => None,
        })
        .collect();
    assert!(sealed.len() >= 5, "{sealed:?}");
    assert!(sealed.iter().all(|(len, end)| len == end && end % 4096 == 0));
}

#[tokio::test(start_paused = true)]
async fn the_next_file_is_prepared_while_the_current_one_fills() {
    let log = Log::fresh(1).await;
    let target = Partition::new(0, 0);
    let mut ready_at = None;
    for tag in 0..5 {
        target.append(&log.wal, &[batch(tag, 1, 3_000)]).unwrap().1.synced().await.unwrap();
        pass(Duration::from_millis(1)).await;
        if ready_at.is_none() && log.fs.contents(&FileName::log(2)).is_some() {
            ready_at = Some(log.wal.synced_position().end);
        }
        assert_eq!(log.wal.synced_position().file_id, 1);
    }
    // Three quarters of the first file's 32 KiB.
    assert_eq!(ready_at, Some(24 << 10));
}

#[tokio::test(start_paused = true)]
async fn an_append_larger_than_a_file_gets_a_file_of_its_own_size() {
    let log = Log::fresh(1).await;
    let target = Partition::new(0, 0);
    let large = batch(1, 2, 125_000);
    target.append(&log.wal, &[large]).unwrap().1.synced().await.unwrap();
    target.append(&log.wal, &[batch(3, 1, 10)]).unwrap().1.synced().await.unwrap();
    log.wal.shutdown().await.unwrap();
    let (_, kept) = recovered(&log.fs.restart_machine()).await.unwrap();
    assert_eq!(kept.next_offset(0), 3);
}

#[tokio::test(start_paused = true)]
async fn arenas_are_at_most_a_mebibyte() {
    let options =
        WalOptions { block_bytes: 4 << 20, queue_bytes: 64 << 20, ..WalOptions::default() };
    let log = Log::with(1, WalOptions { first_file_bytes: 64 << 20, ..options }).await;
    let target = Partition::new(0, 0);
    let batches: Vec<_> = (0..8).map(|tag| batch(tag, 1, 400_000)).collect();
    target.append(&log.wal, &batches).unwrap().1.synced().await.unwrap();
    target.append(&log.wal, &[batch(9, 1, 2_000_000)]).unwrap().1.synced().await.unwrap();
    let lens: Vec<u32> = target.runs().iter().map(|run| run.len).collect();
    assert_eq!(lens.len(), 5);
    assert!(lens[..4].iter().all(|len| *len <= 1 << 20) && lens[4] > 1 << 20, "{lens:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_takes_back_itself_and_all_behind_it() {
    let mut log = Log::fresh(3).await;
    let (a, b) = (Partition::new(0, 0), Partition::new(1, 0));
    a.append(&log.wal, &[batch(1, 1, 6_000)]).unwrap().1.synced().await.unwrap();
    log.fs.set_faults(Faults { fail_write_after: Some(0), ..Faults::default() });
    let failed: Vec<_> = (2..6)
        .map(|tag| {
            let target = if tag % 2 == 0 { &a } else { &b };
            target.append(&log.wal, &[batch(tag, 1, 6_000)]).unwrap().1
        })
        .collect();
    for waiter in failed {
        assert!(matches!(waiter.synced().await, Err(WalError::Io(_))));
    }
    assert_eq!((a.rollbacks(), b.rollbacks()), (1, 1));
    assert_eq!((a.next_offset(), b.next_offset()), (1, 0));
    pass(Duration::from_millis(1)).await;
    assert!(log.events().iter().any(|event| matches!(event, WalEvent::Sealed { .. })));
    a.append(&log.wal, &[batch(7, 1, 10)]).unwrap().1.synced().await.unwrap();
    assert_eq!(log.wal.synced_position().file_id, 2, "writing goes on in a new file");

    let (_, kept) = recovered(&log.fs.restart_machine()).await.unwrap();
    assert_eq!((kept.next_offset(0), kept.next_offset(1)), (2, 0));
    assert_eq!(log.fatal.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn enqueues_are_refused_while_the_file_cannot_be_cut() {
    let log = Log::fresh(3).await;
    let target = Partition::new(0, 0);
    target.append(&log.wal, &[batch(1, 1, 10)]).unwrap().1.synced().await.unwrap();
    log.fs.set_faults(Faults { write_error_one_in: 1, ..Faults::default() });
    let waiter = target.append(&log.wal, &[batch(2, 1, 10)]).unwrap().1;
    assert!(waiter.synced().await.is_err());
    assert!(matches!(target.append(&log.wal, &[batch(3, 1, 10)]), Err(WalError::RollingBack)));
    log.fs.set_faults(Faults::default());
    pass(Duration::from_millis(1_500)).await;
    target.append(&log.wal, &[batch(4, 1, 10)]).unwrap().1.synced().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_stops_the_process_and_acknowledges_nothing() {
    let log = Log::fresh(4).await;
    let target = Partition::new(0, 0);
    target.append(&log.wal, &[batch(1, 1, 10)]).unwrap().1.synced().await.unwrap();
    log.fs.set_faults(Faults { fail_sync_after: Some(0), ..Faults::default() });
    let first = target.append(&log.wal, &[batch(2, 1, 10)]).unwrap().1;
    assert!(matches!(first.synced().await, Err(WalError::Closed)));
    assert_eq!(log.fatal.load(Ordering::SeqCst), 1);
    assert_eq!(target.runs().len(), 1);
    assert!(matches!(target.append(&log.wal, &[batch(3, 1, 10)]), Err(WalError::Closed)));
    assert!(matches!(log.wal.admit(1).await, Err(WalError::Closed)));
    assert!(matches!(log.wal.seal().await, Err(WalError::Closed)));

    // The page cache still shows the block. What recovery delivers must be on the platter, though.
    let after = log.fs.restart_process();
    let (_, kept) = recovered(&after).await.unwrap();
    let (_, again) = recovered(&after.restart_machine()).await.unwrap();
    assert!(kept.logs == again.logs);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_appends_and_recovers_by_itself() {
    let mut log = Log::fresh(5).await;
    let target = Partition::new(0, 0);
    target.append(&log.wal, &[batch(0, 1, 10)]).unwrap().1.synced().await.unwrap();
    log.fs.set_faults(Faults { capacity: Some(1), ..Faults::default() });
    let mut acknowledged = 1;
    let refused = loop {
        match target.append(&log.wal, &[batch(acknowledged, 1, 6_000)]) {
            Ok((_, waiter)) => match waiter.synced().await {
                Ok(()) => acknowledged += 1,
                Err(error) => break error,
            },
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, WalError::NoSpace), "{refused}");
    assert!(matches!(target.append(&log.wal, &[batch(0, 1, 10)]), Err(WalError::NoSpace)));
    assert!(log.events().iter().any(|event| matches!(event, WalEvent::Sealed { .. })));
    assert_eq!(target.next_offset(), acknowledged as i64);

    log.fs.set_faults(Faults::default());
    pass(Duration::from_millis(2_500)).await;
    target.append(&log.wal, &[batch(9, 1, 10)]).unwrap().1.synced().await.unwrap();
    let (_, kept) = recovered(&log.fs.restart_machine()).await.unwrap();
    assert_eq!(kept.next_offset(0), acknowledged as i64 + 1);
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_the_writer_waits_for_a_release() {
    let mut log = Log::with(6, WalOptions { max_bytes: 160 << 10, ..small() }).await;
    let target = Partition::new(0, 0);
    let mut waiting = loop {
        let waiter = target.append(&log.wal, &[batch(1, 1, 6_000)]).unwrap().1;
        if tokio::time::timeout(Duration::from_secs(1), waiter.synced()).await.is_err() {
            break waiter;
        }
    };
    assert!(log.wal.file_bytes() <= 160 << 10);
    log.wal.seal().await.unwrap();
    let sealed: Vec<u64> = log
        .events()
        .into_iter()
        .filter_map(|event| match event {
            WalEvent::Sealed { file, .. } => Some(file.id),
            WalEvent::Synced { .. } => None,
        })
        .collect();
    // Deleted in order: releasing the second first frees nothing yet.
    log.wal.release(sealed[1]).await.unwrap();
    assert!(log.fs.contents(&FileName::log(sealed[1])).is_some());
    log.wal.release(sealed[0]).await.unwrap();
    assert!(log.fs.contents(&FileName::log(sealed[1])).is_none());
    waiting.synced().await.unwrap();
    waiting = target.append(&log.wal, &[batch(2, 1, 10)]).unwrap().1;
    waiting.synced().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn admission_waits_for_room_and_the_queue_has_a_hard_bound() {
    let log = Log::with(7, WalOptions { queue_bytes: 10_000, ..small() }).await;
    log.fs.set_faults(Faults { latency_ms_max: 10_000, ..Faults::default() });
    let target = Partition::new(0, 0);
    let permit = log.wal.admit(6_000).await.unwrap();
    let waiter = target.append(&log.wal, &[batch(1, 1, 6_000)]).unwrap().1;
    drop(permit);
    let blocked = log.wal.admit(6_000);
    assert!(tokio::time::timeout(Duration::from_millis(1), blocked).await.is_err());
    target.append(&log.wal, &[batch(2, 1, 9_000)]).unwrap();
    assert!(matches!(target.append(&log.wal, &[batch(3, 1, 9_000)]), Err(WalError::Full)));
    log.fs.set_faults(Faults::default());
    waiter.synced().await.unwrap();
    let alone = log.wal.admit(50_000).await.unwrap();
    drop(alone);
    assert_eq!(log.wal.queued_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn admission_is_first_come_first_served_and_all_who_wait_hear_of_the_end() {
    let log = Log::with(17, WalOptions { queue_bytes: 10_000, ..small() }).await;
    let first = log.wal.admit(8_000).await.unwrap();
    let wal = log.wal.clone();
    let large = tokio::spawn(async move { wal.admit(20_000).await });
    tokio::task::yield_now().await;
    // There is room for a small request, and with more of them the queue would never be empty.
    let small = tokio::time::timeout(Duration::from_millis(1), log.wal.admit(1_000)).await;
    assert!(small.is_err());
    let wal = log.wal.clone();
    let behind = tokio::spawn(async move { wal.admit(1_000).await });
    tokio::task::yield_now().await;
    drop(first);
    let large = large.await.unwrap().unwrap();
    assert!(!behind.is_finished());
    let wal = log.wal.clone();
    let last = tokio::spawn(async move { wal.admit(1_000).await });
    tokio::task::yield_now().await;
    log.wal.shutdown().await.unwrap();
    assert!(matches!(behind.await.unwrap(), Err(WalError::Closed)));
    assert!(matches!(last.await.unwrap(), Err(WalError::Closed)));
    drop(large);
}

#[tokio::test(start_paused = true)]
async fn shutdown_writes_what_is_queued_and_seals() {
    let log = Log::fresh(8).await;
    let target = Partition::new(0, 0);
    let waiters: Vec<_> =
        (0..20).map(|tag| target.append(&log.wal, &[batch(tag, 1, 1_000)]).unwrap().1).collect();
    log.wal.shutdown().await.unwrap();
    for waiter in waiters {
        assert!(matches!(waiter.outcome(), Some(Ok(()))));
    }
    assert!(matches!(target.append(&log.wal, &[batch(1, 1, 1)]), Err(WalError::Closed)));
    let (state, kept) = recovered(&log.fs.restart_machine()).await.unwrap();
    assert_eq!(kept.next_offset(0), 20);
    assert!(state.files.iter().all(|file| file.file.len().unwrap() == file.end));
}

#[tokio::test(start_paused = true)]
async fn seal_rotates_now_and_does_nothing_without_a_block() {
    let mut log = Log::fresh(9).await;
    log.wal.seal().await.unwrap();
    assert!(log.events().is_empty());
    let target = Partition::new(0, 0);
    target.append(&log.wal, &[batch(1, 1, 10)]).unwrap();
    log.wal.seal().await.unwrap();
    assert!(matches!(log.events()[..], [WalEvent::Synced { .. }, WalEvent::Sealed { .. }]));
    target.append(&log.wal, &[batch(2, 1, 10)]).unwrap().1.synced().await.unwrap();
    assert_eq!(log.wal.synced_position().file_id, 2);
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_the_same_bytes() {
    let mut files = Vec::new();
    for _ in 0..2 {
        let log = Log::start(SimWalFs::new(Rng::seeded(1)), Rng::seeded(2), small()).await;
        let target = Partition::new(0, 0);
        target.append(&log.wal, &[batch(1, 3, 500)]).unwrap().1.synced().await.unwrap();
        files.push(log.fs.contents(&FileName::log(1)).unwrap());
    }
    assert_eq!(files[0], files[1]);
}
