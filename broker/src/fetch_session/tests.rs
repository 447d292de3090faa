//! Fetch sessions against the rules of KIP-227 and of Kafka's `FetchSessionCacheShard`.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use common::clock::TokioClock;
use protocol::{
    Records,
    messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic},
};
use uuid::Uuid;

use super::*;

fn sessions(slots_max: usize) -> FetchSessions {
    FetchSessions::new(slots_max, Arc::new(TokioClock::starting_at(0)), Rng::seeded(1))
}

fn fetch(session: (i32, i32), partitions: &[(i32, i64)]) -> FetchRequest {
    let of = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic: "t".to_owned(),
        topic_id: Uuid::from_u128(1),
        partitions: partitions.iter().map(of).collect(),
    };
    FetchRequest {
        session_id: session.0,
        session_epoch: session.1,
        topics: if partitions.is_empty() { Vec::new() } else { vec![topic] },
        ..Default::default()
    }
}

fn data(partition: i32, high_watermark: i64, records: &'static [u8]) -> PartitionData {
    PartitionData {
        partition_index: partition,
        high_watermark,
        log_start_offset: 0,
        records: Some(Records::from(Bytes::from_static(records))),
        ..Default::default()
    }
}

/// Answers every partition of the context with `high_watermark` and no records.
fn answer(sessions: &FetchSessions, context: &FetchContext, high_watermark: i64) -> SessionAnswer {
    let results = context
        .partitions
        .iter()
        .map(|(key, _)| (key.clone(), data(key.partition, high_watermark, b"")))
        .collect();
    sessions.finish(context, results)
}

fn create(sessions: &FetchSessions, partitions: &[(i32, i64)]) -> i32 {
    let context = sessions.begin(&fetch((0, 0), partitions), 12);
    answer(sessions, &context, 5).session_id
}

fn indexes(answer: &SessionAnswer) -> Vec<i32> {
    answer.partitions.iter().map(|(key, _)| key.partition).collect()
}

