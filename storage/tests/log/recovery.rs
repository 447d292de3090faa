//! Crashes: what was acknowledged is there again, once, in order, and producers are remembered.

use streamhouse_storage::{Acks, AppendError, SequenceError, wal::sim_fs::Faults};

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn acknowledged_records_survive_power_loss_at_every_moment() {
    for cut in 0..60 {
        let mut machine = Machine::new(100 + cut);
        let broker = machine.start(2).await;
        machine.disk.set_faults(Faults { power_loss_after: Some(cut), ..Faults::default() });
        let mut acked = [0_i64; 2];
        'load: for round in 0..40_i64 {
            for index in 0..2_i32 {
                let partition = broker.partition(index);
                let sequence = i32::try_from(round).unwrap();
                let bytes = batch(Some((5, 0, sequence)), START_MS, &[&value(round)]);
                let Ok(appended) = append(&partition, Acks::All, &bytes) else { break 'load };
                let acknowledged = tokio::select! {
                    result = appended.ticket.wait() => result.is_ok(),
                    () = pause(10_000) => false,
                };
                if !acknowledged {
                    break 'load;
                }
                acked[usize::try_from(index).unwrap()] = round + 1;
            }
        }
        machine.power_loss(broker);
        let broker = machine.start(2).await;
        for index in 0..2_i32 {
            let partition = broker.partition(index);
            let found = read_all(&partition, 0, 1 << 20).await;
            let acked = acked[usize::try_from(index).unwrap()];
            let len = i64::try_from(found.len()).unwrap();
            assert!(len >= acked, "cut {cut}: {len} of {acked} acknowledged");
            assert_eq!(found, numbered(0, len), "cut {cut}");
            // The producer goes on where the log ends: neither a gap nor a repetition.
            let next = i32::try_from(len).unwrap();
            produce(&partition, &batch(Some((5, 0, next)), START_MS, &[&value(len)]))
                .await
                .unwrap();
            assert_eq!(read_all(&partition, 0, 1 << 20).await, numbered(0, len + 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_recognised_after_a_crash() {
    let mut machine = Machine::new(21);
    let broker = machine.start(1).await;
    let bytes = batch(Some((5, 3, 0)), START_MS, &["a", "b"]);
    produce(&broker.partition(0), &bytes).await.unwrap();
    machine.kill(broker);
    let broker = machine.start(1).await;
    let again = append(&broker.partition(0), Acks::All, &bytes).unwrap();
    assert!(again.duplicate && again.base_offset == 0);
    again.ticket.wait().await.unwrap();
    let stale = append(&broker.partition(0), Acks::All, &batch(Some((5, 2, 0)), START_MS, &["x"]));
    assert!(matches!(stale, Err(AppendError::Sequence(SequenceError::StaleEpoch { .. }))));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_recognised_after_its_batch_moved_to_objects() {
    let mut machine = Machine::new(22);
    let broker = machine.start(1).await;
    let bytes = batch(Some((5, 3, 0)), START_MS, &["a", "b"]);
    produce(&broker.partition(0), &bytes).await.unwrap();
    broker.log.shutdown().await;
    machine.kill(broker);
    for _ in 0..2 {
        let broker = machine.start(1).await;
        pause(60_000).await;
        let again = append(&broker.partition(0), Acks::All, &bytes).unwrap();
        assert!(again.duplicate && again.base_offset == 0);
        machine.kill(broker);
    }
}

#[tokio::test(start_paused = true)]
async fn each_start_is_a_new_epoch_that_begins_at_the_log_end() {
    let mut machine = Machine::new(23);
    let broker = machine.start(1).await;
    let first = broker.partition(0).leader_epoch().0;
    produce_numbered(&broker.partition(0), 5).await;
    machine.kill(broker);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    assert!(partition.leader_epoch().0 > first);
    assert_eq!(partition.epoch_end_offset(first), (first, 5));
    produce_numbered(&partition, 2).await;
    assert_eq!(partition.epoch_at(4), first);
    assert_eq!(partition.epoch_at(5), partition.leader_epoch().0);
}

#[tokio::test(start_paused = true)]
async fn many_restarts_with_load_between_lose_nothing() {
    let mut machine = Machine::new(24);
    machine.config.wal_file_bytes = 1 << 17;
    machine.config.tail_bytes = 10_000;
    let mut total = 0;
    for round in 0..12 {
        let broker = machine.start(1).await;
        let partition = broker.partition(0);
        assert_eq!(read_all(&partition, 0, 5_000).await, numbered(0, total), "round {round}");
        produce_numbered(&partition, 30).await;
        total += 30;
        if round % 3 == 0 {
            pause(60_000).await;
        }
        if round % 4 == 3 {
            broker.log.shutdown().await;
        }
        if round % 2 == 0 { machine.kill(broker) } else { machine.power_loss(broker) }
    }
}
