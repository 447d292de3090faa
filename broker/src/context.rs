//! What a handler is given: the [`Broker`] with everything it may reach, and the
//! [`RequestContext`] of the one request.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};

use common::{
    NodeId,
    buffers::BufferPool,
    clock::SharedClock,
    memory::{MemoryBudget, Reservation},
    rng::Rng,
    spawn::Spawner,
};
use metadata::{Fence, MetadataStore};
use protocol::{ApiKey, RequestHeader};
use storage::Log;

use crate::{
    catalog::Catalog,
    config::{dynamic::Configs, group::GroupConfigs},
    coordination::Coordination,
    fetch_session::FetchSessions,
    metrics::Metrics,
    options::BrokerOptions,
    producer_ids::ProducerIds,
    purgatory::Purgatory,
    shutdown::Shutdown,
};

/// The part of the memory for requests that is kept for small frames, and as much for buffers that
/// wait for the next frame: one in so many bytes.
const SMALL_FRAMES_SHARE: usize = 8;
/// A request that needs at most this much memory is charged to the small frames' pool.
const SMALL_REQUEST_BYTES_MAX: usize = 64 * 1024;

/// One broker. Handlers share it; nothing in it is replaced after the start but the options and
/// the catalog's image.
#[derive(Debug)]
pub struct Broker {
    /// `node.id`, as the metadata store holds it.
    pub node_id: NodeId,
    /// The cluster's id, as Metadata shows it.
    pub cluster_id: String,
    /// This process' session with the metadata store: every write carries it.
    pub fence: Fence,
    /// The metadata store. The produce and hot-fetch paths never touch it.
    pub metadata: Arc<dyn MetadataStore>,
    /// The partitions' records.
    pub log: Arc<Log>,
    /// The topics.
    pub catalog: Catalog,
    /// Groups and transactions.
    pub coordination: Coordination,
    /// The configuration in force, for the handlers that show and change it.
    pub configs: Arc<Configs>,
    /// Dynamic configurations of groups.
    pub group_configs: Arc<GroupConfigs>,
    /// Producer ids for InitProducerId.
    pub producer_ids: Arc<ProducerIds>,
    /// Incremental fetch sessions.
    pub fetch_sessions: FetchSessions,
    /// Bound on fetches that wait for records.
    pub purgatory: Purgatory,
    /// Charged with large frames before they are read.
    pub request_memory: MemoryBudget,
    /// Charged with small frames before they are read: a fetch or a metadata request never waits
    /// behind producers that fill the other pool.
    pub small_request_memory: MemoryBudget,
    /// Buffers that frames are read into.
    pub frame_buffers: BufferPool,
    /// Charged with fetched records until they are written to the socket.
    pub fetch_memory: MemoryBudget,
    /// Asks connections to drain and end.
    pub shutdown: Shutdown,
    /// Counters of requests and connections.
    pub metrics: Metrics,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub rng: Rng,
    /// Tasks.
    pub spawner: Spawner,
    /// The settings: [`Broker::options`].
    pub(crate) options: RwLock<Arc<BrokerOptions>>,
}

impl Broker {
    /// The memory for requests, shared out: for large frames, for small ones, for buffers that are
    /// free.
    pub(crate) fn request_pools(
        options: &BrokerOptions,
    ) -> (MemoryBudget, MemoryBudget, BufferPool) {
        let share = options.request_pool_bytes / SMALL_FRAMES_SHARE;
        let large = MemoryBudget::new(options.request_pool_bytes - 2 * share);
        (large, MemoryBudget::new(share), BufferPool::new(share))
    }

    /// The pool that a request of `bytes` is charged to.
    pub(crate) fn request_pool(&self, bytes: usize) -> &MemoryBudget {
        if bytes <= SMALL_REQUEST_BYTES_MAX {
            &self.small_request_memory
        } else {
            &self.request_memory
        }
    }

    /// The settings of this moment. One request uses one value throughout.
    #[must_use]
    pub fn options(&self) -> Arc<BrokerOptions> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the settings. Sizes of pools and caches stay those of the start.
    pub fn set_options(&self, options: BrokerOptions) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }
}

/// One request's circumstances.
#[derive(Debug)]
pub struct RequestContext {
    /// The API.
    pub api_key: ApiKey,
    /// The version of the request, and of its answer.
    pub api_version: i16,
    /// The client's number for the request.
    pub correlation_id: i32,
    /// `client.id`, empty where the client sends none.
    pub client_id: String,
    /// The connection that it came on.
    pub connection: Arc<ConnectionInfo>,
    held: Mutex<Vec<Reservation>>,
}

impl RequestContext {
    pub(crate) fn new(header: RequestHeader, connection: Arc<ConnectionInfo>) -> Self {
        Self {
            api_key: header.api_key,
            api_version: header.api_version,
            correlation_id: header.correlation_id,
            client_id: header.client_id.unwrap_or_default(),
            connection,
            held: Mutex::default(),
        }
    }

    /// Keeps memory reserved until the answer has been written to the socket.
    pub fn hold(&self, reservation: Reservation) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
    }

    pub(crate) fn take_held(&self) -> Vec<Reservation> {
        std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn version_of(&self) -> (ApiKey, i16, i32) {
        (self.api_key, self.api_version, self.correlation_id)
    }
}

/// One connection's circumstances.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// Number of the connection in this process, from 1.
    pub id: u64,
    /// The client's address; `None` for an in-process stream.
    pub peer: Option<SocketAddr>,
    /// The listener that accepted it, such as `PLAINTEXT`.
    pub listener: String,
    /// What the client said of itself in ApiVersions (KIP-511).
    pub software: OnceLock<ClientSoftware>,
}

impl ConnectionInfo {
    /// The client's address as Kafka writes it, which is how Java shows one without a name.
    #[must_use]
    pub fn client_host(&self) -> String {
        self.peer.map_or_else(|| "/in-process".to_owned(), |peer| format!("/{}", peer.ip()))
    }
}

/// A client library and its version, as it names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSoftware {
    /// Such as `apache-kafka-java`.
    pub name: String,
    /// Such as `4.3.1`.
    pub version: String,
}
