//! Transactional ids that nobody has used for `transactional.id.expiration.ms` are forgotten.

use tracing::debug;

use super::{
    records::TransactionRecord,
    shard::{Ctx, TransactionShard, TransactionTimer},
};
use crate::shard::Outcome;

impl TransactionShard {
    /// Writes tombstones for ids that have expired.
    pub(super) fn remove_expired(
        &mut self,
        context: Ctx<'_, '_>,
    ) -> Outcome<(), TransactionRecord> {
        let before_ms = context.now_ms.saturating_sub(self.config.id_expiration_ms);
        let expired = self.transactional_ids.iter().filter(|(_, entry)| {
            let known = &entry.metadata;
            known.state.may_expire() && known.last_update_ms <= before_ms
        });
        let tombstones: Vec<_> = expired
            .map(|(transactional_id, _)| TransactionRecord {
                transactional_id: transactional_id.clone(),
                metadata: None,
            })
            .collect();
        context.set_timer(TransactionTimer::Expiration, self.config.remove_expired_interval);
        if !tombstones.is_empty() {
            debug!(transactional_ids = tombstones.len(), "transactional ids have expired");
        }
        Outcome::write_in_parts(tombstones, ())
    }
}
