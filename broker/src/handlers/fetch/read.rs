//! One partition of a fetch: its checks, its read, its answer.

use std::sync::Arc;

use common::memory::Reservation;
use protocol::{
    ErrorCode, Records,
    messages::fetch::{AbortedTransaction, EpochEndOffset, PartitionData},
};
use storage::{IsolationLevel, Offsets, Partition, ReadError, ReadRequest, ReadResult};
use tracing::error;

use super::resolve;
use crate::{
    catalog::CatalogImage,
    context::Broker,
    fetch_session::{FetchKey, PartitionFetch},
    handlers::error,
    leadership::{NO_LEADER_EPOCH, check_leader_epoch},
};

/// The last version whose clients may not know KAFKA_STORAGE_ERROR.
const NO_STORAGE_ERROR_UNTIL: i16 = 5;

/// What bounds the whole fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) version: i16,
    pub(super) from_follower: bool,
    pub(super) min_bytes: usize,
    pub(super) max_bytes: usize,
    pub(super) isolation: IsolationLevel,
}

/// How closely to look at a partition that seems to have nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Its offsets say all.
    Offsets,
    /// Ask its log, which knows whether it was closed.
    Log,
}

/// What one partition may add to the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) max_bytes: usize,
    /// Give the first batch whatever its size: the response has none yet (KIP-74).
    pub(super) min_one_batch: bool,
}

impl Share {
    pub(super) fn is_nothing(&self) -> bool {
        self.max_bytes == 0 && !self.min_one_batch
    }
}

/// One partition of a fetch.
pub(super) struct PartitionRead {
    key: FetchKey,
    fetch: PartitionFetch,
    /// `None` where the key means no partition; then `data` says why.
    partition: Option<Arc<Partition>>,
    /// The high watermark that `data` was read under.
    seen_high_watermark: i64,
    data: PartitionData,
    reservation: Option<Reservation>,
}

impl PartitionRead {
    pub(super) fn new(image: &CatalogImage, key: &FetchKey, fetch: PartitionFetch) -> Self {
        let resolved = resolve(image, key);
        let refused = resolved.as_ref().err().copied().unwrap_or(ErrorCode::None);
        Self {
            key: key.clone(),
            fetch,
            partition: resolved.ok().map(|(_, partition)| partition),
            seen_high_watermark: -1,
            data: failed(key.partition, refused),
            reservation: None,
        }
    }

    pub(super) fn partition(&self) -> Option<&Arc<Partition>> {
        self.partition.as_ref()
    }

    /// Bytes of records read.
    pub(super) fn bytes(&self) -> usize {
        self.data.records.as_ref().map_or(0, Records::len)
    }

    /// Whether there may be more to read than at the last time.
    pub(super) fn has_moved(&self) -> bool {
        self.partition
            .as_ref()
            .is_some_and(|partition| partition.offsets().high_watermark != self.seen_high_watermark)
    }

    /// Whether the answer must not wait: the read failed, or the client has to truncate. A
    /// partition that does not exist does not keep the others from waiting, as in Kafka.
    pub(super) fn must_answer(&self) -> bool {
        self.partition.is_some()
            && (self.data.error_code != ErrorCode::None.code()
                || self.data.diverging_epoch.epoch >= 0)
    }

    pub(super) fn into_result(self) -> (FetchKey, PartitionData, Option<Reservation>) {
        (self.key, self.data, self.reservation)
    }

    /// Says what can be said without reading; whether there is more to be read.
    pub(super) fn look(&mut self, limits: &Limits, look: Look) -> bool {
        let Some(partition) = self.partition.clone() else { return false };
        self.reservation = None;
        let offsets = partition.offsets();
        self.seen_high_watermark = offsets.high_watermark;
        let checked = self.check(&partition, &offsets, limits);
        let readable = matches!(checked, Ok(None))
            && !(look == Look::Offsets && self.at_end(&offsets, limits));
        let found = || found(self.key.partition, &offsets, limits.isolation);
        self.data = match checked {
            Err(error) => failed(self.key.partition, error),
            Ok(Some(diverging_epoch)) => PartitionData { diverging_epoch, ..found() },
            Ok(None) => found(),
        };
        readable
    }

    /// Whether its first bytes come from an object.
    pub(super) fn is_cold(&self) -> bool {
        self.partition.as_ref().is_some_and(|partition| partition.is_cold(self.fetch.fetch_offset))
    }

    /// What it may read where `bytes_before` may be taken by those before it.
    pub(super) fn share(&self, limits: &Limits, bytes_before: usize) -> Share {
        let partition_max = usize::try_from(self.fetch.max_bytes).unwrap_or_default();
        Share {
            max_bytes: partition_max.min(limits.max_bytes.saturating_sub(bytes_before)),
            min_one_batch: bytes_before == 0,
        }
    }

