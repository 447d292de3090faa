//! Tables and SQL in the broker's process: on threads of their own, so that neither a large query
//! nor a slow commit takes a core from acknowledgements.

use std::{path::Path, sync::Arc};

use anyhow::{Context, anyhow};
use broker::{
    config::broker::{QueryConfig, Scheduling},
    context::Broker,
    tables::TableTopics,
};
use common::{clock::SharedClock, rng::Rng, spawn::Spawner};
use lakehouse_sink::{Sink, SinkDeps, TableStore};
use query::{
    QueryEngine, QueryOptions,
    http::{Parts, Slot},
    pg::{PgListener, PgServer},
};
use storage::object_store::ObjectStorage;
use table::catalog::TableCatalog;
use tokio::runtime::Runtime;
use tracing::warn;
use url::Url;

/// The running sink and its threads.
pub(crate) struct Tables {
    sink: Arc<Sink>,
    threads: Runtime,
}

/// How much nicer than the broker's own threads those of tables and SQL are: who produces and
/// consumes goes first, and they still get about a tenth of a processor that all want.
const NICE: i32 = 10;

/// Lowers the priority of the thread that calls it.
#[cfg(target_os = "linux")]
fn step_back(scheduling: Scheduling) {
    use thread_priority::{
        NormalThreadSchedulePolicy::Idle, ThreadPriority, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
    };
    let idle = ThreadSchedulePolicy::Normal(Idle);
    let outcome = match scheduling {
        // To Linux, a process of no number is the calling thread.
        Scheduling::Low => {
            rustix::process::setpriority_process(None, NICE).map_err(|error| error.to_string())
        }
        Scheduling::Idle => {
            let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
            match thread_schedule_policy() {
                // Its niceness, which is set after it and may not be lowered, makes no difference.
                Ok(policy) if policy == idle => Ok(()),
                _ => set.map_err(|error| error.to_string()),
            }
        }
    };
    if let Err(error) = outcome {
        warn!(error, "threads of tables and SQL run with the broker's own priority");
    }
}

/// Elsewhere only whole processes have priorities.
#[cfg(not(target_os = "linux"))]
fn step_back(_: Scheduling) {}

impl Tables {
    /// Starts writing tables, and opens SQL in `slot` and, if there is one, on `postgres`.
    pub(crate) fn start(
        broker: &Broker,
        objects: &ObjectStorage,
        url: &str,
        spill: &Path,
        config: &QueryConfig,
        (clock, spawner): (&SharedClock, &Spawner),
        (slot, postgres): (&Slot, Option<PgListener>),
    ) -> anyhow::Result<Self> {
        let scheduling = config.scheduling;
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads)
            .enable_all()
            .thread_name("streamhouse-sql")
            .on_thread_start(move || step_back(scheduling))
            .build()
            .context("starting the threads of tables and SQL")?;
        let topics = Arc::new(TableTopics(broker.catalog.clone()));
        let metadata = Arc::clone(&broker.metadata);
        let catalog = Arc::new(TableCatalog::new(topics, metadata, broker.fence));
        let store = table_store(objects, url, &broker.cluster_id)?;
        let sink = Sink::new(SinkDeps {
            catalog: Arc::clone(&catalog),
            store: store.clone(),
            clock: Arc::clone(clock),
            memory_bytes: config.table_memory_bytes,
            removal_grace: config.removal_grace,
            spawner: spawner.clone(),
        });
        let options = QueryOptions {
            memory_bytes: config.memory_bytes,
            spill_directory: spill.to_owned(),
            queries_max: config.concurrency,
            parallelism: config.threads,
        };
        let engine = QueryEngine::new(Arc::clone(&catalog), store, options)?;
        let engine = Arc::new(engine.with_clock(Arc::clone(clock)));
        let parts = Parts {
            engine: Arc::clone(&engine),
            catalog,
            sink: Arc::clone(&sink),
            clock: Arc::clone(clock),
            threads: threads.handle().clone(),
        };
        slot.set(parts).map_err(|_| anyhow!("SQL was started twice"))?;
        let running = Arc::clone(&sink);
        let guard = threads.enter();
        spawner.spawn("sink", running.run());
        if let Some(listener) = postgres {
            let server = PgServer::new(engine, Rng::from_os(), spawner.clone());
            spawner.spawn("postgres-listener", server.serve(listener));
        }
        drop(guard);
        Ok(Self { sink, threads })
    }

    /// Stops both at once; what is on its way to a table is written by the next process.
    pub(crate) fn stop(self) {
        self.sink.stop();
        self.threads.shutdown_background();
    }
}

/// Tables lie beside the objects of the log, under the cluster's id.
fn table_store(objects: &ObjectStorage, url: &str, cluster_id: &str) -> anyhow::Result<TableStore> {
    let (store, prefix) = objects.raw();
    let mut url = Url::parse(url).with_context(|| format!("the object store's URL {url}"))?;
    let path = format!("{}/{cluster_id}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(TableStore::new(store, prefix.clone().join(cluster_id), url)?)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    #![allow(clippy::disallowed_methods, reason = "a thread's own priority is looked at")]
    use thread_priority::{
        NormalThreadSchedulePolicy::Idle, ThreadSchedulePolicy, thread_schedule_policy,
    };

    use super::*;

    #[test]
    fn threads_are_scheduled_as_they_are_told() {
        let before = thread_schedule_policy().unwrap();
        let stepped_back = |scheduling| {
            let thread = std::thread::spawn(move || {
                step_back(scheduling);
                let nice = rustix::process::getpriority_process(None).unwrap();
                (thread_schedule_policy().unwrap(), nice)
            });
            thread.join().unwrap()
        };
        // Who starts the tests may be nicer still.
        let (policy, nice) = stepped_back(Scheduling::Low);
        assert!(policy == before && nice >= NICE, "{policy:?}, {nice}");
        let (policy, _) = stepped_back(Scheduling::Idle);
        assert_eq!(policy, ThreadSchedulePolicy::Normal(Idle));
    }
}
