//! Control records: what transaction coordinators write into partitions (KIP-98).
//!
//! The key says what happened (version and type), the value carries its details. Readers must accept
//! newer versions of both, which only ever append fields. Clients never see control records; brokers
//! and consumers find the end of transactions by them.

use bytes::Bytes;

use super::{
    batch::{BatchRef, NO_SEQUENCE},
    builder::BatchBuilder,
    compression::{Compression, DecompressLimit},
    error::RecordError,
};

const KEY_VERSION: i16 = 0;
const KEY_LEN: usize = 4;
const MARKER_VERSION: i16 = 0;
const MARKER_LEN: usize = 6;
/// Most bytes that a control batch's record is decompressed to; brokers do not compress it.
const CONTROL_BYTES_MAX: usize = 4096;

/// Kafka's `ControlRecordType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlRecordType {
    /// 0: the transaction was aborted.
    Abort,
    /// 1: the transaction was committed.
    Commit,
    /// 2: raft leader change.
    LeaderChange,
    /// 3: raft snapshot header.
    SnapshotHeader,
    /// 4: raft snapshot footer.
    SnapshotFooter,
    /// 5: version of the raft protocol.
    KRaftVersion,
    /// 6: voters of the raft quorum.
    KRaftVoters,
    /// A type that this version does not know; readers skip it.
    Unknown(i16),
}

impl ControlRecordType {
    /// The id in the key.
    pub fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::LeaderChange => 2,
            Self::SnapshotHeader => 3,
            Self::SnapshotFooter => 4,
            Self::KRaftVersion => 5,
            Self::KRaftVoters => 6,
            Self::Unknown(id) => id,
        }
    }

    /// The type with this id.
    pub fn from_id(id: i16) -> Self {
        match id {
            0 => Self::Abort,
            1 => Self::Commit,
            2 => Self::LeaderChange,
            3 => Self::SnapshotHeader,
            4 => Self::SnapshotFooter,
            5 => Self::KRaftVersion,
            6 => Self::KRaftVoters,
            id => Self::Unknown(id),
        }
    }
}

/// The key of a control record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlRecordKey {
    /// Version of the key, 0 so far.
    pub version: i16,
    /// What the record says.
    pub control_type: ControlRecordType,
}

impl ControlRecordKey {
    /// A key of the current version.
    pub fn new(control_type: ControlRecordType) -> Self {
        Self { version: KEY_VERSION, control_type }
    }

    /// The bytes of the key.
    pub fn encode(self) -> [u8; KEY_LEN] {
        let [v0, v1] = self.version.to_be_bytes();
        let [t0, t1] = self.control_type.id().to_be_bytes();
        [v0, v1, t0, t1]
    }

    /// Reads a key; bytes after the known fields belong to newer versions.
    ///
    /// # Errors
    /// `Malformed` below 4 bytes or for a negative version.
    pub fn decode(key: &[u8]) -> Result<Self, RecordError> {
        let raw = key.first_chunk::<KEY_LEN>().ok_or(malformed("control key is cut short"))?;
        let [v0, v1, t0, t1] = *raw;
        let version = i16::from_be_bytes([v0, v1]);
        if version < 0 {
            return Err(malformed("control key version is negative"));
        }
        let control_type = ControlRecordType::from_id(i16::from_be_bytes([t0, t1]));
        Ok(Self { version, control_type })
    }
}

/// The value of an ABORT or COMMIT record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// Whether the transaction is committed.
    pub commit: bool,
    /// Epoch of the coordinator that decided; older ones are fenced.
    pub coordinator_epoch: i32,
}

impl EndTransactionMarker {
    /// The key that goes with the value.
    pub fn key(self) -> ControlRecordKey {
        ControlRecordKey::new(if self.commit {
            ControlRecordType::Commit
        } else {
            ControlRecordType::Abort
        })
    }

    /// The bytes of the value.
    pub fn encode_value(self) -> [u8; MARKER_LEN] {
        let [v0, v1] = MARKER_VERSION.to_be_bytes();
        let [e0, e1, e2, e3] = self.coordinator_epoch.to_be_bytes();
        [v0, v1, e0, e1, e2, e3]
    }

