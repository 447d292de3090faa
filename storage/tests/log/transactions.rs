//! Transactions through the whole log: rules at the partition, and random histories with failures,
//! crashes, uploads, merges and deletions against a model (TXN-1, TXN-2, TXN-4, LOG-4).

use common::ProducerId;
use protocol::records::{
    BatchBuilder, Compression, EndTransactionMarker, TimestampType, ValidatedRecords, batch_refs,
};
use streamhouse_storage::{
    Acks, AppendError, AppendOrigin, Appended, EndTransaction, IsolationLevel, Partition,
    ReadRequest, SequenceError, VerificationGuard,
};

use crate::harness::*;

#[path = "transactions/model.rs"]
mod model;
#[path = "transactions/random.rs"]
mod random;

/// A transactional batch of one record per value.
pub(crate) fn txn_batch(id: i64, epoch: i16, sequence: i32, values: &[&str]) -> bytes::Bytes {
    let mut builder =
        BatchBuilder::new(Compression::None).producer(id, epoch, sequence).transactional(true);
    for (delta, value) in values.iter().enumerate() {
        let delta = i32::try_from(delta).unwrap();
        builder.append(delta, START_MS, None, Some(value.as_bytes()), &[]).unwrap();
    }
    builder.build().unwrap()
}

pub(crate) fn append_guarded(
    partition: &Partition,
    batch: &bytes::Bytes,
    guard: Option<VerificationGuard>,
) -> Result<Appended, AppendError> {
    let policy = partition.config().produce_policy(11, 64 << 20);
    let records = protocol::records::validate_produce(batch, &policy, START_MS).unwrap();
    partition.append_as(records, Acks::All, AppendOrigin::Client, guard)
}

/// Verifies where it has to, then appends.
pub(crate) fn append_verified(
    partition: &Partition,
    (id, epoch, sequence): (i64, i16, i32),
    values: &[&str],
) -> Result<Appended, AppendError> {
    let guard = partition.begin_verification(ProducerId(id), epoch, sequence, true)?;
    append_guarded(partition, &txn_batch(id, epoch, sequence, values), guard)
}

pub(crate) fn end(id: i64, epoch: i16, commit: bool) -> EndTransaction {
    EndTransaction {
        producer_id: ProducerId(id),
        producer_epoch: epoch,
        commit,
        coordinator_epoch: 0,
        transaction_version: 2,
    }
}

/// A read_committed read as a consumer takes it.
pub(crate) struct Committed {
    /// (offset, value), aborted records left out.
    pub(crate) records: Vec<(i64, String)>,
    /// (producer, first offset) as answered.
    pub(crate) aborted: Vec<(i64, i64)>,
    pub(crate) next_offset: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) high_watermark: i64,
}

/// Reads once from `offset` and leaves out what is aborted, with the algorithm of Kafka's consumer.
pub(crate) async fn read_committed(
    partition: &Partition,
    offset: i64,
    max_bytes: usize,
) -> Committed {
    let request = ReadRequest {
        offset,
        max_bytes,
        min_one_batch: true,
        isolation: IsolationLevel::ReadCommitted,
    };
    let read = partition.read(request).await.expect("the read succeeds");
    let mut ahead: Vec<_> =
        read.aborted.iter().map(|aborted| (aborted.first_offset, aborted.producer_id)).collect();
    ahead.sort_unstable();
    ahead.reverse();
    let mut aborting = std::collections::BTreeSet::new();
    let mut committed = Committed {
        records: Vec::new(),
        aborted: read.aborted.iter().map(|a| (a.producer_id, a.first_offset)).collect(),
        next_offset: offset,
        last_stable_offset: read.last_stable_offset,
        high_watermark: read.high_watermark,
    };
    for batch in read.records.chunks().flat_map(|chunk| batch_refs(chunk)) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let header = *batch.header();
        committed.next_offset = header.next_offset();
        while let Some((_, producer)) =
            ahead.pop_if(|(first_offset, _)| *first_offset <= header.last_offset())
        {
            aborting.insert(producer);
        }
        if header.is_control() {
            let marker = EndTransactionMarker::of_batch(&batch).unwrap().expect("a marker");
            if !marker.commit {
                aborting.remove(&header.producer_id);
            }
        } else if !(header.is_transactional() && aborting.contains(&header.producer_id)) {
            let plain = batch
                .decompressed(protocol::records::DecompressLimit { max_bytes: 64 << 20 })
                .unwrap();
            for record in plain.iter() {
                let record = record.unwrap();
                let at = header.base_offset + i64::from(record.offset_delta);
                if at >= offset {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    let value = match record.value {
                        Some(value) => text(value),
                        None => model::tombstone_of(&text(record.key.unwrap())),
                    };
                    committed.records.push((at, value));
                }
            }
        }
    }
    committed
}

