//! What the group says to those who commit, expire and delete, and how it describes itself.

use bytes::Bytes;
use protocol::{ErrorCode, messages::join_group::JoinGroupRequest};

use super::world::*;
use crate::{
    group::{
        CommitIdentity, OffsetExpiration,
        classic::{ClassicGroup, State},
    },
    testing::EPOCH_MS,
};

const fn plain(member_id: &str, generation_or_epoch: i32) -> CommitIdentity<'_> {
    CommitIdentity {
        member_id,
        group_instance_id: None,
        generation_or_epoch,
        transactional: false,
        api_version: 9,
    }
}

fn commit(group: &ClassicGroup, identity: CommitIdentity<'_>) -> Result<(), ErrorCode> {
    group.validate_offset_commit(identity).map(|_| ())
}

const NOBODY: CommitIdentity<'_> = plain("", -1);

#[test]
fn an_empty_group_takes_offsets_from_outside_and_one_with_members_does_not() {
    let mut world = World::new();
    let simple = ClassicGroup::simple(GROUP);
    assert_eq!(commit(&simple, NOBODY), Ok(()));
    let ids = world.stable(1);
    assert_eq!(commit(world.group(), NOBODY), Err(ErrorCode::UnknownMemberId));
    world.leave(&[identity(&ids[0], None)]);
    assert_eq!(commit(world.group(), NOBODY), Ok(()));
    assert_eq!(commit(world.group(), plain(&ids[0], 1)), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn only_members_of_the_present_generation_commit() {
    let mut world = World::new();
    let ids = world.stable(1);
    assert_eq!(commit(world.group(), plain(&ids[0], 1)), Ok(()));
    assert_eq!(commit(world.group(), plain("m", 1)), Err(ErrorCode::UnknownMemberId));
    for stale in [0, 2, -1] {
        let refused = Err(ErrorCode::IllegalGeneration);
        assert_eq!(commit(world.group(), plain(&ids[0], stale)), refused);
    }
}

#[test]
fn while_a_rebalance_is_prepared_the_former_generation_may_commit() {
    let mut world = World::new();
    let ids = world.stable(2);
    let _joining = world.join_twice(join());
    assert_eq!(world.state(), State::PreparingRebalance);
    assert_eq!(commit(world.group(), plain(&ids[1], 1)), Ok(()));
}

#[test]
fn before_the_assignment_only_transactions_commit() {
    let mut world = World::new();
    let (id, _) = world.join_twice(join());
    world.driver.advance(INITIAL_DELAY);
    assert_eq!(world.state(), State::CompletingRebalance);
    assert_eq!(commit(world.group(), plain(&id, 1)), Err(ErrorCode::RebalanceInProgress));
    let transactional = CommitIdentity { transactional: true, ..plain(&id, 1) };
    assert_eq!(commit(world.group(), transactional), Ok(()));
}

#[test]
fn transactions_of_old_clients_do_not_say_who_they_are() {
    let mut world = World::new();
    let ids = world.stable(1);
    let anonymous = CommitIdentity { transactional: true, ..NOBODY };
    assert_eq!(commit(world.group(), anonymous), Ok(()));
    let stale = CommitIdentity { transactional: true, ..plain(&ids[0], 0) };
    assert_eq!(commit(world.group(), stale), Err(ErrorCode::IllegalGeneration));
    let stranger = CommitIdentity { transactional: true, ..plain("m", 1) };
    assert_eq!(commit(world.group(), stranger), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_fenced_instance_cannot_commit() {
    let mut world = World::new();
    let waiting = world.join(join_static("a"));
    world.driver.advance(INITIAL_DELAY);
    let old = answered(waiting);
    world.assign(std::slice::from_ref(&old));
    let new = answered(world.join(join_static("a"))).member_id;
    let of = |member_id| CommitIdentity { group_instance_id: Some("a"), ..plain(member_id, 1) };
    assert_eq!(commit(world.group(), of(&old.member_id)), Err(ErrorCode::FencedInstanceId));
    assert_eq!(commit(world.group(), of(&new)), Ok(()));
}

#[test]
fn a_commit_keeps_the_session() {
    let mut world = World::new();
    let ids = world.stable(1);
    for _ in 0..5 {
        world.driver.advance(seconds(9));
        world.driver.run(|shard, context| {
            shard.keep_classic_session(GROUP, &ids[0], context);
            crate::shard::Outcome::read(())
        });
    }
    assert_eq!(world.state(), State::Stable);
}

/// A subscription to these topics, version 0 of the consumer protocol.
fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(i32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes
}

#[test]
fn a_group_knows_what_its_consumers_subscribe_to() {
    let mut world = World::new();
    let of = |topics: &[&str]| JoinGroupRequest {
        protocols: vec![offers("range", &subscription(topics))],
        ..join()
    };
    let joining = vec![world.join_twice(of(&["x", "y"])), world.join_twice(of(&["z"]))];
    world.settle(joining);
    for _ in 0..2 {
        let subscribed = ["x", "y", "z", "w"].map(|topic| world.group().is_subscribed_to(topic));
        assert_eq!(subscribed, [true, true, true, false]);
        assert_eq!(world.group().offset_expiration(), OffsetExpiration::SinceCommit);
        world.reload();
    }
}

#[test]
fn unreadable_subscriptions_count_as_all_topics() {
    let mut world = World::new();
    world.stable(1);
    assert!(world.group().is_subscribed_to("x"));
    assert_eq!(world.group().offset_expiration(), OffsetExpiration::Never);
}

#[test]
fn offsets_of_an_empty_group_expire_from_when_it_became_empty() {
    let mut world = World::new();
    assert_eq!(ClassicGroup::simple(GROUP).offset_expiration(), OffsetExpiration::SinceCommit);
    let ids = world.stable(1);
    let at = EPOCH_MS + i64::try_from(world.driver.now.as_millis()).unwrap();
    world.leave(&[identity(&ids[0], None)]);
    assert_eq!(world.group().offset_expiration(), OffsetExpiration::Since(at));
    world.driver.advance(seconds(100));
    world.reload();
    assert_eq!(world.group().offset_expiration(), OffsetExpiration::Since(at));
}

#[test]
fn only_an_empty_group_is_deleted_and_only_consumers_lose_single_offsets() {
    let mut world = World::new();
    let ids = world.stable(1);
    let refused = world.group().validate_delete().map_err(|error| error.code);
    assert_eq!(refused, Err(ErrorCode::NonEmptyGroup));
    assert_eq!(world.group().validate_offset_delete(), Ok(()));
    world.leave(&[identity(&ids[0], None)]);
    assert!(world.group().validate_delete().is_ok());

    let mut world = World::new();
    let connect = JoinGroupRequest { protocol_type: "connect".to_owned(), ..join() };
    let _joining = world.join_twice(connect);
    let refused = Err(ErrorCode::NonEmptyGroup);
    assert_eq!(world.group().validate_offset_delete(), refused);
}

#[test]
fn the_description_shows_metadata_once_the_group_is_stable() {
    let mut world = World::new();
    let (id, _) = world.join_twice(join());
    let preparing = world.group().describe();
    assert_eq!(preparing.group_state, "PreparingRebalance");
    assert_eq!((preparing.protocol_data.as_str(), preparing.members.len()), ("", 1));
    assert!(preparing.members[0].member_metadata.is_empty());
    world.driver.advance(INITIAL_DELAY);
    answered(world.sync(&id, 1, &[(&id, "p")]));
    let stable = world.group().describe();
    assert_eq!((stable.group_state.as_str(), stable.protocol_data.as_str()), ("Stable", "range"));
    assert_eq!(stable.members[0].member_metadata, "m");
    assert_eq!(stable.members[0].member_assignment, Bytes::from("p"));
    assert_eq!(stable.members[0].client_host, "/127.0.0.1");
}
