//! What a broker that starts again knows of a group, and what it does not.

use bytes::Bytes;
use protocol::{ErrorCode, messages::join_group::JoinGroupRequest};

use super::world::*;
use crate::{group::classic::State, shard::Shard as _};

#[test]
fn members_survive_a_reload_with_fresh_sessions() {
    let mut world = World::new();
    let ids = world.stable(2);
    world.driver.advance(seconds(9));
    world.reload();
    assert_eq!((world.state(), world.group().generation_id()), (State::Stable, 1));
    assert_eq!(world.group().protocol_name(), Some("range"));
    world.driver.advance(seconds(9));
    assert_eq!(world.heartbeat(&ids[0], 1), Ok(()));
    world.driver.advance(seconds(1));
    assert!(!world.group().has_member(&ids[1]));
    assert_eq!(world.heartbeat(&ids[0], 1), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn all_that_members_said_of_themselves_survives() {
    let mut world = World::new();
    let waiting = world.join(join_static("a"));
    world.driver.advance(INITIAL_DELAY);
    let joined = answered(waiting);
    world.assign(std::slice::from_ref(&joined));
    let before: Vec<_> =
        world.group().members().map(|(id, details)| (id.to_owned(), details.clone())).collect();
    assert_eq!(before[0].1.client_host, "/127.0.0.1");
    world.reload();
    let after: Vec<_> =
        world.group().members().map(|(id, details)| (id.to_owned(), details.clone())).collect();
    assert_eq!(after, before);
    assert_eq!(before[0].1.assignment, Bytes::from(joined.member_id));
}

#[test]
fn a_generation_without_an_assignment_is_lost_with_the_broker() {
    let mut world = World::new();
    let ids = world.stable(2);
    let leader = world.join(join_as(&ids[0]));
    answered(world.join(join_as(&ids[1])));
    assert_eq!(answered(leader).generation_id, 2);
    world.reload();
    assert_eq!((world.state(), world.group().generation_id()), (State::Stable, 1));
    // Members of the lost generation are sent to join again.
    assert_eq!(world.heartbeat(&ids[0], 2), Err(ErrorCode::IllegalGeneration));
    let sync = answered(world.sync(&ids[1], 2, &[]));
    assert_eq!(sync.error_code, ErrorCode::IllegalGeneration.code());
}

#[test]
fn pending_members_are_lost_with_the_broker_but_the_group_is_not() {
    let mut world = World::new();
    let pending = answered(world.join(join())).member_id;
    world.reload();
    assert_eq!((world.state(), world.group().generation_id()), (State::Empty, 0));
    let refused = answered(world.join(join_as(&pending)));
    assert_eq!(refused.error_code, ErrorCode::UnknownMemberId.code());
}

#[test]
fn a_group_remembers_one_protocol_only_and_learns_the_others_again() {
    let mut world = World::new();
    let both = vec![offers("range", b"m"), offers("sticky", b"s")];
    let with_both = JoinGroupRequest { protocols: both, ..join() };
    let joining = (0..2).map(|_| world.join_twice(with_both.clone())).collect();
    let ids = world.settle(joining);
    world.reload();
    let rejoin = |id: &str| JoinGroupRequest { member_id: id.to_owned(), ..with_both.clone() };
    // A follower that offers more than the log says has something new.
    let mut follower = world.join(rejoin(&ids[1]));
    assert!(waits(&mut follower));
    answered(world.join(rejoin(&ids[0])));
    assert_eq!(answered(follower).generation_id, 2);
}

#[test]
fn whoever_waits_when_the_shard_is_given_up_is_told() {
    let mut world = World::new();
    let ids = world.stable(2);
    let joining = world.join(join_as(&ids[0]));
    world.driver.shard.unloaded(ErrorCode::NotCoordinator);
    let told = answered(joining);
    assert_eq!(
        (told.error_code, told.member_id),
        (ErrorCode::NotCoordinator.code(), ids[0].clone())
    );

    let mut world = World::new();
    let joining = [world.join_twice(join()), world.join_twice(join())];
    world.driver.advance(INITIAL_DELAY * 2);
    let leader = joining.map(|(_, waiting)| answered(waiting).leader).into_iter().next().unwrap();
    let follower = world.group().members().map(|(id, _)| id.to_owned()).find(|id| *id != leader);
    let syncing = world.sync(&follower.unwrap(), 1, &[]);
    world.driver.shard.unloaded(ErrorCode::NotCoordinator);
    assert_eq!(answered(syncing).error_code, ErrorCode::NotCoordinator.code());
}

#[test]
fn of_several_records_of_a_member_the_last_one_counts() {
    let mut world = World::new();
    let ids = world.stable(1);
    let changed = JoinGroupRequest {
        session_timeout_ms: 20_000,
        protocols: vec![offers("range", b"other")],
        ..join_as(&ids[0])
    };
    let joined = answered(world.join(changed));
    world.assign(&[joined]);
    world.reload();
    let (_, details) = world.group().members().next().unwrap();
    assert_eq!(details.metadata("range"), Some(&Bytes::from("other")));
    assert_eq!(details.session_timeout_ms, 20_000);
}
