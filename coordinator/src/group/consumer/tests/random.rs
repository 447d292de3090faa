//! Members that come, go, fall silent, lose answers and are slow to give up, while topics change and
//! the shard is lost now and then. GRP-1 holds at every moment, and once things calm down everybody
//! owns its share.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use protocol::{
    ErrorCode,
    messages::consumer_group_heartbeat::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
    },
};
use uuid::Uuid;

use super::support::*;

const TOPICS: [&str; 3] = ["ta", "tb", "xc"];

/// How a client subscribes.
#[derive(Debug, Clone, Copy)]
enum Subscription {
    First,
    Both,
    All,
    Regex,
}

/// A client as it sees itself.
#[derive(Debug, Clone)]
struct Client {
    slot: usize,
    incarnation: usize,
    subscription: Subscription,
    assignor: Option<&'static str>,
    epoch: i32,
    owned: BTreeSet<(Uuid, i32)>,
    /// What it was told last, which it follows when it gets to it.
    told: Option<BTreeSet<(Uuid, i32)>>,
    /// An answer was lost: it says everything again.
    repeats: bool,
    alive: bool,
}

impl Client {
    fn new(slot: usize) -> Self {
        Self {
            slot,
            incarnation: 0,
            subscription: Subscription::First,
            assignor: None,
            epoch: 0,
            owned: BTreeSet::new(),
            told: None,
            repeats: false,
            alive: false,
        }
    }

    fn member_id(&self) -> String {
        format!("m{}-{}", self.slot, self.incarnation)
    }

    /// Odd slots are static members.
    fn instance_id(&self) -> Option<String> {
        (self.slot % 2 == 1).then(|| format!("i{}", self.slot))
    }

    fn forget(&mut self) {
        self.epoch = 0;
        self.owned.clear();
        self.told = None;
        self.repeats = false;
    }

    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let mut owned: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &self.owned {
            owned.entry(*topic).or_default().push(*partition);
        }
        let owned = owned.into_iter();
        let owned = owned.map(|(topic_id, partitions)| TopicPartitions { topic_id, partitions });
        let mut request = beat(&self.member_id(), self.epoch);
        request.topic_partitions = Some(owned.collect());
        request.instance_id = self.instance_id();
        if self.epoch == 0 || self.repeats {
            request.rebalance_timeout_ms = 30_000;
            request.server_assignor = self.assignor.map(str::to_owned);
            let names = |of: &[&str]| Some(of.iter().map(|name| (*name).to_owned()).collect());
            let (topics, regex) = match self.subscription {
                Subscription::First => (names(&TOPICS[..1]), ""),
                Subscription::Both => (names(&TOPICS[..2]), ""),
                Subscription::All => (names(&TOPICS), ""),
                Subscription::Regex => (names(&[]), "t."),
            };
            request.subscribed_topic_names = topics;
            request.subscribed_topic_regex = Some(regex.to_owned());
        }
        request
    }

    /// Gives up what it was told to, so that what it is to get can be freed by others likewise.
    fn give_up(&mut self) {
        if let Some(told) = &self.told {
            self.owned.retain(|partition| told.contains(partition));
        }
    }

    fn hear(&mut self, response: &ConsumerGroupHeartbeatResponse) {
        match ErrorCode::try_from(response.error_code).unwrap() {
            ErrorCode::None => {
                self.epoch = response.member_epoch;
                self.repeats = false;
                if let Some(assignment) = &response.assignment {
                    let told: BTreeSet<_> = assignment
                        .topic_partitions
                        .iter()
                        .flat_map(|of| of.partitions.iter().map(|at| (of.topic_id, *at)))
                        .collect();
                    self.owned.extend(told.iter().copied());
                    self.told = Some(told);
                }
            }
            ErrorCode::FencedMemberEpoch
            | ErrorCode::UnknownMemberId
            | ErrorCode::GroupIdNotFound => self.forget(),
            // Somebody with the same instance is still there; a client would give up, this one
            // comes again.
            ErrorCode::UnreleasedInstanceId | ErrorCode::FencedInstanceId => self.forget(),
            other => panic!("{other:?}: {response:?}"),
        }
    }
}

