//! Kafka's record batches (magic 2, KIP-98) as bytes: views, codecs and the checks of Produce.
//!
//! A batch travels through StreamHouse as the bytes that the producer sent. Nothing here decodes a
//! batch into owned records unless the caller asks for it; what a broker must change (base offset,
//! leader epoch, append time) is patched in place. No function of this module panics on any input,
//! and none allocates what a length field merely claims.
//!
//! ```text
//!  Produce ─> validate ─> ValidatedRecords ─> storage (patch in place) ─> Fetch
//!                │ batch (header, CRC) · record (walk) · compression (bounded)
//!  coordinators, load generator, markers ─> builder, control
//! ```
//!
//! What is checked, and where that differs from Apache Kafka, is in `docs/rfcs/0002-records.md`.

mod batch;
mod builder;
mod compression;
mod control;
mod error;
mod patch;
mod record;
mod snappy;
mod stream;
mod validate;
pub mod varint;
mod zstd_reader;

#[cfg(test)]
mod golden;

pub use batch::{
    ATTRIBUTES_POSITION, BASE_OFFSET_POSITION, BASE_SEQUENCE_POSITION, BASE_TIMESTAMP_POSITION,
    BATCH_OVERHEAD, Batch, BatchHeader, BatchRef, BatchRefs, Batches, CRC_POSITION,
    LAST_OFFSET_DELTA_POSITION, LENGTH_POSITION, LOG_OVERHEAD, MAGIC_POSITION, MAGIC_V2,
    MAX_TIMESTAMP_POSITION, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, NO_TIMESTAMP, PARTITION_LEADER_EPOCH_POSITION, PRODUCER_EPOCH_POSITION,
    PRODUCER_ID_POSITION, PlainRecords, RECORDS_COUNT_POSITION, TimestampType, batch_refs, batches,
    decrement_sequence, increment_sequence,
};
pub use builder::BatchBuilder;
pub use compression::{
    Compression, CompressionType, DecompressLimit, Decompressor, compress, decompress,
};
pub use control::{
    ControlRecordKey, ControlRecordType, EndTransactionMarker, encode_end_transaction_marker,
};
pub use error::{CompressionError, RecordError};
pub use patch::{
    set_base_offset, set_log_append_time, set_max_timestamp, set_partition_leader_epoch,
};
pub use record::{Header, Headers, Record, RecordIter};
pub use validate::{
    CompressionPolicy, ProducePolicy, RecordViolation, ValidatedRecords, ValidationError,
    ValidationErrorKind, validate_produce,
};
