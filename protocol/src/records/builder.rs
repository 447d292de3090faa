//! Writes batches of magic 2: coordinators, markers, recompression, the load generator and tests.
//!
//! Invariant: what [`BatchBuilder::build`] returns is a batch that Kafka's own reader accepts: counts,
//! deltas, max timestamp and CRC agree with the records appended.

use bytes::Bytes;

use super::{
    batch::{
        ATTRIBUTES_POSITION, BATCH_OVERHEAD, CONTROL_FLAG, CRC_POSITION, DELETE_HORIZON_FLAG,
        LOG_OVERHEAD, MAGIC_V2, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
        NO_SEQUENCE, NO_TIMESTAMP, TIMESTAMP_TYPE_FLAG, TRANSACTIONAL_FLAG, compute_crc,
    },
    compression::{Compression, compress},
    error::RecordError,
    record::Header,
    varint::{varint_len, varlong_len, write_varint, write_varlong},
};

/// Builds one batch. Records are encoded as they are appended.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    compression: Compression,
    base_offset: i64,
    partition_leader_epoch: i32,
    flags: i16,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    log_append_time: Option<i64>,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    last_offset_delta: Option<i32>,
    records_count: i32,
    /// Room for the header, then the encoded records.
    buffer: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch at offset 0 without producer, transaction or leader epoch.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            base_offset: 0,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            flags: 0,
            base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            log_append_time: None,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            last_offset_delta: None,
            records_count: 0,
            buffer: vec![0; BATCH_OVERHEAD],
        }
    }

    /// Offset of the first record.
    #[must_use]
    pub fn base_offset(mut self, base_offset: i64) -> Self {
        self.base_offset = base_offset;
        self
    }

    /// Epoch of the leader that appends.
    #[must_use]
    pub fn partition_leader_epoch(mut self, epoch: i32) -> Self {
        self.partition_leader_epoch = epoch;
        self
    }

    /// The idempotent or transactional producer and the sequence number of the first record.
    #[must_use]
    pub fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        self.producer_id = producer_id;
        self.producer_epoch = producer_epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn transactional(self, transactional: bool) -> Self {
        self.flag(TRANSACTIONAL_FLAG, transactional)
    }

    /// Whether the records are control records.
    #[must_use]
    pub fn control(self, control: bool) -> Self {
        self.flag(CONTROL_FLAG, control)
    }

    /// Gives every record the append time of a broker, in milliseconds.
    #[must_use]
    pub fn log_append_time(mut self, append_time_ms: i64) -> Self {
        self.log_append_time = Some(append_time_ms);
        self.flag(TIMESTAMP_TYPE_FLAG, true)
    }

    /// What timestamp deltas count from; without it, the timestamp of the first record.
    #[must_use]
    pub fn base_timestamp(mut self, base_timestamp_ms: i64) -> Self {
        self.base_timestamp = Some(base_timestamp_ms);
        self
    }

    /// Sets the base timestamp to a delete horizon, as compaction does for tombstones (KIP-534).
    #[must_use]
    pub fn delete_horizon(self, delete_horizon_ms: i64) -> Self {
        self.base_timestamp(delete_horizon_ms).flag(DELETE_HORIZON_FLAG, true)
    }

    /// Keeps the offset range of a batch of which compaction removed the last records.
    #[must_use]
    pub fn last_offset_delta(mut self, last_offset_delta: i32) -> Self {
        self.last_offset_delta = Some(last_offset_delta);
        self
    }

    fn flag(mut self, flag: i16, on: bool) -> Self {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
        self
    }

    /// Number of records appended so far.
    pub fn records_count(&self) -> i32 {
        self.records_count
    }

    /// Size of the batch so far, in bytes, before compression.
    pub fn size_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Appends a record. Offset deltas must grow from call to call; in a batch that a producer sends
    /// they are 0, 1, 2 and so on.
    ///
    /// # Errors
    /// `TooLargeToEncode` if key, value, a header or the whole record exceeds a 32-bit length, or the
    /// batch has `i32::MAX` records. The batch is then as before the call.
    pub fn append(
        &mut self,
        offset_delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<(), RecordError> {
        self.append_with(offset_delta, timestamp_ms, key, value, headers.iter().copied())
    }

    /// As [`BatchBuilder::append`], with headers from any iterator (such as a record's own).
    ///
    /// # Errors
    /// As [`BatchBuilder::append`].
    pub fn append_with<'h>(
        &mut self,
        offset_delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = Header<'h>> + Clone,
    ) -> Result<(), RecordError> {
        let records_count = self.records_count.checked_add(1).ok_or(too_large("record count"))?;
        let base_timestamp = self.base_timestamp.unwrap_or(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(base_timestamp);

        let mut body_len = 1 + varlong_len(timestamp_delta) + varint_len(offset_delta);
        body_len = body_len.saturating_add(nullable_len(key)?).saturating_add(nullable_len(value)?);
        let headers_count = to_i32(headers.len(), "header count")?;
        body_len = body_len.saturating_add(varint_len(headers_count));
        for header in headers.clone() {
            body_len = body_len
                .saturating_add(nullable_len(Some(header.key))?)
                .saturating_add(nullable_len(header.value)?);
        }
        let length = to_i32(body_len, "record")?;

        let out = &mut self.buffer;
        write_varint(out, length);
        out.push(0);
        write_varlong(out, timestamp_delta);
        write_varint(out, offset_delta);
        write_nullable(out, key)?;
        write_nullable(out, value)?;
        write_varint(out, headers_count);
        for header in headers {
            write_nullable(out, Some(header.key))?;
            write_nullable(out, header.value)?;
        }
        self.base_timestamp = Some(base_timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        self.records_count = records_count;
        let last_offset_delta = self.last_offset_delta.unwrap_or(offset_delta);
        self.last_offset_delta = Some(last_offset_delta.max(offset_delta));
        Ok(())
    }

    /// Compresses the records and writes the header.
    ///
    /// # Errors
    /// `Compression` if the codec fails, `TooLargeToEncode` if the batch exceeds its length field.
    pub fn build(self) -> Result<Bytes, RecordError> {
        let mut batch = match self.compression {
            Compression::None => self.buffer,
            compression => {
                let plain = self.buffer.get(BATCH_OVERHEAD..).unwrap_or_default();
                let packed = compress(compression, plain)?;
                let mut batch = Vec::with_capacity(BATCH_OVERHEAD + packed.len());
                batch.resize(BATCH_OVERHEAD, 0);
                batch.extend_from_slice(&packed);
                batch
            }
        };
        let batch_length = to_i32(batch.len().saturating_sub(LOG_OVERHEAD), "batch")?;
        let attributes = self.flags | i16::from(self.compression.compression_type().id());
        let header: [&[u8]; 13] = [
            &self.base_offset.to_be_bytes(),
            &batch_length.to_be_bytes(),
            &self.partition_leader_epoch.to_be_bytes(),
            &MAGIC_V2.to_be_bytes(),
            &[0; 4],
            &attributes.to_be_bytes(),
            &self.last_offset_delta.unwrap_or(-1).to_be_bytes(),
            &self.base_timestamp.unwrap_or(NO_TIMESTAMP).to_be_bytes(),
            &self.log_append_time.unwrap_or(self.max_timestamp).to_be_bytes(),
            &self.producer_id.to_be_bytes(),
            &self.producer_epoch.to_be_bytes(),
            &self.base_sequence.to_be_bytes(),
            &self.records_count.to_be_bytes(),
        ];
        let header = header.concat();
        batch[..BATCH_OVERHEAD].copy_from_slice(&header);
        let crc = compute_crc(&batch).to_be_bytes();
        batch[CRC_POSITION..ATTRIBUTES_POSITION].copy_from_slice(&crc);
        Ok(Bytes::from(batch))
    }
}

fn nullable_len(bytes: Option<&[u8]>) -> Result<usize, RecordError> {
    match bytes {
        None => Ok(1),
        Some(bytes) => {
            let len = to_i32(bytes.len(), "key, value or header")?;
            Ok(bytes.len().saturating_add(varint_len(len)))
        }
    }
}

fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<(), RecordError> {
    match bytes {
        None => write_varint(out, -1),
        Some(bytes) => {
            write_varint(out, to_i32(bytes.len(), "key, value or header")?);
            out.extend_from_slice(bytes);
        }
    }
    Ok(())
}

fn to_i32(len: usize, what: &'static str) -> Result<i32, RecordError> {
    i32::try_from(len).map_err(|_| too_large(what))
}

fn too_large(what: &'static str) -> RecordError {
    RecordError::TooLargeToEncode { what }
}

#[cfg(test)]
mod tests;
