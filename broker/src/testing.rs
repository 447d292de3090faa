//! A whole broker in one process for tests and the simulator: memory metadata, simulated WAL
//! files, an object store in memory, and clients over in-process pipes that speak real frames.
//!
//! [`World`] is what survives a broker: start another one on it to test recovery.

mod client;

use std::{collections::BTreeMap, sync::Arc};

use common::{
    clock::{SharedClock, TokioClock},
    rng::Rng,
    spawn::{Fatal, Spawner},
};
use metadata::{MemoryStore, MetadataStore};
use storage::{
    object_store::{ObjectStorage, StorageOptions},
    wal::sim_fs::SimWalFs,
};
use tokio::io::duplex;

pub use self::client::{Client, ClientError, batch};
use crate::{
    config::sources::{Sources, StaticConfig},
    context::Broker,
    server::Server,
    start::{self, StartDeps, StartError},
};

/// Unix milliseconds at the beginning of every test: 2026-01-01.
pub const EPOCH_MS: i64 = 1_767_225_600_000;
/// Bytes in flight per direction of an in-process connection.
const PIPE_BYTES: usize = 1 << 20;

/// What outlives a broker: its disk, its stores, its clock.
#[derive(Debug, Clone)]
pub struct World {
    /// The metadata store.
    pub metadata: Arc<dyn MetadataStore>,
    /// The WAL's disk.
    pub wal_fs: SimWalFs,
    /// The object store.
    pub objects: Arc<ObjectStorage>,
    /// Tokio's time.
    pub clock: SharedClock,
    /// Everything random.
    pub rng: Rng,
    /// Everything a task.
    pub spawner: Spawner,
}

impl World {
    /// An empty world. A fatal error of a broker in it panics.
    ///
    /// # Errors
    /// Where the object store in memory cannot be opened.
    pub async fn new(seed: u64) -> Result<Self, storage::object::Error> {
        let rng = Rng::seeded(seed);
        let clock: SharedClock = Arc::new(TokioClock::starting_at(EPOCH_MS));
        let spawner = Spawner::tasks(Fatal::new(|reason| panic!("fatal: {reason}")));
        let objects = ObjectStorage::open(
            "memory:///",
            &BTreeMap::new(),
            StorageOptions::default(),
            &spawner,
            Arc::clone(&clock),
            rng.clone(),
        )
        .await?;
        Ok(Self {
            metadata: Arc::new(MemoryStore::new()),
            wal_fs: SimWalFs::new(rng.clone()),
            objects: Arc::new(objects),
            clock,
            rng,
            spawner,
        })
    }

    /// Starts a broker on what is there, with these settings beside small files and pools.
    ///
    /// # Errors
    /// As [`start::start`].
    pub async fn start(&self, settings: &[(&str, &str)]) -> Result<TestBroker, StartError> {
        let small = [
            ("advertised.listeners", "PLAINTEXT://broker.test:9092"),
            ("streamhouse.wal.file.bytes", "4194304"),
        ];
        let overridden = |key: &str| settings.iter().any(|(overriding, _)| *overriding == key);
        let flags = small
            .iter()
            .filter(|(key, _)| !overridden(key))
            .chain(settings)
            .map(|(key, value)| ("test".to_owned(), (*key).to_owned(), (*value).to_owned()))
            .collect();
        let sources = Sources { flags, ..Sources::default() };
        let deps = StartDeps {
            static_config: Arc::new(StaticConfig::resolve(&sources)?),
            port: 9092,
            metadata: Arc::clone(&self.metadata),
            wal_fs: Arc::new(self.wal_fs.clone()),
            wal_directory: None,
            objects: Arc::clone(&self.objects),
            clock: Arc::clone(&self.clock),
            rng: self.rng.clone(),
            spawner: self.spawner.clone(),
        };
        let broker = start::start(deps).await?;
        Ok(TestBroker { server: Server::new(Arc::clone(&broker)), broker })
    }
}

/// A running broker.
#[derive(Debug, Clone)]
pub struct TestBroker {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Its server, without a socket.
    pub server: Server,
}

impl TestBroker {
    /// A new connection.
    #[must_use]
    pub fn connect(&self) -> Client {
        let (ours, theirs) = duplex(PIPE_BYTES);
        // The connection ends with its stream; nobody needs its handle.
        drop(self.server.serve_stream(theirs, "PLAINTEXT"));
        Client::new(ours)
    }

    /// Stops in order.
    pub async fn stop(&self) {
        start::stop(&self.broker).await;
    }
}
