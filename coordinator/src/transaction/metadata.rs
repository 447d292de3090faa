//! What is known of one transactional id, and the steps that it can take: each is a pure function
//! from what is known to what would be known after it.

use std::collections::BTreeSet;

use common::ProducerId;

use super::state::TransactionState;

/// No epoch: a producer id that was never handed out.
pub(super) const NO_EPOCH: i16 = -1;
/// No transaction has begun.
pub(super) const NO_START: i64 = -1;

/// A partition by its topic's name, as transactions name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of a topic.
    #[must_use]
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// How the client does transactions (`transaction.version`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(i16)]
pub enum TransactionVersion {
    /// KIP-98: partitions are added first; the epoch stays.
    #[default]
    V0 = 0,
    /// The same with flexible records.
    V1 = 1,
    /// KIP-890: produces add partitions, every end bumps the epoch.
    V2 = 2,
}

impl TransactionVersion {
    /// The number in the log and in markers.
    #[must_use]
    pub const fn level(self) -> i16 {
        self as i16
    }

    /// The version with this number.
    #[must_use]
    pub const fn from_level(level: i16) -> Option<Self> {
        match level {
            0 => Some(Self::V0),
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }

    /// Whether every end of a transaction bumps the epoch.
    #[must_use]
    pub const fn bumps_epoch(self) -> bool {
        matches!(self, Self::V2)
    }
}

/// One transactional id as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionMetadata {
    /// Its producer's id.
    pub producer_id: ProducerId,
    /// The producer id before the last step: it differs right after ids were rotated, which is
    /// how a retry of what rotated them is recognised.
    pub previous_producer_id: Option<ProducerId>,
    /// The producer id that takes over once the transaction is complete.
    pub next_producer_id: Option<ProducerId>,
    /// Its producer's epoch.
    pub producer_epoch: i16,
    /// How long a transaction may stay open; `i32::MAX` for ever (two-phase commit).
    pub timeout_ms: i32,
    /// Where it stands.
    pub state: TransactionState,
    /// What the open transaction has written to, or is going to.
    pub partitions: BTreeSet<TopicPartition>,
    /// When the transaction began, -1 where none did.
    pub start_ms: i64,
    /// When this was last changed.
    pub last_update_ms: i64,
    /// What the client spoke when it began or ended the transaction.
    pub client_version: TransactionVersion,
}

/// Whether no epoch is left to hand out. The largest one is kept for fencing.
pub(super) const fn is_epoch_exhausted(epoch: i16) -> bool {
    epoch >= i16::MAX - 1
}

impl TransactionMetadata {
    /// A new id's first state: epoch 0, nothing begun.
    pub(super) fn first(producer_id: ProducerId, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            producer_id,
            previous_producer_id: Some(producer_id),
            next_producer_id: None,
            producer_epoch: 0,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            start_ms: NO_START,
            last_update_ms: now_ms,
            client_version: TransactionVersion::V0,
        }
    }

    /// Whether no epoch is left for its producer id.
    #[must_use]
    pub const fn is_epoch_exhausted(&self) -> bool {
        is_epoch_exhausted(self.producer_epoch)
    }

    /// Whether its transactions have no timeout.
    #[must_use]
    pub const fn is_two_phase(&self) -> bool {
        self.timeout_ms == i32::MAX
    }

    /// The same in another state, changed now.
    fn step(&self, state: TransactionState, now_ms: i64) -> Self {
        debug_assert!(self.state.may_become(state), "{:?} may not become {state:?}", self.state);
        Self {
            previous_producer_id: Some(self.producer_id),
            state,
            last_update_ms: now_ms,
            ..self.clone()
        }
    }

    /// A producer begins anew, with this epoch.
    pub(super) fn initialized(&self, producer_epoch: i16, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            producer_epoch,
            timeout_ms,
            partitions: BTreeSet::new(),
            start_ms: NO_START,
            ..self.step(TransactionState::Empty, now_ms)
        }
    }

    /// A producer begins anew with another producer id, since the old one has no epoch left.
    pub(super) fn rotated(&self, producer_id: ProducerId, timeout_ms: i32, now_ms: i64) -> Self {
        Self { producer_id, ..self.initialized(0, timeout_ms, now_ms) }
    }

    /// The transaction, begun with these partitions or extended by them.
    pub(super) fn with_partitions(
        &self,
        added: impl IntoIterator<Item = TopicPartition>,
        client_version: TransactionVersion,
        now_ms: i64,
    ) -> Self {
        let mut next = self.step(TransactionState::Ongoing, now_ms);
        if self.state != TransactionState::Ongoing {
            next.start_ms = now_ms;
        }
        next.partitions.extend(added);
        next.client_version = client_version;
        next
    }

    /// The transaction's end, decided. With KIP-890 the epoch is bumped by that; where none is
    /// left, `next_producer_id` takes over on completion.
    pub(super) fn prepared(
        &self,
        committed: bool,
        client_version: TransactionVersion,
        next_producer_id: Option<ProducerId>,
        now_ms: i64,
    ) -> Self {
        let state = if committed {
            TransactionState::PrepareCommit
        } else {
            TransactionState::PrepareAbort
        };
        let mut next = self.step(state, now_ms);
        if client_version.bumps_epoch() {
            // Stays at the largest one, if a fault ever brought it there, so that it can be left.
            next.producer_epoch = self.producer_epoch.saturating_add(1);
        }
        if self.state != TransactionState::Ongoing {
            // An abort of nothing begins and ends now.
            next.start_ms = now_ms;
        }
        next.next_producer_id = next_producer_id;
        next.client_version = client_version;
        next
    }

    /// The transaction's end, done in every partition.
    pub(super) fn completed(&self, now_ms: i64) -> Self {
        let state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            _ => TransactionState::CompleteAbort,
        };
        let mut next = self.step(state, now_ms);
        if let (true, Some(producer_id)) =
            (self.client_version.bumps_epoch(), self.next_producer_id)
        {
            next.producer_id = producer_id;
            next.producer_epoch = 0;
        }
        next.next_producer_id = None;
        next.partitions = BTreeSet::new();
        next
    }

    /// The epoch before the last bump where this state itself tells it: each end of a transaction
    /// bumps by one, and a rotation replaces the largest.
    pub(super) fn epoch_before_bump(&self) -> Option<i16> {
        let ended = self.state.is_completing()
            || matches!(
                self.state,
                TransactionState::CompleteCommit | TransactionState::CompleteAbort
            );
        (ended && self.client_version.bumps_epoch()).then(|| {
            let rotated = self.previous_producer_id != Some(self.producer_id);
            if self.producer_epoch == 0 && rotated {
                i16::MAX - 1
            } else {
                self.producer_epoch.saturating_sub(1)
            }
        })
    }
}
