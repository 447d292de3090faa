//! The rules of the coordinator, one by one, and all of them together against a model.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ends;
mod expiration;
mod initializing;
mod model;
mod partitions;
mod records;
mod service;
mod tools;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::ProducerId;
use protocol::ErrorCode;
use tokio::sync::mpsc;

use super::{
    AddPartitions, Attempt, EndTransaction, Ended, InitProducerId, ProducerIdAndEpoch,
    TopicPartition, TransactionConfig, TransactionMetadata, TransactionShard, TransactionState,
    TransactionVersion,
    markers::{Markers, Work, WorkQueue},
};
use crate::{shard::Outcome, testing::Driver};

/// The transactional id of most tests.
const ID: &str = "app-1";
/// The timeout of most tests.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A shard, its log and clock, what it asks for, and producer ids.
struct Fixture {
    driver: Driver<TransactionShard>,
    work: mpsc::UnboundedReceiver<Work>,
    config: Arc<TransactionConfig>,
    next_producer_id: i64,
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("orders", number)
}

fn producer(producer_id: i64, producer_epoch: i16) -> ProducerIdAndEpoch {
    ProducerIdAndEpoch { producer_id: ProducerId(producer_id), producer_epoch }
}

fn init_request(id: &str, expected: Option<ProducerIdAndEpoch>) -> InitProducerId {
    InitProducerId {
        transactional_id: id.to_owned(),
        timeout_ms: i32::try_from(TIMEOUT.as_millis()).unwrap(),
        two_phase_commit: false,
        keep_prepared: false,
        expected,
    }
}

impl Fixture {
    fn new() -> Self {
        Self::with(TransactionConfig::default())
    }

    fn with(config: TransactionConfig) -> Self {
        let config = Arc::new(config);
        let (queue, work) = WorkQueue::new();
        let driver = Driver::new(TransactionShard::new(Arc::clone(&config), queue));
        Self { driver, work, config, next_producer_id: 1000 }
    }

    /// A new owner: soft state, timers and the queue of work are gone.
    fn reload(&mut self) {
        let (queue, work) = WorkQueue::new();
        let fresh = TransactionShard::new(Arc::clone(&self.config), queue);
        self.driver = self.driver.reloaded(fresh);
        self.work = work;
    }

    fn fresh(&mut self) -> ProducerId {
        self.next_producer_id += 1;
        ProducerId(self.next_producer_id)
    }

    /// Runs an operation, again with a producer id where it needs one.
    fn attempt<T>(
        &mut self,
        mut operation: impl FnMut(&mut Driver<TransactionShard>, Option<ProducerId>) -> Attempt<T>,
    ) -> Result<T, ErrorCode> {
        let attempt = match operation(&mut self.driver, None) {
            Attempt::NeedsProducerId => {
                let fresh = self.fresh();
                operation(&mut self.driver, Some(fresh))
            }
            done @ Attempt::Done(_) => done,
        };
        match attempt {
            Attempt::Done(result) => result,
            Attempt::NeedsProducerId => panic!("a producer id was given and asked for again"),
        }
    }

    fn init_with(&mut self, request: &InitProducerId) -> Result<ProducerIdAndEpoch, ErrorCode> {
        self.attempt(|driver, fresh| {
            driver.run(|shard, context| shard.init_producer_id(context, request, fresh)).0
        })
    }

    fn init(
        &mut self,
        expected: Option<ProducerIdAndEpoch>,
    ) -> Result<ProducerIdAndEpoch, ErrorCode> {
        self.init_with(&init_request(ID, expected))
    }

    fn add_request(
        producer: ProducerIdAndEpoch,
        partitions: &[i32],
        client_version: TransactionVersion,
    ) -> AddPartitions {
        AddPartitions {
            transactional_id: ID.to_owned(),
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            partitions: partitions.iter().copied().map(partition).collect(),
            client_version,
        }
    }

    fn add_with(&mut self, request: &AddPartitions) -> Result<(), ErrorCode> {
        self.driver.run(|shard, context| shard.add_partitions(context, request)).0
    }

    fn add(&mut self, producer: ProducerIdAndEpoch, partitions: &[i32]) -> Result<(), ErrorCode> {
        self.add_with(&Self::add_request(producer, partitions, TransactionVersion::V2))
    }

    fn end_as(
        &mut self,
        producer: ProducerIdAndEpoch,
        committed: bool,
        client_version: TransactionVersion,
    ) -> Result<Ended, ErrorCode> {
        let transactional_id = ID.to_owned();
        let request = EndTransaction { transactional_id, producer, committed, client_version };
        self.attempt(|driver, fresh| {
            driver.run(|shard, context| shard.end_transaction(context, &request, fresh)).0
        })
    }

    /// Ends as a client of KIP-890 does, which gets an identity back.
    fn end(
        &mut self,
        producer: ProducerIdAndEpoch,
        committed: bool,
    ) -> Result<ProducerIdAndEpoch, ErrorCode> {
        self.end_as(producer, committed, TransactionVersion::V2).map(Option::unwrap)
    }

    fn end_v1(&mut self, producer: ProducerIdAndEpoch, committed: bool) -> Result<(), ErrorCode> {
        self.end_as(producer, committed, TransactionVersion::V0)
            .map(|ended| assert_eq!(ended, None))
    }

    /// The markers that are asked for and were not taken yet.
    fn markers(&mut self) -> Vec<Markers> {
        let work: Vec<_> = std::iter::from_fn(|| self.work.try_recv().ok()).collect();
        let pending = work.into_iter().filter_map(|work| match work {
            Work::Complete(id) => self.driver.shard.pending_markers(&id),
            Work::Abort(timed_out) => panic!("unexpected {timed_out:?}"),
        });
        pending.collect()
    }

    fn written(&mut self, markers: &Markers) {
        self.driver.run(|shard, context| shard.markers_written(context, markers));
    }

    /// Writes all markers that are asked for.
    fn complete(&mut self) -> Vec<Markers> {
        let markers = self.markers();
        for each in &markers {
            self.written(each);
        }
        markers
    }

    fn known(&self) -> TransactionMetadata {
        self.driver.shard.metadata(ID).unwrap().clone()
    }

    fn state(&self) -> TransactionState {
        self.known().state
    }

    fn identity(&self) -> ProducerIdAndEpoch {
        let known = self.known();
        producer(known.producer_id.0, known.producer_epoch)
    }

    /// Puts the id in a state that takes long to reach: as if it were in the log.
    fn force(&mut self, change: impl FnOnce(&mut TransactionMetadata)) {
        let mut metadata = self.known();
        change(&mut metadata);
        let record =
            super::TransactionRecord { transactional_id: ID.to_owned(), metadata: Some(metadata) };
        self.driver.run(|_, _| Outcome::write(vec![record], ()));
    }
}

fn set(partitions: &[i32]) -> BTreeSet<TopicPartition> {
    partitions.iter().copied().map(partition).collect()
}
