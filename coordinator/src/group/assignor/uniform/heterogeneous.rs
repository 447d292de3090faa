//! Members subscribe to different topics: keep what is still wanted, hand out what is free to the
//! least loaded subscribers, then even out topic by topic until nothing moves.

use std::{cmp::Ordering, collections::BTreeMap};

use common::TopicId;

use super::{
    super::{AssignorError, GroupSpec, Partitions},
    balancer::Balancer,
};

/// How often all topics are evened out. One round and one more to see that nothing moves are
/// enough where all subscribers of a topic have the same subscription; chains of overlapping ones
/// roughly halve their imbalance with each round.
const ROUNDS_MAX: usize = 16;

pub(in super::super) fn assign(
    spec: &GroupSpec,
) -> Result<BTreeMap<String, Partitions>, AssignorError> {
    let mut builder = Builder::new(spec)?;
    if builder.topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    builder.keep();
    builder.hand_out();
    builder.even_out();
    Ok(builder.finish())
}

struct Topic {
    id: TopicId,
    /// Member indexes, ascending.
    subscribers: Vec<usize>,
    /// By partition, a member index.
    owners: Vec<Option<usize>>,
}

impl Topic {
    /// Topics with the most partitions per subscriber come first, then those with fewer
    /// subscribers: what is hardest to place evenly is placed while there is most choice.
    fn precedes(&self, other: &Self) -> Ordering {
        // a/b against c/d, without division.
        let own = self.owners.len().saturating_mul(other.subscribers.len());
        let others = other.owners.len().saturating_mul(self.subscribers.len());
        others
            .cmp(&own)
            .then(self.subscribers.len().cmp(&other.subscribers.len()))
            .then(self.id.cmp(&other.id))
    }
}

struct Builder<'a> {
    spec: &'a GroupSpec,
    member_ids: Vec<&'a String>,
    topics: Vec<Topic>,
    /// Partitions per member index.
    loads: Vec<usize>,
}

impl<'a> Builder<'a> {
    fn new(spec: &'a GroupSpec) -> Result<Self, AssignorError> {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, member) in spec.members.values().enumerate() {
            for topic in member.topics.iter() {
                subscribers.entry(*topic).or_default().push(index);
            }
        }
        let mut topics = Vec::with_capacity(subscribers.len());
        for (id, subscribers) in subscribers {
            let partitions = usize::try_from(spec.partitions(id)?).unwrap_or(0);
            topics.push(Topic { id, subscribers, owners: vec![None; partitions] });
        }
        topics.sort_by(Topic::precedes);
        let member_ids: Vec<_> = spec.members.keys().collect();
        let loads = vec![0; member_ids.len()];
        Ok(Self { spec, member_ids, topics, loads })
    }

    /// Takes over what members have of topics that they still subscribe to.
    fn keep(&mut self) {
        for topic in &mut self.topics {
            for (index, member) in self.spec.members.values().enumerate() {
                if !member.topics.contains(&topic.id) {
                    continue;
                }
                for partition in member.assigned.get(&topic.id).into_iter().flatten() {
                    let at = usize::try_from(*partition).unwrap_or(usize::MAX);
                    if let Some(owner) = topic.owners.get_mut(at)
                        && owner.is_none()
                    {
                        *owner = Some(index);
                        self.loads[index] += 1;
                    }
                }
            }
        }
    }

    fn hand_out(&mut self) {
        let mut balancer = Balancer::default();
        for topic in &mut self.topics {
            balancer.start(&topic.subscribers, &self.loads);
            for owner in topic.owners.iter_mut().filter(|owner| owner.is_none()) {
                let Some(member) = balancer.least_loaded(&self.loads) else { break };
                *owner = Some(member);
                self.loads[member] += 1;
            }
        }
    }

    fn even_out(&mut self) {
        let mut balancer = Balancer::default();
        let mut last_moved: Option<usize> = None;
        for _ in 0..ROUNDS_MAX {
            for (index, topic) in self.topics.iter_mut().enumerate() {
                if topic.subscribers.len() < 2 {
                    continue;
                }
                if last_moved == Some(index) {
                    // Once around all topics without a move.
                    return;
                }
                let moved = even_out_topic(topic, &mut balancer, &mut self.loads);
                if moved > 0 || last_moved.is_none() {
                    last_moved = Some(index);
                }
            }
        }
    }

    fn finish(self) -> BTreeMap<String, Partitions> {
        let mut target: BTreeMap<String, Partitions> =
            self.member_ids.iter().map(|id| ((*id).clone(), Partitions::new())).collect();
        for topic in &self.topics {
            for (partition, owner) in (0..).zip(&topic.owners) {
                let Some(member_id) = owner.and_then(|index| self.member_ids.get(index)) else {
                    continue;
                };
                let assignment: &mut Partitions = target.entry((*member_id).clone()).or_default();
                assignment.entry(topic.id).or_default().insert(partition);
            }
        }
        target
    }
}

/// Moves partitions of one topic from its most to its least loaded subscribers; returns how many.
fn even_out_topic(topic: &mut Topic, balancer: &mut Balancer, loads: &mut [usize]) -> usize {
    if balancer.start(&topic.subscribers, loads) <= 1 {
        return 0;
    }
    // What each member can give, the partition with the highest index last.
    let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (partition, owner) in topic.owners.iter().enumerate() {
        if let Some(owner) = owner {
            owned.entry(*owner).or_default().push(partition);
        }
    }

    let mut moved = 0;
    while !balancer.is_balanced() {
        let Some((giver, partition)) = next_to_give(&mut owned, balancer, loads) else { break };
        let Some(taker) = balancer.least_loaded(loads) else { break };
        if balancer.is_balanced() {
            break;
        }
        topic.owners[partition] = Some(taker);
        loads[giver] -= 1;
        loads[taker] += 1;
        moved += 1;
    }
    moved
}

fn next_to_give(
    owned: &mut BTreeMap<usize, Vec<usize>>,
    balancer: &mut Balancer,
    loads: &[usize],
) -> Option<(usize, usize)> {
    loop {
        let giver = balancer.most_loaded(loads)?;
        if let Some(partition) = owned.get_mut(&giver).and_then(Vec::pop) {
            return Some((giver, partition));
        }
        balancer.exclude_most_loaded();
    }
}
