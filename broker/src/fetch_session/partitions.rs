//! The partitions of a fetch, and those that a session remembers, in fetching order.
//!
//! Order is fairness: a partition that was answered with records goes to the end, so that a
//! response's byte bound does not starve the others.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{
    ErrorCode,
    messages::fetch::{FetchRequest, PartitionData},
};
use uuid::Uuid;

/// A topic as the request names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TopicRef {
    /// By name, before version 13.
    Name(Arc<str>),
    /// By id.
    Id(Uuid),
}

/// A partition as the request names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FetchKey {
    /// The topic.
    pub(crate) topic: TopicRef,
    /// The partition's index.
    pub(crate) partition: i32,
}

/// What is asked of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionFetch {
    /// First offset wanted.
    pub(crate) fetch_offset: i64,
    /// Bound on the records' bytes.
    pub(crate) max_bytes: i32,
    /// The client's idea of the leader epoch; -1 for none.
    pub(crate) current_leader_epoch: i32,
    /// The epoch of the last record that the client has; -1 for none.
    pub(crate) last_fetched_epoch: i32,
}

/// The partitions that a request names, in order; of duplicates the last counts, as in Kafka.
pub(crate) fn requested(
    request: &FetchRequest,
    uses_topic_ids: bool,
) -> Vec<(FetchKey, PartitionFetch)> {
    let mut at: BTreeMap<FetchKey, usize> = BTreeMap::new();
    let mut partitions: Vec<(FetchKey, PartitionFetch)> = Vec::new();
    for topic in &request.topics {
        let topic_ref = topic_ref(&topic.topic, topic.topic_id, uses_topic_ids);
        for partition in &topic.partitions {
            let key = FetchKey { topic: topic_ref.clone(), partition: partition.partition };
            let fetch = PartitionFetch {
                fetch_offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            };
            match at.get(&key).and_then(|at| partitions.get_mut(*at)) {
                Some(known) => known.1 = fetch,
                None => {
                    at.insert(key.clone(), partitions.len());
                    partitions.push((key, fetch));
                }
            }
        }
    }
    partitions
}

fn topic_ref(name: &str, id: Uuid, uses_topic_ids: bool) -> TopicRef {
    if uses_topic_ids { TopicRef::Id(id) } else { TopicRef::Name(name.into()) }
}

/// What a session remembers of a partition.
#[derive(Debug, Clone, Copy)]
struct Cached {
    fetch: PartitionFetch,
    /// As last answered; -1 after an error, so that the partition is answered once it is over.
    high_watermark: i64,
    log_start_offset: i64,
}

/// A session's partitions in fetching order.
#[derive(Debug, Default)]
pub(crate) struct CachedPartitions {
    by_key: BTreeMap<FetchKey, u64>,
    in_order: BTreeMap<u64, (FetchKey, Cached)>,
    next: u64,
}

impl CachedPartitions {
    /// Of a full fetch: everything asked for, with what was answered.
    pub(crate) fn new(
        asked: &[(FetchKey, PartitionFetch)],
        answered: &[(FetchKey, PartitionData)],
    ) -> Self {
        let mut partitions = Self::default();
        let answers: BTreeMap<_, _> = answered.iter().map(|(key, data)| (key, data)).collect();
        for (key, fetch) in asked {
            let answer = answers.get(key);
            partitions.push(
                key.clone(),
                Cached {
                    fetch: *fetch,
                    high_watermark: answer.map_or(-1, |data| data.high_watermark),
                    log_start_offset: answer.map_or(-1, |data| data.log_start_offset),
                },
            );
        }
        partitions
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Adds what is new and changes what is known.
    pub(crate) fn update(&mut self, changed: &[(FetchKey, PartitionFetch)]) {
        for (key, fetch) in changed {
            let known = self.by_key.get(key).and_then(|at| self.in_order.get_mut(at));
            match known {
                Some((_, cached)) => cached.fetch = *fetch,
                None => self.push(
                    key.clone(),
                    Cached { fetch: *fetch, high_watermark: -1, log_start_offset: -1 },
                ),
            }
        }
    }

    /// Drops what the request forgets.
    pub(crate) fn forget(&mut self, request: &FetchRequest, uses_topic_ids: bool) {
        for topic in &request.forgotten_topics_data {
            let topic_ref = topic_ref(&topic.topic, topic.topic_id, uses_topic_ids);
            for partition in &topic.partitions {
                let key = FetchKey { topic: topic_ref.clone(), partition: *partition };
                if let Some(at) = self.by_key.remove(&key) {
                    self.in_order.remove(&at);
                }
            }
        }
    }

    /// Everything that the session fetches.
    pub(crate) fn to_fetch(&self) -> Vec<(FetchKey, PartitionFetch)> {
        self.in_order.values().map(|(key, cached)| (key.clone(), cached.fetch)).collect()
    }

    /// Notes an answer; returns whether the client must see it (Kafka's
    /// `maybeUpdateResponseData`).
    pub(crate) fn answer(&mut self, key: &FetchKey, data: &PartitionData) -> bool {
        let Some(at) = self.by_key.get(key).copied() else { return false };
        let Some((_, cached)) = self.in_order.get_mut(&at) else { return false };
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let failed = data.error_code != ErrorCode::None.code();
        let moved = cached.high_watermark != data.high_watermark
            || cached.log_start_offset != data.log_start_offset;
        let diverging = data.diverging_epoch.epoch >= 0;
        cached.high_watermark = if failed { -1 } else { data.high_watermark };
        cached.log_start_offset = data.log_start_offset;
        if has_records && let Some((key, cached)) = self.in_order.remove(&at) {
            self.push(key, cached);
        }
        has_records || failed || moved || diverging
    }

    fn push(&mut self, key: FetchKey, cached: Cached) {
        self.by_key.insert(key.clone(), self.next);
        self.in_order.insert(self.next, (key, cached));
        self.next += 1;
    }
}
