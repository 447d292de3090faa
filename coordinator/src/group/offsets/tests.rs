//! Offsets on a shard: commits, fetches, transactions, expiry, deletion, and the same after a reload.

#![allow(clippy::unwrap_used)]

mod model;

use std::{sync::Arc, time::Duration};

use common::{ProducerId, TopicId};
use protocol::{
    ErrorCode,
    messages::{
        list_groups::ListGroupsRequest,
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
    },
};
use uuid::Uuid;

use super::*;
use crate::{
    group::{GroupConfig, GroupShard},
    testing::Driver,
    topics::{TopicDescription, TopicImage, TopicSource},
};

const ORDERS: Uuid = Uuid::from_u128(1);
const PAYMENTS: Uuid = Uuid::from_u128(2);

/// The topics `orders` and `payments`.
#[derive(Debug)]
struct TwoTopics;

impl TopicImage for TwoTopics {
    fn by_name(&self, name: &str) -> Option<TopicDescription> {
        let id = match name {
            "orders" => ORDERS,
            "payments" => PAYMENTS,
            _ => return None,
        };
        Some(TopicDescription { id: TopicId(id), name: name.to_owned(), partitions: 9 })
    }

    fn by_id(&self, id: TopicId) -> Option<TopicDescription> {
        let names = self.names();
        names.iter().filter_map(|name| self.by_name(name)).find(|topic| topic.id == id)
    }

    fn names(&self) -> Vec<String> {
        vec!["orders".to_owned(), "payments".to_owned()]
    }

    fn version(&self) -> u64 {
        1
    }

    fn racks(&self, _id: TopicId, _partition: i32) -> Vec<String> {
        Vec::new()
    }
}

fn shard() -> GroupShard {
    GroupShard::new(Arc::new(GroupConfig::default()), TopicSource::fixed(Arc::new(TwoTopics)))
}

fn commit(group: &str, topic: &str, index: i32, offset: i64) -> Commit {
    let partition = CommitPartition { index, offset, leader_epoch: -1, metadata: String::new() };
    let topic_id = if topic == "orders" { ORDERS } else { PAYMENTS };
    Commit {
        group_id: group.to_owned(),
        member_id: String::new(),
        group_instance_id: None,
        generation_or_epoch: -1,
        transactional: false,
        api_version: 9,
        retention_ms: None,
        topics: vec![CommitTopic { name: topic.to_owned(), topic_id, partitions: vec![partition] }],
    }
}

fn committed(driver: &mut Driver<GroupShard>, commit: &Commit) -> Result<CommitCodes, ErrorCode> {
    driver.run(|shard, context| shard.commit_offsets(context, commit)).0
}

fn in_transaction(driver: &mut Driver<GroupShard>, producer: i64, commit: Commit) {
    let commit = Commit { transactional: true, ..commit };
    let ((), _) = driver.run_transactional((ProducerId(producer), 0), |shard, context| {
        let outcome = shard.commit_offsets(context, &commit);
        assert!(outcome.response.is_ok());
        crate::group::GroupOutcome::write(outcome.records, ())
    });
}

fn fetch(shard: &GroupShard, group: &str, topic: &str, index: i32, stable: bool) -> (i64, i16) {
    let topics = vec![OffsetFetchRequestTopics {
        name: topic.to_owned(),
        partition_indexes: vec![index],
        ..Default::default()
    }];
    let request = OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        member_id: None,
        member_epoch: -1,
        topics: Some(topics),
    };
    let fetched = shard.fetch_offsets(&request, stable).unwrap();
    let partition = &fetched[0].partitions[0];
    (partition.committed_offset, partition.error_code)
}

#[test]
fn a_committed_offset_is_read_back_also_after_a_reload() {
    let mut driver = Driver::new(shard());
    assert_eq!(
        committed(&mut driver, &commit("g", "orders", 3, 42)),
        Ok(vec![vec![ErrorCode::None]])
    );
    for shard in [&driver.shard, &driver.reloaded(shard()).shard] {
        assert_eq!(fetch(shard, "g", "orders", 3, true), (42, 0));
        assert_eq!(fetch(shard, "g", "orders", 4, true), (-1, 0));
        assert_eq!(fetch(shard, "other", "orders", 3, true), (-1, 0));
    }
}

#[test]
fn all_offsets_of_a_group_are_listed_in_order() {
    let mut driver = Driver::new(shard());
    for (topic, index) in [("payments", 1), ("orders", 2), ("orders", 0)] {
        committed(&mut driver, &commit("g", topic, index, 7)).unwrap();
    }
    let request = OffsetFetchRequestGroup {
        group_id: "g".to_owned(),
        member_id: None,
        member_epoch: -1,
        topics: None,
    };
    let all = driver.shard.fetch_offsets(&request, false).unwrap();
    let found: Vec<_> = all
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.name.as_str(), p.partition_index)))
        .collect();
    assert_eq!(found, [("orders", 0), ("orders", 2), ("payments", 1)]);
}

