//! A coordinator's log: the partitions of one internal topic.

use std::sync::Arc;

use coordinator::log::{
    Appended, Bounds, CoordinatorLog, LogError, NewBatch, Permit, TransactionEnd,
};
use futures::future::BoxFuture;
use protocol::{ErrorCode, Records, records::ValidatedRecords};
use storage::{
    Acks, AppendError, AppendOrigin, EndTransaction, IsolationLevel, Log, Partition, ReadError,
    ReadRequest, VerificationGuard,
};

use crate::{catalog::Catalog, handlers::error};

/// Room that is asked for before an operation: its records are not known yet, and few have more.
const ROOM_BYTES: usize = 4 * 1024;
/// Bytes that one step of a load reads.
const READ_BYTES: usize = 1024 * 1024;

/// The log over one internal topic.
#[derive(Debug)]
pub(super) struct TopicLog {
    topic: &'static str,
    catalog: Catalog,
    log: Arc<Log>,
}

impl TopicLog {
    pub(super) fn new(topic: &'static str, catalog: Catalog, log: Arc<Log>) -> Self {
        Self { topic, catalog, log }
    }

    fn partition(&self, index: i32) -> Result<Arc<Partition>, LogError> {
        let image = self.catalog.image();
        let topic = image.by_name(self.topic).ok_or(LogError::NotHosted)?;
        topic.partition(index).cloned().ok_or(LogError::NotHosted)
    }
}

fn accepted(appended: storage::Appended) -> Appended {
    let (base_offset, ticket) = (appended.base_offset, appended.ticket);
    let durable = Box::pin(async move { ticket.wait().await.map_err(|lost| refused(&lost)) });
    Appended { base_offset, durable }
}

fn refused(error: &AppendError) -> LogError {
    match error {
        AppendError::Deleted | AppendError::Fenced | AppendError::Closed => LogError::NotHosted,
        AppendError::Sequence(_)
        | AppendError::InvalidTxnState { .. }
        | AppendError::CoordinatorFenced { .. } => LogError::Refused(error::append(error)),
        AppendError::Moved { expected, actual } => {
            LogError::Moved { expected: *expected, actual: *actual }
        }
        AppendError::RolledBack | AppendError::Wal(_) => LogError::Storage(error.to_string()),
    }
}

fn unreadable(error: &ReadError) -> LogError {
    match error {
        ReadError::Deleted | ReadError::Fenced => LogError::NotHosted,
        ReadError::Damaged { .. } => LogError::Damaged(error.to_string()),
        // Retention or a take-back moved the log meanwhile: the next attempt sees its bounds.
        ReadError::OffsetOutOfRange { .. } | ReadError::Storage { .. } => {
            LogError::Storage(error.to_string())
        }
    }
}

impl CoordinatorLog for TopicLog {
    fn admit(&self) -> BoxFuture<'_, Result<Permit, LogError>> {
        Box::pin(async {
            match self.log.admit(ROOM_BYTES).await {
                Ok(permit) => Ok(Box::new(permit) as Permit),
                Err(error) => Err(refused(&error)),
            }
        })
    }

    fn batch_bytes_max(&self, partition: i32) -> usize {
        self.partition(partition).map_or(usize::MAX, |found| found.config().max_message_bytes)
    }

    fn append(&self, partition: i32, batch: NewBatch) -> Result<Appended, LogError> {
        let partition = self.partition(partition)?;
        let config = partition.config();
        let records = ValidatedRecords::trusted(batch.bytes, config.timestamp_type, 0)
            .map_err(|error| LogError::Storage(error.to_string()))?;
        let origin = AppendOrigin::Coordinator { log_end: batch.expected_offset };
        let guard = match batch.guard.map(|guard| guard.downcast::<VerificationGuard>()) {
            Some(Ok(guard)) => Some(*guard),
            Some(Err(_)) => return Err(LogError::Refused(ErrorCode::InvalidTxnState)),
            None => None,
        };
        partition
            .append_as(records, Acks::All, origin, guard)
            .map(accepted)
            .map_err(|error| refused(&error))
    }

    fn append_marker(
        &self,
        partition: i32,
        expected_offset: i64,
        end: TransactionEnd,
    ) -> Result<Appended, LogError> {
        let partition = self.partition(partition)?;
        let end = EndTransaction {
            producer_id: end.producer_id,
            producer_epoch: end.producer_epoch,
            commit: end.committed,
            coordinator_epoch: end.coordinator_epoch,
            transaction_version: end.transaction_version,
        };
        partition
            .append_marker_at(end, expected_offset, Acks::All)
            .map(accepted)
            .map_err(|error| refused(&error))
    }

    fn bounds(&self, partition: i32) -> Result<Bounds, LogError> {
        let offsets = self.partition(partition)?.offsets();
        Ok(Bounds {
            log_start: offsets.log_start,
            high_watermark: offsets.high_watermark,
            log_end: offsets.log_end,
        })
    }

    fn read(&self, partition: i32, offset: i64) -> BoxFuture<'_, Result<Records, LogError>> {
        Box::pin(async move {
            let request = ReadRequest {
                offset,
                max_bytes: READ_BYTES,
                min_one_batch: true,
                isolation: IsolationLevel::ReadUncommitted,
            };
            let read = self.partition(partition)?.read(request).await;
            let read = read.map_err(|error| unreadable(&error))?;
            Ok(read.records)
        })
    }
}
