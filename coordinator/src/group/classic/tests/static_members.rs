//! Static members: restarts without a rebalance, fencing, removal by instance id.

use bytes::Bytes;
use protocol::{
    ErrorCode,
    messages::{join_group::JoinGroupRequest, sync_group::SyncGroupRequest},
};

use super::world::*;
use crate::group::classic::State;

const FENCED: i16 = ErrorCode::FencedInstanceId.code();
const UNKNOWN: i16 = ErrorCode::UnknownMemberId.code();

/// A stable group of static members `a` and `b`, the leader's member id first.
fn stable(world: &mut World) -> Vec<String> {
    let joining = ["a", "b"].map(|instance| world.join(join_static(instance)));
    world.driver.advance(INITIAL_DELAY * 2);
    let joined = joining.map(answered);
    world.assign(&joined)
}

fn instance_of(world: &World, member_id: &str) -> String {
    let mut members = world.group().members();
    let found = members.find(|(id, _)| *id == member_id);
    found.and_then(|(_, details)| details.instance_id.clone()).expect("a static member")
}

#[test]
fn a_static_member_is_added_without_asking_for_an_id_first() {
    let mut world = World::new();
    let mut waiting = world.join(join_static("a"));
    assert!(waits(&mut waiting));
    world.driver.advance(INITIAL_DELAY);
    let joined = answered(waiting);
    assert!(joined.member_id.starts_with("a-"));
    assert_eq!(joined.members[0].group_instance_id.as_deref(), Some("a"));
}

#[test]
fn a_restarted_static_member_takes_its_place_without_a_rebalance() {
    let mut world = World::new();
    let ids = stable(&mut world);
    let follower = instance_of(&world, &ids[1]);
    let joined = answered(world.join(join_static(&follower)));
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_ne!(joined.member_id, ids[1]);
    assert_eq!((&joined.leader, joined.skip_assignment), (&ids[0], false));
    assert_eq!(world.state(), State::Stable);
    // It has the assignment of the one that it replaces, also after a reload.
    assert_eq!(answered(world.sync(&joined.member_id, 1, &[])).assignment, ids[1]);
    world.reload();
    assert_eq!(answered(world.sync(&joined.member_id, 1, &[])).assignment, ids[1]);
    assert_eq!(world.heartbeat(&joined.member_id, 1), Ok(()));
}

#[test]
fn a_restarted_leader_is_told_not_to_assign() {
    let mut world = World::new();
    let ids = stable(&mut world);
    let leader = instance_of(&world, &ids[0]);
    let joined = answered(world.join(join_static(&leader)));
    assert!(joined.skip_assignment);
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(joined.members.len(), 2);

    let before_v9 = answered(world.join_version(join_static(&leader), 8));
    assert!(!before_v9.skip_assignment);
    assert_eq!(before_v9.leader, joined.member_id, "the leader that it replaces");
    assert_ne!(before_v9.member_id, joined.member_id);
    assert!(before_v9.members.is_empty());
}

