//! One life of the broker: started on the disk and the stores that survived the last one, ended by
//! dropping the runtime that its tasks run on.

use std::sync::{Arc, Mutex, PoisonError};

use broker::{
    config::sources::{Sources, StaticConfig},
    context::Broker,
    server::Server,
    start::{self, StartDeps, StartError},
    testing::Client,
};
use common::{
    clock::SharedClock,
    rng::Rng,
    spawn::{Fatal, Spawner},
};
use metadata::MetadataStore;
use storage::{
    object_store::{ObjectStorage, StorageOptions, faulty::FaultyObjectStore},
    wal::sim_fs::SimWalFs,
};
use tokio::io::duplex;
use tokio_util::sync::CancellationToken;

use crate::{clock::SimClock, ops::groups::SESSION_TIMEOUT_MS, options::Options};

/// Bytes in flight per direction of a connection: more than all that a client has on the wire.
const PIPE_BYTES: usize = 4 << 20;

/// Where a broker lives.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The WAL's disk.
    pub wal_fs: SimWalFs,
    /// The bucket and its faults.
    pub store: FaultyObjectStore,
    /// Durable metadata.
    pub metadata: Arc<dyn MetadataStore>,
    /// Time.
    pub clock: Arc<SimClock>,
}

/// A running broker.
#[derive(Debug, Clone)]
pub struct Incarnation {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Its object store, past the faults' wrapper.
    pub objects: Arc<ObjectStorage>,
    server: Server,
}

/// Whether and why the broker asked to be stopped.
#[derive(Debug, Clone, Default)]
pub struct Stopped {
    /// Cancelled when it has.
    pub token: CancellationToken,
    reason: Arc<Mutex<Option<String>>>,
}

impl Stopped {
    /// The reason, if there is one.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hook(&self) -> Fatal {
        let stopped = self.clone();
        Fatal::new(move |reason| {
            let mut first = stopped.reason.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| reason.to_owned());
            stopped.token.cancel();
        })
    }
}

/// The task spawner of one life.
#[must_use]
pub fn spawner(stopped: &Stopped) -> Spawner {
    Spawner::tasks(stopped.hook())
}

impl Incarnation {
    /// Starts a broker; everything random in it comes from `seed`.
    ///
    /// # Errors
    /// As the broker's start.
    pub async fn start(
        ground: &Ground,
        options: &Options,
        seed: u64,
        spawner: Spawner,
    ) -> Result<Self, StartError> {
        let rng = Rng::seeded(seed);
        let clock: SharedClock = Arc::<SimClock>::clone(&ground.clock);
        let objects = Arc::new(ObjectStorage::new(
            Arc::new(ground.store.clone()),
            StorageOptions::default(),
            Arc::clone(&clock),
            rng.clone(),
        ));
        let sources = Sources { flags: settings(options), ..Sources::default() };
        let deps = StartDeps {
            static_config: Arc::new(StaticConfig::resolve(&sources)?),
            port: 9092,
            metadata: Arc::clone(&ground.metadata),
            wal_fs: Arc::new(ground.wal_fs.clone()),
            wal_directory: None,
            objects: Arc::clone(&objects),
            clock,
            rng,
            spawner,
        };
        let broker = start::start(deps).await?;
        Ok(Self { server: Server::new(Arc::clone(&broker)), broker, objects })
    }

    /// A new connection.
    #[must_use]
    pub fn connect(&self, client_id: &str) -> Client {
        let (ours, theirs) = duplex(PIPE_BYTES);
        // The connection ends with its stream; nobody needs its handle.
        drop(self.server.serve_stream(theirs, "PLAINTEXT"));
        let mut client = Client::new(ours);
        client_id.clone_into(&mut client.client_id);
        client
    }

    /// Stops in order, as on SIGTERM.
    pub async fn stop(&self) {
        start::stop(&self.broker).await;
    }
}

/// Small files and short intervals, so that all of storage works within a run.
fn settings(options: &Options) -> Vec<(String, String, String)> {
    let own = [
        ("advertised.listeners", "PLAINTEXT://broker.sim:9092".to_owned()),
        ("streamhouse.wal.file.bytes", options.wal_file_bytes.to_string()),
        ("streamhouse.wal.max.bytes", options.wal_max_bytes.to_string()),
        ("streamhouse.memory.tail.bytes", options.tail_bytes.to_string()),
        ("streamhouse.memory.cache.bytes", (1_u64 << 20).to_string()),
        ("streamhouse.wal.seal.age.ms", "10000".to_owned()),
        ("streamhouse.object.compaction.interval.ms", "2000".to_owned()),
        ("streamhouse.object.compaction.bytes", (1_u64 << 20).to_string()),
        ("streamhouse.object.gc.grace.ms", "5000".to_owned()),
        ("streamhouse.object.gc.interval.ms", "2000".to_owned()),
        ("streamhouse.object.gc.orphan.interval.ms", "10000".to_owned()),
        ("log.retention.check.interval.ms", "10000".to_owned()),
        ("streamhouse.object.request.timeout.ms", "5000".to_owned()),
        ("streamhouse.shutdown.timeout.ms", "5000".to_owned()),
        ("auto.create.topics.enable", "false".to_owned()),
        ("offsets.topic.num.partitions", "5".to_owned()),
        ("group.initial.rebalance.delay.ms", "500".to_owned()),
        ("group.consumer.min.session.timeout.ms", "1000".to_owned()),
        ("group.consumer.session.timeout.ms", SESSION_TIMEOUT_MS.to_string()),
        ("group.consumer.min.heartbeat.interval.ms", "100".to_owned()),
        ("group.consumer.heartbeat.interval.ms", "500".to_owned()),
        // Empty groups stay, so that generations are never counted anew behind a member's back.
        ("offsets.retention.check.interval.ms", "86400000".to_owned()),
    ];
    own.map(|(key, value)| ("sim".to_owned(), key.to_owned(), value)).to_vec()
}

/// Capacity of a disk that is never full: through it the bytes in use can be seen.
pub const DISK_BYTES: u64 = 1 << 40;
