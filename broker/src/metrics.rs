//! Counters of the network side, with the handles kept so that a request costs no look-up.
//!
//! The handles belong to the recorder that is installed when the broker is put together.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use protocol::{ApiKey, ErrorCode};

use crate::dispatch;

/// The broker's counters.
#[derive(Debug)]
pub struct Metrics {
    /// In the order of [`dispatch::SERVED`].
    apis: Vec<ApiMetrics>,
    bytes_out: Counter,
    connections: Gauge,
    refused_connections: Counter,
}

#[derive(Debug)]
struct ApiMetrics {
    requests: Counter,
    latency_seconds: Histogram,
}

impl Metrics {
    /// Handles of the installed recorder.
    #[must_use]
    pub fn new() -> Self {
        let api = |api: &ApiKey| ApiMetrics {
            requests: counter!("streamhouse_requests_total", "api" => api.name()),
            latency_seconds: histogram!("streamhouse_request_seconds", "api" => api.name()),
        };
        Self {
            apis: dispatch::SERVED.iter().map(api).collect(),
            bytes_out: counter!("streamhouse_response_bytes_total"),
            connections: gauge!("streamhouse_connections"),
            refused_connections: counter!("streamhouse_connections_refused_total"),
        }
    }

    /// One request was answered after `took`.
    pub(crate) fn request(&self, api: ApiKey, took: Duration) {
        let at = dispatch::SERVED.binary_search(&api).ok();
        if let Some(metrics) = at.and_then(|at| self.apis.get(at)) {
            metrics.requests.increment(1);
            metrics.latency_seconds.record(took);
        }
    }

    /// One request or one part of it (a topic, a partition) was answered with an error.
    pub fn error(&self, api: ApiKey, error: ErrorCode) {
        let (api, error) = (api.name(), error.name());
        counter!("streamhouse_request_errors_total", "api" => api, "error" => error).increment(1);
    }

    /// As [`Self::error`], of a code as an answer carries it; none is not counted.
    pub(crate) fn error_code(&self, api: ApiKey, code: i16) {
        match ErrorCode::from_code(code) {
            ErrorCode::None => {}
            error => self.error(api, error),
        }
    }

    pub(crate) fn bytes_out(&self, bytes: usize) {
        self.bytes_out.increment(bytes as u64);
    }

    pub(crate) fn connection_opened(&self) {
        self.connections.increment(1);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.decrement(1);
    }

    pub(crate) fn connection_refused(&self) {
        self.refused_connections.increment(1);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
