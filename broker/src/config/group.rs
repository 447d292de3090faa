//! Dynamic configurations of groups (resource type GROUP): checked as Kafka's `GroupConfig` does,
//! stored in metadata, and read by the group coordinator at every request.
//!
//! Invariant: what is shown and obeyed is what the metadata store holds; a change goes store first,
//! and one at a time.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use coordinator::group::consumer::{GroupOverrides, GroupOverridesSource};
use metadata::{Fence, MetadataStore};

use super::{
    alter::{AlterError, Settings},
    dynamic::{ChangeError, Configs},
    effective::Layers,
    names,
    value::Value,
};

/// The configurations of all groups that have one.
#[derive(Debug, Default)]
pub struct GroupConfigs {
    current: RwLock<BTreeMap<String, metadata::Configs>>,
    /// Held while a change is made.
    changing: tokio::sync::Mutex<()>,
}

impl GroupConfigs {
    /// What the store holds.
    #[must_use]
    pub fn new(stored: BTreeMap<String, metadata::Configs>) -> Self {
        Self { current: RwLock::new(stored), changing: tokio::sync::Mutex::default() }
    }

    /// What is set for a group.
    #[must_use]
    pub fn settings(&self, group_id: &str) -> Settings {
        self.stored(group_id).values
    }

    /// The groups for which anything is set, ascending.
    #[must_use]
    pub fn group_ids(&self) -> Vec<String> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let set = current.iter().filter(|(_, configs)| !configs.values.is_empty());
        set.map(|(group_id, _)| group_id.clone()).collect()
    }

    fn stored(&self, group_id: &str) -> metadata::Configs {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.get(group_id).cloned().unwrap_or_default()
    }

    /// Changes a group's settings to what `alter` makes of the present ones; only checks it if
    /// `validate_only`. Returns whether anything changed.
    ///
    /// # Errors
    /// What `alter` refuses, what is not valid, and the store's failures.
    pub async fn change(
        &self,
        (store, fence): (&dyn MetadataStore, &Fence),
        layers: &Layers,
        group_id: &str,
        validate_only: bool,
        alter: impl FnOnce(&Settings) -> Result<Settings, AlterError> + Send,
    ) -> Result<bool, ChangeError> {
        let _one_at_a_time = self.changing.lock().await;
        let old = self.stored(group_id);
        let new = alter(&old.values)?;
        validate(layers, &new).map_err(AlterError::invalid_config)?;
        if validate_only || new == old.values {
            return Ok(false);
        }
        let version = store.set_group_configs(fence, group_id, old.version, new.clone()).await?;
        let configs = metadata::Configs { version, values: new };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.insert(group_id.to_owned(), configs);
        Ok(true)
    }
}

impl GroupConfigs {
    fn overrides(&self, group_id: &str) -> GroupOverrides {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let Some(configs) = current.get(group_id) else { return GroupOverrides::default() };
        let number = |name| configs.values.get(name).and_then(|text| text.trim().parse().ok());
        GroupOverrides {
            consumer_session_timeout_ms: number("consumer.session.timeout.ms"),
            consumer_heartbeat_interval_ms: number("consumer.heartbeat.interval.ms"),
            consumer_assignment_interval_ms: number("consumer.assignment.interval.ms"),
        }
    }
}

/// What the group coordinator asks at each request: a group's own settings, over those of the broker
/// that may change while it runs.
#[derive(Debug)]
pub(crate) struct GroupSettings {
    /// The groups' own.
    pub(crate) groups: Arc<GroupConfigs>,
    /// The broker's.
    pub(crate) broker: Arc<Configs>,
}

impl GroupOverridesSource for GroupSettings {
    fn overrides(&self, group_id: &str) -> GroupOverrides {
        let own = self.groups.overrides(group_id);
        let interval_ms = self.broker.broker().coordinator.groups.consumer_assignment_interval_ms;
        GroupOverrides {
            consumer_assignment_interval_ms: own
                .consumer_assignment_interval_ms
                .or(Some(interval_ms)),
            ..own
        }
    }
}

