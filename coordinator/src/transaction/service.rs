//! What handlers call: finds the shard of a transactional id, gives it producer ids, waits for
//! completions, and completes what shards have decided.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::{ProducerId, retry::Backoff, rng::Rng, spawn::Spawner};
use futures::future::{BoxFuture, join_all};
use protocol::ErrorCode;
use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, error, info};

use super::{
    AddPartitions, Attempt, Description, EndTransaction, Ended, InitProducerId, Listing,
    ProducerIdAndEpoch, TopicPartition, TransactionConfig, TransactionFilter, TransactionRecord,
    TransactionShard, TransactionTimer,
    markers::{Markers, TimedOut, Work},
};
use crate::{
    runtime::Runtime,
    shard::{Context, Outcome},
};

/// Pauses between attempts to write a marker: short at first, since a transaction's next one waits.
const MARKER_BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(5));

/// Hands out producer ids that nobody has had.
pub trait ProducerIdSource: Send + Sync + Debug {
    /// The next one, or the code for who asked.
    fn next_producer_id(&self) -> BoxFuture<'_, Result<ProducerId, ErrorCode>>;
}

/// What became of a marker that is not in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerError {
    /// There is no such partition any more.
    Gone,
    /// The partition knows a newer epoch of the producer, or of the coordinator.
    Fenced,
    /// It may work later.
    Retriable(ErrorCode),
}

/// Writes markers into partitions.
pub trait MarkerWriter: Send + Sync + Debug {
    /// Writes one on behalf of this partition of `__transaction_state`; durable on return.
    fn write_marker<'a>(
        &'a self,
        coordinator_partition: i32,
        markers: &'a Markers,
        partition: &'a TopicPartition,
    ) -> BoxFuture<'a, Result<(), MarkerError>>;
}

/// What a coordinator is made of.
#[derive(Debug)]
pub struct TransactionParts {
    /// Runs the shards.
    pub runtime: Runtime<TransactionShard>,
    /// The settings, the same as the shards'.
    pub config: Arc<TransactionConfig>,
    /// Producer ids.
    pub producer_ids: Arc<dyn ProducerIdSource>,
    /// Markers.
    pub markers: Arc<dyn MarkerWriter>,
    /// Randomness.
    pub rng: Rng,
    /// Tasks.
    pub spawner: Spawner,
}

/// The coordinator. Clones share it.
#[derive(Debug, Clone)]
pub struct TransactionCoordinator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: TransactionParts,
    /// The ids whose transaction is being completed by a task, and whether to look again then.
    completing: Mutex<BTreeMap<String, bool>>,
}

type Ctx<'a> = Context<'a, TransactionTimer>;

impl TransactionCoordinator {
    /// The coordinator over running shards, whose work comes through `work`.
    #[must_use]
    pub fn start(parts: TransactionParts, mut work: mpsc::UnboundedReceiver<Work>) -> Self {
        let coordinator = Self { inner: Arc::new(Inner { parts, completing: Mutex::default() }) };
        let worker = coordinator.clone();
        coordinator.inner.parts.spawner.spawn_critical("transaction-work", async move {
            while let Some(work) = work.recv().await {
                match work {
                    Work::Complete(transactional_id) => worker.complete_soon(transactional_id),
                    Work::Abort(timed_out) => worker.abort_soon(timed_out),
                }
            }
        });
        coordinator
    }

    /// The partition of `__transaction_state` that an id belongs to.
    ///
    /// # Errors
    /// As the runtime has no such topic yet.
    fn partition_of(&self, transactional_id: &str) -> Result<i32, ErrorCode> {
        self.inner.parts.runtime.partition_for(transactional_id)
    }

