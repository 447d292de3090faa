//! A transactional producer that also reads what is committed, and knows what may be seen: TXN-1 to
//! TXN-4 under all faults of a run.
//!
//! Each record's value names its transaction. A transaction is committed only when all its records
//! are acknowledged; what becomes of a commit whose answer is lost is unknown, but it is one thing
//! for all its records.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use broker::testing::Client;
use common::{invariant::InvariantId, rng::Rng};
use protocol::ErrorCode;

use super::{BACKOFF, pause};
use crate::{
    history::History,
    incarnation::Incarnation,
    invariants::Violation,
    ops::{
        Lost,
        topics::SimTopic,
        transactions::{self, Committed, Identity},
    },
};

/// Attempts to write one record before the transaction is aborted.
const ATTEMPTS: u32 = 8;
/// Simulated time for all to be readable once the faults are over.
const READABLE_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// What a transaction has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its end was not asked for.
    Open,
    /// Its commit was asked for, and nobody knows.
    Unknown,
    Committed,
    Aborted,
}

#[derive(Debug)]
struct Transaction {
    fate: Fate,
    acked: BTreeSet<String>,
}

#[derive(Debug)]
struct State {
    left: u32,
    transactions: Vec<Transaction>,
    /// Where the reader is, per partition, and what it saw.
    positions: Vec<i64>,
    seen: BTreeSet<String>,
}

/// Why a producer begins anew.
enum Broken {
    Connection,
    /// The producer is fenced, or its transaction is.
    Producer,
}

impl From<Lost> for Broken {
    fn from(_: Lost) -> Self {
        Self::Connection
    }
}

/// The client and what it has not finished.
pub struct Transactor {
    id: String,
    topic: SimTopic,
    rng: Rng,
    history: Arc<History>,
    state: Mutex<State>,
}

