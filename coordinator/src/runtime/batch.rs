//! An operation's records as batches of the log.

use bytes::Bytes;
use common::ProducerId;
use protocol::{
    ErrorCode,
    records::{BatchBuilder, Compression, NO_SEQUENCE, RecordError as BatchError},
};

use crate::{
    log::LogError,
    shard::{LogRecord, RECORD_OVERHEAD_MAX},
};

/// One batch, and the records in it.
pub(super) struct Encoded<R> {
    pub(super) bytes: Bytes,
    pub(super) count: i32,
    pub(super) records: Vec<R>,
}

/// What batches have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// Their codec.
    pub(super) compression: Compression,
    /// The producer, of transactional ones.
    pub(super) producer: Option<(ProducerId, i16)>,
}

/// Encodes records: into one batch, or into as many as it takes where they need not stand together.
pub(super) fn encode<R: LogRecord>(
    records: Vec<R>,
    in_parts: bool,
    now_ms: i64,
    bytes_max: usize,
    form: Form,
) -> Result<Vec<Encoded<R>>, LogError> {
    let mut batches = Vec::new();
    let mut builder = form.builder();
    let mut taken = Vec::new();
    for record in records {
        let encoded = record.encode().map_err(|error| {
            tracing::warn!(%error, "a record cannot be written");
            LogError::Refused(ErrorCode::UnknownServerError)
        })?;
        let value = encoded.value.as_deref();
        let bytes = encoded.key.len() + value.map_or(0, <[u8]>::len) + RECORD_OVERHEAD_MAX;
        if in_parts && !taken.is_empty() && builder.size_bytes() + bytes > bytes_max {
            let full = std::mem::replace(&mut builder, form.builder());
            batches.push(finish(full, std::mem::take(&mut taken), bytes_max)?);
        }
        let delta = i32::try_from(taken.len())
            .map_err(|_| LogError::TooLarge { bytes: builder.size_bytes() })?;
        builder
            .append(delta, now_ms, Some(&encoded.key), value, &[])
            .map_err(|error| too_large(&error, &builder))?;
        taken.push(record);
    }
    batches.push(finish(builder, taken, bytes_max)?);
    Ok(batches)
}

impl Form {
    fn builder(self) -> BatchBuilder {
        let builder = BatchBuilder::new(self.compression);
        match self.producer {
            Some((id, epoch)) => builder.producer(id.0, epoch, NO_SEQUENCE).transactional(true),
            None => builder,
        }
    }
}

fn finish<R>(
    builder: BatchBuilder,
    records: Vec<R>,
    bytes_max: usize,
) -> Result<Encoded<R>, LogError> {
    let (bytes, count) = (builder.size_bytes(), builder.records_count());
    if bytes > bytes_max {
        return Err(LogError::TooLarge { bytes });
    }
    let bytes = builder.build().map_err(|error| LogError::Storage(error.to_string()))?;
    Ok(Encoded { bytes, count, records })
}

fn too_large(error: &BatchError, builder: &BatchBuilder) -> LogError {
    tracing::debug!(%error, "a record does not fit a batch");
    LogError::TooLarge { bytes: builder.size_bytes() }
}
