//! Joining, staying, leaving; epochs, sessions, static members.

use protocol::ErrorCode;

use super::support::*;
use crate::group::consumer::{
    GroupOverrides,
    member::{MemberState, STATIC_LEAVE_EPOCH},
};

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut world = World::new(&[("foo", 2), ("bar", 1)]);
    let response = world.accepted(&join("a", &["foo", "bar"]));
    assert_eq!(response.member_id.as_deref(), Some("a"));
    assert_eq!(response.member_epoch, 2);
    assert_eq!(response.heartbeat_interval_ms, 5_000);
    let expected = vec![("bar".to_owned(), vec![0]), ("foo".to_owned(), vec![0, 1])];
    assert_eq!(assigned(&response, &["foo", "bar"]), Some(expected));
    assert_eq!(world.group().state_name(), "Stable");
}

#[test]
fn a_heartbeat_that_says_nothing_new_looks_at_no_topic_and_writes_nothing() {
    let mut world = World::new(&[("foo", 100)]);
    let ids: Vec<String> = (0..50).map(|at| format!("member-{at:02}")).collect();
    for id in &ids {
        world.accepted(&join(id, &["foo"]));
    }
    // Everybody gives up what others are to have, and takes its own.
    for id in ids.iter().chain(&ids).chain(&ids) {
        let member = world.member(id);
        let owned: Vec<i32> = member.assigned.values().flat_map(|of| of.keys().copied()).collect();
        let epoch = member.epoch;
        world.accepted(&report(id, epoch, &[("foo", &owned)]));
    }
    assert_eq!(world.group().state_name(), "Stable");
    let looked_up = world.looked_up();
    for id in &ids {
        let epoch = world.member(id).epoch;
        let (response, records) = world.heartbeat(&beat(id, epoch));
        assert_eq!((response.error_code, response.assignment), (0, None));
        assert_eq!(records, []);
    }
    assert_eq!(world.looked_up(), looked_up);
}

#[test]
fn a_member_without_id_gets_one_in_version_0_only() {
    let mut world = World::new(&[("foo", 1)]);
    let request = join("", &["foo"]);
    assert_eq!(world.refused(&request), ErrorCode::InvalidRequest);
    let (response, _) = world
        .driver
        .run(|shard, context| shard.consumer_group_heartbeat(context, CLIENT, &request, 0));
    assert_eq!(response.error_code, 0);
    assert!(response.member_id.is_some_and(|id| world.group().has_member(&id)));
}

#[test]
fn requests_that_make_no_sense_are_invalid() {
    let mut world = World::new(&[("foo", 1)]);
    let good = join("a", &["foo"]);
    let invalid = [
        {
            let mut request = good.clone();
            request.group_id = " ".to_owned();
            request
        },
        {
            let mut request = good.clone();
            request.instance_id = Some(String::new());
            request
        },
        {
            let mut request = good.clone();
            request.rack_id = Some(String::new());
            request
        },
        {
            let mut request = good.clone();
            request.rebalance_timeout_ms = -1;
            request
        },
        {
            let mut request = good.clone();
            request.topic_partitions = None;
            request
        },
        {
            let mut request = good.clone();
            request.topic_partitions = Some(reported(&[("foo", &[0])]));
            request
        },
        {
            let mut request = good.clone();
            request.subscribed_topic_names = None;
            request
        },
        beat("a", -2),
        beat("a", -3),
        beat("", -1),
    ];
    for request in &invalid {
        assert_eq!(world.refused(request), ErrorCode::InvalidRequest, "{request:?}");
    }
    let mut request = good;
    request.server_assignor = Some("sticky".to_owned());
    assert_eq!(world.refused(&request), ErrorCode::UnsupportedAssignor);
}

#[test]
fn only_a_member_that_joins_makes_a_group() {
    let mut world = World::new(&[("foo", 1)]);
    assert_eq!(world.refused(&beat("a", 1)), ErrorCode::GroupIdNotFound);
    assert_eq!(world.refused(&beat("a", -1)), ErrorCode::GroupIdNotFound);
    world.accepted(&join("a", &["foo"]));
    assert_eq!(world.refused(&beat("b", 1)), ErrorCode::UnknownMemberId);
    assert_eq!(world.refused(&beat("b", -1)), ErrorCode::UnknownMemberId);
}

