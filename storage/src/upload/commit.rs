//! Commits prepared objects in the order of the log, and tells the partitions.
//!
//! Invariant: a partition is told of its extents in offset order, and only after they are durable
//! in the object store and in metadata; a WAL file is released after the commit of its last range.

use std::sync::Arc;

use metadata::{Extent, ExtentOutcome, L0Commit};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{debug, error, warn};

use super::{
    Ended, Shared,
    prepare::{Prepared, PreparedObject},
    released,
};
use crate::object::{ExtentTarget, Origin, PartitionFooter};

/// What the planner wants done, in order.
#[derive(Debug)]
pub(super) enum Ordered {
    /// Commit the object of this range, when it is prepared.
    Commit { origin: Origin, prepared: oneshot::Receiver<(Prepared, OwnedSemaphorePermit)> },
    /// All ranges of the file are committed.
    Release(u64),
    /// Everything before is committed.
    Reached(oneshot::Sender<()>),
}

/// The stage that works strictly in order.
pub(super) struct Committer {
    shared: Arc<Shared>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) async fn run(self, mut ordered: mpsc::UnboundedReceiver<Ordered>) -> Ended {
        let stop = self.shared.stop.clone();
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return self.shared.stopped(),
                next = ordered.recv() => next,
            };
            let done = match next {
                None => return Ended::Done,
                Some(Ordered::Commit { origin, prepared }) => {
                    self.commit_prepared(origin, prepared).await
                }
                Some(Ordered::Release(file_id)) => self.release(file_id).await,
                Some(Ordered::Reached(done)) => {
                    // Whoever waited may have given up.
                    let _ = done.send(());
                    Ok(())
                }
            };
            if let Err(ended) = done {
                stop.cancel();
                return ended;
            }
        }
    }

    async fn commit_prepared(
        &self,
        origin: Origin,
        prepared: oneshot::Receiver<(Prepared, OwnedSemaphorePermit)>,
    ) -> Result<(), Ended> {
        let prepared = tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => return Err(self.shared.stopped()),
            prepared = prepared => prepared,
        };
        // Preparation gives up only when the uploader stops.
        let Ok((prepared, _permit)) = prepared else { return Err(self.shared.stopped()) };
        match prepared.object {
            Some(object) => self.commit(origin, object).await,
            None => Ok(()),
        }
    }

    async fn commit(&self, origin: Origin, prepared: PreparedObject) -> Result<(), Ended> {
        let PreparedObject { object, footer, in_use } = prepared;
        let mut backoff = self.shared.deps.storage.backoff();
        let mut kept_back = false;
        let (targets, outcomes) = loop {
            let (targets, extents) = self.extents(&footer.partitions, &mut kept_back);
            let commit = L0Commit {
                id: object.id,
                size: object.size,
                footer_position: object.footer_position,
                extents: extents.clone(),
            };
            let metadata = &self.shared.deps.metadata;
            match metadata.commit_l0(&self.shared.deps.fence, commit).await {
                Ok(outcomes) => {
                    let targets: Vec<_> = targets.into_iter().zip(extents).collect();
                    break (targets, outcomes);
                }
                Err(error) if error.is_fenced() => {
                    error!(%error, "upload stopped: another process has the metadata store");
                    self.shared.fence();
                    return Err(Ended::Fenced);
                }
                Err(
                    error @ (metadata::Error::UnknownObject { .. }
                    | metadata::Error::ObjectState { .. }),
                ) => {
                    // Its bytes may be deleted at any time, so going on could lose them.
                    let reason = format!("object {} was taken for dead: {error}", object.id);
                    self.shared.deps.spawner.fatal().stop(&reason);
                    return Err(Ended::Stopped);
                }
                Err(error) => {
                    warn!(object = %object.id, %error, "commit failed, will try again");
                }
            }
            if !self.shared.pause(backoff.pause()).await {
                return Err(Ended::Stopped);
            }
        };
        for ((target, extent), outcome) in targets.iter().zip(outcomes) {
            match outcome {
                ExtentOutcome::Committed => target.committed(&object, extent),
                ExtentOutcome::UnknownPartition => {
                    debug!(partition = %extent.key, "extent of a deleted topic dropped");
                }
                ExtentOutcome::StaleEpoch { .. } | ExtentOutcome::OffsetMismatch { .. } => {
                    error!(object = %object.id, partition = %extent.key, ?outcome,
                        base_offset = extent.base_offset, end_offset = extent.end_offset,
                        file_id = origin.file_id, "an extent was rejected by metadata");
                    metrics::counter!("streamhouse_upload_rejected_extents_total").increment(1);
                    target.rejected(extent);
                    kept_back = true;
                }
            }
        }
        metrics::counter!("streamhouse_upload_objects_total").increment(1);
        metrics::counter!("streamhouse_upload_bytes_total").increment(object.size);
        if kept_back {
            // What was not committed exists only there: this process never deletes it.
            std::mem::forget(in_use);
        }
        Ok(())
    }

    /// The extents of the partitions that are served here, under their current epochs. What is left
    /// out of a partition that is closed but not deleted is `kept_back`: its owner is another, and
    /// that was reported when its first extent was refused.
    fn extents(
        &self,
        partitions: &[PartitionFooter],
        kept_back: &mut bool,
    ) -> (Vec<Arc<dyn ExtentTarget>>, Vec<Extent>) {
        let served = |partition: &PartitionFooter| {
            let target = self.shared.deps.partitions.target(&partition.key)?;
            if target.is_closed() {
                debug!(partition = %partition.key, "extent of a closed partition left out");
                *kept_back = true;
                return None;
            }
            let extent = partition.extent(target.leader_epoch());
            Some((target, extent))
        };
        partitions.iter().filter_map(served).unzip()
    }

    async fn release(&self, file_id: u64) -> Result<(), Ended> {
        let mut backoff = self.shared.deps.storage.backoff();
        let deps = &self.shared.deps;
        while let Err(error) = released::note(&deps.metadata, &deps.fence, file_id).await {
            if matches!(&error, crate::Error::Metadata(error) if error.is_fenced()) {
                error!(%error, "upload stopped: another process has the metadata store");
                self.shared.fence();
                return Err(Ended::Fenced);
            }
            warn!(file_id, %error, "noting a released WAL file failed, will try again");
            if !self.shared.pause(backoff.pause()).await {
                return Err(Ended::Stopped);
            }
        }
        while let Err(error) = self.shared.deps.wal.release(file_id).await {
            warn!(file_id, %error, "releasing a WAL file failed, will try again");
            if !self.shared.pause(backoff.pause()).await {
                return Err(Ended::Stopped);
            }
        }
        Ok(())
    }
}
