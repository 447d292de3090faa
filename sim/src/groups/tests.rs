//! The checker catches what is wrong, and lets pass what only looks like it.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::invariants::Broken;

const GROUP: &str = "g";
const SESSION_MS: i64 = 6_000;

fn groups(protocol: Protocol) -> Groups {
    let mut groups = Groups::default();
    groups.add(GROUP, protocol, SESSION_MS);
    groups
}

fn member(member_id: &str, epoch: i32) -> Identity {
    Identity { member_id: member_id.to_owned(), epoch }
}

fn set(partitions: &[i32]) -> BTreeSet<i32> {
    partitions.iter().copied().collect()
}

/// Sends a commit of partition 0.
fn send(groups: &mut Groups, who: &Identity, offset: i64) -> Commit {
    groups.commit(GROUP, who, [(0, offset)].into())
}

fn ack(groups: &mut Groups, who: &Identity, commit: &Commit) -> Result<(), Violation> {
    groups.committed(GROUP, who, commit, 0)
}

fn fetch(groups: &mut Groups, found: Option<(WriteId, i64)>) -> Result<(), Violation> {
    let since = groups.fetching();
    groups.fetched(GROUP, 0, found, since)
}

fn breaks(result: Result<(), Violation>, invariant: InvariantId) {
    assert_eq!(result.unwrap_err().invariant, Broken::Invariant(invariant));
}

#[test]
fn the_last_acknowledged_commit_is_found_and_none_before_it() {
    let mut groups = groups(Protocol::Classic);
    let who = member("a", 1);
    fetch(&mut groups, None).unwrap();
    let (first, second) = (send(&mut groups, &who, 5), send(&mut groups, &who, 6));
    // Either may have happened.
    fetch(&mut groups, None).unwrap();
    fetch(&mut groups, Some((first.id, 5))).unwrap();
    ack(&mut groups, &who, &first).unwrap();
    breaks(fetch(&mut groups, None), InvariantId::Grp2);
    fetch(&mut groups, Some((second.id, 6))).unwrap();
    // They were on their way together, so their order is unknown.
    ack(&mut groups, &who, &second).unwrap();
    fetch(&mut groups, Some((first.id, 5))).unwrap();
    let third = send(&mut groups, &who, 7);
    ack(&mut groups, &who, &third).unwrap();
    breaks(fetch(&mut groups, Some((second.id, 6))), InvariantId::Grp2);
    breaks(fetch(&mut groups, Some((third.id, 8))), InvariantId::Grp2);
    fetch(&mut groups, Some((third.id, 7))).unwrap();
}

#[test]
fn a_fetch_that_began_before_an_acknowledgement_may_miss_it() {
    let mut groups = groups(Protocol::Classic);
    let who = member("a", 1);
    let commit = send(&mut groups, &who, 5);
    let since = groups.fetching();
    ack(&mut groups, &who, &commit).unwrap();
    groups.fetched(GROUP, 0, None, since).unwrap();
}

#[test]
fn a_commit_of_unknown_fate_may_come_late_but_not_after_the_broker_died() {
    let mut groups = groups(Protocol::Classic);
    let who = member("a", 1);
    let unknown = send(&mut groups, &who, 5);
    let second = send(&mut groups, &who, 6);
    ack(&mut groups, &who, &second).unwrap();
    fetch(&mut groups, Some((unknown.id, 5))).unwrap();
    groups.life_ended();
    fetch(&mut groups, Some((unknown.id, 5))).unwrap();
    let third = send(&mut groups, &who, 7);
    ack(&mut groups, &who, &third).unwrap();
    breaks(fetch(&mut groups, Some((unknown.id, 5))), InvariantId::Grp2);
}

#[test]
fn a_refused_commit_is_never_found() {
    let mut groups = groups(Protocol::Classic);
    let who = member("a", 1);
    let commit = send(&mut groups, &who, 5);
    groups.refused(GROUP, &commit, 0);
    breaks(fetch(&mut groups, Some((commit.id, 5))), InvariantId::Grp2);
}

#[test]
fn offsets_of_a_deleted_group_are_gone() {
    let mut groups = groups(Protocol::Classic);
    let who = member("a", 1);
    let commit = send(&mut groups, &who, 5);
    ack(&mut groups, &who, &commit).unwrap();
    let id = groups.deleting(GROUP);
    fetch(&mut groups, None).unwrap();
    fetch(&mut groups, Some((commit.id, 5))).unwrap();
    groups.deleted(GROUP, id, true);
    fetch(&mut groups, None).unwrap();
    breaks(fetch(&mut groups, Some((commit.id, 5))), InvariantId::Grp2);
    let next = send(&mut groups, &who, 1);
    ack(&mut groups, &who, &next).unwrap();
    breaks(fetch(&mut groups, None), InvariantId::Grp2);
    // A refused deletion deletes nothing.
    let id = groups.deleting(GROUP);
    groups.deleted(GROUP, id, false);
    breaks(fetch(&mut groups, None), InvariantId::Grp2);
}

