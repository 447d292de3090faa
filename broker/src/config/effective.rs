//! Layers of configuration and which value wins: dynamic per broker, dynamic for all brokers,
//! static, default (KIP-226).
//!
//! Invariant: the strongest layer that sets any name of a key decides, and what DescribeConfigs
//! shows as synonyms is the list of layers in that very order.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    names::{self, ConfigKey, Synonym},
    sources::StaticConfig,
    value::Value,
};

/// Where a value comes from, with Kafka's wire ids (`DescribeConfigsResponse.ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Set by AlterConfigs on this broker.
    DynamicBroker = 2,
    /// Set by AlterConfigs on all brokers.
    DynamicDefaultBroker = 3,
    /// Set at start: by a flag, the environment or the file.
    StaticBroker = 4,
    /// Not set.
    Default = 5,
    /// Set on the group.
    Group = 8,
}

/// One layer's value of one name of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SynonymValue {
    /// The name that is set.
    pub name: &'static str,
    /// The value; `None` if it is sensitive.
    pub value: Option<String>,
    /// The layer.
    pub source: ConfigSource,
}

/// All layers at one moment. Immutable: a change makes new layers.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// What was set at start.
    pub static_config: Arc<StaticConfig>,
    /// What AlterConfigs has set for all brokers.
    pub cluster: BTreeMap<String, String>,
    /// What AlterConfigs has set for this broker.
    pub node: BTreeMap<String, String>,
}

/// A key as DescribeConfigs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConfig {
    /// The key.
    pub name: &'static str,
    /// Its value; `None` for null and for secrets.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// All layers that have a value, strongest first.
    pub synonyms: Vec<SynonymValue>,
    /// Whether AlterConfigs may not set it.
    pub read_only: bool,
}

impl Layers {
    /// The value in force of a broker key, its synonyms in other units included.
    #[must_use]
    pub fn value(&self, key: &ConfigKey) -> Option<Value> {
        let own = [Synonym { name: key.name, factor: 1 }];
        let names = if key.synonyms.is_empty() { &own[..] } else { key.synonyms };
        self.first_value(names)
    }

    /// The value in force of a topic's or a group's key where it is not set there.
    #[must_use]
    pub fn topic_default(&self, key: &ConfigKey) -> Option<Value> {
        self.first_value(key.synonyms).or_else(|| key.default_value())
    }

    fn first_value(&self, names: &[Synonym]) -> Option<Value> {
        names.iter().find_map(|synonym| {
            let key = names::broker_key(synonym.name)?;
            let value = self.own_value(key)?;
            Some(scaled(value, synonym.factor))
        })
    }

    /// The value in force of exactly this name; `None` for null.
    #[must_use]
    pub fn own_value(&self, key: &ConfigKey) -> Option<Value> {
        self.settings(key)
            .into_iter()
            .next()
            .map(|(value, _)| value)
            .or_else(|| key.default_value())
    }

    /// The layers that set exactly this name, strongest first, without the default.
    fn settings(&self, key: &ConfigKey) -> Vec<(Value, ConfigSource)> {
        let dynamic = |map: &BTreeMap<String, String>| {
            map.get(key.name).and_then(|text| key.parse(text).ok())
        };
        let fixed = self.static_config.entry(key.name).map(|entry| entry.value.clone());
        [
            (dynamic(&self.node), ConfigSource::DynamicBroker),
            (dynamic(&self.cluster), ConfigSource::DynamicDefaultBroker),
            (fixed, ConfigSource::StaticBroker),
        ]
        .into_iter()
        .filter_map(|(value, source)| value.map(|value| (value, source)))
        .collect()
    }

    /// The layers of a key, strongest first, as Kafka lists them.
    fn synonyms(&self, names: &[Synonym]) -> Vec<SynonymValue> {
        const ORDER: [ConfigSource; 3] = [
            ConfigSource::DynamicBroker,
            ConfigSource::DynamicDefaultBroker,
            ConfigSource::StaticBroker,
        ];
        let keys: Vec<&ConfigKey> =
            names.iter().filter_map(|synonym| names::broker_key(synonym.name)).collect();
        let mut result = Vec::new();
        for source in ORDER {
            for key in &keys {
                let set = self.settings(key).into_iter().find(|(_, layer)| *layer == source);
                if let Some((value, _)) = set {
                    result.push(SynonymValue { name: key.name, value: shown(key, &value), source });
                }
            }
        }
        let is_set = !result.is_empty();
        for key in keys {
            // Without any setting Kafka begins the list at the first name's default, if it has one.
            let begins =
                is_set || !result.is_empty() || names.first().is_some_and(|n| n.name == key.name);
            if let Some(value) = key.default_value().filter(|_| begins) {
                let value = shown(key, &value);
                result.push(SynonymValue { name: key.name, value, source: ConfigSource::Default });
            }
        }
        result
    }