#[derive(Debug, Clone)]
enum Action {
    /// Joins, or heartbeats; gives up first what it should, or not; may lose the answer.
    Beat {
        slot: usize,
        gives_up: bool,
        lost: bool,
    },
    /// Starts with a subscription, if it is not there.
    Start {
        slot: usize,
        subscription: Subscription,
        assignor: Option<&'static str>,
    },
    Leave {
        slot: usize,
    },
    /// A static member goes and its successor will come.
    Restart {
        slot: usize,
    },
    /// Stops without a word.
    Crash {
        slot: usize,
    },
    Wait {
        ms: u64,
    },
    Topic {
        index: usize,
        partitions: Option<i32>,
    },
    Reload,
}

fn action() -> impl Strategy<Value = Action> {
    let slot = 0..5_usize;
    let subscription = prop_oneof![
        3 => Just(Subscription::First),
        2 => Just(Subscription::Both),
        1 => Just(Subscription::All),
        1 => Just(Subscription::Regex),
    ];
    let assignor = prop_oneof![4 => Just(None), 1 => Just(Some("range"))];
    prop_oneof![
        12 => (slot.clone(), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(slot, gives_up, lost)| Action::Beat { slot, gives_up, lost }),
        4 => (slot.clone(), subscription, assignor).prop_map(|(slot, subscription, assignor)| {
            Action::Start { slot, subscription, assignor }
        }),
        1 => slot.clone().prop_map(|slot| Action::Leave { slot }),
        1 => slot.clone().prop_map(|slot| Action::Restart { slot }),
        1 => slot.prop_map(|slot| Action::Crash { slot }),
        2 => prop_oneof![4 => 0..3_000_u64, 1 => 10_000..50_000_u64]
            .prop_map(|ms| Action::Wait { ms }),
        1 => (0..3_usize, prop::option::weighted(0.8, 0..5_i32))
            .prop_map(|(index, partitions)| Action::Topic { index, partitions }),
        1 => Just(Action::Reload),
    ]
}

struct Run {
    world: World,
    clients: Vec<Client>,
}

impl Run {
    fn new(interval_ms: i32) -> Self {
        let world = World::with(&[("ta", 3), ("tb", 2)], |config| {
            config.consumer_assignment_interval_ms = interval_ms;
        });
        Self { world, clients: (0..5).map(Client::new).collect() }
    }

    fn beat(&mut self, slot: usize, gives_up: bool, lost: bool) {
        let client = &mut self.clients[slot];
        if !client.alive {
            return;
        }
        if gives_up {
            client.give_up();
        }
        let (response, _) = self.world.heartbeat(&client.request());
        if lost {
            client.repeats = true;
            return;
        }
        client.hear(&response);
        self.world.advance(0);
    }

    fn apply(&mut self, action: &Action) {
        match *action {
            Action::Beat { slot, gives_up, lost } => self.beat(slot, gives_up, lost),
            Action::Start { slot, subscription, assignor } => {
                let client = &mut self.clients[slot];
                if !client.alive {
                    client.forget();
                    client.incarnation += 1;
                    client.alive = true;
                }
                client.subscription = subscription;
                client.assignor = assignor;
                client.repeats = true;
                self.beat(slot, true, false);
            }
            Action::Leave { slot } => self.leave(slot, -1),
            Action::Restart { slot } if slot % 2 == 1 => {
                self.leave(slot, -2);
                self.clients[slot].incarnation += 1;
                self.clients[slot].alive = true;
            }
            Action::Restart { .. } => {}
            Action::Crash { slot } => self.clients[slot].alive = false,
            Action::Wait { ms } => {
                self.world.advance(ms);
            }
            Action::Topic { index, partitions } => self.change_topic(index, partitions),
            Action::Reload => self.world.reload(),
        }
    }