#[test]
fn a_quiet_heartbeat_writes_nothing_and_says_no_assignment() {
    let mut world = World::new(&[("foo", 1)]);
    let epoch = world.accepted(&join("a", &["foo"])).member_epoch;
    let (response, records) = world.heartbeat(&beat("a", epoch));
    assert_eq!((response.error_code, response.assignment), (0, None));
    assert!(records.is_empty(), "{records:?}");
}

#[test]
fn a_full_request_is_answered_in_full() {
    let mut world = World::new(&[("foo", 1)]);
    let epoch = world.accepted(&join("a", &["foo"])).member_epoch;
    let mut request = join("a", &["foo"]);
    request.member_epoch = epoch;
    request.topic_partitions = Some(reported(&[("foo", &[0])]));
    let (response, records) = world.heartbeat(&request);
    assert!(response.assignment.is_some());
    assert!(records.is_empty());
}

#[test]
fn a_second_member_gets_its_share_when_the_first_gives_it_up() {
    let mut world = World::new(&[("foo", 2)]);
    let first = world.accepted(&join("a", &["foo"])).member_epoch;
    let b = world.accepted(&join("b", &["foo"]));
    assert_eq!(assigned(&b, &["foo"]), Some(vec![]), "nothing is free yet");
    assert_eq!(world.member("b").state, MemberState::UnreleasedPartitions);

    let a = world.accepted(&beat("a", first));
    assert_eq!(a.member_epoch, first, "it has something to give up first");
    assert_eq!(assigned(&a, &["foo"]), Some(vec![("foo".to_owned(), vec![0])]));
    assert_eq!(world.group().state_name(), "Reconciling");
    assert_eq!(world.accepted(&beat("b", b.member_epoch)).assignment, None);

    let a = world.accepted(&report("a", first, &[("foo", &[0])]));
    assert_eq!(a.member_epoch, b.member_epoch);
    let b = world.accepted(&beat("b", b.member_epoch));
    assert_eq!(assigned(&b, &["foo"]), Some(vec![("foo".to_owned(), vec![1])]));
    assert_eq!(world.group().state_name(), "Stable");
}

#[test]
fn a_member_that_does_not_give_up_in_time_is_fenced() {
    let mut world = World::new(&[("foo", 2)]);
    let a = world.accepted(&join("a", &["foo"])).member_epoch;
    let b = world.accepted(&join("b", &["foo"])).member_epoch;
    world.accepted(&beat("a", a));
    for _ in 0..6 {
        world.advance(4_900);
        world.accepted(&report("a", a, &[("foo", &[0, 1])]));
        world.accepted(&beat("b", b));
    }
    world.advance(4_900);
    assert_eq!(world.refused(&beat("a", a)), ErrorCode::UnknownMemberId);
    let b = world.accepted(&beat("b", b));
    assert_eq!(assigned(&b, &["foo"]), Some(vec![("foo".to_owned(), vec![0, 1])]));
}

#[test]
fn a_member_that_is_silent_loses_its_session() {
    let mut world = World::new(&[("foo", 1)]);
    let epoch = world.accepted(&join("a", &["foo"])).member_epoch;
    world.advance(44_000);
    world.accepted(&beat("a", epoch));
    world.advance(44_000);
    assert!(world.group().has_member("a"));
    let records = world.advance(1_000);
    assert_eq!(kinds(&records), ["-current", "-target", "-member", "epoch"]);
    assert_eq!(world.group().state_name(), "Empty");
    assert_eq!(world.refused(&beat("a", epoch)), ErrorCode::UnknownMemberId);
}

#[test]
fn a_reload_gives_every_member_a_fresh_session_and_rebalance_time() {
    let mut world = World::new(&[("foo", 2)]);
    let a = world.accepted(&join("a", &["foo"])).member_epoch;
    let b = world.accepted(&join("b", &["foo"])).member_epoch;
    world.accepted(&beat("a", a));
    world.advance(29_000);
    world.reload();
    assert_eq!(world.member("a").state, MemberState::UnrevokedPartitions);
    world.advance(29_000);
    world.accepted(&beat("b", b));
    assert!(world.group().has_member("a"));
    world.advance(1_000);
    assert!(!world.group().has_member("a"), "it still had partitions to give up");
    assert!(world.group().has_member("b"));
}

