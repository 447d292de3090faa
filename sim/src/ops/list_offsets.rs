//! ListOffsets: the first and the last offset of a partition.

use broker::testing::Client;
use common::PartitionKey;
use protocol::{
    ErrorCode,
    messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic},
};

use super::{Lost, call, code, unexpected};
use crate::{history::History, invariants::Violation};

const VERSION: i16 = 8;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Which end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The log start.
    Earliest,
    /// The high watermark.
    Latest,
}

/// The request.
#[must_use]
pub fn request(topic: &str, partition: i32, end: End) -> ListOffsetsRequest {
    let timestamp = match end {
        End::Earliest => EARLIEST,
        End::Latest => LATEST,
    };
    let partition =
        ListOffsetsPartition { partition_index: partition, current_leader_epoch: -1, timestamp };
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] };
    ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
}

/// The offset, checked against the model; `None` where it cannot be had now.
///
/// # Errors
/// [`Lost`], also after a violation.
pub async fn list(
    client: &mut Client,
    history: &History,
    (topic, key): (&str, PartitionKey),
    end: End,
) -> Result<Option<i64>, Lost> {
    let floors = history.model().floors(&key);
    let response = call(client, &request(topic, key.partition, end), VERSION).await?;
    let answer = response.topics.iter().flat_map(|topic| &topic.partitions).next();
    let Some(answer) = answer else {
        history.violate(Violation::protocol("ListOffsets has no answer".to_owned()));
        return Err(Lost);
    };
    let code = history.check(code("ListOffsets", answer.error_code)).ok_or(Lost)?;
    history.event(&format!("list {key} {end:?}: {} {}", code.name(), answer.offset));
    match code {
        ErrorCode::None => {}
        ErrorCode::KafkaStorageError
        | ErrorCode::NotLeaderOrFollower
        | ErrorCode::RequestTimedOut => return Ok(None),
        other => {
            history.violate(unexpected("ListOffsets", other));
            return Err(Lost);
        }
    }
    let (log_start, high_watermark) = match end {
        End::Earliest => (Some(answer.offset), None),
        End::Latest => (None, Some(answer.offset)),
    };
    let effect = history.model().observe_offsets(&key, floors, log_start, high_watermark);
    history.check(effect).ok_or(Lost)?;
    Ok(Some(answer.offset))
}
