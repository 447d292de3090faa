//! Which transactions a cleaning pass is in the middle of: Kafka's `CleanedTransactionMetadata`.
//!
//! Batches of aborted transactions go; a marker goes only when no batch of its transaction was met
//! any more, and with an abort marker goes the entry of the aborted index: an entry without its
//! marker would hide what its producer wrote later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::records::{
    BatchRef, ControlRecordKey, ControlRecordType, DecompressLimit, RecordError,
};

use crate::object::AbortedRange;

/// A control batch as a pass sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    /// Nothing of its transaction is left in what was passed.
    pub(super) needless: bool,
    /// The entry of the aborted index that it ends.
    pub(super) indexed: Option<AbortedRange>,
}

/// The transactions met so far.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Those whose first record lies ahead, by first offset.
    ahead: VecDeque<AbortedRange>,
    /// Those that are open where the pass is, and whether a batch of theirs was met.
    open_aborted: BTreeMap<i64, (AbortedRange, bool)>,
    /// Producers of committed transactions of which a batch was met.
    open_committed: BTreeSet<i64>,
}

/// Markers are not compressed.
const MARKER_LIMIT: DecompressLimit = DecompressLimit { max_bytes: 1 << 10 };

impl Transactions {
    /// Given the aborted transactions that overlap what is about to be passed.
    pub(super) fn new(mut aborted: Vec<AbortedRange>) -> Self {
        aborted.sort_unstable();
        Self { ahead: aborted.into(), ..Self::default() }
    }

    /// Whether a data batch belongs to an aborted transaction.
    pub(super) fn is_aborted(&mut self, batch: &BatchRef<'_>) -> bool {
        let header = batch.header();
        self.open_up_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        if let Some((_, met)) = self.open_aborted.get_mut(&header.producer_id) {
            *met = true;
            return true;
        }
        self.open_committed.insert(header.producer_id);
        false
    }

    /// What a control batch means to the pass.
    ///
    /// # Errors
    /// Where the control record cannot be read.
    pub(super) fn marker(&mut self, batch: &BatchRef<'_>) -> Result<Marker, RecordError> {
        let header = batch.header();
        self.open_up_to(header.last_offset());
        let plain = batch.decompressed(MARKER_LIMIT)?;
        let Some(record) = plain.iter().next().transpose()? else {
            // An empty control batch was cleaned before.
            return Ok(Marker { needless: true, indexed: None });
        };
        let key = ControlRecordKey::decode(record.key.unwrap_or_default())?;
        Ok(match key.control_type {
            ControlRecordType::Abort => {
                let known = self.open_aborted.remove(&header.producer_id);
                let needless = !known.is_some_and(|(_, met)| met);
                Marker { needless, indexed: known.map(|(aborted, _)| aborted) }
            }
            ControlRecordType::Commit => {
                let needless = !self.open_committed.remove(&header.producer_id);
                Marker { needless, indexed: None }
            }
            ControlRecordType::LeaderChange
            | ControlRecordType::SnapshotHeader
            | ControlRecordType::SnapshotFooter
            | ControlRecordType::KRaftVersion
            | ControlRecordType::KRaftVoters
            | ControlRecordType::Unknown(_) => Marker { needless: false, indexed: None },
        })
    }

    fn open_up_to(&mut self, offset: i64) {
        while let Some(next) = self.ahead.pop_front_if(|next| next.first_offset <= offset) {
            self.open_aborted.entry(next.producer_id).or_insert((next, false));
        }
    }
}
