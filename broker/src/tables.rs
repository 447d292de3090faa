//! Topics as the catalog of tables sees them.

use std::sync::Arc;

use table::{
    catalog::{TopicView, Topics},
    config::concerns_table,
};
use tokio::sync::watch;

use crate::catalog::Catalog;

/// The broker's topics, but for its own.
#[derive(Debug, Clone)]
pub struct TableTopics(pub Catalog);

impl Topics for TableTopics {
    fn topics(&self) -> Vec<TopicView> {
        let image = self.0.image();
        let views = image.topics().filter(|entry| !entry.topic.internal).map(|entry| {
            let keys = entry.topic.configs.iter();
            TopicView {
                id: entry.topic.id,
                name: entry.topic.name.clone(),
                created_ms: entry.topic.created_ms,
                values: keys
                    .filter(|(key, _)| concerns_table(key))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
                partitions: entry.partitions.iter().map(Arc::clone).collect(),
            }
        });
        views.collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
