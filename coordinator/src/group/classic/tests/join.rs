//! Joins: who is let in, who waits, and for how long.

use std::time::Duration;

use protocol::{ErrorCode, messages::join_group::JoinGroupRequest};

use super::world::*;
use crate::group::{
    GroupConfig,
    classic::{State, validate_join},
};

fn code(waiting: Joining) -> i16 {
    answered(waiting).error_code
}

#[test]
fn session_timeouts_outside_the_configured_range_are_refused() {
    let config = GroupConfig::default();
    let with = |session_timeout_ms| JoinGroupRequest { session_timeout_ms, ..join() };
    let refused = Err(ErrorCode::InvalidSessionTimeout);
    assert_eq!(validate_join(&with(5_999), &config), refused);
    assert_eq!(validate_join(&with(6_000), &config), Ok(()));
    assert_eq!(validate_join(&with(1_800_000), &config), Ok(()));
    assert_eq!(validate_join(&with(1_800_001), &config), refused);
    let nameless = JoinGroupRequest { group_id: String::new(), ..join() };
    assert_eq!(validate_join(&nameless, &config), Err(ErrorCode::InvalidGroupId));
}

#[test]
fn a_member_id_is_given_first_and_the_member_is_pending_until_it_returns() {
    let mut world = World::new();
    let first = answered(world.join(join()));
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
    assert!(first.member_id.starts_with("client-"));
    assert_eq!((world.state(), world.group().member_count()), (State::Empty, 0));
    assert!(!world.group().is_simple());

    let mut waiting = world.join(join_as(&first.member_id));
    assert!(waits(&mut waiting));
    assert_eq!((world.state(), world.group().member_count()), (State::PreparingRebalance, 1));
    world.driver.advance(INITIAL_DELAY);
    let joined = answered(waiting);
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_eq!((&joined.leader, &joined.member_id), (&first.member_id, &first.member_id));
    assert_eq!(joined.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, "m");
    assert!(!joined.skip_assignment);
}

#[test]
fn before_v4_a_member_is_added_at_once() {
    let mut world = World::new();
    let waiting = world.join_version(join(), 3);
    assert_eq!(world.group().member_count(), 1);
    world.driver.advance(INITIAL_DELAY);
    assert_eq!(answered(waiting).generation_id, 1);
}

#[test]
fn version_0_waits_for_a_rebalance_as_long_as_for_a_session() {
    let mut world = World::new();
    let unset = JoinGroupRequest { rebalance_timeout_ms: -1, ..join() };
    let _waiting = world.join_version(unset, 0);
    let (_, details) = world.group().members().next().unwrap();
    assert_eq!(details.rebalance_timeout_ms, SESSION_MS);
}

#[test]
fn a_pending_member_that_does_not_return_is_forgotten() {
    let mut world = World::new();
    let pending = answered(world.join(join())).member_id;
    world.driver.advance(seconds(10));
    assert_eq!(code(world.join(join_as(&pending))), ErrorCode::UnknownMemberId.code());
}

#[test]
fn a_rebalance_waits_for_pending_members_until_their_session_ends() {
    let mut world = World::new();
    let ids = world.stable(1);
    let _pending = answered(world.join(join()));
    let (_, mut second) = world.join_twice(join());
    let leader = world.join(join_as(&ids[0]));
    assert!(waits(&mut second), "a pending member may still come");
    world.driver.advance(seconds(10));
    assert_eq!(answered(leader).generation_id, 2);
    assert_eq!(answered(second).generation_id, 2);
}

#[test]
fn an_unknown_group_or_member_id_is_refused() {
    let mut world = World::new();
    assert_eq!(code(world.join(join_as("nobody"))), ErrorCode::UnknownMemberId.code());
    assert!(!world.has_group());
    world.stable(1);
    assert_eq!(code(world.join(join_as("nobody"))), ErrorCode::UnknownMemberId.code());
}

#[test]
fn the_first_member_must_name_a_protocol_type_and_a_protocol() {
    let mut world = World::new();
    let typeless = JoinGroupRequest { protocol_type: String::new(), ..join() };
    let mute = JoinGroupRequest { protocols: Vec::new(), ..join() };
    for request in [typeless, mute] {
        let refused = ErrorCode::InconsistentGroupProtocol.code();
        assert_eq!(code(world.join(request)), refused);
        assert!(!world.has_group(), "a refused join leaves no group behind");
    }
}

