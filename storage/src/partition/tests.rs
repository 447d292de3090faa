//! A partition's state: runs, extents, files let go of, what a synced block and a commit change.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io;

use bytes::Bytes;
use common::TopicId;
use metadata::ObjectLevel;
use protocol::records::{CompressionPolicy, TimestampType};
use uuid::Uuid;

use super::*;
use crate::{
    compaction::CleaningPolicy,
    config::{CleanupPolicy, Durability},
    read::Step,
    wal::{WalFileRef, WalRead},
};

#[derive(Debug)]
struct Empty;

impl WalRead for Empty {
    fn read_at(&self, _: u64, _: usize) -> io::Result<Bytes> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }
}

fn state() -> State {
    let config = TopicLogConfig {
        max_message_bytes: 1 << 20,
        compression: CompressionPolicy::Producer,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        retention_ms: None,
        retention_bytes: None,
        cleanup_policy: CleanupPolicy { delete: true, compact: false },
        cleaning: CleaningPolicy::default(),
        segment_ms: i64::MAX,
        segment_bytes: u64::MAX,
        durability: Durability::Local,
    };
    let restored = Restored {
        leader_epoch: LeaderEpoch(0),
        epochs: Epochs::default(),
        log_start: 0,
        committed_end: 0,
        readable_end: None,
        extents: Vec::new(),
    };
    State::new(Arc::new(config), restored)
}

fn push(state: &mut State, offset: i64, file: &Arc<WalFileRef>) {
    let run = Run {
        base_offset: offset,
        last_offset: offset,
        max_timestamp: 0,
        leader_epoch: 0,
        file: Arc::clone(file),
        position: 0,
        len: 1,
        data: Some(Bytes::from_static(b"x")),
    };
    state.runs.push_back(run.into());
    state.synced_end = offset + 1;
}

fn extent(base_offset: i64, end_offset: i64) -> StoredExtent {
    let object = ObjectRef {
        id: ObjectId(Uuid::nil()),
        key: String::new(),
        level: ObjectLevel::L0,
        size: 0,
        footer_position: 0,
        origin: None,
    };
    let key = PartitionKey { topic_id: TopicId(Uuid::nil()), partition: 0 };
    let extent = Extent {
        key,
        leader_epoch: 0,
        base_offset,
        end_offset,
        bytes: 1,
        first_position: 0,
        min_timestamp: 0,
        max_timestamp: 0,
    };
    StoredExtent { object: Arc::new(object), extent }
}

#[test]
fn a_file_is_let_go_of_when_an_object_has_its_runs_though_they_stay_in_memory() {
    let file = |id| Arc::new(WalFileRef::new(id, 0, Arc::new(Empty)));
    let (first, second) = (file(1), file(2));
    let mut state = state();
    push(&mut state, 0, &first);
    push(&mut state, 1, &first);
    push(&mut state, 2, &second);
    drop(state.take_extent(extent(0, 1)));
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (2, 2));
    drop(state.take_extent(extent(1, 2)));
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 2));
    assert!(matches!(state.plan(0, 3), Step::Hot(_)));
    // Out of memory, in no file: the object has it, even while it is still listed.
    state.runs[1].data = None;
    assert!(matches!(state.plan(1, 3), Step::Cold { .. }));
    state.runs[2].data = None;
    assert!(matches!(state.plan(2, 3), Step::Warm { .. }));
    assert!(matches!(state.plan(3, 4), Step::Missing));
}

#[test]
fn acknowledgements_that_nobody_waits_for_do_not_pile_up() {
    let mut state = state();
    let (done, _waiting) = oneshot::channel();
    state.wait_for_ack(PendingAck { end_offset: 5, done });
    for end_offset in 6..1_000 {
        let (done, _) = oneshot::channel();
        state.wait_for_ack(PendingAck { end_offset, done });
    }
    assert!(state.pending.len() < 4, "{} are kept", state.pending.len());
    // A duplicate's original lies before the newest append.
    let (done, _earlier) = oneshot::channel();
    state.wait_for_ack(PendingAck { end_offset: 3, done });
    let order: Vec<_> = state.pending.iter().map(|ack| ack.end_offset).take(2).collect();
    assert_eq!(order, [3, 5]);
}

#[test]
fn a_compacted_partition_asks_for_an_object_by_age_with_and_without_timestamps() {
    for timestamp in [0, -1] {
        let mut state = state();
        let mut config = TopicLogConfig::clone(&state.config);
        config.cleanup_policy.compact = true;
        config.segment_ms = 1_000;
        state.config = Arc::new(config);
        let file = Arc::new(WalFileRef::new(1, 0, Arc::new(Empty)));
        push(&mut state, 0, &file);
        state.runs[0].max_timestamp = timestamp;
        assert!(!state.wants_seal(10), "{timestamp}");
        assert!(!state.wants_seal(999), "{timestamp}");
        assert!(state.wants_seal(1_010), "{timestamp}");
        state.synced_end = 0;
        assert!(!state.wants_seal(2_000), "{timestamp}");
    }
}
