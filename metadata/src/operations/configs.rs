//! Configurations: each change is a compare-and-swap on the version that the caller has read.

use std::collections::BTreeMap;

use common::{NodeId, TopicId};

use crate::{
    error::{Error, Result},
    model::Configs,
    rows::Rows,
};

/// Replaces a topic's configuration.
pub(crate) async fn set_topic(
    rows: &mut dyn Rows,
    id: TopicId,
    expected_version: i64,
    values: BTreeMap<String, String>,
) -> Result<i64> {
    let mut topic = rows.topic(id).await?.ok_or(Error::UnknownTopic { id })?;
    let entity = || format!("topic {}", topic.name);
    topic.configs = successor(&topic.configs, expected_version, values, entity)?;
    rows.put_topic(&topic).await?;
    Ok(topic.configs.version)
}

/// Replaces the dynamic configuration of one broker, or of all.
pub(crate) async fn set_broker(
    rows: &mut dyn Rows,
    broker: Option<NodeId>,
    expected_version: i64,
    values: BTreeMap<String, String>,
) -> Result<i64> {
    let current = rows.broker_configs().await?.remove(&broker).unwrap_or_default();
    let entity = || broker.map_or_else(|| "brokers".to_owned(), |id| format!("broker {id}"));
    let configs = successor(&current, expected_version, values, entity)?;
    rows.put_broker_configs(broker, &configs).await?;
    Ok(configs.version)
}

/// Replaces the dynamic configuration of one group.
pub(crate) async fn set_group(
    rows: &mut dyn Rows,
    group_id: &str,
    expected_version: i64,
    values: BTreeMap<String, String>,
) -> Result<i64> {
    let current = rows.group_configs().await?.remove(group_id).unwrap_or_default();
    let configs = successor(&current, expected_version, values, || format!("group {group_id}"))?;
    rows.put_group_configs(group_id, &configs).await?;
    Ok(configs.version)
}

fn successor(
    current: &Configs,
    expected_version: i64,
    values: BTreeMap<String, String>,
    entity: impl Fn() -> String,
) -> Result<Configs> {
    if current.version != expected_version {
        return Err(Error::ConfigVersionMismatch {
            entity: entity(),
            expected: expected_version,
            found: current.version,
        });
    }
    Ok(Configs { version: current.version + 1, values })
}
