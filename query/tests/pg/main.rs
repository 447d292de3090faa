//! SQL over PostgreSQL's wire protocol, over a broker's topics.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(missing_docs)]

mod catalog;
mod client;
mod extended;
mod interrupted;
mod opening;
mod simple;
#[path = "../../../lakehouse-sink/tests/tables/support.rs"]
#[allow(dead_code, reason = "the sink's tests use the rest")]
mod support;

use std::sync::Arc;

use common::{
    rng::Rng,
    spawn::{Fatal, Spawner},
};
use streamhouse_query::{QueryEngine, QueryOptions, pg::PgServer};

use self::{
    client::Client,
    support::{Lake, Running},
};

/// A topic `t` as a table, and a server of its SQL.
pub(crate) struct House {
    lake: Lake,
    running: Running,
    engine: Arc<QueryEngine>,
    server: PgServer,
    _spill: tempfile::TempDir,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(4).await
    }

    /// With this many queries at once.
    pub(crate) async fn with(queries_max: usize) -> Self {
        let spill = tempfile::tempdir().unwrap();
        let lake = Lake::new(1, &[]).await;
        let running = lake.sink();
        let options = QueryOptions {
            memory_bytes: 64 << 20,
            spill_directory: spill.path().to_owned(),
            queries_max,
            parallelism: 2,
        };
        let catalog = Arc::clone(&running.catalog);
        let engine = Arc::new(QueryEngine::new(catalog, lake.store.clone(), options).unwrap());
        let spawner = Spawner::tasks(Fatal::new(|reason| panic!("{reason}")));
        let server = PgServer::new(Arc::clone(&engine), Rng::seeded(1), spawner);
        Self { lake, running, engine, server, _spill: spill }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(&self.server).await
    }

    /// Appends `{"n": from}` up to `to`.
    pub(crate) async fn numbers(&self, from: i64, to: i64) {
        let values: Vec<_> = (from..to).map(|n| format!("{{\"n\":{n}}}")).collect();
        self.lake.produce(0, &values).await;
    }
}
