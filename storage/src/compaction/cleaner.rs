//! The log cleaner: of a compacted topic, the last record per key stays (KIP-58, KIP-534).
//!
//! ```text
//!  [log start … clean … first dirty) [first dirty … dirty … first uncleanable) [… tail]
//!      │                                  │ 1. newest offset per key → OffsetMap (bounded)
//!      └──────────── 2. both are rewritten, a group of extents at a time, through Filter ──▶ L1
//! ```
//!
//! Invariants: nothing at or above the last stable offset is touched; offsets never change; the
//! record with a key's highest offset is never lost. How far a pass came is written into the footers
//! of its outputs: a log is clean up to the least of what its extents say, so a pass that was cut
//! off anywhere is simply made again.

mod filter;
mod offset_map;
mod plan;
mod source;
mod transactions;

use std::{collections::BTreeSet, sync::Arc};

use common::{ObjectId, PartitionKey};
use metadata::{Extent, ObjectLevel};
use protocol::records::{RecordError, batch_refs};
use tracing::{info, warn};

pub use self::plan::CleaningPolicy;
use self::{
    filter::{DECOMPRESS_LIMIT, Filter},
    offset_map::OffsetMap,
    plan::{Cleanable, Dirty},
    source::Cleaning,
    transactions::Transactions,
};
use super::{Compactor, merge::Known, rewrite::Inputs};
use crate::object::{self, ExtentTarget, ObjectRef};

/// Bytes read at a time.
const PIECE_BYTES: usize = 4 << 20;

/// What one pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cleaned {
    /// Bytes of batches before.
    bytes_before: u64,
    /// Bytes of batches that stayed.
    bytes_after: u64,
    /// The end of what is clean now.
    end_offset: i64,
    /// Aborted transactions that the index no longer names.
    forgotten: usize,
}

/// What one round over all partitions did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CleaningRound {
    /// Passes made.
    pub passes: usize,
    /// Aborted transactions that partitions have forgotten. That must be durable (in a producer
    /// snapshot) before the next round, which may remove their markers.
    pub forgotten: usize,
}

impl Compactor {
    /// Cleans every partition whose topic is compacted and that is dirty enough, dirtiest first.
    /// A partition that fails is logged and looked at again next time.
    pub async fn clean_once(&self) -> CleaningRound {
        let mut due = Vec::new();
        let targets = self.deps.partitions.all();
        let wasteful = self.wasteful(&targets);
        for target in targets {
            let Some(policy) = target.cleaning() else { continue };
            match self.cleanable(target.as_ref(), policy, &wasteful).await {
                Ok(Some(cleanable)) => due.push((target, cleanable)),
                Ok(None) => {}
                Err(error) => {
                    warn!(partition = %target.key(), %error, "not looked at for cleaning")
                }
            }
        }
        due.sort_by(|(_, a), (_, b)| b.dirty_ratio().total_cmp(&a.dirty_ratio()));
        let mut round = CleaningRound::default();
        for (target, cleanable) in due {
            if !self.has_space().await {
                metrics::counter!("streamhouse_cleaner_skipped_total", "reason" => "disk_space")
                    .increment(1);
                break;
            }
            match self.clean(target.as_ref(), &cleanable).await {
                Ok(cleaned) => {
                    round.passes += 1;
                    round.forgotten += cleaned.forgotten;
                    note(target.as_ref(), cleaned);
                }
                Err(error) => {
                    metrics::counter!("streamhouse_cleaner_failures_total").increment(1);
                    warn!(partition = %target.key(), %error, "cleaning failed, will try again");
                }
            }
            tokio::task::yield_now().await;
        }
        round
    }

    /// What of a partition can be cleaned, if it is due.
    async fn cleanable(
        &self,
        target: &dyn ExtentTarget,
        policy: CleaningPolicy,
        wasteful: &BTreeSet<ObjectId>,
    ) -> Result<Option<Cleanable>, crate::Error> {
        let mut rows = Vec::new();
        for (object, extent) in target.extents() {
            let cleaned_end = self.cleaned_end(target, &object).await?;
            rows.push(Dirty { object, extent, cleaned_end });
        }
        let (log_start, last_stable) = (target.log_start_offset(), target.last_stable_offset());
        let leader_epoch = target.leader_epoch();
        let now_ms = self.deps.clock.now_ms();
        let last_stable = last_stable.min(target.held_offset(now_ms));
        let cleanable = policy.plan(rows, log_start, last_stable, leader_epoch, now_ms);
        Ok(cleanable.filter(|cleanable| {
            cleanable.is_due() || self.options.policy.is_crumbled(&cleanable.dirty(), wasteful)
        }))
    }