#[test]
fn a_generation_without_a_group_is_refused_by_version() {
    let mut driver = Driver::new(shard());
    for (api_version, code) in [(8, ErrorCode::IllegalGeneration), (9, ErrorCode::GroupIdNotFound)]
    {
        let commit = Commit { generation_or_epoch: 3, api_version, ..commit("g", "orders", 0, 1) };
        assert_eq!(committed(&mut driver, &commit), Err(code));
    }
    assert!(driver.log.is_empty());
}

#[test]
fn metadata_beyond_its_bound_is_refused_partition_by_partition() {
    let mut driver = Driver::new(shard());
    let mut commit = commit("g", "orders", 0, 1);
    let long = CommitPartition {
        index: 1,
        metadata: "ß".repeat(4_097),
        ..commit.topics[0].partitions[0].clone()
    };
    let long_one = long.clone();
    // Kafka counts characters: twice as many bytes still fit.
    let fits = CommitPartition { index: 2, metadata: "ß".repeat(4_096), ..long };
    commit.topics[0].partitions.extend([long_one, fits]);
    let codes = [ErrorCode::None, ErrorCode::OffsetMetadataTooLarge, ErrorCode::None];
    assert_eq!(committed(&mut driver, &commit), Ok(vec![codes.to_vec()]));
    assert_eq!(fetch(&driver.shard, "g", "orders", 1, false), (-1, 0));
}

#[test]
fn an_offset_of_a_former_topic_of_the_name_is_not_shown() {
    let mut driver = Driver::new(shard());
    committed(&mut driver, &commit("g", "orders", 0, 5)).unwrap();
    let request = |topic_id| OffsetFetchRequestGroup {
        group_id: "g".to_owned(),
        member_id: None,
        member_epoch: -1,
        topics: Some(vec![OffsetFetchRequestTopics {
            name: "orders".to_owned(),
            topic_id,
            partition_indexes: vec![0],
        }]),
    };
    for (topic_id, offset) in [(ORDERS, 5), (PAYMENTS, -1), (Uuid::nil(), 5)] {
        let fetched = driver.shard.fetch_offsets(&request(topic_id), false).unwrap();
        assert_eq!(fetched[0].partitions[0].committed_offset, offset);
    }
}

#[test]
fn pending_offsets_are_unstable_until_their_marker() {
    let mut driver = Driver::new(shard());
    committed(&mut driver, &commit("g", "orders", 0, 5)).unwrap();
    in_transaction(&mut driver, 1, commit("g", "orders", 0, 9));
    let unstable = (-1, ErrorCode::UnstableOffsetCommit.code());
    for driver in [&driver, &driver.reloaded(shard())] {
        assert_eq!(fetch(&driver.shard, "g", "orders", 0, true), unstable);
        assert_eq!(fetch(&driver.shard, "g", "orders", 0, false), (5, 0));
    }
    driver.end_transaction(ProducerId(1), 0, true);
    for driver in [&driver, &driver.reloaded(shard())] {
        assert_eq!(fetch(&driver.shard, "g", "orders", 0, true), (9, 0));
    }
}

#[test]
fn an_aborted_transaction_leaves_what_was_there() {
    let mut driver = Driver::new(shard());
    in_transaction(&mut driver, 1, commit("g", "orders", 0, 9));
    driver.end_transaction(ProducerId(1), 0, false);
    assert_eq!(fetch(&driver.shard, "g", "orders", 0, true), (-1, 0));
    assert!(!driver.shard.offsets.has_pending("g"));
}

#[test]
fn of_a_commit_and_a_transaction_the_later_record_counts() {
    let mut driver = Driver::new(shard());
    in_transaction(&mut driver, 1, commit("g", "orders", 0, 9));
    committed(&mut driver, &commit("g", "orders", 0, 20)).unwrap();
    driver.end_transaction(ProducerId(1), 0, true);
    assert_eq!(fetch(&driver.shard, "g", "orders", 0, true), (20, 0));
}

#[test]
fn offsets_without_members_expire_a_retention_after_their_commit_and_the_group_with_them() {
    let mut driver = Driver::new(shard());
    let day = Duration::from_hours(24);
    committed(&mut driver, &commit("g", "orders", 0, 5)).unwrap();
    driver.advance(4 * day);
    committed(&mut driver, &commit("g", "orders", 1, 6)).unwrap();
    driver.advance(3 * day + Duration::from_mins(20));
    assert_eq!(fetch(&driver.shard, "g", "orders", 0, false), (-1, 0));
    assert_eq!(fetch(&driver.shard, "g", "orders", 1, false), (6, 0));
    driver.advance(4 * day);
    assert!(driver.shard.group("g").is_none());
    assert!(driver.reloaded(shard()).shard.group("g").is_none());
}

