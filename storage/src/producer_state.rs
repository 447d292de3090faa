//! Idempotent producers of one partition (KIP-98): a window of the last batches per producer,
//! duplicate detection, epoch fencing and sequence checks as Kafka's `ProducerStateManager`.
//!
//! Invariants IDM-1..3. An append is *tentative* until its block is synced: [`ProducerState`]
//! keeps tentative batches behind the durable ones, so that a roll-back only pops them, and trims
//! the window to [`PRODUCER_BATCHES_RETAINED`] durable batches as they become durable.

use std::collections::{BTreeMap, VecDeque};

use common::{ProducerId, limits::PRODUCER_BATCHES_RETAINED};
use protocol::records::BatchHeader;

/// One appended batch of a producer: what a duplicate is answered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// The producer's epoch at the time.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// Sequence number of the last record.
    pub last_sequence: i32,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The batch's largest timestamp, Unix milliseconds.
    pub timestamp: i64,
}

impl ProducerBatch {
    /// The batch with this header, at `base_offset` in the log.
    pub(crate) fn new(header: &BatchHeader, base_offset: i64, timestamp: i64) -> Self {
        Self {
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset,
            last_offset: base_offset + i64::from(header.last_offset_delta),
            timestamp,
        }
    }
}

/// A batch about to be appended, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerAppend {
    /// The producer.
    pub(crate) producer_id: ProducerId,
    /// Its epoch.
    pub(crate) producer_epoch: i16,
    /// Sequence number of the first record.
    pub(crate) base_sequence: i32,
    /// Sequence number of the last record.
    pub(crate) last_sequence: i32,
}

/// What the sequence check says of an acceptable batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SequenceCheck {
    /// Append it.
    InOrder,
    /// It was appended before, as this batch.
    Duplicate(ProducerBatch),
}

/// Why a batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// The producer was fenced by a newer epoch (INVALID_PRODUCER_EPOCH).
    #[error("producer {producer_id} has epoch {epoch}, the partition has seen {current}")]
    StaleEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's epoch.
        epoch: i16,
        /// The partition's epoch for it.
        current: i16,
    },
    /// A gap or a step back (OUT_OF_ORDER_SEQUENCE_NUMBER).
    #[error("out of order sequence of producer {producer_id}: {found}, last was {last}")]
    OutOfOrder {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's first sequence number.
        found: i32,
        /// The last one appended, -1 for none in this epoch.
        last: i32,
    },
}

/// A live producer of the partition, for DescribeProducers and snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveProducer {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its durable batches, oldest first, at most [`PRODUCER_BATCHES_RETAINED`].
    pub batches: Vec<ProducerBatch>,
}

/// The producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct ProducerState {
    producers: BTreeMap<ProducerId, Window>,
    /// Producers without a batch here whose first one was refused or taken back. What was
    /// pipelined behind it must not become the first: the retry would then be out of order for
    /// ever. Kafka takes the whole partition offline in that case.
    owed: BTreeMap<ProducerId, Owed>,
}

/// Producers remembered per partition whose first batch was refused: their headers are not
/// validated yet, so a client must not be able to make the list long.
const OWED_PRODUCERS_MAX: usize = 4096;

/// The batch that a producer without state must begin with.
#[derive(Debug, Clone, Copy)]
struct Owed {
    producer_epoch: i16,
    base_sequence: i32,
    timestamp: i64,
}

/// Durable batches first, tentative ones behind them. Never empty.
#[derive(Debug, Default)]
struct Window {
    batches: VecDeque<ProducerBatch>,
    durable: usize,
}

impl ProducerState {
    /// Decides whether a batch may be appended next.
    ///
    /// # Errors
    /// [`SequenceError`] where Kafka refuses it. A producer without state may start anywhere, as
    /// in Kafka: its state may have expired.
    pub(crate) fn check(&self, append: &ProducerAppend) -> Result<SequenceCheck, SequenceError> {
        let Some(last) = self.producers.get(&append.producer_id).and_then(Window::last) else {
            return self.check_owed(append);
        };
        if append.producer_epoch < last.producer_epoch {
            return Err(SequenceError::StaleEpoch {
                producer_id: append.producer_id,
                epoch: append.producer_epoch,
                current: last.producer_epoch,
            });
        }
        if append.producer_epoch > last.producer_epoch {
            return if append.base_sequence == 0 {
                Ok(SequenceCheck::InOrder)
            } else {
                Err(out_of_order(append, -1))
            };
        }
        if let Some(original) = self.find_duplicate(append) {
            return Ok(SequenceCheck::Duplicate(original));
        }
        if append.base_sequence == next_sequence(last.last_sequence) {
            Ok(SequenceCheck::InOrder)
        } else {
            Err(out_of_order(append, last.last_sequence))
        }
    }

