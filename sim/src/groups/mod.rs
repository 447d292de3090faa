//! What the members of groups were told, and the rules that it must keep: GRP-1 a partition has at
//! most one owner per generation, GRP-2 a fetch of offsets sees the last commit, GRP-3 who is stale
//! cannot commit.
//!
//! Like the model of the log this knows only what clients know. *Moments* count the events of a run,
//! so that what was before what has no ties.

mod offsets;
mod ownership;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use common::invariant::InvariantId;

use self::{
    offsets::Register,
    ownership::{Generations, Holders},
};
use crate::invariants::Violation;

/// Names a commit, or the deletion of a group: its offsets carry it as metadata.
pub type WriteId = u64;
/// A point in the history.
pub type Moment = u64;

/// Which protocol a group's members speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// JoinGroup, SyncGroup, Heartbeat.
    Classic,
    /// KIP-848.
    Consumer,
}

/// How a member names itself in a request: the generation or the member epoch it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub member_id: String,
    /// Its generation or epoch.
    pub epoch: i32,
}

/// A commit that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its name.
    pub id: WriteId,
    /// The offsets, by partition.
    pub offsets: BTreeMap<i32, i64>,
    /// Partitions that certainly were another's when it was sent, and whose.
    pub stale: BTreeMap<i32, String>,
}

#[derive(Debug)]
struct Group {
    protocol: Protocol,
    registers: BTreeMap<i32, Register>,
    generations: Generations,
    holders: Holders,
}

/// All groups of a run.
#[derive(Debug, Default)]
pub struct Groups {
    groups: BTreeMap<String, Group>,
    moment: Moment,
    last_id: WriteId,
}

impl Groups {
    /// A group that nobody has joined yet, whose members' sessions last so long.
    pub fn add(&mut self, group_id: &str, protocol: Protocol, session_ms: i64) {
        let group = Group {
            protocol,
            registers: BTreeMap::new(),
            generations: Generations::default(),
            holders: Holders::new(session_ms),
        };
        self.groups.insert(group_id.to_owned(), group);
    }

    fn tick(&mut self) -> Moment {
        self.moment += 1;
        self.moment
    }

    fn group(&mut self, group_id: &str) -> Option<&mut Group> {
        self.groups.get_mut(group_id)
    }

    /// The broker is gone: what it had not answered happened before this moment or never.
    pub fn life_ended(&mut self) {
        let now = self.tick();
        for group in self.groups.values_mut() {
            group.registers.values_mut().for_each(|register| register.life_ended(now));
            group.generations.life_ended();
        }
    }

    /// A member of a classic group was assigned these partitions in this generation.
    ///
    /// # Errors
    /// GRP-1.
    pub fn synced(
        &mut self,
        group_id: &str,
        member: &Identity,
        partitions: &BTreeSet<i32>,
    ) -> Result<(), Violation> {
        let Some(group) = self.group(group_id) else { return Ok(()) };
        let assigned = group.generations.assigned(member, partitions);
        assigned.map_err(|message| broken(InvariantId::Grp1, group_id, &message))
    }

    /// Whether this generation is certainly over when a request is sent in its name.
    #[must_use]
    pub fn is_over(&self, group_id: &str, generation: i32) -> bool {
        let group = self.groups.get(group_id);
        group.is_some_and(|group| group.generations.is_over(generation))
    }

    /// A member of a consumer group was told what it owns, in answer to a request of `sent_ms`.
    ///
    /// # Errors
    /// GRP-1.
    pub fn assigned(
        &mut self,
        group_id: &str,
        member_id: &str,
        partitions: &BTreeSet<i32>,
        (sent_ms, now_ms): (i64, i64),
    ) -> Result<(), Violation> {
        let Some(group) = self.group(group_id) else { return Ok(()) };
        let assigned = group.holders.assigned(member_id, partitions, sent_ms, now_ms);
        assigned.map_err(|message| broken(InvariantId::Grp1, group_id, &message))
    }

    /// A member of a consumer group was heard of: its request of `sent_ms` was accepted.
    pub fn heard_of(&mut self, group_id: &str, member_id: &str, sent_ms: i64) {
        if let Some(group) = self.group(group_id) {
            group.holders.heard_of(member_id, sent_ms);
        }
    }

