//! Ranges of remote objects, through a cache of aligned chunks.
//!
//! Invariants: a chunk is asked for once at a time, however many readers wait (single flight); the
//! cache and the loads in flight are bounded; a reader that goes away leaves a load that finishes
//! into the cache, never a lock.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use common::{ObjectId, spawn::Spawner};
use futures::{FutureExt, future::Shared};
use tokio::sync::oneshot;

use super::{Error, ObjectRef, Result};
use crate::{
    cache::Cache,
    object_store::{ObjectStorage, is_not_found},
};

/// Bytes of a chunk: large enough that a request's latency is paid for, small enough that a reader
/// of one partition in an interleaved object does not load much more than it wants.
pub(super) const CHUNK_BYTES: u64 = 1 << 20;
/// Chunks of one request.
const COALESCED_MAX: u64 = 8;
/// Chunks read ahead of a sequential reader.
const AHEAD: u64 = 4;
/// Loads in flight beyond which nothing is read ahead.
const LOADS_FOR_AHEAD_MAX: usize = 8;

type ChunkKey = (ObjectId, u64);
type Load = Shared<oneshot::Receiver<Result<Arc<Loaded>>>>;

#[derive(Debug)]
struct Loaded {
    first: u64,
    chunks: Vec<Bytes>,
}

/// Reads ranges of remote objects.
#[derive(Debug)]
pub(super) struct Fetcher {
    storage: Arc<ObjectStorage>,
    spawner: Spawner,
    cache: Cache<ChunkKey, Bytes>,
    loads: Mutex<BTreeMap<ChunkKey, Load>>,
}

impl Fetcher {
    pub(super) fn new(storage: Arc<ObjectStorage>, spawner: Spawner, cache_bytes: u64) -> Self {
        let cache = Cache::new("object_chunks", cache_bytes);
        Self { storage, spawner, cache, loads: Mutex::default() }
    }

