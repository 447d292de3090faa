//! Appending the control batch that ends a transaction (WriteTxnMarkers, KIP-98, KIP-890).
//!
//! A marker is an append like any other: tentative until synced, acknowledged when durable by the
//! topic's class. Only then is its transaction decided and the last stable offset moves.

use common::ProducerId;
use protocol::records::{EndTransactionMarker, ValidatedRecords, encode_end_transaction_marker};

use crate::{
    append::{Acks, Appended},
    error::AppendError,
    partition::Partition,
};

/// The end of a producer's transaction, as its coordinator decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTransaction {
    /// The transactional producer.
    pub producer_id: ProducerId,
    /// Its epoch: from transaction version 2 on the one after the transaction's.
    pub producer_epoch: i16,
    /// Commit or abort.
    pub commit: bool,
    /// The epoch of the coordinator, which fences older ones.
    pub coordinator_epoch: i32,
    /// `transaction.version` of the transaction; decides how the epoch is checked.
    pub transaction_version: i16,
}

impl EndTransaction {
    /// The control batch as Kafka writes it.
    fn encode(
        &self,
        now_ms: i64,
        config: &crate::config::TopicLogConfig,
    ) -> Result<ValidatedRecords, AppendError> {
        let marker =
            EndTransactionMarker { commit: self.commit, coordinator_epoch: self.coordinator_epoch };
        encode_end_transaction_marker(self.producer_id.0, self.producer_epoch, now_ms, marker)
            .and_then(|bytes| ValidatedRecords::trusted(bytes, config.timestamp_type, now_ms))
            .map_err(|error| AppendError::Wal(error.to_string()))
    }
}

impl Partition {
    /// Appends the marker that ends the producer's transaction. One that ends nothing (the retry of
    /// a marker that was written, a partition without records of it) is written, too, as in Kafka.
    ///
    /// # Errors
    /// [`AppendError::Sequence`] for a stale epoch, [`AppendError::CoordinatorFenced`], and those of
    /// any append; the partition is unchanged then.
    pub fn append_marker(&self, end: EndTransaction, acks: Acks) -> Result<Appended, AppendError> {
        self.marker(end, None, acks)
    }

    /// The same in a coordinator's own log, which must end at `log_end`.
    ///
    /// # Errors
    /// [`AppendError::Moved`], and as [`Partition::append_marker`].
    pub fn append_marker_at(
        &self,
        end: EndTransaction,
        log_end: i64,
        acks: Acks,
    ) -> Result<Appended, AppendError> {
        self.marker(end, Some(log_end), acks)
    }

    fn marker(
        &self,
        end: EndTransaction,
        log_end: Option<i64>,
        acks: Acks,
    ) -> Result<Appended, AppendError> {
        let now_ms = self.shared.clock.now_ms();
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            return Err(reason.into());
        }
        if let Some(log_end) = log_end {
            state.expect_end(log_end)?;
        }
        state.producers.check_end(&end)?;
        let records = end.encode(now_ms, &state.config)?;
        let timestamp = records.max_timestamp;
        let placed = self.enqueue(&state, records, acks)?;
        state.log_end = placed.last_offset + 1;
        state.producers.end_tentative(&end, placed.base_offset, timestamp);
        Ok(state.accepted(placed, acks))
    }
}