    /// Reads a marker from key and value; `None` if the key is of another control type.
    ///
    /// # Errors
    /// `Malformed` for a key or value that is cut short or has a negative version.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Option<Self>, RecordError> {
        let commit = match ControlRecordKey::decode(key)?.control_type {
            ControlRecordType::Commit => true,
            ControlRecordType::Abort => false,
            ControlRecordType::LeaderChange
            | ControlRecordType::SnapshotHeader
            | ControlRecordType::SnapshotFooter
            | ControlRecordType::KRaftVersion
            | ControlRecordType::KRaftVoters
            | ControlRecordType::Unknown(_) => return Ok(None),
        };
        let raw = value.first_chunk::<MARKER_LEN>().ok_or(malformed("marker is cut short"))?;
        let [v0, v1, e0, e1, e2, e3] = *raw;
        if i16::from_be_bytes([v0, v1]) < 0 {
            return Err(malformed("marker version is negative"));
        }
        Ok(Some(Self { commit, coordinator_epoch: i32::from_be_bytes([e0, e1, e2, e3]) }))
    }

    /// The marker in a batch; `None` for a batch that is no control batch, is of another control
    /// type, or whose record compaction has removed.
    ///
    /// # Errors
    /// As [`EndTransactionMarker::decode`], and those of reading the record.
    pub fn of_batch(batch: &BatchRef<'_>) -> Result<Option<Self>, RecordError> {
        if !batch.header().is_control() {
            return Ok(None);
        }
        let plain = batch.decompressed(DecompressLimit { max_bytes: CONTROL_BYTES_MAX })?;
        let Some(record) = plain.iter().next().transpose()? else { return Ok(None) };
        Self::decode(record.key.unwrap_or_default(), record.value.unwrap_or_default())
    }
}

fn malformed(reason: &'static str) -> RecordError {
    RecordError::Malformed { index: 0, reason }
}

/// The control batch that ends a transaction in one partition (Kafka's
/// `MemoryRecords.withEndTransactionMarker`); offset and leader epoch are for the log to patch.
///
/// # Errors
/// None in practice: a marker always fits its fields.
pub fn encode_end_transaction_marker(
    producer_id: i64,
    producer_epoch: i16,
    timestamp_ms: i64,
    marker: EndTransactionMarker,
) -> Result<Bytes, RecordError> {
    let mut builder = BatchBuilder::new(Compression::None)
        .producer(producer_id, producer_epoch, NO_SEQUENCE)
        .transactional(true)
        .control(true);
    let (key, value) = (marker.key().encode(), marker.encode_value());
    builder.append(0, timestamp_ms, Some(&key), Some(&value), &[])?;
    builder.build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::records::{BatchRef, DecompressLimit};

    #[test]
    fn commit_marker_has_kafkas_bytes() {
        let marker = EndTransactionMarker { commit: true, coordinator_epoch: 0x0102_0304 };
        assert_eq!(marker.key().encode(), [0, 0, 0, 1]);
        assert_eq!(marker.encode_value(), [0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn marker_batch_is_transactional_control_without_sequence() {
        let marker = EndTransactionMarker { commit: false, coordinator_epoch: 9 };
        let bytes = encode_end_transaction_marker(7, 3, 1_000, marker).unwrap();
        let batch = BatchRef::parse(&bytes).unwrap();
        batch.verify_crc().unwrap();
        let header = batch.header();
        assert!(header.is_control() && header.is_transactional());
        assert_eq!((header.producer_id, header.producer_epoch), (7, 3));
        assert_eq!((header.base_sequence, header.last_sequence()), (NO_SEQUENCE, NO_SEQUENCE));
        assert_eq!((header.records_count, header.max_timestamp), (1, 1_000));
        let plain = batch.decompressed(DecompressLimit { max_bytes: 0 }).unwrap();
        let record = plain.iter().next().unwrap().unwrap();
        let decoded =
            EndTransactionMarker::decode(record.key.unwrap(), record.value.unwrap()).unwrap();
        assert_eq!(decoded, Some(marker));
        assert_eq!(EndTransactionMarker::of_batch(&batch), Ok(Some(marker)));
    }

    #[test]
    fn newer_versions_and_unknown_types_are_readable() {
        let key = ControlRecordKey::decode(&[0, 5, 0, 99, 1, 2, 3]).unwrap();
        assert_eq!(
            key,
            ControlRecordKey { version: 5, control_type: ControlRecordType::Unknown(99) }
        );
        let value = [0, 1, 0, 0, 0, 4, 77, 78];
        let marker = EndTransactionMarker::decode(&[0, 0, 0, 1], &value).unwrap();
        assert_eq!(marker, Some(EndTransactionMarker { commit: true, coordinator_epoch: 4 }));
        assert_eq!(EndTransactionMarker::decode(&[0, 0, 0, 2], &[]).unwrap(), None);
    }

    proptest! {
        #[test]
        fn every_control_type_round_trips(id: i16) {
            prop_assert_eq!(ControlRecordType::from_id(id).id(), id);
        }

        #[test]
        fn arbitrary_bytes_never_panic(key: Vec<u8>, value: Vec<u8>) {
            let _ = EndTransactionMarker::decode(&key, &value);
        }
    }
}
