//! A producer: pipelined, idempotent or plain, retrying what has an unknown outcome.
//!
//! Invariant (as in Kafka's own producers): of one partition, batches go on the wire in the order
//! of their sequence numbers, at most five unacknowledged; after an error nothing more is sent to
//! it until all of it in flight is answered, then everything unacknowledged goes again, in order.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use broker::testing::Client;
use bytes::Bytes;
use common::{PartitionKey, invariant::InvariantId, rng::Rng};
use protocol::messages::produce::{ProduceRequest, ProduceResponse};

use super::{BACKOFF, pause};
use crate::{
    history::History,
    incarnation::Incarnation,
    invariants::Violation,
    model::{Batch, BatchId, Fate, Sequence},
    ops::{
        Lost, REQUEST_TIMEOUT, init_producer_id,
        produce::{self, Outcome, Part},
        topics::SimTopic,
    },
    options::ProducerOptions,
    payload::{self, Shape},
};

/// Batches of one partition from the oldest unacknowledged one on, whatever became of those behind
/// it: a broker remembers so many of a producer, and knows a retry only by them.
const WINDOW_MAX: u64 = 5;

/// A producer and what it has not finished.
#[derive(Debug)]
pub struct Producer {
    name: String,
    options: ProducerOptions,
    value_bytes_max: usize,
    network_cuts: bool,
    rng: Rng,
    history: Arc<History>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    identity: Option<(i64, i16)>,
    lanes: Vec<Lane>,
    left: u32,
}

/// One partition of a producer.
#[derive(Debug)]
struct Lane {
    key: PartitionKey,
    topic: String,
    next_sequence: i32,
    unacked: VecDeque<Unacked>,
    /// Batches made so far.
    made: u64,
    /// How many of `unacked` are on the wire of this connection.
    sent: usize,
    /// An error was met: what is on the wire is waited for, then all goes again.
    rewind: bool,
}

/// A batch that has no answer yet.
#[derive(Debug, Clone)]
struct Unacked {
    id: BatchId,
    bytes: Bytes,
    /// Its number among the batches of its lane.
    number: u64,
}

/// A request on the wire.
struct Flight {
    version: i16,
    parts: Vec<(usize, Part)>,
}

impl Producer {
    /// A producer to all partitions of these topics.
    #[must_use]
    pub fn new(
        name: String,
        options: ProducerOptions,
        value_bytes_max: usize,
        network_cuts: bool,
        rng: Rng,
        history: Arc<History>,
        topics: &[SimTopic],
    ) -> Self {
        let lanes = topics.iter().flat_map(|topic| topic.keys().map(|key| Lane::new(key, topic)));
        let state = State { identity: None, lanes: lanes.collect(), left: 0 };
        let state = Mutex::new(state);
        Self { name, options, value_bytes_max, network_cuts, rng, history, state }
    }

    /// Makes so many more batches.
    pub fn grant(&self, batches: u32) {
        self.state().left += batches;
    }

