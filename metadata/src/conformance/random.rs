//! Random sequences of operations on the in-memory store and another one side by side: the
//! results are the same, the rows are the same, and the invariants of extents hold.

use std::collections::BTreeMap;

use common::{ObjectId, PartitionKey};
use proptest::prelude::*;

use super::{extent, key, l0_commit, new_object, new_topic, object_id, open, topic_id};
use crate::{
    Fence, Image, L1Commit, L1Input, L1Output, LogStart, MemoryStore, MetadataStore, NewEpochStart,
    Partition, ReadableEnd,
    model::{Extent, ObjectLevel, ObjectRow, ObjectState},
};

/// An operation in outline; indexes are resolved against the rows at that moment, so that most
/// requests are nearly right.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    OpenSession,
    CreateTopic { n: u8, partitions: u8 },
    DeleteTopic { n: u8 },
    CreatePartitions { n: u8, off: i32 },
    SetTopicConfigs { n: u8, version_off: i64 },
    Acquire,
    RecordEpochStarts { pick: u8, epoch_off: i32, start: i64 },
    AdvanceLogStart { pick: u8, epoch_off: i32, by: i64 },
    RecordReadableEnd { pick: u8, epoch_off: i32, end: Option<i64> },
    Register { n: u8, l1: bool },
    CommitL0 { pick: u8, extents: Vec<(u8, i32, i64, i64)> },
    CommitL1 { partition: u8, first: u8, count: u8, outputs: u8, off: i64, epoch_off: i32 },
    Trim { pick: u8, above: bool },
    MarkDead { n: u8 },
    Forget { n: u8 },
    AllocateProducerIds { count: i64 },
    PutPointer { name: u8, value: Vec<u8> },
}

/// Mostly 0, at times one off.
fn off() -> impl Strategy<Value = i64> {
    prop_oneof![9 => Just(0_i64), 1 => -1..=1_i64]
}

fn epoch_off() -> impl Strategy<Value = i32> {
    prop_oneof![12 => Just(0_i32), 1 => -1..=1_i32]
}

fn op() -> impl Strategy<Value = Op> {
    use Op::*;
    let extents = prop::collection::vec((any::<u8>(), epoch_off(), off(), 1..6_i64), 0..5);
    prop_oneof![
        1 => Just(OpenSession),
        3 => (0..3_u8, 0..3_u8).prop_map(|(n, partitions)| CreateTopic { n, partitions }),
        1 => (0..3_u8).prop_map(|n| DeleteTopic { n }),
        1 => (0..3_u8, epoch_off()).prop_map(|(n, off)| CreatePartitions { n, off }),
        1 => (0..3_u8, off()).prop_map(|(n, version_off)| SetTopicConfigs { n, version_off }),
        1 => Just(Acquire),
        1 => (any::<u8>(), epoch_off(), 0..40_i64)
            .prop_map(|(pick, epoch_off, start)| RecordEpochStarts { pick, epoch_off, start }),
        2 => (any::<u8>(), epoch_off(), -2..8_i64)
            .prop_map(|(pick, epoch_off, by)| AdvanceLogStart { pick, epoch_off, by }),
        1 => (any::<u8>(), epoch_off(), prop::option::of(-1..40_i64))
            .prop_map(|(pick, epoch_off, end)| RecordReadableEnd { pick, epoch_off, end }),
        6 => (0..40_u8, any::<bool>()).prop_map(|(n, l1)| Register { n, l1 }),
        8 => (any::<u8>(), extents).prop_map(|(pick, extents)| CommitL0 { pick, extents }),
        6 => (any::<u8>(), any::<u8>(), 0..4_u8, 0..3_u8, off(), epoch_off()).prop_map(
            |(partition, first, count, outputs, off, epoch_off)| CommitL1 {
                partition, first, count, outputs, off, epoch_off
            }
        ),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(pick, above)| Trim { pick, above }),
        1 => (0..40_u8).prop_map(|n| MarkDead { n }),
        1 => (0..40_u8).prop_map(|n| Forget { n }),
        1 => (-1..5_i64).prop_map(|count| AllocateProducerIds { count }),
        1 => (0..2_u8, any::<Vec<u8>>()).prop_map(|(name, value)| PutPointer { name, value }),
    ]
}

/// A sequence of operations, long enough for objects to be compacted and trimmed.
pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 20..90)
}

/// Runs the sequence on both stores.
pub(crate) async fn compare(reference: &MemoryStore, other: &impl MetadataStore, ops: Vec<Op>) {
    let mut fence = open(reference).await.fence;
    assert_eq!(open(other).await.fence, fence);
    for op in ops {
        let rows = View::of(reference).await;
        let expected = apply(reference, &mut fence.clone(), &rows, &op).await;
        let found = apply(other, &mut fence, &rows, &op).await;
        assert_eq!(found, expected, "{op:?}");
        let expected = reference.export().await.unwrap();
        let found = other.export().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected), "{op:?}");
        assert_eq!(other.load().await, reference.load().await);
        assert_eq!(other.committed_objects().await, reference.committed_objects().await);
        check_extents(&View::of(other).await);
    }
}

