//! Syncs: the leader's assignment, those who wait for it and those who never come.

use std::time::Duration;

use bytes::Bytes;
use protocol::{
    ErrorCode,
    messages::{join_group::JoinGroupRequest, sync_group::SyncGroupRequest},
};

use super::world::*;
use crate::{
    group::classic::{State, validate_sync},
    testing::Entry,
};

fn request(member_id: &str, generation_id: i32) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: GROUP.to_owned(),
        generation_id,
        member_id: member_id.to_owned(),
        ..Default::default()
    }
}

fn code(waiting: Syncing) -> i16 {
    answered(waiting).error_code
}

/// Two members in generation 1 that have not synced; the leader first.
fn joined(world: &mut World) -> Vec<String> {
    let joining = [world.join_twice(join()), world.join_twice(join())];
    world.driver.advance(INITIAL_DELAY * 2);
    let mut ids: Vec<_> = joining.iter().map(|(id, _)| id.clone()).collect();
    let leader = joining.map(|(_, waiting)| answered(waiting).leader).into_iter().next().unwrap();
    ids.sort_by_key(|id| *id != leader);
    assert_eq!(world.state(), State::CompletingRebalance);
    ids
}

#[test]
fn since_v5_the_protocol_must_be_named() {
    let unnamed = request("m", 1);
    assert_eq!(validate_sync(&unnamed, 4), Ok(()));
    assert_eq!(validate_sync(&unnamed, 5), Err(ErrorCode::InconsistentGroupProtocol));
    let nameless = SyncGroupRequest { group_id: String::new(), ..request("m", 1) };
    assert_eq!(validate_sync(&nameless, 4), Err(ErrorCode::InvalidGroupId));
}

