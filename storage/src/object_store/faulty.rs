//! An object store that fails on purpose, for tests and the simulator: seeded, or by script.
//!
//! Faults are those of `reliability.md` section 4: unavailable, timeout, reset before and *after*
//! the effect, a truncated body, an outage of any length, latency. Invariant: what a fault did not
//! touch behaves as the store beneath.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{clock::SharedClock, rng::Rng};
use futures::{FutureExt, StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, UploadPart, path::Path,
};

const NAME: &str = "FaultyObjectStore";
/// What a request that never answers waits; callers give up long before.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// What a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 503 and nothing happened.
    Unavailable,
    /// No answer, and nothing happened.
    Timeout,
    /// The connection broke before the store saw the request.
    ResetBefore,
    /// The connection broke after the request took effect.
    ResetAfter,
    /// A read's body ends early; other requests meet [`Fault::ResetAfter`].
    Truncated,
    /// A read's body has a flipped bit; other requests are not touched.
    Corrupted,
}

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A single put.
    Put,
    /// Create, part or complete of a multipart upload.
    Multipart,
    /// A ranged or whole read, or a head.
    Get,
    /// A deletion.
    Delete,
    /// A listing.
    List,
}

/// How often each fault strikes, in thousandths of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultRates {
    /// [`Fault::Unavailable`].
    pub unavailable: u64,
    /// [`Fault::Timeout`].
    pub timeout: u64,
    /// [`Fault::ResetBefore`].
    pub reset_before: u64,
    /// [`Fault::ResetAfter`].
    pub reset_after: u64,
    /// [`Fault::Truncated`].
    pub truncated: u64,
    /// Longest latency of a request that answers; drawn evenly from zero.
    pub latency_max: Duration,
}

#[derive(Debug, Default)]
struct Plan {
    rates: FaultRates,
    outage: bool,
    refused: BTreeSet<Operation>,
    script: BTreeMap<Operation, VecDeque<Option<Fault>>>,
    delays: BTreeMap<Operation, VecDeque<Duration>>,
    requests: BTreeMap<Operation, u64>,
    written_ms: BTreeMap<Path, i64>,
}

/// Wraps a store. Clones share the faults.
#[derive(Clone)]
pub struct FaultyObjectStore {
    inner: Arc<dyn ObjectStore>,
    rng: Rng,
    clock: SharedClock,
    plan: Arc<Mutex<Plan>>,
}

