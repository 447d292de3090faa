//! The topics of this broker: an immutable image of name ↔ id ↔ partitions, replaced as a whole at
//! each change and watched by whoever waits for one.
//!
//! Reads (every request) never touch the metadata store. Changes go store first, then log, then
//! image, one at a time: what the image shows is durable, and its order is the store's.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, PoisonError, RwLock},
};

use common::{LeaderEpoch, NodeId, PartitionKey, TopicId, spawn::Spawner};
use metadata::{Fence, MetadataStore, NewTopic, Topic};
use storage::{Log, Partition, TopicLogConfig};
use tokio::sync::{Mutex, oneshot, watch};

/// Turns the overrides stored with a topic, and the broker's defaults of this moment, into what the
/// log obeys.
pub trait TopicConfigs: Send + Sync + std::fmt::Debug {
    /// The effective configuration. Overrides were validated before they were stored; a value that
    /// no longer parses falls back to the default and is logged.
    fn log_config(&self, overrides: &BTreeMap<String, String>) -> TopicLogConfig;
}

/// One topic as of one image.
#[derive(Debug)]
pub struct TopicEntry {
    /// What the metadata store holds.
    pub topic: Topic,
    /// The effective configuration of its log.
    pub log_config: Arc<TopicLogConfig>,
    /// The open partitions; the index is the partition's.
    pub partitions: Vec<Arc<Partition>>,
}

/// A partition's leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The broker.
    pub node_id: NodeId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
}

impl TopicEntry {
    /// The partition with this index, if there is one.
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// What the metadata store holds of the partition with this index.
    #[must_use]
    pub fn row(&self, index: i32) -> Option<&metadata::Partition> {
        self.topic.partitions.get(usize::try_from(index).ok()?)
    }

    /// Who leads the partition with this index, and under which epoch: the log knows it, since
    /// the epoch moves at each start.
    #[must_use]
    pub fn leader(&self, index: i32) -> Option<Leader> {
        let (row, partition) = (self.row(index)?, self.partition(index)?);
        Some(Leader { node_id: row.owner, epoch: partition.leader_epoch() })
    }

    /// The key of the partition with this index.
    #[must_use]
    pub fn key(&self, index: i32) -> PartitionKey {
        PartitionKey { topic_id: self.topic.id, partition: index }
    }
}

/// All topics at one moment.
#[derive(Debug, Clone, Default)]
pub struct CatalogImage {
    by_name: BTreeMap<String, Arc<TopicEntry>>,
    by_id: BTreeMap<TopicId, Arc<TopicEntry>>,
}

impl CatalogImage {
    /// The topic with this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<TopicEntry>> {
        self.by_name.get(name)
    }

    /// The topic with this id.
    #[must_use]
    pub fn by_id(&self, id: TopicId) -> Option<&Arc<TopicEntry>> {
        self.by_id.get(&id)
    }

    /// Every topic in order of names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicEntry>> {
        self.by_name.values()
    }

    /// How many topics there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn insert(&mut self, entry: Arc<TopicEntry>) {
        self.by_name.insert(entry.topic.name.clone(), Arc::clone(&entry));
        self.by_id.insert(entry.topic.id, entry);
    }

    fn with(&self, entry: Arc<TopicEntry>) -> Self {
        let mut next = self.clone();
        next.insert(entry);
        next
    }

    fn without(&self, id: TopicId) -> Self {
        let mut next = self.clone();
        if let Some(entry) = next.by_id.remove(&id) {
            next.by_name.remove(&entry.topic.name);
        }
        next
    }
}

/// What goes wrong when topics change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The metadata store refused or failed.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
    /// The log could not take over the change that the store has made.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// No topic has this id.
    #[error("no topic has id {0}")]
    UnknownTopic(TopicId),
    /// The change was cut off; whether the store has made it is unknown.
    #[error("the change was interrupted")]
    Interrupted,
}

/// The topics, and the only place that changes them. Clones share them.
#[derive(Debug, Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fence: Fence,
    metadata: Arc<dyn MetadataStore>,
    log: Arc<Log>,
    configs: Arc<dyn TopicConfigs>,
    spawner: Spawner,
    image: RwLock<Arc<CatalogImage>>,
    version: watch::Sender<u64>,
    change: Mutex<()>,
}

impl Catalog {
    /// The catalog of `topics`, which the log has already opened.
    ///
    /// # Errors
    /// [`storage::Error`] where the log lacks a partition.
    pub fn new(
        fence: Fence,
        metadata: Arc<dyn MetadataStore>,
        log: Arc<Log>,
        configs: Arc<dyn TopicConfigs>,
        spawner: Spawner,
        topics: Vec<Topic>,
    ) -> Result<Self, Error> {
        let inner = Inner {
            fence,
            metadata,
            log,
            configs,
            spawner,
            image: RwLock::default(),
            version: watch::Sender::new(0),
            change: Mutex::new(()),
        };
        let mut image = CatalogImage::default();
        for topic in topics {
            let log_config = Arc::new(inner.configs.log_config(&topic.configs));
            image.insert(Arc::new(inner.entry(topic, log_config)?));
        }
        inner.publish(image);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The image of this moment. One request uses one image throughout.
    #[must_use]
    pub fn image(&self) -> Arc<CatalogImage> {
        self.inner.image()
    }

    /// Changes whenever the image does.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.version.subscribe()
    }

