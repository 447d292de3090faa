//! Each way that a member can go, and what it has to report for it.

use super::*;

fn topic(number: u128) -> TopicId {
    TopicId(uuid::Uuid::from_u128(number))
}

fn owned(of: &[(u128, &[(i32, i32)])]) -> Arc<Owned> {
    let topics = of.iter().map(|(number, list)| (topic(*number), list.iter().copied().collect()));
    Arc::new(topics.collect())
}

fn partitions(of: &[(u128, &[i32])]) -> Partitions {
    of.iter().map(|(number, list)| (topic(*number), list.iter().copied().collect())).collect()
}

fn reported(of: &[(u128, &[i32])]) -> Reported {
    of.iter().map(|(number, list)| (topic(*number), list.to_vec())).collect()
}

fn member(state: MemberState, epoch: i32, assigned: Arc<Owned>) -> ConsumerMember {
    ConsumerMember { state, epoch, assigned, ..ConsumerMember::new("a") }
}

/// A step to epoch 11 of a member that subscribes to topics 1 and 2.
struct Case {
    target: Partitions,
    subscribed: BTreeSet<TopicId>,
    changed: bool,
    reported: Option<Reported>,
    held: Vec<(TopicId, i32)>,
}

impl Case {
    fn to(target: &[(u128, &[i32])]) -> Self {
        Self {
            target: partitions(target),
            subscribed: [topic(1), topic(2)].into(),
            changed: false,
            reported: None,
            held: Vec::new(),
        }
    }

    fn reporting(mut self, of: &[(u128, &[i32])]) -> Self {
        self.reported = Some(reported(of));
        self
    }

    fn held(mut self, of: &[(u128, i32)]) -> Self {
        self.held = of.iter().map(|(number, partition)| (topic(*number), *partition)).collect();
        self
    }

    fn subscribed(mut self, to: &[u128]) -> Self {
        self.subscribed = to.iter().map(|number| topic(*number)).collect();
        self.changed = true;
        self
    }

    fn apply(&self, member: &ConsumerMember) -> Result<ConsumerMember, GroupError> {
        let step = Step {
            target_epoch: 11,
            target: &self.target,
            subscribed: &self.subscribed,
            subscription_changed: self.changed,
            reported: self.reported.as_ref(),
            is_held: &|topic, partition| self.held.contains(&(topic, partition)),
        };
        step.apply(member)
    }
}

#[test]
fn a_stable_member_takes_what_is_free_and_goes_to_the_next_epoch() {
    let before = member(MemberState::Stable, 10, owned(&[(1, &[(0, 9)])]));
    let after = Case::to(&[(1, &[0, 1])]).apply(&before).unwrap();
    assert_eq!((after.epoch, after.previous_epoch), (11, 10));
    assert_eq!(after.state, MemberState::Stable);
    assert_eq!(after.assigned, owned(&[(1, &[(0, 9), (1, 11)])]));
}

#[test]
fn a_member_with_something_to_give_up_stays_in_its_epoch() {
    let before = member(MemberState::Stable, 10, owned(&[(1, &[(0, 9), (1, 9)])]));
    let after = Case::to(&[(1, &[0]), (2, &[0])]).apply(&before).unwrap();
    assert_eq!((after.epoch, after.previous_epoch), (10, 10));
    assert_eq!(after.state, MemberState::UnrevokedPartitions);
    assert_eq!(after.assigned, owned(&[(1, &[(0, 9)])]));
    assert_eq!(after.pending_revocation, owned(&[(1, &[(1, 9)])]));
}

#[test]
fn what_is_reported_as_given_up_need_not_be_waited_for() {
    let before = member(MemberState::Stable, 10, owned(&[(1, &[(0, 9), (1, 9)])]));
    let case = Case::to(&[(1, &[0]), (2, &[0])]).reporting(&[(1, &[0])]);
    let after = case.apply(&before).unwrap();
    assert_eq!((after.epoch, after.state), (11, MemberState::Stable));
    assert_eq!(after.assigned, owned(&[(1, &[(0, 9)]), (2, &[(0, 11)])]));
    assert!(after.pending_revocation.is_empty());
}

#[test]
fn an_unrevoked_member_waits_until_it_reports_without_them() {
    let mut before = member(MemberState::UnrevokedPartitions, 10, owned(&[(1, &[(0, 9)])]));
    before.pending_revocation = owned(&[(1, &[(1, 9)])]);
    let case = Case::to(&[(1, &[0, 2])]);
    assert_eq!(case.apply(&before).unwrap(), before, "it does not say what it owns");
    let case = case.reporting(&[(1, &[0, 1])]);
    assert_eq!(case.apply(&before).unwrap(), before, "it still owns it");
    let after = case.reporting(&[(1, &[0])]).apply(&before).unwrap();
    assert_eq!((after.epoch, after.state), (11, MemberState::Stable));
    assert_eq!(after.assigned, owned(&[(1, &[(0, 9), (2, 11)])]));
}