#[test]
fn wrong_epochs_are_fenced_and_a_lost_answer_is_forgiven() {
    let mut world = World::new(&[("foo", 2)]);
    let first = world.accepted(&join("a", &["foo"])).member_epoch;
    world.accepted(&join("b", &["foo"]));
    world.accepted(&beat("a", first));
    let second = world.accepted(&report("a", first, &[("foo", &[0])])).member_epoch;
    assert!(second > first);
    assert_eq!(world.refused(&beat("a", second + 1)), ErrorCode::FencedMemberEpoch);
    assert_eq!(world.refused(&beat("a", first)), ErrorCode::FencedMemberEpoch);
    let too_much = report("a", first, &[("foo", &[0, 1])]);
    assert_eq!(world.refused(&too_much), ErrorCode::FencedMemberEpoch);
    let answer = world.accepted(&report("a", first, &[("foo", &[0])]));
    assert_eq!(answer.member_epoch, second);
    assert_eq!(world.refused(&report("a", 1, &[])), ErrorCode::FencedMemberEpoch);
}

#[test]
fn a_member_that_joins_again_is_told_all() {
    let mut world = World::new(&[("foo", 1)]);
    world.accepted(&join("a", &["foo"]));
    let again = world.accepted(&join("a", &["foo"]));
    assert_eq!(again.member_epoch, 2);
    assert_eq!(assigned(&again, &["foo"]), Some(vec![("foo".to_owned(), vec![0])]));
}

#[test]
fn a_member_that_leaves_frees_its_partitions() {
    let mut world = World::new(&[("foo", 2)]);
    world.accepted(&join("a", &["foo"]));
    let b = world.accepted(&join("b", &["foo"])).member_epoch;
    let (response, records) = world.heartbeat(&beat("a", -1));
    assert_eq!((response.error_code, response.member_epoch), (0, -1));
    assert_eq!(response.member_id.as_deref(), Some("a"));
    assert_eq!(kinds(&records), ["-current", "-target", "-member", "epoch"]);
    let b = world.accepted(&beat("b", b));
    assert_eq!(assigned(&b, &["foo"]), Some(vec![("foo".to_owned(), vec![0, 1])]));
}

#[test]
fn a_new_subscription_bumps_the_epoch_and_takes_effect_at_once() {
    let mut world = World::new(&[("foo", 1), ("bar", 1)]);
    let epoch = world.accepted(&join("a", &["foo"])).member_epoch;
    let mut request = beat("a", epoch);
    request.subscribed_topic_names = Some(vec!["bar".to_owned()]);
    request.topic_partitions = Some(reported(&[("foo", &[0])]));
    let response = world.accepted(&request);
    assert_eq!(assigned(&response, &["foo"]), Some(vec![]));
    let response = world.accepted(&report("a", epoch, &[]));
    assert_eq!(response.member_epoch, epoch + 1);
    assert_eq!(assigned(&response, &["bar"]), Some(vec![("bar".to_owned(), vec![0])]));
}

#[test]
fn a_subscription_to_a_topic_that_does_not_exist_yet_waits_for_it() {
    let mut world = World::new(&[]);
    let epoch = world.accepted(&join("a", &["foo"])).member_epoch;
    assert_eq!(world.accepted(&beat("a", epoch)).assignment, None);
    world.set_topic("foo", Some(2));
    let response = world.accepted(&beat("a", epoch));
    assert_eq!(assigned(&response, &["foo"]), Some(vec![("foo".to_owned(), vec![0, 1])]));
    assert_eq!(response.member_epoch, epoch + 1);
}

#[test]
fn more_partitions_and_a_deleted_topic_are_seen_at_the_next_heartbeat() {
    let mut world = World::new(&[("foo", 1), ("bar", 1)]);
    let epoch = world.accepted(&join("a", &["foo", "bar"])).member_epoch;
    world.set_topic("foo", Some(3));
    let response = world.accepted(&beat("a", epoch));
    assert_eq!(response.member_epoch, epoch + 1);
    world.set_topic("bar", None);
    let response = world.accepted(&beat("a", epoch + 1));
    assert_eq!(assigned(&response, &["foo"]), Some(vec![("foo".to_owned(), vec![0, 1, 2])]));
    let response = world.accepted(&report("a", epoch + 1, &[("foo", &[0, 1, 2])]));
    assert_eq!(response.member_epoch, epoch + 2);
}