#[test]
fn another_protocol_type_or_no_common_protocol_is_refused() {
    let mut world = World::new();
    let both = [offers("range", b"m"), offers("sticky", b"s")];
    let ids = world.stable(1);
    let connect = JoinGroupRequest { protocol_type: "connect".to_owned(), ..join() };
    let sticky = JoinGroupRequest { protocols: vec![both[1].clone()], ..join() };
    let inconsistent = ErrorCode::InconsistentGroupProtocol.code();
    assert_eq!(code(world.join(connect)), inconsistent);
    assert_eq!(code(world.join(sticky.clone())), inconsistent);

    let leader = JoinGroupRequest { protocols: both.to_vec(), ..join_as(&ids[0]) };
    answered(world.join(leader));
    let (_, mut waiting) = world.join_twice(sticky);
    assert!(waits(&mut waiting));
}

#[test]
fn a_known_member_that_drops_the_common_protocol_is_told_with_its_id() {
    let mut world = World::new();
    let ids = world.stable(2);
    let other = JoinGroupRequest { protocols: vec![offers("other", b"m")], ..join_as(&ids[1]) };
    let refused = answered(world.join(other));
    assert_eq!(refused.error_code, ErrorCode::InconsistentGroupProtocol.code());
    assert_eq!(refused.member_id, ids[1]);
}

#[test]
fn the_first_rebalance_is_extended_for_new_members_up_to_the_rebalance_timeout() {
    let mut world = World::new();
    let short = JoinGroupRequest { rebalance_timeout_ms: 8_000, ..join() };
    let (_, mut first) = world.join_twice(short.clone());
    let mut others = Vec::new();
    // Each wait is 3 s, 3 s and what is left of 8 s.
    for _ in 0..2 {
        others.push(world.join_twice(short.clone()).1);
        world.driver.advance(INITIAL_DELAY);
        assert!(waits(&mut first));
    }
    others.push(world.join_twice(short).1);
    world.driver.advance(Duration::from_millis(1_999));
    assert!(waits(&mut first));
    world.driver.advance(Duration::from_millis(1));
    assert_eq!(answered(first).generation_id, 1);
    assert!(others.into_iter().all(|waiting| code(waiting) == 0));
}

#[test]
fn without_new_members_the_first_rebalance_ends_after_one_delay() {
    let mut world = World::new();
    let (_, mut waiting) = world.join_twice(join());
    world.driver.advance(Duration::from_millis(2_999));
    assert!(waits(&mut waiting));
    world.driver.advance(Duration::from_millis(1));
    assert_eq!(code(waiting), 0);
}

#[test]
fn the_first_rebalance_is_not_over_when_all_who_are_there_have_joined_or_left() {
    let mut world = World::new();
    let (first, _) = world.join_twice(join());
    let (_, mut second) = world.join_twice(join());
    world.leave(&[identity(&first, None)]);
    assert!(waits(&mut second));
    world.driver.advance(INITIAL_DELAY * 2);
    assert_eq!(code(second), 0);
}

#[test]
fn a_group_whose_first_members_all_leave_is_empty_in_generation_1() {
    let mut world = World::new();
    let (first, waiting) = world.join_twice(join());
    world.leave(&[identity(&first, None)]);
    assert_eq!(code(waiting), ErrorCode::UnknownMemberId.code());
    world.driver.advance(INITIAL_DELAY);
    assert_eq!((world.state(), world.group().generation_id()), (State::Empty, 1));
}

#[test]
fn a_new_member_makes_the_others_join_again_and_no_delay_is_added() {
    let mut world = World::new();
    let ids = world.stable(2);
    let (third, mut waiting) = world.join_twice(join());
    assert_eq!(world.state(), State::PreparingRebalance);
    assert_eq!(world.heartbeat(&ids[0], 1), Err(ErrorCode::RebalanceInProgress));
    let leader = world.join(join_as(&ids[0]));
    assert!(waits(&mut waiting));
    let follower = world.join(join_as(&ids[1]));
    let led = answered(leader);
    assert_eq!((led.generation_id, &led.leader), (2, &ids[0]), "the leader stays");
    assert_eq!(led.members.len(), 3);
    for joined in [answered(follower), answered(waiting)] {
        assert_eq!((joined.generation_id, &joined.leader), (2, &ids[0]));
        assert!(joined.members.is_empty());
    }
    assert!(world.group().has_member(&third));
}

