//! Fetch (key 1, v4–v18): reads record batches, now or when there are some.
//!
//! KIP-74 (response size), KIP-227 (sessions), KIP-320 and KIP-595 (epochs, divergence), KIP-516
//! (topic ids), KIP-951 (current leader). Records are never copied: the response carries the log's
//! own slices of memory and of files. Not supported: followers, which this broker has none of.

mod read;
mod response;
mod wave;

use std::{sync::Arc, time::Duration};

use protocol::{
    ApiKey, ErrorCode,
    messages::fetch::{FetchRequest, FetchResponse, PartitionData},
};
use storage::IsolationLevel;
use tracing::debug;

use self::read::{Limits, Look, PartitionRead};
use crate::{
    acl::{Access, Operation, Resource},
    catalog::CatalogImage,
    context::{Broker, RequestContext},
    fetch_session::FetchKey,
    handler::{Api, Handler},
    purgatory::Delayed,
};

/// The first version that tells the follower by its state.
const REPLICA_STATE_SINCE: i16 = 15;

/// The handler.
#[derive(Debug)]
pub(crate) struct Fetch;

impl Api for Fetch {
    type Request = FetchRequest;

    fn resources(request: &FetchRequest) -> Vec<Access> {
        let topics = request.topics.iter().map(|topic| {
            if topic.topic_id.is_nil() {
                Resource::Topic(topic.topic.clone())
            } else {
                Resource::TopicId(topic.topic_id.into())
            }
        });
        topics.map(|topic| Access::new(Operation::Read, topic)).collect()
    }

    fn error_response(_: &FetchRequest, error: ErrorCode) -> FetchResponse {
        FetchResponse { error_code: error.code(), ..Default::default() }
    }
}

impl Handler for Fetch {
    const CANCELLED_BY_DISCONNECT: bool = true;

    async fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: FetchRequest,
    ) -> FetchResponse {
        let session = broker.fetch_sessions.begin(&request, context.api_version);
        let image = broker.catalog.image();
        let mut work = Work {
            broker,
            limits: limits(broker, context, &request),
            reads: session
                .partitions
                .iter()
                .map(|(key, fetch)| PartitionRead::new(&image, key, *fetch))
                .collect(),
        };
        drop(image);
        work.run(wait(&request)).await;
        let results = work.into_results(context);
        let answer = broker.fetch_sessions.finish(&session, results);
        if answer.error != ErrorCode::None {
            broker.metrics.error(ApiKey::Fetch, answer.error);
        }
        response::build(broker, context.api_version, answer)
    }
}

fn limits(broker: &Broker, context: &RequestContext, request: &FetchRequest) -> Limits {
    let bytes = |bytes: i32| usize::try_from(bytes).unwrap_or_default();
    let max_bytes = bytes(request.max_bytes).min(broker.options().fetch_bytes_max);
    let replica_id = if context.api_version >= REPLICA_STATE_SINCE {
        request.replica_state.replica_id
    } else {
        request.replica_id
    };
    Limits {
        version: context.api_version,
        from_follower: replica_id >= 0,
        min_bytes: bytes(request.min_bytes).min(max_bytes),
        max_bytes,
        isolation: match request.isolation_level {
            0 => IsolationLevel::ReadUncommitted,
            _ => IsolationLevel::ReadCommitted,
        },
    }
}

fn wait(request: &FetchRequest) -> Duration {
    Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or_default())
}

/// One fetch at work.
struct Work<'a> {
    broker: &'a Broker,
    limits: Limits,
    reads: Vec<PartitionRead>,
}

impl Work<'_> {
    /// Reads what there is, and waits at most `wait` for `min_bytes`.
    async fn run(&mut self, wait: Duration) {
        self.read(&vec![true; self.reads.len()], Look::Offsets).await;
        if wait.is_zero() || self.is_complete() {
            return;
        }
        // Where the purgatory is full, the client is answered now and asks again.
        let Some(delayed) = self.broker.purgatory.enter() else { return };
        let mut draining = std::pin::pin!(self.broker.shutdown.draining());
        let mut deadline = std::pin::pin!(tokio::time::sleep(wait));
        self.watch(&delayed, &vec![true; self.reads.len()]);
        // What moved between the read and the watch; what moves later wakes.
        let mut look_at = self.moved();
        let mut look = Look::Offsets;
        loop {
            self.read(&look_at, look).await;
            if self.is_complete() {
                return;
            }
            tokio::select! {
                biased;
                () = delayed.woken() => {
                    look_at = self.moved();
                    look = Look::Offsets;
                    if !look_at.contains(&true) {
                        // Woken, but by no record: a partition was closed, which its log says.
                        look_at.fill(true);
                        look = Look::Log;
                    }
                    self.watch(&delayed, &look_at);
                }
                () = &mut draining => return,
                () = &mut deadline => return,
            }
        }
    }

    fn moved(&self) -> Vec<bool> {
        self.reads.iter().map(PartitionRead::has_moved).collect()
    }

    /// Has the fetch woken by the partitions picked. A partition wakes once per watch.
    fn watch(&self, delayed: &Delayed, picked: &[bool]) {
        for (read, _) in self.reads.iter().zip(picked).filter(|(_, picked)| **picked) {
            if let Some(partition) = read.partition() {
                delayed.watch(partition);
            }
        }
    }

    /// Reads the partitions picked, in order, within the response's byte bound.
    async fn read(&mut self, picked: &[bool], look: Look) {
        wave::read_picked(self.broker, &self.limits, look, &mut self.reads, picked).await;
    }

    /// Whether the client should not wait any longer.
    fn is_complete(&self) -> bool {
        let bytes: usize = self.reads.iter().map(PartitionRead::bytes).sum();
        bytes >= self.limits.min_bytes
            || self.reads.iter().all(|read| read.partition().is_none())
            || self.reads.iter().any(PartitionRead::must_answer)
    }

    /// The results; what they reserved goes with the response until it is written.
    fn into_results(self, context: &RequestContext) -> Vec<(FetchKey, PartitionData)> {
        let mut results = Vec::with_capacity(self.reads.len());
        for read in self.reads {
            let (key, data, reservation) = read.into_result();
            if let Some(reservation) = reservation {
                context.hold(reservation);
            }
            if let Ok(error) = ErrorCode::try_from(data.error_code)
                && error != ErrorCode::None
            {
                self.broker.metrics.error(ApiKey::Fetch, error);
                debug!(?key, error = error.name(), "fetch failed");
            }
            results.push((key, data));
        }
        results
    }
}

/// The partition that a key means in this image.
fn resolve(
    image: &CatalogImage,
    key: &FetchKey,
) -> Result<(Arc<crate::catalog::TopicEntry>, Arc<storage::Partition>), ErrorCode> {
    use crate::fetch_session::TopicRef;
    let topic = match &key.topic {
        TopicRef::Name(name) => image.by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        TopicRef::Id(id) => image.by_id((*id).into()).ok_or(ErrorCode::UnknownTopicId),
    }?;
    let partition = topic.partition(key.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    Ok((Arc::clone(topic), Arc::clone(partition)))
}

#[cfg(test)]
mod tests;
