//! The in-memory back end: ordered maps behind one lock. The simulator's store and the reference
//! that the others are compared with.
//!
//! A clone shares the rows, so that a broker "restarted" on one finds what was committed. Nothing
//! here is durable beyond the process, and nothing depends on time or chance.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;
use common::{NodeId, ObjectId, PartitionKey, TopicId};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    engine::{Backend, Transaction},
    error::Result,
    model::{Configs, Extent, ObjectRow, ObjectState, Partition},
    rows::{ClusterRow, Partitions, Position, Rows, TopicRow},
};

/// A metadata store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    async fn begin(&self) -> MemoryTransaction {
        let tables = Arc::clone(&self.tables).lock_owned().await;
        MemoryTransaction { tables, undo: Vec::new() }
    }
}

#[async_trait]
impl Backend for MemoryStore {
    type Transaction = MemoryTransaction;

    async fn begin_write(&self) -> Result<MemoryTransaction> {
        Ok(self.begin().await)
    }

    async fn begin_read(&self) -> Result<MemoryTransaction> {
        Ok(self.begin().await)
    }
}

#[derive(Debug, Default)]
struct Tables {
    cluster: BTreeMap<(), ClusterRow>,
    sessions: BTreeMap<NodeId, i64>,
    topics: BTreeMap<TopicId, TopicRow>,
    partitions: Partitions,
    objects: BTreeMap<ObjectId, ObjectRow>,
    broker_configs: BTreeMap<Option<NodeId>, Configs>,
    group_configs: BTreeMap<String, Configs>,
    pointers: BTreeMap<String, Vec<u8>>,
}

type Undo = Box<dyn FnOnce(&mut Tables) + Send>;
type Table<K, V> = fn(&mut Tables) -> &mut BTreeMap<K, V>;

/// A transaction: the lock, and how to take back each change.
pub(crate) struct MemoryTransaction {
    tables: OwnedMutexGuard<Tables>,
    undo: Vec<Undo>,
}

impl fmt::Debug for MemoryTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransaction").field("changes", &self.undo.len()).finish()
    }
}

impl Drop for MemoryTransaction {
    fn drop(&mut self) {
        while let Some(undo) = self.undo.pop() {
            undo(&mut self.tables);
        }
    }
}

#[async_trait]
impl Transaction for MemoryTransaction {
    async fn commit(mut self) -> Result<()> {
        self.undo.clear();
        Ok(())
    }

    async fn roll_back(self) {
        drop(self);
    }
}

impl MemoryTransaction {
    /// Sets or removes a row, so that dropping the transaction takes it back.
    fn set<K, V>(&mut self, table: Table<K, V>, key: K, value: Option<V>)
    where
        K: Ord + Clone + Send + 'static,
        V: Send + 'static,
    {
        let rows = table(&mut self.tables);
        let before = set(rows, key.clone(), value);
        self.undo.push(Box::new(move |tables| {
            set(table(tables), key, before);
        }));
    }

    fn objects_where(&self, holds: impl Fn(&Extent) -> bool) -> Vec<ObjectRow> {
        let rows = self.tables.objects.values();
        rows.filter(|row| row.extents.iter().any(&holds)).cloned().collect()
    }
}

fn set<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => rows.insert(key, value),
        None => rows.remove(&key),
    }
}

#[async_trait]
impl Rows for MemoryTransaction {
    async fn cluster(&mut self) -> Result<Option<ClusterRow>> {
        Ok(self.tables.cluster.get(&()).cloned())
    }

    async fn put_cluster(&mut self, row: &ClusterRow) -> Result<()> {
        self.set(|tables| &mut tables.cluster, (), Some(row.clone()));
        Ok(())
    }

    async fn sessions(&mut self) -> Result<BTreeMap<NodeId, i64>> {
        Ok(self.tables.sessions.clone())
    }

    async fn session_epoch(&mut self, node_id: NodeId) -> Result<Option<i64>> {
        Ok(self.tables.sessions.get(&node_id).copied())
    }

    async fn put_session(&mut self, node_id: NodeId, epoch: i64) -> Result<()> {
        self.set(|tables| &mut tables.sessions, node_id, Some(epoch));
        Ok(())
    }

    async fn topics(&mut self) -> Result<Vec<TopicRow>> {
        Ok(self.tables.topics.values().cloned().collect())
    }

    async fn topic(&mut self, id: TopicId) -> Result<Option<TopicRow>> {
        Ok(self.tables.topics.get(&id).cloned())
    }

    async fn topic_named(&mut self, name: &str) -> Result<Option<TopicRow>> {
        Ok(self.tables.topics.values().find(|row| row.name == name).cloned())
    }

    async fn put_topic(&mut self, row: &TopicRow) -> Result<()> {
        self.set(|tables| &mut tables.topics, row.id, Some(row.clone()));
        Ok(())
    }

    async fn delete_topic(&mut self, id: TopicId) -> Result<()> {
        for key in self.partitions_of(id).await?.into_keys() {
            self.set(|tables| &mut tables.partitions, key, None);
        }
        self.set(|tables| &mut tables.topics, id, None);
        Ok(())
    }

    async fn partitions(&mut self) -> Result<Partitions> {
        Ok(self.tables.partitions.clone())
    }

    async fn partitions_of(&mut self, topic_id: TopicId) -> Result<Partitions> {
        let key = |partition| PartitionKey { topic_id, partition };
        let rows = self.tables.partitions.range(key(i32::MIN)..=key(i32::MAX));
        Ok(rows.map(|(key, row)| (*key, row.clone())).collect())
    }

