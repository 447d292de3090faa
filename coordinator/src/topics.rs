//! The topics as coordinators see them: an immutable image behind a trait, so that the crate knows
//! no catalog.

use std::{fmt::Debug, sync::Arc};

use common::TopicId;
use tokio::sync::watch;

/// A topic of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its identity.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
}

/// All topics at one moment.
pub trait TopicImage: Send + Sync + Debug {
    /// The topic with this name.
    fn by_name(&self, name: &str) -> Option<TopicDescription>;

    /// The topic with this id.
    fn by_id(&self, id: TopicId) -> Option<TopicDescription>;

    /// Every topic's name, ascending.
    fn names(&self) -> Vec<String>;

    /// Grows with every change, so that nobody compares whole images.
    fn version(&self) -> u64;

    /// The racks of a partition's replicas, for rack-aware assignors; empty where unknown.
    fn racks(&self, id: TopicId, partition: i32) -> Vec<String>;
}

/// Where the current image comes from.
#[derive(Debug, Clone)]
pub struct TopicSource(watch::Receiver<Arc<dyn TopicImage>>);

impl TopicSource {
    /// The images of a catalog, as it changes.
    #[must_use]
    pub fn new(images: watch::Receiver<Arc<dyn TopicImage>>) -> Self {
        Self(images)
    }

    /// One image that never changes.
    #[must_use]
    pub fn fixed(image: Arc<dyn TopicImage>) -> Self {
        Self(watch::channel(image).1)
    }

    /// The image as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<dyn TopicImage> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits until there is another image; `false` when there will be none.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
