//! The configuration of the running broker: the layers in force, and the one place where
//! AlterConfigs of brokers changes them.
//!
//! Invariant: the layers show only what the metadata store holds; a change goes store first, and
//! one at a time.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use common::NodeId;
use metadata::{Fence, MetadataStore};
use storage::TopicLogConfig;
use tracing::{error, warn};

use super::{
    alter::{self, AlterError, Settings},
    broker::BrokerConfig,
    effective::Layers,
    names,
    sources::{ConfigErrors, StaticConfig},
    topic,
};
use crate::catalog::TopicConfigs;

/// Which brokers a dynamic setting is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    AllBrokers,
    /// This one.
    ThisBroker,
}

/// Why a change of broker settings was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It is not valid.
    #[error(transparent)]
    Refused(#[from] AlterError),
    /// The store failed.
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
}

/// The configuration in force.
#[derive(Debug)]
pub struct Configs {
    node_id: NodeId,
    current: RwLock<Current>,
    /// The stored versions; held while a change is made.
    versions: tokio::sync::Mutex<Versions>,
}

#[derive(Debug, Clone)]
struct Current {
    layers: Arc<Layers>,
    broker: Arc<BrokerConfig>,
}

#[derive(Debug, Default)]
struct Versions {
    cluster: i64,
    node: i64,
}

impl Configs {
    /// The static configuration with what the store holds on top. Stored settings that no longer
    /// fit the static ones are logged and left out.
    ///
    /// # Errors
    /// Where the static configuration alone cannot be run.
    pub fn new(
        static_config: Arc<StaticConfig>,
        node_id: NodeId,
        stored: &BTreeMap<Option<NodeId>, metadata::Configs>,
    ) -> Result<Self, ConfigErrors> {
        let fixed = Layers { static_config, ..Layers::default() };
        let of = |scope: Option<NodeId>| stored.get(&scope).cloned().unwrap_or_default();
        let (cluster, node) = (of(None), of(Some(node_id)));
        let versions = Versions { cluster: cluster.version, node: node.version };
        let layers = Layers { cluster: cluster.values, node: node.values, ..fixed.clone() };
        let (layers, broker) = match BrokerConfig::new(&layers) {
            Ok(broker) => (layers, broker),
            Err(errors) => {
                let broker = BrokerConfig::new(&fixed)?;
                error!(%errors, "stored broker settings do not fit and are left out");
                (fixed, broker)
            }
        };
        Ok(Self {
            node_id,
            current: RwLock::new(Current { layers: Arc::new(layers), broker: Arc::new(broker) }),
            versions: tokio::sync::Mutex::new(versions),
        })
    }

    /// The layers of this moment.
    #[must_use]
    pub fn layers(&self) -> Arc<Layers> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).layers)
    }

    /// The typed values of this moment.
    #[must_use]
    pub fn broker(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).broker)
    }

    /// Changes the dynamic settings of a scope to what `alter` makes of the present ones; only
    /// checks it if `validate_only`. Returns whether anything changed.
    ///
    /// # Errors
    /// What `alter` refuses, what does not fit, and the store's failures.
    pub async fn change(
        &self,
        store: &dyn MetadataStore,
        fence: &Fence,
        scope: Scope,
        validate_only: bool,
        alter: impl FnOnce(&Settings) -> Result<Settings, AlterError> + Send,
    ) -> Result<bool, ChangeError> {
        let mut versions = self.versions.lock().await;
        let mut layers = (*self.layers()).clone();
        let old = match scope {
            Scope::AllBrokers => &mut layers.cluster,
            Scope::ThisBroker => &mut layers.node,
        };
        let new = alter(old)?;
        let unknown: Vec<_> = new.keys().filter(|name| !old.contains_key(*name)).cloned().collect();
        alter::check_broker(&new, scope == Scope::AllBrokers)?;
        let is_changed = *old != new;
        old.clone_from(&new);
        let broker = BrokerConfig::new(&layers)
            .map_err(|errors| AlterError::invalid_request(errors.to_string()))?;
        if validate_only || !is_changed {
            return Ok(false);
        }
        let (node, version) = match scope {
            Scope::AllBrokers => (None, &mut versions.cluster),
            Scope::ThisBroker => (Some(self.node_id), &mut versions.node),
        };
        *version = store.set_broker_configs(fence, node, *version, new).await?;
        let current = Current { layers: Arc::new(layers), broker: Arc::new(broker) };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        for name in unknown.iter().filter(|name| names::broker_key(name).is_none()) {
            let meant = names::nearest_broker_key(name);
            warn!(name, ?meant, "a setting that means nothing here is kept, as Kafka keeps it");
        }
        Ok(true)
    }
}

impl TopicConfigs for Configs {
    fn log_config(&self, overrides: &BTreeMap<String, String>) -> TopicLogConfig {
        topic::log_config(&self.layers(), overrides)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use metadata::Configs as Stored;

    use super::*;

    fn stored(pairs: &[(&str, &str)]) -> BTreeMap<Option<NodeId>, Stored> {
        let values = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        BTreeMap::from([(None, Stored { version: 3, values })])
    }

    #[test]
    fn stored_settings_win_over_defaults() {
        let configs = Configs::new(
            Arc::default(),
            NodeId(1),
            &stored(&[("message.max.bytes", "77"), ("max.connections", "5")]),
        )
        .unwrap();
        assert_eq!(configs.log_config(&BTreeMap::new()).max_message_bytes, 77);
        assert_eq!(configs.broker().options(1).connections_max, 5);
    }

    #[test]
    fn stored_settings_that_do_not_fit_are_left_out() {
        let configs =
            Configs::new(Arc::default(), NodeId(1), &stored(&[("log.roll.ms", "0")])).unwrap();
        assert!(configs.layers().cluster.is_empty());
    }
}