#[test]
fn whoever_uses_the_former_id_is_fenced() {
    let mut world = World::new();
    let ids = stable(&mut world);
    let instance = instance_of(&world, &ids[1]);
    let current = answered(world.join(join_static(&instance))).member_id;
    let fenced = Err(ErrorCode::FencedInstanceId);
    assert_eq!(world.heartbeat_as(&ids[1], Some(&instance), 1), fenced);
    assert_eq!(world.heartbeat_as(&current, Some(&instance), 1), Ok(()));
    // Without its instance id it is not even known.
    assert_eq!(world.heartbeat(&ids[1], 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(world.heartbeat_as(&current, Some("c"), 1), Err(ErrorCode::UnknownMemberId));
    let rejoin = JoinGroupRequest { member_id: ids[1].clone(), ..join_static(&instance) };
    let refused = answered(world.join(rejoin));
    assert_eq!((refused.error_code, &refused.member_id), (FENCED, &ids[1]));
    let sync = SyncGroupRequest {
        group_id: GROUP.to_owned(),
        generation_id: 1,
        member_id: ids[1].clone(),
        group_instance_id: Some(instance.clone()),
        ..Default::default()
    };
    assert_eq!(answered(world.sync_request(&sync)).error_code, FENCED);
    assert_eq!(world.leave_codes(&[identity(&ids[1], Some(&instance))]), [FENCED]);
}

#[test]
fn of_two_with_one_instance_id_the_first_is_fenced_while_it_waits() {
    let mut world = World::new();
    let first = world.join(join_static("a"));
    let mut second = world.join(join_static("a"));
    let fenced = answered(first);
    assert_eq!(fenced.error_code, FENCED);
    assert!(fenced.member_id.starts_with("a-"));
    assert!(waits(&mut second));
    world.driver.advance(INITIAL_DELAY * 2);
    let joined = answered(second);
    assert_eq!((joined.error_code, world.group().member_count()), (0, 1));
    assert_eq!(joined.leader, joined.member_id, "leadership is taken over too");
}

#[test]
fn a_static_member_that_is_replaced_while_it_syncs_is_fenced_and_all_begin_again() {
    let mut world = World::new();
    let joining = ["a", "b"].map(|instance| world.join(join_static(instance)));
    world.driver.advance(INITIAL_DELAY * 2);
    let joined = joining.map(answered);
    let follower = joined.iter().find(|joined| joined.leader != joined.member_id).unwrap();
    let syncing = world.sync(&follower.member_id, 1, &[]);
    let instance = instance_of(&world, &follower.member_id);
    let mut waiting = world.join(join_static(&instance));
    assert_eq!(answered(syncing).error_code, FENCED);
    assert_eq!(world.state(), State::PreparingRebalance);
    let leader_instance = instance_of(&world, &follower.leader);
    let rejoin =
        JoinGroupRequest { member_id: follower.leader.clone(), ..join_static(&leader_instance) };
    assert!(waits(&mut waiting));
    answered(world.join(rejoin));
    assert_eq!(answered(waiting).generation_id, 2);
}

#[test]
fn a_restart_that_changes_the_selected_protocol_rebalances() {
    let mut world = World::new();
    let both = vec![offers("range", b"m"), offers("sticky", b"s")];
    let with_both =
        |instance| JoinGroupRequest { protocols: both.clone(), ..join_static(instance) };
    let joining = ["a", "b"].map(|instance| world.join(with_both(instance)));
    world.driver.advance(INITIAL_DELAY * 2);
    let joined = joining.map(answered);
    world.assign(&joined);
    let sticky = vec![offers("sticky", b"s")];
    let mut waiting = world.join(JoinGroupRequest { protocols: sticky, ..join_static("a") });
    assert!(waits(&mut waiting));
    assert_eq!(world.state(), State::PreparingRebalance);
    let b = joined.iter().find(|joined| instance_of_joined(joined.member_id.as_str()) == "b");
    let rejoin = JoinGroupRequest { member_id: b.unwrap().member_id.clone(), ..with_both("b") };
    answered(world.join(rejoin));
    let joined = answered(waiting);
    assert_eq!((joined.generation_id, joined.protocol_name.as_deref()), (2, Some("sticky")));
}

fn instance_of_joined(member_id: &str) -> &str {
    member_id.split('-').next().unwrap()
}

#[test]
fn a_restart_with_another_subscription_but_the_same_protocol_does_not_rebalance() {
    let mut world = World::new();
    let ids = stable(&mut world);
    let instance = instance_of(&world, &ids[1]);
    let changed = vec![offers("range", b"other")];
    let joined =
        answered(world.join(JoinGroupRequest { protocols: changed, ..join_static(&instance) }));
    assert_eq!((joined.error_code, world.state()), (0, State::Stable));
    let (_, details) = world.group().members().find(|(id, _)| *id == joined.member_id).unwrap();
    assert_eq!(details.metadata("range"), Some(&Bytes::from("other")));
}

#[test]
fn absent_static_members_stay_through_a_rebalance_until_they_fail_to_sync() {
    let mut world = World::new();
    let patient =
        |instance: &str| JoinGroupRequest { session_timeout_ms: 600_000, ..join_static(instance) };
    let joining = ["a", "b"].map(|instance| world.join(patient(instance)));
    world.driver.advance(INITIAL_DELAY * 2);
    let joined = joining.map(answered);
    let ids = world.assign(&joined);
    let rejoin = |world: &World, id: &str| {
        let instance = instance_of(world, id);
        JoinGroupRequest { member_id: id.to_owned(), ..patient(&instance) }
    };
    // The leader joins again, the other one is away.
    let request = rejoin(&world, &ids[0]);
    let waiting = world.join(request);
    world.driver.advance(seconds(60));
    let joined = answered(waiting);
    assert_eq!((joined.generation_id, joined.members.len()), (2, 2));
    answered(world.sync(&ids[0], 2, &[(&ids[0], "p0"), (&ids[1], "p1")]));
    assert_eq!(world.state(), State::Stable);
    world.driver.advance(seconds(60));
    assert_eq!(world.state(), State::PreparingRebalance);
    assert!(!world.group().has_member(&ids[1]));
}

#[test]
fn a_rebalance_in_which_no_static_member_joins_goes_on_until_sessions_end() {
    let mut world = World::new();
    let patient =
        |instance: &str| JoinGroupRequest { session_timeout_ms: 100_000, ..join_static(instance) };
    let joining = ["a", "b"].map(|instance| world.join(patient(instance)));
    world.driver.advance(INITIAL_DELAY * 2);
    let joined = joining.map(answered);
    let ids = world.assign(&joined);
    let leaver = identity(&ids[0], None);
    world.leave(&[leaver]);
    world.driver.advance(seconds(60));
    assert_eq!((world.state(), world.group().generation_id()), (State::PreparingRebalance, 1));
    world.driver.advance(seconds(40));
    assert_eq!((world.state(), world.group().generation_id()), (State::Empty, 2));
}

#[test]
fn an_administrator_removes_static_members_by_instance_id() {
    let mut world = World::new();
    let ids = stable(&mut world);
    assert_eq!(world.leave_codes(&[identity("", Some("c"))]), [UNKNOWN]);
    assert_eq!(world.state(), State::Stable);
    let left = world.leave(&[identity("", Some("a"))]);
    assert_eq!(left.members[0].error_code, 0);
    assert_eq!(
        (left.members[0].member_id.as_str(), world.state()),
        ("", State::PreparingRebalance)
    );
    assert_eq!(world.group().member_count(), 1);
    assert_eq!(world.leave_codes(&[identity("", Some("b"))]), [0]);
    assert_eq!(world.state(), State::Empty);
    assert!(ids.iter().all(|id| !world.group().has_member(id)));
}
