//! Members that leave, one or many.

use protocol::{
    ErrorCode,
    messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse},
};

use super::world::*;
use crate::group::classic::State;

const UNKNOWN: i16 = ErrorCode::UnknownMemberId.code();

#[test]
fn a_member_that_leaves_makes_the_others_rebalance_at_once() {
    let mut world = World::new();
    let ids = world.stable(2);
    assert_eq!(world.leave_codes(&[identity(&ids[0], None)]), [0]);
    assert_eq!(world.state(), State::PreparingRebalance);
    let joined = answered(world.join(join_as(&ids[1])));
    assert_eq!((joined.generation_id, joined.leader), (2, ids[1].clone()));
}

#[test]
fn each_member_of_a_batch_has_its_own_error() {
    let mut world = World::new();
    let ids = world.stable(3);
    let batch = [identity(&ids[0], None), identity("m", None), identity(&ids[1], None)];
    let left = world.leave(&batch);
    assert_eq!(left.error_code, 0);
    let codes: Vec<_> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [0, UNKNOWN, 0]);
    assert_eq!(left.members[1].member_id, "m");
    assert_eq!(world.group().member_count(), 1);
}

#[test]
fn before_v3_the_one_member_has_the_answer_for_itself() {
    let mut world = World::new();
    let ids = world.stable(1);
    let mut leave = |member_id: &str| {
        let request = LeaveGroupRequest {
            group_id: GROUP.to_owned(),
            member_id: member_id.to_owned(),
            ..Default::default()
        };
        world.driver.run(|shard, context| shard.leave_group(context, &request, 2)).0
    };
    let refused = LeaveGroupResponse { error_code: UNKNOWN, ..Default::default() };
    assert_eq!(leave("m"), refused);
    assert_eq!(leave(&ids[0]), LeaveGroupResponse::default());
    assert_eq!(world.state(), State::Empty);
}

#[test]
fn the_last_member_leaves_an_empty_group_and_a_record() {
    let mut world = World::new();
    let ids = world.stable(1);
    let before = world.driver.log.len();
    assert_eq!(world.leave_codes(&[identity(&ids[0], None)]), [0]);
    assert_eq!(world.driver.log.len(), before + 1);
    assert_eq!((world.state(), world.group().generation_id()), (State::Empty, 2));
    world.reload();
    assert_eq!((world.state(), world.group().generation_id()), (State::Empty, 2));
    let (_, mut waiting) = world.join_twice(join());
    assert!(waits(&mut waiting));
    world.driver.advance(INITIAL_DELAY);
    assert_eq!(answered(waiting).generation_id, 3);
}

#[test]
fn an_unknown_group_has_only_unknown_members() {
    let mut world = World::new();
    assert_eq!(world.leave_codes(&[identity("a", None), identity("", Some("i"))]), [UNKNOWN; 2]);
}

#[test]
fn a_pending_member_can_leave_and_the_others_stop_waiting_for_it() {
    let mut world = World::new();
    let ids = world.stable(1);
    let pending = answered(world.join(join())).member_id;
    let mut waiting = world.join(join_as(&ids[0]));
    assert!(waits(&mut waiting));
    assert_eq!(world.leave_codes(&[identity(&pending, None)]), [0]);
    assert_eq!(answered(waiting).generation_id, 2);
}

#[test]
fn a_member_that_leaves_while_it_waits_is_answered() {
    let mut world = World::new();
    let ids = world.stable(2);
    let joining = world.join(join_as(&ids[0]));
    world.leave(&[identity(&ids[0], None)]);
    let gone = answered(joining);
    assert_eq!((gone.error_code, gone.member_id.as_str()), (UNKNOWN, ""));

    let mut world = World::new();
    let joining = [world.join_twice(join()), world.join_twice(join())];
    world.driver.advance(INITIAL_DELAY * 2);
    let leader = joining.map(|(_, waiting)| answered(waiting)).into_iter().next().unwrap().leader;
    let follower = world.group().members().map(|(id, _)| id.to_owned()).find(|id| *id != leader);
    let follower = follower.unwrap();
    let syncing = world.sync(&follower, 1, &[]);
    world.leave(&[identity(&follower, None)]);
    assert_eq!(answered(syncing).error_code, UNKNOWN);
}
