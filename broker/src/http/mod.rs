//! The HTTP listener for operators: `/metrics`, `/health`, `/ready`, `/live`.
//!
//! It serves from before the log is recovered until the process ends, so that a start or a
//! shutdown can be watched. Answers are JSON, but for the metrics.

mod health;
mod metrics;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use common::clock::SharedClock;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

pub use self::metrics::{InstallError, install_recorder};
use crate::context::Broker;

/// How far the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Recovering; no client is served.
    Starting = 0,
    /// Clients are served.
    Serving = 1,
    /// Requests that were taken on are answered, new connections are not accepted.
    Stopping = 2,
}

impl Phase {
    /// As the endpoints name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
        }
    }
}

/// What the endpoints report on. Clones share it.
#[derive(Debug, Clone)]
pub struct Status {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    phase: AtomicU8,
    broker: OnceLock<Arc<Broker>>,
    recorder: PrometheusHandle,
    clock: SharedClock,
    started: Duration,
}

impl Status {
    /// A process that is starting.
    #[must_use]
    pub fn new(recorder: PrometheusHandle, clock: SharedClock) -> Self {
        let inner = Inner {
            phase: AtomicU8::new(Phase::Starting as u8),
            broker: OnceLock::new(),
            recorder,
            started: clock.monotonic(),
            clock,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The broker serves from now on.
    pub fn serving(&self, broker: Arc<Broker>) {
        // It is told once; a second broker of the process would be a mistake without effect.
        let _ = self.inner.broker.set(broker);
        self.inner.phase.store(Phase::Serving as u8, Ordering::Release);
    }

    /// The broker is on its way down.
    pub fn stopping(&self) {
        self.inner.phase.store(Phase::Stopping as u8, Ordering::Release);
    }

    /// How far the process is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.inner.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }

    fn broker(&self) -> Option<&Arc<Broker>> {
        self.inner.broker.get()
    }

    fn uptime(&self) -> Duration {
        self.inner.clock.monotonic().saturating_sub(self.inner.started)
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct HttpListener {
    socket: TcpListener,
    address: SocketAddr,
}

impl HttpListener {
    /// Binds `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// Where it cannot be bound.
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

    /// Serves until `stop` completes; `more` are endpoints of other parts of the process.
    ///
    /// # Errors
    /// Where the listener fails.
    pub async fn serve(
        self,
        status: Status,
        more: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        axum::serve(self.socket, router(status).merge(more)).with_graceful_shutdown(stop).await
    }
}

/// The endpoints.
pub fn router(status: Status) -> Router {
    Router::new()
        .route("/", get(health::index))
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics::metrics))
        .with_state(status)
}

#[cfg(test)]
mod tests;
