//! What DescribeConfigs, AlterConfigs and IncrementalAlterConfigs share: the resources that have
//! configurations, and how a change of one is made.

use std::{collections::BTreeSet, sync::Arc};

use common::NodeId;
use protocol::ErrorCode;
use table::alias;
use tracing::{info, warn};

use super::error;
use crate::{
    acl::{Access, Operation, Resource},
    catalog,
    config::{
        alter::{self, AlterError, Change, Settings},
        dynamic::{ChangeError, Scope},
        names::{self, ConfigKey},
        topic,
    },
    context::{Broker, RequestContext},
    topic_name,
};

/// Kafka's types of resources with configurations; the discriminant is the id on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum ResourceType {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceType {
    pub(crate) fn from_id(id: i8) -> Option<Self> {
        [Self::Topic, Self::Broker, Self::BrokerLogger, Self::ClientMetrics, Self::Group]
            .into_iter()
            .find(|kind| *kind as i8 == id)
    }
}

/// How often a change of a topic is tried again after another one came first.
const CHANGE_ATTEMPTS: usize = 5;

/// The access that a request for a resource's configuration needs.
pub(crate) fn access(id: i8, name: &str, operation: Operation) -> Access {
    match ResourceType::from_id(id) {
        Some(ResourceType::Topic) => Access::new(operation, Resource::Topic(name.to_owned())),
        Some(ResourceType::Group) => Access::new(operation, Resource::Group(name.to_owned())),
        _ => Access::new(operation, Resource::Cluster),
    }
}

/// What a request makes of one resource's settings.
pub(crate) struct Alteration<'a> {
    /// The resource's type and name.
    pub(crate) resource: (i8, &'a str),
    /// The change, or why there is none.
    pub(crate) to: Result<AlterTo, AlterError>,
}

/// How settings are altered.
pub(crate) enum AlterTo {
    /// These are all there are from now on.
    Replaced(Vec<(String, Option<String>)>),
    /// Single settings are changed.
    Changed(Vec<Change>),
}

impl AlterTo {
    fn apply(&self, current: &Settings, find: FindKey) -> Result<Settings, AlterError> {
        match self {
            Self::Replaced(given) => alter::replace(given),
            Self::Changed(changes) => alter::incremental(current, changes, find),
        }
    }
}