#[test]
fn topics_of_others_do_not_disturb_a_group() {
    let mut world = World::new(&[("foo", 1)]);
    let epoch = world.accepted(&join("a", &["foo"])).member_epoch;
    world.set_topic("bar", Some(1));
    let (_, records) = world.heartbeat(&beat("a", epoch));
    assert!(records.is_empty(), "{records:?}");
}

#[test]
fn a_full_group_takes_nobody_else_in() {
    let mut world = World::with(&[("foo", 1)], |config| config.consumer_group_size_max = 1);
    let epoch = world.accepted(&join("a", &["foo"])).member_epoch;
    assert_eq!(world.refused(&join("b", &["foo"])), ErrorCode::GroupMaxSizeReached);
    world.accepted(&beat("a", epoch));
    world.accepted(&join("a", &["foo"]));
}

#[test]
fn the_assignor_that_most_members_ask_for_is_used() {
    let mut world = World::new(&[("foo", 4)]);
    for (member_id, assignor) in [("a", "range"), ("b", "uniform"), ("c", "range")] {
        let mut request = join(member_id, &["foo"]);
        request.server_assignor = Some(assignor.to_owned());
        world.accepted(&request);
    }
    let described = world.driver.shard.describe_consumer_group(GROUP);
    assert_eq!(described.assignor_name, "range");
    let c = described.members.iter().find(|member| member.member_id == "c").unwrap();
    assert_eq!(c.target_assignment.topic_partitions[0].partitions, [3]);
}

#[test]
fn members_that_come_at_once_are_assigned_together() {
    let mut world =
        World::with(&[("foo", 4)], |config| config.consumer_assignment_interval_ms = 1_000);
    let a = world.accepted(&join("a", &["foo"])).member_epoch;
    world.accepted(&join("b", &["foo"]));
    world.accepted(&join("c", &["foo"]));
    assert_eq!(world.group().state_name(), "Assigning");
    assert_eq!(world.group().assignment_epoch, a);
    assert_eq!(world.accepted(&beat("a", a)).member_epoch, a);
    world.advance(1_000);
    world.accepted(&beat("a", a));
    assert_eq!(world.group().assignment_epoch, a + 2);
    assert_eq!(world.group().targets().len(), 3);
}

#[test]
fn settings_of_a_group_go_before_the_brokers_within_its_bounds() {
    let mut world = World::new(&[("foo", 1)]);
    let own = GroupOverrides {
        consumer_session_timeout_ms: Some(50_000),
        consumer_heartbeat_interval_ms: Some(99_000),
        consumer_assignment_interval_ms: None,
    };
    world.overrides.0.lock().unwrap().insert(GROUP.to_owned(), own);
    let response = world.accepted(&join("a", &["foo"]));
    assert_eq!(response.heartbeat_interval_ms, 15_000);
    world.advance(49_000);
    assert!(world.group().has_member("a"));
    world.advance(1_000);
    assert!(!world.group().has_member("a"));
}

fn fixed(
    member_id: &str,
    instance_id: &str,
    topics: &[&str],
) -> protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest {
    let mut request = join(member_id, topics);
    request.instance_id = Some(instance_id.to_owned());
    request
}

fn fixed_beat(
    member_id: &str,
    instance_id: &str,
    epoch: i32,
) -> protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest {
    let mut request = beat(member_id, epoch);
    request.instance_id = Some(instance_id.to_owned());
    request
}

#[test]
fn an_instance_in_use_is_not_given_away() {
    let mut world = World::new(&[("foo", 1)]);
    let a = world.accepted(&fixed("a", "i", &["foo"])).member_epoch;
    assert_eq!(world.refused(&fixed("b", "i", &["foo"])), ErrorCode::UnreleasedInstanceId);
    assert_eq!(world.refused(&fixed_beat("b", "i", a)), ErrorCode::FencedInstanceId);
    assert_eq!(world.refused(&fixed_beat("b", "j", a)), ErrorCode::UnknownMemberId);
    assert_eq!(world.refused(&fixed_beat("b", "i", -2)), ErrorCode::FencedInstanceId);
}