    /// A broker key as DescribeConfigs shows it for this broker.
    #[must_use]
    pub fn describe_broker(&self, key: &'static ConfigKey) -> DescribedConfig {
        let own = [Synonym { name: key.name, factor: 1 }];
        let names = if key.synonyms.is_empty() { &own[..] } else { key.synonyms };
        let synonyms = self.synonyms(names);
        DescribedConfig {
            name: key.name,
            value: self.own_value(key).and_then(|value| shown(key, &value)),
            source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
            synonyms,
            read_only: key.mode == names::UpdateMode::ReadOnly,
        }
    }

    /// A broker key as DescribeConfigs shows it for all brokers, if it is set there.
    #[must_use]
    pub fn describe_cluster(&self, key: &'static ConfigKey) -> Option<DescribedConfig> {
        let value = self.cluster.get(key.name).and_then(|text| key.parse(text).ok())?;
        let source = ConfigSource::DynamicDefaultBroker;
        let value = shown(key, &value);
        let synonym = SynonymValue { name: key.name, value: value.clone(), source };
        Some(DescribedConfig {
            name: key.name,
            value,
            source,
            synonyms: vec![synonym],
            read_only: key.mode == names::UpdateMode::ReadOnly,
        })
    }

    /// The names that AlterConfigs has set and that nobody knows, with the layers that set them,
    /// strongest first: for this broker, or for all brokers only.
    #[must_use]
    pub fn unknown(&self, for_all: bool) -> BTreeMap<&str, Vec<ConfigSource>> {
        let node = self.node.keys().filter(|_| !for_all);
        let node = node.map(|name| (name, ConfigSource::DynamicBroker));
        let cluster = self.cluster.keys().map(|name| (name, ConfigSource::DynamicDefaultBroker));
        let mut unknown: BTreeMap<&str, Vec<ConfigSource>> = BTreeMap::new();
        for (name, source) in node.chain(cluster) {
            if names::broker_key(name).is_none() {
                unknown.entry(name).or_default().push(source);
            }
        }
        unknown
    }

    /// A topic key as DescribeConfigs shows it for a topic with these overrides.
    #[must_use]
    pub fn describe_topic(
        &self,
        key: &'static ConfigKey,
        overrides: &BTreeMap<String, String>,
    ) -> DescribedConfig {
        self.describe_override(key, overrides, ConfigSource::Topic)
    }

    /// A group key as DescribeConfigs shows it for a group with these overrides.
    #[must_use]
    pub fn describe_group(
        &self,
        key: &'static ConfigKey,
        overrides: &BTreeMap<String, String>,
    ) -> DescribedConfig {
        self.describe_override(key, overrides, ConfigSource::Group)
    }

    fn describe_override(
        &self,
        key: &'static ConfigKey,
        overrides: &BTreeMap<String, String>,
        source: ConfigSource,
    ) -> DescribedConfig {
        let set = overrides.get(key.name).and_then(|text| key.parse(text).ok());
        let mut synonyms = self.synonyms(key.synonyms);
        if let Some(value) = &set {
            synonyms.insert(0, SynonymValue { name: key.name, value: shown(key, value), source });
        }
        let value = set.or_else(|| self.topic_default(key));
        DescribedConfig {
            name: key.name,
            value: value.and_then(|value| shown(key, &value)),
            source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
            synonyms,
            read_only: false,
        }
    }
}

fn shown(key: &ConfigKey, value: &Value) -> Option<String> {
    (!key.is_sensitive()).then(|| value.to_text())
}

