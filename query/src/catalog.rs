//! The schemas that queries see: the broker's tables, their dead letters, and topics that are
//! no tables, each as of the query's beginning or of the moment asked for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, SchemaProvider, TableProvider},
    error::Result,
    logical_expr::TableType,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lakehouse_sink::{TableLog, TableStore, dead_letter};
use table::{
    catalog::{TableCatalog, TopicView},
    config::OnError,
    name::{self, DEFAULT_NAMESPACE},
    table::{Offsets, Table},
};
use tokio::sync::Mutex;

use crate::{
    error::{ViewError, external},
    topics,
    travel::Travel,
    view::{self, TableView},
    wait,
};

/// Files of an earlier version that are looked for at once.
const LOOKS_AT_ONCE: usize = 32;

/// What queries share.
#[derive(Debug)]
pub(crate) struct Tables {
    catalog: Arc<TableCatalog>,
    store: TableStore,
    /// Delta logs read so far, by directory: a query reads on from there.
    logs: Mutex<BTreeMap<String, TableLog>>,
}

/// What a name stands for.
#[derive(Debug)]
enum Named {
    Table(Arc<Table>),
    /// The dead-letter table of a table.
    DeadLetters(Arc<Table>),
    /// A topic without a table.
    Topic(TopicView),
}

impl Tables {
    pub(crate) fn new(catalog: Arc<TableCatalog>, store: TableStore) -> Self {
        Self { catalog, store, logs: Mutex::default() }
    }

    /// The SQL schemas that there are tables in, and the default one, ascending.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let mut found = vec![DEFAULT_NAMESPACE.to_owned()];
        for table in self.catalog.tables() {
            let namespace = &table.sql_name().namespace;
            if !found.iter().any(|other| other.eq_ignore_ascii_case(namespace)) {
                found.push(namespace.clone());
            }
        }
        found.sort();
        found
    }

    /// Names are looked for as they are written, then without regard to case; tables first. Topics
    /// are in the default namespace.
    fn named(&self, namespace: &str, name: &str) -> Option<Named> {
        let all = self.catalog.tables();
        let tables = || all.iter().filter(|table| table.sql_name().is_in(namespace));
        let table = |is_it: &dyn Fn(&str) -> bool| {
            tables().find(|table| is_it(&table.sql_name().name)).map(Arc::clone)
        };
        if let Some(table) = table(&|table| table == name) {
            return Some(Named::Table(table));
        }
        let is_dead = |table: &&Arc<Table>| table.dead_letters().name.eq_ignore_ascii_case(name);
        if let Some(table) = tables().find(is_dead) {
            return Some(Named::DeadLetters(Arc::clone(table)));
        }
        let topic = match namespace.eq_ignore_ascii_case(DEFAULT_NAMESPACE) {
            true => topics::find(self.catalog.topics(), name),
            false => None,
        };
        // A topic is its table, wherever that is and whatever it is called.
        let is_exact = topic.as_ref().is_some_and(|topic| topic.name == name);
        let topic = topic.map(|topic| {
            let of_topic = all.iter().find(|table| table.topic_id() == topic.id).cloned();
            of_topic.map_or_else(|| Named::Topic(topic), Named::Table)
        });
        if is_exact {
            return topic;
        }
        table(&|table| table.eq_ignore_ascii_case(name)).map(Named::Table).or(topic)
    }

    /// The newest version of a table's log; `None` before its first commit.
    async fn log(&self, directory: &str) -> Result<Option<TableLog>, ViewError> {
        // Others need not wait while the object store is asked.
        let known = self.logs.lock().await.get(directory).cloned();
        let log = match known {
            Some(mut log) => {
                log.refresh().await?;
                Some(log)
            }
            None => TableLog::open(&self.store, directory).await?,
        };
        if let Some(log) = &log {
            let mut logs = self.logs.lock().await;
            let known = logs.get(directory).map(TableLog::version);
            if known.is_none() {
                // Tables that are gone, or were rebuilt elsewhere.
                let tables = self.catalog.tables();
                logs.retain(|known, _| tables.iter().any(|table| is_of(known, table)));
            }
            if known.is_none_or(|known| known < log.version()) {
                logs.insert(directory.to_owned(), log.clone());
            }
        }
        Ok(log)
    }

    /// Waits until a table's topic has the records at some offsets.
    ///
    /// # Errors
    /// After `time`. That there is no such table is for the planner to say.
    pub(crate) async fn reached(
        &self,
        (namespace, name): (&str, &str),
        offsets: &Offsets,
        time: Duration,
    ) -> Result<(), ViewError> {
        self.catalog.refresh().await?;
        match self.named(namespace, name) {
            Some(Named::Table(table)) => wait::reached(&table.partitions(), offsets, time).await,
            Some(Named::Topic(topic)) => wait::reached(&topic.partitions, offsets, time).await,
            Some(Named::DeadLetters(_)) | None => Ok(()),
        }
    }

    async fn view(
        &self,
        named: Named,
        travel: Option<Travel>,
        time: Duration,
    ) -> Result<Arc<dyn TableProvider>> {
        let view = match named {
            Named::Table(table) => {
                let log = || self.log_of(&table);
                match travel {
                    None => return view::now(&table, log().await?.as_ref()).await,
                    Some(Travel::AtLeast(offsets)) => {
                        wait::reached(&table.partitions(), &offsets, time).await?;
                        return view::now(&table, log().await?.as_ref()).await;
                    }
                    Some(Travel::Below(offsets)) => {
                        TableView::below(&table, log().await?.as_ref(), &offsets).await
                    }
                    Some(travel) => then(log().await?, table.name(), &travel).await,
                }
            }
            Named::DeadLetters(table) => {
                // The table's own first: what it has passed is in the other already.
                let log = self.log_of(&table).await?;
                let dead = self.log(&dead_letter::directory(&table)).await?;
                match travel {
                    None => TableView::dead_letters(&table, log.as_ref(), dead.as_ref()).await,
                    Some(Travel::AtLeast(_) | Travel::Below(_)) => {
                        let reason = "dead-letter tables have versions and timestamps, no offsets, \
                                      to go back to";
                        Err(ViewError::Unsupported(reason).into())
                    }
                    Some(travel) => then(dead, &table.dead_letters().to_string(), &travel).await,
                }
            }
            Named::Topic(topic) => match travel {
                None => TableView::log_only(&topic, None).await,
                Some(Travel::AtLeast(offsets)) => {
                    wait::reached(&topic.partitions, &offsets, time).await?;
                    TableView::log_only(&topic, None).await
                }
                Some(Travel::Below(offsets)) => TableView::log_only(&topic, Some(&offsets)).await,
                Some(Travel::Version(_) | Travel::Time { .. }) => Err(ViewError::Parameter(
                    format!("topic {} is no table: it has offsets, no versions", topic.name),
                )
                .into()),
            },
        };
        Ok(Arc::new(view?))
    }

    async fn log_of(&self, table: &Table) -> Result<Option<TableLog>, ViewError> {
        self.log(&table.directory()).await
    }
}

