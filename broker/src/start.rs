//! Starting and stopping a broker: the order in which its parts come up and go down.
//!
//! Session first (it fences a former process), then the leases' new epochs, then the log's
//! recovery, and only then what a listener can be opened for. Stopping is the way back.

use std::{
    path::PathBuf,
    sync::{Arc, RwLock, Weak},
    time::Duration,
};

use common::{clock::SharedClock, memory::MemoryBudget, rng::Rng, spawn::Spawner};
use metadata::{MetadataStore, OpenSession, Session, Topic};
use storage::{Log, LogDeps, object_store::ObjectStorage, wal::WalFs};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    catalog::{self, Catalog, TopicConfigs},
    config::{
        broker::BrokerConfig,
        dynamic::Configs,
        effective::Layers,
        group::{GroupConfigs, GroupSettings},
        sources::{ConfigErrors, StaticConfig},
    },
    context::Broker,
    coordination::{Coordination, CoordinationDeps},
    fetch_session::FetchSessions,
    metrics::Metrics,
    producer_ids::ProducerIds,
    purgatory::Purgatory,
    shutdown::Shutdown,
};

/// How long a buffer is kept that no frame needs.
const BUFFERS_TRIM_INTERVAL: Duration = Duration::from_secs(10);

/// What a broker is started from: its configuration and every way to the outside world.
#[derive(Debug)]
pub struct StartDeps {
    /// What was set at start.
    pub static_config: Arc<StaticConfig>,
    /// The port that the listener is bound to, advertised where the configuration names none.
    pub port: u16,
    /// Durable metadata.
    pub metadata: Arc<dyn MetadataStore>,
    /// The WAL's directory.
    pub wal_fs: Arc<dyn WalFs>,
    /// Where that directory is, if its files and the object store's are on one file system.
    pub wal_directory: Option<PathBuf>,
    /// The object store.
    pub objects: Arc<ObjectStorage>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: Rng,
    /// Tasks.
    pub spawner: Spawner,
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot be run.
    #[error("configuration: {0}")]
    Config(#[from] ConfigErrors),
    /// The metadata store refused or failed.
    #[error("metadata: {0}")]
    Metadata(#[from] metadata::Error),
    /// The log could not be recovered.
    #[error("log: {0}")]
    Storage(#[from] storage::Error),
    /// Metadata and log disagree on the topics.
    #[error("topics: {0}")]
    Catalog(#[from] catalog::Error),
}

/// Opens the session, recovers the log and puts the broker together.
///
/// # Errors
/// [`StartError`]; nothing was acknowledged and nothing needs undoing.
pub async fn start(deps: StartDeps) -> Result<Arc<Broker>, StartError> {
    let session = open_session(&deps).await?;
    let taken = deps.metadata.acquire_partitions(&session.fence).await?;
    let image = deps.metadata.load().await?;
    let configs = Arc::new(Configs::new(
        Arc::clone(&deps.static_config),
        session.node_id,
        &image.broker_configs,
    )?);
    let log_deps = LogDeps {
        metadata: Arc::clone(&deps.metadata),
        fence: session.fence,
        wal_fs: deps.wal_fs,
        wal_directory: deps.wal_directory,
        objects: deps.objects,
        clock: Arc::clone(&deps.clock),
        rng: deps.rng.clone(),
        spawner: deps.spawner.clone(),
        config: configs.broker().log.clone(),
    };
    let config_of = |topic: &Topic| Arc::new(configs.log_config(&topic.configs));
    let log = Log::open(log_deps, &image, config_of).await?;
    info!(
        cluster_id = session.cluster_id,
        node_id = session.node_id.0,
        topics = image.topics.len(),
        partitions = taken.len(),
        "log opened"
    );
    let catalog = Catalog::new(
        session.fence,
        Arc::clone(&deps.metadata),
        Arc::clone(&log),
        Arc::<Configs>::clone(&configs),
        deps.spawner.clone(),
        image.topics,
    )?;
    let config = configs.broker();
    let options = config.options(deps.port);
    let group_configs = Arc::new(GroupConfigs::new(image.group_configs));
    let producer_ids = Arc::new(ProducerIds::new(Arc::clone(&deps.metadata), session.fence));
    let coordination = Coordination::start(&CoordinationDeps {
        node_id: session.node_id,
        catalog: &catalog,
        log: &log,
        config: &config.coordinator,
        group_settings: Arc::new(GroupSettings {
            groups: Arc::clone(&group_configs),
            broker: Arc::<Configs>::clone(&configs),
        }),
        clock: &deps.clock,
        rng: &deps.rng,
        spawner: &deps.spawner,
        producer_ids: Arc::<ProducerIds>::clone(&producer_ids),
    });
    let (request_memory, small_request_memory, frame_buffers) = Broker::request_pools(&options);
    let broker = Arc::new(Broker {
        node_id: session.node_id,
        cluster_id: session.cluster_id,
        fence: session.fence,
        log,
        catalog,
        coordination,
        configs,
        group_configs,
        producer_ids,
        metadata: deps.metadata,
        fetch_sessions: FetchSessions::new(
            options.fetch_sessions_max,
            deps.clock.clone(),
            deps.rng.clone(),
        ),
        purgatory: Purgatory::new(options.delayed_fetches_max),
        request_memory,
        small_request_memory,
        frame_buffers,
        fetch_memory: MemoryBudget::new(options.fetch_pool_bytes),
        shutdown: Shutdown::new(),
        metrics: Metrics::new(),
        clock: deps.clock,
        rng: deps.rng,
        spawner: deps.spawner,
        options: RwLock::new(Arc::new(options)),
    });
    broker
        .spawner
        .spawn("frame-buffers", trim_buffers(Arc::downgrade(&broker), broker.shutdown.draining()));
    Ok(broker)
}

/// Gives memory back when there is less to read than before.
async fn trim_buffers(broker: Weak<Broker>, draining: impl Future<Output = ()>) {
    tokio::pin!(draining);
    while timeout(BUFFERS_TRIM_INTERVAL, &mut draining).await.is_err() {
        let Some(broker) = broker.upgrade() else { return };
        broker.frame_buffers.trim();
    }
}

async fn open_session(deps: &StartDeps) -> Result<Session, StartError> {
    let layers = Layers { static_config: Arc::clone(&deps.static_config), ..Layers::default() };
    let request = OpenSession {
        node_id: BrokerConfig::new(&layers)?.node_id,
        cluster_id_if_new: metadata::cluster_id(deps.rng.uuid()),
    };
    Ok(deps.metadata.open_session(request).await?)
}

/// Stops a broker in order: connections answer what they have taken on, then the log syncs and
/// seals.
pub async fn stop(broker: &Broker) {
    let timeout = broker.configs.broker().shutdown_timeout;
    // Whoever waits for a rebalance is answered, so that connections can drain.
    broker.coordination.stop();
    if !broker.shutdown.drain(timeout).await {
        warn!(timeout_ms = timeout.as_millis(), "connections did not end in time");
    }
    broker.log.shutdown().await;
    info!("log closed");
}
