//! Reads committed objects: local files directly, remote ones through the chunk cache.
//!
//! ```text
//!  read(object, partition, offset) ─▶ footer (cached) ─▶ walk ─┬─ local: pread, one blocking call
//!                                                              └─ remote: chunks, read ahead
//! ```
//!
//! Invariant: what is returned was verified against checksums made when it was written. Damage is
//! reported once per place in the log and a metric, and to every reader of it as an error.

use std::{
    collections::BTreeSet,
    fs::File,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use common::{ObjectId, PartitionKey, spawn::Spawner};
use protocol::{Records, Source, records::batches};
use tracing::error;

use super::{
    Error, ObjectRef, Result,
    fetch::{Fetcher, get_range},
    format::{Footer, PartitionFooter, ProducerUpdate},
    slices::{self, Buffers, Form, Found, LocalObject},
    walk::{Damage, Walk, Wanted},
};
use crate::{cache::Cache, object_store::ObjectStorage};

/// Places of damage that are remembered, so that each is logged once.
const DAMAGE_REMEMBERED: usize = 1024;
/// Bytes looked through at a time for a timestamp.
const TIMESTAMP_STEP_BYTES: usize = 1 << 20;

/// The sizes of a reader's caches.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// Bound on cached chunks of remote objects, bytes.
    pub cache_bytes: u64,
    /// Bound on decoded footers, bytes.
    pub footer_bytes: u64,
    /// Bound on open local objects.
    pub files_open_max: u64,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self { cache_bytes: 128 << 20, footer_bytes: 16 << 20, files_open_max: 512 }
    }
}

/// Batches read from an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdRead {
    /// Whole batches, in order; the first contains the offset asked for. Each piece is one or more
    /// batches. Empty where the first batch does not fit and none had to be returned.
    pub records: Vec<Bytes>,
    /// The offset after the last batch, or the one asked for where there is none.
    pub next_offset: i64,
}

/// Reads objects. Clones share the caches.
#[derive(Debug, Clone)]
pub struct ObjectReader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    storage: Arc<ObjectStorage>,
    spawner: Spawner,
    fetcher: Arc<Fetcher>,
    footers: Cache<ObjectId, Arc<Footer>>,
    files: Cache<ObjectId, Arc<LocalObject>>,
    buffers: Buffers,
    /// Objects whose data this process has read and checked as a whole since it was written.
    checked: Cache<ObjectId, ()>,
    /// Where the last read of a partition in an object ended: the next one from there is
    /// sequential.
    ends: Cache<(ObjectId, PartitionKey), i64>,
    damage: Mutex<BTreeSet<(ObjectId, u64)>>,
}

impl ObjectReader {
    /// A reader of the objects in `storage`.
    #[must_use]
    pub fn new(storage: Arc<ObjectStorage>, spawner: Spawner, options: &ReaderOptions) -> Self {
        let fetcher = Fetcher::new(Arc::clone(&storage), spawner.clone(), options.cache_bytes);
        Self {
            inner: Arc::new(Inner {
                storage,
                spawner,
                fetcher: Arc::new(fetcher),
                footers: Cache::new("object_footers", options.footer_bytes),
                files: Cache::new("object_files", options.files_open_max),
                buffers: Buffers::default(),
                checked: Cache::new("object_checked", 4096),
                ends: Cache::new("object_readers", 4096),
                damage: Mutex::default(),
            }),
        }
    }

    /// Reads whole batches of a partition: the first contains `from_offset`, none starts at or
    /// above `end_offset`, and together they have at most `max_bytes`, except for a first batch
    /// that alone has more and `min_one_batch`.
    ///
    /// # Errors
    /// [`Error::Gone`] where the object was deleted (resolve the extent again), [`Error::Damaged`],
    /// [`Error::NotHeld`], and failures of the store.
    pub async fn read(
        &self,
        object: &Arc<ObjectRef>,
        key: &PartitionKey,
        from_offset: i64,
        end_offset: i64,
        max_bytes: usize,
        min_one_batch: bool,
    ) -> Result<ColdRead> {
        let wanted = Wanted { from_offset, end_offset, max_bytes, min_one_batch };
        let (records, next_offset) = self.read_as(object, key, wanted, Form::Memory).await?;
        Ok(ColdRead { records: records.chunks().cloned().collect(), next_offset })
    }

