//! Fetch: one partition per request, by topic id, without a session.

use broker::testing::Client;
use bytes::Bytes;
use common::PartitionKey;
use protocol::{
    ErrorCode,
    messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData},
};

use super::{Lost, call, code, unexpected};
use crate::{
    history::History,
    invariants::{Answered, Found, Read, Violation, check_out_of_range, check_read},
};

/// By topic id, current Java clients' version.
pub const VERSION: i16 = 17;

/// How a fetch asks.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// The partition.
    pub key: PartitionKey,
    /// Where from.
    pub offset: i64,
    /// Longest wait for records, milliseconds.
    pub max_wait_ms: i32,
    /// Most bytes.
    pub max_bytes: i32,
    /// Whether only what is stable is asked for.
    pub read_committed: bool,
}

/// What became of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The batches, and the offsets that came with them.
    Records {
        /// In order.
        found: Vec<Found>,
        /// First readable offset.
        log_start: i64,
        /// End of what is durable.
        high_watermark: i64,
    },
    /// The offset does not exist.
    OutOfRange,
    /// Not now: an object could not be read, or the broker is going down.
    Retry,
    /// The topic does not exist.
    Gone,
}

/// The request.
#[must_use]
pub fn request(ask: &Ask) -> FetchRequest {
    let partition = FetchPartition {
        partition: ask.key.partition,
        current_leader_epoch: -1,
        fetch_offset: ask.offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes: ask.max_bytes,
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: ask.max_wait_ms,
        min_bytes: 1,
        max_bytes: ask.max_bytes,
        isolation_level: i8::from(ask.read_committed),
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic_id: ask.key.topic_id.0,
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Sends the fetch, checks its answer against the model, and says what it was.
///
/// # Errors
/// [`Lost`], also after a violation.
pub async fn fetch(client: &mut Client, history: &History, ask: &Ask) -> Result<Outcome, Lost> {
    let floors = history.model().floors(&ask.key);
    let read = Read { key: ask.key, offset: ask.offset, floors };
    let response = call(client, &request(ask), VERSION).await?;
    let top = history.check(code("Fetch", response.error_code)).ok_or(Lost)?;
    if top != ErrorCode::None {
        history.violate(unexpected("Fetch", top));
        return Err(Lost);
    }
    let partition = response.responses.iter().flat_map(|topic| &topic.partitions).next();
    let Some(partition) = partition else {
        history.violate(Violation::protocol("Fetch has no answer for its partition".to_owned()));
        return Err(Lost);
    };
    let outcome = history.check(predicted_effect(history, &read, partition)).ok_or(Lost)?;
    history.event(&describe(ask, &outcome));
    Ok(outcome)
}

fn describe(ask: &Ask, outcome: &Outcome) -> String {
    let what = match outcome {
        Outcome::Records { found, log_start, high_watermark } => {
            let end = found.last().map_or(ask.offset, |found| found.last_offset + 1);
            format!("{} batches to {end} of {log_start}..{high_watermark}", found.len())
        }
        other => format!("{other:?}"),
    };
    format!("fetch {} from {}: {what}", ask.key, ask.offset)
}

fn classify(answer: &PartitionData) -> Result<ErrorCode, Violation> {
    use ErrorCode as E;
    match code("Fetch", answer.error_code)? {
        known @ (E::None
        | E::OffsetOutOfRange
        | E::KafkaStorageError
        | E::NotLeaderOrFollower
        | E::UnknownTopicOrPartition
        | E::UnknownTopicId) => Ok(known),
        other => Err(unexpected("Fetch", other)),
    }
}

fn predicted_effect(
    history: &History,
    read: &Read,
    answer: &PartitionData,
) -> Result<Outcome, Violation> {
    let mut model = history.model();
    match classify(answer)? {
        ErrorCode::None => {
            let records = answer.records.as_ref().map_or_else(Bytes::new, |r| r.to_bytes());
            let PartitionData { log_start_offset, last_stable_offset, high_watermark, .. } =
                *answer;
            let answered = Answered {
                log_start: log_start_offset,
                last_stable: last_stable_offset,
                high_watermark,
                records,
            };
            let found = check_read(&mut model, read, &answered)?;
            Ok(Outcome::Records { found, log_start: log_start_offset, high_watermark })
        }
        ErrorCode::OffsetOutOfRange => {
            check_out_of_range(&model, read)?;
            Ok(Outcome::OutOfRange)
        }
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
            if model.is_deleted(read.key.topic_id) {
                return Ok(Outcome::Gone);
            }
            Err(Violation::protocol(format!("Fetch says that {} does not exist", read.key)))
        }
        _ => Ok(Outcome::Retry),
    }
}