    /// Creates a topic that the caller has validated.
    ///
    /// # Errors
    /// [`metadata::Error::TopicExists`] where its name is taken; otherwise as the store and the log
    /// fail.
    pub async fn create_topic(&self, new: NewTopic) -> Result<Arc<TopicEntry>, Error> {
        self.change(|inner| async move {
            let topic = inner.metadata.create_topic(&inner.fence, new).await?;
            inner.take_over(topic).await
        })
        .await
    }

    /// Deletes a topic and its records.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], or as the store fails.
    pub async fn delete_topic(&self, id: TopicId) -> Result<(), Error> {
        self.change(move |inner| async move {
            let entry = Arc::clone(inner.image().by_id(id).ok_or(Error::UnknownTopic(id))?);
            let note = table::deletion::note(id, &entry.topic.configs);
            inner.metadata.delete_topic(&inner.fence, id, note).await?;
            inner.publish(inner.image().without(id));
            inner.log.remove_topic(id);
            Ok(())
        })
        .await
    }

    /// Adds partitions with these replicas to a topic that has `expected_count` now.
    ///
    /// # Errors
    /// As the store and the log fail.
    pub async fn create_partitions(
        &self,
        id: TopicId,
        expected_count: i32,
        replicas: Vec<Vec<i32>>,
    ) -> Result<Arc<TopicEntry>, Error> {
        self.change(move |inner| async move {
            let Inner { metadata, fence, .. } = inner.as_ref();
            let topic = metadata.create_partitions(fence, id, expected_count, replicas).await?;
            inner.take_over(topic).await
        })
        .await
    }

    /// Replaces a topic's overrides, which the caller has validated, if they still are those of
    /// `expected_version`.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], or as the store fails.
    pub async fn set_topic_configs(
        &self,
        id: TopicId,
        expected_version: i64,
        overrides: BTreeMap<String, String>,
    ) -> Result<Arc<TopicEntry>, Error> {
        self.change(move |inner| async move {
            let entry = Arc::clone(inner.image().by_id(id).ok_or(Error::UnknownTopic(id))?);
            let Inner { metadata, fence, .. } = inner.as_ref();
            let version =
                metadata.set_topic_configs(fence, id, expected_version, overrides.clone()).await?;
            let mut topic = entry.topic.clone();
            topic.configs = overrides;
            topic.config_version = version;
            inner.reconfigure(topic).await
        })
        .await
    }

    /// Computes every topic's configuration anew, after a default of the broker has changed.
    ///
    /// # Errors
    /// The first topic's at which the log failed; the others have theirs.
    pub async fn refresh_configs(&self) -> Result<(), Error> {
        self.change(|inner| async move {
            let mut result = Ok(());
            for entry in inner.image().topics() {
                let configured = inner.reconfigure(entry.topic.clone()).await;
                result = result.and(configured.map(drop));
            }
            result
        })
        .await
    }

    /// Runs one change at a time, in a task of its own: a client that disconnects must not leave
    /// the log and the image behind the store.
    async fn change<T, F>(
        &self,
        work: impl FnOnce(Arc<Inner>) -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let (done, result) = oneshot::channel();
        self.inner.spawner.spawn("catalog-change", async move {
            let _one_at_a_time = inner.change.lock().await;
            // The receiver is gone when the client is; the change stands all the same.
            let _ = done.send(work(Arc::clone(&inner)).await);
        });
        result.await.unwrap_or(Err(Error::Interrupted))
    }
}

impl Inner {
    fn image(&self) -> Arc<CatalogImage> {
        Arc::clone(&self.image.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, image: CatalogImage) {
        *self.image.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(image);
        self.version.send_modify(|version| *version += 1);
    }

    /// Hands a new or grown topic to the log, then shows it: what the store has made exists, also
    /// where the log could not record what follows from it.
    async fn take_over(&self, topic: Topic) -> Result<Arc<TopicEntry>, Error> {
        let log_config = Arc::new(self.configs.log_config(&topic.configs));
        let added = self.log.add_topic(&topic, Arc::clone(&log_config)).await;
        let entry = self.show(topic, log_config)?;
        added?;
        Ok(entry)
    }

    async fn reconfigure(&self, topic: Topic) -> Result<Arc<TopicEntry>, Error> {
        let log_config = Arc::new(self.configs.log_config(&topic.configs));
        let configured = self.log.configure(topic.id, &log_config).await;
        let entry = self.show(topic, log_config)?;
        configured?;
        Ok(entry)
    }

    fn show(
        &self,
        topic: Topic,
        log_config: Arc<TopicLogConfig>,
    ) -> Result<Arc<TopicEntry>, Error> {
        let entry = Arc::new(self.entry(topic, log_config)?);
        self.publish(self.image().with(Arc::clone(&entry)));
        Ok(entry)
    }

    fn entry(&self, topic: Topic, log_config: Arc<TopicLogConfig>) -> Result<TopicEntry, Error> {
        let open = |index: i32| {
            let key = PartitionKey { topic_id: topic.id, partition: index };
            self.log.partition(&key).ok_or_else(|| {
                storage::Error::Inconsistent(format!("{}-{index} is not open", topic.name))
            })
        };
        let partitions =
            topic.partitions.iter().map(|row| open(row.partition)).collect::<Result<_, _>>()?;
        Ok(TopicEntry { topic, log_config, partitions })
    }
}

#[cfg(test)]
mod tests;
