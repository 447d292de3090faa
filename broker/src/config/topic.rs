//! A topic's configuration: validating overrides as Kafka's `LogConfig` does, and turning them and
//! the broker's defaults into what the log obeys.

use std::collections::BTreeMap;

use protocol::records::{Compression, CompressionPolicy, TimestampType};
use storage::{CleanupPolicy, Durability, TopicLogConfig, compaction::CleaningPolicy};
use table::{alias, config::TableConfig};
use tracing::warn;

use super::{
    effective::Layers,
    names::{self, ConfigKey},
    value::Value,
};

/// Checks a topic's overrides as a whole, before they are stored.
///
/// # Errors
/// Kafka's message for the first thing that is wrong.
pub fn validate(overrides: &BTreeMap<String, String>) -> Result<(), String> {
    let mut values = BTreeMap::new();
    for name in overrides.keys() {
        if names::topic_key(name).is_none() && !alias::is_alias(name) {
            return Err(format!("Unknown topic config name: {name}"));
        }
    }
    for (name, text) in overrides {
        if let Some(key) = names::topic_key(name) {
            values.insert(key.name, key.parse(text).map_err(|error| error.to_string())?);
        }
    }
    check_compaction_lags(&values)?;
    TableConfig::read(overrides)?;
    if values.get("remote.storage.enable") == Some(&Value::Boolean(true)) {
        return Err("Tiered Storage functionality is disabled in the broker. Topic cannot be \
                    configured with remote log storage."
            .to_owned());
    }
    for note in alias::translated(overrides).notes {
        warn!("{note}");
    }
    Ok(())
}

fn check_compaction_lags(values: &BTreeMap<&'static str, Value>) -> Result<(), String> {
    let lag = |name: &str| {
        let default = || names::topic_key(name).and_then(ConfigKey::default_value);
        match values.get(name).cloned().or_else(default) {
            Some(Value::Number(lag)) => lag,
            _ => 0,
        }
    };
    let (min, max) = (lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms"));
    if min > max {
        return Err(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > \
             max.compaction.lag.ms ({max})"
        ));
    }
    Ok(())
}

/// What the log of a topic with these overrides obeys.
#[must_use]
pub fn log_config(layers: &Layers, overrides: &BTreeMap<String, String>) -> TopicLogConfig {
    let topic = Effective { layers, overrides };
    let cleanup = topic.list("cleanup.policy");
    TopicLogConfig {
        max_message_bytes: usize::try_from(topic.number("max.message.bytes")).unwrap_or(0),
        compression: compression(&topic),
        timestamp_type: match topic.text("message.timestamp.type").as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        timestamp_before_max_ms: topic.number("message.timestamp.before.max.ms"),
        timestamp_after_max_ms: topic.number("message.timestamp.after.max.ms"),
        retention_ms: Some(topic.number("retention.ms")).filter(|limit| *limit >= 0),
        retention_bytes: u64::try_from(topic.number("retention.bytes")).ok(),
        cleanup_policy: CleanupPolicy {
            delete: cleanup.iter().any(|policy| policy == "delete"),
            compact: cleanup.iter().any(|policy| policy == "compact"),
        },
        cleaning: CleaningPolicy {
            min_dirty_ratio: topic.fraction("min.cleanable.dirty.ratio"),
            delete_retention_ms: topic.number("delete.retention.ms"),
            min_lag_ms: topic.number("min.compaction.lag.ms"),
            max_lag_ms: topic.number("max.compaction.lag.ms"),
        },
        segment_ms: topic.number("segment.ms"),
        segment_bytes: u64::try_from(topic.number("segment.bytes")).unwrap_or(u64::MAX),
        durability: match topic.text("streamhouse.durability").as_str() {
            "object" => Durability::Object,
            _ => Durability::Local,
        },
    }
}

