//! Where the static configuration comes from, and what wins: flags, then the environment, then
//! the file, then the defaults.
//!
//! Invariant: a [`StaticConfig`] holds only known keys with valid values; everything that is wrong
//! is reported at once, each with its place and the nearest name for an unknown key.

use std::{collections::BTreeMap, fmt};

use super::{
    names::{self, ConfigKey, Effect},
    properties,
    value::Value,
};

/// What the binary was given.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file's path, for messages, and its text.
    pub file: Option<(String, String)>,
    /// The process' environment.
    pub environment: Vec<(String, String)>,
    /// `-o key=value` and what other flags stand for, as (place, key, value).
    pub flags: Vec<(String, String, String)>,
}

/// One explicitly set key.
#[derive(Debug, Clone, PartialEq)]
pub struct StaticEntry {
    /// The parsed value.
    pub value: Value,
    /// Where it was set: `flag -o`, `environment variable X`, `file F line N`.
    pub place: String,
}

/// The static configuration: what was set explicitly, valid and typed.
#[derive(Debug, Clone, Default)]
pub struct StaticConfig {
    entries: BTreeMap<&'static str, StaticEntry>,
    notes: Vec<String>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where, if it has one place.
    pub place: Option<String>,
    /// What.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Everything that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// One error without a place.
    #[must_use]
    pub fn one(message: impl Into<String>) -> Self {
        Self(vec![ConfigError { place: None, message: message.into() }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

impl StaticConfig {
    /// Reads all sources.
    ///
    /// # Errors
    /// All that is wrong in them together.
    pub fn resolve(sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut config = Self::default();
        let mut errors = Vec::new();
        if let Some((path, text)) = &sources.file {
            match properties::parse(text) {
                Ok(properties) => {
                    for property in properties {
                        let place = format!("{path}, line {}", property.line);
                        config.set(&property.key, &property.value, place, &mut errors);
                    }
                }
                Err(message) => {
                    errors.push(ConfigError { place: Some(path.clone()), message });
                }
            }
        }
        config.read_environment(&sources.environment, &mut errors);
        for (place, key, value) in &sources.flags {
            config.set(key, value, place.clone(), &mut errors);
        }
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    /// The explicit setting of a key.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&StaticEntry> {
        self.entries.get(name)
    }

    /// All explicit settings by name.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, &StaticEntry)> {
        self.entries.iter().map(|(name, entry)| (*name, entry))
    }

    /// Things the user should know: keys without effect, environment variables that look like
    /// settings and are none.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn set(&mut self, name: &str, text: &str, place: String, errors: &mut Vec<ConfigError>) {
        let Some(key) = names::broker_key(name) else {
            match names::family_effect(name) {
                Some(Effect::Inert) => self.note_inert(&place, name),
                Some(_) => errors.push(refused(name, place)),
                None => errors.push(unknown(name, place)),
            }
            return;
        };
        match key.parse(text) {
            Ok(value) if key.effect == Effect::Refused && !is_default(key, &value) => {
                errors.push(refused(name, place));
            }
            Ok(value) => {
                if key.effect == Effect::Inert {
                    self.note_inert(&place, name);
                }
                self.entries.insert(key.name, StaticEntry { value, place });
            }
            Err(error) => {
                errors.push(ConfigError { place: Some(place), message: error.to_string() });
            }
        }
    }

    fn note_inert(&mut self, place: &str, name: &str) {
        self.notes.push(format!("{place}: {name} is accepted and has no effect"));
    }

    fn read_environment(
        &mut self,
        environment: &[(String, String)],
        errors: &mut Vec<ConfigError>,
    ) {
        let known = environment_names();
        for (variable, value) in environment {
            if !variable.starts_with(ENVIRONMENT_PREFIX) {
                continue;
            }
            let place = format!("environment variable {variable}");
            if let Some(key) = known.get(variable.as_str()) {
                self.set(key, value, place, errors);
                continue;
            }
            match nearest_variable(variable, &known) {
                Some((nearest, similarity)) if similarity >= TYPING_ERROR_SIMILARITY => {
                    let message = format!("unknown setting; did you mean {nearest}?");
                    errors.push(ConfigError { place: Some(place), message });
                }
                _ => self.notes.push(format!("{place} is no setting and is ignored")),
            }
        }
    }
}

/// What environment variables of ours begin with.
const ENVIRONMENT_PREFIX: &str = "STREAMHOUSE_";

/// An environment variable this near to a setting's is taken for a typing error. Others are left
/// alone: build scripts and Kubernetes' service links set `STREAMHOUSE_…` variables too.
const TYPING_ERROR_SIMILARITY: f64 = 0.85;

/// The environment variable of a key: `log.retention.ms` is `STREAMHOUSE_LOG_RETENTION_MS`,
/// `streamhouse.data.dir` is `STREAMHOUSE_DATA_DIR`.
#[must_use]
pub fn environment_name(key: &str) -> String {
    let stem = key.strip_prefix("streamhouse.").unwrap_or(key);
    format!("{ENVIRONMENT_PREFIX}{}", stem.replace('.', "_").to_uppercase())
}

fn environment_names() -> BTreeMap<String, &'static str> {
    names::broker_keys().map(|key| (environment_name(key.name), key.name)).collect()
}

fn nearest_variable(
    variable: &str,
    known: &BTreeMap<String, &'static str>,
) -> Option<(String, f64)> {
    known
        .keys()
        .map(|name| (name.clone(), strsim::normalized_damerau_levenshtein(variable, name)))
        .max_by(|left, right| left.1.total_cmp(&right.1))
}

fn is_default(key: &ConfigKey, value: &Value) -> bool {
    match key.default_value() {
        Some(default) => default == *value,
        None => matches!(value, Value::String(text) if text.is_empty()),
    }
}

fn refused(name: &str, place: String) -> ConfigError {
    let message = format!(
        "{name} is not supported by this version of StreamHouse, and ignoring it could mislead: \
         remove it"
    );
    ConfigError { place: Some(place), message }
}

fn unknown(name: &str, place: String) -> ConfigError {
    let hint = match (names::nearest_broker_key(name), names::topic_key(name)) {
        (_, Some(topic)) => match topic.synonyms.first() {
            Some(synonym) => {
                format!("; it is a key of topics, the broker's default for it is {}", synonym.name)
            }
            None => "; it is a key of topics".to_owned(),
        },
        (Some(nearest), None) => format!("; did you mean {nearest}?"),
        (None, None) => String::new(),
    };
    ConfigError { place: Some(place), message: format!("unknown key {name}{hint}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sources(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        Sources {
            file: Some(("server.properties".to_owned(), file.to_owned())),
            environment: environment.iter().map(owned).collect(),
            flags: flags
                .iter()
                .map(|(key, value)| ("-o".to_owned(), (*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn value(config: &StaticConfig, name: &str) -> String {
        config.entry(name).unwrap().value.to_text()
    }

    fn errors(sources: &Sources) -> Vec<String> {
        StaticConfig::resolve(sources).unwrap_err().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn flags_beat_the_environment_which_beats_the_file() {
        let file = "num.partitions=1\nbroker.rack=a\nmessage.max.bytes=1000";
        let environment =
            [("STREAMHOUSE_NUM_PARTITIONS", "2"), ("STREAMHOUSE_BROKER_RACK", "b"), ("PATH", "x")];
        let config =
            StaticConfig::resolve(&sources(file, &environment, &[("num.partitions", "3")]))
                .unwrap();
        assert_eq!(value(&config, "num.partitions"), "3");
        assert_eq!(value(&config, "broker.rack"), "b");
        assert_eq!(value(&config, "message.max.bytes"), "1000");
        assert_eq!(config.entry("num.partitions").unwrap().place, "-o");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest() {
        assert_eq!(
            errors(&sources("\nnum.partition=3", &[], &[])),
            ["server.properties, line 2: unknown key num.partition; did you mean num.partitions?"]
        );
        assert_eq!(
            errors(&sources("", &[("STREAMHOUSE_NUM_PARTITION", "3")], &[])),
            ["environment variable STREAMHOUSE_NUM_PARTITION: unknown setting; \
              did you mean STREAMHOUSE_NUM_PARTITIONS?"]
        );
        assert_eq!(
            errors(&sources("", &[], &[("retention.ms", "1")])),
            [
                "-o: unknown key retention.ms; it is a key of topics, the broker's default for it is \
              log.retention.ms"
            ]
        );
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let file = "num.partitions=x\nnode.id=-1\nfoo.bar.baz.qux=1";
        assert_eq!(
            errors(&sources(file, &[], &[])),
            [
                "server.properties, line 1: Invalid value x for configuration num.partitions: \
                 Not a number of type INT",
                "server.properties, line 2: Invalid value -1 for configuration node.id: \
                 Value must be at least 0",
                "server.properties, line 3: unknown key foo.bar.baz.qux",
            ]
        );
    }

    #[test]
    fn security_settings_are_refused_and_not_ignored() {
        let all = errors(&sources("ssl.keystore.location=/x\nauthorizer.class.name=A", &[], &[]));
        assert_eq!(all.len(), 2);
        assert!(all[0].contains("ssl.keystore.location is not supported"));
        let default = "authorizer.class.name=\nsecurity.inter.broker.protocol=PLAINTEXT";
        StaticConfig::resolve(&sources(default, &[], &[])).unwrap();
    }

    #[test]
    fn kafkas_own_keys_without_effect_are_accepted_and_noted() {
        let file = "process.roles=broker,controller\ncontroller.quorum.voters=1@localhost:9093";
        let config = StaticConfig::resolve(&sources(file, &[], &[])).unwrap();
        assert_eq!(config.notes().len(), 2);
    }

    #[test]
    fn foreign_environment_variables_are_left_alone() {
        let foreign = [
            ("STREAMHOUSE_CACHE", "/x"),
            ("STREAMHOUSE_SEED", "1"),
            ("STREAMHOUSE_SERVICE_HOST", "10.0.0.1"),
            ("STREAMHOUSE_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
        ];
        let config = StaticConfig::resolve(&sources("", &foreign, &[])).unwrap();
        assert_eq!(config.entries().count(), 0);
        assert_eq!(config.notes().len(), foreign.len());
    }

    #[test]
    fn environment_names_are_unique() {
        assert_eq!(environment_names().len(), names::broker_keys().count());
        assert_eq!(environment_name("streamhouse.data.dir"), "STREAMHOUSE_DATA_DIR");
        assert_eq!(environment_name("log.retention.ms"), "STREAMHOUSE_LOG_RETENTION_MS");
    }
}
