//! Keys of other products that say what ours do: topics that are migrated keep their settings.
//!
//! They are read where ours are not set, and never written. What of them is not understood is
//! named and does nothing; it is no reason to refuse a topic.

use std::collections::BTreeMap;

use crate::{
    config::{COMMIT_INTERVAL_MS, SNAPSHOT_MIN, SNAPSHOT_RETENTION_MS_MIN, TableConfig, keys},
    name,
};

/// AutoMQ's keys of a topic's table.
const AUTOMQ: &str = "automq.table.topic.";
/// Redpanda's.
const REDPANDA: &str = "redpanda.iceberg.";

/// Whether a key is another product's for a topic's table.
#[must_use]
pub fn is_alias(key: &str) -> bool {
    key.starts_with(AUTOMQ) || key.starts_with(REDPANDA)
}

/// Settings in our own keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// Ours, and what the others mean in terms of ours.
    pub values: BTreeMap<String, String>,
    /// What became of each of the others, for people.
    pub notes: Vec<String>,
}

/// Reads other products' keys as ours. Each is read that is right together with ours and with
/// those read before it.
#[must_use]
pub fn translated(values: &BTreeMap<String, String>) -> Translated {
    let (others, own): (BTreeMap<_, _>, BTreeMap<_, _>) =
        values.clone().into_iter().partition(|(key, _)| is_alias(key));
    let (mut merged, mut notes) = (own.clone(), Vec::new());
    let mut pending = Vec::new();
    for (key, value) in &others {
        match meaning(key, value.trim(), &own) {
            Some(meaning) => pending.push((format!("{key}={value}"), meaning)),
            None => notes.push(format!("{key}={value} is not understood and does nothing")),
        }
    }
    // What needs another is read after it.
    loop {
        let before = pending.len();
        pending.retain(|(setting, meaning)| {
            let mut with = merged.clone();
            for (key, value) in meaning.iter().filter(|(key, _)| !own.contains_key(*key)) {
                with.insert((*key).to_owned(), value.clone());
            }
            if TableConfig::read_own(&with).is_err() {
                return true;
            }
            let read: Vec<_> =
                meaning.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let read = read.join(", ");
            notes.push(format!("{setting} is read as {read}; set that, which goes first, instead"));
            merged = with;
            false
        });
        if pending.is_empty() || pending.len() == before {
            break;
        }
    }
    let left = pending.into_iter().map(|(setting, _)| setting);
    notes.extend(left.map(|setting| {
        format!("{setting} does nothing: it does not go together with the other settings")
    }));
    Translated { values: merged, notes }
}

/// What a key means in terms of ours.
fn meaning(
    key: &str,
    value: &str,
    own: &BTreeMap<String, String>,
) -> Option<Vec<(&'static str, String)>> {
    let is = |key: &'static str, value: &str| Some(vec![(key, value.to_owned())]);
    let flag = || value.to_ascii_lowercase().parse::<bool>().ok();
    let key = match (key.strip_prefix(AUTOMQ), key.strip_prefix(REDPANDA)) {
        (Some("enable"), _) => return is(keys::ENABLE, &flag()?.to_string()),
        (Some("commit.interval.ms"), _) | (_, Some("target.lag.ms")) => {
            let interval = value.parse::<i64>().ok()?;
            let interval = interval.clamp(*COMMIT_INTERVAL_MS.start(), *COMMIT_INTERVAL_MS.end());
            return is(keys::COMMIT_INTERVAL_MS, &interval.to_string());
        }
        (Some("convert.value.type"), _) => keys::VALUE_CONVERT,
        (Some("convert.key.type"), _) => keys::KEY_CONVERT,
        (Some("transform.value.type"), _) => {
            return match value {
                // There the fields of values come into one column unless they are flattened.
                "flatten" => is(keys::TRANSFORM, "none"),
                "flatten_debezium" => is(keys::TRANSFORM, value),
                _ => None,
            };
        }
        (Some("errors.tolerance"), _) => {
            return match value {
                "none" => is(keys::ERRORS, "suspend"),
                "invalid_data" | "all" => is(keys::ERRORS, "dlq"),
                _ => None,
            };
        }
        (Some("upsert.enable"), _) => {
            return is(keys::MODE, if flag()? { "upsert" } else { "append" });
        }
        (Some("id.columns"), _) => {
            // Ours have to be declared.
            own.get(keys::SCHEMA)?;
            return is(keys::ID_COLUMNS, bracketed(value)?);
        }
        (Some("cdc.field"), _) => return is(keys::CDC_FIELD, value),
        (Some("namespace"), _) => {
            return name::is_namespace(value).then(|| vec![(keys::NAMESPACE, value.to_owned())]);
        }
        (Some("expire.snapshot.older.than.hours"), _) => {
            let ms = value.parse::<i64>().ok()?.checked_mul(3_600_000)?;
            return is(keys::SNAPSHOT_RETENTION_MS, &ms.max(SNAPSHOT_RETENTION_MS_MIN).to_string());
        }
        (Some("expire.snapshot.retain.last"), _) => {
            let versions = value.parse::<i64>().ok()?;
            let versions = versions.clamp(*SNAPSHOT_MIN.start(), *SNAPSHOT_MIN.end());
            return is(keys::SNAPSHOT_MIN, &versions.to_string());
        }
        (_, Some("mode")) => {
            let enabled = (keys::ENABLE, "true".to_owned());
            return match value {
                "disabled" => is(keys::ENABLE, "false"),
                "key_value" => Some(vec![enabled, (keys::VALUE_CONVERT, "raw".to_owned())]),
                _ if value.starts_with("value_schema_") => Some(vec![enabled]),
                _ => None,
            };
        }
        (_, Some("invalid.record.action")) => {
            return match value {
                "dlq_table" => is(keys::ERRORS, "dlq"),
                "drop" => is(keys::ERRORS, "skip"),
                _ => None,
            };
        }
        (_, Some("delete")) => return is(keys::DELETE_WITH_TOPIC, &flag()?.to_string()),
        (_, Some("partition.spec")) => {
            return match value.replace(' ', "").as_str() {
                "()" => is(keys::PARTITION_BY, ""),
                "(day(redpanda.timestamp))" => is(keys::PARTITION_BY, "day(kafka_timestamp)"),
                "(redpanda.partition)" => is(keys::PARTITION_BY, "kafka_partition"),
                _ => None,
            };
        }
        _ => return None,
    };
    matches!(value, "raw" | "string").then(|| vec![(key, value.to_owned())])
}

