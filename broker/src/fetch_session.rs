//! Incremental fetch sessions (KIP-227): the broker remembers what a consumer fetches, so that a
//! request names only what changed and a response only what is new.
//!
//! The rules of creation, eviction and epochs are those of Kafka's `FetchSessionCacheShard` and
//! `FetchManager`, without privileged sessions, since there are no followers. The cache is bounded
//! twice: by slots and by the partitions that all sessions remember.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{clock::SharedClock, rng::Rng};
use protocol::{
    ErrorCode,
    messages::fetch::{FetchRequest, PartitionData},
};

mod partitions;

use self::partitions::CachedPartitions;
pub(crate) use self::partitions::{FetchKey, PartitionFetch, TopicRef, requested};

/// The session id of a request or response without a session.
const INVALID_SESSION_ID: i32 = 0;
/// The epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch that asks for no session.
const FINAL_EPOCH: i32 = -1;
/// The first version whose sessions know topics by id.
const TOPIC_IDS_SINCE: i16 = 13;
/// How long a session is safe from eviction after its creation, and how long it may be unused
/// (Kafka's `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const EVICTION_AFTER: Duration = Duration::from_secs(120);
/// Partitions that all sessions together remember: about 200 MiB.
const CACHED_PARTITIONS_MAX: usize = 1_000_000;

/// The cache of sessions.
#[derive(Debug)]
pub struct FetchSessions {
    slots_max: usize,
    clock: SharedClock,
    rng: Rng,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    sessions: BTreeMap<i32, Session>,
    cached_partitions: usize,
}

#[derive(Debug)]
struct Session {
    uses_topic_ids: bool,
    created: Duration,
    used: Duration,
    /// The epoch that the next request must carry.
    epoch: i32,
    partitions: CachedPartitions,
}

/// What one request fetches, and what becomes of its session.
#[derive(Debug)]
pub(crate) struct FetchContext {
    kind: Kind,
    /// What to fetch, in order.
    pub(crate) partitions: Vec<(FetchKey, PartitionFetch)>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Refused(ErrorCode),
    Sessionless,
    Full { uses_topic_ids: bool },
    Incremental { session_id: i32, next_epoch: i32 },
}

/// What the session makes of the results.
#[derive(Debug)]
pub(crate) struct SessionAnswer {
    pub(crate) error: ErrorCode,
    pub(crate) session_id: i32,
    pub(crate) partitions: Vec<(FetchKey, PartitionData)>,
}

impl FetchSessions {
    /// An empty cache of at most `slots_max` sessions.
    #[must_use]
    pub fn new(slots_max: usize, clock: SharedClock, rng: Rng) -> Self {
        Self { slots_max, clock, rng, cache: Mutex::default() }
    }

    /// Sessions in the cache.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Whether the cache is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds out what a request fetches, and changes its session accordingly.
    pub(crate) fn begin(&self, request: &FetchRequest, version: i16) -> FetchContext {
        let (id, epoch) = (request.session_id, request.session_epoch);
        let uses_topic_ids = version >= TOPIC_IDS_SINCE;
        if epoch != INITIAL_EPOCH && epoch != FINAL_EPOCH {
            return self.begin_incremental(request, uses_topic_ids);
        }
        if id != INVALID_SESSION_ID {
            self.lock().remove(id);
        }
        let kind =
            if epoch == FINAL_EPOCH { Kind::Sessionless } else { Kind::Full { uses_topic_ids } };
        FetchContext { kind, partitions: requested(request, uses_topic_ids) }
    }

