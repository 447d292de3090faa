//! The tables of a broker: which topics are tables, and under which names.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, PoisonError, RwLock},
};

use common::TopicId;
use metadata::{Fence, MetadataStore};
use storage::Partition;
use tokio::sync::{Mutex, watch};
use tracing::warn;

use crate::{
    config::{TableConfig, keys},
    name::TableName,
    table::{Table, TableError},
};

/// A topic as the broker knows it.
#[derive(Debug, Clone)]
pub struct TopicView {
    /// Its identity.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// When it was created; of topics that claim one table name, the oldest has it.
    pub created_ms: i64,
    /// The values in force of its `table.*` keys.
    pub values: BTreeMap<String, String>,
    /// Its partitions, by index.
    pub partitions: Vec<Arc<Partition>>,
}

/// Where topics come from: the broker.
pub trait Topics: Send + Sync + Debug {
    /// All topics that clients made, as of now.
    fn topics(&self) -> Vec<TopicView>;

    /// Changes whenever they do.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// A topic that wants to be a table and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The topic.
    pub topic: String,
    /// Why, and what to do.
    pub reason: String,
}

/// The tables, by topic.
#[derive(Debug)]
pub struct TableCatalog {
    topics: Arc<dyn Topics>,
    metadata: Arc<dyn MetadataStore>,
    fence: Fence,
    tables: RwLock<BTreeMap<TopicId, Arc<Table>>>,
    /// What rebuilds fill.
    shadows: RwLock<BTreeMap<TopicId, Arc<Table>>>,
    /// Rebuilds begun and ended so far.
    rebuilds: watch::Sender<u64>,
    refused: RwLock<Vec<Refused>>,
    refreshing: Mutex<Refreshing>,
}

#[derive(Debug)]
struct Refreshing {
    changes: watch::Receiver<u64>,
    /// Whether there is something to look at though no topic changed.
    is_stale: bool,
}

impl TableCatalog {
    /// A catalog that knows no table until it is refreshed.
    #[must_use]
    pub fn new(topics: Arc<dyn Topics>, metadata: Arc<dyn MetadataStore>, fence: Fence) -> Self {
        let changes = topics.changes();
        Self {
            topics,
            metadata,
            fence,
            tables: RwLock::default(),
            shadows: RwLock::default(),
            rebuilds: watch::Sender::new(0),
            refused: RwLock::default(),
            refreshing: Mutex::new(Refreshing { changes, is_stale: true }),
        }
    }