#[tokio::test(start_paused = true)]
async fn a_full_fetch_creates_a_session_and_answers_everything() {
    let sessions = sessions(10);
    let context = sessions.begin(&fetch((0, 0), &[(0, 0), (1, 0)]), 12);
    let answer = answer(&sessions, &context, 5);
    assert_ne!(answer.session_id, 0);
    assert_eq!((answer.error, indexes(&answer)), (ErrorCode::None, vec![0, 1]));
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_final_epoch_never_creates_a_session_and_closes_one() {
    let sessions = sessions(10);
    let id = create(&sessions, &[(0, 0)]);
    let context = sessions.begin(&fetch((id, -1), &[(0, 0)]), 12);
    assert_eq!(answer(&sessions, &context, 5).session_id, 0);
    assert!(sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_incremental_answer_names_only_what_changed() {
    let sessions = sessions(10);
    let id = create(&sessions, &[(0, 0), (1, 0), (2, 0)]);
    let context = sessions.begin(&fetch((id, 1), &[]), 12);
    assert_eq!(context.partitions.len(), 3);
    let key = |at: usize| context.partitions[at].0.clone();
    let results =
        vec![(key(0), data(0, 5, b"")), (key(1), data(1, 6, b"")), (key(2), data(2, 5, b"x"))];
    let answer = sessions.finish(&context, results);
    assert_eq!((answer.session_id, indexes(&answer)), (id, vec![1, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_partition_with_records_goes_to_the_end() {
    let sessions = sessions(10);
    let id = create(&sessions, &[(0, 0), (1, 0), (2, 0)]);
    let context = sessions.begin(&fetch((id, 1), &[]), 12);
    let results = vec![(context.partitions[0].0.clone(), data(0, 9, b"x"))];
    sessions.finish(&context, results);
    let context = sessions.begin(&fetch((id, 2), &[]), 12);
    let order: Vec<_> = context.partitions.iter().map(|(key, _)| key.partition).collect();
    assert_eq!(order, [1, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_answered_each_time_and_its_end_too() {
    let sessions = sessions(10);
    let id = create(&sessions, &[(0, 0)]);
    let failed = PartitionData { error_code: 3, high_watermark: -1, ..data(0, -1, b"") };
    for (epoch, result, answered) in
        [(1, failed.clone(), 1), (2, failed, 1), (3, data(0, 5, b""), 1), (4, data(0, 5, b""), 0)]
    {
        let context = sessions.begin(&fetch((id, epoch), &[]), 12);
        let results = vec![(context.partitions[0].0.clone(), result)];
        assert_eq!(sessions.finish(&context, results).partitions.len(), answered, "epoch {epoch}");
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_are_added_changed_and_forgotten() {
    let sessions = sessions(10);
    let id = create(&sessions, &[(0, 0), (1, 0)]);
    let mut request = fetch((id, 1), &[(1, 7), (2, 3)]);
    request.forgotten_topics_data = vec![ForgottenTopic {
        topic: "t".to_owned(),
        topic_id: Uuid::nil(),
        partitions: vec![0, 9],
    }];
    let context = sessions.begin(&request, 12);
    let asked: Vec<_> =
        context.partitions.iter().map(|(key, fetch)| (key.partition, fetch.fetch_offset)).collect();
    assert_eq!(asked, [(1, 7), (2, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_session_without_partitions_is_closed() {
    let sessions = sessions(10);
    let id = create(&sessions, &[(0, 0)]);
    let mut request = fetch((id, 1), &[]);
    request.forgotten_topics_data =
        vec![ForgottenTopic { topic: "t".to_owned(), partitions: vec![0], ..Default::default() }];
    let context = sessions.begin(&request, 12);
    assert_eq!(answer(&sessions, &context, 5).session_id, 0);
    assert!(sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn unknown_sessions_wrong_epochs_and_mixed_topic_ids_are_refused() {
    let sessions = sessions(10);
    let id = create(&sessions, &[(0, 0)]);
    for (session, version, expected) in [
        ((id.wrapping_add(1), 1), 12, ErrorCode::FetchSessionIdNotFound),
        ((0, 1), 12, ErrorCode::FetchSessionIdNotFound),
        ((id, 2), 12, ErrorCode::InvalidFetchSessionEpoch),
        ((id, 1), 13, ErrorCode::FetchSessionTopicIdError),
    ] {
        let context = sessions.begin(&fetch(session, &[]), version);
        let answer = answer(&sessions, &context, 5);
        assert_eq!((answer.error, answer.session_id), (expected, 0), "{session:?} v{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_overtaken_is_told_so() {
    let sessions = sessions(10);
    let id = create(&sessions, &[(0, 0)]);
    let slow = sessions.begin(&fetch((id, 1), &[]), 12);
    let _fast = sessions.begin(&fetch((id, 2), &[]), 12);
    assert_eq!(answer(&sessions, &slow, 5).error, ErrorCode::InvalidFetchSessionEpoch);
}

#[test]
fn the_epoch_wraps_past_zero() {
    assert_eq!(next_epoch(0), 1);
    assert_eq!(next_epoch(i32::MAX), 1);
    assert_eq!(next_epoch(FINAL_EPOCH), FINAL_EPOCH);
}

#[tokio::test(start_paused = true)]
async fn a_full_cache_evicts_the_stale_then_the_smaller_and_nothing_young() {
    let sessions = sessions(2);
    let small = create(&sessions, &[(0, 0)]);
    let large = create(&sessions, &[(0, 0), (1, 0), (2, 0)]);
    assert_eq!(create(&sessions, &[(0, 0), (1, 0)]), 0, "both are young");

    // Both are old now, but in use: only a smaller one gives way.
    tokio::time::advance(EVICTION_AFTER - Duration::from_secs(1)).await;
    for id in [small, large] {
        let context = sessions.begin(&fetch((id, 1), &[]), 12);
        answer(&sessions, &context, 5);
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(create(&sessions, &[(0, 0)]), 0, "none is smaller");
    assert_ne!(create(&sessions, &[(0, 0), (1, 0)]), 0, "the small one goes");
    let gone = sessions.begin(&fetch((small, 2), &[]), 12);
    assert_eq!(answer(&sessions, &gone, 5).error, ErrorCode::FetchSessionIdNotFound);

    // What nobody has used for long goes whatever its size.
    tokio::time::advance(EVICTION_AFTER + Duration::from_secs(1)).await;
    assert_ne!(create(&sessions, &[(0, 0)]), 0);
    let gone = sessions.begin(&fetch((large, 2), &[]), 12);
    assert_eq!(answer(&sessions, &gone, 5).error, ErrorCode::FetchSessionIdNotFound);
}

#[tokio::test(start_paused = true)]
async fn of_duplicate_partitions_the_last_counts() {
    let sessions = sessions(1);
    let context = sessions.begin(&fetch((0, -1), &[(0, 1), (1, 2), (0, 3)]), 12);
    let asked: Vec<_> =
        context.partitions.iter().map(|(key, fetch)| (key.partition, fetch.fetch_offset)).collect();
    assert_eq!(asked, [(0, 3), (1, 2)]);
}