    /// How far the log was clean when an extent was written.
    async fn cleaned_end(
        &self,
        target: &dyn ExtentTarget,
        object: &Arc<ObjectRef>,
    ) -> object::Result<Option<i64>> {
        if object.level == ObjectLevel::L0 {
            return Ok(None);
        }
        let footer = self.deps.reader.footer(object).await?;
        Ok(footer.partition(&target.key()).and_then(|partition| partition.cleaned_end_offset))
    }

    /// One pass over one partition.
    async fn clean(
        &self,
        target: &dyn ExtentTarget,
        cleanable: &Cleanable,
    ) -> Result<Cleaned, crate::Error> {
        let map = self.offset_map(target, cleanable).await?;
        let end_offset = map.latest_offset() + 1;
        let mut extents = cleanable.below(end_offset);
        let aborted = target.aborted_transactions(cleanable.base_offset(), end_offset);
        let transactions = Transactions::new(aborted);
        let now_ms = self.deps.clock.now_ms();
        let retention_ms = cleanable.policy.delete_retention_ms;
        let mut filter = Filter::new(map, transactions, now_ms, retention_ms);
        let mut cleaned = Cleaned {
            bytes_before: extents.iter().map(|(_, extent)| extent.bytes).sum(),
            bytes_after: 0,
            end_offset,
            forgotten: 0,
        };
        // Outputs take the place of their inputs here as well: the next group starts from the
        // producers that the last output knows.
        let mut first = 0;
        while first < extents.len() {
            let last = self.group_end(&extents, first);
            let output = self.clean_group(target, cleanable, &extents, first..last, &mut filter);
            let (object, extent) = output.await?;
            cleaned.bytes_after += extent.bytes;
            extents.splice(first..last, [(object, extent)]);
            first += 1;
        }
        let forgotten = filter.into_forgotten();
        target.forget_aborted(&forgotten);
        cleaned.forgotten = forgotten.len();
        Ok(cleaned)
    }

    /// Rewrites one group of extents into one object.
    async fn clean_group(
        &self,
        target: &dyn ExtentTarget,
        cleanable: &Cleanable,
        extents: &[(Arc<ObjectRef>, Extent)],
        group: std::ops::Range<usize>,
        filter: &mut Filter,
    ) -> Result<(Arc<ObjectRef>, Extent), crate::Error> {
        let inputs = extents.get(group.clone()).unwrap_or_default();
        let base_offset = inputs.first().map_or(0, |(_, extent)| extent.base_offset);
        let output = self.register(target, base_offset).await?;
        let known = producers_before(extents, group);
        let reader = &self.deps.reader;
        let end_offset = inputs.last().map_or(base_offset, |(_, extent)| extent.end_offset);
        let covers = base_offset..end_offset;
        let known = Known::read(reader, target, known, covers).await;
        let source = known.map(|known| {
            Cleaning::new(reader.clone(), target.key(), inputs, output.id(), known, filter)
        });
        let inputs = Inputs { extents: inputs, leader_epoch: cleanable.leader_epoch };
        self.replace(target, inputs, output, source).await
    }

    /// The end of the group that begins at `first`: as many extents as one object takes.
    fn group_end(&self, extents: &[(Arc<ObjectRef>, Extent)], first: usize) -> usize {
        let mut bytes = 0_u64;
        let fits = |(_, extent): &&(Arc<ObjectRef>, Extent)| {
            bytes = bytes.saturating_add(extent.bytes);
            bytes <= self.options.policy.bytes_max
        };
        let count = extents.iter().skip(first).take_while(fits).count();
        first + count.max(1)
    }

