//! Every step against a model that keeps the whole history and works everything out anew from it.

use proptest::prelude::*;

use super::*;
use crate::txn_index::AbortedTransaction;

/// What was appended.
#[derive(Debug, Clone, Copy)]
enum Event {
    Batch { producer_id: ProducerId, batch: ProducerBatch, transactional: bool },
    End { end: EndTransaction, offset: i64 },
}

impl Event {
    fn producer_id(&self) -> ProducerId {
        match self {
            Self::Batch { producer_id, .. } => *producer_id,
            Self::End { end, .. } => end.producer_id,
        }
    }
}

/// The history: durable up to `durable`, decided up to the high watermark.
#[derive(Default)]
struct Model {
    events: Vec<Event>,
    durable: usize,
    log_end: i64,
    high_watermark: i64,
    /// The first batch that a roll-back took from a producer without any other.
    owed: BTreeMap<ProducerId, (i16, i32)>,
}

/// One producer, worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    epoch: i16,
    coordinator_epoch: i32,
    txn_first_offset: Option<i64>,
    /// Batches of the epoch, all of them.
    batches: Vec<ProducerBatch>,
}

impl Model {
    fn known(&self, events: usize, producer_id: ProducerId) -> Option<Known> {
        let mut known: Option<Known> = None;
        let own = self.events[..events].iter().filter(|event| event.producer_id() == producer_id);
        for event in own {
            let known = known.get_or_insert(Known {
                epoch: -1,
                coordinator_epoch: -1,
                txn_first_offset: None,
                batches: Vec::new(),
            });
            let epoch = match event {
                Event::Batch { batch, .. } => batch.producer_epoch,
                Event::End { end, .. } => end.producer_epoch,
            };
            if epoch != known.epoch {
                known.batches.clear();
                known.epoch = epoch;
            }
            match event {
                Event::Batch { batch, transactional, .. } => {
                    known.batches.push(*batch);
                    if *transactional {
                        known.txn_first_offset.get_or_insert(batch.base_offset);
                    }
                }
                Event::End { end, .. } => {
                    known.coordinator_epoch = end.coordinator_epoch;
                    known.txn_first_offset = None;
                }
            }
        }
        known
    }

