//! `/metrics`: what the recorder has, and gauges that are read at the scrape.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use metrics::gauge;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::{Phase, Status};
use crate::context::Broker;

/// Why no recorder was installed.
pub type InstallError = BuildError;

/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets of every `…_seconds` histogram: half a sync to a long poll.
const SECONDS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Installs the process' recorder. Once, before the broker is put together: handles belong to the
/// recorder that is there when they are made.
///
/// # Errors
/// Where there is one already.
pub fn install_recorder() -> Result<PrometheusHandle, InstallError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()
}

/// `/metrics`.
pub(super) async fn metrics(State(status): State<Status>) -> Response {
    let is_serving = status.phase() == Phase::Serving;
    gauge!("streamhouse_up").set(if is_serving { 1.0 } else { 0.0 });
    gauge!("streamhouse_uptime_seconds_total").set(status.uptime().as_secs_f64());
    gauge!("streamhouse_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    if let Some(broker) = status.broker() {
        read_gauges(broker);
    }
    let recorder = &status.inner.recorder;
    recorder.run_upkeep();
    ([(CONTENT_TYPE, TEXT_FORMAT)], recorder.render()).into_response()
}

#[allow(clippy::cast_precision_loss, reason = "gauges are approximate above 2^53")]
fn read_gauges(broker: &Broker) {
    let log = broker.log.stats();
    gauge!("streamhouse_topics").set(broker.catalog.image().len() as f64);
    gauge!("streamhouse_partitions").set(log.partitions as f64);
    gauge!("streamhouse_tail_bytes").set(log.tail_bytes as f64);
    gauge!("streamhouse_wal_bytes").set(log.wal_bytes as f64);
    gauge!("streamhouse_wal_queued_bytes").set(log.queued_bytes as f64);
    gauge!("streamhouse_task_panics").set(broker.spawner.panics() as f64);
    read_coordinator_gauges(broker);
    let pools = [("requests", &broker.request_memory), ("fetch", &broker.fetch_memory)];
    for (name, pool) in pools {
        gauge!("streamhouse_memory_used_bytes", "pool" => name).set(pool.used() as f64);
        gauge!("streamhouse_memory_limit_bytes", "pool" => name).set(pool.total() as f64);
    }
}

/// Groups by type and state as Kafka names them; combinations that were there once stay, at 0.
#[allow(clippy::cast_precision_loss, reason = "gauges are approximate above 2^53")]
fn read_coordinator_gauges(broker: &Broker) {
    const TYPES: [(&str, &[&str]); 2] = [
        ("classic", &["Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"]),
        ("consumer", &["Empty", "Assigning", "Reconciling", "Stable", "Dead"]),
    ];
    let runtime = broker.coordination.groups.runtime();
    let (mut counts, mut offsets) = (BTreeMap::new(), 0);
    runtime.observe(|shard| {
        shard.count_groups(&mut counts);
        offsets += shard.offset_count();
    });
    for (group_type, states) in TYPES {
        for state in states {
            let count = counts.get(&(group_type, *state)).copied().unwrap_or_default();
            gauge!("streamhouse_groups", "type" => group_type, "state" => *state).set(count as f64);
        }
    }
    gauge!("streamhouse_group_offsets").set(offsets as f64);
    let stats = runtime.stats();
    let partitions =
        [("active", stats.active), ("loading", stats.loading), ("failed", stats.failed)];
    for (state, count) in partitions {
        gauge!("streamhouse_coordinator_partitions", "coordinator" => "groups", "state" => state)
            .set(count as f64);
    }
    gauge!("streamhouse_coordinator_loads", "coordinator" => "groups").set(stats.loads as f64);
    gauge!("streamhouse_coordinator_load_max_seconds", "coordinator" => "groups")
        .set(stats.load_max.as_secs_f64());
}