fn compression(topic: &Effective<'_>) -> CompressionPolicy {
    let level = |name: &str| i32::try_from(topic.number(name)).unwrap_or(-1);
    match topic.text("compression.type").as_str() {
        "uncompressed" => CompressionPolicy::Fixed(Compression::None),
        "gzip" => CompressionPolicy::Fixed(Compression::Gzip(level("compression.gzip.level"))),
        "snappy" => CompressionPolicy::Fixed(Compression::Snappy),
        "lz4" => CompressionPolicy::Fixed(Compression::Lz4(level("compression.lz4.level"))),
        "zstd" => CompressionPolicy::Fixed(Compression::Zstd(level("compression.zstd.level"))),
        _ => CompressionPolicy::Producer,
    }
}

/// Typed reads of a topic's values in force.
struct Effective<'a> {
    layers: &'a Layers,
    overrides: &'a BTreeMap<String, String>,
}

impl Effective<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let key = names::topic_key(name)?;
        if let Some(text) = self.overrides.get(name) {
            match key.parse(text) {
                Ok(value) => return Some(value),
                Err(error) => warn!(%error, "stored topic config is not valid, using the default"),
            }
        }
        self.layers.topic_default(key)
    }

    fn number(&self, name: &str) -> i64 {
        match self.value(name) {
            Some(Value::Number(number)) => number,
            _ => 0,
        }
    }

    fn fraction(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Double(fraction)) => fraction,
            _ => 0.0,
        }
    }

    fn text(&self, name: &str) -> String {
        self.value(name).map(|value| value.to_text()).unwrap_or_default()
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(items)) => items,
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn message(pairs: &[(&str, &str)]) -> String {
        validate(&overrides(pairs)).unwrap_err()
    }

    #[test]
    fn messages_are_those_of_kafka() {
        assert_eq!(
            message(&[("retention.mss", "1"), ("flush.ms", "x")]),
            "Unknown topic config name: retention.mss"
        );
        assert_eq!(
            message(&[("retention.ms", "abc")]),
            "Invalid value abc for configuration retention.ms: Not a number of type LONG"
        );
        assert_eq!(
            message(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]),
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
        );
        assert!(message(&[("remote.storage.enable", "true")]).contains("Tiered Storage"));
    }

    #[test]
    fn keys_of_other_products_refuse_no_topic() {
        for key in ["redpanda.iceberg.mode", "automq.table.topic.whatever"] {
            validate(&overrides(&[(key, "anything")])).unwrap();
        }
        let wrong = message(&[("redpanda.iceberg.mode", "key_value"), ("table.name", "a b")]);
        assert!(wrong.starts_with("table.name=a b: expected"), "{wrong}");
    }

    #[test]
    fn every_kafka_topic_key_is_accepted_with_its_default() {
        for key in names::topic_keys() {
            validate(&overrides(&[(key.name, key.default.unwrap())])).unwrap();
        }
    }

    #[test]
    fn defaults_are_those_of_kafka() {
        let config = log_config(&Layers::default(), &BTreeMap::new());
        assert_eq!(config.max_message_bytes, 1_048_588);
        assert_eq!(config.retention_ms, Some(604_800_000));
        assert_eq!(config.retention_bytes, None);
        assert_eq!(config.compression, CompressionPolicy::Producer);
        assert_eq!(config.timestamp_type, TimestampType::CreateTime);
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: false });
        assert_eq!(config.durability, Durability::Local);
    }

    #[test]
    fn overrides_reach_the_log() {
        let set = overrides(&[
            ("cleanup.policy", "compact, delete"),
            ("compression.type", "zstd"),
            ("compression.zstd.level", "7"),
            ("message.timestamp.type", "LogAppendTime"),
            ("retention.bytes", "5"),
            ("retention.ms", "-1"),
            ("streamhouse.durability", "object"),
        ]);
        let config = log_config(&Layers::default(), &set);
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: true });
        assert_eq!(config.compression, CompressionPolicy::Fixed(Compression::Zstd(7)));
        assert_eq!(config.timestamp_type, TimestampType::LogAppendTime);
        assert_eq!((config.retention_ms, config.retention_bytes), (None, Some(5)));
        assert_eq!(config.durability, Durability::Object);
    }

    #[test]
    fn a_stored_value_that_is_no_longer_valid_falls_back() {
        let config = log_config(&Layers::default(), &overrides(&[("max.message.bytes", "junk")]));
        assert_eq!(config.max_message_bytes, 1_048_588);
    }
}
