//! What a heartbeat or a join of one member does to its group: the steps, and the records that they
//! leave behind in Kafka's order.
//!
//! ```text
//!   member record ─► regex tombstone ─► group epoch ─► targets, target epoch ─► current assignment
//!    (changed)        (last one gone)   (must assign)     (epoch is ahead)          (one step)
//! ```
//!
//! Everything here looks at the group as it was before; the records bring it up to date.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::TopicId;
use protocol::ErrorCode;
use tracing::{debug, info};

use super::{
    group::ConsumerGroup,
    member::ConsumerMember,
    metadata_hash::group_hash,
    reconcile::{Reported, Step},
    records::RecordsOf,
    regex::TopicRegex,
    settings::ConsumerSettings,
    subscription::{SubscribedTopics, count_names, count_one, count_regex, subscription_type},
};
use crate::{
    group::{
        GroupError, GroupRecord,
        assignor::{Assignor, GroupSpec, MemberSpec, Partitions, SubscriptionType},
    },
    topics::TopicImage,
};

/// Regular expressions of a group are not resolved more often than this.
const REGEX_REFRESH_INTERVAL_MS_MIN: i64 = 10_000;

/// Whether a member's regular expression is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegexChange {
    /// It is not.
    None,
    /// It is; what it matches is not known yet.
    Unresolved,
    /// It is, and what it matches is known: the group can be assigned at once.
    Resolved,
}

/// The epoch of a target and a member's part of it.
pub(crate) type MemberTarget = (i32, Arc<Partitions>);

/// One change in progress.
pub(crate) struct Change<'a> {
    pub(crate) group: &'a ConsumerGroup,
    pub(crate) settings: &'a ConsumerSettings,
    pub(crate) topics: &'a dyn TopicImage,
    pub(crate) now_ms: i64,
    pub(crate) records: Vec<GroupRecord>,
    /// The metadata hash was computed from the present image.
    pub(crate) hashed: bool,
    /// The regular expressions are to be resolved.
    pub(crate) resolve_regexes: bool,
}

