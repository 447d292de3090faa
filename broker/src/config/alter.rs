//! AlterConfigs and IncrementalAlterConfigs as pure functions: old settings and changes give new
//! settings or the error code and message that Kafka gives.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ErrorCode;

use super::{
    names::{self, ConfigKey, UpdateMode},
    value::{ConfigType, split_list},
};

/// Explicit settings of one resource.
pub type Settings = BTreeMap<String, String>;

/// What is done to a key (KIP-339), with Kafka's wire ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterOperation {
    /// Set it.
    Set,
    /// Go back to the default.
    Delete,
    /// Add items to a list.
    Append,
    /// Take items from a list.
    Subtract,
}

impl AlterOperation {
    /// The operation with this id on the wire.
    #[must_use]
    pub fn from_id(id: i8) -> Option<Self> {
        match id {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub name: String,
    /// What is done.
    pub operation: AlterOperation,
    /// The value or items; nothing for a deletion.
    pub value: Option<String>,
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AlterError {
    /// The code of the resource's answer.
    pub code: ErrorCode,
    /// Its message, if any.
    pub message: String,
}

impl AlterError {
    /// `INVALID_REQUEST` with a message.
    #[must_use]
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::InvalidRequest, message: message.into() }
    }

    /// `INVALID_CONFIG` with a message.
    #[must_use]
    pub fn invalid_config(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::InvalidConfig, message: message.into() }
    }
}

/// The new settings after changes to single keys. `key` finds a key of the resource's kind.
///
/// # Errors
/// As Kafka: a null value, a key twice, list operations on what is no list.
pub fn incremental(
    current: &Settings,
    changes: &[Change],
    key: impl Fn(&str) -> Option<&'static ConfigKey>,
) -> Result<Settings, AlterError> {
    let given = changes.iter().map(|change| {
        let is_null = change.value.is_none() && change.operation != AlterOperation::Delete;
        (change.name.as_str(), is_null)
    });
    check_given(given)?;
    let mut settings = current.clone();
    for change in changes {
        let value = change.value.clone().unwrap_or_default();
        match change.operation {
            AlterOperation::Set => {
                settings.insert(change.name.clone(), value);
            }
            AlterOperation::Delete => {
                settings.remove(&change.name);
            }
            AlterOperation::Append | AlterOperation::Subtract => {
                let key = key(&change.name).filter(|key| key.kind == ConfigType::List);
                let key = key.ok_or_else(|| not_a_list(change))?;
                let old = settings.get(key.name).map(String::as_str).or(key.default);
                let items = alter_list(old.unwrap_or_default(), &value, change.operation);
                settings.insert(change.name.clone(), items);
            }
        }
    }
    Ok(settings)
}

/// The new settings where `given` replaces all of them.
///
/// # Errors
/// As Kafka: a null value, a key twice.
pub fn replace(given: &[(String, Option<String>)]) -> Result<Settings, AlterError> {
    check_given(given.iter().map(|(name, value)| (name.as_str(), value.is_none())))?;
    Ok(given.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect())
}

fn check_given<'a>(given: impl Iterator<Item = (&'a str, bool)>) -> Result<(), AlterError> {
    let mut names = BTreeSet::new();
    let mut nulls = Vec::new();
    let mut is_duplicate = false;
    for (name, is_null) in given {
        is_duplicate |= !names.insert(name);
        if is_null {
            nulls.push(name);
        }
    }
    if is_duplicate {
        return Err(AlterError::invalid_request("Error due to duplicate config keys"));
    }
    if !nulls.is_empty() {
        let message = format!("Null value not supported for : {}", nulls.join(","));
        return Err(AlterError::invalid_request(message));
    }
    Ok(())
}

fn not_a_list(change: &Change) -> AlterError {
    AlterError::invalid_config(format!(
        "Can't {} to key {} because its type is not LIST.",
        change.operation.name(),
        change.name
    ))
}

fn alter_list(old: &str, given: &str, operation: AlterOperation) -> String {
    let mut items = split_list(old);
    for item in split_list(given) {
        let is_there = items.contains(&item);
        match operation {
            AlterOperation::Append if !is_there => items.push(item),
            AlterOperation::Subtract => items.retain(|old| *old != item),
            _ => {}
        }
    }
    items.join(",")
}

