//! The leader epoch of a request against that of the partition (KIP-320), and what a client is
//! told of the current leader (KIP-951).

use protocol::ErrorCode;
use storage::Partition;

/// The epoch of a request that names none.
pub(crate) const NO_LEADER_EPOCH: i32 = -1;

/// Fences a client that has older metadata than this broker, and one that has newer.
pub(crate) fn check_leader_epoch(partition: &Partition, requested: i32) -> Result<(), ErrorCode> {
    let current = partition.leader_epoch().0;
    match requested {
        NO_LEADER_EPOCH => Ok(()),
        older if older < current => Err(ErrorCode::FencedLeaderEpoch),
        newer if newer > current => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}