#[test]
fn members_that_do_not_join_in_time_are_removed_and_the_leader_is_replaced() {
    let mut world = World::new();
    let long = JoinGroupRequest { session_timeout_ms: 120_000, ..join() };
    let joining = (0..2).map(|_| world.join_twice(long.clone())).collect();
    let ids = world.settle(joining);
    let (third, waiting) = world.join_twice(long.clone());
    let follower = world.join(JoinGroupRequest { member_id: ids[1].clone(), ..long });
    world.driver.advance(Duration::from_millis(59_999));
    assert_eq!(world.state(), State::PreparingRebalance);
    world.driver.advance(Duration::from_millis(1));
    let (follower, newcomer) = (answered(follower), answered(waiting));
    assert_eq!((follower.generation_id, newcomer.generation_id), (2, 2));
    assert_eq!(follower.leader, ids[1].clone().min(third));
    assert_eq!(follower.leader, newcomer.leader);
    assert_eq!(world.heartbeat(&ids[0], 2), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn the_longest_rebalance_timeout_of_all_members_counts() {
    let mut world = World::new();
    let patient =
        JoinGroupRequest { session_timeout_ms: 200_000, rebalance_timeout_ms: 100_000, ..join() };
    let joining = vec![world.join_twice(join()), world.join_twice(patient)];
    world.settle(joining);
    let (_, mut waiting) = world.join_twice(join());
    world.driver.advance(Duration::from_millis(99_999));
    assert!(waits(&mut waiting));
    world.driver.advance(Duration::from_millis(1));
    assert_eq!(code(waiting), 0);
}

#[test]
fn in_completing_rebalance_the_same_join_gets_the_same_answer() {
    let mut world = World::new();
    let (first, waiting) = world.join_twice(join());
    let (second, _) = world.join_twice(join());
    world.driver.advance(INITIAL_DELAY * 2);
    let joined = answered(waiting);
    assert_eq!(world.state(), State::CompletingRebalance);
    assert_eq!(answered(world.join(join_as(&first))), joined);
    assert!(answered(world.join(join_as(&second))).members.is_empty());
    assert_eq!((world.state(), world.group().generation_id()), (State::CompletingRebalance, 1));
}

#[test]
fn in_completing_rebalance_another_subscription_begins_again() {
    let mut world = World::new();
    let (first, _) = world.join_twice(join());
    let (second, _) = world.join_twice(join());
    world.driver.advance(INITIAL_DELAY * 2);
    let syncing = world.sync(&second, 1, &[]);
    let changed = JoinGroupRequest { protocols: vec![offers("range", b"n")], ..join_as(&first) };
    let mut waiting = world.join(changed);
    assert!(waits(&mut waiting));
    assert_eq!(answered(syncing).error_code, ErrorCode::RebalanceInProgress.code());
    answered(world.join(join_as(&second)));
    let joined = answered(waiting);
    assert_eq!((joined.generation_id, joined.error_code), (2, 0));
}

#[test]
fn in_a_stable_group_a_follower_with_nothing_new_is_answered_at_once() {
    let mut world = World::new();
    let ids = world.stable(2);
    let joined = answered(world.join(join_as(&ids[1])));
    assert_eq!((joined.generation_id, &joined.leader, joined.error_code), (1, &ids[0], 0));
    assert_eq!(world.state(), State::Stable);
    assert_eq!(answered(world.sync(&ids[1], 1, &[])).assignment, ids[1]);
}

#[test]
fn in_a_stable_group_a_join_of_the_leader_or_a_changed_one_rebalances() {
    let mut world = World::new();
    let ids = world.stable(2);
    let mut leader = world.join(join_as(&ids[0]));
    assert!(waits(&mut leader));
    answered(world.join(join_as(&ids[1])));
    assert_eq!(answered(leader).generation_id, 2);

    let mut world = World::new();
    let ids = world.stable(2);
    let changed = JoinGroupRequest { protocols: vec![offers("range", b"n")], ..join_as(&ids[1]) };
    let mut follower = world.join(changed);
    assert!(waits(&mut follower));
    assert_eq!(world.state(), State::PreparingRebalance);
}

#[test]
fn of_two_joins_of_one_member_the_later_one_waits() {
    let mut world = World::new();
    let ids = world.stable(2);
    let first = world.join(join_as(&ids[0]));
    let second = world.join(join_as(&ids[0]));
    assert_eq!(code(first), ErrorCode::RebalanceInProgress.code());
    answered(world.join(join_as(&ids[1])));
    assert_eq!(answered(second).generation_id, 2);
}

#[test]
fn a_full_group_takes_no_new_member_but_lets_its_own_rejoin() {
    let config = GroupConfig { classic_group_size_max: 2, ..GroupConfig::default() };
    let mut world = World::with(config);
    let ids = world.stable(2);
    let refused = answered(world.join(join()));
    assert_eq!(refused.error_code, ErrorCode::GroupMaxSizeReached.code());
    assert_eq!(refused.member_id, "");
    assert_eq!(code(world.join(join_as(&ids[1]))), 0);
}

#[test]
fn while_members_gather_the_group_is_full_when_that_many_wait() {
    let config = GroupConfig { classic_group_size_max: 2, ..GroupConfig::default() };
    let mut world = World::with(config);
    let waiting = [world.join_twice(join()), world.join_twice(join())];
    assert_eq!(code(world.join(join())), ErrorCode::GroupMaxSizeReached.code());
    world.driver.advance(INITIAL_DELAY * 2);
    assert!(waiting.into_iter().all(|(_, waiting)| code(waiting) == 0));
}

#[test]
fn a_group_over_its_size_after_a_reload_loses_the_last_to_join() {
    let mut world = World::new();
    let ids = world.stable(3);
    world.reload_with(GroupConfig { classic_group_size_max: 2, ..GroupConfig::default() });
    assert_eq!(world.state(), State::PreparingRebalance);
    let joining = [world.join(join_as(&ids[0])), world.join(join_as(&ids[1]))];
    assert_eq!(code(world.join(join_as(&ids[2]))), ErrorCode::GroupMaxSizeReached.code());
    let joined = joining.map(answered);
    assert!(joined.iter().all(|joined| joined.generation_id == 2));
    assert_eq!(world.group().member_count(), 2);
}

#[test]
fn a_new_member_waits_in_a_join_for_five_minutes_at_most() {
    let mut world = World::new();
    let long =
        JoinGroupRequest { session_timeout_ms: 1_800_000, rebalance_timeout_ms: 600_000, ..join() };
    let joining = vec![world.join_twice(long.clone())];
    world.settle(joining);
    let (newcomer, mut waiting) = world.join_twice(long);
    world.driver.advance(seconds(299));
    assert!(waits(&mut waiting));
    world.driver.advance(seconds(1));
    let gone = answered(waiting);
    assert_eq!((gone.error_code, gone.member_id.as_str()), (ErrorCode::UnknownMemberId.code(), ""));
    assert!(!world.group().has_member(&newcomer));
}

#[test]
fn a_waiting_member_that_is_known_has_no_session_that_could_end() {
    let mut world = World::new();
    let long = JoinGroupRequest { session_timeout_ms: 120_000, ..join() };
    let joining = vec![world.join_twice(join()), world.join_twice(long)];
    let ids = world.settle(joining);
    let short = ids.iter().find(|id| {
        world
            .group()
            .members()
            .any(|(own, details)| own == *id && details.session_timeout_ms == SESSION_MS)
    });
    let short = short.unwrap().clone();
    let changed = JoinGroupRequest { protocols: vec![offers("range", b"n")], ..join_as(&short) };
    let mut waiting = world.join(changed);
    world.driver.advance(seconds(59));
    assert!(waits(&mut waiting));
    world.driver.advance(seconds(1));
    assert_eq!(answered(waiting).generation_id, 2);
}

#[test]
fn the_votes_of_members_select_the_protocol() {
    let mut world = World::new();
    let prefers = |first: &str, second: &str| JoinGroupRequest {
        protocols: vec![offers(first, b"1"), offers(second, b"2")],
        ..join()
    };
    let mut joining = vec![world.join_twice(prefers("range", "sticky"))];
    joining.push(world.join_twice(prefers("sticky", "range")));
    joining.push(world.join_twice(prefers("sticky", "range")));
    world.driver.advance(INITIAL_DELAY * 2);
    for (_, waiting) in joining {
        assert_eq!(answered(waiting).protocol_name.as_deref(), Some("sticky"));
    }
}

#[test]
fn a_client_id_that_leaves_no_room_for_a_member_id_is_refused() {
    let mut world = World::new();
    let long = "i".repeat(32_001);
    assert_eq!(code(world.join(join_static(&long))), ErrorCode::InvalidRequest.code());
    assert!(!world.has_group());
}