    async fn partitions_at(&mut self, keys: &[PartitionKey]) -> Result<Partitions> {
        let found = |key: &PartitionKey| Some((*key, self.tables.partitions.get(key)?.clone()));
        Ok(keys.iter().filter_map(found).collect())
    }

    async fn positions(
        &mut self,
        keys: &[PartitionKey],
    ) -> Result<BTreeMap<PartitionKey, Position>> {
        let position = |row: &Partition| Position {
            leader_epoch: row.leader_epoch,
            committed_end_offset: row.committed_end_offset,
        };
        let found = |key: &PartitionKey| Some((*key, position(self.tables.partitions.get(key)?)));
        Ok(keys.iter().filter_map(found).collect())
    }

    async fn put_partitions(&mut self, rows: &Partitions) -> Result<()> {
        for (key, row) in rows {
            self.set(|tables| &mut tables.partitions, *key, Some(row.clone()));
        }
        Ok(())
    }

    async fn set_committed_ends(&mut self, ends: &BTreeMap<PartitionKey, i64>) -> Result<()> {
        for (key, end) in ends {
            if let Some(mut row) = self.tables.partitions.get(key).cloned() {
                row.committed_end_offset = *end;
                self.set(|tables| &mut tables.partitions, *key, Some(row));
            }
        }
        Ok(())
    }

    async fn bump_leader_epochs(&mut self, owner: NodeId) -> Result<BTreeMap<PartitionKey, i32>> {
        let mut bumped = BTreeMap::new();
        for (key, mut row) in self.tables.partitions.clone() {
            if row.owner == owner {
                row.leader_epoch += 1;
                bumped.insert(key, row.leader_epoch);
                self.set(|tables| &mut tables.partitions, key, Some(row));
            }
        }
        Ok(bumped)
    }

    async fn objects_at(&mut self, ids: &[ObjectId]) -> Result<BTreeMap<ObjectId, ObjectRow>> {
        let found = |id: &ObjectId| Some((*id, self.tables.objects.get(id)?.clone()));
        Ok(ids.iter().filter_map(found).collect())
    }

    async fn object_id_of_key(&mut self, key: &str) -> Result<Option<ObjectId>> {
        Ok(self.tables.objects.values().find(|row| row.key == key).map(|row| row.id))
    }

    async fn objects_in_state(
        &mut self,
        state: ObjectState,
        limit: usize,
    ) -> Result<Vec<ObjectRow>> {
        let rows = self.tables.objects.values().filter(|row| row.state == state);
        let order: BTreeSet<_> = rows.map(|row| (row.created_ms, row.id)).collect();
        let first = order.into_iter().take(limit);
        Ok(first.filter_map(|(_, id)| self.tables.objects.get(&id).cloned()).collect())
    }

    async fn objects(&mut self) -> Result<Vec<ObjectRow>> {
        Ok(self.tables.objects.values().cloned().collect())
    }

    async fn objects_below(
        &mut self,
        offsets: &BTreeMap<PartitionKey, i64>,
    ) -> Result<Vec<ObjectRow>> {
        Ok(self.objects_where(|extent| {
            offsets.get(&extent.key).is_some_and(|&offset| extent.end_offset <= offset)
        }))
    }

    async fn objects_of_topic(&mut self, topic_id: TopicId) -> Result<Vec<ObjectRow>> {
        Ok(self.objects_where(|extent| extent.key.topic_id == topic_id))
    }

    async fn put_object(&mut self, row: &ObjectRow) -> Result<()> {
        self.set(|tables| &mut tables.objects, row.id, Some(row.clone()));
        Ok(())
    }

    async fn delete_objects(&mut self, ids: &[ObjectId]) -> Result<()> {
        for id in ids {
            self.set(|tables| &mut tables.objects, *id, None);
        }
        Ok(())
    }

    async fn broker_configs(&mut self) -> Result<BTreeMap<Option<NodeId>, Configs>> {
        Ok(self.tables.broker_configs.clone())
    }

    async fn put_broker_configs(
        &mut self,
        broker: Option<NodeId>,
        configs: &Configs,
    ) -> Result<()> {
        self.set(|tables| &mut tables.broker_configs, broker, Some(configs.clone()));
        Ok(())
    }

    async fn group_configs(&mut self) -> Result<BTreeMap<String, Configs>> {
        Ok(self.tables.group_configs.clone())
    }

    async fn put_group_configs(&mut self, group_id: &str, configs: &Configs) -> Result<()> {
        let group_id = group_id.to_owned();
        self.set(|tables| &mut tables.group_configs, group_id, Some(configs.clone()));
        Ok(())
    }

    async fn pointers(&mut self) -> Result<BTreeMap<String, Vec<u8>>> {
        Ok(self.tables.pointers.clone())
    }

    async fn pointer(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.tables.pointers.get(name).cloned())
    }

    async fn put_pointer(&mut self, name: &str, value: &[u8]) -> Result<()> {
        self.set(|tables| &mut tables.pointers, name.to_owned(), Some(value.to_vec()));
        Ok(())
    }

    async fn pointer_names(&mut self, prefix: &str) -> Result<Vec<String>> {
        let names = self.tables.pointers.keys();
        Ok(names.filter(|name| name.starts_with(prefix)).cloned().collect())
    }

    async fn delete_pointer(&mut self, name: &str) -> Result<()> {
        self.set(|tables| &mut tables.pointers, name.to_owned(), None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Subject, metadata_suite};

    #[async_trait]
    impl Subject for MemoryStore {
        type Store = Self;

        async fn create() -> Self {
            Self::new()
        }

        fn store(&self) -> &Self {
            self
        }

        async fn reopen(self) -> Self {
            let tables = Arc::clone(&self.tables);
            drop(self);
            Self { tables }
        }
    }

    metadata_suite!(suite, MemoryStore);
}