    /// Exactly the range; a slice of a chunk where it lies in one.
    pub(super) async fn read(
        self: &Arc<Self>,
        object: &ObjectRef,
        range: Range<u64>,
    ) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let chunks = range.start / CHUNK_BYTES..range.end.div_ceil(CHUNK_BYTES);
        self.load_missing(object, chunks.clone());
        if chunks.end - chunks.start == 1 {
            let chunk = self.chunk(object, chunks.start).await?;
            return slice(object, &chunk, chunks.start, &range);
        }
        let len = usize::try_from(range.end - range.start).unwrap_or(0);
        let mut joined = BytesMut::with_capacity(len);
        for index in chunks {
            let chunk = self.chunk(object, index).await?;
            joined.extend_from_slice(&slice(object, &chunk, index, &range)?);
        }
        Ok(joined.freeze())
    }

    /// Starts loads of the chunks after `position`, if few loads are in flight.
    pub(super) fn read_ahead(self: &Arc<Self>, object: &ObjectRef, position: u64) {
        if self.loads().len() >= LOADS_FOR_AHEAD_MAX {
            return;
        }
        let first = position / CHUNK_BYTES + 1;
        let end = object.footer_position.div_ceil(CHUNK_BYTES).min(first + AHEAD);
        if first < end {
            self.load_missing(object, first..end);
        }
    }

    /// Forgets the chunks of a range, so that the next read asks the store again.
    pub(super) fn forget(&self, object: &ObjectRef, range: &Range<u64>) {
        for index in range.start / CHUNK_BYTES..range.end.div_ceil(CHUNK_BYTES) {
            self.cache.remove(&(object.id, index));
        }
    }

    async fn chunk(self: &Arc<Self>, object: &ObjectRef, index: u64) -> Result<Bytes> {
        let key = (object.id, index);
        loop {
            if let Some(chunk) = self.cache.get(&key) {
                return Ok(chunk);
            }
            let load = self.loads().get(&key).cloned();
            let Some(load) = load else {
                self.load(object, index..index + 1);
                continue;
            };
            let Ok(loaded) = load.await else {
                // Its task panicked, which is counted where tasks are; ask again.
                self.loads().remove(&key);
                continue;
            };
            let loaded = loaded?;
            let at = usize::try_from(index - loaded.first).unwrap_or(usize::MAX);
            return loaded.chunks.get(at).cloned().ok_or_else(|| damaged(object, index));
        }
    }

    /// Starts loads for what is neither cached nor on its way, neighbours together.
    fn load_missing(self: &Arc<Self>, object: &ObjectRef, chunks: Range<u64>) {
        let mut start = None;
        for index in chunks.clone() {
            let key = (object.id, index);
            let there = self.cache.contains(&key) || self.loads().contains_key(&key);
            match start {
                Some(first) if there || index - first == COALESCED_MAX => {
                    self.load(object, first..index);
                    start = (!there).then_some(index);
                }
                None if !there => start = Some(index),
                _ => {}
            }
        }
        if let Some(first) = start {
            self.load(object, first..chunks.end);
        }
    }

    fn load(self: &Arc<Self>, object: &ObjectRef, chunks: Range<u64>) {
        let (sender, receiver) = oneshot::channel();
        let load = receiver.shared();
        {
            let mut loads = self.loads();
            for index in chunks.clone() {
                loads.insert((object.id, index), load.clone());
            }
        }
        let (this, object) = (Arc::clone(self), object.clone());
        self.spawner.spawn("object-load", async move {
            let result = this.request(&object, chunks.clone()).await;
            {
                let mut loads = this.loads();
                for index in chunks {
                    loads.remove(&(object.id, index));
                }
            }
            // Nobody may be waiting any more; the chunks are in the cache.
            let _ = sender.send(result);
        });
    }

    async fn request(&self, object: &ObjectRef, chunks: Range<u64>) -> Result<Arc<Loaded>> {
        let range = chunks.start * CHUNK_BYTES..(chunks.end * CHUNK_BYTES).min(object.size);
        if range.is_empty() {
            return Err(damaged(object, chunks.start));
        }
        let mut bytes = get_range(&self.storage, object, range).await?;
        let mut loaded = Loaded { first: chunks.start, chunks: Vec::new() };
        for index in chunks {
            let len = bytes.len().min(CHUNK_BYTES as usize);
            // A copy, so that one cached chunk does not keep its neighbours in memory.
            let chunk = Bytes::copy_from_slice(&bytes.split_to(len));
            self.cache.insert((object.id, index), chunk.clone(), chunk.len() as u64);
            loaded.chunks.push(chunk);
        }
        Ok(Arc::new(loaded))
    }

    fn loads(&self) -> MutexGuard<'_, BTreeMap<ChunkKey, Load>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A range of an object, past the cache.
pub(super) async fn get_range(
    storage: &ObjectStorage,
    object: &ObjectRef,
    range: Range<u64>,
) -> Result<Bytes> {
    match storage.get_range(&object.key, range).await {
        Err(error) if is_not_found(&error) => {
            Err(Error::Gone { id: object.id, key: object.key.clone() })
        }
        result => result,
    }
}

/// The part of `range` that lies in the chunk.
fn slice(object: &ObjectRef, chunk: &Bytes, index: u64, range: &Range<u64>) -> Result<Bytes> {
    let base = index * CHUNK_BYTES;
    let start = range.start.saturating_sub(base).min(CHUNK_BYTES);
    let end = (range.end - base).min(CHUNK_BYTES);
    let (start, end) = (start as usize, end as usize);
    if end > chunk.len() || start > end {
        return Err(damaged(object, index));
    }
    Ok(chunk.slice(start..end))
}

fn damaged(object: &ObjectRef, index: u64) -> Error {
    Error::Damaged {
        id: object.id,
        key: object.key.clone(),
        position: index * CHUNK_BYTES,
        partition: None,
        reason: "the object ends before this position".to_owned(),
    }
}
