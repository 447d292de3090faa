//! The uniform assignor: as even as the subscriptions allow, moving as few partitions as possible.

pub(super) mod heterogeneous;
pub(super) mod homogeneous;

mod balancer;