impl<'a> Change<'a> {
    pub(crate) fn of(&self) -> RecordsOf<'a> {
        RecordsOf(&self.group.group_id)
    }

    /// Writes the member down if anything about it is new; returns whether it names other topics.
    pub(crate) fn write_member(&mut self, old: &ConsumerMember, new: &ConsumerMember) -> bool {
        if new == old {
            return false;
        }
        self.records.push(self.of().member(new));
        new.topic_names != old.topic_names
    }

    /// Checks a new regular expression, forgets the last use of an old one, and decides whether all
    /// of the group's are to be resolved, together, so that they cause one rebalance.
    pub(crate) fn update_regexes(
        &mut self,
        old: &ConsumerMember,
        new: &ConsumerMember,
    ) -> Result<RegexChange, GroupError> {
        let mut change = RegexChange::None;
        let mut unknown = false;
        if old.topic_regex != new.topic_regex {
            change = RegexChange::Unresolved;
            if let Some(regex) = old.regex()
                && self.group.regexes().get(regex) == Some(&1)
            {
                self.records.push(self.of().regex_tombstone(regex));
            }
            match new.regex() {
                Some(regex) if !self.group.regexes().contains_key(regex) => {
                    compile(regex)?;
                    unknown = true;
                }
                Some(regex) if self.group.resolved().contains_key(regex) => {
                    change = RegexChange::Resolved;
                }
                Some(_) => {}
                None if old.regex().is_some() => change = RegexChange::Resolved,
                None => {}
            }
        }
        self.resolve_regexes = self.needs_resolution(old, new, unknown);
        Ok(change)
    }

    fn needs_resolution(&self, old: &ConsumerMember, new: &ConsumerMember, unknown: bool) -> bool {
        if !unknown && self.group.regexes().is_empty() {
            return false;
        }
        let mut regexes = self.group.regexes().clone();
        count_regexes(&mut regexes, old, new);
        let last = self.group.resolved().values().next().map(|resolved| resolved.timestamp_ms);
        let since_last = last.map_or(i64::MAX, |last| match self.now_ms.saturating_sub(last) {
            // The clock was set back: there is no telling.
            ..0 => i64::MAX,
            since => since,
        });
        if regexes.is_empty() || since_last <= REGEX_REFRESH_INTERVAL_MS_MIN {
            return false;
        }
        unknown
            || regexes.len() != self.group.resolved().len()
            || self.group.resolved_version != Some(self.topics.version())
            || since_last > self.settings.regex_refresh_interval_ms
    }

    /// Whether somebody has to look at the topics: they have changed since the last time.
    pub(crate) fn metadata_is_stale(&self) -> bool {
        self.group.hashed_version != Some(self.topics.version())
    }

    /// Bumps the group epoch if asked to, or if the topics are not what they were; returns the epoch
    /// and how subscriptions relate.
    pub(crate) fn update_metadata(
        &mut self,
        bump: bool,
        old: &ConsumerMember,
        new: &ConsumerMember,
    ) -> (i32, SubscriptionType) {
        let mut regexes = self.group.regexes().clone();
        count_regexes(&mut regexes, old, new);
        let subscribed = self.subscribed_after(old, new);
        let mut members = self.group.members().len();
        let replaces = new
            .instance_id
            .as_deref()
            .is_some_and(|instance_id| self.group.static_member_id(instance_id).is_some());
        if self.group.member(&new.member_id).is_none() && !replaces {
            members += 1;
        }
        let subscription_type = subscription_type(&regexes, &subscribed, members);
        let epoch = self.bump_epoch(bump, &subscribed);
        if self.group.has_partition_metadata {
            self.records.push(self.of().partition_metadata_tombstone());
        }
        (epoch, subscription_type)
    }

    /// The group epoch, a new one if asked for or if the topics' hash is another.
    pub(crate) fn bump_epoch(&mut self, bump: bool, subscribed: &SubscribedTopics) -> i32 {
        let hash = group_hash(subscribed.keys(), self.topics);
        self.hashed = true;
        if !bump && hash == self.group.metadata_hash {
            return self.group.epoch;
        }
        let epoch = self.group.epoch.saturating_add(1);
        self.records.push(self.of().epoch(epoch, hash));
        info!(group = %self.group.group_id, epoch, hash, "group epoch bumped");
        epoch
    }

    fn subscribed_after(&self, old: &ConsumerMember, new: &ConsumerMember) -> SubscribedTopics {
        let mut subscribed = self.group.topics().clone();
        count_names(&mut subscribed, old.topic_names.iter(), false);
        count_names(&mut subscribed, new.topic_names.iter(), true);
        // Its regular expression goes with its last member.
        if let Some(regex) = old.regex()
            && new.regex() != Some(regex)
            && self.group.regexes().get(regex) == Some(&1)
            && let Some(resolved) = self.group.resolved().get(regex)
        {
            count_regex(&mut subscribed, resolved.topics.iter(), false);
        }
        subscribed
    }

    /// Computes a new target where the group epoch is ahead of it and the last one is not too
    /// recent; returns the target that holds for the member.
    pub(crate) fn update_target(
        &mut self,
        (epoch, subscription_type): (i32, SubscriptionType),
        old: &ConsumerMember,
        new: &ConsumerMember,
    ) -> Result<MemberTarget, GroupError> {
        if self.group.assignment_epoch >= epoch || !self.may_assign() {
            let target = self.group.target_of(&new.member_id, new.instance_id.as_deref());
            return Ok((self.group.assignment_epoch, target));
        }
        let assignor = self
            .group
            .preferred_assignor(self.group.member(&old.member_id), Some(new))
            .and_then(|name| Assignor::by_name(&name))
            .unwrap_or(self.settings.default_assignor);
        let spec = self.spec(new, subscription_type);
        let mut assigned = assignor.assign(&spec).map_err(|error| {
            let text = format!("Failed to compute a new target assignment for epoch {epoch}: ");
            GroupError::new(ErrorCode::UnknownServerError, text + &error.to_string())
        })?;
        let members = spec.members.len();
        debug!(group = %self.group.group_id, epoch, assignor = assignor.name(), members, "assigned");
        for member_id in spec.members.keys() {
            let target = assigned.entry(member_id.clone()).or_default();
            if self.group.targets().get(member_id).map(|former| &**former) != Some(target) {
                self.records.push(RecordsOf(&self.group.group_id).target(member_id, target));
            }
        }
        self.records.push(self.of().target_epoch(epoch, self.now_ms));
        Ok((epoch, Arc::new(assigned.remove(&new.member_id).unwrap_or_default())))
    }

    /// A group with many members that come at once is not assigned for each of them.
    fn may_assign(&self) -> bool {
        let last = self.group.assignment_timestamp_ms;
        let interval = i64::from(self.settings.assignment_interval_ms);
        // A clock that was set back must not stop a group.
        last == 0 || self.now_ms < last || self.now_ms >= last.saturating_add(interval)
    }

    /// What the assignor is told: the members as they will be.
    fn spec(&self, new: &ConsumerMember, subscription_type: SubscriptionType) -> GroupSpec {
        let mut resolver = Resolver::new(self.group, self.topics);
        let replaced = new
            .instance_id
            .as_deref()
            .and_then(|instance_id| self.group.static_member_id(instance_id))
            .filter(|former| *former != new.member_id);
        let mut members: BTreeMap<String, MemberSpec> = BTreeMap::new();
        for (member_id, member) in self.group.members() {
            if member_id != &new.member_id && Some(member_id.as_str()) != replaced {
                members.insert(member_id.clone(), resolver.member(member, member_id));
            }
        }
        let target_id = replaced.unwrap_or(&new.member_id);
        members.insert(new.member_id.clone(), resolver.member(new, target_id));
        GroupSpec { members, subscription_type, partition_counts: resolver.partition_counts }
    }

    /// One step of the member towards its target.
    pub(crate) fn reconcile(
        &mut self,
        member: ConsumerMember,
        (target_epoch, target): &MemberTarget,
        subscription_changed: bool,
        reported: Option<&Reported>,
    ) -> Result<ConsumerMember, GroupError> {
        if !subscription_changed && member.is_reconciled_to(*target_epoch) {
            return Ok(member);
        }
        let subscribed = Resolver::new(self.group, self.topics).topics(&member);
        let step = Step {
            target_epoch: *target_epoch,
            target,
            subscribed: &subscribed,
            subscription_changed,
            reported,
            is_held: &|topic, partition| self.group.is_held(topic, partition),
        };
        let next = step.apply(&member)?;
        if next != member {
            self.records.push(self.of().current(&next));
            debug!(
                group = %self.group.group_id, member_id = %next.member_id, epoch = next.epoch,
                state = ?next.state, assigned = ?next.assigned, pending = ?next.pending_revocation,
                "member moved"
            );
        }
        Ok(next)
    }
}

