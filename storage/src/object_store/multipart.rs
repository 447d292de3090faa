//! Large objects: uploaded in parts, a few at a time, so that memory stays bounded.
//!
//! What fits in [`SINGLE_BYTES_MAX`] goes out in one request, because requests cost money; such
//! puts take turns, because the whole body is in memory meanwhile.

use std::{collections::VecDeque, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tracing::debug;

use super::{ObjectStorage, is_transient};
use crate::object::Result;

/// Bytes of one part, except the last: S3 wants at least 5 MiB, R2 equal sizes.
pub(super) const PART_BYTES: usize = 16 << 20;
/// Largest object that is put in one request: a sealed WAL file with its footer.
pub(super) const SINGLE_BYTES_MAX: usize = 72 << 20;
/// Parts in flight; with the one being filled, memory is bounded by three parts.
const PARTS_IN_FLIGHT: usize = 2;
/// Slowest transfer that is waited for, bytes per second.
const SLOWEST_BYTES_PER_SECOND: u64 = 512 << 10;

/// The bytes of an object, piece by piece.
#[async_trait]
pub trait PartSource: Send {
    /// The next piece, of any size; `None` at the end.
    ///
    /// # Errors
    /// Those of the source; they end the upload.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}

impl ObjectStorage {
    /// Puts an object piece by piece and returns its size: in one request where it is small, in
    /// parts otherwise. One attempt: callers retry with a fresh source, under the same key.
    ///
    /// # Errors
    /// Those of the source and of the store. What was uploaded of a failed attempt is aborted
    /// where the store answers, and left to the bucket's life cycle where it does not.
    pub async fn put_parts(&self, key: &str, source: &mut dyn PartSource) -> Result<u64> {
        let mut parts = Parts { source, pieces: VecDeque::new(), bytes: 0, done: false };
        parts.fill(PART_BYTES).await?;
        #[allow(clippy::expect_used, reason = "the semaphore is private and never closed")]
        let turn = match parts.done {
            true => None,
            false => Some(self.large_puts.acquire().await.expect("never closed")),
        };
        parts.fill(SINGLE_BYTES_MAX).await?;
        if parts.done && parts.bytes <= SINGLE_BYTES_MAX {
            let size = parts.bytes as u64;
            let pieces: Vec<_> = parts.pieces.into();
            self.put(key, &pieces).await?;
            return Ok(size);
        }
        drop(turn);
        let location = self.location(key);
        let timeout = self.options.write_timeout;
        let mut upload = self
            .retried("create_multipart", key, timeout, || self.store.put_multipart(&location))
            .await?;
        let result = self.upload_parts(key, &mut *upload, &mut parts).await;
        if result.is_err() {
            // Best effort: parts of an abandoned upload are not an object.
            if let Ok(Err(error)) = tokio::time::timeout(timeout, upload.abort()).await {
                debug!(key, %error, "aborting a multipart upload failed");
            }
        }
        result
    }

    async fn upload_parts(
        &self,
        key: &str,
        upload: &mut dyn MultipartUpload,
        parts: &mut Parts<'_>,
    ) -> Result<u64> {
        let mut in_flight = FuturesUnordered::new();
        let (mut size, mut tail) = (0, Bytes::new());
        while let Some(part) = parts.next_part().await? {
            let len = part.content_length();
            let timeout = self.write_timeout(len as u64);
            size += len as u64;
            tail = part.iter().last().cloned().unwrap_or_default();
            in_flight.push(self.once("put_part", key, timeout, upload.put_part(part)));
            if in_flight.len() >= PARTS_IN_FLIGHT
                && let Some(done) = in_flight.next().await
            {
                done?;
            }
        }
        while let Some(done) = in_flight.next().await {
            done?;
        }
        let timeout = self.options.write_timeout;
        match self.once("complete_multipart", key, timeout, upload.complete()).await {
            Ok(_) => {}
            // The outcome is unknown: it was completed if the whole object is there.
            Err(error) if is_transient(&error) => {
                self.verify(key, size, &tail).await.map_err(|_| error)?;
            }
            Err(error) => return Err(error),
        }
        metrics::counter!("streamhouse_object_store_bytes_total", "direction" => "out")
            .increment(size);
        Ok(size)
    }

    /// The bound on an attempt to send `bytes`.
    pub(super) fn write_timeout(&self, bytes: u64) -> Duration {
        self.options.write_timeout + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
    }
}

/// Cuts what a source gives into parts.
struct Parts<'a> {
    source: &'a mut dyn PartSource,
    pieces: VecDeque<Bytes>,
    bytes: usize,
    done: bool,
}

impl Parts<'_> {
    /// Reads until there are more than `bytes` bytes, or all.
    async fn fill(&mut self, bytes: usize) -> Result<()> {
        while !self.done && self.bytes <= bytes {
            match self.source.next().await? {
                Some(piece) => {
                    self.bytes += piece.len();
                    self.pieces.push_back(piece);
                }
                None => self.done = true,
            }
        }
        Ok(())
    }

    /// The next part, of [`PART_BYTES`] unless it is the last.
    async fn next_part(&mut self) -> Result<Option<PutPayload>> {
        self.fill(PART_BYTES).await?;
        let mut part = Vec::new();
        let mut missing = PART_BYTES;
        while let Some(mut piece) = self.pieces.pop_front() {
            if piece.len() > missing {
                self.pieces.push_front(piece.split_off(missing));
            }
            missing -= piece.len();
            part.push(piece);
            if missing == 0 {
                break;
            }
        }
        self.bytes -= PART_BYTES - missing;
        Ok((missing < PART_BYTES).then(|| part.into_iter().collect()))
    }
}