impl fmt::Debug for Transactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactor").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Transactor {
    /// A client of one topic.
    #[must_use]
    pub fn new(id: String, topic: SimTopic, rng: Rng, history: Arc<History>) -> Self {
        let positions = vec![0; usize::try_from(topic.partitions).unwrap_or_default()];
        let state = State { left: 0, transactions: Vec::new(), positions, seen: BTreeSet::new() };
        Self { id, topic, rng, history, state: Mutex::new(state) }
    }

    /// Makes so many more transactions.
    pub fn grant(&self, transactions: u32) {
        self.state().left += transactions;
    }

    /// Whether all were made.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state().left == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs transactions until all are made; the crash of the broker drops this future.
    pub async fn run(&self, incarnation: Incarnation) {
        while !self.is_done() {
            let mut client = incarnation.connect(&self.id);
            match self.connected(&mut client).await {
                Ok(()) => return,
                Err(Broken::Connection) => {
                    self.history.event(&format!("{} lost its connection", self.id));
                    tokio::time::sleep(BACKOFF).await;
                }
                Err(Broken::Producer) => {
                    self.history.event(&format!("{} begins anew", self.id));
                }
            }
        }
    }

    async fn connected(&self, client: &mut Client) -> Result<(), Broken> {
        let mut identity = self.begin(client).await?;
        while !self.is_done() {
            if self.rng.below(2) == 0 {
                self.read(client).await?;
            }
            identity = self.transaction(client, identity).await?;
            pause(&self.rng, 200).await;
        }
        Ok(())
    }

    async fn begin(&self, client: &mut Client) -> Result<Identity, Broken> {
        while !transactions::find_coordinator(client, &self.history, &self.id).await? {
            tokio::time::sleep(BACKOFF).await;
        }
        loop {
            match transactions::init(client, &self.history, &self.id).await? {
                Ok(identity) => {
                    self.history.event(&format!("{} is {identity:?}", self.id));
                    return Ok(identity);
                }
                Err(error) if comes_back(error) => tokio::time::sleep(BACKOFF).await,
                Err(error) => return Err(self.unexpected("InitProducerId", error)),
            }
        }
    }

    fn unexpected(&self, api: &str, error: ErrorCode) -> Broken {
        let message = format!("{}: {api} answered {}", self.id, error.name());
        self.history.violate(Violation::protocol(message));
        Broken::Connection
    }

    /// One transaction, and the identity for the next.
    async fn transaction(
        &self,
        client: &mut Client,
        identity: Identity,
    ) -> Result<Identity, Broken> {
        let number = {
            let mut state = self.state();
            state.left = state.left.saturating_sub(1);
            state.transactions.push(Transaction { fate: Fate::Open, acked: BTreeSet::new() });
            state.transactions.len() - 1
        };
        let mut sequences = BTreeMap::new();
        let mut complete = true;
        for record in 0..=self.rng.below(4) {
            let count = u64::try_from(self.topic.partitions).unwrap_or(1);
            let index = i32::try_from(self.rng.below(count)).unwrap_or_default();
            let sequence = sequences.entry(index).or_insert(0);
            let value = format!("{} {number} {record}", self.id);
            if self.write(client, identity, (index, *sequence, &value)).await? {
                *sequence += 1;
                self.state().transactions[number].acked.insert(value);
            } else {
                complete = false;
                break;
            }
            pause(&self.rng, 50).await;
        }
        match self.rng.below(20) {
            // It is gone, and its transaction with it.
            0 => Err(Broken::Producer),
            1..=4 => self.end(client, identity, number, false).await,
            _ => self.end(client, identity, number, complete).await,
        }
    }

    /// Writes one record; whether it is acknowledged.
    async fn write(
        &self,
        client: &mut Client,
        identity: Identity,
        record: (i32, i32, &str),
    ) -> Result<bool, Broken> {
        let (id, topic) = (&self.id, &self.topic.name);
        for _ in 0..ATTEMPTS {
            let history = &self.history;
            let code = transactions::produce(client, history, id, identity, topic, record).await?;
            history.event(&format!("{id} writes {record:?}: {}", code.name()));
            match code {
                ErrorCode::None => return Ok(true),
                // The attempt before may have failed after all, or be in the log.
                ErrorCode::OutOfOrderSequenceNumber => return Ok(false),
                ErrorCode::InvalidProducerEpoch
                | ErrorCode::InvalidProducerIdMapping
                | ErrorCode::InvalidTxnState
                | ErrorCode::TransactionAbortable => return Err(Broken::Producer),
                ErrorCode::NotEnoughReplicas
                | ErrorCode::KafkaStorageError
                | ErrorCode::NotLeaderOrFollower => tokio::time::sleep(BACKOFF).await,
                error if comes_back(error) => tokio::time::sleep(BACKOFF).await,
                error => return Err(self.unexpected("Produce", error)),
            }
        }
        Ok(false)
    }

    async fn end(
        &self,
        client: &mut Client,
        identity: Identity,
        number: usize,
        committed: bool,
    ) -> Result<Identity, Broken> {
        let asked = if committed { Fate::Unknown } else { Fate::Aborted };
        self.state().transactions[number].fate = asked;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (history, id) = (&self.history, &self.id);
            let ended = transactions::end(client, history, id, identity, committed).await?;
            history.event(&format!("{id} ends {number}, commit {committed}: {ended:?}"));
            match ended {
                Ok(next) => {
                    let fate = if committed { Fate::Committed } else { Fate::Aborted };
                    self.state().transactions[number].fate = fate;
                    history.trace.mark("sim: transaction ended");
                    return Ok(next);
                }
                Err(
                    ErrorCode::InvalidTxnState
                    | ErrorCode::ProducerFenced
                    | ErrorCode::InvalidProducerIdMapping,
                ) => {
                    // The first refusal is one: nothing was decided by this producer.
                    if attempts == 1 {
                        self.state().transactions[number].fate = Fate::Aborted;
                    }
                    return Err(Broken::Producer);
                }
                Err(error) if comes_back(error) => tokio::time::sleep(BACKOFF).await,
                Err(error) => return Err(self.unexpected("EndTxn", error)),
            }
        }
    }

    /// Reads committed records on; whatever is seen was to be committed.
    async fn read(&self, client: &mut Client) -> Result<(), Lost> {
        let partition = self.rng.below(self.state().positions.len() as u64) as usize;
        let offset = self.state().positions[partition];
        let Some(read) = self.read_at(client, partition, offset).await? else { return Ok(()) };
        let mut state = self.state();
        state.positions[partition] = read.next_offset;
        for value in read.values {
            if let Some(fate) = state.fate_of(&self.id, &value) {
                if !matches!(fate, Fate::Unknown | Fate::Committed) {
                    let message = format!("{value:?} is visible, and its transaction is {fate:?}");
                    self.history.violate(Violation::new(InvariantId::Txn2, message));
                    return Err(Lost);
                }
                state.seen.insert(value);
            }
        }
        Ok(())
    }

    async fn read_at(
        &self,
        client: &mut Client,
        partition: usize,
        offset: i64,
    ) -> Result<Option<Committed>, Lost> {
        let index = i32::try_from(partition).unwrap_or_default();
        let (history, topic) = (&self.history, &self.topic.name);
        transactions::read_committed(client, history, topic, index, offset).await
    }

    /// Reads all that is committed, and compares it with what was promised.
    ///
    /// # Errors
    /// The first broken rule.
    pub async fn check(&self, incarnation: &Incarnation) -> Result<(), Violation> {
        let reading = tokio::time::timeout(READABLE_WITHIN, self.read_whole(incarnation)).await;
        let values = reading.unwrap_or_else(|_| {
            let message = format!("{}: a transaction stays open", self.topic.name);
            Err(Violation::new(InvariantId::Txn3, message))
        })?;
        let mut visible = BTreeSet::new();
        for value in values {
            if !visible.insert(value.clone()) {
                let message = format!("{value:?} is there twice");
                return Err(Violation::new(InvariantId::Txn1, message));
            }
        }
        let state = self.state();
        for (number, transaction) in state.transactions.iter().enumerate() {
            let prefix = format!("{} {number} ", self.id);
            let found = visible.range(prefix.clone()..).take_while(|v| v.starts_with(&prefix));
            let found: BTreeSet<String> = found.cloned().collect();
            let all = transaction.acked.is_subset(&found);
            let allowed = match transaction.fate {
                Fate::Committed => all,
                Fate::Open | Fate::Aborted => found.is_empty(),
                Fate::Unknown => all || found.is_empty(),
            };
            if !allowed {
                let message = format!("transaction {prefix}{transaction:?} shows {found:?}");
                return Err(Violation::new(InvariantId::Txn1, message));
            }
        }
        match state.seen.difference(&visible).next() {
            Some(lost) => {
                Err(Violation::new(InvariantId::Log1, format!("{lost:?} was seen and is gone")))
            }
            None => Ok(()),
        }
    }

    async fn read_whole(&self, incarnation: &Incarnation) -> Result<Vec<String>, Violation> {
        let mut client = incarnation.connect("transactions checker");
        let partitions = self.state().positions.len();
        let mut values = Vec::new();
        for partition in 0..partitions {
            let mut offset = 0;
            loop {
                let read = self.read_at(&mut client, partition, offset).await;
                let read = read.map_err(|Lost| {
                    let lost = Violation::liveness("the checker lost its connection".to_owned());
                    self.history.violation().unwrap_or(lost)
                })?;
                let Some(read) = read else {
                    tokio::time::sleep(POLL).await;
                    continue;
                };
                values.extend(read.values);
                offset = read.next_offset;
                if offset >= read.high_watermark {
                    break;
                }
                // An open transaction: its timeout comes.
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(values)
    }
}

impl State {
    /// What became of a value's transaction, if it is one of this client's.
    fn fate_of(&self, id: &str, value: &str) -> Option<Fate> {
        let rest = value.strip_prefix(id)?.trim_start();
        let number: usize = rest.split(' ').next()?.parse().ok()?;
        self.transactions.get(number).map(|transaction| transaction.fate)
    }
}

/// Whether the same request may be answered otherwise a little later.
fn comes_back(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::ConcurrentTransactions
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::RequestTimedOut
    )
}