#[test]
fn followers_wait_for_the_leader_and_all_get_their_part() {
    let mut world = World::new();
    let ids = joined(&mut world);
    let mut follower = world.sync(&ids[1], 1, &[]);
    assert!(waits(&mut follower));
    let leader = world.sync(&ids[0], 1, &[(&ids[0], "p0"), (&ids[1], "p1"), ("stranger", "p2")]);
    let (led, followed) = (answered(leader), answered(follower));
    assert_eq!((led.error_code, led.assignment), (0, Bytes::from("p0")));
    assert_eq!(led.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(led.protocol_name.as_deref(), Some("range"));
    assert_eq!((followed.error_code, followed.assignment), (0, Bytes::from("p1")));
    assert_eq!(world.state(), State::Stable);
}

#[test]
fn the_assignment_is_in_the_log_when_members_are_told() {
    let mut world = World::new();
    let ids = joined(&mut world);
    let before = world.driver.log.len();
    let _syncing = world.sync(&ids[0], 1, &[(&ids[0], "p0"), (&ids[1], "p1")]);
    assert_eq!(world.driver.log.len(), before + 1);
    world.reload();
    assert_eq!(world.state(), State::Stable);
    assert_eq!(answered(world.sync(&ids[1], 1, &[])).assignment, "p1");
}

#[test]
fn an_assignment_that_the_log_cannot_hold_is_refused_and_the_group_begins_anew() {
    let mut world = World::new();
    let ids = joined(&mut world);
    let follower = world.sync(&ids[1], 1, &[]);
    let before = world.driver.log.len();
    world.driver.batch_bytes_max = 2_000;
    let large = "p".repeat(1_000);
    let leader = world.sync(&ids[0], 1, &[(&ids[0], &large), (&ids[1], &large)]);
    let refused = ErrorCode::UnknownServerError.code();
    assert_eq!((code(leader), code(follower)), (refused, refused));
    assert_eq!(world.state(), State::PreparingRebalance);
    assert_eq!(world.driver.log.len(), before);
    assert_eq!(world.heartbeat(&ids[1], 1), Err(ErrorCode::RebalanceInProgress));

    // The next generation is assigned less.
    let joining = ids.iter().map(|id| (id.clone(), world.join(join_as(id)))).collect::<Vec<_>>();
    let joined: Vec<_> = joining.into_iter().map(|(_, waiting)| answered(waiting)).collect();
    assert_eq!(joined[0].generation_id, 2);
    world.assign(&joined);
}

#[test]
fn a_static_member_that_says_too_much_for_the_log_makes_the_group_rebalance() {
    let mut world = World::new();
    let member = ("i".to_owned(), world.join(join_static("i")));
    let ids = world.settle(vec![member]);
    world.driver.batch_bytes_max = 1_000;
    let verbose =
        JoinGroupRequest { protocols: vec![offers("range", &[b'm'; 1_000])], ..join_static("i") };
    let before = world.driver.log.len();
    let again = answered(world.join(verbose));
    assert_ne!(again.member_id, ids[0]);
    assert_eq!((again.error_code, again.generation_id), (0, 2));
    assert_eq!(world.driver.log.len(), before);
}

#[test]
fn a_follower_that_comes_after_the_leader_is_answered_at_once() {
    let mut world = World::new();
    let ids = joined(&mut world);
    answered(world.sync(&ids[0], 1, &[(&ids[1], "p1")]));
    assert_eq!(answered(world.sync(&ids[1], 1, &[])).assignment, "p1");
    // The leader forgot itself: it gets nothing, and no error.
    let again = answered(world.sync(&ids[0], 1, &[(&ids[0], "late")]));
    assert_eq!((again.error_code, again.assignment), (0, Bytes::new()));
}

#[test]
fn members_generations_and_protocols_are_checked_in_this_order() {
    let mut world = World::new();
    assert_eq!(code(world.sync("m", 1, &[])), ErrorCode::UnknownMemberId.code());
    let ids = joined(&mut world);
    assert_eq!(code(world.sync("m", 7, &[])), ErrorCode::UnknownMemberId.code());
    assert_eq!(code(world.sync(&ids[1], 2, &[])), ErrorCode::IllegalGeneration.code());
    let other_type =
        SyncGroupRequest { protocol_type: Some("connect".to_owned()), ..request(&ids[1], 1) };
    let other_name =
        SyncGroupRequest { protocol_name: Some("sticky".to_owned()), ..request(&ids[1], 1) };
    for inconsistent in [other_type, other_name] {
        let refused = ErrorCode::InconsistentGroupProtocol.code();
        assert_eq!(code(world.sync_request(&inconsistent)), refused);
    }
    let mut unnamed = world.sync_request(&request(&ids[1], 1));
    assert!(waits(&mut unnamed), "before v5 nothing is named");
}

#[test]
fn while_a_rebalance_is_prepared_members_are_sent_back() {
    let mut world = World::new();
    let ids = world.stable(2);
    let _joining = world.join_twice(join());
    assert_eq!(code(world.sync(&ids[1], 1, &[])), ErrorCode::RebalanceInProgress.code());
}

#[test]
fn a_new_member_sends_those_who_sync_back() {
    let mut world = World::new();
    let ids = joined(&mut world);
    let follower = world.sync(&ids[1], 1, &[]);
    let _joining = world.join_twice(join());
    assert_eq!(code(follower), ErrorCode::RebalanceInProgress.code());
    // Its session runs again.
    world.driver.advance(seconds(10));
    assert!(!world.group().has_member(&ids[1]));
}

#[test]
fn of_two_syncs_of_one_member_the_later_one_waits() {
    let mut world = World::new();
    let ids = joined(&mut world);
    let first = world.sync(&ids[1], 1, &[]);
    let second = world.sync(&ids[1], 1, &[]);
    assert_eq!(code(first), ErrorCode::RebalanceInProgress.code());
    answered(world.sync(&ids[0], 1, &[(&ids[1], "p1")]));
    assert_eq!(answered(second).assignment, "p1");
}

#[test]
fn members_that_never_sync_are_removed_after_the_rebalance_timeout() {
    let mut world = World::new();
    let ids = joined(&mut world);
    let mut follower = world.sync(&ids[1], 1, &[]);
    // The leader heartbeats but never assigns.
    for _ in 0..11 {
        world.driver.advance(seconds(5));
        assert_eq!(world.heartbeat(&ids[0], 1), Ok(()));
    }
    world.driver.advance(Duration::from_millis(4_999));
    assert!(waits(&mut follower));
    world.driver.advance(Duration::from_millis(1));
    assert_eq!(code(follower), ErrorCode::RebalanceInProgress.code());
    assert_eq!(world.state(), State::PreparingRebalance);
    assert!(!world.group().has_member(&ids[0]));
    let joined = answered(world.join(join_as(&ids[1])));
    assert_eq!((joined.generation_id, &joined.leader), (2, &ids[1]));
}

#[test]
fn in_a_stable_group_a_follower_that_never_synced_is_removed_too() {
    let mut world = World::new();
    let ids = joined(&mut world);
    answered(world.sync(&ids[0], 1, &[(&ids[0], "p0"), (&ids[1], "p1")]));
    for _ in 0..12 {
        world.driver.advance(seconds(5));
        let _ = world.heartbeat(&ids[0], 1);
        let _ = world.heartbeat(&ids[1], 1);
    }
    assert_eq!(world.state(), State::PreparingRebalance);
    assert!(!world.group().has_member(&ids[1]));
}

#[test]
fn once_all_have_synced_nobody_is_late() {
    let mut world = World::new();
    let ids = world.stable(2);
    for _ in 0..30 {
        world.driver.advance(seconds(5));
        for id in &ids {
            assert_eq!(world.heartbeat(id, 1), Ok(()));
        }
    }
    assert_eq!(world.state(), State::Stable);
}

#[test]
fn a_waiting_follower_has_no_session_but_one_that_was_answered_has() {
    let mut world = World::new();
    let ids = joined(&mut world);
    let mut follower = world.sync(&ids[1], 1, &[]);
    for _ in 0..5 {
        world.driver.advance(seconds(5));
        assert_eq!(world.heartbeat(&ids[0], 1), Ok(()));
    }
    assert!(waits(&mut follower));
    answered(world.sync(&ids[0], 1, &[(&ids[1], "p1")]));
    assert_eq!(answered(follower).assignment, "p1");
    world.driver.advance(seconds(9));
    assert_eq!(world.heartbeat(&ids[0], 1), Ok(()));
    world.driver.advance(seconds(1));
    assert!(!world.group().has_member(&ids[1]));
    assert_eq!(world.heartbeat(&ids[0], 1), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn only_assignments_and_empty_groups_are_written() {
    let mut world = World::new();
    let ids = world.stable(3);
    let writes = |world: &World| {
        world.driver.log.iter().filter(|entry| matches!(entry, Entry::Record(..))).count()
    };
    // The group was created, and got its first assignment.
    assert_eq!(writes(&world), 2);
    for id in &ids {
        let _ = world.heartbeat(id, 1);
        let _ = world.leave(&[identity(id, None)]);
    }
    assert_eq!((world.state(), writes(&world)), (State::Empty, 3));
}