/// What the outlines are resolved against.
struct View {
    image: Image,
    partitions: Vec<(PartitionKey, Partition)>,
    registered: Vec<ObjectRow>,
    committed: Vec<ObjectRow>,
}

impl View {
    async fn of(store: &impl MetadataStore) -> Self {
        let image = store.load().await.unwrap();
        let mut partitions = Vec::new();
        for topic in &image.topics {
            for row in &topic.partitions {
                let key = PartitionKey { topic_id: topic.id, partition: row.partition };
                partitions.push((key, row.clone()));
            }
        }
        let registered = store.list_objects(ObjectState::Registered, usize::MAX).await.unwrap();
        let committed = store.committed_objects().await.unwrap();
        Self { image, partitions, registered, committed }
    }

    /// A partition, or one that does not exist where there is none.
    fn partition(&self, pick: u8) -> (PartitionKey, Partition) {
        let absent = || (key(77, 0), self.absent_partition());
        let index = usize::from(pick).checked_rem(self.partitions.len());
        index.map_or_else(absent, |index| self.partitions[index].clone())
    }

    fn absent_partition(&self) -> Partition {
        Partition {
            partition: 0,
            replicas: Vec::new(),
            owner: crate::NODE_ID_DEFAULT,
            leader_epoch: 0,
            epoch_starts: Vec::new(),
            log_start_offset: 0,
            committed_end_offset: 0,
            readable_end_offset: None,
        }
    }

    fn registered(&self, level: ObjectLevel) -> Vec<ObjectId> {
        self.registered.iter().filter(|row| row.level == level).map(|row| row.id).collect()
    }

    /// The extents of a partition with their objects, in order.
    fn extents(&self, key: PartitionKey) -> Vec<(ObjectId, Extent)> {
        let of = |row: &ObjectRow| {
            let id = row.id;
            let extents = row.extents.clone().into_iter().filter(move |extent| extent.key == key);
            extents.map(move |extent| (id, extent)).collect::<Vec<_>>()
        };
        let mut found: Vec<_> = self.committed.iter().flat_map(of).collect();
        found.sort_by_key(|(_, extent)| extent.base_offset);
        found
    }
}

/// LOG-5 as far as it is the store's: a partition's extents never overlap, and leave no gap from
/// the log start offset to the committed end.
fn check_extents(rows: &View) {
    let mut partitions_with_extents: Vec<_> =
        rows.committed.iter().flat_map(|row| &row.extents).map(|extent| extent.key).collect();
    partitions_with_extents.dedup();
    for key in partitions_with_extents {
        assert!(rows.partitions.iter().any(|(other, _)| *other == key), "extent of deleted {key}");
    }
    for (key, partition) in &rows.partitions {
        let mut covered = 0;
        for (_, extent) in rows.extents(*key) {
            let gap = covered..extent.base_offset;
            assert!(covered <= extent.base_offset, "{key} has {covered} twice");
            assert!(gap.is_empty() || gap.end <= partition.log_start_offset, "{key}: {gap:?}");
            covered = extent.end_offset;
        }
        let gap = covered..partition.committed_end_offset;
        assert!(covered <= partition.committed_end_offset, "{key} ends at {covered}");
        assert!(gap.is_empty() || gap.end <= partition.log_start_offset, "{key}: {gap:?}");
        let starts = &partition.epoch_starts;
        let ascend = |pair: &[crate::EpochStart]| {
            pair[0].epoch < pair[1].epoch && pair[0].start_offset < pair[1].start_offset
        };
        assert!(starts.windows(2).all(ascend) && !starts.is_empty(), "{key}: {starts:?}");
    }
}

async fn apply(store: &impl MetadataStore, fence: &mut Fence, rows: &View, op: &Op) -> String {
    match op.clone() {
        Op::OpenSession => {
            let session = open(store).await;
            *fence = session.fence;
            format!("{session:?}")
        }
        Op::Register { n, l1 } => {
            let level = if l1 { ObjectLevel::L1 } else { ObjectLevel::L0 };
            let object = new_object(u128::from(n), level);
            format!("{:?}", store.register_object(fence, object).await)
        }
        Op::CommitL0 { pick, extents } => {
            let ids = rows.registered(ObjectLevel::L0);
            let index = usize::from(pick).checked_rem(ids.len());
            let id = index.map_or(object_id(99), |index| ids[index]);
            let commit = l0_commit(id.0.as_u128(), l0_extents(rows, &extents));
            format!("{:?}", store.commit_l0(fence, commit).await)
        }
        Op::CommitL1 { partition, first, count, outputs, off, epoch_off } => {
            let commit = l1_commit(rows, partition, (first, count), outputs, (off, epoch_off));
            format!("{:?}", store.commit_l1(fence, commit).await)
        }
        Op::Trim { pick, above } => {
            let (key, row) = rows.partition(pick);
            let below = row.log_start_offset + i64::from(above);
            let trim = LogStart { key, leader_epoch: row.leader_epoch, log_start_offset: below };
            format!("{:?}", store.trim_objects(fence, vec![trim]).await)
        }
        Op::MarkDead { n } => {
            format!("{:?}", store.mark_dead(fence, &[object_id(u128::from(n))]).await)
        }
        Op::Forget { n } => {
            format!("{:?}", store.forget_objects(fence, &[object_id(u128::from(n))]).await)
        }
        Op::AllocateProducerIds { count } => {
            format!("{:?}", store.allocate_producer_ids(fence, count).await)
        }
        Op::PutPointer { name, value } => {
            format!("{:?}", store.put_pointer(fence, &name.to_string(), value).await)
        }
        other => apply_to_topics(store, fence, rows, other).await,
    }
}