fn values(committed: &Committed) -> Vec<&str> {
    committed.records.iter().map(|(_, value)| value.as_str()).collect()
}

async fn acked(appended: Result<Appended, AppendError>) -> i64 {
    let appended = appended.expect("the append is accepted");
    appended.ticket.wait().await.expect("the append is acknowledged");
    appended.base_offset
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_transaction_is_read_before_its_marker_is_durable() {
    let mut machine = Machine::new(900);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    produce(&partition, &batch(None, START_MS, &["before"])).await.unwrap();
    acked(append_verified(&partition, (7, 0, 0), &["a", "b"])).await;
    produce(&partition, &batch(None, START_MS, &["between"])).await.unwrap();
    assert_eq!(partition.offsets().last_stable, 1);
    assert_eq!(values(&read_committed(&partition, 0, 1 << 20).await), ["before"]);
    let marker = partition.append_marker(end(7, 1, true), Acks::All).unwrap();
    assert_eq!(partition.offsets().last_stable, 1, "the marker may be taken back");
    marker.ticket.wait().await.unwrap();
    let offsets = partition.offsets();
    assert_eq!((offsets.last_stable, offsets.high_watermark), (5, 5));
    let read = read_committed(&partition, 0, 1 << 20).await;
    assert_eq!(values(&read), ["before", "a", "b", "between"]);
    assert!(read.aborted.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_aborted_transaction_is_named_to_those_who_read_any_of_it() {
    let mut machine = Machine::new(901);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    acked(append_verified(&partition, (7, 0, 0), &["gone"])).await;
    acked(append_verified(&partition, (8, 0, 0), &["kept"])).await;
    acked(partition.append_marker(end(7, 1, false), Acks::All)).await;
    acked(partition.append_marker(end(8, 1, true), Acks::All)).await;
    let whole = read_committed(&partition, 0, 1 << 20).await;
    assert_eq!((values(&whole), &whole.aborted), (vec!["kept"], &vec![(7, 0)]));
    assert_eq!(read_committed(&partition, 2, 1 << 20).await.aborted, [(7, 0)], "its marker");
    assert!(read_committed(&partition, 3, 1 << 20).await.aborted.is_empty());
    assert!(read_committed(&partition, 4, 1 << 20).await.aborted.is_empty());
    let known = partition.aborted_transactions(0, 4);
    assert_eq!((known[0].producer_id, known[0].last_offset), (7, 2));
}

#[tokio::test(start_paused = true)]
async fn a_late_batch_lands_in_no_transaction() {
    let mut machine = Machine::new(902);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    let verify = |epoch| partition.begin_verification(ProducerId(7), epoch, 0, false).unwrap();
    let guard = verify(0);
    assert!(guard.is_some());
    // Aborted by its coordinator while the batch is on its way.
    let marker = EndTransaction { transaction_version: 1, ..end(7, 0, false) };
    acked(partition.append_marker(marker, Acks::All)).await;
    let late = append_guarded(&partition, &txn_batch(7, 0, 0, &["late"]), guard);
    assert!(matches!(late, Err(AppendError::InvalidTxnState { .. })));
    let next = verify(0);
    let late = append_guarded(&partition, &txn_batch(7, 0, 0, &["late"]), guard);
    assert!(matches!(late, Err(AppendError::InvalidTxnState { .. })));
    acked(append_guarded(&partition, &txn_batch(7, 0, 0, &["next"]), next)).await;
    // With version 2 the epoch alone keeps it out.
    acked(partition.append_marker(end(7, 1, true), Acks::All)).await;
    let late = append_guarded(&partition, &txn_batch(7, 0, 1, &["late"]), None);
    assert!(matches!(late, Err(AppendError::Sequence(SequenceError::StaleEpoch { .. }))));
}

#[tokio::test(start_paused = true)]
async fn an_open_transaction_and_its_coordinator_survive_crashes_and_uploads() {
    for upload in [false, true] {
        let mut machine = Machine::new(903);
        let broker = machine.start(1).await;
        let partition = broker.partition(0);
        acked(append_verified(&partition, (8, 0, 0), &["x"])).await;
        acked(partition.append_marker(end(8, 1, false), Acks::All)).await;
        acked(append_verified(&partition, (7, 3, 0), &["a"])).await;
        if upload {
            broker.log.shutdown().await;
        }
        machine.power_loss(broker);
        let broker = machine.start(1).await;
        let partition = broker.partition(0);
        assert_eq!(partition.offsets().last_stable, 2);
        let producers = partition.producers();
        let state: Vec<_> = producers
            .iter()
            .map(|p| (p.producer_id.0, p.producer_epoch, p.coordinator_epoch, p.txn_first_offset))
            .collect();
        assert_eq!(state, [(7, 3, -1, Some(2)), (8, 1, 0, None)]);
        assert!(partition.begin_verification(ProducerId(7), 3, 1, true).unwrap().is_none());
        acked(append_verified(&partition, (7, 3, 1), &["b"])).await;
        acked(partition.append_marker(end(7, 4, true), Acks::All)).await;
        let read = read_committed(&partition, 0, 1 << 20).await;
        assert_eq!((values(&read), &read.aborted), (vec!["a", "b"], &vec![(8, 0)]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_reads_no_footer_that_the_snapshot_covers() {
    let mut machine = Machine::new(905);
    let broker = machine.start(2).await;
    acked(append_verified(&broker.partition(0), (7, 0, 0), &["a"])).await;
    acked(append_verified(&broker.partition(0), (8, 0, 0), &["b"])).await;
    acked(broker.partition(0).append_marker(end(8, 1, false), Acks::All)).await;
    produce(&broker.partition(1), &batch(None, START_MS, &["plain"])).await.unwrap();
    broker.log.shutdown().await;
    machine.kill(broker);
    // All that is left of the objects is what metadata and the snapshot say of them.
    machine.delete_objects("/l0/").await;
    let broker = machine.start(2).await;
    let partition = broker.partition(0);
    assert_eq!(partition.offsets().last_stable, 0);
    assert_eq!(partition.producers()[0].txn_first_offset, Some(0));
    acked(partition.append_marker(end(7, 1, true), Acks::All)).await;
    assert_eq!(partition.aborted_transactions(0, 4).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_marker_is_found_by_its_time() {
    let mut machine = Machine::new(906);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    acked(append_verified(&partition, (7, 0, 0), &["a"])).await;
    pause(1_000).await;
    acked(partition.append_marker(end(7, 1, true), Acks::All)).await;
    let latest = partition.max_timestamp_offset(IsolationLevel::ReadCommitted).await.unwrap();
    assert_eq!(latest.map(|found| found.offset), Some(1));
    let later = partition.offset_for_timestamp(START_MS + 1, IsolationLevel::ReadCommitted).await;
    assert_eq!(later.unwrap().map(|found| found.offset), Some(1));
}

#[tokio::test(start_paused = true)]
async fn deleting_records_moves_the_last_stable_offset_along_and_wakes_readers() {
    let mut machine = Machine::new(904);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    acked(append_verified(&partition, (7, 0, 0), &["a", "b", "c"])).await;
    produce(&partition, &batch(None, START_MS, &["d"])).await.unwrap();
    assert_eq!(partition.offsets().last_stable, 0);
    let waiter = std::sync::Arc::new(streamhouse_storage::ReadWaiter::new());
    partition.watch(&waiter);
    assert_eq!(partition.delete_records(2).await.unwrap(), 2);
    waiter.woken().await;
    assert_eq!(partition.offsets().last_stable, 2);
    assert_eq!(partition.delete_records(-1).await.unwrap(), 4);
    let offsets = partition.offsets();
    assert_eq!((offsets.log_start, offsets.last_stable, offsets.high_watermark), (4, 4, 4));
    // Still open, as in Kafka.
    assert_eq!(partition.producers()[0].txn_first_offset, Some(0));
    acked(partition.append_marker(end(7, 1, false), Acks::All)).await;
    assert_eq!(read_committed(&partition, 4, 1 << 20).await.aborted, [(7, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_believes_in_another_end_of_its_log_is_refused() {
    let mut machine = Machine::new(905);
    let broker = machine.start(1).await;
    let partition = broker.partition(0);
    let append = |log_end| {
        let bytes = batch(None, START_MS, &["a"]);
        let records =
            ValidatedRecords::trusted(bytes, TimestampType::CreateTime, START_MS).unwrap();
        partition.append_as(records, Acks::All, AppendOrigin::Coordinator { log_end }, None)
    };
    acked(append(0)).await;
    assert!(matches!(append(0), Err(AppendError::Moved { expected: 0, actual: 1 })));
    assert!(matches!(append(2), Err(AppendError::Moved { expected: 2, actual: 1 })));
    let late = partition.append_marker_at(end(7, 1, true), 0, Acks::All);
    assert!(matches!(late, Err(AppendError::Moved { expected: 0, actual: 1 })));
    acked(append(1)).await;
    acked(partition.append_marker_at(end(7, 1, true), 2, Acks::All)).await;
    assert_eq!(partition.offsets().log_end, 3);
}
