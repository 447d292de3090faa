//! Connections and transactions, proof against cancellation.
//!
//! A future may be dropped at any await. The slot remembers that a transaction was begun, so that
//! the next one rolls the abandoned one back first; the connection's worker runs its commands in
//! order, so nothing overtakes the roll-back. A connection whose state is in doubt is replaced;
//! after a commit whose outcome is unknown nothing is written any more.

use std::collections::BTreeMap;

use async_trait::async_trait;
use common::{NodeId, ObjectId, PartitionKey, TopicId, spawn::Fatal};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::OwnedMutexGuard;

use super::{broker_configs, cluster, error, group_configs, objects, partitions, pointers, topics};
use crate::{
    engine::Transaction,
    error::{Error, Result},
    model::{Configs, ObjectRow, ObjectState},
    rows::{ClusterRow, Partitions, Position, Rows, TopicRow},
};

/// A connection and whether it may be inside of a transaction.
#[derive(Debug)]
pub(super) struct Slot {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    begun: bool,
    failed: Option<String>,
    /// Hears of a commit whose outcome is unknown.
    pub(super) fatal: Option<Fatal>,
}

impl Slot {
    pub(super) fn new(options: SqliteConnectOptions, connection: Option<SqliteConnection>) -> Self {
        Self { options, connection, begun: false, failed: None, fatal: None }
    }

    pub(super) fn take(&mut self) -> Option<SqliteConnection> {
        self.begun = false;
        self.connection.take()
    }

    /// The connection, if there is one.
    pub(super) fn connection(&mut self) -> Result<&mut SqliteConnection> {
        self.connection.as_mut().ok_or_else(closed)
    }

    async fn begin(&mut self, statement: &'static str) -> Result<()> {
        if let Some(failure) = &self.failed {
            return Err(Error::Io(format!("an earlier commit failed, open it again: {failure}")));
        }
        if self.begun {
            self.roll_back().await;
        }
        if self.connection.is_none() {
            let connected = self.options.connect().await.map_err(error::before_commit)?;
            self.connection = Some(connected);
        }
        self.begun = true;
        let begun = sqlx::query(statement).execute(self.connection()?).await;
        if let Err(error) = begun {
            let error = error::before_commit(error);
            self.begun = false;
            if !error.is_retriable() {
                self.connection = None;
            }
            return Err(error);
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        let connection = self.connection()?;
        match sqlx::query("COMMIT").execute(connection).await {
            Ok(_) => {
                self.begun = false;
                Ok(())
            }
            Err(error) => {
                let error = error::at_commit(error);
                if error.is_outcome_unknown() {
                    // What a sync that failed has dropped, a later one would not bring back.
                    self.failed = Some(error.to_string());
                    if let Some(fatal) = &self.fatal {
                        fatal.stop(&format!("metadata commit: {error}"));
                    }
                    self.take();
                } else {
                    self.roll_back().await;
                }
                Err(error)
            }
        }
    }

    /// Leaves the transaction. SQLite leaves it by itself after some failures, so that there may
    /// be none; whatever else goes wrong, closing the connection rolls it back.
    async fn roll_back(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        match sqlx::query("ROLLBACK").execute(connection).await {
            Ok(_) => self.begun = false,
            Err(_) => drop(self.take()),
        }
    }
}

fn closed() -> Error {
    Error::Io("the connection is closed".to_owned())
}

/// A transaction: a connection held until it ends.
#[derive(Debug)]
pub(crate) struct SqliteTransaction {
    slot: OwnedMutexGuard<Slot>,
}

impl SqliteTransaction {
    pub(super) async fn begin_write(mut slot: OwnedMutexGuard<Slot>) -> Result<Self> {
        slot.begin("BEGIN IMMEDIATE").await?;
        Ok(Self { slot })
    }

    pub(super) async fn begin_read(mut slot: OwnedMutexGuard<Slot>) -> Result<Self> {
        slot.begin("BEGIN").await?;
        Ok(Self { slot })
    }

    fn connection(&mut self) -> Result<&mut SqliteConnection> {
        self.slot.connection()
    }

    /// Ends the transaction without the slot's knowledge.
    #[cfg(test)]
    pub(super) async fn commit_underneath(mut self) -> Self {
        let connection = self.connection().expect("a transaction has a connection");
        sqlx::query("COMMIT").execute(connection).await.expect("the transaction is open");
        self
    }
}

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn commit(mut self) -> Result<()> {
        self.slot.commit().await
    }

    async fn roll_back(mut self) {
        self.slot.roll_back().await;
    }
}

#[async_trait]
impl Rows for SqliteTransaction {
    async fn cluster(&mut self) -> Result<Option<ClusterRow>> {
        cluster::read(self.connection()?).await
    }

    async fn put_cluster(&mut self, row: &ClusterRow) -> Result<()> {
        cluster::put(self.connection()?, row).await
    }

