//! SQL over PostgreSQL's wire protocol: for psql, drivers, and every tool that speaks it.
//!
//! ```text
//!  listener ─▶ connection ─▶ wire      frames from the client, checked
//!                  │         session   settings, transaction block, prepared statements, portals
//!                  │            ├─ command ◀─ rewrite   SQL as clients of PostgreSQL write it
//!                  │            └─ engine               the one that HTTP uses: its limits, its checks
//!                  └──────── rows ─▶ values, copy       batches as messages or as a file
//! ```
//!
//! Anybody may connect, by any name and to any database: there is one, and it is only read. A
//! transaction block is a bracket without a meaning, for each statement sees what is there when
//! it begins. Statements that write are refused with SQLSTATE 25006.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use common::{rng::Rng, spawn::Spawner};
use datafusion::prelude::SessionContext;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tracing::{debug, warn};

use self::{cancel::Cancels, catalog::Catalog, rewrite::Rewriter, session::Identity};
use crate::{engine::QueryEngine, error::QueryError};

mod cancel;
mod catalog;
mod command;
mod connection;
mod copy;
mod error;
mod extended;
mod numeric;
mod out;
mod params;
mod portal;
mod prepared;
mod rewrite;
mod rows;
mod session;
mod settings;
mod text;
mod types;
mod values;
mod wire;

/// Connections at once, as in PostgreSQL; the next one is refused.
const CONNECTIONS_MAX: usize = 100;
/// Pause after a failed accept: usually the process has no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound listener that accepts nothing yet.
#[derive(Debug)]
pub struct PgListener {
    socket: TcpListener,
    address: SocketAddr,
}

impl PgListener {
    /// Binds `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The bound address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// Serves connections: from sockets, and from in-process streams.
#[derive(Debug, Clone)]
pub struct PgServer {
    shared: Arc<Shared>,
    spawner: Spawner,
    places: Arc<Semaphore>,
}

/// What connections share.
#[derive(Debug)]
struct Shared {
    engine: Arc<QueryEngine>,
    cancels: Arc<Cancels>,
    /// Made for the first connection: most brokers never have one.
    catalog: OnceLock<(Catalog, Arc<Rewriter>)>,
}

impl Shared {
    fn context(&self, identity: &Identity) -> Result<(SessionContext, Arc<Rewriter>), QueryError> {
        let (catalog, rewriter) = match self.catalog.get() {
            Some(made) => made,
            None => {
                let made = (Catalog::new(&self.engine)?, Arc::default());
                // Two at once make two, and one stays.
                self.catalog.get_or_init(|| made)
            }
        };
        Ok((catalog.session(identity)?, Arc::clone(rewriter)))
    }
}

impl PgServer {
    /// A server for an engine.
    #[must_use]
    pub fn new(engine: Arc<QueryEngine>, rng: Rng, spawner: Spawner) -> Self {
        let shared = Shared { engine, cancels: Cancels::new(rng), catalog: OnceLock::new() };
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { shared: Arc::new(shared), spawner, places }
    }

    /// Accepts connections for as long as it is polled.
    pub async fn serve(self, listener: PgListener) {
        loop {
            match listener.socket.accept().await {
                Ok((stream, peer)) => self.accepted(stream, peer),
                Err(error) => {
                    warn!(%error, "accepting a PostgreSQL connection failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn accepted(&self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "connection lost before it began");
            return;
        }
        let server = self.clone();
        self.spawner.spawn("postgres", async move {
            if let Err(error) = server.serve_stream(stream).await {
                debug!(%peer, %error, "connection lost");
            }
        });
    }

    /// Serves one stream, as if a socket had been accepted.
    ///
    /// # Errors
    /// Where it breaks off.
    pub async fn serve_stream<S>(&self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        let (reader, writer) = tokio::io::split(Box::pin(stream));
        let Ok(_place) = self.places.try_acquire() else {
            let mut out = out::Outgoing::new(writer);
            out.error(&error::PgError::fatal("53300", "sorry, too many clients already"));
            return out.flush().await;
        };
        connection::serve(reader, writer, &self.shared).await
    }
}