    /// A topic appears, grows or goes; Kafka has no topic that shrinks.
    fn change_topic(&mut self, index: usize, partitions: Option<i32>) {
        let name = TOPICS[index];
        let present = self.world.topics().into_iter().find(|(known, _)| known == name);
        let count = match (present, partitions) {
            (Some((_, count)), Some(more)) => Some(count.max(more)),
            (None, Some(count)) => Some(count),
            (_, None) => None,
        };
        self.world.set_topic(name, count);
    }

    fn leave(&mut self, slot: usize, epoch: i32) {
        let client = &mut self.clients[slot];
        if client.alive && client.epoch > 0 {
            let mut request = beat(&client.member_id(), epoch);
            request.instance_id = client.instance_id();
            self.world.heartbeat(&request);
        }
        client.forget();
        client.alive = false;
    }

    /// Nobody owns what another member of the group owns. A client that was fenced and does not
    /// know it yet is not of the group.
    fn check(&self) {
        let Some(crate::group::Group::Consumer(group)) = self.world.driver.shard.group(GROUP)
        else {
            return;
        };
        let mut owners: BTreeMap<(Uuid, i32), String> = BTreeMap::new();
        for client in self.clients.iter().filter(|client| client.alive && client.epoch > 0) {
            let member_id = client.member_id();
            let Some(member) = group.member(&member_id) else { continue };
            if member.epoch != client.epoch && member.previous_epoch != client.epoch {
                continue;
            }
            for partition in &client.owned {
                let former = owners.insert(*partition, member_id.clone());
                assert_eq!(former, None, "GRP-1: {partition:?} is owned by {member_id} too");
            }
        }
        // The coordinator's own view, zombies included.
        let mut held: BTreeMap<(Uuid, i32), &str> = BTreeMap::new();
        for (member_id, member) in group.members() {
            for (topic, of) in member.assigned.iter().chain(member.pending_revocation.iter()) {
                for partition in of.keys() {
                    let former = held.insert((topic.0, *partition), member_id);
                    assert_eq!(former, None, "GRP-1: {topic}-{partition} of {member_id}");
                    assert_eq!(group.holder(*topic, *partition), Some(member_id.as_str()));
                }
            }
        }
    }

    /// Heartbeats go on, nothing else happens.
    fn calm_down(&mut self) {
        for _ in 0..60 {
            for slot in 0..self.clients.len() {
                self.beat(slot, true, false);
                self.check();
            }
            self.world.advance(2_000);
        }
    }

    fn assert_settled(&self) {
        let alive: Vec<_> = self.clients.iter().filter(|client| client.alive).collect();
        if alive.is_empty() {
            return;
        }
        let group = self.world.group();
        assert_eq!(group.state_name(), "Stable", "{group:#?}");
        assert_eq!(group.member_count(), alive.len());
        let mut owned = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        for client in alive {
            assert_eq!(client.epoch, group.epoch, "{client:?}");
            for partition in &client.owned {
                assert!(owned.insert(*partition), "{partition:?} is owned twice");
            }
            for (name, count) in self.world.topics() {
                let subscribes = match client.subscription {
                    Subscription::First => name == TOPICS[0],
                    Subscription::Both => TOPICS[..2].contains(&name.as_str()),
                    Subscription::All => true,
                    Subscription::Regex => name.starts_with('t'),
                };
                if subscribes {
                    wanted.extend((0..count).map(|at| (topic_id(&name).0, at)));
                }
            }
        }
        assert_eq!(owned, wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn no_partition_has_two_owners_and_everybody_converges(
        actions in prop::collection::vec(action(), 1..80),
        interval_ms in prop_oneof![Just(0), Just(1_000)],
    ) {
        let mut run = Run::new(interval_ms);
        for action in &actions {
            run.apply(action);
            run.check();
        }
        run.calm_down();
        run.assert_settled();
        run.world.reload();
        run.calm_down();
        run.assert_settled();
    }
}
