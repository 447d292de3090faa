//! Large objects: uploaded in parts, a few at a time, so that memory stays bounded.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::FuturesUnordered};
use object_store::{MultipartUpload, ObjectStoreExt};
use tracing::debug;

use super::{ObjectStorage, is_transient};
use crate::object::Result;

/// Bytes of one part, except the last: S3 wants at least 5 MiB and equal sizes suit R2.
pub(super) const PART_BYTES: usize = 8 << 20;
/// Parts in flight; with the one being filled, memory is bounded by four parts.
const PARTS_IN_FLIGHT: usize = 3;

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
        let mut parts = Parts { source, rest: BytesMut::new(), done: false };
        let first = parts.next_part().await?.unwrap_or_default();
        if parts.done && parts.rest.is_empty() {
            let size = first.len() as u64;
            self.put(key, &[first]).await?;
            return Ok(size);
        }
        let location = self.location(key);
        let timeout = self.options.write_timeout;
        let mut upload = self
            .retried("create_multipart", key, timeout, || self.store.put_multipart(&location))
            .await?;
        let result = self.upload_parts(key, &mut *upload, first, &mut parts).await;
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
        first: Bytes,
        parts: &mut Parts<'_>,
    ) -> Result<u64> {
        let timeout = self.options.write_timeout;
        let mut in_flight = FuturesUnordered::new();
        let (mut size, mut next, mut tail) = (0, Some(first), Bytes::new());
        while let Some(part) = next {
            size += part.len() as u64;
            tail = part.clone();
            in_flight.push(self.once("put_part", key, timeout, upload.put_part(part.into())));
            if in_flight.len() >= PARTS_IN_FLIGHT
                && let Some(done) = in_flight.next().await
            {
                done?;
            }
            next = parts.next_part().await?;
        }
        while let Some(done) = in_flight.next().await {
            done?;
        }
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
}

/// Cuts what a source gives into parts.
struct Parts<'a> {
    source: &'a mut dyn PartSource,
    rest: BytesMut,
    done: bool,
}

impl Parts<'_> {
    /// The next part, of [`PART_BYTES`] unless it is the last.
    async fn next_part(&mut self) -> Result<Option<Bytes>> {
        while !self.done && self.rest.len() <= PART_BYTES {
            match self.source.next().await? {
                Some(piece) => self.rest.extend_from_slice(&piece),
                None => self.done = true,
            }
        }
        let len = self.rest.len().min(PART_BYTES);
        Ok((len > 0).then(|| self.rest.split_to(len).freeze()))
    }
}
