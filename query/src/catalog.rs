//! The one schema that queries see: the broker's tables, each as of the query's beginning.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use common::TopicId;
use datafusion::{
    catalog::{SchemaProvider, TableProvider},
    error::Result,
};
use lakehouse_sink::{TableLog, TableStore};
use table::{catalog::TableCatalog, table::Table};
use tokio::sync::Mutex;

use crate::{
    error::{ViewError, external},
    view::TableView,
};

/// What queries share.
#[derive(Debug)]
pub(crate) struct Tables {
    catalog: Arc<TableCatalog>,
    store: TableStore,
    /// Delta logs read so far: a query reads on from there.
    logs: Mutex<BTreeMap<TopicId, TableLog>>,
}

impl Tables {
    pub(crate) fn new(catalog: Arc<TableCatalog>, store: TableStore) -> Self {
        Self { catalog, store, logs: Mutex::default() }
    }

    fn by_name(&self, name: &str) -> Option<Arc<Table>> {
        let tables = self.catalog.tables();
        let exact = tables.iter().find(|table| table.name() == name);
        exact
            .or_else(|| tables.iter().find(|table| table.name().eq_ignore_ascii_case(name)))
            .cloned()
    }

    /// The newest version of a table's log; `None` before its first commit.
    async fn log(&self, table: &Table) -> Result<Option<TableLog>, ViewError> {
        let mut logs = self.logs.lock().await;
        if let Some(log) = logs.get_mut(&table.topic_id()) {
            log.refresh().await?;
            return Ok(Some(log.clone()));
        }
        let log = TableLog::open(&self.store, &table.directory()).await?;
        if let Some(log) = &log {
            logs.insert(table.topic_id(), log.clone());
        }
        Ok(log)
    }
}

/// The schema of one query.
#[derive(Debug)]
pub(crate) struct QuerySchema(pub(crate) Arc<Tables>);

#[async_trait]
impl SchemaProvider for QuerySchema {
    fn table_names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.0.catalog.tables().iter().map(|table| table.name().to_owned()).collect();
        names.sort();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.0.catalog.refresh().await.map_err(external)?;
        let Some(table) = self.0.by_name(name) else { return Ok(None) };
        let log = self.0.log(&table).await?;
        Ok(Some(Arc::new(TableView::new(&table, log.as_ref()).await?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.by_name(name).is_some()
    }
}