fn count_regexes(
    regexes: &mut BTreeMap<String, usize>,
    old: &ConsumerMember,
    new: &ConsumerMember,
) {
    if old.regex() == new.regex() {
        return;
    }
    if let Some(regex) = old.regex() {
        count_one(regexes, regex, false);
    }
    if let Some(regex) = new.regex() {
        count_one(regexes, regex, true);
    }
}

/// Compiles an expression that a client sent.
pub(crate) fn compile(regex: &str) -> Result<TopicRegex, GroupError> {
    TopicRegex::compile(regex).map_err(|error| {
        let text =
            format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}.");
        GroupError::new(ErrorCode::InvalidRegularExpression, text)
    })
}

/// Topic names and a regular expression.
type Subscription = (Arc<BTreeSet<String>>, Option<String>);

/// Turns subscriptions into ids of topics that exist, once per distinct subscription.
struct Resolver<'a> {
    group: &'a ConsumerGroup,
    image: &'a dyn TopicImage,
    known: BTreeMap<Subscription, Arc<BTreeSet<TopicId>>>,
    partition_counts: BTreeMap<TopicId, i32>,
}

impl<'a> Resolver<'a> {
    fn new(group: &'a ConsumerGroup, image: &'a dyn TopicImage) -> Self {
        Self { group, image, known: BTreeMap::new(), partition_counts: BTreeMap::new() }
    }

    fn member(&mut self, member: &ConsumerMember, target_id: &str) -> MemberSpec {
        MemberSpec {
            instance_id: member.instance_id.clone(),
            topics: self.topics(member),
            assigned: self.group.targets().get(target_id).cloned().unwrap_or_default(),
        }
    }

    /// Names and what the regular expression is known to match; nothing while it is not known.
    fn topics(&mut self, member: &ConsumerMember) -> Arc<BTreeSet<TopicId>> {
        let key = (Arc::clone(&member.topic_names), member.regex().map(str::to_owned));
        if let Some(known) = self.known.get(&key) {
            return Arc::clone(known);
        }
        let resolved = member.regex().and_then(|regex| self.group.resolved().get(regex));
        let matched = resolved.into_iter().flat_map(|resolved| &resolved.topics);
        let mut ids = BTreeSet::new();
        for name in member.topic_names.iter().chain(matched) {
            if let Some(topic) = self.image.by_name(name) {
                self.partition_counts.insert(topic.id, topic.partitions);
                ids.insert(topic.id);
            }
        }
        let ids = Arc::new(ids);
        self.known.insert(key, Arc::clone(&ids));
        ids
    }
}