    fn check_owed(&self, append: &ProducerAppend) -> Result<SequenceCheck, SequenceError> {
        match self.owed.get(&append.producer_id) {
            Some(owed)
                if owed.producer_epoch == append.producer_epoch
                    && owed.base_sequence != append.base_sequence =>
            {
                Err(out_of_order(append, -1))
            }
            _ => Ok(SequenceCheck::InOrder),
        }
    }

    /// Remembers that a batch was refused before it was appended, for a reason that a retry may
    /// get over. Of a producer with state nothing needs remembering: what follows has a gap.
    pub(crate) fn note_refused(&mut self, append: &ProducerAppend, timestamp: i64) {
        if self.producers.contains_key(&append.producer_id) {
            return;
        }
        let ProducerAppend { producer_id, producer_epoch, base_sequence, .. } = *append;
        let owed = Owed { producer_epoch, base_sequence, timestamp };
        if self.owed.len() >= OWED_PRODUCERS_MAX && !self.owed.contains_key(&producer_id) {
            return;
        }
        let known = self.owed.entry(producer_id).or_insert(owed);
        if known.producer_epoch < producer_epoch {
            *known = owed;
        }
    }

    /// Records an append that is not durable yet.
    pub(crate) fn append_tentative(&mut self, producer_id: ProducerId, batch: ProducerBatch) {
        self.owed.remove(&producer_id);
        self.producers.entry(producer_id).or_default().batches.push_back(batch);
    }

    /// Records a batch read back from the WAL or from an object's footer, before anything is
    /// appended. Batches that are already known (by offset) are skipped, so sources may overlap and
    /// come in any order: merged objects may lie between objects that were not merged.
    pub(crate) fn restore(&mut self, producer_id: ProducerId, batch: ProducerBatch) {
        let window = self.producers.entry(producer_id).or_default();
        let at = window.batches.partition_point(|known| known.base_offset < batch.base_offset);
        if window.batches.get(at).is_none_or(|known| known.base_offset != batch.base_offset) {
            window.batches.insert(at, batch);
            window.mark_durable_below(i64::MAX);
        }
    }

    /// Makes the producer's batches below `end_offset` durable and trims its window.
    pub(crate) fn mark_durable(&mut self, producer_id: ProducerId, end_offset: i64) {
        if let Some(window) = self.producers.get_mut(&producer_id) {
            window.mark_durable_below(end_offset);
        }
    }

    /// Takes back every tentative batch.
    pub(crate) fn roll_back(&mut self) {
        let Self { producers, owed } = self;
        producers.retain(|producer_id, window| {
            if let (0, Some(first)) = (window.durable, window.batches.front()) {
                let ProducerBatch { producer_epoch, base_sequence, timestamp, .. } = *first;
                owed.insert(*producer_id, Owed { producer_epoch, base_sequence, timestamp });
            }
            window.batches.truncate(window.durable);
            !window.batches.is_empty()
        });
    }

    /// Forgets producers whose last batch is durable and older than `before_ms`.
    pub(crate) fn expire(&mut self, before_ms: i64) {
        self.owed.retain(|_, owed| owed.timestamp >= before_ms);
        self.producers.retain(|_, window| {
            window.durable < window.batches.len()
                || window.last().is_some_and(|last| last.timestamp >= before_ms)
        });
    }

    /// The producers with durable batches, by id.
    pub(crate) fn active(&self) -> Vec<ActiveProducer> {
        self.producers
            .iter()
            .filter(|(_, window)| window.durable > 0)
            .map(|(id, window)| ActiveProducer {
                producer_id: *id,
                batches: window.batches.iter().take(window.durable).copied().collect(),
            })
            .collect()
    }

    fn find_duplicate(&self, append: &ProducerAppend) -> Option<ProducerBatch> {
        let window = self.producers.get(&append.producer_id)?;
        let retained = window.batches.iter().rev().take(PRODUCER_BATCHES_RETAINED);
        retained
            .take_while(|batch| batch.producer_epoch == append.producer_epoch)
            .find(|batch| {
                batch.base_sequence == append.base_sequence
                    && batch.last_sequence == append.last_sequence
            })
            .copied()
    }
}

impl Window {
    fn last(&self) -> Option<&ProducerBatch> {
        self.batches.back()
    }

