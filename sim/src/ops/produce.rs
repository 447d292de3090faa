//! Produce: batches to one or more partitions, by topic name (v9) or topic id (v13).

use bytes::Bytes;
use common::{PartitionKey, invariant::InvariantId};
use protocol::{
    ErrorCode,
    messages::produce::{
        PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
        TopicProduceData,
    },
};
use uuid::Uuid;

use super::{code, unexpected};
use crate::{history::History, invariants::Violation, model::BatchId};

/// By topic name.
pub const BY_NAME: i16 = 9;
/// By topic id (KIP-516).
pub const BY_ID: i16 = 13;

/// One batch of a request.
#[derive(Debug, Clone)]
pub struct Part {
    /// Where to.
    pub key: PartitionKey,
    /// The topic's name.
    pub topic: String,
    /// Which batch.
    pub id: BatchId,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What became of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged at this base offset.
    Applied(i64),
    /// It is not in the log, by this attempt.
    Refused,
    /// It may be in the log.
    Unknown,
    /// The sequence number does not follow the partition's last one.
    OutOfOrder,
    /// The topic does not exist.
    Gone,
}

/// The request for these parts, each of another partition.
#[must_use]
pub fn request(parts: &[Part], acks: i16, timeout_ms: i32, version: i16) -> ProduceRequest {
    let mut topic_data: Vec<TopicProduceData> = Vec::new();
    for part in parts {
        let index = part.key.partition;
        let data = PartitionProduceData { index, records: Some(part.bytes.clone().into()) };
        let topic_id = part.key.topic_id.0;
        let known = topic_data.iter_mut().find(|topic| match version {
            BY_ID.. => topic.topic_id == topic_id,
            _ => topic.name == part.topic,
        });
        match known {
            Some(topic) => topic.partition_data.push(data),
            None if version >= BY_ID => topic_data.push(TopicProduceData {
                topic_id,
                partition_data: vec![data],
                ..Default::default()
            }),
            None => topic_data.push(TopicProduceData {
                name: part.topic.clone(),
                topic_id: Uuid::nil(),
                partition_data: vec![data],
            }),
        }
    }
    ProduceRequest { transactional_id: None, acks, timeout_ms, topic_data }
}

/// The answer for one part.
///
/// # Errors
/// A protocol violation where the answer has none.
pub fn answer_for<'a>(
    response: &'a ProduceResponse,
    part: &Part,
    version: i16,
) -> Result<&'a PartitionProduceResponse, Violation> {
    let topic = response.responses.iter().find(|topic| match version {
        BY_ID.. => topic.topic_id == part.key.topic_id.0,
        _ => topic.name == part.topic,
    });
    let index = part.key.partition;
    let answer = topic.and_then(|t| t.partition_responses.iter().find(|p| p.index == index));
    answer.ok_or_else(|| Violation::protocol(format!("Produce has no answer for {}", part.key)))
}

/// What an answer says. Only what rules out that the batch is in the log is a refusal: a write
/// that failed may have reached the disk, and a time-out says nothing.
///
/// # Errors
/// A protocol violation for what a right batch never meets.
pub fn classify(answer: &PartitionProduceResponse) -> Result<Outcome, Violation> {
    use ErrorCode as E;
    match code("Produce", answer.error_code)? {
        E::None => Ok(Outcome::Applied(answer.base_offset)),
        E::KafkaStorageError | E::RequestTimedOut | E::NotLeaderOrFollower => Ok(Outcome::Unknown),
        E::OutOfOrderSequenceNumber => Ok(Outcome::OutOfOrder),
        E::UnknownTopicOrPartition | E::UnknownTopicId => Ok(Outcome::Gone),
        E::CorruptMessage | E::MessageTooLarge => Ok(Outcome::Refused),
        other => Err(unexpected("Produce", other)),
    }
}

/// What the outcome means for the log.
///
/// # Errors
/// What the model cannot accept of it.
pub fn predicted_effect(
    history: &History,
    part: &Part,
    acks: i16,
    answer: &PartitionProduceResponse,
    outcome: Outcome,
) -> Result<(), Violation> {
    let mut model = history.model();
    let Some(batch) = model.batch(part.id) else { return Ok(()) };
    let (attempts, damaged) = (batch.attempts, batch.damaged);
    match outcome {
        Outcome::Applied(base_offset) if damaged => {
            let message = format!("{}: damaged batch {} got {base_offset}", part.key, part.id);
            Err(Violation::new(InvariantId::Log6, message))
        }
        Outcome::Refused if !damaged => {
            let message = format!("{}: batch {} was refused", part.key, part.id);
            Err(Violation::protocol(message))
        }
        Outcome::Applied(base_offset) if acks == -1 => {
            if attempts > 1 {
                history.trace.mark("sim: retry acknowledged");
            }
            model.acked(part.id, base_offset)?;
            let floors = Default::default();
            let log_start = (answer.log_start_offset >= 0).then_some(answer.log_start_offset);
            model.observe_offsets(&part.key, floors, log_start, None)
        }
        Outcome::Refused => {
            model.refused(part.id);
            Ok(())
        }
        Outcome::Gone if !model.is_deleted(part.key.topic_id) => {
            Err(Violation::protocol(format!("Produce says that {} does not exist", part.key)))
        }
        Outcome::Applied(_) | Outcome::Unknown | Outcome::OutOfOrder | Outcome::Gone => Ok(()),
    }
}