async fn apply_to_topics(store: &impl MetadataStore, fence: &Fence, rows: &View, op: Op) -> String {
    let topic = |n: u8| rows.image.topics.iter().find(|row| row.id == topic_id(u128::from(n)));
    match op {
        Op::CreateTopic { n, partitions } => {
            let topic = new_topic(u128::from(n), usize::from(partitions));
            format!("{:?}", store.create_topic(fence, topic).await)
        }
        Op::DeleteTopic { n } => {
            format!("{:?}", store.delete_topic(fence, topic_id(u128::from(n)), None).await)
        }
        Op::CreatePartitions { n, off } => {
            let count = topic(n).map_or(0, |row| i32::try_from(row.partitions.len()).unwrap());
            let id = topic_id(u128::from(n));
            format!("{:?}", store.create_partitions(fence, id, count + off, vec![vec![4]]).await)
        }
        Op::SetTopicConfigs { n, version_off } => {
            let version = topic(n).map_or(0, |row| row.config_version) + version_off;
            let values = BTreeMap::from([("key".to_owned(), version.to_string())]);
            let id = topic_id(u128::from(n));
            format!("{:?}", store.set_topic_configs(fence, id, version, values).await)
        }
        Op::RecordEpochStarts { pick, epoch_off, start } => {
            let (key, row) = rows.partition(pick);
            let epoch = row.leader_epoch + epoch_off;
            let start = NewEpochStart { key, epoch, start_offset: start };
            format!("{:?}", store.record_epoch_starts(fence, vec![start]).await)
        }
        Op::AdvanceLogStart { pick, epoch_off, by } => {
            let (key, row) = rows.partition(pick);
            let leader_epoch = row.leader_epoch + epoch_off;
            let log_start_offset = row.log_start_offset + by;
            let start = LogStart { key, leader_epoch, log_start_offset };
            format!("{:?}", store.advance_log_start(fence, vec![start]).await)
        }
        Op::RecordReadableEnd { pick, epoch_off, end } => {
            let (key, row) = rows.partition(pick);
            let leader_epoch = row.leader_epoch + epoch_off;
            let end = ReadableEnd { key, leader_epoch, readable_end_offset: end };
            format!("{:?}", store.record_readable_ends(fence, vec![end]).await)
        }
        other => {
            assert!(matches!(other, Op::Acquire), "{other:?}");
            format!("{:?}", store.acquire_partitions(fence).await)
        }
    }
}

fn l0_extents(rows: &View, outline: &[(u8, i32, i64, i64)]) -> Vec<Extent> {
    let resolve = |&(pick, epoch_off, off, length): &(u8, i32, i64, i64)| {
        let (key, row) = rows.partition(pick);
        let base = row.committed_end_offset + off;
        extent(key, row.leader_epoch + epoch_off, base, base + length)
    };
    outline.iter().map(resolve).collect()
}

fn l1_commit(
    rows: &View,
    partition: u8,
    (first, count): (u8, u8),
    outputs: u8,
    (off, epoch_off): (i64, i32),
) -> L1Commit {
    let (key, row) = rows.partition(partition);
    let extents = rows.extents(key);
    let first = usize::from(first).checked_rem(extents.len()).unwrap_or(0);
    let mut taken: Vec<_> = extents.into_iter().skip(first).take(usize::from(count)).collect();
    if let Some((_, last)) = taken.last_mut() {
        last.end_offset += off;
    }
    let base = taken.first().map_or(0, |(_, extent)| extent.base_offset);
    let end = taken.last().map_or(1, |(_, extent)| extent.end_offset);
    let leader_epoch = row.leader_epoch + epoch_off;
    let input = |(id, extent): (ObjectId, Extent)| L1Input {
        id,
        base_offset: extent.base_offset,
        end_offset: extent.end_offset,
    };
    let bounds = match outputs {
        0 => Vec::new(),
        1 => vec![(base, end)],
        _ => vec![(base, base + (end - base) / 2), (base + (end - base) / 2, end)],
    };
    let ids = rows.registered(ObjectLevel::L1).into_iter().chain([object_id(98), object_id(97)]);
    let output = |(id, (base, end))| L1Output {
        id,
        size: 7,
        footer_position: 6,
        extent: extent(key, leader_epoch, base, end),
    };
    L1Commit {
        key,
        leader_epoch,
        inputs: taken.into_iter().map(input).collect(),
        outputs: ids.zip(bounds).map(output).collect(),
    }
}
