//! Makes the object of one range: verify and index it, register the object, rename or put it.
//!
//! Invariant: an object is registered before a byte of it can be in the store, so none is ever
//! lost track of; a range is prepared under one id, whatever fails in between.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use common::{ObjectId, retry::Backoff};
use metadata::{NewObject, ObjectLevel, WalRange};
use tracing::{debug, error, warn};

use super::{InUse, Shared, adopt};
use crate::{
    object::{self, Footer, ObjectRef, Origin, build_blocks_footer},
    object_store::PartSource,
    wal::WalFileRef,
};

/// Bytes read from the WAL file at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// A range to be made an object.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) file: Arc<WalFileRef>,
    pub(super) origin: Origin,
}

/// A durable object that waits for its turn to be committed.
#[derive(Debug)]
pub(super) struct Prepared {
    /// `None` where the range holds nothing that anybody serves.
    pub(super) object: Option<PreparedObject>,
}

#[derive(Debug)]
pub(super) struct PreparedObject {
    pub(super) object: Arc<ObjectRef>,
    pub(super) footer: Footer,
    pub(super) in_use: InUse,
}

/// Why an attempt failed.
enum Failure {
    /// The metadata store belongs to another process now.
    Fenced,
    /// Try again.
    Metadata(metadata::Error),
    /// Try again.
    Object(object::Error),
    /// Try again, under another id.
    Taken,
}

impl From<object::Error> for Failure {
    fn from(error: object::Error) -> Self {
        match error {
            object::Error::ForeignContents { .. } => Self::Taken,
            error => Self::Object(error),
        }
    }
}

/// Prepares the range, however long it takes; `None` where the uploader stops.
pub(super) async fn prepare(shared: &Shared, job: &Job) -> Option<Prepared> {
    let mut backoff = shared.deps.storage.backoff();
    loop {
        let footer = verified_footer(shared, job, &mut backoff).await?;
        let served = |key: &common::PartitionKey| shared.deps.partitions.target(key).is_some();
        if !footer.partitions.iter().any(|partition| served(&partition.key)) {
            return Some(Prepared { object: None });
        }
        if let Some(object) = store(shared, job, footer, &mut backoff).await? {
            return Some(Prepared { object: Some(object) });
        }
    }
}

/// Scans the range. What does not scan is damage of the WAL file: loud, and tried again, since an
/// operator may restore the file; nothing behind it can be committed before it.
async fn verified_footer(shared: &Shared, job: &Job, backoff: &mut Backoff) -> Option<Footer> {
    let id = ObjectId(shared.deps.rng.uuid());
    loop {
        let (file, origin) = (Arc::clone(&job.file), job.origin);
        let built =
            shared.deps.spawner.blocking(move || build_blocks_footer(id, &file, origin)).await;
        match built {
            Ok(Ok(footer)) => return Some(footer),
            Ok(Err(failure)) => error!(error = %failure, "a WAL range cannot be uploaded"),
            Err(failure) => error!(error = %failure, "scanning a WAL range failed"),
        }
        metrics::counter!("streamhouse_upload_failures_total", "step" => "scan").increment(1);
        if !shared.pause(backoff.pause()).await {
            return None;
        }
    }
}

/// Registers and stores the object; `Some(None)` where its id must be given up.
async fn store(
    shared: &Shared,
    job: &Job,
    footer: Footer,
    backoff: &mut Backoff,
) -> Option<Option<PreparedObject>> {
    let in_use = shared.deps.in_use.protect(footer.object_id);
    let object = object_ref(shared, &footer);
    let mut registered = false;
    loop {
        let failure = match attempt(shared, job, &footer, &object, &mut registered).await {
            Ok(object) => {
                return Some(Some(PreparedObject { object: Arc::new(object), footer, in_use }));
            }
            Err(failure) => failure,
        };
        metrics::counter!("streamhouse_upload_failures_total", "step" => "put").increment(1);
        let file_id = job.origin.file_id;
        match failure {
            Failure::Fenced => {
                error!(file_id, "upload stopped: another process has the metadata store");
                shared.fence();
                return None;
            }
            Failure::Taken => {
                error!(key = object.key, "a fresh key exists in the object store already");
                return Some(None);
            }
            Failure::Metadata(error) => {
                warn!(file_id, %error, "registering an object failed, will try again");
            }
            Failure::Object(error) => {
                warn!(file_id, key = object.key, %error, "upload failed, will try again");
            }
        }
        if !shared.pause(backoff.pause()).await {
            return None;
        }
    }
}

