//! The topics that coordinators write to, created on first use.

use std::{collections::BTreeMap, sync::Arc};

use common::TopicId;
use metadata::NewTopic;
use protocol::ErrorCode;
use tracing::{info, warn};

use super::Coordination;
use crate::{
    catalog::{self, TopicEntry},
    config::broker::InternalTopicConfig,
    handlers::error,
    topic_name,
};

/// A topic of the broker's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InternalTopic {
    /// `__consumer_offsets`.
    ConsumerOffsets,
    /// `__transaction_state`.
    TransactionState,
}

impl InternalTopic {
    /// The topic with this name, if it is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            topic_name::CONSUMER_OFFSETS => Some(Self::ConsumerOffsets),
            topic_name::TRANSACTION_STATE => Some(Self::TransactionState),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConsumerOffsets => topic_name::CONSUMER_OFFSETS,
            Self::TransactionState => topic_name::TRANSACTION_STATE,
        }
    }

    /// The settings that Kafka gives the topic. The durability class is the broker's default, until
    /// the watcher sees that a stronger one is in use.
    fn configs(self, config: &InternalTopicConfig) -> BTreeMap<String, String> {
        let mut configs = BTreeMap::from([
            ("cleanup.policy".to_owned(), "compact".to_owned()),
            ("segment.bytes".to_owned(), config.segment_bytes.to_string()),
        ]);
        match self {
            Self::ConsumerOffsets => {
                configs.insert("compression.type".to_owned(), "producer".to_owned());
            }
            Self::TransactionState => {
                configs.insert("compression.type".to_owned(), "uncompressed".to_owned());
                configs.insert("unclean.leader.election.enable".to_owned(), "false".to_owned());
                let replicas = config.min_insync_replicas.to_string();
                configs.insert("min.insync.replicas".to_owned(), replicas);
            }
        }
        configs
    }
}

impl Coordination {
    /// The topic, created if there is none yet, and hosted.
    ///
    /// # Errors
    /// As the metadata store fails.
    pub async fn ensure(&self, topic: InternalTopic) -> Result<Arc<TopicEntry>, ErrorCode> {
        let name = topic.name();
        if let Some(entry) = self.catalog.image().by_name(name) {
            return Ok(Arc::clone(entry));
        }
        let config = match topic {
            InternalTopic::ConsumerOffsets => &self.config.offsets_topic,
            InternalTopic::TransactionState => &self.config.transaction_topic,
        };
        let count = usize::try_from(config.partitions).unwrap_or(1);
        let new = NewTopic {
            id: TopicId(self.rng.uuid()),
            name: name.to_owned(),
            internal: true,
            configs: topic.configs(config),
            replication_factor: config.replication_factor,
            created_ms: self.clock.now_ms(),
            partitions: vec![vec![self.node_id.0]; count],
        };
        match self.catalog.create_topic(new).await {
            Ok(entry) => {
                info!(topic = name, partitions = count, "internal topic created");
                self.host(&self.catalog.image());
                Ok(entry)
            }
            // Another request came first.
            Err(catalog::Error::Metadata(metadata::Error::TopicExists { .. })) => {
                let image = self.catalog.image();
                image.by_name(name).cloned().ok_or(ErrorCode::CoordinatorNotAvailable)
            }
            Err(refused) => {
                warn!(topic = name, %refused, "internal topic could not be created");
                Err(error::catalog(&refused))
            }
        }
    }
}
