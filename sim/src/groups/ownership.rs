//! Who owns which partition (GRP-1), as members were told.
//!
//! A classic generation has one assignment. In a consumer group ownership lasts from the answer that
//! gives a partition until its member says that it has let go, leaves, or may have been silent for
//! longer than a session: two members that are certainly both members may not own one partition.

use std::collections::{BTreeMap, BTreeSet};

use super::{Identity, WriteId};

/// The generations of a classic group.
#[derive(Debug, Default)]
pub(super) struct Generations {
    owners: BTreeMap<i32, BTreeMap<i32, String>>,
    /// Deletions that may happen yet: after one, generations are counted anew.
    deletions: BTreeSet<WriteId>,
}

impl Generations {
    pub(super) fn assigned(
        &mut self,
        member: &Identity,
        partitions: &BTreeSet<i32>,
    ) -> Result<(), String> {
        if !self.deletions.is_empty() {
            return Ok(());
        }
        let owners = self.owners.entry(member.epoch).or_default();
        for partition in partitions {
            let owner = owners.entry(*partition).or_insert_with(|| member.member_id.clone());
            if *owner != member.member_id {
                return Err(format!("partition {partition} is {owner}'s and {member:?}'s"));
            }
        }
        Ok(())
    }

    pub(super) fn is_over(&self, generation: i32) -> bool {
        let newest = self.owners.last_key_value().map(|(newest, _)| *newest);
        self.deletions.is_empty() && newest.is_some_and(|newest| newest > generation)
    }

    pub(super) fn deleting(&mut self, id: WriteId) {
        self.deletions.insert(id);
    }

    pub(super) fn deletion_settled(&mut self, id: WriteId, done: bool) {
        self.deletions.remove(&id);
        if done {
            self.owners.clear();
        }
    }

    /// What may have happened has happened, or will not.
    pub(super) fn life_ended(&mut self) {
        if !self.deletions.is_empty() {
            self.deletions.clear();
            self.owners.clear();
        }
    }
}

/// What the members of a consumer group hold.
#[derive(Debug)]
pub(super) struct Holders {
    session_ms: i64,
    held: BTreeMap<String, BTreeSet<i32>>,
    /// Until when each is certainly a member, Unix milliseconds.
    certain_until_ms: BTreeMap<String, i64>,
    /// Who was the last to be given each partition.
    owners: BTreeMap<i32, String>,
}

impl Holders {
    pub(super) fn new(session_ms: i64) -> Self {
        Self {
            session_ms,
            held: BTreeMap::new(),
            certain_until_ms: BTreeMap::new(),
            owners: BTreeMap::new(),
        }
    }

    pub(super) fn heard_of(&mut self, member_id: &str, sent_ms: i64) {
        let until = self.certain_until_ms.entry(member_id.to_owned()).or_default();
        *until = (*until).max(sent_ms + self.session_ms);
    }

    pub(super) fn assigned(
        &mut self,
        member_id: &str,
        partitions: &BTreeSet<i32>,
        sent_ms: i64,
        now_ms: i64,
    ) -> Result<(), String> {
        self.heard_of(member_id, sent_ms);
        // What it is to let go stays its own until it has said so.
        self.held.entry(member_id.to_owned()).or_default().extend(partitions);
        if !self.is_certain(member_id, now_ms) {
            // An old answer: by now it may have been taken for dead, or not.
            self.owners.retain(|partition, _| !partitions.contains(partition));
            return Ok(());
        }
        for partition in partitions {
            let other = self.held.iter().find(|(other, held)| {
                *other != member_id && held.contains(partition) && self.is_certain(other, now_ms)
            });
            if let Some((other, _)) = other {
                return Err(format!("partition {partition} is {other}'s and {member_id}'s"));
            }
            self.owners.insert(*partition, member_id.to_owned());
        }
        Ok(())
    }

    fn is_certain(&self, member_id: &str, now_ms: i64) -> bool {
        self.certain_until_ms.get(member_id).is_some_and(|until| *until > now_ms)
    }

    pub(super) fn keeps(&mut self, member_id: &str, partitions: &BTreeSet<i32>) {
        if let Some(held) = self.held.get_mut(member_id) {
            held.retain(|partition| partitions.contains(partition));
        }
    }

    pub(super) fn forget(&mut self, member_id: &str) {
        self.held.remove(member_id);
        self.certain_until_ms.remove(member_id);
    }

    /// Another member that was given the partition after this one.
    pub(super) fn other_owner(&self, member_id: &str, partition: i32) -> Option<String> {
        self.owners.get(&partition).filter(|owner| *owner != member_id).cloned()
    }
}
