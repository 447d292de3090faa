//! CreatePartitions (key 37, v0–v3): adds partitions to topics (KIP-195).

use std::{collections::BTreeSet, sync::Arc};

use common::limits::TOPIC_PARTITIONS_MAX;
use protocol::{
    ErrorCode,
    messages::create_partitions::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
        CreatePartitionsTopicResult,
    },
};
use tracing::{info, warn};

use super::{error, replicas};
use crate::{
    acl::{Access, Operation, Resource},
    catalog::{self, TopicEntry},
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The handler.
#[derive(Debug)]
pub(crate) struct CreatePartitions;

/// Why nothing is added; Kafka gives unknown topics no message.
type Refusal = (ErrorCode, Option<String>);

impl Api for CreatePartitions {
    type Request = CreatePartitionsRequest;

    fn resources(request: &CreatePartitionsRequest) -> Vec<Access> {
        let topics = request.topics.iter().map(|topic| Resource::Topic(topic.name.clone()));
        topics.map(|topic| Access::new(Operation::Alter, topic)).collect()
    }

    fn error_response(
        request: &CreatePartitionsRequest,
        error: ErrorCode,
    ) -> CreatePartitionsResponse {
        let refusal = (error, Some(error.message().to_owned()));
        let results = request.topics.iter().map(|topic| result(&topic.name, Err(refusal.clone())));
        CreatePartitionsResponse { results: results.collect(), ..Default::default() }
    }
}

impl Handler for CreatePartitions {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        let mut seen = BTreeSet::new();
        let names = request.topics.iter().map(|topic| topic.name.as_str());
        let duplicates: BTreeSet<&str> = names.filter(|name| !seen.insert(*name)).collect();
        let mut answered = BTreeSet::new();
        let mut results = Vec::new();
        for topic in &request.topics {
            if !answered.insert(topic.name.as_str()) {
                continue;
            }
            let added = if duplicates.contains(topic.name.as_str()) {
                Err((ErrorCode::InvalidRequest, Some("Duplicate topic name.".to_owned())))
            } else {
                add(broker, topic, request.validate_only).await
            };
            if let Err((error, _)) = &added {
                broker.metrics.error(context.api_key, *error);
            }
            results.push(result(&topic.name, added));
        }
        CreatePartitionsResponse { results, ..Default::default() }
    }
}

async fn add(
    broker: &Arc<Broker>,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    let image = broker.catalog.image();
    let entry = image.by_name(&asked.name).ok_or((ErrorCode::UnknownTopicOrPartition, None))?;
    let present = i32::try_from(entry.topic.partitions.len()).unwrap_or(i32::MAX);
    let new = new_partitions(broker, entry, asked, present)?;
    if validate_only {
        return Ok(());
    }
    let added = new.len();
    broker.catalog.create_partitions(entry.topic.id, present, new).await.map_err(|failure| {
        match failure {
            catalog::Error::UnknownTopic(_)
            | catalog::Error::Metadata(metadata::Error::UnknownTopic { .. }) => {
                (ErrorCode::UnknownTopicOrPartition, None)
            }
            // Another client added some at the same moment.
            catalog::Error::Metadata(metadata::Error::PartitionCountMismatch { found, .. }) => {
                not_an_increase(&asked.name, found, asked.count)
            }
            other => {
                warn!(topic = asked.name, error = %other, "partitions could not be added");
                (error::catalog(&other), Some(other.to_string()))
            }
        }
    })?;
    info!(topic = asked.name, added, "partitions added");
    Ok(())
}

fn new_partitions(
    broker: &Broker,
    entry: &TopicEntry,
    asked: &CreatePartitionsTopic,
    present: i32,
) -> Result<Vec<Vec<i32>>, Refusal> {
    if asked.count == present {
        let why = format!("Topic already has {present} partition(s).");
        return Err((ErrorCode::InvalidPartitions, Some(why)));
    }
    if asked.count < present {
        return Err(not_an_increase(&asked.name, present, asked.count));
    }
    check_limits(broker, entry, asked.count)?;
    let more = usize::try_from(asked.count - present).unwrap_or(0);
    let Some(assignments) = &asked.assignments else {
        return Ok(vec![vec![broker.node_id.0]; more]);
    };
    let invalid = |why: String| (ErrorCode::InvalidReplicaAssignment, Some(why));
    if assignments.len() != more {
        return Err(invalid(format!(
            "Attempted to add {more} additional partition(s), but only {} assignment(s) were \
             specified.",
            assignments.len()
        )));
    }
    for assignment in assignments {
        replicas::check(&assignment.broker_ids, broker.node_id).map_err(invalid)?;
    }
    Ok(assignments.iter().map(|assignment| assignment.broker_ids.clone()).collect())
}

fn not_an_increase(name: &str, present: i32, asked: i32) -> Refusal {
    let why = format!(
        "The topic {name} currently has {present} partition(s); {asked} would not be an increase."
    );
    (ErrorCode::InvalidPartitions, Some(why))
}

fn check_limits(broker: &Broker, entry: &TopicEntry, count: i32) -> Result<(), Refusal> {
    if count > TOPIC_PARTITIONS_MAX {
        let why = format!("A topic may have at most {TOPIC_PARTITIONS_MAX} partitions.");
        return Err((ErrorCode::PolicyViolation, Some(why)));
    }
    let max = usize::try_from(broker.configs.broker().topics.max_partitions).unwrap_or(0);
    let image = broker.catalog.image();
    let others = image.topics().filter(|topic| topic.topic.id != entry.topic.id);
    let total = others.map(|topic| topic.partitions.len()).sum::<usize>();
    if total.saturating_add(usize::try_from(count).unwrap_or(0)) > max {
        let why = format!("More partitions would exceed streamhouse.max.partitions ({max}).");
        return Err((ErrorCode::PolicyViolation, Some(why)));
    }
    Ok(())
}

fn result(name: &str, added: Result<(), Refusal>) -> CreatePartitionsTopicResult {
    let (error, error_message) = added.err().unwrap_or((ErrorCode::None, None));
    CreatePartitionsTopicResult { name: name.to_owned(), error_code: error.code(), error_message }
}

#[cfg(test)]
mod tests;