    /// A member says, from now on, that it owns no more than this.
    pub fn keeps(&mut self, group_id: &str, member_id: &str, partitions: &BTreeSet<i32>) {
        if let Some(group) = self.group(group_id) {
            group.holders.keeps(member_id, partitions);
        }
    }

    /// A member is gone, or knows that it is none any more.
    pub fn forget(&mut self, group_id: &str, member_id: &str) {
        if let Some(group) = self.group(group_id) {
            group.holders.forget(member_id);
        }
    }

    /// A member sends a commit.
    pub fn commit(
        &mut self,
        group_id: &str,
        member: &Identity,
        offsets: BTreeMap<i32, i64>,
    ) -> Commit {
        let now = self.tick();
        self.last_id += 1;
        let id = self.last_id;
        let mut stale = BTreeMap::new();
        if let Some(group) = self.group(group_id) {
            for (partition, offset) in &offsets {
                let register = group.registers.entry(*partition).or_default();
                register.invoke(id, Some(*offset), now);
                let other = match group.protocol {
                    Protocol::Classic => group
                        .generations
                        .is_over(member.epoch)
                        .then(|| format!("a generation after {}", member.epoch)),
                    Protocol::Consumer => group.holders.other_owner(&member.member_id, *partition),
                };
                stale.extend(other.map(|other| (*partition, other)));
            }
        }
        Commit { id, offsets, stale }
    }

    /// A commit was acknowledged for a partition.
    ///
    /// # Errors
    /// GRP-3.
    pub fn committed(
        &mut self,
        group_id: &str,
        member: &Identity,
        commit: &Commit,
        partition: i32,
    ) -> Result<(), Violation> {
        let now = self.tick();
        if let Some(register) = self.register(group_id, partition) {
            register.acked(commit.id, now);
        }
        let Some(owner) = commit.stale.get(&partition) else { return Ok(()) };
        let message = format!("{member:?} committed for partition {partition}, which is {owner}'s");
        Err(broken(InvariantId::Grp3, group_id, &message))
    }

    /// A commit was refused for a partition, for good.
    pub fn refused(&mut self, group_id: &str, commit: &Commit, partition: i32) {
        if let Some(register) = self.register(group_id, partition) {
            register.failed(commit.id);
        }
    }

    fn register(&mut self, group_id: &str, partition: i32) -> Option<&mut Register> {
        self.group(group_id)?.registers.get_mut(&partition)
    }

    /// Offsets are about to be fetched.
    pub fn fetching(&mut self) -> Moment {
        self.tick()
    }

    /// What was fetched for a partition, since that moment: the commit and its offset.
    ///
    /// # Errors
    /// GRP-2.
    pub fn fetched(
        &mut self,
        group_id: &str,
        partition: i32,
        found: Option<(WriteId, i64)>,
        since: Moment,
    ) -> Result<(), Violation> {
        self.tick();
        let Some(group) = self.group(group_id) else { return Ok(()) };
        let register = group.registers.entry(partition).or_default();
        let checked = register.check(found, since);
        checked.map_err(|message| {
            let message = format!("partition {partition}: {message}");
            broken(InvariantId::Grp2, group_id, &message)
        })
    }

    /// A group's deletion is asked for.
    pub fn deleting(&mut self, group_id: &str) -> WriteId {
        let now = self.tick();
        self.last_id += 1;
        let id = self.last_id;
        if let Some(group) = self.group(group_id) {
            group.generations.deleting(id);
            group.registers.values_mut().for_each(|register| register.invoke(id, None, now));
        }
        id
    }

    /// Whether it was done.
    pub fn deleted(&mut self, group_id: &str, id: WriteId, done: bool) {
        let now = self.tick();
        let Some(group) = self.group(group_id) else { return };
        group.generations.deletion_settled(id, done);
        for register in group.registers.values_mut() {
            if done { register.acked(id, now) } else { register.failed(id) }
        }
    }
}

/// What a member asked in the name of a generation that was over ([`Groups::is_over`]) was answered as if
/// all were well, by a coordinator that had looked: GRP-3.
#[must_use]
pub fn stale_accepted(group_id: &str, member: &Identity) -> Violation {
    let message = format!("{member:?} may go on though a later generation was assigned");
    broken(InvariantId::Grp3, group_id, &message)
}

fn broken(invariant: InvariantId, group_id: &str, message: &str) -> Violation {
    Violation::new(invariant, format!("group {group_id}: {message}"))
}
