//! What is written and in which order, and that a log tells the whole story.

use protocol::coordinator_records::consumer_group_partition_metadata::{
    ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue,
};

use super::support::*;
use crate::{
    group::{GroupRecord, GroupShard, consumer::metadata_hash::group_hash},
    shard::Outcome,
};

#[test]
fn a_first_join_writes_what_kafka_writes() {
    let mut world = World::new(&[("foo", 2)]);
    let (_, records) = world.heartbeat(&join("a", &["foo"]));
    assert_eq!(kinds(&records), ["member", "epoch", "target", "target epoch", "current"]);
    let GroupRecord::ConsumerGroupMemberMetadata(_, Some(member)) = &records[0] else { panic!() };
    assert_eq!(member.subscribed_topic_regex.as_deref(), Some(""));
    assert_eq!((member.rebalance_timeout_ms, member.server_assignor.as_deref()), (30_000, None));
    let GroupRecord::ConsumerGroupMetadata(_, Some(epoch)) = &records[1] else { panic!() };
    let topics = world.driver.shard.topics();
    let hash = group_hash(["foo".to_owned()].iter(), topics.as_ref());
    assert_eq!((epoch.epoch, epoch.metadata_hash), (2, hash));
    let GroupRecord::ConsumerGroupTargetAssignmentMetadata(_, Some(target)) = &records[3] else {
        panic!()
    };
    assert_eq!(target.assignment_epoch, 2);
    assert_eq!(target.assignment_timestamp, world.driver.now_ms());
    let GroupRecord::ConsumerGroupCurrentMemberAssignment(_, Some(current)) = &records[4] else {
        panic!()
    };
    assert_eq!((current.member_epoch, current.previous_member_epoch, current.state), (2, 0, 0));
    assert_eq!(current.assigned_partitions[0].partitions, [0, 1]);
    assert_eq!(current.assigned_partitions[0].assignment_epochs, Some(vec![2, 2]));
}

#[test]
fn only_targets_that_change_are_written() {
    let mut world = World::new(&[("foo", 1)]);
    world.accepted(&join("a", &["foo"]));
    let (_, records) = world.heartbeat(&join("b", &["foo"]));
    assert_eq!(kinds(&records), ["member", "epoch", "target", "target epoch", "current"]);
    let GroupRecord::ConsumerGroupTargetAssignmentMember(key, _) = &records[2] else { panic!() };
    assert_eq!(key.member_id, "b", "of the one that has an empty target for the first time");
}

#[test]
fn a_reloaded_group_is_the_group_that_it_was() {
    let mut world = World::new(&[("foo", 4), ("bar", 2)]);
    world.accepted(&join("a", &["foo"]));
    world.accepted(&join("b", &["foo", "bar"]));
    let mut fixed = join("c", &["bar"]);
    fixed.instance_id = Some("i".to_owned());
    world.accepted(&fixed);
    world.accepted(&beat("a", 2));
    let strip = |world: &World| {
        let mut group = world.group().clone();
        group.hashed_version = None;
        format!("{group:?}")
    };
    let before = strip(&world);
    world.reload();
    assert_eq!(strip(&world), before);
}

#[test]
fn a_deleted_group_leaves_nothing_behind() {
    let mut world = World::new(&[("foo", 1)]);
    world.accepted(&join("a", &["foo"]));
    world.accepted(&beat("a", -1));
    let ((), records) = world.driver.run(|shard: &mut GroupShard, _| {
        let mut records = Vec::new();
        shard.group(GROUP).unwrap().tombstones(GROUP, &mut records);
        Outcome::write(records, ())
    });
    assert_eq!(kinds(&decoded(&records)), ["-target epoch", "-partition metadata", "-epoch"]);
    assert!(world.driver.shard.group(GROUP).is_none());
    world.reload();
    assert!(world.driver.shard.group(GROUP).is_none());
    // And may come again.
    assert_eq!(world.accepted(&join("a", &["foo"])).member_epoch, 2);
}

#[test]
fn what_kafka_wrote_before_4_1_is_cleaned_up() {
    let mut world = World::new(&[("foo", 1)]);
    let epoch = world.accepted(&join("a", &["foo"])).member_epoch;
    world.driver.run(|_: &mut GroupShard, _| {
        let record = GroupRecord::ConsumerGroupPartitionMetadata(
            ConsumerGroupPartitionMetadataKey { group_id: GROUP.to_owned() },
            Some(ConsumerGroupPartitionMetadataValue::default()),
        );
        Outcome::write(vec![record], ())
    });
    world.reload();
    let (_, records) = world.heartbeat(&beat("a", epoch));
    assert_eq!(kinds(&records), ["-partition metadata"]);
    let (_, records) = world.heartbeat(&beat("a", epoch));
    assert!(records.is_empty());
}
