//! THE table of configuration keys: every name that StreamHouse knows, with its type, default,
//! range, update mode, effect and one line of documentation.
//!
//! The parser of `server.properties`, `--help`, DescribeConfigs and `docs/config.md` are all made
//! from it. A key that Kafka has keeps Kafka's name, type and default; ours start with
//! `streamhouse.`. The rows are in `names/{topic,broker,own,group}.rs`.

mod broker;
mod elsewhere;
mod group;
mod own;
mod topic;

use std::{collections::BTreeMap, sync::LazyLock};

pub use self::elsewhere::is_refused_elsewhere;
use super::value::{ConfigType, Validator, Value, ValueError};

/// When a changed value takes hold (KIP-226).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMode {
    /// Only at start.
    ReadOnly,
    /// At once, for one broker at a time.
    PerBroker,
    /// At once, for one broker or for all.
    ClusterWide,
}

impl UpdateMode {
    /// Kafka's name of the mode.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::PerBroker => "per-broker",
            Self::ClusterWide => "cluster-wide",
        }
    }
}

/// What a value changes in StreamHouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It acts as documented.
    Acts,
    /// It is accepted, stored and shown, and changes nothing.
    Inert,
    /// Any value but the default is refused: ignoring it would mislead (security, policies).
    Refused,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct ConfigKey {
    /// The exact name.
    pub name: &'static str,
    /// Its type.
    pub kind: ConfigType,
    /// The default's text; `None` is Kafka's null.
    pub default: Option<&'static str>,
    /// What it accepts.
    pub validator: Validator,
    /// When a change takes hold.
    pub mode: UpdateMode,
    /// What it changes.
    pub effect: Effect,
    /// The first version that has it.
    pub since: &'static str,
    /// One line.
    pub doc: &'static str,
    /// For a topic's or a group's key: the broker keys that give its default, strongest first. For a broker key:
    /// the keys (itself first) that can stand in for it.
    pub synonyms: &'static [Synonym],
}

/// A broker key that gives another key's value, and its unit in terms of that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    /// The broker key.
    pub name: &'static str,
    /// Its value times this is the other key's value.
    pub factor: i64,
}

/// A synonym of the same unit.
const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

/// A synonym counted in minutes, for a key in milliseconds.
const fn minutes(name: &'static str) -> Synonym {
    Synonym { name, factor: 60_000 }
}

/// A synonym counted in hours, for a key in milliseconds.
const fn hours(name: &'static str) -> Synonym {
    Synonym { name, factor: 3_600_000 }
}

impl ConfigKey {
    /// Whether values must never be shown.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.kind == ConfigType::Password
    }

    /// Parses and validates a value of this key.
    ///
    /// # Errors
    /// With Kafka's message.
    pub fn parse(&self, text: &str) -> Result<Value, ValueError> {
        Value::parse(self.name, self.kind, self.validator, text)
    }

    /// The parsed default; `None` for null.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        self.default.and_then(|text| self.parse(text).ok())
    }
}

/// Rows as `"name" Type = default, validator, mode, effect, [synonyms]: "doc";`.
macro_rules! keys {
    ($($name:literal $kind:ident = $default:expr, $validator:expr, $mode:ident, $effect:ident
       $(, [$($synonym:expr),+])? : $doc:literal;)+) => {
        &[$(ConfigKey {
            name: $name,
            kind: ConfigType::$kind,
            default: $default,
            validator: $validator,
            mode: UpdateMode::$mode,
            effect: Effect::$effect,
            since: "0.1.0",
            doc: $doc,
            synonyms: &[$($($synonym),+)?],
        }),+]
    };
}
use keys;

/// Prefixes of Kafka keys that are not in the table one by one.
const FAMILIES: &[(&str, Effect)] = &[
    ("ssl.", Effect::Refused),
    ("sasl.", Effect::Refused),
    ("listener.name.", Effect::Refused),
    ("controller.quorum.", Effect::Inert),
    ("remote.log.", Effect::Inert),
    ("quota.", Effect::Inert),
    ("replica.", Effect::Inert),
    ("metadata.", Effect::Inert),
    ("share.coordinator.", Effect::Inert),
    ("group.share.", Effect::Inert),
    ("group.streams.", Effect::Inert),
    ("zookeeper.", Effect::Inert),
    ("confluent.", Effect::Inert),
];