/// Makes the changes one after the other and gives what became of each. Resources that are named
/// more than once are refused, as in Kafka.
pub(crate) async fn change_all(
    broker: &Arc<Broker>,
    context: &RequestContext,
    alterations: Vec<Alteration<'_>>,
    validate_only: bool,
) -> Vec<Result<(), AlterError>> {
    let mut seen = BTreeSet::new();
    let resources = alterations.iter().map(|alteration| alteration.resource);
    let duplicates: BTreeSet<_> = resources.filter(|resource| !seen.insert(*resource)).collect();
    let mut results = Vec::with_capacity(alterations.len());
    for Alteration { resource, to } in alterations {
        let result = match to {
            _ if duplicates.contains(&resource) => {
                Err(AlterError::invalid_request("Each resource must appear at most once."))
            }
            Ok(to) => change(broker, resource, validate_only, &to).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &result {
            broker.metrics.error(context.api_key, refusal.code);
        }
        results.push(result);
    }
    results
}

async fn change(
    broker: &Arc<Broker>,
    (id, name): (i8, &str),
    validate_only: bool,
    to: &AlterTo,
) -> Result<(), AlterError> {
    match ResourceType::from_id(id) {
        Some(ResourceType::Topic) => change_topic(broker, name, validate_only, to).await,
        Some(ResourceType::Broker) => change_broker(broker, name, validate_only, to).await,
        Some(ResourceType::Group) => change_group(broker, name, validate_only, to).await,
        Some(ResourceType::BrokerLogger | ResourceType::ClientMetrics) | None => {
            to.apply(&Settings::new(), |_| None)?;
            Err(AlterError::invalid_request(format!("Unknown resource type {id}")))
        }
    }
}

/// Finds a key of one kind of resource.
type FindKey = fn(&str) -> Option<&'static ConfigKey>;

async fn change_topic(
    broker: &Arc<Broker>,
    name: &str,
    validate_only: bool,
    to: &AlterTo,
) -> Result<(), AlterError> {
    if name.is_empty() {
        return Err(AlterError::invalid_request("Default topic resources are not allowed."));
    }
    topic_name::validate(name)
        .map_err(|message| AlterError { code: ErrorCode::InvalidTopicException, message })?;
    for _ in 0..CHANGE_ATTEMPTS {
        let image = broker.catalog.image();
        let current = image.by_name(name).map(|entry| &entry.topic);
        let present = current.map(|topic| topic.configs.clone()).unwrap_or_default();
        let mut settings = to.apply(&present, names::topic_key)?;
        if let AlterTo::Replaced(_) = to {
            // Shown as read-only, so that who replaces what it saw leaves them out.
            let aliases = present.iter().filter(|(name, _)| alias::is_alias(name));
            for (name, value) in aliases {
                settings.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        let current = current.ok_or_else(|| unknown_topic(name))?;
        topic::validate(&settings).map_err(AlterError::invalid_config)?;
        if validate_only || settings == current.configs {
            return Ok(());
        }
        let changed =
            broker.catalog.set_topic_configs(current.id, current.config_version, settings).await;
        match changed {
            Ok(_) => {
                info!(topic = name, "topic configuration changed");
                return Ok(());
            }
            Err(catalog::Error::Metadata(metadata::Error::ConfigVersionMismatch { .. })) => {}
            Err(
                catalog::Error::UnknownTopic(_)
                | catalog::Error::Metadata(metadata::Error::UnknownTopic { .. }),
            ) => return Err(unknown_topic(name)),
            Err(failure) => {
                warn!(topic = name, error = %failure, "topic configuration not changed");
                return Err(AlterError {
                    code: error::catalog(&failure),
                    message: failure.to_string(),
                });
            }
        }
    }
    let message = "the topic's configuration changes too often".to_owned();
    Err(AlterError { code: ErrorCode::RequestTimedOut, message })
}

fn unknown_topic(name: &str) -> AlterError {
    AlterError {
        code: ErrorCode::UnknownTopicOrPartition,
        message: format!("The topic '{name}' does not exist."),
    }
}

async fn change_broker(
    broker: &Arc<Broker>,
    name: &str,
    validate_only: bool,
    to: &AlterTo,
) -> Result<(), AlterError> {
    let scope = scope(name, broker.node_id).map_err(|received| match received {
        Some(id) => AlterError::invalid_request(format!(
            "Unexpected broker id, expected {}, but received {id}",
            broker.node_id
        )),
        None => {
            AlterError::invalid_request(format!("Node id must be an integer, but it is: {name}"))
        }
    })?;
    let (store, fence) = (broker.metadata.as_ref(), &broker.fence);
    let alter = |settings: &Settings| to.apply(settings, names::broker_key);
    let changed = broker.configs.change(store, fence, scope, validate_only, alter).await;
    let is_changed = changed.map_err(|failure| match failure {
        ChangeError::Refused(refusal) => refusal,
        ChangeError::Metadata(failure) => {
            warn!(broker = name, error = %failure, "broker configuration not changed");
            AlterError { code: error::metadata(&failure), message: failure.to_string() }
        }
    })?;
    if is_changed {
        info!(broker = name, "broker configuration changed");
        apply(broker).await?;
    }
    Ok(())
}

async fn change_group(
    broker: &Arc<Broker>,
    name: &str,
    validate_only: bool,
    to: &AlterTo,
) -> Result<(), AlterError> {
    if name.is_empty() {
        return Err(AlterError::invalid_request("Default group resources are not allowed."));
    }
    let store = (broker.metadata.as_ref(), &broker.fence);
    let layers = broker.configs.layers();
    let alter = |settings: &Settings| to.apply(settings, names::group_key);
    let changed = broker.group_configs.change(store, &layers, name, validate_only, alter).await;
    let is_changed = changed.map_err(|failure| match failure {
        ChangeError::Refused(refusal) => refusal,
        ChangeError::Metadata(failure) => {
            warn!(group = name, error = %failure, "group configuration not changed");
            AlterError { code: error::metadata(&failure), message: failure.to_string() }
        }
    })?;
    if is_changed {
        info!(group = name, "group configuration changed");
    }
    Ok(())
}

/// Hands changed settings to the network side, to the log and to the topics that take them as
/// defaults. Groups read theirs at each request.
async fn apply(broker: &Arc<Broker>) -> Result<(), AlterError> {
    let port = broker.options().advertised.port;
    let config = broker.configs.broker();
    broker.set_options(config.options(port));
    broker.log.reconfigure(config.log.live);
    broker.catalog.refresh_configs().await.map_err(|failure| {
        warn!(error = %failure, "changed defaults did not reach every topic");
        AlterError { code: error::catalog(&failure), message: failure.to_string() }
    })
}

/// Which brokers a resource name means: none or `<default>` is all of them. The error is the other
/// broker's id, or nothing where it is no id at all.
pub(crate) fn scope(name: &str, node_id: NodeId) -> Result<Scope, Option<i32>> {
    if name.is_empty() {
        return Ok(Scope::AllBrokers);
    }
    match name.parse::<i32>() {
        Ok(id) if id == node_id.0 => Ok(Scope::ThisBroker),
        Ok(other) => Err(Some(other)),
        Err(_) => Err(None),
    }
}
