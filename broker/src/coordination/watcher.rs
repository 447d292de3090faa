//! Tells the coordinators when topics change: new images, deleted topics, internal topics that come
//! and go.

use std::sync::Arc;

use common::spawn::Spawner;
use coordinator::{
    group::{GroupCoordinator, offsets::DeletedTopic},
    topics::TopicImage,
    transaction::service::TransactionCoordinator,
};
use storage::Durability;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Coordination, topic_image::Topics};
use crate::{
    catalog::{Catalog, CatalogImage, TopicEntry},
    topic_name,
};

/// The topic key of the durability class.
const DURABILITY: &str = "streamhouse.durability";

impl Coordination {
    /// Hosts the partitions of the internal topics that there are.
    pub(super) fn host(&self, image: &CatalogImage) {
        host_groups(&self.groups, image);
        host_transactions(&self.transactions, image);
    }

    /// Follows the catalog until the coordinators stop.
    pub(super) fn watch(&self, images: watch::Sender<Arc<dyn TopicImage>>, spawner: &Spawner) {
        let (catalog, groups) = (self.catalog.clone(), self.groups.clone());
        let transactions = self.transactions.clone();
        let (mut versions, mut stop) = (catalog.subscribe(), self.stop.subscribe());
        let mut known = catalog.image();
        spawner.spawn_critical("coordinator-topics", async move {
            loop {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    changed = versions.changed() => if changed.is_err() { return },
                }
                let version = *versions.borrow_and_update();
                let image = catalog.image();
                images.send_replace(Topics::new(Arc::clone(&image), version).shared());
                host_groups(&groups, &image);
                strengthen(&catalog, &image).await;
                host_transactions(&transactions, &image);
                groups.topics_changed(&Arc::new(deleted(&known, &image))).await;
                known = image;
            }
        });
    }
}

fn host_groups(groups: &GroupCoordinator, image: &CatalogImage) {
    match image.by_name(topic_name::CONSUMER_OFFSETS) {
        Some(topic) => groups.host(i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX)),
        None => groups.release(),
    }
}

/// Internal topics take the strongest durability class in use (design D5): what a group or a
/// transaction says of records must last as long as they do.
async fn strengthen(catalog: &Catalog, image: &CatalogImage) {
    let is_object = |entry: &TopicEntry| entry.log_config.durability == Durability::Object;
    if !image.topics().any(|entry| is_object(entry)) {
        return;
    }
    for entry in image.topics().filter(|entry| entry.topic.internal && !is_object(entry)) {
        let mut overrides = entry.topic.configs.clone();
        overrides.insert(DURABILITY.to_owned(), "object".to_owned());
        let (id, version) = (entry.topic.id, entry.topic.config_version);
        match catalog.set_topic_configs(id, version, overrides).await {
            Ok(_) => info!(topic = entry.topic.name, "takes durability class object from now on"),
            // Somebody changed it meanwhile: there will be another image.
            Err(error) => warn!(topic = entry.topic.name, %error, "durability class not changed"),
        }
    }
}

fn host_transactions(transactions: &TransactionCoordinator, image: &CatalogImage) {
    match image.by_name(topic_name::TRANSACTION_STATE) {
        Some(topic) => {
            transactions.host(i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX));
        }
        None => transactions.release(),
    }
}

/// The topics of one image that another lacks.
fn deleted(before: &CatalogImage, after: &CatalogImage) -> Vec<DeletedTopic> {
    let gone = before.topics().filter(|entry| after.by_id(entry.topic.id).is_none());
    gone.map(|entry| DeletedTopic { name: entry.topic.name.clone(), id: entry.topic.id.0 })
        .collect()
}
