//! The coordinators in this broker: their log over the internal topics, those topics themselves, and
//! who is told when topics change.
//!
//! ```text
//!  handlers ─► GroupCoordinator ─► Runtime ─► TopicLog ─► storage::Partition of __consumer_offsets
//!     │              ▲     ▲
//!     │              │     └── topics changed ── watcher ── Catalog
//!     │              └──────── Markings ──────► storage::Partition of what a transaction touched
//!     └─► TransactionCoordinator ──┘ └─► Runtime ─► TopicLog ─► … of __transaction_state
//! ```
//!
//! An internal topic is created on first use; from then on, and at every start, each of its
//! partitions is loaded in the background.

mod internal_topics;
mod markings;
mod topic_image;
mod topic_log;
mod watcher;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use common::{NodeId, clock::SharedClock, rng::Rng, spawn::Spawner};
use coordinator::{
    group::{GroupCoordinator, consumer::GroupOverridesSource},
    runtime::RuntimeDeps,
    topics::TopicSource,
    transaction::{
        TopicPartition,
        service::{ProducerIdSource, TransactionCoordinator, TransactionParts},
    },
};
use protocol::{ErrorCode, records::Compression};
use storage::Log;
use tokio::sync::watch;

pub use self::internal_topics::InternalTopic;
use self::{markings::Markings, topic_image::Topics, topic_log::TopicLog};
use crate::{catalog::Catalog, config::broker::CoordinatorConfig, topic_name};

/// What the coordinators are made of.
#[derive(Debug)]
pub(crate) struct CoordinationDeps<'a> {
    pub(crate) node_id: NodeId,
    pub(crate) catalog: &'a Catalog,
    pub(crate) log: &'a Arc<Log>,
    pub(crate) config: &'a CoordinatorConfig,
    pub(crate) group_settings: Arc<dyn GroupOverridesSource>,
    pub(crate) clock: &'a SharedClock,
    pub(crate) rng: &'a Rng,
    pub(crate) spawner: &'a Spawner,
    pub(crate) producer_ids: Arc<dyn ProducerIdSource>,
}

/// The coordinators of a broker, and what they share.
#[derive(Debug)]
pub struct Coordination {
    /// Groups and their offsets.
    pub groups: GroupCoordinator,
    /// Transactional ids.
    pub transactions: TransactionCoordinator,
    /// Markers that end transactions.
    pub(crate) markings: Markings,
    node_id: NodeId,
    catalog: Catalog,
    config: CoordinatorConfig,
    clock: SharedClock,
    rng: Rng,
    stop: watch::Sender<bool>,
}

impl Coordination {
    /// Puts the coordinators together and begins to load what there is.
    pub(crate) fn start(deps: &CoordinationDeps<'_>) -> Self {
        let image = Topics::new(deps.catalog.image(), 0);
        let (images, receiver) = watch::channel(image.shared());
        let topics = TopicSource::new(receiver);
        let runtime_deps = |name: &'static str, topic: &'static str, compression| RuntimeDeps {
            name,
            log: Arc::new(TopicLog::new(topic, deps.catalog.clone(), Arc::clone(deps.log))),
            clock: Arc::clone(deps.clock),
            rng: deps.rng.clone(),
            spawner: deps.spawner.clone(),
            compression,
        };
        let groups = GroupCoordinator::new(
            runtime_deps("groups", topic_name::CONSUMER_OFFSETS, deps.config.offsets_compression),
            Arc::new(deps.config.groups.clone()),
            Arc::clone(&deps.group_settings),
            topics,
        );
        let markings = Markings::new(deps.catalog.clone(), Arc::clone(deps.log), groups.clone());
        let transactions = TransactionCoordinator::start(TransactionParts {
            runtime: runtime_deps("transactions", topic_name::TRANSACTION_STATE, Compression::None),
            config: Arc::new(deps.config.transactions.clone()),
            producer_ids: Arc::clone(&deps.producer_ids),
            markers: Arc::new(markings.clone()),
        });
        let coordination = Self {
            groups,
            transactions,
            markings,
            node_id: deps.node_id,
            catalog: deps.catalog.clone(),
            config: deps.config.clone(),
            clock: Arc::clone(deps.clock),
            rng: deps.rng.clone(),
            stop: watch::Sender::new(false),
        };
        coordination.host(&deps.catalog.image());
        coordination.watch(images, deps.spawner);
        coordination
    }

    /// Stops the coordinators: who waits is answered, and nothing more is taken on.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        self.transactions.shutdown();
        self.groups.shutdown();
    }

    /// The partition that a group's offsets are in.
    ///
    /// # Errors
    /// As [`GroupCoordinator::partition_of`].
    pub fn offsets_partition(&self, group_id: &str) -> Result<TopicPartition, ErrorCode> {
        let partition = self.groups.partition_of(group_id)?;
        Ok(TopicPartition::new(topic_name::CONSUMER_OFFSETS, partition))
    }
}
