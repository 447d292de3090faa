//! The one schema that queries see: the broker's tables, their dead letters, and topics that are
//! no tables, each as of the query's beginning or of the moment asked for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use datafusion::{
    catalog::{SchemaProvider, TableProvider},
    error::Result,
    logical_expr::TableType,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lakehouse_sink::{TableLog, TableStore, dead_letter};
use table::{
    catalog::{TableCatalog, TopicView},
    config::OnError,
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

    /// Names are looked for as they are written, then without regard to case; tables first.
    fn named(&self, name: &str) -> Option<Named> {
        let tables = self.catalog.tables();
        let table = |is_it: &dyn Fn(&str) -> bool| {
            tables.iter().find(|table| is_it(table.name())).map(Arc::clone)
        };
        let like = |wanted: &str| {
            table(&|name| name == wanted)
                .or_else(|| table(&|name| name.eq_ignore_ascii_case(wanted)))
        };
        if let Some(table) = table(&|table| table == name) {
            return Some(Named::Table(table));
        }
        let base = name.len().checked_sub(dead_letter::SUFFIX.len());
        let base = base.and_then(|len| name.split_at_checked(len));
        let base = base.filter(|(_, end)| end.eq_ignore_ascii_case(dead_letter::SUFFIX));
        if let Some(table) = base.and_then(|(base, _)| like(base)) {
            return Some(Named::DeadLetters(table));
        }
        let topic = topics::find(self.catalog.topics(), name);
        if let Some(topic) = topic.as_ref().filter(|topic| topic.name == name) {
            let of_topic = tables.iter().find(|table| table.topic_id() == topic.id);
            return Some(of_topic.map_or_else(
                || Named::Topic(topic.clone()),
                |table| Named::Table(Arc::clone(table)),
            ));
        }
        like(name).map(Named::Table).or_else(|| topic.map(Named::Topic))
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
        name: &str,
        offsets: &Offsets,
        time: Duration,
    ) -> Result<(), ViewError> {
        self.catalog.refresh().await?;
        match self.named(name) {
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
                    Some(travel) => {
                        let name = format!("{}{}", table.name(), dead_letter::SUFFIX);
                        then(dead, &name, &travel).await
                    }
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

/// The schema of one query.
#[derive(Debug)]
pub(crate) struct QuerySchema {
    pub(crate) tables: Arc<Tables>,
    /// How long a table may be waited for.
    pub(crate) time: Duration,
}

#[async_trait]
impl SchemaProvider for QuerySchema {
    /// Topics without a table are not listed: whoever lists names wants the columns next, and
    /// those are inferred from records.
    fn table_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for table in self.tables.catalog.tables() {
            names.push(table.name().to_owned());
            if table.config().on_error == OnError::DeadLetter {
                names.push(format!("{}{}", table.name(), dead_letter::SUFFIX));
            }
        }
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let (name, travel) = Travel::of(name)?;
        self.tables.catalog.refresh().await.map_err(external)?;
        let Some(named) = self.tables.named(name) else { return Ok(None) };
        Ok(Some(self.tables.view(named, travel, self.time).await?))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        Travel::of(name).is_ok_and(|(name, _)| self.tables.named(name).is_some())
    }
}
