//! Members of the classic protocol in a consumer group.

use protocol::ErrorCode;

use super::support::{classic::request, *};
use crate::group::config::MigrationPolicy;

fn owns(partitions: &[i32]) -> Result<Vec<(String, Vec<i32>)>, ErrorCode> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![("foo".to_owned(), partitions.to_vec())])
}

/// A consumer member `a` with both partitions, and a classic one that has just joined.
fn mixed() -> (World, String, i32) {
    let mut world = World::new(&[("foo", 2)]);
    world.accepted(&join("a", &["foo"]));
    let asked = world.classic_joined(request("", &["foo"], &[]));
    assert_eq!(asked.error_code, ErrorCode::MemberIdRequired.code());
    let joined = world.classic_joined(request(&asked.member_id, &["foo"], &[]));
    assert_eq!((joined.error_code, joined.generation_id), (0, 3));
    assert_eq!(joined.protocol_type.as_deref(), Some("consumer"));
    assert_eq!((joined.protocol_name.as_deref(), joined.leader.as_str()), (Some("range"), ""));
    (world, joined.member_id, joined.generation_id)
}

#[test]
fn a_classic_member_gets_its_share_by_joining_again_when_it_is_free() {
    let (mut world, c, generation) = mixed();
    assert_eq!(world.classic_synced(&c, generation), owns(&[]));
    assert_eq!(world.classic_beat(&c, generation), Ok(()), "it waits for the other");

    world.accepted(&beat("a", 2));
    assert_eq!(world.classic_beat(&c, generation), Ok(()), "the other still has it");
    world.accepted(&report("a", 2, &[("foo", &[0])]));
    assert_eq!(world.classic_beat(&c, generation), Err(ErrorCode::RebalanceInProgress));
    let joined = world.classic_joined(request(&c, &["foo"], &[]));
    assert_eq!(joined.generation_id, generation);
    assert_eq!(world.classic_synced(&c, generation), owns(&[1]));
    assert_eq!(world.classic_beat(&c, generation), Ok(()));
    assert_eq!(world.group().state_name(), "Stable");
}

#[test]
fn a_classic_member_gives_up_by_joining_again_without() {
    let (mut world, c, generation) = mixed();
    world.accepted(&beat("a", -1));
    // Alone with classic members it is a classic group: keep a consumer in it.
    assert!(world.driver.shard.group(GROUP).is_some_and(|group| group.type_name() == "classic"));
    drop((c, generation));

    let (mut world, c, generation) = mixed();
    world.accepted(&beat("a", 2));
    world.accepted(&report("a", 2, &[("foo", &[0])]));
    world.classic_joined(request(&c, &["foo"], &[]));
    assert_eq!(world.classic_synced(&c, generation), owns(&[1]));
    world.set_topic("foo", Some(1));
    world.accepted(&beat("a", 3));
    assert_eq!(world.classic_beat(&c, generation), Err(ErrorCode::RebalanceInProgress));
    let joined = world.classic_joined(request(&c, &["foo"], &[("foo", &[1])]));
    assert_eq!(joined.generation_id, generation, "it still has something to give up");
    assert_eq!(world.classic_synced(&c, generation), owns(&[]));
    assert_eq!(world.classic_beat(&c, generation), Err(ErrorCode::RebalanceInProgress));
    let joined = world.classic_joined(request(&c, &["foo"], &[]));
    assert_eq!(joined.generation_id, world.group().epoch);
    assert_eq!(world.classic_synced(&c, joined.generation_id), owns(&[]));
    assert_eq!(world.group().state_name(), "Stable");
}

#[test]
fn requests_of_the_wrong_member_or_generation_are_refused() {
    let (mut world, c, generation) = mixed();
    assert_eq!(world.classic_beat("x", generation), Err(ErrorCode::UnknownMemberId));
    assert_eq!(world.classic_beat("a", 2), Err(ErrorCode::UnknownMemberId));
    assert_eq!(world.classic_beat(&c, generation - 1), Err(ErrorCode::IllegalGeneration));
    assert_eq!(world.classic_synced(&c, generation - 1), Err(ErrorCode::IllegalGeneration));
    assert_eq!(world.classic_synced("a", 2), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn protocols_that_do_not_fit_and_a_disabled_migration_are_refused() {
    let (mut world, c, _) = mixed();
    let mut other = request(&c, &["foo"], &[]);
    other.protocol_type = "connect".to_owned();
    let inconsistent = ErrorCode::InconsistentGroupProtocol.code();
    let refused = world.classic_joined(other);
    assert_eq!((refused.error_code, refused.member_id.as_str()), (inconsistent, ""));
    let mut other = request("", &["foo"], &[]);
    other.protocols[0].name = "sticky".to_owned();
    assert_eq!(world.classic_joined(other).error_code, inconsistent);

    let mut world = World::with(&[("foo", 1)], |config| {
        config.consumer_migration_policy = MigrationPolicy::Disabled;
    });
    world.accepted(&join("a", &["foo"]));
    assert_eq!(world.classic_joined(request("", &["foo"], &[])).error_code, inconsistent);
}

#[test]
fn a_classic_member_that_does_not_sync_or_join_in_time_is_fenced() {
    let (mut world, c, generation) = mixed();
    for _ in 0..3 {
        world.advance(5_000);
        assert_eq!(world.classic_beat(&c, generation), Ok(()));
    }
    world.advance(5_000);
    assert!(!world.group().has_member(&c), "it joined and never asked for its assignment");

    let (mut world, c, generation) = mixed();
    world.classic_synced(&c, generation).unwrap();
    world.accepted(&beat("a", 2));
    world.accepted(&report("a", 2, &[("foo", &[0])]));
    for _ in 0..4 {
        assert_eq!(world.classic_beat(&c, generation), Err(ErrorCode::RebalanceInProgress));
        world.advance(5_000);
    }
    assert!(!world.group().has_member(&c), "it was told to join and did not");
}

#[test]
fn a_classic_members_session_is_its_own() {
    let (mut world, c, generation) = mixed();
    world.classic_synced(&c, generation).unwrap();
    world.advance(9_000);
    assert_eq!(world.classic_beat(&c, generation), Ok(()));
    world.reload();
    world.advance(9_000);
    assert!(world.group().has_member(&c));
    world.advance(1_000);
    assert!(!world.group().has_member(&c));
    assert!(world.group().has_member("a"));
}

#[test]
fn a_classic_member_leaves_by_its_own_request() {
    let (mut world, c, _) = mixed();
    let left = world.classic_leave(&c);
    assert_eq!((left.error_code, left.members[0].error_code), (0, 0));
    assert!(!world.group().has_member(&c));
    let left = world.classic_leave(&c);
    assert_eq!(left.members[0].error_code, ErrorCode::UnknownMemberId.code());
}

#[test]
fn a_member_may_change_its_protocol_under_its_id() {
    let (mut world, c, generation) = mixed();
    world.classic_synced(&c, generation).unwrap();
    let response = world.accepted(&join(&c, &["foo"]));
    assert_eq!(response.member_id.as_deref(), Some(c.as_str()));
    assert!(!world.member(&c).uses_classic_protocol());
    assert_eq!(world.group().classic_members(), 0);
}

#[test]
fn a_description_tells_classic_members() {
    let (world, c, _) = mixed();
    let described = world.driver.shard.describe_consumer_group(GROUP);
    let member = described.members.iter().find(|member| member.member_id == c).unwrap();
    assert_eq!((member.member_type, member.client_id.as_str()), (0, "classic"));
}
