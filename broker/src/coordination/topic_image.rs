//! The catalog as coordinators see it.

use std::sync::Arc;

use common::TopicId;
use coordinator::topics::{TopicDescription, TopicImage};

use crate::catalog::{CatalogImage, TopicEntry};

/// One image of the catalog.
#[derive(Debug)]
pub(super) struct Topics {
    image: Arc<CatalogImage>,
    version: u64,
}

impl Topics {
    pub(super) fn new(image: Arc<CatalogImage>, version: u64) -> Self {
        Self { image, version }
    }

    pub(super) fn shared(self) -> Arc<dyn TopicImage> {
        Arc::new(self)
    }
}

fn described(entry: &TopicEntry) -> TopicDescription {
    TopicDescription {
        id: entry.topic.id,
        name: entry.topic.name.clone(),
        partitions: i32::try_from(entry.partitions.len()).unwrap_or(i32::MAX),
    }
}

impl TopicImage for Topics {
    fn by_name(&self, name: &str) -> Option<TopicDescription> {
        self.image.by_name(name).map(|entry| described(entry))
    }

    fn by_id(&self, id: TopicId) -> Option<TopicDescription> {
        self.image.by_id(id).map(|entry| described(entry))
    }

    fn names(&self) -> Vec<String> {
        self.image.topics().map(|entry| entry.topic.name.clone()).collect()
    }

    fn version(&self) -> u64 {
        self.version
    }

    /// The owner is the only replica, and clients in every rack read from it.
    fn racks(&self, _id: TopicId, _partition: i32) -> Vec<String> {
        Vec::new()
    }
}
