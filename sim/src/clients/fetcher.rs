//! A consumer: follows the tail, jumps to random offsets, reads to the end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker::testing::Client;
use common::{PartitionKey, rng::Rng};

use super::{BACKOFF, pause};
use crate::{
    history::History,
    incarnation::Incarnation,
    ops::{
        Lost,
        fetch::{self, Ask, Outcome},
        list_offsets::{self, End},
        topics::SimTopic,
    },
};

/// A consumer and where it is.
#[derive(Debug)]
pub struct Fetcher {
    name: String,
    rng: Rng,
    history: Arc<History>,
    topics: Vec<SimTopic>,
    positions: Mutex<Vec<(PartitionKey, i64)>>,
}

impl Fetcher {
    /// A consumer of all partitions of these topics.
    #[must_use]
    pub fn new(name: String, rng: Rng, history: Arc<History>, topics: &[SimTopic]) -> Self {
        let positions = topics.iter().flat_map(SimTopic::keys).map(|key| (key, 0)).collect();
        Self { name, rng, history, topics: topics.to_vec(), positions: Mutex::new(positions) }
    }

    /// Consumes for ever; the crash of the broker drops this future.
    pub async fn run(&self, incarnation: Incarnation) {
        loop {
            let mut client = incarnation.connect(&self.name);
            while self.step(&mut client).await.is_ok() {
                pause(&self.rng, 150).await;
            }
            tokio::time::sleep(BACKOFF).await;
        }
    }

    async fn step(&self, client: &mut Client) -> Result<(), Lost> {
        let index = self.rng.below(self.positions().len() as u64) as usize;
        let Some((key, position)) = self.positions().get(index).copied() else { return Ok(()) };
        match self.rng.below(10) {
            0 => self.list(client, key).await,
            1 | 2 => {
                let floors = self.history.model().floors(&key);
                let span = (floors.high_watermark - floors.log_start).max(0) as u64;
                let offset = floors.log_start + self.rng.below(span + 1) as i64;
                self.fetch(client, key, offset).await.map(drop)
            }
            _ => {
                if let Some(next) = self.fetch(client, key, position).await?
                    && let Some(slot) = self.positions().get_mut(index)
                {
                    slot.1 = next;
                }
                Ok(())
            }
        }
    }

    async fn list(&self, client: &mut Client, key: PartitionKey) -> Result<(), Lost> {
        let end = if self.rng.below(2) == 0 { End::Earliest } else { End::Latest };
        let Some(topic) = self.topics.iter().find(|topic| topic.id == key.topic_id) else {
            return Ok(());
        };
        list_offsets::list(client, &self.history, (&topic.name, key), end).await.map(drop)
    }

    /// Fetches and returns where to go on.
    async fn fetch(
        &self,
        client: &mut Client,
        key: PartitionKey,
        offset: i64,
    ) -> Result<Option<i64>, Lost> {
        let ask = Ask {
            key,
            offset,
            max_wait_ms: self.rng.below(800) as i32,
            max_bytes: if self.rng.below(3) == 0 { 1 } else { 200_000 },
            read_committed: self.rng.below(2) == 0,
        };
        Ok(match fetch::fetch(client, &self.history, &ask).await? {
            Outcome::Records { found, log_start, .. } => {
                found.last().map(|found| (found.last_offset + 1).max(log_start))
            }
            Outcome::OutOfRange => Some(self.history.model().floors(&key).log_start),
            Outcome::Retry | Outcome::Gone => None,
        })
    }

    fn positions(&self) -> MutexGuard<'_, Vec<(PartitionKey, i64)>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
