//! Listeners: accept, count, hand over to [`crate::connection`].
//!
//! A connection beyond `max.connections` or `max.connections.per.ip` is closed at once: clients
//! try again, and what is connected keeps working. A panic in a connection ends that connection
//! only (design D16).

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{info, warn};

pub use crate::connection::Transport;
use crate::{
    connection,
    context::{Broker, ConnectionInfo},
};

/// Pause after a failed accept: usually the process has no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound listener that accepts nothing yet: its port is known before the broker is put together.
#[derive(Debug)]
pub struct Listener {
    name: String,
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address` (port 0 picks a free one) as the listener `name`, such as `PLAINTEXT`.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind(name: &str, address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { name: name.to_owned(), socket, address })
    }

    /// The bound address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// Serves connections for one broker: from sockets, and from in-process streams.
#[derive(Debug, Clone)]
pub struct Server {
    broker: Arc<Broker>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    connections: AtomicUsize,
    next_id: AtomicU64,
    per_ip: Mutex<BTreeMap<IpAddr, usize>>,
}

impl Server {
    /// A server without listeners.
    #[must_use]
    pub fn new(broker: Arc<Broker>) -> Self {
        Self { broker, shared: Arc::default() }
    }

    /// Accepts connections until the broker drains.
    pub fn listen(&self, listener: Listener) -> JoinHandle<()> {
        let server = self.clone();
        self.broker.spawner.spawn("listener", async move { server.accept_all(listener).await })
    }

    /// Serves one in-process stream, as if a socket had been accepted.
    pub fn serve_stream<S>(&self, stream: S, listener: &str) -> JoinHandle<()>
    where
        S: Transport,
    {
        self.spawn_connection(stream, listener, None, self.admit(None))
    }

    async fn accept_all(self, listener: Listener) {
        let mut draining = std::pin::pin!(self.broker.shutdown.draining());
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut draining => return,
                accepted = listener.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.accepted(stream, peer, &listener.name),
                Err(error) => {
                    warn!(listener = listener.name, %error, "accept failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn accepted(&self, stream: TcpStream, peer: SocketAddr, listener: &str) {
        if let Some(reason) = self.refusal(peer.ip()) {
            self.broker.metrics.connection_refused();
            info!(%peer, listener, reason, "connection refused");
            return;
        }
        if let Err(error) = stream.set_nodelay(true) {
            info!(%peer, listener, %error, "connection lost before it began");
            return;
        }
        self.spawn_connection(stream, listener, Some(peer), self.admit(Some(peer.ip())));
    }

    fn refusal(&self, ip: IpAddr) -> Option<&'static str> {
        let options = self.broker.options();
        if self.shared.connections.load(Ordering::Relaxed) >= options.connections_max {
            return Some("max.connections is reached");
        }
        let from_ip = self.shared.per_ip().get(&ip).copied().unwrap_or(0);
        (from_ip >= options.connections_per_ip_max).then_some("max.connections.per.ip is reached")
    }

    fn admit(&self, ip: Option<IpAddr>) -> Admission {
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        if let Some(ip) = ip {
            *self.shared.per_ip().entry(ip).or_default() += 1;
        }
        self.broker.metrics.connection_opened();
        Admission {
            broker: Arc::clone(&self.broker),
            shared: Arc::clone(&self.shared),
            ip,
            _tracked: self.broker.shutdown.track(),
        }
    }

    fn spawn_connection<S>(
        &self,
        stream: S,
        listener: &str,
        peer: Option<SocketAddr>,
        admission: Admission,
    ) -> JoinHandle<()>
    where
        S: Transport,
    {
        let info = Arc::new(ConnectionInfo {
            id: self.shared.next_id.fetch_add(1, Ordering::Relaxed) + 1,
            peer,
            listener: listener.to_owned(),
            software: OnceLock::new(),
        });
        let broker = Arc::clone(&self.broker);
        self.broker.spawner.spawn("connection", async move {
            let _admission = admission;
            connection::serve(broker, info, stream).await;
        })
    }
}

impl Shared {
    fn per_ip(&self) -> std::sync::MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.per_ip.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A counted connection; given back on drop, also by a panic.
struct Admission {
    broker: Arc<Broker>,
    shared: Arc<Shared>,
    ip: Option<IpAddr>,
    _tracked: TaskTrackerToken,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.broker.metrics.connection_closed();
        let Some(ip) = self.ip else { return };
        let mut per_ip = self.shared.per_ip();
        if let Some(count) = per_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                per_ip.remove(&ip);
            }
        }
    }
}
