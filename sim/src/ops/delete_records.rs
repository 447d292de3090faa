//! DeleteRecords: moves the log start of a partition.

use broker::testing::Client;
use common::PartitionKey;
use protocol::{
    ErrorCode,
    messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic},
};

use super::{Lost, call, code, unexpected};
use crate::{history::History, invariants::Violation};

const VERSION: i16 = 2;
const TIMEOUT_MS: i32 = 10_000;

/// The request.
#[must_use]
pub fn request(topic: &str, partition: i32, offset: i64) -> DeleteRecordsRequest {
    let partition = DeleteRecordsPartition { partition_index: partition, offset };
    let topic = DeleteRecordsTopic { name: topic.to_owned(), partitions: vec![partition] };
    DeleteRecordsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS }
}

/// Deletes what lies before `before`. From the moment it is sent the log start may be there.
///
/// # Errors
/// [`Lost`], also after a violation.
pub async fn delete(
    client: &mut Client,
    history: &History,
    (topic, key): (&str, PartitionKey),
    before: i64,
) -> Result<(), Lost> {
    let floors = {
        let mut model = history.model();
        model.deleting_records(&key, before);
        model.floors(&key)
    };
    history.event(&format!("delete {key} before {before}"));
    let response = call(client, &request(topic, key.partition, before), VERSION).await?;
    let answer = response.topics.iter().flat_map(|topic| &topic.partitions).next();
    let Some(answer) = answer else {
        history.violate(Violation::protocol("DeleteRecords has no answer".to_owned()));
        return Err(Lost);
    };
    let code = history.check(code("DeleteRecords", answer.error_code)).ok_or(Lost)?;
    history.event(&format!("deleted {key}: {} {}", code.name(), answer.low_watermark));
    match code {
        ErrorCode::None => {}
        ErrorCode::KafkaStorageError
        | ErrorCode::NotLeaderOrFollower
        | ErrorCode::RequestTimedOut
        | ErrorCode::UnknownServerError => return Ok(()),
        ErrorCode::OffsetOutOfRange if before > floors.high_watermark => return Ok(()),
        other => {
            history.violate(unexpected("DeleteRecords", other));
            return Err(Lost);
        }
    }
    if answer.low_watermark < before {
        let low = answer.low_watermark;
        let message = format!("{key}: records before {before} deleted, yet log start {low}");
        history.violate(Violation::protocol(message));
        return Err(Lost);
    }
    let log_start = Some(answer.low_watermark);
    let effect = history.model().observe_offsets(&key, floors, log_start, None);
    history.check(effect).ok_or(Lost)
}
