//! CreateTopics and DeleteTopics (by id).

use broker::testing::Client;
use common::{PartitionKey, TopicId};
use protocol::{
    ErrorCode,
    messages::{
        create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest},
        delete_topics::{DeleteTopicState, DeleteTopicsRequest},
    },
};

use super::{Lost, call, code, unexpected};
use crate::{history::History, invariants::Violation};

const CREATE_VERSION: i16 = 7;
const DELETE_VERSION: i16 = 6;
const TIMEOUT_MS: i32 = 10_000;

/// A topic of the simulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimTopic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
}

impl SimTopic {
    /// The keys of its partitions.
    pub fn keys(&self) -> impl Iterator<Item = PartitionKey> + use<> {
        let topic_id = self.id;
        (0..self.partitions).map(move |partition| PartitionKey { topic_id, partition })
    }
}

/// The request for a topic without retention.
#[must_use]
pub fn create_request(name: &str, partitions: i32, durability: &str) -> CreateTopicsRequest {
    let config = |name: &str, value: &str| CreatableTopicConfig {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    };
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: vec![config("streamhouse.durability", durability), config("retention.ms", "-1")],
    };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, validate_only: false }
}

/// Creates a topic that the model does not watch: its users know what must be in it.
///
/// # Errors
/// [`Lost`].
pub async fn create_plain(
    client: &mut Client,
    history: &History,
    name: &str,
    partitions: i32,
) -> Result<Option<SimTopic>, Lost> {
    let request = create_request(name, partitions, "local");
    let response = call(client, &request, CREATE_VERSION).await?;
    let made = response.topics.first().filter(|answer| answer.error_code == 0);
    history.event(&format!("create {name}: {}", made.is_some()));
    Ok(made.map(|answer| SimTopic {
        name: name.to_owned(),
        id: TopicId(answer.topic_id),
        partitions,
    }))
}

/// Creates a topic; `None` where it cannot be done now or the name is taken.
///
/// # Errors
/// [`Lost`], also after a violation.
pub async fn create(
    client: &mut Client,
    history: &History,
    name: &str,
    partitions: i32,
    durability: &str,
) -> Result<Option<SimTopic>, Lost> {
    let request = create_request(name, partitions, durability);
    let response = call(client, &request, CREATE_VERSION).await?;
    let Some(answer) = response.topics.first() else {
        history.violate(Violation::protocol("CreateTopics has no answer".to_owned()));
        return Err(Lost);
    };
    let code = history.check(code("CreateTopics", answer.error_code)).ok_or(Lost)?;
    history.event(&format!("create {name}: {} {}", code.name(), answer.topic_id));
    match code {
        ErrorCode::None => {
            let id = TopicId(answer.topic_id);
            let topic = SimTopic { name: name.to_owned(), id, partitions };
            topic.keys().for_each(|key| history.model().add_partition(key));
            Ok(Some(topic))
        }
        ErrorCode::TopicAlreadyExists | ErrorCode::RequestTimedOut | ErrorCode::NotController => {
            Ok(None)
        }
        other => {
            history.violate(unexpected("CreateTopics", other));
            Err(Lost)
        }
    }
}

/// Deletes a topic by id; whether it is gone.
///
/// # Errors
/// [`Lost`], also after a violation.
pub async fn delete(
    client: &mut Client,
    history: &History,
    topic: &SimTopic,
) -> Result<bool, Lost> {
    history.model().delete_topic(topic.id);
    history.event(&format!("delete topic {}", topic.name));
    let state = DeleteTopicState { name: None, topic_id: topic.id.0 };
    let request =
        DeleteTopicsRequest { topics: vec![state], timeout_ms: TIMEOUT_MS, ..Default::default() };
    let response = call(client, &request, DELETE_VERSION).await?;
    let Some(answer) = response.responses.first() else {
        history.violate(Violation::protocol("DeleteTopics has no answer".to_owned()));
        return Err(Lost);
    };
    let code = history.check(code("DeleteTopics", answer.error_code)).ok_or(Lost)?;
    history.event(&format!("deleted topic {}: {}", topic.name, code.name()));
    match code {
        ErrorCode::None | ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition => {
            Ok(true)
        }
        ErrorCode::RequestTimedOut | ErrorCode::NotController => Ok(false),
        other => {
            history.violate(unexpected("DeleteTopics", other));
            Err(Lost)
        }
    }
}