    /// Whether nothing is left to send or to be acknowledged.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let state = self.state();
        state.left == 0 && state.lanes.iter().all(|lane| lane.unacked.is_empty())
    }

    /// What is not acknowledged yet, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        let state = self.state();
        let unacked: Vec<String> = state
            .lanes
            .iter()
            .filter(|lane| !lane.unacked.is_empty())
            .map(|lane| {
                let ids: Vec<BatchId> = lane.unacked.iter().map(|unacked| unacked.id).collect();
                format!("{} {ids:?}", lane.key)
            })
            .collect();
        format!("{}: {} to make, unacked {}", self.name, state.left, unacked.join(", "))
    }

    /// Produces until all is done; the crash of the broker drops this future.
    pub async fn run(&self, incarnation: Incarnation) {
        while !self.is_done() {
            self.begin_connection();
            let mut client = incarnation.connect(&self.name);
            if self.connected(&mut client).await.is_err() {
                self.history.event(&format!("{} lost its connection", self.name));
                drop(client);
                tokio::time::sleep(BACKOFF).await;
            }
        }
        self.history.event(&format!("{} is done", self.name));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_connection(&self) {
        for lane in &mut self.state().lanes {
            lane.sent = 0;
            lane.rewind = false;
        }
    }

    async fn connected(&self, client: &mut Client) -> Result<(), Lost> {
        let mut on_wire: VecDeque<Flight> = VecDeque::new();
        loop {
            if on_wire.is_empty() {
                self.identify(client).await?;
            }
            if on_wire.len() < self.options.in_flight
                && let Some(flight) = self.next_flight()
            {
                self.send(client, flight, &mut on_wire).await?;
                pause(&self.rng, self.options.pause_ms_max).await;
                continue;
            }
            if let Some(flight) = on_wire.pop_front() {
                self.receive(client, &flight, &on_wire).await?;
                continue;
            }
            if self.is_done() {
                return Ok(());
            }
            tokio::time::sleep(BACKOFF).await;
        }
    }

    /// Gets a producer id where one is needed. A producer that has nothing unacknowledged begins
    /// anew now and then, with another id.
    async fn identify(&self, client: &mut Client) -> Result<(), Lost> {
        if !self.options.idempotent {
            return Ok(());
        }
        {
            let mut state = self.state();
            let idle = state.lanes.iter().all(|lane| lane.unacked.is_empty());
            if idle && state.left > 0 && self.rng.below(30) == 0 {
                state.identity = None;
                state.lanes.iter_mut().for_each(|lane| lane.next_sequence = 0);
            }
        }
        while self.state().identity.is_none() {
            match init_producer_id::init(client, &self.history).await? {
                Some(identity) => {
                    self.history.event(&format!("{} is {identity:?}", self.name));
                    self.state().identity = Some(identity);
                }
                None => tokio::time::sleep(BACKOFF).await,
            }
        }
        Ok(())
    }

    /// The next request: one to three partitions, each with its oldest batch that is not on the
    /// wire, or with a new one.
    fn next_flight(&self) -> Option<Flight> {
        let wanted = 1 + self.rng.below(3) as usize;
        let version = if self.rng.below(2) == 0 { produce::BY_NAME } else { produce::BY_ID };
        let mut state = self.state();
        let start = self.rng.below(state.lanes.len() as u64) as usize;
        let count = state.lanes.len();
        let mut parts = Vec::new();
        for step in 0..count {
            if parts.len() == wanted {
                break;
            }
            let index = (start + step) % count;
            if let Some(part) = self.next_part(&mut state, index) {
                parts.push((index, part));
            }
        }
        (!parts.is_empty()).then_some(Flight { version, parts })
    }

    fn next_part(&self, state: &mut State, index: usize) -> Option<Part> {
        let identity = state.identity;
        let lane = state.lanes.get_mut(index).filter(|lane| !lane.rewind)?;
        if lane.sent == lane.unacked.len() {
            if state.left == 0 || !lane.has_room() {
                return None;
            }
            let made = self.make(lane, identity)?;
            lane.unacked.push_back(made);
            lane.made += 1;
            state.left -= 1;
        }
        let Unacked { id, bytes, .. } = lane.unacked.get(lane.sent)?.clone();
        lane.sent += 1;
        Some(Part { key: lane.key, topic: lane.topic.clone(), id, bytes })
    }

    fn make(&self, lane: &mut Lane, identity: Option<(i64, i16)>) -> Option<Unacked> {
        let shape = Shape::sample(&self.rng, self.history.now_ms(), self.value_bytes_max);
        let sequence = identity.map(|(producer_id, producer_epoch)| Sequence {
            producer_id,
            producer_epoch,
            base_sequence: lane.next_sequence,
        });
        let mut model = self.history.model();
        let id = model.next_batch_id();
        let mut bytes = payload::build(id, &shape, sequence).ok()?;
        let damaged = self.damages();
        if damaged {
            bytes = payload::damaged(&bytes, &self.rng);
        }
        lane.next_sequence += shape.records;
        let (key, records) = (lane.key, i64::from(shape.records));
        let (bytes_sent, attempts, fate) = (bytes.clone(), 0, Fate::Unknown);
        let batch = Batch { key, bytes: bytes_sent, records, damaged, sequence, attempts, fate };
        model.add_batch(id, batch);
        Some(Unacked { id, bytes, number: lane.made })
    }

    /// Whether the next batch is one that the broker must refuse. An idempotent producer would
    /// not get over it, and without an answer nobody would know.
    fn damages(&self) -> bool {
        !self.options.idempotent && self.options.acks != 0 && self.rng.below(30) == 0
    }

    async fn send(
        &self,
        client: &mut Client,
        flight: Flight,
        on_wire: &mut VecDeque<Flight>,
    ) -> Result<(), Lost> {
        let parts: Vec<Part> = flight.parts.iter().map(|(_, part)| part.clone()).collect();
        for part in &parts {
            self.history.model().sending(part.id);
        }
        let timeout_ms = if self.rng.below(4) == 0 { 500 } else { 10_000 };
        let request = produce::request(&parts, self.options.acks, timeout_ms, flight.version);
        self.trace_sending(&parts);
        let sent = client.send::<ProduceRequest>(&request, flight.version);
        match tokio::time::timeout(REQUEST_TIMEOUT, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(Lost),
        }
        if self.network_cuts && self.rng.below(60) == 0 {
            pause(&self.rng, 10).await;
            self.history.trace.mark("sim: connection cut");
            return Err(Lost);
        }
        if self.options.acks == 0 {
            self.forget(&flight);
        } else {
            on_wire.push_back(flight);
        }
        Ok(())
    }

    fn trace_sending(&self, parts: &[Part]) {
        for part in parts {
            let model = self.history.model();
            let Some(batch) = model.batch(part.id) else { continue };
            let sequence = batch.sequence.map_or(-1, |sequence| sequence.base_sequence);
            let (attempts, records, bytes) = (batch.attempts, batch.records, batch.bytes.len());
            drop(model);
            self.history.event(&format!(
                "{} sends {} to {} seq {sequence} records {records} bytes {bytes} try {attempts}",
                self.name, part.id, part.key
            ));
        }
    }

    /// Nobody will answer: the batches are on their own.
    fn forget(&self, flight: &Flight) {
        let mut state = self.state();
        for (index, part) in &flight.parts {
            if let Some(lane) = state.lanes.get_mut(*index) {
                lane.finish(part.id);
            }
        }
    }

    async fn receive(
        &self,
        client: &mut Client,
        flight: &Flight,
        behind: &VecDeque<Flight>,
    ) -> Result<(), Lost> {
        let answer = client.receive::<ProduceRequest>(flight.version);
        let Ok(Ok(response)) = tokio::time::timeout(REQUEST_TIMEOUT, answer).await else {
            return Err(Lost);
        };
        let mut failed = false;
        for (index, part) in &flight.parts {
            let outcome = self.answered(&response, flight.version, part).ok_or(Lost)?;
            failed |= !matches!(outcome, Outcome::Applied(_));
            self.note(*index, part, outcome)?;
        }
        self.rewind_idle_lanes(behind);
        if failed {
            tokio::time::sleep(Duration::from_millis(20 + self.rng.below(200))).await;
        }
        Ok(())
    }

    fn answered(&self, response: &ProduceResponse, version: i16, part: &Part) -> Option<Outcome> {
        let history = &self.history;
        let answer = history.check(produce::answer_for(response, part, version))?;
        let outcome = history.check(produce::classify(answer))?;
        history.event(&format!("{} got {outcome:?} for {}", self.name, part.id));
        let acks = self.options.acks;
        history.check(produce::predicted_effect(history, part, acks, answer, outcome))?;
        Some(outcome)
    }

    fn note(&self, index: usize, part: &Part, outcome: Outcome) -> Result<(), Lost> {
        let mut state = self.state();
        let gives_up = !self.options.idempotent && self.rng.below(2) == 0;
        let Some(lane) = state.lanes.get_mut(index) else { return Ok(()) };
        match outcome {
            Outcome::Applied(_) | Outcome::Gone | Outcome::Refused => lane.finish(part.id),
            Outcome::Unknown if gives_up => lane.finish(part.id),
            Outcome::OutOfOrder if lane.unacked.front().is_some_and(|head| head.id == part.id) => {
                // All before it is acknowledged, so the broker has forgotten some of that, or has
                // taken what comes behind.
                let message = format!("{}: batch {} is refused as out of order", part.key, part.id);
                drop(state);
                self.history.violate(Violation::new(InvariantId::Idm3, message));
                return Err(Lost);
            }
            Outcome::OutOfOrder | Outcome::Unknown => lane.rewind = true,
        }
        Ok(())
    }

    /// Lanes that met an error and have nothing on the wire any more start from their oldest batch.
    fn rewind_idle_lanes(&self, on_wire: &VecDeque<Flight>) {
        let mut state = self.state();
        for (index, lane) in state.lanes.iter_mut().enumerate() {
            let busy = on_wire.iter().any(|flight| flight.parts.iter().any(|(i, _)| *i == index));
            if lane.rewind && !busy {
                lane.rewind = false;
                lane.sent = 0;
            }
        }
    }
}

impl Lane {
    fn new(key: PartitionKey, topic: &SimTopic) -> Self {
        let unacked = VecDeque::new();
        let topic = topic.name.clone();
        Self { key, topic, next_sequence: 0, unacked, made: 0, sent: 0, rewind: false }
    }

    fn has_room(&self) -> bool {
        self.unacked.front().is_none_or(|head| self.made - head.number < WINDOW_MAX)
    }

    fn finish(&mut self, id: BatchId) {
        let before = self.unacked.len();
        self.unacked.retain(|unacked| unacked.id != id);
        if self.unacked.len() < before {
            self.sent = self.sent.saturating_sub(1);
        }
    }
}
