//! What handlers call: finds the shard of a transactional id, gives it producer ids, waits for
//! completions, and completes what shards have decided.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{ProducerId, clock::SharedClock, retry::Backoff, rng::Rng, spawn::Spawner};
use futures::future::{BoxFuture, join_all};
use protocol::ErrorCode;
use tokio::{sync::oneshot, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::{
    AddPartitions, Attempt, Description, EndTransaction, Ended, InitProducerId, Listing,
    ProducerIdAndEpoch, TopicPartition, TransactionConfig, TransactionFilter, TransactionRecord,
    TransactionShard, TransactionTimer,
    markers::{Markers, TimedOut, Work, WorkQueue},
};
use crate::{
    runtime::{Runtime, RuntimeDeps},
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
    /// What the shards run on.
    pub runtime: RuntimeDeps,
    /// The settings.
    pub config: Arc<TransactionConfig>,
    /// Producer ids.
    pub producer_ids: Arc<dyn ProducerIdSource>,
    /// Markers.
    pub markers: Arc<dyn MarkerWriter>,
}

/// The transaction coordinator of a broker. Clones share it.
#[derive(Debug, Clone)]
pub struct TransactionCoordinator {
    runtime: Runtime<TransactionShard>,
    config: Arc<TransactionConfig>,
    producer_ids: Arc<dyn ProducerIdSource>,
    markers: Arc<dyn MarkerWriter>,
    clock: SharedClock,
    rng: Rng,
    spawner: Spawner,
    /// The ids whose transaction is being completed by a task, and whether to look again then.
    completing: Arc<Mutex<BTreeMap<String, bool>>>,
    stopped: CancellationToken,
}

type Ctx<'a> = Context<'a, TransactionTimer>;

impl TransactionCoordinator {
    /// A coordinator that hosts nothing yet.
    #[must_use]
    pub fn start(parts: TransactionParts) -> Self {
        let TransactionParts { runtime, config, producer_ids, markers } = parts;
        let RuntimeDeps { clock, rng, spawner, .. } = runtime.clone();
        let (queue, mut work) = WorkQueue::new();
        let shard_config = Arc::clone(&config);
        let runtime = Runtime::new(runtime, move |_| {
            TransactionShard::new(Arc::clone(&shard_config), queue.clone())
        });
        let coordinator = Self {
            runtime,
            config,
            producer_ids,
            markers,
            clock,
            rng,
            spawner,
            completing: Arc::default(),
            stopped: CancellationToken::new(),
        };
        let worker = coordinator.clone();
        coordinator.spawner.spawn_critical("transaction-work", async move {
            loop {
                let work = tokio::select! {
                    () = worker.stopped.cancelled() => return,
                    work = work.recv() => work,
                };
                match work {
                    Some(Work::Complete(transactional_id)) => {
                        worker.complete_soon(transactional_id);
                    }
                    Some(Work::Abort(timed_out)) => worker.abort_soon(timed_out),
                    None => return,
                }
            }
        });
        coordinator
    }

    /// The runtime, for its gauges.
    #[must_use]
    pub fn runtime(&self) -> &Runtime<TransactionShard> {
        &self.runtime
    }

    /// Hosts all partitions of `__transaction_state`, which has `count`: those that are new are
    /// loaded in the background.
    pub fn host(&self, count: i32) {
        self.runtime.host(count);
    }

    /// Hosts nothing any more: the topic is gone.
    pub fn release(&self) {
        self.runtime.release();
    }

    /// Stops for good. Who waits is answered; what is not completed is by the next start.
    pub fn shutdown(&self) {
        self.stopped.cancel();
        self.runtime.shutdown();
    }

    /// The partition of `__transaction_state` that an id belongs to.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` while there is no `__transaction_state`.
    pub fn partition_of(&self, transactional_id: &str) -> Result<i32, ErrorCode> {
        self.runtime.partition_of(transactional_id)
    }

    async fn run<R: Send + 'static>(
        &self,
        transactional_id: &str,
        operation: impl FnOnce(&mut TransactionShard, &mut Ctx<'_>) -> Outcome<R, TransactionRecord>
        + Send,
    ) -> Result<R, ErrorCode> {
        let partition = self.partition_of(transactional_id)?;
        self.runtime.write(partition, operation).await
    }

    /// Runs an operation, again with a producer id where it needs one.
    async fn attempt<R: Send + 'static>(
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
                    fresh = Some(self.producer_ids.next_producer_id().await?);
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
        request.validate(&self.config)?;
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
        // The wait for a completion is bounded, the operation is not: when a slow disk makes it late,
        // nothing is concurrent.
        let mut patience = pin!(sleep(patience));
        loop {
            let (result, completion) = self.try_add_partitions(request).await?;
            let Some(completion) = completion else { return result };
            tokio::select! {
                // Nobody sends: the channel closes when the transaction is complete.
                _ = completion => {}
                () = &mut patience => return Err(ErrorCode::ConcurrentTransactions),
            }
        }
    }

    async fn try_add_partitions(
        &self,
        request: &AddPartitions,
    ) -> Result<(Result<(), ErrorCode>, Option<oneshot::Receiver<()>>), ErrorCode> {
        self.run(&request.transactional_id, |shard, context| {
            let Outcome { records, response, .. } = shard.add_partitions(context, request);
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
        let partition = self.partition_of(&request.transactional_id)?;
        self.runtime.read(partition, |shard| shard.verify_partitions(request)).await?
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
        let partition = self.partition_of(transactional_id)?;
        self.runtime.read(partition, |shard| shard.describe(transactional_id)).await?
    }

    /// Lists the transactional ids of all shards.
    ///
    /// # Errors
    /// COORDINATOR_LOAD_IN_PROGRESS, and what else a shard cannot do.
    pub async fn list(&self, filter: &TransactionFilter) -> Result<Vec<Listing>, ErrorCode> {
        let now_ms = self.clock.now_ms();
        let mut listed = Vec::new();
        for partition in self.runtime.partitions() {
            listed.extend(self.runtime.read(partition, |shard| shard.list(filter, now_ms)).await?);
        }
        Ok(listed)
    }

    fn abort_soon(&self, timed_out: TimedOut) {
        let coordinator = self.clone();
        self.spawner.spawn("transaction-abort", async move {
            let id = timed_out.transactional_id.as_str();
            let aborted = async {
                let fresh = coordinator.producer_ids.next_producer_id().await?;
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
        let mut completing = self.in_completion();
        if let Some(again) = completing.get_mut(&transactional_id) {
            *again = true;
            return;
        }
        completing.insert(transactional_id.clone(), false);
        drop(completing);
        let coordinator = self.clone();
        self.spawner.spawn_critical("transaction-completion", async move {
            loop {
                if let Err(error) = coordinator.complete(&transactional_id).await {
                    // The shard's next load asks again.
                    debug!(transactional_id, error = error.name(), "completion is given up");
                }
                let mut completing = coordinator.in_completion();
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

    fn in_completion(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.completing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the markers that the id's transaction waits for, and reports.
    async fn complete(&self, transactional_id: &str) -> Result<(), ErrorCode> {
        let partition = self.partition_of(transactional_id)?;
        let pending = self.runtime.read(partition, |shard| shard.pending_markers(transactional_id));
        let Some(markers) = pending.await? else { return Ok(()) };
        let mut left = markers.partitions.clone();
        let (initial, max) = MARKER_BACKOFF;
        let mut backoff = Backoff::new(initial, max, self.rng.clone());
        loop {
            left = self.write_markers(partition, &markers, left).await;
            if left.is_empty() {
                break;
            }
            let progress = Markers { partitions: left.clone(), ..markers.clone() };
            self.run(transactional_id, |shard, _| {
                shard.markers_progressed(&progress);
                Outcome::read(())
            })
            .await?;
            sleep(backoff.pause()).await;
        }
        self.run(transactional_id, |shard, context| shard.markers_written(context, &markers)).await
    }

    /// Writes these markers and returns those to try again.
    async fn write_markers(
        &self,
        coordinator_partition: i32,
        markers: &Markers,
        partitions: BTreeSet<TopicPartition>,
    ) -> BTreeSet<TopicPartition> {
        let writes = partitions
            .iter()
            .map(|partition| self.markers.write_marker(coordinator_partition, markers, partition));
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
        left
    }
}