    async fn run<R: Send>(
        &self,
        transactional_id: &str,
        operation: impl FnOnce(&mut TransactionShard, &mut Ctx<'_>) -> Outcome<R, TransactionRecord>
        + Send,
    ) -> Result<R, ErrorCode> {
        let partition = self.partition_of(transactional_id)?;
        self.inner.parts.runtime.run(partition, operation).await
    }

    /// Runs an operation, again with a producer id where it needs one.
    async fn attempt<R: Send>(
        &self,
        transactional_id: &str,
        operation: impl Fn(
            &mut TransactionShard,
            &mut Ctx<'_>,
            Option<ProducerId>,
        ) -> Outcome<Attempt<R>, TransactionRecord>
        + Send
        + Sync,
    ) -> Result<R, ErrorCode> {
        let mut fresh = None;
        loop {
            let attempt = self
                .run(transactional_id, |shard, context| operation(shard, context, fresh))
                .await?;
            match attempt {
                Attempt::Done(result) => return result,
                Attempt::NeedsProducerId => {
                    fresh = Some(self.inner.parts.producer_ids.next_producer_id().await?);
                }
            }
        }
    }

    /// Begins a producer.
    ///
    /// # Errors
    /// Kafka's code.
    pub async fn init_producer_id(
        &self,
        request: &InitProducerId,
    ) -> Result<ProducerIdAndEpoch, ErrorCode> {
        request.validate(&self.inner.parts.config)?;
        self.attempt(&request.transactional_id, |shard, context, fresh| {
            shard.init_producer_id(context, request, fresh)
        })
        .await
    }

    /// Adds partitions to a transaction. One that is being completed is waited for, up to
    /// `patience`: sooner than a client would ask again.
    ///
    /// # Errors
    /// Kafka's code.
    pub async fn add_partitions(
        &self,
        request: &AddPartitions,
        patience: Duration,
    ) -> Result<(), ErrorCode> {
        if request.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let attempts = async {
            loop {
                let (result, completion) = self.try_add_partitions(request).await?;
                let Some(completion) = completion else { return result };
                // Nobody sends: the channel closes when the transaction is complete.
                let _ = completion.await;
            }
        };
        timeout(patience, attempts).await.unwrap_or(Err(ErrorCode::ConcurrentTransactions))
    }

    async fn try_add_partitions(
        &self,
        request: &AddPartitions,
    ) -> Result<(Result<(), ErrorCode>, Option<tokio::sync::oneshot::Receiver<()>>), ErrorCode> {
        self.run(&request.transactional_id, |shard, context| {
            let Outcome { records, response } = shard.add_partitions(context, request);
            let completion = match response {
                Err(ErrorCode::ConcurrentTransactions) => {
                    shard.completion(&request.transactional_id)
                }
                _ => None,
            };
            Outcome::write(records, (response, completion))
        })
        .await
    }

    /// Says which partitions are in a transaction.
    ///
    /// # Errors
    /// Kafka's code, where the producer has no such transaction.
    pub async fn verify_partitions(
        &self,
        request: &AddPartitions,
    ) -> Result<BTreeMap<TopicPartition, Result<(), ErrorCode>>, ErrorCode> {
        if request.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.run(&request.transactional_id, |shard, _| {
            Outcome::read(shard.verify_partitions(request))
        })
        .await?
    }

    /// Commits or aborts.
    ///
    /// # Errors
    /// Kafka's code.
    pub async fn end_transaction(&self, request: &EndTransaction) -> Result<Ended, ErrorCode> {
        if request.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.attempt(&request.transactional_id, |shard, context, fresh| {
            shard.end_transaction(context, request, fresh)
        })
        .await
    }

    /// Describes a transactional id.
    ///
    /// # Errors
    /// Kafka's code.
    pub async fn describe(&self, transactional_id: &str) -> Result<Description, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.run(transactional_id, |shard, _| Outcome::read(shard.describe(transactional_id)))
            .await?
    }

    /// Lists the transactional ids of all shards.
    ///
    /// # Errors
    /// COORDINATOR_LOAD_IN_PROGRESS, and what else a shard cannot do.
    pub async fn list(&self, filter: &TransactionFilter) -> Result<Vec<Listing>, ErrorCode> {
        let mut listed = Vec::new();
        for partition in self.inner.parts.runtime.partitions() {
            let of_shard = self.inner.parts.runtime.run(partition, |shard, context| {
                Outcome::read(shard.list(filter, context.now_ms))
            });
            listed.extend(of_shard.await?);
        }
        Ok(listed)
    }