    async fn sessions(&mut self) -> Result<BTreeMap<NodeId, i64>> {
        cluster::sessions(self.connection()?).await
    }

    async fn session_epoch(&mut self, node_id: NodeId) -> Result<Option<i64>> {
        cluster::session_epoch(self.connection()?, node_id).await
    }

    async fn put_session(&mut self, node_id: NodeId, epoch: i64) -> Result<()> {
        cluster::put_session(self.connection()?, node_id, epoch).await
    }

    async fn topics(&mut self) -> Result<Vec<TopicRow>> {
        topics::all(self.connection()?).await
    }

    async fn topic(&mut self, id: TopicId) -> Result<Option<TopicRow>> {
        topics::by_id(self.connection()?, id).await
    }

    async fn topic_named(&mut self, name: &str) -> Result<Option<TopicRow>> {
        topics::by_name(self.connection()?, name).await
    }

    async fn put_topic(&mut self, row: &TopicRow) -> Result<()> {
        topics::put(self.connection()?, row).await
    }

    async fn delete_topic(&mut self, id: TopicId) -> Result<()> {
        topics::delete(self.connection()?, id).await
    }

    async fn partitions(&mut self) -> Result<Partitions> {
        partitions::all(self.connection()?).await
    }

    async fn partitions_of(&mut self, topic_id: TopicId) -> Result<Partitions> {
        partitions::of_topic(self.connection()?, topic_id).await
    }

    async fn partitions_at(&mut self, keys: &[PartitionKey]) -> Result<Partitions> {
        partitions::at(self.connection()?, keys).await
    }

    async fn positions(
        &mut self,
        keys: &[PartitionKey],
    ) -> Result<BTreeMap<PartitionKey, Position>> {
        partitions::positions(self.connection()?, keys).await
    }

    async fn put_partitions(&mut self, rows: &Partitions) -> Result<()> {
        partitions::put(self.connection()?, rows).await
    }

    async fn set_committed_ends(&mut self, ends: &BTreeMap<PartitionKey, i64>) -> Result<()> {
        partitions::set_committed_ends(self.connection()?, ends).await
    }

    async fn bump_leader_epochs(&mut self, owner: NodeId) -> Result<BTreeMap<PartitionKey, i32>> {
        partitions::bump_leader_epochs(self.connection()?, owner).await
    }

    async fn objects_at(&mut self, ids: &[ObjectId]) -> Result<BTreeMap<ObjectId, ObjectRow>> {
        objects::at(self.connection()?, ids).await
    }

    async fn object_id_of_key(&mut self, key: &str) -> Result<Option<ObjectId>> {
        objects::id_of_key(self.connection()?, key).await
    }

    async fn objects_in_state(
        &mut self,
        state: ObjectState,
        limit: usize,
    ) -> Result<Vec<ObjectRow>> {
        objects::in_state(self.connection()?, state, limit).await
    }

    async fn objects(&mut self) -> Result<Vec<ObjectRow>> {
        objects::all(self.connection()?).await
    }

    async fn objects_below(
        &mut self,
        offsets: &BTreeMap<PartitionKey, i64>,
    ) -> Result<Vec<ObjectRow>> {
        objects::below(self.connection()?, offsets).await
    }

    async fn objects_of_topic(&mut self, topic_id: TopicId) -> Result<Vec<ObjectRow>> {
        objects::of_topic(self.connection()?, topic_id).await
    }

    async fn put_object(&mut self, row: &ObjectRow) -> Result<()> {
        objects::put(self.connection()?, row).await
    }

    async fn delete_objects(&mut self, ids: &[ObjectId]) -> Result<()> {
        objects::delete(self.connection()?, ids).await
    }

    async fn broker_configs(&mut self) -> Result<BTreeMap<Option<NodeId>, Configs>> {
        broker_configs::all(self.connection()?).await
    }

    async fn put_broker_configs(
        &mut self,
        broker: Option<NodeId>,
        configs: &Configs,
    ) -> Result<()> {
        broker_configs::put(self.connection()?, broker, configs).await
    }

    async fn group_configs(&mut self) -> Result<BTreeMap<String, Configs>> {
        group_configs::all(self.connection()?).await
    }

    async fn put_group_configs(&mut self, group_id: &str, configs: &Configs) -> Result<()> {
        group_configs::put(self.connection()?, group_id, configs).await
    }

    async fn pointers(&mut self) -> Result<BTreeMap<String, Vec<u8>>> {
        pointers::all(self.connection()?).await
    }

    async fn pointer(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        pointers::read(self.connection()?, name).await
    }

    async fn put_pointer(&mut self, name: &str, value: &[u8]) -> Result<()> {
        pointers::put(self.connection()?, name, value).await
    }

    async fn pointer_names(&mut self, prefix: &str) -> Result<Vec<String>> {
        pointers::names(self.connection()?, prefix).await
    }

    async fn delete_pointer(&mut self, name: &str) -> Result<()> {
        pointers::delete(self.connection()?, name).await
    }
}
