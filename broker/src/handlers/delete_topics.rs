//! DeleteTopics (key 20, v1–v6): deletes topics by name or, since v6, by id (KIP-516).

use std::{collections::BTreeSet, sync::Arc};

use common::TopicId;
use protocol::{
    ErrorCode,
    messages::delete_topics::{
        DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
    },
};
use tracing::{info, warn};
use uuid::Uuid;

use super::error;
use crate::{
    acl::{Access, Operation, Resource},
    catalog,
    context::{Broker, RequestContext},
    handler::{Api, Handler},
};

/// The first version that says that deletion is disabled.
const DELETION_DISABLED_SINCE: i16 = 3;

/// The handler.
#[derive(Debug)]
pub(crate) struct DeleteTopics;

impl Api for DeleteTopics {
    type Request = DeleteTopicsRequest;

    fn resources(request: &DeleteTopicsRequest) -> Vec<Access> {
        asked(request)
            .into_iter()
            .map(|topic| match topic.name {
                Some(name) => Resource::Topic(name),
                None => Resource::TopicId(topic.topic_id.into()),
            })
            .map(|topic| Access::new(Operation::Delete, topic))
            .collect()
    }

    fn error_response(request: &DeleteTopicsRequest, error: ErrorCode) -> DeleteTopicsResponse {
        let topics = asked(request);
        let responses = topics.iter().map(|topic| failed(topic, error, error.message())).collect();
        DeleteTopicsResponse { responses, ..Default::default() }
    }
}

impl Handler for DeleteTopics {
    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: DeleteTopicsRequest,
    ) -> DeleteTopicsResponse {
        if !broker.configs.broker().topics.delete_topic_enable {
            let error = if context.api_version < DELETION_DISABLED_SINCE {
                ErrorCode::InvalidRequest
            } else {
                ErrorCode::TopicDeletionDisabled
            };
            broker.metrics.error(context.api_key, error);
            return Self::error_response(&request, error);
        }
        let mut responses = Vec::new();
        for (topic, duplicate) in once_each(asked(&request)) {
            let response = match duplicate {
                Some(why) => failed(&topic, ErrorCode::InvalidRequest, why),
                None => delete(broker, &topic).await,
            };
            if let Ok(error) = ErrorCode::try_from(response.error_code)
                && error != ErrorCode::None
            {
                broker.metrics.error(context.api_key, error);
            }
            responses.push(response);
        }
        DeleteTopicsResponse { responses, ..Default::default() }
    }
}

/// What is asked for, in the form of version 6.
fn asked(request: &DeleteTopicsRequest) -> Vec<DeleteTopicState> {
    let by_name = request
        .topic_names
        .iter()
        .map(|name| DeleteTopicState { name: Some(name.clone()), topic_id: Uuid::nil() });
    request.topics.iter().cloned().chain(by_name).collect()
}

/// Each topic once, with Kafka's complaint if it was named more than once.
fn once_each(topics: Vec<DeleteTopicState>) -> Vec<(DeleteTopicState, Option<&'static str>)> {
    let key = |topic: &DeleteTopicState| (topic.name.clone(), topic.topic_id);
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for topic in &topics {
        if !seen.insert(key(topic)) {
            twice.insert(key(topic));
        }
    }
    let mut answered = BTreeSet::new();
    topics
        .into_iter()
        .filter(|topic| answered.insert(key(topic)))
        .map(|topic| {
            let complaint = match (&topic.name, twice.contains(&key(&topic))) {
                (_, false) => None,
                (Some(_), true) => Some("Duplicate topic name."),
                (None, true) => Some("Duplicate topic id."),
            };
            (topic, complaint)
        })
        .collect()
}

async fn delete(broker: &Arc<Broker>, asked: &DeleteTopicState) -> DeletableTopicResult {
    let image = broker.catalog.image();
    let by_id = TopicId(asked.topic_id);
    let (entry, unknown) = match (&asked.name, asked.topic_id.is_nil()) {
        (Some(_), false) => {
            let why = "You may not specify both topic name and topic id.";
            return failed(asked, ErrorCode::InvalidRequest, why);
        }
        (None, true) => {
            let why = "Neither topic name nor id were specified.";
            return failed(asked, ErrorCode::InvalidRequest, why);
        }
        (Some(name), true) => (image.by_name(name), ErrorCode::UnknownTopicOrPartition),
        (None, false) => (image.by_id(by_id), ErrorCode::UnknownTopicId),
    };
    let Some(entry) = entry else {
        return failed(asked, unknown, unknown.message());
    };
    let (id, name) = (entry.topic.id, entry.topic.name.clone());
    match broker.catalog.delete_topic(id).await {
        Ok(()) => {
            info!(topic = name, %id, "topic deleted");
            DeletableTopicResult { name: Some(name), topic_id: id.0, ..Default::default() }
        }
        // Another client was faster.
        Err(
            catalog::Error::UnknownTopic(_)
            | catalog::Error::Metadata(metadata::Error::UnknownTopic { .. }),
        ) => failed(asked, unknown, unknown.message()),
        Err(failure) => {
            warn!(topic = name, error = %failure, "topic could not be deleted");
            failed(asked, error::catalog(&failure), &failure.to_string())
        }
    }
}

fn failed(asked: &DeleteTopicState, error: ErrorCode, why: &str) -> DeletableTopicResult {
    DeletableTopicResult {
        name: asked.name.clone(),
        topic_id: asked.topic_id,
        error_code: error.code(),
        error_message: Some(why.to_owned()),
    }
}

#[cfg(test)]
mod tests;