    /// `Ok(Some(offset))` for a duplicate, `Err` with the kind of refusal.
    fn check(&self, append: &ProducerAppend) -> Result<Option<i64>, &'static str> {
        let Some(known) = self.known(self.events.len(), append.producer_id) else {
            if append.transactional {
                return Err("txn");
            }
            return match self.owed.get(&append.producer_id) {
                Some((epoch, base))
                    if *epoch == append.producer_epoch && *base != append.base_sequence =>
                {
                    Err("order")
                }
                _ => Ok(None),
            };
        };
        let same_epoch = append.producer_epoch == known.epoch;
        let recent = known.batches.iter().rev().take(5).filter(|_| same_epoch);
        for batch in recent {
            if (batch.base_sequence, batch.last_sequence)
                == (append.base_sequence, append.last_sequence)
            {
                return Ok(Some(batch.base_offset));
            }
        }
        if append.producer_epoch < known.epoch {
            return Err("epoch");
        }
        if append.transactional && !(same_epoch && known.txn_first_offset.is_some()) {
            return Err("txn");
        }
        let next = known.batches.last().filter(|_| same_epoch).map_or(0, |b| b.last_sequence + 1);
        if append.base_sequence != next {
            return Err("order");
        }
        if !append.transactional && known.txn_first_offset.is_some() {
            return Err("txn");
        }
        Ok(None)
    }

    fn check_end(&self, end: &EndTransaction) -> Result<(), &'static str> {
        let known = self.known(self.events.len(), end.producer_id);
        let (epoch, coordinator, open) = known.map_or((-1, -1, false), |known| {
            (known.epoch, known.coordinator_epoch, known.txn_first_offset.is_some())
        });
        let stale = if end.transaction_version >= 2 {
            end.producer_epoch < epoch || end.producer_epoch == epoch && open
        } else {
            end.producer_epoch < epoch
        };
        match (stale, end.coordinator_epoch < coordinator) {
            (true, _) => Err("epoch"),
            (false, true) => Err("fenced"),
            (false, false) => Ok(()),
        }
    }

    /// (first offset of what is undecided, aborted transactions that are decided)
    fn transactions(&self) -> (Option<i64>, Vec<AbortedTransaction>) {
        let (mut open, mut undecided, mut aborted) = (BTreeMap::new(), Vec::new(), Vec::new());
        for event in &self.events {
            match event {
                Event::Batch { producer_id, batch, transactional: true } => {
                    open.entry(*producer_id).or_insert(batch.base_offset);
                }
                Event::Batch { .. } => {}
                Event::End { end, offset } => {
                    let Some(first_offset) = open.remove(&end.producer_id) else { continue };
                    if *offset >= self.high_watermark {
                        undecided.push(first_offset);
                    } else if !end.commit {
                        aborted.push(AbortedTransaction {
                            producer_id: end.producer_id.0,
                            first_offset,
                            last_offset: *offset,
                        });
                    }
                }
            }
        }
        (open.into_values().chain(undecided).min(), aborted)
    }

    fn roll_back(&mut self, end_offset: i64) {
        let taken = self.events.split_off(self.durable);
        for event in taken.iter().rev() {
            if let Event::Batch { producer_id, batch, .. } = event
                && self.known(self.durable, *producer_id).is_none()
            {
                self.owed.insert(*producer_id, (batch.producer_epoch, batch.base_sequence));
            }
        }
        for event in &taken {
            // A producer that began with a marker owes no batch.
            let first = taken.iter().find(|other| other.producer_id() == event.producer_id());
            if matches!(first, Some(Event::End { .. })) {
                self.owed.remove(&event.producer_id());
            }
        }
        self.log_end = end_offset;
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    RollBack,
    Durable,
    HighWatermark,
    Verify,
    Append { epoch: i16, base: i32, count: i32, transactional: bool },
    End { epoch: i16, commit: bool, coordinator_epoch: i32, transaction_version: i16 },
}

fn step() -> impl Strategy<Value = (i64, Step)> {
    let append = (0..3_i16, 0..5_i32, 1..3_i32, any::<bool>()).prop_map(
        |(epoch, base, count, transactional)| Step::Append { epoch, base, count, transactional },
    );
    let end = (0..4_i16, any::<bool>(), 0..2_i32, 1..3_i16).prop_map(
        |(epoch, commit, coordinator_epoch, transaction_version)| Step::End {
            epoch,
            commit,
            coordinator_epoch,
            transaction_version,
        },
    );
    let step = prop_oneof![
        1 => Just(Step::RollBack),
        2 => Just(Step::Durable),
        2 => Just(Step::HighWatermark),
        6 => append,
        2 => Just(Step::Verify),
        3 => end,
    ];
    (0..3_i64, step)
}