fn bracketed(list: &str) -> Option<&str> {
    list.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::OnError;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn settings_of_other_products_are_read_as_ours() {
        for (key, value, expected) in [
            ("automq.table.topic.enable", "TRUE", "table.enable=true"),
            ("automq.table.topic.commit.interval.ms", "1", "table.commit.interval.ms=100"),
            ("automq.table.topic.convert.value.type", "string", "table.value.convert=string"),
            ("automq.table.topic.convert.key.type", "raw", "table.key.convert=raw"),
            ("automq.table.topic.transform.value.type", "flatten", "table.transform=none"),
            ("automq.table.topic.errors.tolerance", "none", "table.errors=suspend"),
            ("automq.table.topic.upsert.enable", "true", "table.mode=upsert"),
            ("automq.table.topic.namespace", "sales", "table.namespace=sales"),
            (
                "automq.table.topic.expire.snapshot.older.than.hours",
                "2",
                "table.snapshot.retention.ms=7200000",
            ),
            ("automq.table.topic.expire.snapshot.retain.last", "1", "table.snapshot.min=1"),
            ("redpanda.iceberg.mode", "value_schema_latest:x", "table.enable=true"),
            ("redpanda.iceberg.target.lag.ms", "604800000", "table.commit.interval.ms=900000"),
            ("redpanda.iceberg.invalid.record.action", "drop", "table.errors=skip"),
            ("redpanda.iceberg.delete", "true", "table.delete.with.topic=true"),
            (
                "redpanda.iceberg.partition.spec",
                "(day(redpanda.timestamp))",
                "table.partition.by=day(kafka_timestamp)",
            ),
        ] {
            let found = translated(&settings(&[(key, value)]));
            let values: Vec<_> = found.values.iter().map(|(k, v)| format!("{k}={v}")).collect();
            assert_eq!(values, [expected]);
            assert_eq!(found.notes.len(), 1);
            assert!(found.notes[0].starts_with(&format!("{key}={value} is read as {expected};")));
        }
        let both = settings(&[("redpanda.iceberg.mode", "key_value"), (keys::ERRORS, "skip")]);
        let config = TableConfig::read(&both).unwrap().unwrap();
        assert_eq!(config.on_error, OnError::Skip);
        assert_eq!(config.format, Some(crate::rules::ValueFormat::Raw));
    }

    #[test]
    fn ours_go_first() {
        let both = settings(&[("redpanda.iceberg.mode", "key_value"), (keys::ENABLE, "false")]);
        assert_eq!(TableConfig::read(&both).unwrap(), None);
    }

    #[test]
    fn what_is_not_understood_is_said_and_refuses_nothing() {
        for (key, value) in [
            ("automq.table.topic.partition.by", "[month(ts)]"),
            ("automq.table.topic.convert.value.type", "by_schema_id"),
            ("automq.table.topic.id.columns", "[id]"),
            ("automq.table.topic.enable", "perhaps"),
            ("redpanda.iceberg.partition.spec", "(hour(redpanda.timestamp))"),
            ("redpanda.iceberg.new", "x"),
        ] {
            let found = translated(&settings(&[(key, value)]));
            assert_eq!((found.values.len(), found.notes.len()), (0, 1), "{key}");
            assert!(found.notes[0].contains("is not understood"), "{:?}", found.notes);
            TableConfig::read(&settings(&[(key, value)])).unwrap();
        }
        // What does not go together with the rest does nothing; the rest is read.
        let cdc = settings(&[
            ("automq.table.topic.cdc.field", "op"),
            ("automq.table.topic.enable", "true"),
            ("automq.table.topic.id.columns", "[id]"),
            (keys::SCHEMA, "id BIGINT"),
        ]);
        let found = translated(&cdc);
        let expected = settings(&[(keys::ENABLE, "true"), (keys::SCHEMA, "id BIGINT")]);
        assert_eq!(found.values, expected);
        assert_eq!(found.notes.len(), 3);
        assert!(found.notes[2].contains("does not go together"), "{:?}", found.notes);
        // What needs another is read with it, whatever their order.
        let upsert = [&cdc, &settings(&[("automq.table.topic.upsert.enable", "true")])];
        let upsert = upsert.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let config = TableConfig::read(&upsert).unwrap().unwrap();
        assert_eq!((config.id_columns, config.cdc_field), (vec!["id".into()], Some("op".into())));
        // What is wrong of ours stays an error.
        let wrong = settings(&[("redpanda.iceberg.mode", "key_value"), (keys::ERRORS, "drop")]);
        assert!(TableConfig::read(&wrong).unwrap_err().starts_with("table.errors=drop"));
    }
}