/// Checks a broker's dynamic settings key by key; `for_all` is whether they are for all brokers.
///
/// # Errors
/// As Kafka, which keeps names that it does not know; and for keys of security, which is not built.
pub fn check_broker(settings: &Settings, for_all: bool) -> Result<(), AlterError> {
    let list = |mode: UpdateMode| -> Vec<&str> {
        let has = |name: &&String| names::broker_key(name).is_some_and(|key| key.mode == mode);
        settings.keys().filter(has).map(String::as_str).collect()
    };
    let elsewhere = settings.keys().map(String::as_str);
    let elsewhere = elsewhere.filter(|name| names::is_refused_elsewhere(name));
    let fixed: Vec<_> = list(UpdateMode::ReadOnly).into_iter().chain(elsewhere).collect();
    if !fixed.is_empty() {
        let message = format!("Cannot update these configs dynamically: [{}]", fixed.join(", "));
        return Err(AlterError::invalid_request(message));
    }
    let per_broker = list(UpdateMode::PerBroker);
    if for_all && !per_broker.is_empty() {
        return Err(AlterError::invalid_request(format!(
            "Cannot update these configs at default cluster level, broker id must be specified: \
             [{}]",
            per_broker.join(", ")
        )));
    }
    for (name, text) in settings {
        if let Some(key) = names::broker_key(name) {
            key.parse(text).map_err(|error| AlterError::invalid_request(error.to_string()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn change(name: &str, operation: AlterOperation, value: Option<&str>) -> Change {
        Change { name: name.to_owned(), operation, value: value.map(str::to_owned) }
    }

    fn alter(current: &[(&str, &str)], changes: &[Change]) -> Result<Settings, AlterError> {
        incremental(&settings(current), changes, names::topic_key)
    }

    #[test]
    fn sets_and_deletes() {
        let result = alter(
            &[("retention.ms", "1"), ("flush.ms", "2")],
            &[
                change("retention.ms", AlterOperation::Set, Some("3")),
                change("flush.ms", AlterOperation::Delete, None),
                change("never.heard", AlterOperation::Delete, None),
            ],
        );
        assert_eq!(result.unwrap(), settings(&[("retention.ms", "3")]));
    }

    #[test]
    fn lists_begin_at_the_default_and_may_become_empty() {
        let append = |value| change("cleanup.policy", AlterOperation::Append, Some(value));
        let subtract = |value| change("cleanup.policy", AlterOperation::Subtract, Some(value));
        let policy = |result: Result<Settings, AlterError>| {
            result.unwrap().remove("cleanup.policy").unwrap()
        };
        assert_eq!(policy(alter(&[], &[append("compact")])), "delete,compact");
        assert_eq!(policy(alter(&[], &[append("delete")])), "delete");
        let both = [("cleanup.policy", "delete,compact")];
        assert_eq!(policy(alter(&both, &[subtract("compact,foo")])), "delete");
        assert_eq!(policy(alter(&both, &[subtract("compact,delete")])), "");
    }

    #[test]
    fn errors_are_those_of_kafka() {
        let error = |changes: &[Change]| {
            let error = alter(&[], changes).unwrap_err();
            (error.code, error.message)
        };
        let set = |value| change("retention.ms", AlterOperation::Set, value);
        assert_eq!(
            error(&[set(None)]),
            (ErrorCode::InvalidRequest, "Null value not supported for : retention.ms".to_owned())
        );
        assert_eq!(
            error(&[set(Some("5")), set(Some("6"))]),
            (ErrorCode::InvalidRequest, "Error due to duplicate config keys".to_owned())
        );
        assert_eq!(
            error(&[change("retention.ms", AlterOperation::Append, Some("1"))]),
            (
                ErrorCode::InvalidConfig,
                "Can't APPEND to key retention.ms because its type is not LIST.".to_owned()
            )
        );
    }

    #[test]
    fn a_replacement_forgets_what_it_does_not_name() {
        let given = [("retention.ms".to_owned(), Some("1".to_owned()))];
        assert_eq!(replace(&given).unwrap(), settings(&[("retention.ms", "1")]));
        assert!(replace(&[("retention.ms".to_owned(), None)]).is_err());
    }

    #[test]
    fn a_broker_takes_dynamic_keys_only() {
        let message = |pairs, for_all| check_broker(&settings(pairs), for_all).unwrap_err().message;
        check_broker(&settings(&[("message.max.bytes", "5")]), true).unwrap();
        assert_eq!(
            message(&[("num.partitions", "2")], false),
            "Cannot update these configs dynamically: [num.partitions]"
        );
        assert_eq!(
            message(&[("message.max.bytes", "abc")], false),
            "Invalid value abc for configuration message.max.bytes: Not a number of type INT"
        );
        assert_eq!(
            message(&[("num.partitions", "2"), ("ssl.client.auth", "none")], false),
            "Cannot update these configs dynamically: [num.partitions, ssl.client.auth]"
        );
        // Kafka keeps what it does not know.
        check_broker(&settings(&[("my.plugin.key", "1")]), true).unwrap();
    }
}