#[test]
fn an_unrevoked_member_may_have_more_to_give_up_next() {
    let mut before = member(MemberState::UnrevokedPartitions, 10, owned(&[(1, &[(0, 9)])]));
    before.pending_revocation = owned(&[(1, &[(1, 9)])]);
    let after = Case::to(&[(2, &[0])]).reporting(&[(1, &[0])]).apply(&before).unwrap();
    assert_eq!((after.epoch, after.state), (10, MemberState::UnrevokedPartitions));
    assert!(after.assigned.is_empty());
    assert_eq!(after.pending_revocation, owned(&[(1, &[(0, 9)])]));
}

#[test]
fn what_others_hold_is_waited_for_in_the_new_epoch() {
    let before = member(MemberState::Stable, 10, Arc::default());
    let case = Case::to(&[(1, &[0, 1])]).held(&[(1, 0)]);
    let after = case.apply(&before).unwrap();
    assert_eq!((after.epoch, after.state), (11, MemberState::UnreleasedPartitions));
    assert_eq!(after.assigned, owned(&[(1, &[(1, 11)])]));

    let after = Case::to(&[(1, &[0, 1])]).apply(&after).unwrap();
    assert_eq!((after.epoch, after.state), (11, MemberState::Stable));
    assert_eq!(after.assigned, owned(&[(1, &[(0, 11), (1, 11)])]));
}

#[test]
fn a_member_that_only_waits_is_unreleased() {
    let before = member(MemberState::Stable, 10, Arc::default());
    let after = Case::to(&[(1, &[0])]).held(&[(1, 0)]).apply(&before).unwrap();
    assert_eq!((after.epoch, after.state), (11, MemberState::UnreleasedPartitions));
    assert!(after.assigned.is_empty());
}

#[test]
fn what_a_member_was_to_give_up_itself_is_free_for_it() {
    let mut before = member(MemberState::UnrevokedPartitions, 10, Arc::default());
    before.pending_revocation = owned(&[(1, &[(1, 9)])]);
    let case = Case::to(&[(1, &[1])]).held(&[(1, 1)]).reporting(&[]);
    let after = case.apply(&before).unwrap();
    assert_eq!((after.epoch, after.state), (11, MemberState::Stable));
    assert_eq!(after.assigned, owned(&[(1, &[(1, 11)])]));
}

#[test]
fn topics_that_are_no_longer_subscribed_are_given_up_at_once() {
    let before = member(MemberState::Stable, 11, owned(&[(1, &[(0, 9)]), (2, &[(0, 9)])]));
    let target = &[(1, [0].as_slice()), (2, &[0])];
    let after = Case::to(target).subscribed(&[1]).apply(&before).unwrap();
    assert_eq!((after.epoch, after.state), (11, MemberState::UnrevokedPartitions));
    assert_eq!(after.assigned, owned(&[(1, &[(0, 9)])]));
    assert_eq!(after.pending_revocation, owned(&[(2, &[(0, 9)])]));

    let after = Case::to(target).subscribed(&[1]).reporting(&[(1, &[0])]).apply(&before).unwrap();
    assert_eq!((after.epoch, after.state), (11, MemberState::Stable));
    assert!(after.pending_revocation.is_empty());

    let unchanged = Case::to(target).subscribed(&[1, 2]).apply(&before).unwrap();
    assert_eq!(unchanged, before);
}

#[test]
fn what_is_not_subscribed_is_not_taken_whatever_the_target_says() {
    let before = member(MemberState::Stable, 10, Arc::default());
    let after = Case::to(&[(1, &[0]), (2, &[0])]).subscribed(&[2]).apply(&before).unwrap();
    assert_eq!((after.epoch, after.state), (11, MemberState::Stable));
    assert_eq!(after.assigned, owned(&[(2, &[(0, 11)])]));
}

#[test]
fn a_member_in_a_state_of_a_later_release_starts_from_nothing() {
    let before = member(MemberState::Unknown, 10, Arc::default());
    let error = Case::to(&[(1, &[0])]).apply(&before).unwrap_err();
    assert_eq!(error.code, ErrorCode::FencedMemberEpoch);
    let after = Case::to(&[(1, &[0])]).reporting(&[]).apply(&before).unwrap();
    assert_eq!((after.epoch, after.state), (11, MemberState::Stable));
}