#[test]
fn a_classic_generation_has_one_assignment() {
    let mut groups = groups(Protocol::Classic);
    groups.synced(GROUP, &member("a", 3), &set(&[0, 1])).unwrap();
    groups.synced(GROUP, &member("b", 3), &set(&[2])).unwrap();
    groups.synced(GROUP, &member("a", 3), &set(&[0, 1])).unwrap();
    groups.synced(GROUP, &member("b", 4), &set(&[0, 1, 2])).unwrap();
    breaks(groups.synced(GROUP, &member("c", 4), &set(&[2])), InvariantId::Grp1);
}

#[test]
fn generations_begin_anew_when_the_group_was_deleted() {
    let mut groups = groups(Protocol::Classic);
    groups.synced(GROUP, &member("a", 1), &set(&[0])).unwrap();
    let id = groups.deleting(GROUP);
    groups.synced(GROUP, &member("b", 1), &set(&[0])).unwrap();
    groups.deleted(GROUP, id, true);
    groups.synced(GROUP, &member("c", 1), &set(&[0])).unwrap();
    breaks(groups.synced(GROUP, &member("d", 1), &set(&[0])), InvariantId::Grp1);
}

#[test]
fn an_old_generation_is_over_and_does_not_commit() {
    let mut groups = groups(Protocol::Classic);
    let (old, new) = (member("a", 1), member("b", 2));
    groups.synced(GROUP, &old, &set(&[0])).unwrap();
    // Sent while its generation was the last, it may come late.
    let early = send(&mut groups, &old, 5);
    assert!(!groups.is_over(GROUP, old.epoch));
    groups.synced(GROUP, &new, &set(&[0])).unwrap();
    ack(&mut groups, &old, &early).unwrap();
    let late = send(&mut groups, &old, 6);
    breaks(ack(&mut groups, &old, &late), InvariantId::Grp3);
    assert!(groups.is_over(GROUP, old.epoch) && !groups.is_over(GROUP, new.epoch));
}

#[test]
fn two_members_of_a_consumer_group_do_not_own_one_partition() {
    let mut groups = groups(Protocol::Consumer);
    groups.assigned(GROUP, "a", &set(&[0, 1]), (1_000, 1_001)).unwrap();
    breaks(groups.assigned(GROUP, "b", &set(&[1]), (2_000, 2_001)), InvariantId::Grp1);
}

#[test]
fn a_partition_moves_when_its_member_lets_go_leaves_or_is_silent() {
    let mut groups = groups(Protocol::Consumer);
    groups.assigned(GROUP, "a", &set(&[0, 1]), (1_000, 1_001)).unwrap();
    groups.keeps(GROUP, "a", &set(&[0]));
    groups.assigned(GROUP, "b", &set(&[1]), (2_000, 2_001)).unwrap();
    groups.forget(GROUP, "b");
    groups.assigned(GROUP, "c", &set(&[1]), (3_000, 3_001)).unwrap();
    // The last that was heard of "a" is of 4 s.
    groups.heard_of(GROUP, "a", 4_000);
    breaks(groups.assigned(GROUP, "c", &set(&[0, 1]), (9_000, 9_001)), InvariantId::Grp1);
    groups.assigned(GROUP, "c", &set(&[0, 1]), (10_000, 10_001)).unwrap();
}

#[test]
fn an_answer_that_is_older_than_a_session_proves_nothing() {
    let mut groups = groups(Protocol::Consumer);
    groups.assigned(GROUP, "a", &set(&[0]), (1_000, 1_001)).unwrap();
    groups.heard_of(GROUP, "a", 9_000);
    groups.assigned(GROUP, "b", &set(&[0]), (2_000, 9_500)).unwrap();
    // Nor does it make the other's commits stale.
    let who = member("a", 1);
    let commit = send(&mut groups, &who, 5);
    ack(&mut groups, &who, &commit).unwrap();
}

#[test]
fn a_member_does_not_commit_for_what_is_anothers() {
    let mut groups = groups(Protocol::Consumer);
    let who = member("a", 1);
    groups.assigned(GROUP, "a", &set(&[0]), (1_000, 1_001)).unwrap();
    let early = send(&mut groups, &who, 5);
    groups.assigned(GROUP, "b", &set(&[0]), (8_000, 8_001)).unwrap();
    ack(&mut groups, &who, &early).unwrap();
    let late = send(&mut groups, &who, 6);
    breaks(ack(&mut groups, &who, &late), InvariantId::Grp3);
}