fn kind(refused: &AppendError) -> &'static str {
    match refused {
        AppendError::Sequence(SequenceError::StaleEpoch { .. }) => "epoch",
        AppendError::Sequence(SequenceError::OutOfOrder { .. }) => "order",
        AppendError::InvalidTxnState { .. } => "txn",
        AppendError::CoordinatorFenced { .. } => "fenced",
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn agrees_with_the_model(steps in prop::collection::vec(step(), 1..120)) {
        let (mut state, mut model, mut durable_end) = (ProducerState::default(), Model::default(), 0);
        for (producer, step) in steps {
            let producer_id = ProducerId(producer);
            match step {
                Step::RollBack => {
                    state.roll_back(durable_end);
                    model.roll_back(durable_end);
                }
                Step::Durable => {
                    durable_end = model.log_end;
                    state.mark_durable(durable_end);
                    model.durable = model.events.len();
                }
                Step::HighWatermark => {
                    // Between the last one and what is durable.
                    let behind = durable_end - model.high_watermark;
                    model.high_watermark += (behind + 1) / 2;
                    state.settle(model.high_watermark);
                }
                // Opens a transaction where it may, as a verified batch does.
                Step::Verify => {
                    let known = model.known(model.events.len(), producer_id);
                    let (epoch, base) = known.map_or((0, 0), |known| {
                        let next = known.batches.last().map_or(0, |batch| batch.last_sequence + 1);
                        (known.epoch, next)
                    });
                    let request = VerificationRequest {
                        producer_id, producer_epoch: epoch, base_sequence: base, supports_epoch_bump: false,
                    };
                    let guard = state.begin_verification(&request, 0).unwrap();
                    let append = ProducerAppend {
                        producer_id, producer_epoch: epoch, base_sequence: base, last_sequence: base,
                        transactional: true, origin: AppendOrigin::Client,
                    };
                    // What a producer owes it owes in a transaction, too.
                    if state.check(&append, guard).is_ok() {
                        let batch = batch(epoch, base, model.log_end);
                        state.append_tentative(producer_id, batch, true);
                        model.owed.remove(&producer_id);
                        model.events.push(Event::Batch { producer_id, batch, transactional: true });
                        model.log_end += 1;
                    }
                    state.verifications.clear(producer_id);
                }
                Step::Append { epoch, base, count, transactional } => {
                    let append = ProducerAppend { producer_id, transactional, ..append(epoch, base, count) };
                    match (state.check(&append, None), model.check(&append)) {
                        (Ok(SequenceCheck::InOrder), Ok(None)) => {
                            let batch = ProducerBatch {
                                last_sequence: base + count - 1,
                                last_offset: model.log_end + i64::from(count) - 1,
                                ..batch(epoch, base, model.log_end)
                            };
                            state.append_tentative(producer_id, batch, transactional);
                            model.owed.remove(&producer_id);
                            model.events.push(Event::Batch { producer_id, batch, transactional });
                            model.log_end += i64::from(count);
                        }
                        (Ok(SequenceCheck::Duplicate(found)), Ok(Some(offset))) => {
                            prop_assert_eq!(found.base_offset, offset);
                        }
                        (Err(refused), Err(expected)) => prop_assert_eq!(kind(&refused), expected),
                        (ours, theirs) => prop_assert!(false, "{:?} against {:?}", ours, theirs),
                    }
                }
                Step::End { epoch, commit, coordinator_epoch, transaction_version } => {
                    let end = EndTransaction {
                        producer_id, producer_epoch: epoch, commit, coordinator_epoch, transaction_version,
                    };
                    let expected = model.check_end(&end);
                    prop_assert_eq!(state.check_end(&end).map_err(|refused| kind(&refused)), expected);
                    if expected.is_ok() {
                        let offset = model.log_end;
                        state.end_tentative(&end, offset, 0);
                        model.owed.remove(&producer_id);
                        model.events.push(Event::End { end, offset });
                        model.log_end += 1;
                    }
                }
            }
            let (first_unstable, aborted) = model.transactions();
            prop_assert_eq!(state.first_unstable(), first_unstable);
            prop_assert_eq!(state.transactions().aborted(0, i64::MAX), aborted);
            for active in state.active() {
                let known = model.known(model.durable, active.producer_id).unwrap();
                let recent = known.batches.len().saturating_sub(5);
                prop_assert_eq!(known.epoch, active.producer_epoch);
                prop_assert_eq!(known.coordinator_epoch, active.coordinator_epoch);
                prop_assert_eq!(known.txn_first_offset, active.txn_first_offset);
                prop_assert_eq!(&known.batches[recent..], &active.batches[..]);
            }
        }
    }
}