#[test]
fn a_static_member_comes_back_to_what_it_had_without_a_rebalance() {
    let mut world = World::new(&[("foo", 2)]);
    world.accepted(&fixed("a", "i", &["foo"]));
    let b = world.accepted(&fixed("b", "j", &["foo"])).member_epoch;
    world.accepted(&fixed_beat("a", "i", 2));
    let mut gave_up = report("a", 2, &[("foo", &[0])]);
    gave_up.instance_id = Some("i".to_owned());
    world.accepted(&gave_up);
    let b = world.accepted(&fixed_beat("b", "j", b)).member_epoch;
    let (epoch, target) = (world.group().epoch, world.group().target_of("a", None));

    let (response, records) = world.heartbeat(&fixed_beat("a", "i", -2));
    assert_eq!((response.error_code, response.member_epoch), (0, -2));
    assert_eq!(kinds(&records), ["current"]);
    assert_eq!(world.member("a").epoch, STATIC_LEAVE_EPOCH);
    assert_eq!(world.accepted(&fixed_beat("b", "j", b)).assignment, None);

    let (response, records) = world.heartbeat(&fixed("a2", "i", &["foo"]));
    assert_eq!(response.error_code, 0, "{response:?}");
    let expected = ["-current", "-target", "-member", "member", "target", "current", "current"];
    assert_eq!(kinds(&records), expected);
    assert_eq!(assigned(&response, &["foo"]), Some(vec![("foo".to_owned(), vec![0])]));
    assert_eq!(world.group().epoch, epoch, "no rebalance");
    assert_eq!(world.group().target_of("a2", Some("i")), target);
    assert!(!world.group().has_member("a"));
    // The session of the one that left may still end: that concerns nobody.
    world.advance(40_000);
    world.accepted(&fixed_beat("a2", "i", response.member_epoch));
    world.accepted(&fixed_beat("b", "j", b));
    world.advance(10_000);
    assert!(world.group().has_member("a2"));
}

#[test]
fn a_static_member_that_stays_away_is_forgotten_with_its_session() {
    let mut world = World::new(&[("foo", 1)]);
    world.accepted(&fixed("a", "i", &["foo"]));
    world.accepted(&fixed_beat("a", "i", -2));
    world.advance(45_000);
    assert!(world.group().is_empty());
    world.accepted(&fixed("b", "i", &["foo"]));
}

#[test]
fn a_static_member_may_also_leave_for_good() {
    let mut world = World::new(&[("foo", 1)]);
    world.accepted(&fixed("a", "i", &["foo"]));
    let (_, records) = world.heartbeat(&fixed_beat("a", "i", -1));
    assert_eq!(kinds(&records), ["-current", "-target", "-member", "epoch"]);
    assert!(world.group().is_empty());
}

#[test]
fn a_description_shows_members_and_where_they_stand() {
    let mut world = World::new(&[("foo", 2)]);
    let mut request = join("a", &["foo"]);
    request.rack_id = Some("r".to_owned());
    world.accepted(&request);
    let described = world.driver.shard.describe_consumer_group(GROUP);
    assert_eq!(
        (described.error_code, described.group_state.as_str(), described.group_epoch),
        (0, "Stable", 2)
    );
    assert_eq!((described.assignment_epoch, described.assignor_name.as_str()), (2, "uniform"));
    let [member] = described.members.as_slice() else { panic!("{described:?}") };
    assert_eq!(member.rack_id.as_deref(), Some("r"));
    assert_eq!(member.client_host, "/127.0.0.1");
    assert_eq!((member.member_type, member.member_epoch), (1, 2));
    assert_eq!(member.assignment, member.target_assignment);
    assert_eq!(member.assignment.topic_partitions[0].topic_name, "foo");
    let missing = world.driver.shard.describe_consumer_group("other");
    assert_eq!(missing.error_code, ErrorCode::GroupIdNotFound.code());
}

#[test]
fn a_target_that_the_log_cannot_hold_is_refused_and_changes_nothing() {
    let mut world = World::new(&[("foo", 200), ("bar", 1)]);
    world.accepted(&join("a", &["bar"]));
    world.driver.batch_bytes_max = 1_000;
    let (log, epoch) = (world.driver.log.len(), world.group().epoch);
    assert_eq!(world.refused(&join("b", &["foo"])), ErrorCode::UnknownServerError);
    assert!(!world.group().has_member("b"));
    assert_eq!((world.driver.log.len(), world.group().epoch), (log, epoch));
    // The others do not notice, and nothing of it runs out later.
    world.accepted(&beat("a", epoch));
    assert!(world.driver.timers.next_deadline().is_some());

    // Once the log takes it, so does the group.
    world.driver.batch_bytes_max = usize::MAX;
    world.accepted(&join("b", &["foo"]));
    assert!(world.group().has_member("b"));
}