    fn abort_soon(&self, timed_out: TimedOut) {
        let coordinator = self.clone();
        self.inner.parts.spawner.spawn("transaction-abort", async move {
            let id = timed_out.transactional_id.as_str();
            let aborted = async {
                let fresh = coordinator.inner.parts.producer_ids.next_producer_id().await?;
                let abort = |shard: &mut TransactionShard, context: &mut Ctx<'_>| {
                    shard.abort_timed_out(context, &timed_out, fresh)
                };
                coordinator.run(id, abort).await
            };
            // The shard asks again.
            if let Err(error) = aborted.await {
                info!(
                    transactional_id = id,
                    error = error.name(),
                    "a transaction that timed out is not aborted yet"
                );
            }
        });
    }

    /// Has the id's transaction completed by the one task that may do so.
    fn complete_soon(&self, transactional_id: String) {
        let mut completing = self.completing();
        if let Some(again) = completing.get_mut(&transactional_id) {
            *again = true;
            return;
        }
        completing.insert(transactional_id.clone(), false);
        drop(completing);
        let coordinator = self.clone();
        self.inner.parts.spawner.spawn_critical("transaction-completion", async move {
            loop {
                if let Err(error) = coordinator.complete(&transactional_id).await {
                    // The shard's next load asks again.
                    debug!(transactional_id, error = error.name(), "completion is given up");
                }
                let mut completing = coordinator.completing();
                match completing.get_mut(&transactional_id) {
                    Some(again) if *again => *again = false,
                    _ => {
                        completing.remove(&transactional_id);
                        return;
                    }
                }
            }
        });
    }

    fn completing(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, bool>> {
        self.inner.completing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the markers that the id's transaction waits for, and reports.
    async fn complete(&self, transactional_id: &str) -> Result<(), ErrorCode> {
        let pending =
            |shard: &mut TransactionShard, _: &mut Ctx<'_>| {
                Outcome::read(shard.pending_markers(transactional_id))
            };
        let Some(markers) = self.run(transactional_id, pending).await? else { return Ok(()) };
        let mut left = markers.partitions.clone();
        let (initial, max) = MARKER_BACKOFF;
        let mut backoff = Backoff::new(initial, max, self.inner.parts.rng.clone());
        loop {
            left = self.write_markers(&markers, left).await?;
            if left.is_empty() {
                break;
            }
            let progress = Markers { partitions: left.clone(), ..markers.clone() };
            self.run(transactional_id, |shard, _| {
                shard.markers_progressed(&progress);
                Outcome::read(())
            })
            .await?;
            tokio::time::sleep(backoff.pause()).await;
        }
        self.run(transactional_id, |shard, context| shard.markers_written(context, &markers)).await
    }

    /// Writes these markers and returns those to try again.
    async fn write_markers(
        &self,
        markers: &Markers,
        partitions: BTreeSet<TopicPartition>,
    ) -> Result<BTreeSet<TopicPartition>, ErrorCode> {
        let coordinator_partition = self.partition_of(&markers.transactional_id)?;
        let writer = &self.inner.parts.markers;
        let writes = partitions.iter().map(|partition| {
            writer.write_marker(coordinator_partition, markers, partition)
        });
        let results = join_all(writes).await;
        let transactional_id = markers.transactional_id.as_str();
        let mut left = BTreeSet::new();
        for (partition, result) in partitions.into_iter().zip(results) {
            let TopicPartition { topic, partition: number } = &partition;
            match result {
                Ok(()) => {}
                Err(MarkerError::Gone) => {
                    info!(transactional_id, topic, partition = number, "no partition to mark");
                }
                Err(MarkerError::Fenced) => {
                    error!(
                        transactional_id,
                        topic,
                        partition = number,
                        producer_id = markers.producer_id.0,
                        producer_epoch = markers.producer_epoch,
                        "the partition has seen a newer epoch than that of the marker"
                    );
                }
                Err(MarkerError::Retriable(error)) => {
                    debug!(
                        transactional_id,
                        topic,
                        partition = number,
                        error = error.name(),
                        "a marker could not be written yet"
                    );
                    left.insert(partition);
                }
            }
        }
        Ok(left)
    }
}