/// The object as it will be, but for its size.
fn object_ref(shared: &Shared, footer: &Footer) -> ObjectRef {
    let key = l0_key(&shared.options.key_prefix, footer.object_id);
    let origin = footer.origin.map(|origin| WalRange {
        file_id: origin.file_id,
        from: origin.from,
        to: origin.to,
    });
    ObjectRef {
        id: footer.object_id,
        key,
        level: ObjectLevel::L0,
        size: 0,
        footer_position: footer.data_len,
        origin,
    }
}

/// The key of an L0 object.
pub(crate) fn l0_key(prefix: &str, id: ObjectId) -> String {
    if prefix.is_empty() { format!("l0/{id}") } else { format!("{prefix}/l0/{id}") }
}

async fn attempt(
    shared: &Shared,
    job: &Job,
    footer: &Footer,
    object: &ObjectRef,
    registered: &mut bool,
) -> Result<ObjectRef, Failure> {
    if !*registered {
        register(shared, object).await?;
        *registered = true;
    }
    let encoded = footer.encode().map_err(|source| object::Error::Format {
        id: object.id,
        key: object.key.clone(),
        source,
    })?;
    let size = footer.data_len + encoded.len() as u64;
    let whole = job.origin.from == 0;
    match shared.deps.storage.local_path(&object.key) {
        Some(destination) if whole && shared.deps.wal_directory.is_some() => {
            adopt::adopt(shared, job, &encoded, &destination).await?;
            shared.deps.partitions.adopted(object.id);
        }
        _ => {
            let mut source = RangeSource::new(shared, job, footer, encoded);
            shared.deps.storage.put_parts(&object.key, &mut source).await?;
        }
    }
    debug!(key = object.key, size, "L0 object stored");
    Ok(ObjectRef { size, ..object.clone() })
}

async fn register(shared: &Shared, object: &ObjectRef) -> Result<(), Failure> {
    let new = NewObject {
        id: object.id,
        key: object.key.clone(),
        level: ObjectLevel::L0,
        created_ms: shared.deps.clock.now_ms(),
        origin: object.origin,
    };
    match shared.deps.metadata.register_object(&shared.deps.fence, new).await {
        // An earlier attempt whose outcome was unknown: the id is random, so it is ours.
        Ok(()) | Err(metadata::Error::ObjectExists { .. }) => Ok(()),
        Err(error) if error.is_fenced() => Err(Failure::Fenced),
        Err(error) => Err(Failure::Metadata(error)),
    }
}

/// The bytes of a range, then its footer. The range's checksum is checked before the footer goes
/// out, so that what was indexed is what was stored.
struct RangeSource<'a> {
    shared: &'a Shared,
    job: &'a Job,
    position: u64,
    crc32c: u32,
    expected_crc32c: u32,
    footer: Option<Bytes>,
}

impl<'a> RangeSource<'a> {
    fn new(shared: &'a Shared, job: &'a Job, footer: &Footer, encoded: Bytes) -> Self {
        Self {
            shared,
            job,
            position: job.origin.from,
            crc32c: 0,
            expected_crc32c: footer.data_crc32c,
            footer: Some(encoded),
        }
    }

    fn failed(&self, reason: String) -> object::Error {
        let Origin { file_id, from, to } = self.job.origin;
        object::Error::Source { file_id, from, to, position: self.position, reason }
    }
}

#[async_trait]
impl PartSource for RangeSource<'_> {
    async fn next(&mut self) -> object::Result<Option<Bytes>> {
        let len = PIECE_BYTES.min(self.job.origin.to - self.position);
        if len == 0 {
            if self.crc32c != self.expected_crc32c {
                return Err(self.failed("the bytes changed after they were verified".to_owned()));
            }
            return Ok(self.footer.take());
        }
        let (file, position) = (Arc::clone(&self.job.file), self.position);
        let read = self
            .shared
            .deps
            .spawner
            .blocking(move || file.read_once(position, usize::try_from(len).unwrap_or(usize::MAX)))
            .await
            .and_then(|result| result);
        let piece = read.map_err(|error| self.failed(error.to_string()))?;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &piece);
        self.position += len;
        Ok(Some(piece))
    }
}