/// Converts hours or minutes to the key's milliseconds; any negative number means no limit.
fn scaled(value: Value, factor: i64) -> Value {
    match value {
        Value::Number(number) if factor != 1 && number < 0 => Value::Number(-1),
        Value::Number(number) => Value::Number(number.saturating_mul(factor)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::sources::Sources;

    fn layers(fixed: &[(&str, &str)], cluster: &[(&str, &str)], node: &[(&str, &str)]) -> Layers {
        let flags = fixed
            .iter()
            .map(|(key, value)| ("-o".to_owned(), (*key).to_owned(), (*value).to_owned()))
            .collect();
        let sources = Sources { flags, ..Sources::default() };
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        Layers {
            static_config: Arc::new(StaticConfig::resolve(&sources).unwrap()),
            cluster: map(cluster),
            node: map(node),
        }
    }

    fn topic_value(layers: &Layers, name: &str) -> String {
        layers.topic_default(names::topic_key(name).unwrap()).unwrap().to_text()
    }

    #[test]
    fn retention_comes_from_ms_then_minutes_then_hours() {
        assert_eq!(topic_value(&layers(&[], &[], &[]), "retention.ms"), "604800000");
        let hours = [("log.retention.hours", "1")];
        assert_eq!(topic_value(&layers(&hours, &[], &[]), "retention.ms"), "3600000");
        let minutes = [("log.retention.hours", "1"), ("log.retention.minutes", "2")];
        assert_eq!(topic_value(&layers(&minutes, &[], &[]), "retention.ms"), "120000");
        let dynamic = [("log.retention.ms", "5")];
        assert_eq!(topic_value(&layers(&minutes, &dynamic, &[]), "retention.ms"), "5");
        let unlimited = [("log.retention.hours", "-1")];
        assert_eq!(topic_value(&layers(&unlimited, &[], &[]), "retention.ms"), "-1");
    }

    #[test]
    fn the_strongest_layer_wins_and_all_are_listed() {
        let key = names::topic_key("max.message.bytes").unwrap();
        let all = layers(
            &[("message.max.bytes", "1")],
            &[("message.max.bytes", "2")],
            &[("message.max.bytes", "3")],
        );
        let overrides = BTreeMap::from([("max.message.bytes".to_owned(), "4".to_owned())]);
        let described = all.describe_topic(key, &overrides);
        let list: Vec<_> = described
            .synonyms
            .iter()
            .map(|s| (s.name, s.value.clone().unwrap(), s.source as i8))
            .collect();
        assert_eq!(described.value.as_deref(), Some("4"));
        assert_eq!(described.source, ConfigSource::Topic);
        assert_eq!(
            list,
            [
                ("max.message.bytes", "4".to_owned(), 1),
                ("message.max.bytes", "3".to_owned(), 2),
                ("message.max.bytes", "2".to_owned(), 3),
                ("message.max.bytes", "1".to_owned(), 4),
                ("message.max.bytes", "1048588".to_owned(), 5),
            ]
        );
        assert_eq!(all.describe_topic(key, &BTreeMap::new()).value.as_deref(), Some("3"));
    }

    #[test]
    fn a_synonym_in_other_units_is_listed_once_something_is_set() {
        let key = names::topic_key("retention.ms").unwrap();
        let listed = |layers: &Layers| -> Vec<_> {
            let described = layers.describe_topic(key, &BTreeMap::new());
            described.synonyms.into_iter().map(|s| (s.name, s.source as i8)).collect()
        };
        let dynamic = layers(&[], &[("log.retention.ms", "86400000")], &[]);
        assert_eq!(listed(&dynamic), [("log.retention.ms", 3), ("log.retention.hours", 5)]);
        let fixed = layers(&[("log.retention.hours", "1")], &[], &[]);
        assert_eq!(listed(&fixed), [("log.retention.hours", 4), ("log.retention.hours", 5)]);
    }

    #[test]
    fn null_defaults_leave_no_synonym_as_in_kafka() {
        let none = layers(&[], &[], &[]);
        let retention =
            none.describe_topic(names::topic_key("retention.ms").unwrap(), &BTreeMap::new());
        assert_eq!((retention.source, retention.synonyms.len()), (ConfigSource::Default, 0));
        let broker = none.describe_broker(names::broker_key("log.retention.ms").unwrap());
        assert_eq!((broker.value, broker.synonyms.len()), (None, 0));
    }

    #[test]
    fn secrets_are_never_described() {
        let name = "streamhouse.object.store.options";
        let set = layers(&[(name, "secret_access_key=x")], &[], &[]);
        let described = set.describe_broker(names::broker_key(name).unwrap());
        assert_eq!(described.value, None);
        assert_eq!(described.source, ConfigSource::StaticBroker);
        assert!(described.synonyms.iter().all(|synonym| synonym.value.is_none()));
    }
}
