//! Transactional ids that nobody has used for `transactional.id.expiration.ms` are forgotten.

use std::time::Duration;

use tracing::debug;

use super::{
    records::TransactionRecord,
    shard::{Ctx, TransactionShard, TransactionTimer},
};
use crate::shard::Outcome;

/// Bytes of ids that one batch of tombstones may forget: well below the size of a batch that the
/// topic accepts, keys and overheads included.
const EXPIRED_BYTES_MAX: usize = 256 * 1024;
/// What a tombstone takes beside its id, generously.
const TOMBSTONE_OVERHEAD: usize = 64;

impl TransactionShard {
    /// Writes tombstones for ids that have expired, as many as fit in one batch.
    pub(super) fn remove_expired(
        &mut self,
        context: Ctx<'_, '_>,
    ) -> Outcome<(), TransactionRecord> {
        let before_ms = context.now_ms.saturating_sub(self.config.id_expiration_ms);
        let mut expired = self.transactional_ids.iter().filter(|(_, entry)| {
            let known = &entry.metadata;
            known.state.may_expire() && known.last_update_ms <= before_ms
        });
        let mut room = EXPIRED_BYTES_MAX;
        let mut tombstones = Vec::new();
        let mut left = false;
        for (transactional_id, _) in expired.by_ref() {
            let bytes = transactional_id.len() + TOMBSTONE_OVERHEAD;
            if bytes > room {
                left = true;
                break;
            }
            room -= bytes;
            tombstones.push(TransactionRecord {
                transactional_id: transactional_id.clone(),
                metadata: None,
            });
        }
        let next = if left { Duration::ZERO } else { self.config.remove_expired_interval };
        context.set_timer(TransactionTimer::Expiration, next);
        if !tombstones.is_empty() {
            debug!(transactional_ids = tombstones.len(), "transactional ids have expired");
        }
        Outcome::write(tombstones, ())
    }
}
