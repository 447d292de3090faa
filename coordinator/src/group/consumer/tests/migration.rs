//! Groups change their protocol: with members at work, and empty.

use std::time::Duration;

use protocol::{ErrorCode, messages::join_group::JoinGroupRequest};

use super::support::{
    classic::{Partitions, partitions, request},
    *,
};
use crate::group::{Group, GroupRecord, config::MigrationPolicy};

fn world(adjust: impl FnOnce(&mut crate::group::GroupConfig)) -> World {
    World::with(&[("foo", 2)], |config| {
        config.classic_initial_rebalance_delay = Duration::from_secs(1);
        adjust(config);
    })
}

fn fixed(instance_id: &str) -> JoinGroupRequest {
    let mut join = request("", &["foo"], &[]);
    join.group_instance_id = Some(instance_id.to_owned());
    join
}

/// A stable classic group of two static members, one partition each; returns their ids.
fn stable(world: &mut World) -> [String; 2] {
    let waiting = ["i", "j"].map(|instance_id| world.classic_join(fixed(instance_id)).0);
    world.advance(3_000);
    let joined = waiting.map(|mut waiting| waiting.try_recv().unwrap());
    let ids = joined.each_ref().map(|joined| joined.member_id.clone());
    assert_eq!(joined[0].generation_id, 1);
    let (leader, follower) = if joined[0].leader == ids[0] { (0, 1) } else { (1, 0) };
    let mut follower_waits = world.classic_sync(&ids[follower], 1, &[]);
    let assignments: &[(&str, Partitions<'_>)] =
        &[(&ids[0], &[("foo", &[0])]), (&ids[1], &[("foo", &[1])])];
    let mut leader_waits = world.classic_sync(&ids[leader], 1, assignments);
    assert!(partitions(&leader_waits.try_recv().unwrap()).is_ok());
    assert!(partitions(&follower_waits.try_recv().unwrap()).is_ok());
    ids
}

fn group_type(world: &World) -> &'static str {
    world.driver.shard.group(GROUP).unwrap().type_name()
}

#[test]
fn a_consumer_that_joins_upgrades_a_classic_group() {
    let mut world = world(|_| {});
    let [c, d] = stable(&mut world);
    let (response, records) = world.heartbeat(&join("a", &["foo"]));
    assert_eq!(response.error_code, 0, "{response:?}");
    let expected = [
        // The classic group ends, and begins again as a consumer group.
        "-classic group",
        "member",
        "member",
        "epoch",
        "target",
        "target",
        "target epoch",
        "current",
        "current",
        // The member joins.
        "member",
        "epoch",
        "target",
        "target epoch",
        "current",
    ];
    assert_eq!(kinds(&records), expected);
    assert_eq!(world.group().member_count(), 3);
    assert_eq!(world.member(&c).epoch, 1);
    assert_eq!(world.member(&c).assignment_epoch(topic_id("foo"), 0), Some(1));
    let epoch = world.group().epoch;
    world.reload();
    assert_eq!((world.group().epoch, world.group().classic_members()), (epoch, 2));

    // The classic members hear of it, and come along.
    for (member_id, partition) in [(&c, 0), (&d, 1)] {
        assert_eq!(world.classic_beat(member_id, 1), Err(ErrorCode::RebalanceInProgress));
        let joined = world.classic_joined(request(member_id, &["foo"], &[("foo", &[partition])]));
        assert_eq!(joined.error_code, 0, "{joined:?}");
        let synced = world.classic_synced(member_id, joined.generation_id).unwrap();
        assert_eq!(synced, [("foo".to_owned(), vec![partition])]);
    }
}

#[test]
fn an_upgrade_sends_those_who_wait_to_join_anew() {
    let mut world = world(|_| {});
    let [c, d] = stable(&mut world);
    // A third member makes the others rebalance; it waits for them.
    let (mut waiting, _) = world.classic_join(fixed("k"));
    assert!(waiting.try_recv().is_err());
    world.accepted(&join("a", &["foo"]));
    let answer = waiting.try_recv().unwrap();
    assert_eq!(answer.error_code, ErrorCode::RebalanceInProgress.code());
    assert!(world.group().has_member(&c) && world.group().has_member(&d));
    // The sessions of classic members go on.
    world.advance(10_000);
    assert!(!world.group().has_member(&c));
    assert!(world.group().has_member("a"));
}

#[test]
fn an_upgrade_needs_permission_consumers_and_room() {
    let mut disabled = world(|config| {
        config.consumer_migration_policy = MigrationPolicy::Downgrade;
    });
    stable(&mut disabled);
    assert_eq!(disabled.refused(&join("a", &["foo"])), ErrorCode::GroupIdNotFound);
    assert_eq!(group_type(&disabled), "classic");

    let mut small = world(|config| config.consumer_group_size_max = 1);
    stable(&mut small);
    assert_eq!(small.refused(&join("a", &["foo"])), ErrorCode::GroupIdNotFound);

    let mut connect = world(|_| {});
    let mut other = fixed("i");
    other.protocol_type = "connect".to_owned();
    connect.classic_join(other);
    connect.advance(3_000);
    assert_eq!(connect.refused(&join("a", &["foo"])), ErrorCode::GroupIdNotFound);
    // Only who joins may upgrade.
    let mut world = world(|_| {});
    stable(&mut world);
    assert_eq!(world.refused(&beat("a", 1)), ErrorCode::GroupIdNotFound);
}

#[test]
fn the_last_consumer_that_leaves_downgrades_the_group() {
    let mut world = world(|_| {});
    let [c, d] = stable(&mut world);
    let (_, records) = world.heartbeat(&join("a", &["foo"]));
    assert!(!records.is_empty());
    let epoch = world.group().epoch;
    let (response, records) = world.heartbeat(&beat("a", -1));
    assert_eq!(response.error_code, 0);
    let expected = [
        "-current",
        "-current",
        "-current",
        "-target",
        "-target",
        "-target",
        "-target epoch",
        "-member",
        "-member",
        "-member",
        "-partition metadata",
        "-epoch",
        "classic group",
    ];
    assert_eq!(kinds(&records), expected);
    assert_eq!(group_type(&world), "classic");
    let Some(Group::Classic(group)) = world.driver.shard.group(GROUP) else { panic!() };
    assert_eq!((group.generation_id(), group.members().count()), (epoch, 2));
    assert_eq!(group.state_name(), "PreparingRebalance");

    // The members rebalance as a classic group.
    assert_eq!(world.classic_beat(&c, epoch), Err(ErrorCode::RebalanceInProgress));
    let rejoin = |member_id: &str, instance_id: &str| {
        let mut join = request(member_id, &["foo"], &[]);
        join.group_instance_id = Some(instance_id.to_owned());
        join
    };
    let (mut first, _) = world.classic_join(rejoin(&c, "i"));
    let (mut second, _) = world.classic_join(rejoin(&d, "j"));
    for waiting in [&mut first, &mut second] {
        let joined = waiting.try_recv().unwrap();
        assert_eq!((joined.error_code, joined.generation_id), (0, epoch + 1));
    }
    world.reload();
    assert_eq!(group_type(&world), "classic");
}

#[test]
fn a_consumer_whose_session_ends_downgrades_the_group_too() {
    let mut world = world(|_| {});
    let ids = stable(&mut world);
    world.accepted(&join("a", &["foo"]));
    for _ in 0..9 {
        world.advance(5_000);
        for member_id in &ids {
            if group_type(&world) == "consumer" {
                let generation = world.member(member_id).epoch;
                let _ = world.classic_beat(member_id, generation);
                let joined = world.classic_joined(request(member_id, &["foo"], &[]));
                world.classic_synced(member_id, joined.generation_id).unwrap();
            }
        }
    }
    assert_eq!(group_type(&world), "classic");
}

#[test]
fn a_group_of_classic_members_stays_a_consumer_group_where_downgrades_are_off() {
    let mut world = world(|config| config.consumer_migration_policy = MigrationPolicy::Upgrade);
    stable(&mut world);
    world.accepted(&join("a", &["foo"]));
    world.accepted(&beat("a", -1));
    assert_eq!(group_type(&world), "consumer");
    assert_eq!((world.group().classic_members(), world.group().member_count()), (2, 2));
}

#[test]
fn a_classic_successor_of_the_last_consumer_downgrades_without_a_rebalance() {
    let mut world = world(|_| {});
    let mut consumer = join("a", &["foo"]);
    consumer.instance_id = Some("i".to_owned());
    world.accepted(&consumer);
    let (epoch, target) = (world.group().epoch, world.group().target_of("a", None));
    assert!(!target.is_empty());
    let (mut waiting, records) = world.classic_join(fixed("i"));
    let joined = waiting.try_recv().unwrap();
    assert_eq!((joined.error_code, joined.generation_id), (0, epoch), "{joined:?}");
    assert_eq!(kinds(&records).last().map(String::as_str), Some("classic group"));
    let Some(GroupRecord::GroupMetadata(_, Some(value))) = records.last() else { panic!() };
    assert_eq!(value.members.len(), 1);
    assert_eq!(value.members[0].member_id, joined.member_id);
    let Some(Group::Classic(group)) = world.driver.shard.group(GROUP) else { panic!() };
    assert_eq!(group.state_name(), "Stable");
    // It gets what its predecessor had.
    let synced = world.classic_synced(&joined.member_id, joined.generation_id).unwrap();
    assert_eq!(synced, [("foo".to_owned(), vec![0, 1])]);
    world.reload();
    assert_eq!(group_type(&world), "classic");
}

#[test]
fn a_classic_successor_in_a_group_with_a_stale_assignment_downgrades_with_a_rebalance() {
    let mut world = world(|config| {
        config.consumer_assignment_interval_ms = 10_000;
        config.consumer_assignment_interval_ms_max = 10_000;
    });
    let mut first = world.classic_join(fixed("i")).0;
    world.advance(3_000);
    let classic = first.try_recv().unwrap().member_id;
    world.classic_sync(&classic, 1, &[(&classic, &[("foo", &[0, 1])])]);
    let mut consumer = join("a", &["foo"]);
    consumer.instance_id = Some("j".to_owned());
    world.accepted(&consumer);
    let mut rejoin = request(&classic, &["foo"], &[]);
    rejoin.group_instance_id = Some("i".to_owned());
    assert_eq!(world.classic_join(rejoin).0.try_recv().unwrap().generation_id, 2);
    let mut wider = beat("a", 2);
    wider.instance_id = Some("j".to_owned());
    world.accepted(&wider);
    wider.subscribed_topic_names = Some(vec!["foo".to_owned(), "bar".to_owned()]);
    let answer = world.accepted(&wider);
    assert_eq!((answer.member_epoch, world.group().epoch), (2, 3));

    let (mut waiting, _) = world.classic_join(fixed("j"));
    assert_eq!(waiting.try_recv().unwrap().error_code, 0);
    let Some(Group::Classic(group)) = world.driver.shard.group(GROUP) else { panic!() };
    assert_eq!(group.state_name(), "PreparingRebalance");
}

#[test]
fn empty_groups_change_their_kind() {
    let mut world = world(|config| {
        config.consumer_migration_policy = MigrationPolicy::Disabled;
    });
    let ids = stable(&mut world);
    for member_id in &ids {
        assert_eq!(world.classic_leave(member_id).error_code, 0);
    }
    world.advance(30_000);
    let (response, records) = world.heartbeat(&join("a", &["foo"]));
    assert_eq!((response.error_code, response.member_epoch), (0, 2));
    assert_eq!(kinds(&records)[..2], ["-classic group", "member"]);
    world.accepted(&beat("a", -1));
    assert_eq!(group_type(&world), "consumer");

    let (mut waiting, records) = world.classic_join(fixed("i"));
    assert!(kinds(&records).contains(&"-epoch".to_owned()), "{records:?}");
    world.advance(3_000);
    assert_eq!(waiting.try_recv().unwrap().error_code, 0);
    assert_eq!(group_type(&world), "classic");
    world.reload();
    assert_eq!(group_type(&world), "classic");
}
