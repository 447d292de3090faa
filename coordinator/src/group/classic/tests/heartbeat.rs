//! Heartbeats and sessions.

use protocol::ErrorCode;

use super::world::*;
use crate::group::classic::State;

#[test]
fn strangers_and_stale_generations_are_refused() {
    let mut world = World::new();
    assert_eq!(world.heartbeat("m", 0), Err(ErrorCode::UnknownMemberId));
    let ids = world.stable(1);
    assert_eq!(world.heartbeat("m", 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(world.heartbeat(&ids[0], 0), Err(ErrorCode::IllegalGeneration));
    assert_eq!(world.heartbeat(&ids[0], 2), Err(ErrorCode::IllegalGeneration));
    assert_eq!(world.heartbeat(&ids[0], 1), Ok(()));
}

#[test]
fn a_heartbeat_keeps_the_session_and_silence_ends_it() {
    let mut world = World::new();
    let ids = world.stable(2);
    for _ in 0..4 {
        world.driver.advance(seconds(9));
        assert_eq!(world.heartbeat(&ids[0], 1).err(), world.heartbeat(&ids[1], 1).err());
    }
    assert_eq!(world.state(), State::Stable);
    world.driver.advance(seconds(5));
    assert_eq!(world.heartbeat(&ids[1], 1), Ok(()));
    world.driver.advance(seconds(5));
    assert_eq!(world.heartbeat(&ids[1], 1), Err(ErrorCode::RebalanceInProgress));
    assert!(!world.group().has_member(&ids[0]));
    let joined = answered(world.join(join_as(&ids[1])));
    assert_eq!((joined.generation_id, &joined.leader), (2, &ids[1]));
}

#[test]
fn a_group_whose_members_are_all_silent_becomes_empty() {
    let mut world = World::new();
    world.stable(3);
    let written = world.driver.advance(seconds(10));
    assert_eq!(world.state(), State::Empty);
    assert_eq!((world.group().generation_id(), written.len()), (2, 1));
    assert_eq!(world.group().protocol_name(), None);
    assert_eq!(world.group().protocol_type(), "consumer");
}

#[test]
fn in_completing_rebalance_a_heartbeat_is_a_heartbeat() {
    let mut world = World::new();
    let (id, _) = world.join_twice(join());
    world.driver.advance(INITIAL_DELAY);
    assert_eq!(world.state(), State::CompletingRebalance);
    for _ in 0..3 {
        world.driver.advance(seconds(9));
        assert_eq!(world.heartbeat(&id, 1), Ok(()));
    }
}