    fn mark_durable_below(&mut self, end_offset: i64) {
        while self.batches.get(self.durable).is_some_and(|batch| batch.last_offset < end_offset) {
            self.durable += 1;
        }
        while self.durable > PRODUCER_BATCHES_RETAINED {
            self.batches.pop_front();
            self.durable -= 1;
        }
    }
}

fn out_of_order(append: &ProducerAppend, last: i32) -> SequenceError {
    SequenceError::OutOfOrder { producer_id: append.producer_id, found: append.base_sequence, last }
}

/// The sequence number after `sequence`: wraps to 0 after `i32::MAX` (KIP-98).
fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PID: ProducerId = ProducerId(9);

    fn last_sequence(base: i32, count: i32) -> i32 {
        protocol::records::increment_sequence(base, count - 1)
    }

    fn append(epoch: i16, base: i32, count: i32) -> ProducerAppend {
        ProducerAppend {
            producer_id: PID,
            producer_epoch: epoch,
            base_sequence: base,
            last_sequence: last_sequence(base, count),
        }
    }

    fn batch(epoch: i16, base: i32, offset: i64) -> ProducerBatch {
        ProducerBatch {
            producer_epoch: epoch,
            base_sequence: base,
            last_sequence: base,
            base_offset: offset,
            last_offset: offset,
            timestamp: offset,
        }
    }

    #[test]
    fn a_producer_without_state_may_start_anywhere() {
        assert_eq!(ProducerState::default().check(&append(3, 77, 1)), Ok(SequenceCheck::InOrder));
    }

    #[test]
    fn rejects_a_stale_epoch_and_a_new_epoch_that_does_not_start_at_zero() {
        let mut state = ProducerState::default();
        state.restore(PID, batch(2, 0, 0));
        assert!(matches!(state.check(&append(1, 1, 1)), Err(SequenceError::StaleEpoch { .. })));
        assert!(matches!(state.check(&append(3, 1, 1)), Err(SequenceError::OutOfOrder { .. })));
        assert_eq!(state.check(&append(3, 0, 1)), Ok(SequenceCheck::InOrder));
    }

    #[test]
    fn sequences_wrap_after_the_largest() {
        let mut state = ProducerState::default();
        state.restore(PID, batch(0, i32::MAX, 0));
        assert_eq!(state.check(&append(0, 0, 1)), Ok(SequenceCheck::InOrder));
        assert_eq!(last_sequence(i32::MAX, 2), 0);
    }

    #[test]
    fn the_sixth_batch_back_is_out_of_order_not_a_duplicate() {
        let mut state = ProducerState::default();
        for n in 0..6 {
            state.append_tentative(PID, batch(0, n, i64::from(n)));
        }
        assert!(matches!(state.check(&append(0, 0, 1)), Err(SequenceError::OutOfOrder { .. })));
        assert!(matches!(state.check(&append(0, 1, 1)), Ok(SequenceCheck::Duplicate(_))));
    }

    #[test]
    fn a_roll_back_returns_to_the_durable_window() {
        let mut state = ProducerState::default();
        for n in 0..5 {
            state.restore(PID, batch(0, n, i64::from(n)));
        }
        for n in 5..12 {
            state.append_tentative(PID, batch(0, n, i64::from(n)));
        }
        state.append_tentative(PID, batch(1, 0, 12));
        state.roll_back();
        assert_eq!(state.check(&append(0, 5, 1)), Ok(SequenceCheck::InOrder));
        assert!(matches!(state.check(&append(0, 0, 1)), Ok(SequenceCheck::Duplicate(_))));
    }

    #[test]
    fn restoring_takes_any_order_and_keeps_the_newest_five() {
        for order in [[6, 3, 4, 5, 1, 2, 6], [1, 2, 3, 4, 5, 6, 3], [5, 6, 5, 6, 4, 3, 2]] {
            let mut state = ProducerState::default();
            for n in order {
                state.restore(PID, batch(0, n, i64::from(n)));
            }
            let known: Vec<_> = state.active()[0].batches.iter().map(|b| b.base_sequence).collect();
            assert_eq!(known, [2, 3, 4, 5, 6], "{order:?}");
            assert_eq!(state.check(&append(0, 7, 1)), Ok(SequenceCheck::InOrder));
        }
    }

    #[test]
    fn a_producer_seen_only_tentatively_is_forgotten_by_a_roll_back() {
        let mut state = ProducerState::default();
        state.append_tentative(PID, batch(0, 0, 0));
        assert!(state.active().is_empty());
        state.roll_back();
        assert!(state.producers.is_empty());
    }

    #[test]
    fn what_was_behind_a_producers_lost_first_batch_does_not_become_its_first() {
        let mut state = ProducerState::default();
        state.append_tentative(PID, batch(0, 0, 0));
        state.append_tentative(PID, batch(0, 1, 1));
        state.roll_back();
        assert!(matches!(state.check(&append(0, 2, 1)), Err(SequenceError::OutOfOrder { .. })));
        assert_eq!(state.check(&append(0, 0, 1)), Ok(SequenceCheck::InOrder));
        state.append_tentative(PID, batch(0, 0, 0));
        assert_eq!(state.check(&append(0, 1, 1)), Ok(SequenceCheck::InOrder));
    }

    #[test]
    fn what_is_behind_a_producers_refused_first_batch_does_not_become_its_first() {
        let mut state = ProducerState::default();
        state.note_refused(&append(0, 7, 1), 10);
        state.note_refused(&append(0, 8, 1), 10);
        assert!(matches!(state.check(&append(0, 8, 1)), Err(SequenceError::OutOfOrder { .. })));
        assert_eq!(state.check(&append(0, 7, 1)), Ok(SequenceCheck::InOrder));
        assert_eq!(state.check(&append(1, 0, 1)), Ok(SequenceCheck::InOrder));
        state.expire(11);
        assert_eq!(state.check(&append(0, 8, 1)), Ok(SequenceCheck::InOrder));
    }

    #[test]
    fn expiry_spares_tentative_and_recent_producers() {
        let mut state = ProducerState::default();
        state.restore(PID, batch(0, 0, 5));
        state.append_tentative(ProducerId(2), batch(0, 0, 1));
        state.restore(ProducerId(3), batch(0, 0, 50));
        state.expire(50);
        assert_eq!(state.producers.len(), 2);
        assert_eq!(state.active().len(), 1);
    }

    /// Kafka's rules restated over the full history of durable and tentative batches.
    #[derive(Default)]
    struct Model {
        durable: Vec<ProducerBatch>,
        tentative: Vec<ProducerBatch>,
        /// The batch that a roll-back took from a producer without any other.
        owed: Option<(i16, i32)>,
    }

    impl Model {
        fn check(&self, a: &ProducerAppend) -> Result<Option<i64>, ()> {
            let all: Vec<_> = self.durable.iter().chain(&self.tentative).collect();
            let Some(last) = all.last() else {
                let owed = self.owed.is_none_or(|(epoch, base)| {
                    epoch != a.producer_epoch || base == a.base_sequence
                });
                return if owed { Ok(None) } else { Err(()) };
            };
            if a.producer_epoch != last.producer_epoch {
                let ok = a.producer_epoch > last.producer_epoch && a.base_sequence == 0;
                return if ok { Ok(None) } else { Err(()) };
            }
            for b in all.iter().rev().take(5) {
                if b.producer_epoch == a.producer_epoch
                    && (b.base_sequence, b.last_sequence) == (a.base_sequence, a.last_sequence)
                {
                    return Ok(Some(b.base_offset));
                }
            }
            if a.base_sequence == last.last_sequence + 1 { Ok(None) } else { Err(()) }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_model(steps in prop::collection::vec((0..10_u8, 0..3_i16, 0..12_i32, 1..3_i32), 1..80)) {
            let (mut state, mut model, mut offset) = (ProducerState::default(), Model::default(), 0);
            for (kind, epoch, base, count) in steps {
                match kind {
                    0 => {
                        state.roll_back();
                        if let (true, Some(first)) = (model.durable.is_empty(), model.tentative.first()) {
                            model.owed = Some((first.producer_epoch, first.base_sequence));
                        }
                        model.tentative.clear();
                    }
                    1 | 2 => {
                        state.mark_durable(PID, offset);
                        model.durable.append(&mut model.tentative);
                    }
                    _ => {
                        let a = append(epoch, base, count);
                        match (state.check(&a), model.check(&a)) {
                            (Ok(SequenceCheck::InOrder), Ok(None)) => {
                                let b = ProducerBatch {
                                    producer_epoch: epoch, base_sequence: base,
                                    last_sequence: base + count - 1, base_offset: offset,
                                    last_offset: offset + i64::from(count) - 1, timestamp: 0,
                                };
                                offset += i64::from(count);
                                state.append_tentative(PID, b);
                                model.tentative.push(b);
                            }
                            (Ok(SequenceCheck::Duplicate(b)), Ok(Some(o))) => prop_assert_eq!(b.base_offset, o),
                            (Err(_), Err(())) => {}
                            (ours, theirs) => prop_assert!(false, "{:?} against {:?}", ours, theirs),
                        }
                    }
                }
            }
        }
    }
}