    fn begin_incremental(&self, request: &FetchRequest, uses_topic_ids: bool) -> FetchContext {
        let refused = |error| FetchContext { kind: Kind::Refused(error), partitions: Vec::new() };
        let mut cache = self.lock();
        let session_id = request.session_id;
        let Some(session) = cache.sessions.get_mut(&session_id) else {
            return refused(ErrorCode::FetchSessionIdNotFound);
        };
        if session.epoch != request.session_epoch {
            return refused(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return refused(ErrorCode::FetchSessionTopicIdError);
        }
        let changed = requested(request, uses_topic_ids);
        let before = session.partitions.len();
        session.partitions.update(&changed);
        session.partitions.forget(request, uses_topic_ids);
        let after = session.partitions.len();
        if after == 0 {
            cache.cached_partitions -= before;
            cache.sessions.remove(&session_id);
            return FetchContext { kind: Kind::Sessionless, partitions: changed };
        }
        session.used = self.clock.monotonic();
        session.epoch = next_epoch(session.epoch);
        let kind = Kind::Incremental { session_id, next_epoch: session.epoch };
        let partitions = session.partitions.to_fetch();
        cache.cached_partitions = cache.cached_partitions + after - before;
        if cache.cached_partitions > CACHED_PARTITIONS_MAX {
            cache.remove(session_id);
            return refused(ErrorCode::FetchSessionIdNotFound);
        }
        FetchContext { kind, partitions }
    }

    /// Records what was answered, and leaves out what an incremental response need not repeat.
    pub(crate) fn finish(
        &self,
        context: &FetchContext,
        results: Vec<(FetchKey, PartitionData)>,
    ) -> SessionAnswer {
        let none = |partitions| SessionAnswer {
            error: ErrorCode::None,
            session_id: INVALID_SESSION_ID,
            partitions,
        };
        match context.kind {
            Kind::Refused(error) => SessionAnswer { error, ..none(Vec::new()) },
            Kind::Sessionless => none(results),
            Kind::Full { uses_topic_ids } => {
                let partitions = CachedPartitions::new(&context.partitions, &results);
                SessionAnswer {
                    session_id: self.create(uses_topic_ids, partitions),
                    ..none(results)
                }
            }
            Kind::Incremental { session_id, next_epoch } => {
                self.finish_incremental(session_id, next_epoch, results)
            }
        }
    }

    /// Another request may have used or evicted the session meanwhile: then the client starts anew.
    fn finish_incremental(
        &self,
        session_id: i32,
        next_epoch: i32,
        mut results: Vec<(FetchKey, PartitionData)>,
    ) -> SessionAnswer {
        let mut cache = self.lock();
        let session = cache.sessions.get_mut(&session_id);
        let Some(session) = session.filter(|session| session.epoch == next_epoch) else {
            let error = ErrorCode::InvalidFetchSessionEpoch;
            return SessionAnswer { error, session_id, partitions: Vec::new() };
        };
        results.retain(|(key, data)| session.partitions.answer(key, data));
        SessionAnswer { error: ErrorCode::None, session_id, partitions: results }
    }

    /// Creates a session if there is room or something less valuable to evict.
    fn create(&self, uses_topic_ids: bool, partitions: CachedPartitions) -> i32 {
        let now = self.clock.monotonic();
        let mut cache = self.lock();
        let size = partitions.len();
        if cache.sessions.len() >= self.slots_max && !cache.evict(size, now) {
            return INVALID_SESSION_ID;
        }
        if cache.cached_partitions + size > CACHED_PARTITIONS_MAX {
            return INVALID_SESSION_ID;
        }
        let id = loop {
            let id = i32::try_from(self.rng.below(i32::MAX as u64)).unwrap_or(0);
            if id != INVALID_SESSION_ID && !cache.sessions.contains_key(&id) {
                break id;
            }
        };
        cache.cached_partitions += size;
        let epoch = next_epoch(INITIAL_EPOCH);
        let session = Session { uses_topic_ids, created: now, used: now, epoch, partitions };
        cache.sessions.insert(id, session);
        id
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.cached_partitions -= session.partitions.len();
        }
    }

    /// Makes room for a session of `size` partitions: a stale one goes first, else the smallest
    /// that is old enough, if it is smaller.
    fn evict(&mut self, size: usize, now: Duration) -> bool {
        let stale = self
            .sessions
            .iter()
            .map(|(id, session)| (session.used, *id))
            .min()
            .filter(|(used, _)| now.saturating_sub(*used) > EVICTION_AFTER);
        let victim = stale.map(|(_, id)| id).or_else(|| {
            let old = self
                .sessions
                .iter()
                .filter(|(_, session)| now.saturating_sub(session.created) > EVICTION_AFTER);
            let smallest = old.map(|(id, session)| (session.partitions.len(), *id)).min();
            smallest.filter(|(smallest, _)| size > *smallest).map(|(_, id)| id)
        });
        victim.is_some_and(|id| {
            self.remove(id);
            true
        })
    }
}

/// The epoch after `epoch`: it wraps past 0, which would ask for a new session.
fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        i32::MIN..=-1 => FINAL_EPOCH,
        i32::MAX => 1,
        _ => epoch + 1,
    }
}

#[cfg(test)]
mod tests;
