//! Who may commit and fetch offsets.

use protocol::ErrorCode;

use super::support::*;
use crate::group::{CommitIdentity, Group, OffsetExpiration};

fn identity(member_id: &str, epoch: i32) -> CommitIdentity<'_> {
    CommitIdentity {
        member_id,
        group_instance_id: None,
        generation_or_epoch: epoch,
        transactional: false,
        api_version: 9,
    }
}

fn validate(world: &World, identity: CommitIdentity<'_>) -> Result<(), ErrorCode> {
    let group: &Group = world.driver.shard.group(GROUP).unwrap();
    match group.validate_offset_commit(identity)? {
        None => Ok(()),
        Some(validator) => validator("foo", topic_id("foo").0, 0),
    }
}

/// A member in epoch 3 that has had partition 0 since epoch 2, and has given up partition 1.
fn world() -> World {
    let mut world = World::new(&[("foo", 2)]);
    world.accepted(&join("a", &["foo"]));
    world.accepted(&join("b", &["foo"]));
    world.accepted(&beat("a", 2));
    world.accepted(&report("a", 2, &[("foo", &[0])]));
    assert_eq!(world.member("a").epoch, 3);
    world
}

#[test]
fn a_member_commits_in_its_epoch() {
    let world = world();
    assert_eq!(validate(&world, identity("a", 3)), Ok(()));
    assert_eq!(validate(&world, identity("a", 4)), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(validate(&world, identity("x", 3)), Err(ErrorCode::UnknownMemberId));
    let mut old_client = identity("a", 3);
    old_client.api_version = 8;
    assert_eq!(validate(&world, old_client), Err(ErrorCode::UnsupportedVersion));
}

#[test]
fn a_member_behind_its_epoch_commits_for_what_it_has_had_since() {
    let world = world();
    assert_eq!(validate(&world, identity("a", 2)), Ok(()));
    assert_eq!(validate(&world, identity("a", 1)), Err(ErrorCode::StaleMemberEpoch));
    let group = world.driver.shard.group(GROUP).unwrap();
    let validator = group.validate_offset_commit(identity("a", 2)).unwrap().unwrap();
    assert_eq!(validator("foo", topic_id("foo").0, 1), Err(ErrorCode::StaleMemberEpoch));
}

#[test]
fn partitions_pending_revocation_may_still_be_committed() {
    let mut world = World::new(&[("foo", 2)]);
    world.accepted(&join("a", &["foo"]));
    world.accepted(&join("b", &["foo"]));
    world.accepted(&beat("a", 2));
    assert_eq!(world.member("a").pending_revocation.len(), 1);
    assert_eq!(validate(&world, identity("a", 2)), Ok(()));
    assert_eq!(world.member("a").assignment_epoch(topic_id("foo"), 1), Some(2));
}

#[test]
fn outsiders_commit_only_while_the_group_is_empty() {
    let mut world = world();
    assert_eq!(validate(&world, identity("", -1)), Err(ErrorCode::UnknownMemberId));
    let mut transactional = identity("", -1);
    transactional.transactional = true;
    assert_eq!(validate(&world, transactional), Ok(()));
    world.accepted(&beat("a", -1));
    world.accepted(&beat("b", -1));
    assert_eq!(validate(&world, identity("", -1)), Ok(()));
}

#[test]
fn a_fetch_needs_the_right_epoch_or_none() {
    let world = world();
    let group = world.driver.shard.group(GROUP).unwrap();
    assert_eq!(group.validate_offset_fetch(None, -1), Ok(()));
    assert_eq!(group.validate_offset_fetch(Some("a"), 3), Ok(()));
    assert_eq!(group.validate_offset_fetch(Some("a"), 2), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(group.validate_offset_fetch(Some("x"), 3), Err(ErrorCode::UnknownMemberId));
    assert_eq!(group.validate_offset_fetch(Some(""), -1), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_group_is_deleted_only_when_empty() {
    let mut world = world();
    let code = |world: &World| {
        world.driver.shard.group(GROUP).unwrap().validate_delete().map_err(|error| error.code)
    };
    assert_eq!(code(&world), Err(ErrorCode::NonEmptyGroup));
    assert!(world.group().is_subscribed_to("foo"));
    world.accepted(&beat("a", -1));
    world.accepted(&beat("b", -1));
    assert_eq!(code(&world), Ok(()));
    assert!(!world.group().is_subscribed_to("foo"));
    let group = world.driver.shard.group(GROUP).unwrap();
    assert_eq!(group.offset_expiration(), OffsetExpiration::SinceCommit);
    assert_eq!((group.type_name(), group.protocol_type()), ("consumer", "consumer"));
}
