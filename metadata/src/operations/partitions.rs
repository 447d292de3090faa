//! Partitions: taking leases, where epochs began, and log start offsets.
//!
//! All of it in bulk: a broker starts with tens of thousands of partitions.

use common::{LeaderEpoch, NodeId, PartitionKey};

use crate::{
    error::{Error, Result},
    model::{EpochStart, Partition},
    operations::epochs,
    request::{LogStart, NewEpochStart, ReadableEnd},
    rows::{Partitions, Rows},
};

/// Bumps the leader epoch of every partition that the node owns.
pub(crate) async fn acquire(
    rows: &mut dyn Rows,
    owner: NodeId,
) -> Result<Vec<(PartitionKey, LeaderEpoch)>> {
    let bumped = rows.bump_leader_epochs(owner).await?;
    Ok(bumped.into_iter().map(|(key, epoch)| (key, LeaderEpoch(epoch))).collect())
}

/// Records where current epochs began.
pub(crate) async fn record_epoch_starts(
    rows: &mut dyn Rows,
    starts: &[NewEpochStart],
) -> Result<()> {
    let keys: Vec<_> = starts.iter().map(|start| start.key).collect();
    let mut partitions = rows.partitions_at(&keys).await?;
    for start in starts {
        let partition = owned(&mut partitions, start.key, start.epoch)?;
        refuse_negative(start.key, start.start_offset)?;
        let entry = EpochStart { epoch: start.epoch, start_offset: start.start_offset };
        epochs::assign(&mut partition.epoch_starts, entry);
    }
    rows.put_partitions(&partitions).await
}

/// Moves log start offsets forward, and the epoch history with them.
pub(crate) async fn advance_log_start(rows: &mut dyn Rows, log_starts: &[LogStart]) -> Result<()> {
    let keys: Vec<_> = log_starts.iter().map(|start| start.key).collect();
    let mut partitions = rows.partitions_at(&keys).await?;
    for start in log_starts {
        let partition = owned(&mut partitions, start.key, start.leader_epoch)?;
        refuse_negative(start.key, start.log_start_offset)?;
        if start.log_start_offset > partition.log_start_offset {
            partition.log_start_offset = start.log_start_offset;
            epochs::truncate_from_start(&mut partition.epoch_starts, start.log_start_offset);
        }
    }
    rows.put_partitions(&partitions).await
}

/// Records up to where records may be read before an object holds them.
pub(crate) async fn record_readable_ends(rows: &mut dyn Rows, ends: &[ReadableEnd]) -> Result<()> {
    let keys: Vec<_> = ends.iter().map(|end| end.key).collect();
    let mut partitions = rows.partitions_at(&keys).await?;
    for end in ends {
        let partition = owned(&mut partitions, end.key, end.leader_epoch)?;
        refuse_negative(end.key, end.readable_end_offset.unwrap_or_default())?;
        partition.readable_end_offset = end.readable_end_offset;
    }
    rows.put_partitions(&partitions).await
}

/// The partition, if it exists and the caller's epoch is the current one.
pub(crate) fn owned(
    partitions: &mut Partitions,
    key: PartitionKey,
    leader_epoch: i32,
) -> Result<&mut Partition> {
    let partition = partitions.get_mut(&key).ok_or(Error::UnknownPartition { key })?;
    if partition.leader_epoch != leader_epoch {
        let current = partition.leader_epoch;
        return Err(Error::StaleEpoch { key, requested: leader_epoch, current });
    }
    Ok(partition)
}

fn refuse_negative(key: PartitionKey, offset: i64) -> Result<()> {
    if offset < 0 {
        return Err(Error::InvalidRequest(format!("offset {offset} of partition {key}")));
    }
    Ok(())
}
