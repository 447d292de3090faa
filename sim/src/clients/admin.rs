//! An administrator: deletes records now and then, creates, fills and deletes topics, and changes
//! their durability class.

use std::sync::{Arc, Mutex, PoisonError};

use broker::testing::Client;
use common::rng::Rng;

use super::{BACKOFF, pause};
use crate::{
    clients::producer::Producer,
    history::History,
    incarnation::Incarnation,
    ops::{
        Lost, alter_configs, delete_records,
        topics::{self, SimTopic},
    },
    options::ProducerOptions,
};

/// Batches in a topic that comes and goes.
const CHURN_BATCHES: u32 = 12;

/// What an administrator does.
#[derive(Debug, Clone, Copy)]
pub struct Duties {
    /// DeleteRecords.
    pub delete_records: bool,
    /// CreateTopics, some records, DeleteTopics.
    pub topic_churn: bool,
    /// Topics change their durability class.
    pub class_changes: bool,
}

impl Duties {
    fn any(self) -> bool {
        self.delete_records || self.topic_churn || self.class_changes
    }
}

/// An administrator.
#[derive(Debug)]
pub struct Admin {
    duties: Duties,
    rng: Rng,
    history: Arc<History>,
    topics: Vec<SimTopic>,
    churned: Mutex<u32>,
}

impl Admin {
    /// For these topics.
    #[must_use]
    pub fn new(duties: Duties, rng: Rng, history: Arc<History>, topics: &[SimTopic]) -> Self {
        Self { duties, rng, history, topics: topics.to_vec(), churned: Mutex::new(0) }
    }

    /// Works for ever; the crash of the broker drops this future.
    pub async fn run(&self, incarnation: Incarnation) {
        if !self.duties.any() {
            return;
        }
        loop {
            let mut client = incarnation.connect("admin");
            loop {
                pause(&self.rng, 3000).await;
                if self.step(&mut client, &incarnation).await.is_err() {
                    break;
                }
            }
            tokio::time::sleep(BACKOFF).await;
        }
    }

    async fn step(&self, client: &mut Client, incarnation: &Incarnation) -> Result<(), Lost> {
        let Duties { delete_records, topic_churn, class_changes } = self.duties;
        if class_changes && (!(delete_records || topic_churn) || self.rng.below(3) == 0) {
            return self.change_class(client).await;
        }
        if topic_churn && (!delete_records || self.rng.below(2) == 0) {
            self.churn(client, incarnation).await
        } else {
            self.delete_records(client).await
        }
    }

    async fn change_class(&self, client: &mut Client) -> Result<(), Lost> {
        let topic = self.rng.below(self.topics.len() as u64) as usize;
        let Some(topic) = self.topics.get(topic) else { return Ok(()) };
        let durability = if self.rng.below(2) == 0 { "local" } else { "object" };
        alter_configs::set_durability(client, &self.history, &topic.name, durability).await
    }

    async fn delete_records(&self, client: &mut Client) -> Result<(), Lost> {
        let topic = self.rng.below(self.topics.len() as u64) as usize;
        let Some(topic) = self.topics.get(topic) else { return Ok(()) };
        let partition = self.rng.below(topic.partitions.unsigned_abs().into()) as usize;
        let Some(key) = topic.keys().nth(partition) else { return Ok(()) };
        let floors = self.history.model().floors(&key);
        let span = (floors.high_watermark - floors.log_start).max(0) as u64;
        let before = floors.log_start + self.rng.below(span + 1) as i64;
        delete_records::delete(client, &self.history, (&topic.name, key), before).await
    }

    /// The name is the same each time once the topic before it is gone; ids tell them apart.
    async fn churn(&self, client: &mut Client, incarnation: &Incarnation) -> Result<(), Lost> {
        let number = {
            let mut churned = self.churned.lock().unwrap_or_else(PoisonError::into_inner);
            *churned += 1;
            *churned
        };
        let durability = if self.rng.below(2) == 0 { "local" } else { "object" };
        let history = &self.history;
        let name = format!("churn-{}", number % 2);
        let created = topics::create(client, history, &name, 1, durability).await?;
        let Some(topic) = created else { return Ok(()) };
        let options = ProducerOptions {
            idempotent: true,
            acks: -1,
            in_flight: 5,
            batches: CHURN_BATCHES,
            pause_ms_max: 20,
        };
        let producer = Producer::new(
            format!("churn producer {number}"),
            options,
            1000,
            false,
            self.rng.clone(),
            Arc::clone(history),
            std::slice::from_ref(&topic),
        );
        producer.grant(options.batches);
        let filling = producer.run(incarnation.clone());
        // A topic may well go while it is being written to.
        let limit = std::time::Duration::from_millis(self.rng.below(3000));
        let _ = tokio::time::timeout(limit, filling).await;
        topics::delete(client, history, &topic).await.map(drop)
    }
}