impl FaultyObjectStore {
    /// Over `inner`, without faults yet. Times of modification come from `clock`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, clock: SharedClock, rng: Rng) -> Self {
        Self { inner, rng, clock, plan: Arc::default() }
    }

    /// Sets the rates of faults from now on.
    pub fn set_rates(&self, rates: FaultRates) {
        self.plan().rates = rates;
    }

    /// Begins or ends an outage: every request is unavailable.
    pub fn set_outage(&self, outage: bool) {
        self.plan().outage = outage;
    }

    /// Begins or ends an outage of one kind of requests.
    pub fn set_refused(&self, operation: Operation, refused: bool) {
        let mut plan = self.plan();
        if refused {
            plan.refused.insert(operation);
        } else {
            plan.refused.remove(&operation);
        }
    }

    /// Appends to the script: the next requests of this kind meet these, then the rates again.
    pub fn script(&self, operation: Operation, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.plan().script.entry(operation).or_default().extend(faults);
    }

    /// Appends to the delays: the next requests of this kind take as long as these before they meet
    /// anything, then as long as the rates say again.
    pub fn delay(&self, operation: Operation, delays: impl IntoIterator<Item = Duration>) {
        self.plan().delays.entry(operation).or_default().extend(delays);
    }

    /// Takes back the delays that no request has met yet.
    pub fn forget_delays(&self, operation: Operation) {
        self.plan().delays.remove(&operation);
    }

    /// Requests of this kind so far, failed ones included.
    #[must_use]
    pub fn requests(&self, operation: Operation) -> u64 {
        self.plan().requests.get(&operation).copied().unwrap_or(0)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what the next request meets, after its latency.
    async fn meet(&self, operation: Operation) -> Option<Fault> {
        let (latency_max, delay, fault) = {
            let mut plan = self.plan();
            *plan.requests.entry(operation).or_default() += 1;
            let scripted = plan.script.get_mut(&operation).and_then(VecDeque::pop_front);
            let fault = match scripted {
                _ if plan.outage || plan.refused.contains(&operation) => Some(Fault::Unavailable),
                Some(fault) => fault,
                None => self.draw(&plan.rates),
            };
            let delay = plan.delays.get_mut(&operation).and_then(VecDeque::pop_front);
            (plan.rates.latency_max, delay, fault)
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        let micros = u64::try_from(latency_max.as_micros()).unwrap_or(u64::MAX);
        if micros > 0 && delay.is_none() {
            tokio::time::sleep(Duration::from_micros(self.rng.below(micros))).await;
        }
        if fault == Some(Fault::Timeout) {
            tokio::time::sleep(FOREVER).await;
        }
        fault
    }

    fn draw(&self, rates: &FaultRates) -> Option<Fault> {
        let FaultRates { unavailable, timeout, reset_before, reset_after, truncated, .. } = *rates;
        if unavailable + timeout + reset_before + reset_after + truncated == 0 {
            return None;
        }
        let mut draw = self.rng.below(1000);
        for (rate, fault) in [
            (unavailable, Fault::Unavailable),
            (timeout, Fault::Timeout),
            (reset_before, Fault::ResetBefore),
            (reset_after, Fault::ResetAfter),
            (truncated, Fault::Truncated),
        ] {
            if draw < rate {
                return Some(fault);
            }
            draw -= rate;
        }
        None
    }

    /// Runs a request that has an effect under the fault it meets.
    async fn effect<T>(
        &self,
        operation: Operation,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        match self.meet(operation).await {
            None | Some(Fault::Corrupted) => request.await,
            Some(Fault::ResetAfter | Fault::Truncated) => {
                request.await?;
                Err(failure("connection reset by peer"))
            }
            Some(Fault::ResetBefore) => Err(failure("connection reset by peer")),
            Some(Fault::Unavailable | Fault::Timeout) => Err(failure("503 slow down")),
        }
    }

    fn stamp(&self, location: &Path) {
        let now_ms = self.clock.now_ms();
        self.plan().written_ms.insert(location.clone(), now_ms);
    }

    /// The times of this process' clock instead of the store's own.
    fn restamp(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let written_ms = self.plan().written_ms.get(&meta.location).copied();
        if let Some(ms) = written_ms.and_then(|ms| u64::try_from(ms).ok()) {
            meta.last_modified = (UNIX_EPOCH + Duration::from_millis(ms)).into();
        }
        meta
    }
}

impl fmt::Debug for FaultyObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(NAME).field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl fmt::Display for FaultyObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyObjectStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let put = async {
            let result = self.inner.put_opts(location, payload, options).await?;
            self.stamp(location);
            Ok(result)
        };
        self.effect(Operation::Put, put).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let create = self.inner.put_multipart_opts(location, options);
        let inner = self.effect(Operation::Multipart, create).await?;
        Ok(Box::new(FaultyUpload { store: self.clone(), location: location.clone(), inner }))
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        match self.meet(Operation::Get).await {
            None => {}
            Some(Fault::Truncated) => {
                let result = self.inner.get_opts(location, options).await?;
                return Ok(changed(result, |body| body.slice(..body.len() / 2)));
            }
            Some(Fault::Corrupted) => {
                let result = self.inner.get_opts(location, options).await?;
                return Ok(changed(result, |body| flip_middle(&body)));
            }
            Some(Fault::Unavailable | Fault::Timeout) => return Err(failure("503 slow down")),
            Some(Fault::ResetBefore | Fault::ResetAfter) => {
                return Err(failure("connection reset by peer"));
            }
        }
        let mut result = self.inner.get_opts(location, options).await?;
        result.meta = self.restamp(result.meta);
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    let one = stream::iter([Ok(location.clone())]).boxed();
                    let delete = store.inner.delete_stream(one).try_collect::<Vec<_>>();
                    store.effect(Operation::Delete, delete).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let (store, entries) = (self.clone(), self.inner.list(prefix));
        let listed = async move {
            if store.meet(Operation::List).await.is_some() {
                return stream::iter([Err(failure("503 slow down"))]).boxed();
            }
            entries.map_ok(move |meta| store.restamp(meta)).boxed()
        };
        listed.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.effect(Operation::List, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.effect(Operation::Put, self.inner.copy_opts(from, to, options)).await
    }
}

struct FaultyUpload {
    store: FaultyObjectStore,
    location: Path,
    inner: Box<dyn MultipartUpload>,
}

impl fmt::Debug for FaultyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyUpload").field("location", &self.location).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (store, part) = (self.store.clone(), self.inner.put_part(data));
        async move { store.effect(Operation::Multipart, part).await }.boxed()
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let (store, location) = (self.store.clone(), self.location.clone());
        let complete = async {
            let result = self.inner.complete().await?;
            store.stamp(&location);
            Ok(result)
        };
        store.effect(Operation::Multipart, complete).await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        let store = self.store.clone();
        store.effect(Operation::Multipart, self.inner.abort()).await
    }
}

/// The same answer with another body.
fn changed(result: GetResult, change: impl FnOnce(Bytes) -> Bytes + Send + 'static) -> GetResult {
    let (meta, range, attributes) =
        (result.meta.clone(), result.range.clone(), result.attributes.clone());
    let body = async move { Ok(change(result.bytes().await?)) };
    let payload = GetResultPayload::Stream(stream::once(body).boxed());
    GetResult { payload, meta, range, attributes }
}

fn flip_middle(body: &Bytes) -> Bytes {
    let mut bytes = body.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.into()
}

fn failure(message: &'static str) -> StoreError {
    StoreError::Generic { store: NAME, source: message.into() }
}
