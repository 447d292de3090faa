//! The ends of transactions, written into the partitions that they touched.

use std::sync::Arc;

use coordinator::{
    group::GroupCoordinator,
    log::TransactionEnd,
    transaction::{
        TopicPartition,
        markers::Markers,
        service::{MarkerError, MarkerWriter},
    },
};
use futures::future::BoxFuture;
use protocol::ErrorCode;
use storage::{Acks, EndTransaction, Log};

use crate::{
    catalog::Catalog,
    handlers::error,
    topic_name::{CONSUMER_OFFSETS, TRANSACTION_STATE},
};

/// Room that is asked for before a marker: a control batch and its entry in the WAL's directory.
const ROOM_BYTES: usize = 256;

/// Writes markers into the partitions of this broker.
#[derive(Debug, Clone)]
pub(crate) struct Markings {
    catalog: Catalog,
    log: Arc<Log>,
    groups: GroupCoordinator,
}

impl Markings {
    pub(super) fn new(catalog: Catalog, log: Arc<Log>, groups: GroupCoordinator) -> Self {
        Self { catalog, log, groups }
    }

    /// Writes one marker; it is durable, and applied to the offsets of a group, on return.
    pub(crate) async fn write(
        &self,
        at: &TopicPartition,
        end: TransactionEnd,
    ) -> Result<(), ErrorCode> {
        let topic = self.catalog.image().by_name(&at.topic).cloned();
        let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let partition = topic.partition(at.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if at.topic == CONSUMER_OFFSETS {
            let completed = self.groups.complete_transaction(at.partition, end).await;
            return completed.map_err(of_group_coordinator);
        }
        let _room = self.log.admit(ROOM_BYTES).await.map_err(|refused| error::append(&refused))?;
        let end = EndTransaction {
            producer_id: end.producer_id,
            producer_epoch: end.producer_epoch,
            commit: end.committed,
            coordinator_epoch: end.coordinator_epoch,
            transaction_version: end.transaction_version,
        };
        let appended = partition.append_marker(end, Acks::All);
        let appended = appended.map_err(|refused| error::append(&refused))?;
        appended.ticket.wait().await.map_err(|taken_back| error::append(&taken_back))
    }

    fn coordinator_epoch(&self, partition: i32) -> Option<i32> {
        let image = self.catalog.image();
        let leader = image.by_name(TRANSACTION_STATE)?.leader(partition)?;
        Some(leader.epoch.0)
    }
}

/// A transaction coordinator expects the errors of a partition.
fn of_group_coordinator(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::NotCoordinator => ErrorCode::NotLeaderOrFollower,
        other => other,
    }
}

impl MarkerWriter for Markings {
    fn write_marker<'a>(
        &'a self,
        coordinator_partition: i32,
        markers: &'a Markers,
        partition: &'a TopicPartition,
    ) -> BoxFuture<'a, Result<(), MarkerError>> {
        Box::pin(async move {
            let Some(coordinator_epoch) = self.coordinator_epoch(coordinator_partition) else {
                return Err(MarkerError::Retriable(ErrorCode::NotCoordinator));
            };
            let end = TransactionEnd {
                producer_id: markers.producer_id,
                producer_epoch: markers.producer_epoch,
                coordinator_epoch,
                committed: markers.committed,
                transaction_version: markers.version.level(),
            };
            self.write(partition, end).await.map_err(|error| match error {
                ErrorCode::UnknownTopicOrPartition => MarkerError::Gone,
                ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced => {
                    MarkerError::Fenced
                }
                other => MarkerError::Retriable(other),
            })
        })
    }
}
