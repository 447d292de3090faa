//! A member of a group: it joins, consumes what it is assigned, commits how far it came, and now and
//! then leaves, crashes, or is silent for longer than its session (GRP-1 to GRP-3).

mod classic;
mod consumer;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use broker::testing::Client;
use common::{PartitionKey, rng::Rng};
use protocol::ErrorCode;

use super::{BACKOFF, pause};
use crate::{
    groups::{Identity, Protocol},
    history::History,
    incarnation::Incarnation,
    invariants::Violation,
    ops::{
        Lost,
        fetch::{self, Ask, Outcome},
        groups, offsets,
        topics::SimTopic,
    },
};

/// Longest pause between two turns, milliseconds: well below the session.
const TURN_MS_MAX: u64 = 900;
/// Longest silence, milliseconds: well above the session.
const SILENCE_MS_MAX: u64 = 15_000;
/// Longest absence after a member has left or crashed, milliseconds.
const ABSENCE_MS_MAX: u64 = 6_000;
const FETCH_BYTES_MAX: i32 = 100_000;

/// What a member knows of itself.
#[derive(Debug)]
struct State {
    identity: Identity,
    owned: BTreeSet<i32>,
    /// Where it reads next, of what it owns; where one is missing, it has not been asked for yet.
    positions: BTreeMap<i32, i64>,
    /// Nothing has moved at its last heartbeat.
    settled: bool,
    /// The next heartbeat says everything: the coordinator may have missed the last, or this member
    /// its answer.
    say_all: bool,
    /// What it owns has changed since it was said.
    changed: bool,
    /// How often it began anew: a part of its next member id.
    births: u32,
}