#[test]
fn a_retention_of_its_own_counts_instead() {
    let mut driver = Driver::new(shard());
    let short = Commit { retention_ms: Some(1_000), api_version: 4, ..commit("g", "orders", 0, 5) };
    committed(&mut driver, &short).unwrap();
    driver.advance(Duration::from_mins(11));
    assert_eq!(fetch(&driver.shard, "g", "orders", 0, false), (-1, 0));
}

#[test]
fn pending_offsets_keep_a_group_from_expiring() {
    let mut driver = Driver::new(shard());
    committed(&mut driver, &commit("g", "orders", 0, 5)).unwrap();
    in_transaction(&mut driver, 1, commit("g", "orders", 0, 9));
    driver.advance(Duration::from_hours(24 * 30));
    assert_eq!(fetch(&driver.shard, "g", "orders", 0, false), (5, 0));
    assert!(driver.shard.group("g").is_some());
}

#[test]
fn offsets_go_with_their_topic() {
    let mut driver = Driver::new(shard());
    committed(&mut driver, &commit("g", "orders", 0, 5)).unwrap();
    committed(&mut driver, &commit("g", "payments", 0, 5)).unwrap();
    in_transaction(&mut driver, 1, commit("g", "orders", 1, 9));
    let deleted = [DeletedTopic { name: "orders".to_owned(), id: ORDERS }];
    driver.run(|shard, _| {
        crate::group::GroupOutcome::write(shard.tombstones_of_topics(&deleted), ())
    });
    driver.end_transaction(ProducerId(1), 0, true);
    for driver in [&driver, &driver.reloaded(shard())] {
        assert_eq!(fetch(&driver.shard, "g", "orders", 0, true), (-1, 0));
        assert_eq!(fetch(&driver.shard, "g", "orders", 1, true), (-1, 0));
        assert_eq!(fetch(&driver.shard, "g", "payments", 0, true), (5, 0));
    }
}

#[test]
fn offsets_of_a_topic_that_is_gone_are_found_by_retention_too() {
    let mut driver = Driver::new(shard());
    committed(&mut driver, &commit("g", "lost", 0, 5)).unwrap();
    driver.advance(Duration::from_mins(11));
    assert_eq!(fetch(&driver.shard, "g", "lost", 0, false), (-1, 0));
}

#[test]
fn deleting_offsets_and_groups() {
    let mut driver = Driver::new(shard());
    committed(&mut driver, &commit("g", "orders", 0, 5)).unwrap();
    in_transaction(&mut driver, 1, commit("g", "orders", 1, 5));
    let topics = [("orders".to_owned(), vec![0, 1, 2])];
    let (codes, records) = driver.run(|shard, _| shard.delete_offsets("g", &topics));
    assert_eq!((codes, records.len()), (Ok(vec![ErrorCode::None]), 2));
    let (unknown, _) = driver.run(|shard, _| shard.delete_offsets("none", &topics));
    assert_eq!(unknown, Err(ErrorCode::GroupIdNotFound));

    committed(&mut driver, &commit("g", "orders", 0, 5)).unwrap();
    let listed = driver.shard.list_groups(&ListGroupsRequest::default());
    assert_eq!((listed.len(), listed[0].group_state.as_str()), (1, "Empty"));
    let (deleted, _) = driver.run(|shard, context| shard.delete_group(context, "g"));
    assert_eq!(deleted, Ok(()));
    for driver in [&driver, &driver.reloaded(shard())] {
        assert!(driver.shard.group("g").is_none());
        assert_eq!(fetch(&driver.shard, "g", "orders", 0, false), (-1, 0));
    }
    let (again, _) = driver.run(|shard, context| shard.delete_group(context, "g"));
    assert_eq!(again.unwrap_err().code, ErrorCode::GroupIdNotFound);
    let described = driver.shard.describe_group("g", 6);
    assert_eq!(described.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(driver.shard.describe_group("g", 5).error_code, 0);
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut driver = Driver::new(shard());
    committed(&mut driver, &commit("g", "orders", 0, 5)).unwrap();
    let count = |states: &[&str], types: &[&str]| {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let request =
            ListGroupsRequest { states_filter: owned(states), types_filter: owned(types) };
        driver.shard.list_groups(&request).len()
    };
    assert_eq!(count(&["stable", " EMPTY "], &[]), 1);
    assert_eq!(count(&["Stable"], &[]), 0);
    assert_eq!(count(&[], &["Classic"]), 1);
    assert_eq!(count(&[], &["consumer", "no such type"]), 0);
}
