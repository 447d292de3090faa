//! Tells the coordinators when topics change: new images, deleted topics, internal topics that come
//! and go.

use std::sync::Arc;

use common::spawn::Spawner;
use coordinator::{
    group::{GroupCoordinator, offsets::DeletedTopic},
    topics::TopicImage,
};
use tokio::sync::watch;

use super::{Coordination, topic_image::Topics};
use crate::{catalog::CatalogImage, topic_name};

impl Coordination {
    /// Hosts the partitions of the internal topics that there are.
    pub(super) fn host(&self, image: &CatalogImage) {
        host_groups(&self.groups, image);
    }

    /// Follows the catalog until the coordinators stop.
    pub(super) fn watch(&self, images: watch::Sender<Arc<dyn TopicImage>>, spawner: &Spawner) {
        let (catalog, groups) = (self.catalog.clone(), self.groups.clone());
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

/// The topics of one image that another lacks.
fn deleted(before: &CatalogImage, after: &CatalogImage) -> Vec<DeletedTopic> {
    let gone = before.topics().filter(|entry| after.by_id(entry.topic.id).is_none());
    gone.map(|entry| DeletedTopic { name: entry.topic.name.clone(), id: entry.topic.id.0 })
        .collect()
}