    /// Changes whenever a refresh could find something.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.topics.changes()
    }

    /// Changes whenever a rebuild begins or ends.
    #[must_use]
    pub fn rebuilds(&self) -> watch::Receiver<u64> {
        self.rebuilds.subscribe()
    }

    /// The incarnations that rebuilds fill, by topic.
    #[must_use]
    pub fn shadows(&self) -> Vec<Arc<Table>> {
        self.shadows.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Begins to rebuild a table by its configuration of now, beside what readers see. `lossy`
    /// allows to lose rows whose records the log no longer has.
    ///
    /// # Errors
    /// Where there is no such table, a rebuild is under way, or rows would be lost.
    pub async fn rebuild(&self, name: &str, lossy: bool, now_ms: i64) -> Result<(), TableError> {
        self.refresh().await?;
        let mut refreshing = self.refreshing.lock().await;
        let table = self.table_named(name);
        let table =
            table.ok_or_else(|| TableError::Rebuild(format!("there is no table {name}")))?;
        table.begin_rebuild(lossy, now_ms).await?;
        self.rebuild_changed(&mut refreshing);
        Ok(())
    }

    /// Shows readers what a rebuild has filled.
    ///
    /// # Errors
    /// Where it cannot be persisted, or was done.
    pub async fn replace(&self, shadow: &Table, now_ms: i64) -> Result<(), TableError> {
        let mut refreshing = self.refreshing.lock().await;
        shadow.replace(now_ms).await?;
        self.rebuild_changed(&mut refreshing);
        Ok(())
    }

    fn rebuild_changed(&self, refreshing: &mut Refreshing) {
        refreshing.is_stale = true;
        self.rebuilds.send_modify(|changes| *changes += 1);
    }

    /// All tables, by topic.
    #[must_use]
    pub fn tables(&self) -> Vec<Arc<Table>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The table of this name, with its namespace unless that is the default.
    #[must_use]
    pub fn table_named(&self, name: &str) -> Option<Arc<Table>> {
        self.tables().into_iter().find(|table| table.name() == name)
    }

    pub(crate) fn metadata(&self) -> &dyn MetadataStore {
        self.metadata.as_ref()
    }

    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// All topics that clients made, tables or not, as of now.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicView> {
        self.topics.topics()
    }

    /// Topics that want to be tables and are not.
    #[must_use]
    pub fn refused(&self) -> Vec<Refused> {
        self.refused.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what changed of the topics since the last time.
    ///
    /// # Errors
    /// Where a table's state is not to be had; the others were taken over.
    pub async fn refresh(&self) -> Result<(), TableError> {
        let mut refreshing = self.refreshing.lock().await;
        let has_changed = refreshing.changes.has_changed().unwrap_or(true);
        if !has_changed && !refreshing.is_stale {
            return Ok(());
        }
        // Before looking: a change meanwhile is looked at the next time.
        refreshing.changes.borrow_and_update();
        let (claims, mut refused) = claims(self.topics.topics());
        let mut failed = None;
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let (mut tables, mut shadows) = (BTreeMap::new(), BTreeMap::new());
        for Claim { topic, config, name } in claims {
            let dead_letters = config.dead_letters(&name);
            let claimed = claim(&mut names, &topic.name, &[&name, &dead_letters]);
            if let Err(reason) = claimed {
                warn!(topic = topic.name, reason, "topic is no table");
                refused.push(Refused { topic: topic.name, reason });
                continue;
            }
            let known = self.known(topic.id).filter(|table| *table.sql_name() == name);
            let table = match known {
                Some(table) => {
                    table.update(config.clone(), topic.partitions.clone());
                    table
                }
                None => {
                    let opened = Table::open(
                        Arc::clone(&self.metadata),
                        self.fence,
                        (topic.id, &topic.name),
                        name,
                        config.clone(),
                        topic.partitions.clone(),
                    );
                    match opened.await {
                        Ok(table) => Arc::new(table),
                        Err(error) => {
                            refused.push(Refused { topic: topic.name, reason: error.to_string() });
                            failed = Some(error);
                            continue;
                        }
                    }
                }
            };
            if let Some(shadow) = self.known_shadow(topic.id, &table) {
                shadow.update(config, topic.partitions);
                shadows.insert(topic.id, shadow);
            }
            tables.insert(topic.id, table);
        }
        *self.shadows.write().unwrap_or_else(PoisonError::into_inner) = shadows;
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = tables;
        *self.refused.write().unwrap_or_else(PoisonError::into_inner) = refused;
        refreshing.is_stale = failed.is_some();
        failed.map_or(Ok(()), Err)
    }

    /// The incarnation that readers see: after a rebuild, what that had filled.
    fn known(&self, id: TopicId) -> Option<Arc<Table>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let shadows = self.shadows.read().unwrap_or_else(PoisonError::into_inner);
        let known = [tables.get(&id), shadows.get(&id)];
        known.into_iter().flatten().find(|table| !table.is_shadow()).cloned()
    }

    /// The incarnation that a rebuild of a table fills.
    fn known_shadow(&self, id: TopicId, table: &Table) -> Option<Arc<Table>> {
        let number = table.shadow_number()?;
        let shadows = self.shadows.read().unwrap_or_else(PoisonError::into_inner);
        let known = shadows.get(&id).filter(|shadow| shadow.incarnation() == number);
        known.cloned().or_else(|| table.shadow().map(Arc::new))
    }
}

/// A topic that wants to be a table.
struct Claim {
    topic: TopicView,
    config: TableConfig,
    name: TableName,
}

/// Gives a topic the names of its table and of its dead letters, or says who has one of them.
fn claim(
    names: &mut BTreeMap<String, String>,
    topic: &str,
    wanted: &[&TableName; 2],
) -> Result<(), String> {
    let mut claims = BTreeMap::new();
    for (name, key) in wanted.iter().zip([keys::NAME, keys::DLQ]) {
        let owner = names.get(&name.claim()).map(String::as_str);
        let twice = claims.insert(name.claim(), topic.to_owned()).map(|_| topic);
        if let Some(owner) = owner.or(twice) {
            return Err(format!(
                "the table name {name} belongs to topic {owner}; set {key} to another"
            ));
        }
    }
    names.append(&mut claims);
    Ok(())
}

/// What topics want, the oldest first, and which cannot have it.
fn claims(mut topics: Vec<TopicView>) -> (Vec<Claim>, Vec<Refused>) {
    topics.sort_by(|a, b| (a.created_ms, &a.name).cmp(&(b.created_ms, &b.name)));
    let (mut claims, mut refused) = (Vec::new(), Vec::new());
    for topic in topics {
        match TableConfig::read(&topic.values) {
            Ok(None) => {}
            Ok(Some(config)) => {
                let name = config.table_name(&topic.name);
                claims.push(Claim { topic, config, name });
            }
            Err(reason) => refused.push(Refused { topic: topic.name, reason }),
        }
    }
    (claims, refused)
}