/// Whether a directory is a table's, or its dead-letter table's.
fn is_of(directory: &str, table: &Table) -> bool {
    directory
        .strip_prefix(&table.directory())
        .is_some_and(|rest| rest.is_empty() || rest == dead_letter::SUFFIX)
}

/// The committed rows of a version, or of the version in force at a time.
async fn then(newest: Option<TableLog>, name: &str, travel: &Travel) -> Result<TableView> {
    let newest =
        newest.ok_or_else(|| ViewError::Parameter(format!("table {name} has no version yet")))?;
    let (found, asked) = match travel {
        Travel::Version(version) if *version > newest.version() => {
            let last = newest.version();
            let error = format!("table {name} has no version {version}: the last is {last}");
            return Err(ViewError::Parameter(error).into());
        }
        Travel::Version(version) => {
            (newest.at_version(*version).await, format!("version {version}"))
        }
        Travel::Time { ms, text } => {
            (newest.at_time(*ms).await, format!("version of {text} or before"))
        }
        Travel::Below(_) | Travel::AtLeast(_) => {
            return Err(ViewError::Unsupported("offsets are no version").into());
        }
    };
    let found = found.map_err(ViewError::from)?.ok_or_else(|| {
        ViewError::Gone(format!("table {name} has no {asked}: its history begins later"))
    })?;
    let version = found.version();
    if let Some(file) = missing_file(&found, &newest).await? {
        let error = format!("version {version} of table {name} was vacuumed: {file} is deleted");
        return Err(ViewError::Gone(error).into());
    }
    TableView::committed_rows(&found).await
}

/// A file of a version that VACUUM has deleted.
async fn missing_file(then: &TableLog, newest: &TableLog) -> Result<Option<String>, ViewError> {
    let files = then.files_not_in(newest)?;
    let looked = stream::iter(files).map(|file| async move {
        let is_there = then.has_file(&file).await?;
        Ok::<_, ViewError>((is_there, file))
    });
    let mut looked = looked.buffer_unordered(LOOKS_AT_ONCE);
    while let Some((is_there, file)) = looked.try_next().await? {
        if !is_there {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// The schemas of one query, and those of the system.
#[derive(Debug)]
pub(crate) struct QueryCatalog {
    pub(crate) tables: Arc<Tables>,
    /// How long a table may be waited for.
    pub(crate) time: Duration,
    pub(crate) system: BTreeMap<&'static str, Arc<dyn SchemaProvider>>,
}

impl CatalogProvider for QueryCatalog {
    fn schema_names(&self) -> Vec<String> {
        let system = self.system.keys().map(|name| (*name).to_owned());
        self.tables.namespaces().into_iter().chain(system).collect()
    }

    /// Whether there are tables in it shows when one is looked up, after the catalog was refreshed.
    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if let Some(system) = self.system.get(name) {
            return Some(Arc::clone(system));
        }
        name::is_namespace(name).then(|| {
            let (tables, namespace) = (Arc::clone(&self.tables), name.to_owned());
            Arc::new(QuerySchema { tables, namespace, time: self.time }) as Arc<dyn SchemaProvider>
        })
    }
}

/// One schema of one query.
#[derive(Debug)]
pub(crate) struct QuerySchema {
    pub(crate) tables: Arc<Tables>,
    pub(crate) namespace: String,
    /// How long a table may be waited for.
    pub(crate) time: Duration,
}

#[async_trait]
impl SchemaProvider for QuerySchema {
    /// Topics without a table are not listed: whoever lists names wants the columns next, and
    /// those are inferred from records.
    fn table_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let tables = self.tables.catalog.tables();
        for table in tables.iter().filter(|table| table.sql_name().is_in(&self.namespace)) {
            names.push(table.sql_name().name.clone());
            if table.config().on_error == OnError::DeadLetter {
                names.push(table.dead_letters().name);
            }
        }
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let (name, travel) = Travel::of(name)?;
        self.tables.catalog.refresh().await.map_err(external)?;
        let Some(named) = self.tables.named(&self.namespace, name) else { return Ok(None) };
        Ok(Some(self.tables.view(named, travel, self.time).await?))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        Travel::of(name).is_ok_and(|(name, _)| self.tables.named(&self.namespace, name).is_some())
    }
}