/// A member.
pub struct Member {
    name: String,
    group_id: String,
    protocol: Protocol,
    topic: SimTopic,
    /// Whether it cuts connections with requests in flight.
    cuts: bool,
    /// Whether it does nothing any more that a member should not do.
    calm: AtomicBool,
    rng: Rng,
    history: Arc<History>,
    state: Mutex<State>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Member {
    /// A member that has not joined yet.
    #[must_use]
    pub fn new(
        name: String,
        (group_id, protocol): (String, Protocol),
        topic: SimTopic,
        cuts: bool,
        rng: Rng,
        history: Arc<History>,
    ) -> Self {
        let state = State {
            identity: Identity { member_id: String::new(), epoch: -1 },
            owned: BTreeSet::new(),
            positions: BTreeMap::new(),
            settled: false,
            say_all: false,
            changed: false,
            births: 0,
        };
        let (state, calm) = (Mutex::new(state), AtomicBool::new(false));
        let member = Self { name, group_id, protocol, topic, cuts, calm, rng, history, state };
        member.begin_anew();
        member
    }

    /// The group.
    #[must_use]
    pub fn group_id(&self) -> &str {
        &self.group_id
    }

    /// How many partitions its group consumes.
    #[must_use]
    pub fn partitions(&self) -> i32 {
        self.topic.partitions
    }

    /// What it owns, if its group is at rest as far as it knows.
    #[must_use]
    pub fn settled(&self) -> Option<BTreeSet<i32>> {
        let state = self.state();
        state.settled.then(|| state.owned.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn identity(&self) -> Identity {
        self.state().identity.clone()
    }

    /// From now on it is a good member.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Takes part for ever; the crash of the broker drops this future.
    pub async fn run(&self, incarnation: Incarnation) {
        loop {
            let mut client = incarnation.connect(&self.name);
            let Err(Lost) = self.connected(&mut client).await;
            self.lost_connection();
            tokio::time::sleep(BACKOFF).await;
        }
    }

    fn lost_connection(&self) {
        let mut state = self.state();
        state.settled = false;
        state.say_all = true;
    }

    async fn connected(&self, client: &mut Client) -> Result<std::convert::Infallible, Lost> {
        while !groups::find_coordinator(client, &self.history, &self.group_id).await? {
            tokio::time::sleep(BACKOFF).await;
        }
        loop {
            if !self.calm.load(Ordering::Relaxed) {
                self.mishap(client).await?;
            }
            match self.protocol {
                Protocol::Classic => self.classic_turn(client).await?,
                Protocol::Consumer => self.consumer_turn(client).await?,
            }
            pause(&self.rng, TURN_MS_MAX).await;
        }
    }

    /// Now and then it crashes, leaves, is silent, or loses its connection.
    async fn mishap(&self, client: &mut Client) -> Result<(), Lost> {
        let identity = self.identity();
        match self.rng.below(100) {
            0 => {
                self.history.event(&format!("{} crashes", self.name));
                self.begin_anew();
                pause(&self.rng, ABSENCE_MS_MAX).await;
            }
            1 | 2 => {
                self.begin_anew();
                let (history, group_id, id) = (&self.history, &self.group_id, &identity.member_id);
                let code = match self.protocol {
                    Protocol::Classic => groups::leave(client, history, group_id, id).await?,
                    Protocol::Consumer => {
                        groups::consumer_leave(client, history, group_id, id).await?
                    }
                };
                self.history.event(&format!("{} leaves: {}", self.name, code.name()));
                pause(&self.rng, ABSENCE_MS_MAX).await;
            }
            3 | 4 => {
                self.history.event(&format!("{} is silent", self.name));
                pause(&self.rng, SILENCE_MS_MAX).await;
                self.history.event(&format!("{} is back", self.name));
                // It does not know yet what it has missed.
                if self.rng.below(2) == 0 {
                    self.commit(client).await?;
                }
            }
            5 | 6 if self.cuts => return Err(Lost),
            _ => {}
        }
        Ok(())
    }

    /// From here on it is another member.
    fn begin_anew(&self) {
        let mut state = self.state();
        self.history.groups().forget(&self.group_id, &state.identity.member_id);
        state.births += 1;
        state.identity = match self.protocol {
            // The broker gives the id.
            Protocol::Classic => Identity { member_id: String::new(), epoch: -1 },
            Protocol::Consumer => Identity {
                member_id: format!("{} {}", self.name, state.births),
                epoch: groups::JOIN_EPOCH,
            },
        };
        self.own_nothing(&mut state);
    }

    fn own_nothing(&self, state: &mut State) {
        state.owned.clear();
        state.positions.clear();
        state.settled = false;
        state.say_all = false;
        state.changed = false;
    }

    /// Owns these from now on.
    fn own(&self, owned: BTreeSet<i32>) {
        let mut state = self.state();
        state.positions.retain(|partition, _| owned.contains(partition));
        state.owned = owned;
    }

    /// Reads on in a partition and commits.
    async fn work(&self, client: &mut Client) -> Result<(), Lost> {
        let (owned, missing) = {
            let state = self.state();
            let owned: Vec<i32> = state.owned.iter().copied().collect();
            let missing = owned.iter().any(|partition| !state.positions.contains_key(partition));
            (owned, missing)
        };
        if missing {
            self.seek(client).await?;
        }
        if owned.is_empty() {
            return Ok(());
        }
        let partition = owned[self.rng.below(owned.len() as u64) as usize];
        self.consume(client, partition).await?;
        if self.rng.below(2) == 0 { self.commit(client).await } else { Ok(()) }
    }

    /// Begins where the group has come to, in what it has no position of.
    async fn seek(&self, client: &mut Client) -> Result<(), Lost> {
        let identity = self.identity();
        let (history, group_id, topic) = (&self.history, &self.group_id, &self.topic);
        // A classic member does not say who it is.
        let asks = (self.protocol == Protocol::Consumer).then_some(&identity);
        let found = offsets::fetch(client, history, group_id, asks, topic).await?;
        let Some(found) = found else { return Ok(()) };
        self.history.event(&format!("{} begins at {found:?}", self.name));
        let mut state = self.state();
        for partition in state.owned.clone() {
            let committed = found.get(&partition).copied().flatten();
            let start = committed.map_or_else(|| self.log_start(partition), |(_, offset)| offset);
            state.positions.entry(partition).or_insert(start);
        }
        Ok(())
    }

    fn key(&self, partition: i32) -> PartitionKey {
        PartitionKey { topic_id: self.topic.id, partition }
    }

    fn log_start(&self, partition: i32) -> i64 {
        self.history.model().floors(&self.key(partition)).log_start
    }

    async fn consume(&self, client: &mut Client, partition: i32) -> Result<(), Lost> {
        let Some(offset) = self.state().positions.get(&partition).copied() else { return Ok(()) };
        let ask = Ask {
            key: self.key(partition),
            offset,
            max_wait_ms: 20,
            max_bytes: FETCH_BYTES_MAX,
            read_committed: false,
        };
        let next = match fetch::fetch(client, &self.history, &ask).await? {
            Outcome::Records { found, .. } => found.last().map(|found| found.last_offset + 1),
            Outcome::OutOfRange => Some(self.log_start(partition)),
            Outcome::Retry | Outcome::Gone => None,
        };
        if let (Some(next), Some(position)) = (next, self.state().positions.get_mut(&partition)) {
            *position = next;
        }
        Ok(())
    }

    /// Commits its positions, all of them.
    async fn commit(&self, client: &mut Client) -> Result<(), Lost> {
        let (identity, positions) = {
            let state = self.state();
            (state.identity.clone(), state.positions.clone())
        };
        if positions.is_empty() {
            return Ok(());
        }
        let (history, group_id) = (&self.history, &self.group_id);
        let commit = history.groups().commit(group_id, &identity, positions);
        history.event(&format!("{} {identity:?} commits {commit:?}", self.name));
        let what = (&self.topic, &commit);
        let committing = offsets::commit(client, history, group_id, &identity, what);
        let codes = if self.cuts && self.rng.below(20) == 0 {
            let limit = Duration::from_millis(self.rng.below(30));
            tokio::time::timeout(limit, committing).await.map_err(|_| Lost)?
        } else {
            committing.await
        }?;
        let names = codes.iter().map(|(partition, code)| (partition, code.name()));
        let names: BTreeMap<_, _> = names.collect();
        history.event(&format!("{} committed {}: {names:?}", self.name, commit.id));
        if codes.values().all(|code| *code == ErrorCode::None) {
            history.trace.mark("sim: offsets committed");
        }
        Ok(())
    }

    fn unexpected(&self, api: &str, error: ErrorCode) -> Lost {
        let message = format!("{}: {api} answered {}", self.name, error.name());
        self.history.violate(Violation::protocol(message));
        Lost
    }
}

/// Whether a coordinator says that it is not there now.
fn is_passing(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::RequestTimedOut
    )
}