    /// Reads the dirty stretch, as far as its keys fit into memory.
    async fn offset_map(
        &self,
        target: &dyn ExtentTarget,
        cleanable: &Cleanable,
    ) -> Result<OffsetMap, crate::Error> {
        let buffer_bytes = self.deps.live.borrow().cleaner_buffer_bytes;
        let hash_key = (self.deps.rng.next_u64(), self.deps.rng.next_u64());
        let mut map = OffsetMap::new(buffer_bytes, hash_key);
        let dirty = cleanable.dirty();
        let from = cleanable.first_dirty;
        map.cover(from - 1);
        let end = dirty.last().map_or(from, |(_, extent)| extent.end_offset);
        let mut transactions = Transactions::new(target.aborted_transactions(from, end));
        for (object, extent) in &dirty {
            if !self.map_extent(target, object, extent, from, &mut map, &mut transactions).await? {
                break;
            }
        }
        Ok(map)
    }

    /// Takes one extent's keys; `false` where the map is full.
    async fn map_extent(
        &self,
        target: &dyn ExtentTarget,
        object: &Arc<ObjectRef>,
        extent: &Extent,
        from: i64,
        map: &mut OffsetMap,
        transactions: &mut Transactions,
    ) -> Result<bool, crate::Error> {
        let key = target.key();
        let mut offset = extent.base_offset.max(from);
        while offset < extent.end_offset {
            let reader = &self.deps.reader;
            let end_offset = extent.end_offset;
            let read = reader.read(object, &key, offset, end_offset, PIECE_BYTES, true).await?;
            if read.next_offset <= offset {
                break;
            }
            for piece in &read.records {
                let taken = map_batches(piece, offset, map, transactions);
                if !taken.map_err(|reason| unreadable(object, key, &reason))? {
                    return Ok(false);
                }
            }
            offset = read.next_offset;
            tokio::task::yield_now().await;
        }
        map.cover(extent.end_offset - 1);
        Ok(true)
    }
}

/// Takes the keys of whole batches; `false` where the map is full.
fn map_batches(
    piece: &[u8],
    from: i64,
    map: &mut OffsetMap,
    transactions: &mut Transactions,
) -> Result<bool, RecordError> {
    for batch in batch_refs(piece) {
        let batch = batch?;
        let header = batch.header();
        if header.is_control() {
            transactions.marker(&batch)?;
        } else if !transactions.is_aborted(&batch) {
            for record in &batch.decompressed(DECOMPRESS_LIMIT)? {
                let record = record?;
                let offset = header.base_offset + i64::from(record.offset_delta);
                if let Some(key) = record.key.filter(|_| offset >= from)
                    && !map.put(key, offset)
                {
                    return Ok(false);
                }
            }
        }
        map.cover(header.last_offset());
    }
    Ok(true)
}

/// The extents that know the producers at the start of what follows the last L1 input of a group.
fn producers_before(
    extents: &[(Arc<ObjectRef>, Extent)],
    group: std::ops::Range<usize>,
) -> &[(Arc<ObjectRef>, Extent)] {
    let is_l1 = |(object, _): &(Arc<ObjectRef>, Extent)| object.level == ObjectLevel::L1;
    let inputs = extents.get(group.clone()).unwrap_or_default();
    // Batches up to there may have been cleaned away before; the footer knows them.
    let known_end = inputs.iter().rposition(is_l1).map_or(group.start, |at| group.start + at + 1);
    let older = extents.get(..known_end).unwrap_or_default();
    let last_l1 = older.iter().rposition(is_l1).unwrap_or(0);
    older.get(last_l1..).unwrap_or_default()
}

fn unreadable(object: &ObjectRef, key: PartitionKey, reason: &RecordError) -> object::Error {
    object::Error::Damaged {
        id: object.id,
        key: object.key.clone(),
        position: 0,
        partition: Some(key),
        reason: reason.to_string(),
    }
}

fn note(target: &dyn ExtentTarget, cleaned: Cleaned) {
    metrics::counter!("streamhouse_cleaner_passes_total").increment(1);
    metrics::counter!("streamhouse_cleaner_bytes_read_total").increment(cleaned.bytes_before);
    metrics::counter!("streamhouse_cleaner_bytes_kept_total").increment(cleaned.bytes_after);
    info!(
        partition = %target.key(),
        bytes_before = cleaned.bytes_before,
        bytes_after = cleaned.bytes_after,
        clean_up_to = cleaned.end_offset,
        "log cleaned"
    );
}

#[cfg(test)]
mod tests;
