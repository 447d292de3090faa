//! Somebody outside a group: looks at its committed offsets, and now and then tries to delete it.

use std::sync::Arc;

use broker::testing::Client;
use common::rng::Rng;
use protocol::ErrorCode;

use super::{BACKOFF, pause};
use crate::{
    history::History,
    incarnation::Incarnation,
    ops::{Lost, groups, offsets, topics::SimTopic},
};

/// Who watches a group.
#[derive(Debug)]
pub struct GroupWatcher {
    group_id: String,
    topic: SimTopic,
    rng: Rng,
    history: Arc<History>,
}

impl GroupWatcher {
    /// Of one group, whose members consume this topic.
    #[must_use]
    pub fn new(group_id: String, topic: SimTopic, rng: Rng, history: Arc<History>) -> Self {
        Self { group_id, topic, rng, history }
    }

    /// Watches for ever; the crash of the broker drops this future.
    pub async fn run(&self, incarnation: Incarnation) {
        loop {
            let mut client = incarnation.connect("watcher");
            while self.step(&mut client).await.is_ok() {
                pause(&self.rng, 3000).await;
            }
            tokio::time::sleep(BACKOFF).await;
        }
    }

    async fn step(&self, client: &mut Client) -> Result<(), Lost> {
        let (history, group_id) = (&self.history, &self.group_id);
        if self.rng.below(5) > 0 {
            return offsets::fetch(client, history, group_id, None, &self.topic).await.map(drop);
        }
        offsets::delete_group(client, history, group_id).await.map(drop)
    }

    /// Waits until the group's members are taken for dead, deletes it, and looks whether its offsets
    /// are gone.
    ///
    /// # Errors
    /// [`Lost`], also after a violation.
    pub async fn bury(&self, incarnation: &Incarnation) -> Result<(), Lost> {
        let mut client = incarnation.connect("watcher");
        let (history, group_id, topic) = (&self.history, &self.group_id, &self.topic);
        while !groups::find_coordinator(&mut client, history, group_id).await? {
            tokio::time::sleep(BACKOFF).await;
        }
        while offsets::fetch(&mut client, history, group_id, None, topic).await?.is_none() {
            tokio::time::sleep(BACKOFF).await;
        }
        loop {
            let code = offsets::delete_group(&mut client, history, group_id).await?;
            // It may have been deleted when nobody was told.
            if matches!(code, ErrorCode::None | ErrorCode::GroupIdNotFound) {
                break;
            }
            tokio::time::sleep(BACKOFF).await;
        }
        while offsets::fetch(&mut client, history, group_id, None, topic).await?.is_none() {
            tokio::time::sleep(BACKOFF).await;
        }
        Ok(())
    }
}