    /// As [`Self::read`], in either form; also the offset after what was read. Slices are checked
    /// as bytes in memory are.
    pub(crate) async fn read_as(
        &self,
        object: &Arc<ObjectRef>,
        key: &PartitionKey,
        wanted: Wanted,
        form: Form,
    ) -> Result<Found> {
        let footer = self.footer(object).await?;
        let partition = held(object, &footer, key, wanted.from_offset)?;
        let walk = || {
            Walk::new(&footer, partition, wanted)
                .ok_or_else(|| not_held(object, key, wanted.from_offset))
        };
        if let Some(path) = self.inner.storage.local_path(&object.key) {
            return self.walk_file(object, key, path, walk()?, form).await;
        }
        match self.walk_remote(object, key, walk()?).await {
            // The transfer may be to blame: ask the store once more.
            Err(Error::Damaged { .. }) => self.walk_remote(object, key, walk()?).await,
            result => result,
        }
        .inspect_err(|error| self.report(error))
    }

    /// The first batch of the partition in this object whose largest timestamp is at least
    /// `timestamp` and that lies in `[from_offset, end_offset)`.
    ///
    /// # Errors
    /// As [`ObjectReader::read`].
    pub async fn batch_for_timestamp(
        &self,
        object: &Arc<ObjectRef>,
        key: &PartitionKey,
        timestamp: i64,
        from_offset: i64,
        end_offset: i64,
    ) -> Result<Option<Bytes>> {
        let footer = self.footer(object).await?;
        let partition = held(object, &footer, key, from_offset)?;
        let entry = partition.entry_for_timestamp(timestamp).and_then(|at| partition.index.get(at));
        let Some(entry) = entry else { return Ok(None) };
        let end_offset = end_offset.min(partition.end_offset);
        let mut offset = entry.offset.max(from_offset);
        while offset < end_offset {
            let read =
                self.read(object, key, offset, end_offset, TIMESTAMP_STEP_BYTES, true).await?;
            for batch in read.records.iter().flat_map(batches) {
                let batch = batch.map_err(|error| damaged(object, key, 0, error.to_string()))?;
                if batch.header().max_timestamp >= timestamp {
                    return Ok(Some(batch.into_bytes()));
                }
            }
            if read.next_offset <= offset {
                break;
            }
            offset = read.next_offset;
        }
        Ok(None)
    }

    /// What the object says of the producers of a partition: updates in an L0 object, the whole
    /// state at the end of the extent in an L1 object.
    ///
    /// # Errors
    /// As [`ObjectReader::read`].
    pub async fn producer_updates(
        &self,
        object: &Arc<ObjectRef>,
        key: &PartitionKey,
    ) -> Result<Vec<ProducerUpdate>> {
        let footer = self.footer(object).await?;
        let partition = footer.partition(key);
        Ok(partition.map(|partition| partition.producers.clone()).unwrap_or_default())
    }

    /// The object's footer.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Damaged`], failures of the store.
    pub async fn footer(&self, object: &Arc<ObjectRef>) -> Result<Arc<Footer>> {
        if let Some(footer) = self.inner.footers.get(&object.id) {
            return Ok(footer);
        }
        let range = object.footer_position..object.size;
        let bytes = match self.inner.storage.local_path(&object.key) {
            Some(path) => {
                let file = self.file(object, path).await?;
                self.blocking(object, move || read_at(&file, &range)).await?
            }
            None => get_range(&self.inner.storage, object, range).await?,
        };
        let footer = check_footer(object, &bytes).inspect_err(|error| self.report(error))?;
        let footer = Arc::new(footer);
        let weight = footer.memory_bytes() as u64;
        self.inner.footers.insert(object.id, Arc::clone(&footer), weight);
        Ok(footer)
    }

    /// Notes that the object's file was read and checked as a whole since it was written.
    pub(crate) fn note_checked(&self, id: ObjectId) {
        self.inner.checked.insert(id, (), 1);
    }

    /// Lets go of a deleted object: its open file keeps the file's space otherwise.
    pub fn forget(&self, id: &ObjectId) {
        self.inner.files.remove(id);
        self.inner.footers.remove(id);
    }

    /// Raw bytes of the object, unverified: what WAL recovery repairs a file from.
    ///
    /// # Errors
    /// [`Error::Gone`], failures of the store.
    pub async fn raw(&self, object: &Arc<ObjectRef>, range: Range<u64>) -> Result<Bytes> {
        match self.inner.storage.local_path(&object.key) {
            Some(path) => {
                let file = self.file(object, path).await?;
                self.blocking(object, move || read_at(&file, &range)).await
            }
            None => get_range(&self.inner.storage, object, range).await,
        }
    }

