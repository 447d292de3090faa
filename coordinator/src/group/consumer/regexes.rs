//! Regular expressions against the topics: all of a group's at once, outside of the heartbeat that
//! asked for it, and not too often.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tracing::{debug, error, warn};

use super::{
    change::{Change, compile},
    group::ResolvedRegex,
    regex::TopicRegex,
    subscription::count_regex,
    timers::ConsumerTimer,
};
use crate::{
    group::{Group, GroupContext, GroupRecord, GroupShard, GroupTimer},
    topics::TopicImage,
};

impl GroupShard {
    /// Resolves a group's regular expressions in an operation of its own, next.
    pub(crate) fn schedule_regexes(&self, context: &mut GroupContext<'_>, group_id: &str) {
        let timer = GroupTimer::Consumer(ConsumerTimer::ResolveRegexes(group_id.to_owned()));
        if !context.has_timer(&timer) {
            context.set_timer(timer, Duration::ZERO);
        }
    }

    /// Writes down what they match now; where that is new, the group is assigned anew.
    pub(crate) fn resolve_regexes(
        &mut self,
        context: &GroupContext<'_>,
        group_id: &str,
    ) -> Vec<GroupRecord> {
        let topics = self.topics();
        let settings = self.consumer_settings(group_id);
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else { return Vec::new() };
        let mut change = Change {
            group,
            settings: &settings,
            topics: topics.as_ref(),
            now_ms: context.now_ms,
            records: Vec::new(),
            hashed: false,
            resolve_regexes: false,
        };
        let mut subscribed = group.topics().clone();
        let mut bump = false;
        for (regex, matched) in matches(group.regexes().keys(), topics.as_ref()) {
            let former = group.resolved().get(regex);
            let nothing = BTreeSet::new();
            let known = former.map_or(&nothing, |resolved| &resolved.topics);
            if *known != matched {
                bump = true;
                count_regex(&mut subscribed, known.iter(), false);
                count_regex(&mut subscribed, matched.iter(), true);
            }
            let resolved = ResolvedRegex {
                topics: matched,
                version: i64::try_from(topics.version()).unwrap_or(i64::MAX),
                timestamp_ms: context.now_ms,
            };
            debug!(group = %group_id, regex, topics = ?resolved.topics, "regular expression resolved");
            change.records.push(change.of().regex(regex, &resolved));
        }
        change.bump_epoch(bump, &subscribed);
        let mut records = change.records;
        if !context.fits(&records) {
            // Without these topics until they are fewer: the next image and the next refresh try again.
            warn!(group = %group_id, "what the regular expressions match is too much for the log");
            records.clear();
        }
        if let Some(Group::Consumer(group)) = self.groups.get_mut(group_id) {
            group.resolved_version = Some(topics.version());
            group.hashed_version = Some(topics.version());
        }
        records
    }

    /// Remembers which image a group's metadata hash is of.
    pub(crate) fn note_hashed(&mut self, group_id: &str, hashed: bool, version: u64) {
        if hashed && let Some(Group::Consumer(group)) = self.groups.get_mut(group_id) {
            group.hashed_version = Some(version);
        }
    }
}

/// The topics that each expression matches.
fn matches<'a>(
    regexes: impl Iterator<Item = &'a String>,
    topics: &dyn TopicImage,
) -> BTreeMap<&'a str, BTreeSet<String>> {
    let mut compiled: Vec<(&str, TopicRegex)> = Vec::new();
    let mut matched: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for regex in regexes {
        matched.insert(regex, BTreeSet::new());
        match compile(regex) {
            Ok(pattern) => compiled.push((regex, pattern)),
            // Accepted by another release, since ours was asked when it came.
            Err(error) => error!(regex, %error, "a regular expression of the log is ignored"),
        }
    }
    for name in topics.names() {
        for (regex, pattern) in &compiled {
            if pattern.matches(&name) {
                matched.entry(regex).or_default().insert(name.clone());
            }
        }
    }
    matched
}