    /// Reads its share, with memory reserved for it.
    pub(super) async fn read(
        &mut self,
        broker: &Broker,
        limits: &Limits,
        share: Share,
        reserved: Reservation,
    ) {
        let Some(partition) = self.partition.clone() else { return };
        let request = ReadRequest {
            offset: self.fetch.fetch_offset,
            max_bytes: share.max_bytes,
            min_one_batch: share.min_one_batch,
            isolation: limits.isolation,
        };
        self.data = match partition.read_for_socket(request).await {
            Ok(result) => {
                self.seen_high_watermark = result.high_watermark;
                self.keep(broker, reserved, share.max_bytes, result.records.memory_len());
                answer(self.key.partition, result, limits.isolation)
            }
            Err(refused) => self.refuse(&refused, limits),
        };
    }

    /// Takes back what was read: it has no room after all.
    pub(super) fn leave_out(&mut self) {
        self.data.records = Some(Records::new());
        self.data.aborted_transactions = self.data.aborted_transactions.take().map(|_| Vec::new());
        self.reservation = None;
    }

    /// Whether it was read, without an error, and nothing fitted in.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes() == 0 && self.data.error_code == ErrorCode::None.code()
    }

    /// What can be said without reading; a diverging epoch where the client's log is not a prefix
    /// of this one (KIP-595).
    fn check(
        &self,
        partition: &Partition,
        offsets: &Offsets,
        limits: &Limits,
    ) -> Result<Option<EpochEndOffset>, ErrorCode> {
        if limits.from_follower {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        check_leader_epoch(partition, self.fetch.current_leader_epoch)?;
        if self.fetch.last_fetched_epoch == NO_LEADER_EPOCH {
            return Ok(None);
        }
        let (epoch, end_offset) = partition.epoch_end_offset(self.fetch.last_fetched_epoch);
        if epoch < 0 || end_offset < 0 || self.fetch.fetch_offset < offsets.log_start {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let diverges =
            epoch < self.fetch.last_fetched_epoch || end_offset < self.fetch.fetch_offset;
        Ok(diverges.then_some(EpochEndOffset { epoch, end_offset }))
    }

    /// Whether there is nothing to read yet.
    fn at_end(&self, offsets: &Offsets, limits: &Limits) -> bool {
        let bound = match limits.isolation {
            IsolationLevel::ReadUncommitted => offsets.high_watermark,
            IsolationLevel::ReadCommitted => offsets.last_stable,
        };
        (bound..=offsets.log_end).contains(&self.fetch.fetch_offset)
    }

    /// Holds on to as much memory as was read into it, not as might have been: less as a rule (none
    /// for what stays in files), more where the first batch alone is larger than was asked for.
    fn keep(&mut self, broker: &Broker, reserved: Reservation, reserved_bytes: usize, read: usize) {
        self.reservation = match read {
            0 => None,
            read if read == reserved_bytes => Some(reserved),
            read => Some(broker.fetch_memory.try_acquire(read).unwrap_or(reserved)),
        };
    }

    fn refuse(&self, refused: &ReadError, limits: &Limits) -> PartitionData {
        let code = match error::read(refused) {
            ErrorCode::KafkaStorageError if limits.version <= NO_STORAGE_ERROR_UNTIL => {
                ErrorCode::NotLeaderOrFollower
            }
            code => code,
        };
        if matches!(refused, ReadError::Storage { .. } | ReadError::Damaged { .. }) {
            error!(key = ?self.key, %refused, "fetch failed");
        }
        failed(self.key.partition, code)
    }
}

/// An answer without records and without an error.
fn found(index: i32, offsets: &Offsets, isolation: IsolationLevel) -> PartitionData {
    PartitionData {
        high_watermark: offsets.high_watermark,
        last_stable_offset: offsets.last_stable,
        log_start_offset: offsets.log_start,
        aborted_transactions: (isolation == IsolationLevel::ReadCommitted).then(Vec::new),
        ..failed(index, ErrorCode::None)
    }
}

fn answer(index: i32, result: ReadResult, isolation: IsolationLevel) -> PartitionData {
    let aborted = result.aborted.iter().map(|aborted| AbortedTransaction {
        producer_id: aborted.producer_id,
        first_offset: aborted.first_offset,
    });
    PartitionData {
        high_watermark: result.high_watermark,
        last_stable_offset: result.last_stable_offset,
        log_start_offset: result.log_start_offset,
        aborted_transactions: (isolation == IsolationLevel::ReadCommitted)
            .then(|| aborted.collect()),
        records: Some(result.records),
        ..failed(index, ErrorCode::None)
    }
}

/// An answer with an error: every offset unknown, as Kafka's `FetchResponse.partitionResponse`.
fn failed(index: i32, error: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index: index,
        error_code: error.code(),
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        aborted_transactions: None,
        records: Some(Records::new()),
        ..Default::default()
    }
}