    /// Drives a walk over a local file, in one blocking call.
    async fn walk_file(
        &self,
        object: &Arc<ObjectRef>,
        key: &PartitionKey,
        path: PathBuf,
        walk: Walk,
        form: Form,
    ) -> Result<Found> {
        let (file, inner) = (self.file(object, path).await?, Arc::clone(&self.inner));
        let result = self.blocking(object, move || slices::walk(&file, walk, form, &inner.buffers));
        result
            .await?
            .map_err(|Damage { position, reason }| damaged(object, key, position, reason))
            .inspect_err(|error| self.report(error))
    }

    /// Drives a walk over a remote object, and reads ahead of a sequential reader.
    async fn walk_remote(
        &self,
        object: &Arc<ObjectRef>,
        key: &PartitionKey,
        mut walk: Walk,
    ) -> Result<Found> {
        let fetcher = &self.inner.fetcher;
        let reader = (object.id, *key);
        let sequential = self.inner.ends.get(&reader).is_some_and(|end| end == walk.next_offset());
        let mut records = Records::new();
        while let Some(range) = walk.need() {
            if sequential {
                fetcher.read_ahead(object, range.end);
            }
            let bytes = fetcher.read(object, range.clone()).await?;
            match walk.feed(&bytes) {
                Ok(taken) => records.push(bytes.slice(taken)),
                Err(Damage { position, reason }) => {
                    fetcher.forget(object, &range);
                    return Err(damaged(object, key, position, reason));
                }
            }
        }
        let next_offset = walk.next_offset();
        self.inner.ends.insert(reader, next_offset, 1);
        Ok((records, next_offset))
    }

    async fn file(&self, object: &Arc<ObjectRef>, path: PathBuf) -> Result<Arc<LocalObject>> {
        if let Some(file) = self.inner.files.get(&object.id) {
            return Ok(file);
        }
        let file = self.blocking(object, move || File::open(path)).await?;
        let file = Arc::new(LocalObject::new(file, self.inner.checked.contains(&object.id)));
        self.inner.files.insert(object.id, Arc::clone(&file), 1);
        Ok(file)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        object: &ObjectRef,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let result = self.inner.spawner.blocking(work).await.and_then(|result| result);
        result.map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Gone { id: object.id, key: object.key.clone() },
            std::io::ErrorKind::UnexpectedEof => Error::Damaged {
                id: object.id,
                key: object.key.clone(),
                position: object.size,
                partition: None,
                reason: "the file is shorter than its metadata says".to_owned(),
            },
            _ => Error::Io { action: "read", path: object.key.clone(), source: source.into() },
        })
    }

    /// Logs and counts damage, once per place.
    fn report(&self, error: &Error) {
        let Error::Damaged { id, position, .. } = error else { return };
        let mut known = self.inner.damage.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < DAMAGE_REMEMBERED && known.insert((*id, *position)) {
            metrics::counter!("streamhouse_object_damage_total").increment(1);
            error!(%error, "an object is damaged; reads of this range fail until it is restored");
        }
    }
}

/// The partition's share, if it holds the offset.
fn held<'f>(
    object: &ObjectRef,
    footer: &'f Footer,
    key: &PartitionKey,
    offset: i64,
) -> Result<&'f PartitionFooter> {
    footer
        .partition(key)
        .filter(|partition| (partition.base_offset..partition.end_offset).contains(&offset))
        .ok_or_else(|| not_held(object, key, offset))
}

fn not_held(object: &ObjectRef, key: &PartitionKey, offset: i64) -> Error {
    Error::NotHeld { id: object.id, key: object.key.clone(), partition: *key, offset }
}

fn damaged(object: &ObjectRef, key: &PartitionKey, position: u64, reason: String) -> Error {
    Error::Damaged {
        id: object.id,
        key: object.key.clone(),
        position,
        partition: Some(*key),
        reason,
    }
}

/// Decodes a footer and checks that it is this object's.
fn check_footer(object: &ObjectRef, bytes: &[u8]) -> Result<Footer> {
    let wrong = |reason: String| Error::Damaged {
        id: object.id,
        key: object.key.clone(),
        position: object.footer_position,
        partition: None,
        reason,
    };
    let footer = Footer::decode(bytes).map_err(|error| wrong(error.to_string()))?;
    if footer.object_id != object.id || footer.data_len != object.footer_position {
        return Err(wrong(format!("this is the footer of object {}", footer.object_id)));
    }
    Ok(footer)
}

fn read_at(file: &LocalObject, range: &Range<u64>) -> std::io::Result<Bytes> {
    let len = usize::try_from(range.end - range.start).map_err(std::io::Error::other)?;
    file.read_at(range.start, len)
}
