//! Broker keys that are not in the table, as AlterConfigs sees them: Kafka's own of no meaning here,
//! and names that nobody knows, which Kafka stores for plugins to read.

use super::{Effect, broker_key, family_effect};

/// Kafka's keys that only a start sets, of no family.
const READ_ONLY: [&str; 24] = [
    "alter.log.dirs.replication.quota.window.num",
    "alter.log.dirs.replication.quota.window.size.seconds",
    "connection.failed.authentication.delay.ms",
    "controller.quota.window.num",
    "controller.quota.window.size.seconds",
    "controller.socket.timeout.ms",
    "delegation.token.expiry.check.interval.ms",
    "delegation.token.expiry.time.ms",
    "delegation.token.max.lifetime.ms",
    "delete.records.purgatory.purge.interval.requests",
    "early.start.listeners",
    "kafka.metrics.polling.interval.secs",
    "kafka.metrics.reporters",
    "log.dir.failure.timeout.ms",
    "log.flush.offset.checkpoint.interval.ms",
    "log.flush.start.offset.checkpoint.interval.ms",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "num.replica.alter.log.dirs.threads",
    "replication.quota.window.num",
    "replication.quota.window.size.seconds",
    "security.providers",
    "share.fetch.purgatory.purge.interval.requests",
];

/// Kafka's dynamic keys of families that otherwise only a start sets.
const DYNAMIC: [&str; 10] = [
    "group.share.assignment.interval.ms",
    "group.streams.assignment.interval.ms",
    "remote.log.index.file.cache.total.size.bytes",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.copy.max.bytes.per.second",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.fetch.max.bytes.per.second",
    "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads",
    "share.coordinator.cached.buffer.max.bytes",
];

/// Whether a key that is not in the table may not be set while the broker runs: Kafka refuses it,
/// or accepts it for the sake of security, which is not built here, and keeping it would mislead.
#[must_use]
pub fn is_refused_elsewhere(name: &str) -> bool {
    broker_key(name).is_none()
        && match family_effect(name) {
            Some(Effect::Refused) => true,
            Some(_) => !DYNAMIC.contains(&name),
            None => READ_ONLY.contains(&name),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_and_what_a_start_sets_is_refused_and_the_rest_is_kept() {
        for name in ["ssl.client.auth", "listener.name.x.ssl.keystore.location", "sasl.jaas.config"]
        {
            assert!(is_refused_elsewhere(name), "{name}");
        }
        assert!(is_refused_elsewhere("replica.fetch.max.bytes"));
        assert!(is_refused_elsewhere("metrics.num.samples"));
        assert!(!is_refused_elsewhere("remote.log.reader.threads"));
        assert!(!is_refused_elsewhere("my.plugin.key"));
        assert!(!is_refused_elsewhere("message.max.bytes"));
    }

    #[test]
    fn no_name_is_in_the_table_too() {
        for name in READ_ONLY.iter().chain(&DYNAMIC) {
            assert!(broker_key(name).is_none(), "{name}");
        }
        assert!(DYNAMIC.iter().all(|name| family_effect(name).is_some()));
        assert!(READ_ONLY.iter().all(|name| family_effect(name).is_none()));
    }
}
