//! The state of one partition of `__transaction_state`: its transactional ids, who waits for them,
//! and what follows from each step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use common::ProducerId;
use protocol::ErrorCode;
use tokio::sync::oneshot;
use tracing::info;

use super::{
    markers::{Markers, Work, WorkQueue},
    metadata::{NO_EPOCH, TopicPartition, TransactionMetadata},
    records::TransactionRecord,
    state::TransactionState,
};
use crate::shard::{Context, Outcome, Replayed, Shard};

/// The settings of the coordinator, under Kafka's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`.
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub remove_expired_interval: Duration,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`. Transactions are aborted when
    /// their time is up; this is how soon an abort that could not be done is tried again.
    pub abort_timed_out_interval: Duration,
    /// `transaction.two.phase.commit.enable`.
    pub two_phase_commit: bool,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            max_timeout_ms: 15 * 60 * 1000,
            id_expiration_ms: 7 * 24 * 60 * 60 * 1000,
            remove_expired_interval: Duration::from_secs(60 * 60),
            abort_timed_out_interval: Duration::from_secs(10),
            two_phase_commit: false,
        }
    }
}

/// A deadline of a shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransactionTimer {
    /// The open transaction of this id has run for as long as its producer allowed.
    Timeout(String),
    /// Look for ids that nobody has used for long.
    Expiration,
}

/// What became of an operation that may need a producer id, which only the outside can give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt<T> {
    /// It is decided.
    Done(Result<T, ErrorCode>),
    /// Nothing has changed: run it again with a fresh producer id.
    NeedsProducerId,
}

impl<T> Attempt<T> {
    pub(super) fn refused(error: ErrorCode) -> Self {
        Self::Done(Err(error))
    }
}

/// One transactional id: what the log knows, and what is forgotten with the shard.
#[derive(Debug)]
pub(super) struct Entry {
    /// Hard state.
    pub(super) metadata: TransactionMetadata,
    /// The offset of the record that made it so.
    changed_at: i64,
    /// The epoch that the last bump replaced, -1 where nobody may still name it: how the retry of
    /// an InitProducerId is told from a fenced producer (KIP-360). Soft, as in Kafka, except that
    /// an end of a transaction (KIP-890) tells it.
    pub(super) last_producer_epoch: i16,
    /// What `last_producer_epoch` is to be when the InitProducerId that is being appended is
    /// replayed.
    pub(super) last_epoch_of_init: i16,
    /// Partitions that have no marker yet, once some have: what DescribeTransactions shows.
    pub(super) unmarked: Option<BTreeSet<TopicPartition>>,
    /// Those who wait until the transaction is complete: closing is the signal.
    waiting: Vec<oneshot::Sender<()>>,
}

/// The state machine.
#[derive(Debug)]
pub struct TransactionShard {
    pub(super) config: Arc<TransactionConfig>,
    pub(super) transactional_ids: BTreeMap<String, Entry>,
    work: WorkQueue,
}

/// What operations are given.
pub(super) type Ctx<'a, 'b> = &'a mut Context<'b, TransactionTimer>;

impl TransactionShard {
    /// A shard that has seen nothing yet; its work goes into `work`.
    #[must_use]
    pub fn new(config: Arc<TransactionConfig>, work: WorkQueue) -> Self {
        Self { config, transactional_ids: BTreeMap::new(), work }
    }

    /// What is known of an id.
    pub(super) fn metadata(&self, transactional_id: &str) -> Option<&TransactionMetadata> {
        self.transactional_ids.get(transactional_id).map(|entry| &entry.metadata)
    }

    /// Whether the id's transaction is being completed, and if so a signal for when it is: a
    /// channel that closes.
    #[must_use]
    pub fn completion(&mut self, transactional_id: &str) -> Option<oneshot::Receiver<()>> {
        let entry = self.transactional_ids.get_mut(transactional_id)?;
        entry.metadata.state.is_completing().then(|| {
            let (sender, receiver) = oneshot::channel();
            entry.waiting.retain(|waiter| !waiter.is_closed());
            entry.waiting.push(sender);
            receiver
        })
    }

    /// Sets and cancels what follows from an id's next state, and returns the record that makes
    /// it so.
    pub(super) fn step(
        &self,
        context: Ctx<'_, '_>,
        transactional_id: &str,
        next: TransactionMetadata,
    ) -> TransactionRecord {
        let timer = TransactionTimer::Timeout(transactional_id.to_owned());
        if next.state == TransactionState::Ongoing {
            if !next.is_two_phase() && !context.has_timer(&timer) {
                context.set_timer(timer, timeout(&next));
            }
        } else {
            context.cancel_timer(&timer);
        }
        if next.state.is_completing() {
            self.ask(context, Work::Complete(transactional_id.to_owned()));
        }
        TransactionRecord { transactional_id: transactional_id.to_owned(), metadata: Some(next) }
    }

    /// Asks the outside for something, once all before it is durable.
    pub(super) fn ask(&self, context: Ctx<'_, '_>, work: Work) {
        let queue = self.work.clone();
        context.after_durable(move || queue.push(work));
    }

    /// The markers that the completion of an id's transaction takes, if it has been decided.
    #[must_use]
    pub fn pending_markers(&self, transactional_id: &str) -> Option<Markers> {
        let entry = self.transactional_ids.get(transactional_id)?;
        let known = Some(&entry.metadata).filter(|known| known.state.is_completing())?;
        Some(Markers {
            transactional_id: transactional_id.to_owned(),
            decided_at: entry.changed_at,
            producer_id: known.producer_id,
            producer_epoch: known.producer_epoch,
            committed: known.state == TransactionState::PrepareCommit,
            version: known.client_version,
            partitions: known.partitions.clone(),
        })
    }

    /// Reports that every partition has the markers of a transaction. A report of one that is
    /// complete already changes nothing.
    pub fn markers_written(
        &mut self,
        context: Ctx<'_, '_>,
        markers: &Markers,
    ) -> Outcome<(), TransactionRecord> {
        let entry = self.transactional_ids.get(&markers.transactional_id);
        let Some(entry) = entry.filter(|entry| entry.waits_for(markers)) else {
            return Outcome::read(());
        };
        let completed = entry.metadata.completed(context.now_ms);
        Outcome::write(vec![self.step(context, &markers.transactional_id, completed)], ())
    }

    /// Reports that these partitions alone still have no marker, for those who ask what a
    /// transaction waits for. Soft: after a load all markers are written again.
    pub fn markers_progressed(&mut self, left: &Markers) {
        let Some(entry) = self.transactional_ids.get_mut(&left.transactional_id) else { return };
        if entry.waits_for(left) {
            entry.unmarked = Some(left.partitions.clone());
        }
    }
}

impl Entry {
    /// Whether it is these markers that the transaction's completion waits for.
    fn waits_for(&self, markers: &Markers) -> bool {
        self.metadata.state.is_completing() && self.changed_at == markers.decided_at
    }
}

fn timeout(metadata: &TransactionMetadata) -> Duration {
    Duration::from_millis(u64::try_from(metadata.timeout_ms).unwrap_or_default())
}

impl Shard for TransactionShard {
    type Record = TransactionRecord;
    type Timer = TransactionTimer;

    fn replay(&mut self, at: Replayed, record: TransactionRecord) {
        let TransactionRecord { transactional_id, metadata } = record;
        let Some(metadata) = metadata else {
            self.transactional_ids.remove(&transactional_id);
            return;
        };
        let told = metadata.epoch_before_bump();
        match self.transactional_ids.get_mut(&transactional_id) {
            Some(entry) => {
                entry.last_producer_epoch = match (metadata.state, told) {
                    (TransactionState::Empty, _) => entry.last_epoch_of_init,
                    (_, Some(epoch)) => epoch,
                    (_, None) => entry.last_producer_epoch,
                };
                entry.last_epoch_of_init = NO_EPOCH;
                entry.unmarked = None;
                if !metadata.state.is_completing() {
                    entry.waiting.clear();
                }
                entry.metadata = metadata;
                entry.changed_at = at.offset;
            }
            None => {
                let entry = Entry {
                    changed_at: at.offset,
                    last_producer_epoch: told.unwrap_or(NO_EPOCH),
                    last_epoch_of_init: NO_EPOCH,
                    unmarked: None,
                    waiting: Vec::new(),
                    metadata,
                };
                self.transactional_ids.insert(transactional_id, entry);
            }
        }
    }

    /// The topic holds no transactions of its own.
    fn replay_marker(&mut self, _: ProducerId, _: i16, _: bool) {}

    fn loaded(&mut self, context: &mut Context<'_, TransactionTimer>) {
        context.set_timer(TransactionTimer::Expiration, self.config.remove_expired_interval);
        let mut completing = 0_usize;
        for (transactional_id, entry) in &self.transactional_ids {
            let metadata = &entry.metadata;
            if metadata.state.is_completing() {
                completing += 1;
                self.ask(context, Work::Complete(transactional_id.clone()));
            } else if metadata.state == TransactionState::Ongoing && !metadata.is_two_phase() {
                // A clock that was put back must not keep a transaction open for longer than it
                // may ever be, nor one put forward end it before a moment has passed.
                let all = timeout(metadata);
                let run = context.now_ms.saturating_sub(metadata.start_ms);
                let run = Duration::from_millis(u64::try_from(run).unwrap_or_default());
                let left = all.saturating_sub(run);
                context.set_timer(TransactionTimer::Timeout(transactional_id.clone()), left);
            }
        }
        if completing > 0 {
            info!(transactions = completing, "completing what was decided before the load");
        }
    }

    fn expired(
        &mut self,
        timer: TransactionTimer,
        context: &mut Context<'_, TransactionTimer>,
    ) -> Outcome<(), TransactionRecord> {
        match timer {
            TransactionTimer::Timeout(transactional_id) => {
                self.time_out(context, &transactional_id)
            }
            TransactionTimer::Expiration => self.remove_expired(context),
        }
    }

    /// Whoever waits sees its channel close, asks again, and is told by the runtime.
    fn unloaded(&mut self, _: ErrorCode) {
        self.transactional_ids.clear();
    }
}
