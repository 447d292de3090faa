//! Random clients against a group: what they are told must add up.
//!
//! Clients behave as consumers do, and now and then do not: they crash, send twice, send what is
//! stale, change their subscription. Time passes, the broker restarts. After each step the books of
//! the group are checked; what clients were told is checked against what they were told before
//! (GRP-1: one owner per partition and generation; GRP-3: who is stale cannot commit). In the end
//! those who are still there must reach one generation with all partitions owned, and when they all
//! fall silent every request must have been answered and the group must be empty.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use protocol::{
    ErrorCode,
    messages::{
        join_group::{JoinGroupRequest, JoinGroupResponse},
        sync_group::SyncGroupRequest,
    },
};

use super::world::*;
use crate::{
    group::{CommitIdentity, Group, GroupConfig, classic::State},
    shard::Shard as _,
};

const CLIENTS: usize = 5;
const PARTITIONS: u8 = 6;
const SESSION_MS: i32 = 6_000;
const REBALANCE_MS: i32 = 9_000;

#[derive(Debug, Clone)]
enum Step {
    /// The client does what a consumer would do next; if it is down, it starts.
    Act(usize),
    /// It is gone without a word.
    Crash(usize),
    Leave(usize),
    /// Joins again while its last join or its session is as it is.
    JoinAgain(usize),
    /// Syncs with the generation before the one that it was told.
    SyncStale(usize),
    /// Its next join says something else.
    Change(usize),
    /// An administrator removes it by instance id.
    Remove(usize),
    Pass(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        16 => client.clone().prop_map(Step::Act),
        1 => client.clone().prop_map(Step::Crash),
        1 => client.clone().prop_map(Step::Leave),
        1 => client.clone().prop_map(Step::JoinAgain),
        1 => client.clone().prop_map(Step::SyncStale),
        1 => client.clone().prop_map(Step::Change),
        1 => client.prop_map(Step::Remove),
        4 => (1..4_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

/// A consumer; the last two of them are static.
#[derive(Debug, Default)]
struct Client {
    up: bool,
    instance_id: Option<String>,
    metadata: u8,
    member_id: String,
    joined: Option<JoinGroupResponse>,
    owned: Option<Vec<u8>>,
    joining: Option<Joining>,
    /// The answer to its join, before it has looked at it.
    answer: Option<JoinGroupResponse>,
    syncing: Option<Syncing>,
}

impl Client {
    fn generation(&self) -> i32 {
        self.joined.as_ref().map_or(-1, |joined| joined.generation_id)
    }

    fn forget(&mut self) {
        *self = Self {
            instance_id: self.instance_id.take(),
            metadata: self.metadata,
            ..Self::default()
        };
    }

    /// Why a request failed, and so what to do next.
    fn failed(&mut self, code: i16) {
        self.joined = None;
        self.owned = None;
        let unknown = [ErrorCode::UnknownMemberId.code(), ErrorCode::FencedInstanceId.code()];
        if unknown.contains(&code) {
            self.member_id.clear();
        }
    }
}

struct Model {
    world: World,
    clients: Vec<Client>,
    /// Who was told to own a partition in a generation: an instance where it is static.
    owners: BTreeMap<(i32, u8), String>,
    /// The latest generation that anybody was told since the broker started.
    told: i32,
    /// Requests whose client has gone on without them.
    abandoned: Vec<Joining>,
}

impl Model {
    fn new() -> Self {
        let config = GroupConfig {
            classic_initial_rebalance_delay: Duration::from_secs(1),
            ..GroupConfig::default()
        };
        let clients = (0..CLIENTS).map(|number| Client {
            instance_id: (number + 2 >= CLIENTS).then(|| format!("i{number}")),
            ..Client::default()
        });
        Self {
            world: World::with(config),
            clients: clients.collect(),
            owners: BTreeMap::new(),
            told: -1,
            abandoned: Vec::new(),
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Act(number) => self.act(*number),
            Step::Crash(number) => self.clients[*number].forget(),
            Step::Leave(number) => self.leave(*number),
            Step::JoinAgain(number) => self.join_again(*number),
            Step::SyncStale(number) => self.sync_stale(*number),
            Step::Change(number) => self.clients[*number].metadata += 1,
            Step::Remove(number) => self.remove(*number),
            Step::Pass(millis) => {
                self.world.driver.advance(Duration::from_millis(*millis));
            }
            Step::Restart => self.restart(),
        }
        self.deliver();
        self.check_books();
        self.check_commits();
    }

    /// Answers arrive, in the order of generations.
    fn deliver(&mut self) {
        let before = self.told;
        for client in &mut self.clients {
            let Some(waiting) = &mut client.joining else { continue };
            if let Ok(joined) = waiting.try_recv() {
                if joined.error_code == 0 {
                    assert!(joined.generation_id >= before, "generations only grow");
                    self.told = self.told.max(joined.generation_id);
                }
                client.joining = None;
                client.answer = Some(joined);
            }
        }
    }

    fn act(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.up = true;
        if let Some(joined) = client.answer.take() {
            self.join_answered(number, joined);
        } else if client.joining.is_some() {
            // It waits.
        } else if let Some(mut waiting) = client.syncing.take() {
            match waiting.try_recv() {
                Ok(synced) if synced.error_code == 0 => self.own(number, &synced.assignment),
                Ok(synced) => self.clients[number].failed(synced.error_code),
                Err(_) => self.clients[number].syncing = Some(waiting),
            }
        } else if client.joined.is_none() {
            let request = self.join_request(number);
            self.clients[number].joining = Some(self.world.join(request));
        } else if client.owned.is_none() {
            self.sync(number);
        } else {
            self.heartbeat(number);
        }
    }

    fn join_request(&self, number: usize) -> JoinGroupRequest {
        let client = &self.clients[number];
        JoinGroupRequest {
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: client.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
            protocols: vec![offers("range", &[client.metadata])],
            ..join()
        }
    }

    fn join_answered(&mut self, number: usize, joined: JoinGroupResponse) {
        let client = &mut self.clients[number];
        if joined.error_code == ErrorCode::MemberIdRequired.code() {
            assert!(client.instance_id.is_none() && client.member_id.is_empty());
            client.member_id = joined.member_id;
            return;
        }
        if joined.error_code != 0 {
            client.failed(joined.error_code);
            return;
        }
        client.member_id.clone_from(&joined.member_id);
        client.owned = None;
        client.joined = Some(joined);
    }

    fn sync(&mut self, number: usize) {
        let client = &self.clients[number];
        let Some(joined) = &client.joined else { return };
        let mut parts: Vec<(&str, Vec<u8>)> =
            joined.members.iter().map(|member| (member.member_id.as_str(), Vec::new())).collect();
        let leads = joined.leader == joined.member_id && !joined.skip_assignment;
        if leads {
            assert!(!parts.is_empty(), "a leader is told who is there");
            let members = parts.len();
            for partition in 0..PARTITIONS {
                parts[usize::from(partition) % members].1.push(partition);
            }
        }
        let parts: Vec<_> = parts
            .iter()
            .map(|(id, partitions)| (*id, std::str::from_utf8(partitions).unwrap()))
            .collect();
        let (member_id, generation) = (client.member_id.clone(), client.generation());
        let parts = if leads { parts.as_slice() } else { &[] };
        self.clients[number].syncing = Some(self.world.sync(&member_id, generation, parts));
    }

    /// GRP-1. An empty assignment owns nothing.
    fn own(&mut self, number: usize, partitions: &[u8]) {
        let client = &mut self.clients[number];
        let generation = client.generation();
        let owner = client.instance_id.clone().unwrap_or_else(|| client.member_id.clone());
        for partition in partitions {
            let known =
                self.owners.entry((generation, *partition)).or_insert_with(|| owner.clone());
            assert_eq!(*known, owner, "partition {partition} in generation {generation}");
        }
        client.owned = Some(partitions.to_vec());
    }

    fn heartbeat(&mut self, number: usize) {
        let client = &self.clients[number];
        let (id, instance) = (client.member_id.clone(), client.instance_id.clone());
        let generation = client.generation();
        if let Err(error) = self.world.heartbeat_as(&id, instance.as_deref(), generation) {
            self.clients[number].failed(error.code());
        }
    }

    fn leave(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.member_id.is_empty() {
            return;
        }
        let left = identity(&client.member_id, client.instance_id.as_deref());
        client.forget();
        self.world.leave(&[left]);
    }

    fn remove(&mut self, number: usize) {
        if let Some(instance_id) = self.clients[number].instance_id.clone() {
            self.world.leave(&[identity("", Some(&instance_id))]);
        }
    }

    fn join_again(&mut self, number: usize) {
        if self.clients[number].member_id.is_empty() {
            return;
        }
        let waiting = self.world.join(self.join_request(number));
        let client = &mut self.clients[number];
        client.up = true;
        client.joined = None;
        client.owned = None;
        client.syncing = None;
        client.answer = None;
        self.abandoned.extend(client.joining.replace(waiting));
    }

    fn sync_stale(&mut self, number: usize) {
        let client = &self.clients[number];
        // A generation that was lost with the broker is followed by one that is not stale.
        if client.generation() < 1 || client.generation() > self.told {
            return;
        }
        let request = SyncGroupRequest {
            group_id: GROUP.to_owned(),
            generation_id: client.generation() - 1,
            member_id: client.member_id.clone(),
            ..Default::default()
        };
        assert_ne!(answered(self.world.sync_request(&request)).error_code, 0);
    }

    fn restart(&mut self) {
        self.world.driver.shard.unloaded(ErrorCode::NotCoordinator);
        self.deliver();
        let before = self.hard_state();
        self.world.reload();
        if let Some(before) = before {
            assert_eq!(self.hard_state(), Some(before), "a group at rest is as its log says");
        }
        self.told = -1;
    }

    /// What a group at rest is, as far as its record has room for it.
    fn hard_state(&self) -> Option<String> {
        let Some(Group::Classic(group)) = self.world.driver.shard.group(GROUP) else { return None };
        let at_rest = matches!(group.state(), State::Empty | State::Stable);
        at_rest.then(|| format!("{:?}", group.record()))
    }

    fn check_books(&self) {
        if let Some(Group::Classic(group)) = self.world.driver.shard.group(GROUP) {
            group.check_books(&self.world.driver.timers);
        }
    }

    /// GRP-3: whoever does not know the latest generation cannot commit.
    fn check_commits(&self) {
        let Some(Group::Classic(group)) = self.world.driver.shard.group(GROUP) else { return };
        for client in self.clients.iter().filter(|client| client.joined.is_some()) {
            let commit = group.validate_offset_commit(CommitIdentity {
                member_id: &client.member_id,
                group_instance_id: client.instance_id.as_deref(),
                generation_or_epoch: client.generation(),
                transactional: false,
                api_version: 9,
            });
            if client.generation() < self.told {
                assert!(commit.is_err(), "stale: {client:?}");
            }
        }
    }

    /// Those who are up behave; all must come to share the partitions in one generation.
    fn settle(&mut self) {
        for client in &mut self.clients {
            client.metadata = 0;
        }
        for _ in 0..60 {
            for _ in 0..3 {
                for number in 0..CLIENTS {
                    if self.clients[number].up {
                        self.run(&Step::Act(number));
                    }
                }
            }
            self.run(&Step::Pass(1_000));
        }
        let up: Vec<_> = self.clients.iter().filter(|client| client.up).collect();
        let Some(first) = up.first() else { return };
        let mut owned = Vec::new();
        for client in &up {
            assert_eq!(client.generation(), first.generation());
            owned.extend(client.owned.clone().expect("every member has its assignment"));
        }
        owned.sort_unstable();
        assert_eq!(owned, (0..PARTITIONS).collect::<Vec<_>>());
        assert_eq!(self.world.state(), State::Stable);
    }

    /// Nobody says anything any more.
    fn fall_silent(&mut self) {
        self.world.driver.advance(Duration::from_secs(1_000));
        self.check_books();
        for mut waiting in self.abandoned.drain(..) {
            assert!(!waits(&mut waiting), "a join is never answered");
        }
        for client in &mut self.clients {
            assert!(!client.joining.as_mut().is_some_and(waits), "a join is never answered");
            assert!(!client.syncing.as_mut().is_some_and(waits), "a sync is never answered");
        }
        if self.world.has_group() {
            assert_eq!((self.world.state(), self.world.group().member_count()), (State::Empty, 0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_clients_are_told_adds_up(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        model.settle();
        model.fall_silent();
    }
}