static TOPIC: LazyLock<BTreeMap<&str, &ConfigKey>> =
    LazyLock::new(|| topic::KEYS.iter().map(|key| (key.name, key)).collect());

static GROUP: LazyLock<BTreeMap<&str, &ConfigKey>> =
    LazyLock::new(|| group::KEYS.iter().map(|key| (key.name, key)).collect());

static BROKER: LazyLock<BTreeMap<&str, &ConfigKey>> =
    LazyLock::new(|| broker::KEYS.iter().chain(own::KEYS).map(|key| (key.name, key)).collect());

/// The topic key of that name.
#[must_use]
pub fn topic_key(name: &str) -> Option<&'static ConfigKey> {
    TOPIC.get(name).copied()
}

/// The broker key of that name.
#[must_use]
pub fn broker_key(name: &str) -> Option<&'static ConfigKey> {
    BROKER.get(name).copied()
}

/// All topic keys by name.
pub fn topic_keys() -> impl Iterator<Item = &'static ConfigKey> {
    TOPIC.values().copied()
}

/// The group key of that name.
#[must_use]
pub fn group_key(name: &str) -> Option<&'static ConfigKey> {
    GROUP.get(name).copied()
}

/// All group keys by name.
pub fn group_keys() -> impl Iterator<Item = &'static ConfigKey> {
    GROUP.values().copied()
}

/// All broker keys by name, ours included.
pub fn broker_keys() -> impl Iterator<Item = &'static ConfigKey> {
    BROKER.values().copied()
}

/// What a Kafka key that is only known by its prefix does.
#[must_use]
pub fn family_effect(name: &str) -> Option<Effect> {
    FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, effect)| *effect)
}

/// The known broker key most like `name`, if any is near enough to be what was meant.
#[must_use]
pub fn nearest_broker_key(name: &str) -> Option<&'static str> {
    nearest(name, BROKER.keys().copied())
}

/// The known topic key most like `name`.
#[must_use]
pub fn nearest_topic_key(name: &str) -> Option<&'static str> {
    nearest(name, TOPIC.keys().copied())
}

fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    /// Below this two names have little in common.
    const SIMILARITY_MIN: f64 = 0.6;
    known
        .map(|key| (strsim::normalized_damerau_levenshtein(name, key), key))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_default_passes_its_own_validator() {
        for key in topic_keys().chain(group_keys()).chain(broker_keys()) {
            if let Some(default) = key.default {
                let value = key.parse(default).unwrap();
                assert!(key.is_sensitive() || value.to_text() == default, "{}", key.name);
            }
        }
    }

    #[test]
    fn every_synonym_is_a_broker_key() {
        for key in topic_keys().chain(group_keys()).chain(broker_keys()) {
            for synonym in key.synonyms {
                assert!(broker_key(synonym.name).is_some(), "{} of {}", synonym.name, key.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_documented_in_one_line() {
        let rows = broker::KEYS.iter().chain(own::KEYS);
        assert_eq!(rows.count(), broker_keys().count());
        assert_eq!(topic::KEYS.len(), topic_keys().count());
        assert_eq!(group::KEYS.len(), group_keys().count());
        for key in topic_keys().chain(group_keys()).chain(broker_keys()) {
            assert!(!key.doc.is_empty() && !key.doc.contains('\n'), "{}", key.name);
            assert!(key.doc.ends_with('.'), "{}", key.name);
        }
    }

    #[test]
    fn a_typing_error_finds_the_key_that_was_meant() {
        assert_eq!(nearest_broker_key("num.partition"), Some("num.partitions"));
        assert_eq!(nearest_broker_key("log.retention.m"), Some("log.retention.ms"));
        assert_eq!(nearest_topic_key("retention.msec"), Some("retention.ms"));
        assert_eq!(nearest_broker_key("zzz"), None);
    }
}