/// Checks a group's settings as a whole, with the broker's where it has none.
///
/// # Errors
/// Kafka's message for the first thing that is wrong.
pub fn validate(layers: &Layers, settings: &Settings) -> Result<(), String> {
    for (name, text) in settings {
        let Some(key) = names::group_key(name) else {
            return Err(format!("Unknown group config name: {name}"));
        };
        key.parse(text).map_err(|error| error.to_string())?;
    }
    let number = |name: &str| {
        let key = names::group_key(name)?;
        let own = settings.get(name).and_then(|text| key.parse(text).ok());
        as_number(own.or_else(|| layers.topic_default(key)).as_ref())
    };
    let bound = |name: &str| as_number(layers.own_value(names::broker_key(name)?).as_ref());
    for name in ["heartbeat.interval.ms", "session.timeout.ms", "assignment.interval.ms"] {
        let (key, min, max) = (
            format!("consumer.{name}"),
            format!("group.consumer.min.{name}"),
            format!("group.consumer.max.{name}"),
        );
        // Kafka leaves an assignment interval alone that the group does not set.
        if name == "assignment.interval.ms" && !settings.contains_key(&key) {
            continue;
        }
        let value = number(&key);
        if value < bound(&min) {
            return Err(format!("{key} must be greater than or equal to {min}"));
        }
        if let (Some(value), Some(max_value)) = (value, bound(&max))
            && value > max_value
        {
            return Err(format!("{key} must be less than or equal to {max}"));
        }
    }
    if number("consumer.session.timeout.ms") <= number("consumer.heartbeat.interval.ms") {
        return Err("consumer.session.timeout.ms must be greater than \
                    consumer.heartbeat.interval.ms"
            .to_owned());
    }
    Ok(())
}

fn as_number(value: Option<&Value>) -> Option<i64> {
    match value {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        validate(&Layers::default(), &settings(pairs)).unwrap_err()
    }

    #[test]
    fn values_within_the_brokers_bounds_are_accepted() {
        let good = settings(&[
            ("consumer.session.timeout.ms", "50000"),
            ("consumer.heartbeat.interval.ms", "10000"),
            ("consumer.assignment.interval.ms", "0"),
        ]);
        assert_eq!(validate(&Layers::default(), &good), Ok(()));
        assert_eq!(validate(&Layers::default(), &Settings::new()), Ok(()));
    }

    #[test]
    fn refusals_are_those_of_kafka() {
        let unknown = refusal(&[("consumer.session.timeout", "1")]);
        assert_eq!(unknown, "Unknown group config name: consumer.session.timeout");
        assert_eq!(
            refusal(&[("consumer.session.timeout.ms", "44999")]),
            "consumer.session.timeout.ms must be greater than or equal to \
             group.consumer.min.session.timeout.ms"
        );
        assert_eq!(
            refusal(&[("consumer.heartbeat.interval.ms", "15001")]),
            "consumer.heartbeat.interval.ms must be less than or equal to \
             group.consumer.max.heartbeat.interval.ms"
        );
        assert_eq!(
            refusal(&[("consumer.assignment.interval.ms", "15001")]),
            "consumer.assignment.interval.ms must be less than or equal to \
             group.consumer.max.assignment.interval.ms"
        );
        let no_number = refusal(&[("consumer.session.timeout.ms", "x")]);
        assert!(no_number.starts_with("Invalid value x"), "{no_number}");
    }

    #[test]
    fn the_coordinator_sees_what_is_stored() {
        let values = settings(&[("consumer.session.timeout.ms", "50000")]);
        let stored = metadata::Configs { version: 1, values };
        let empty = metadata::Configs { version: 2, values: Settings::new() };
        let configs = GroupConfigs::new([("g".to_owned(), stored), ("h".to_owned(), empty)].into());
        assert_eq!(configs.group_ids(), ["g"]);
        assert_eq!(configs.overrides("g").consumer_session_timeout_ms, Some(50_000));
        assert_eq!(configs.overrides("h"), GroupOverrides::default());
    }
}
