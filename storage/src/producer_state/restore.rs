//! Producers as a start finds them: in the snapshot, then in the footers behind it, then in the
//! WAL, in the order of offsets.
//!
//! Sources may overlap: what one says of the log below the end of those before it changes nothing.
//! Who appears behind the snapshot counts as used now: what a client has in flight over a crash is
//! told from a duplicate, however old its records' timestamps are.

use common::ProducerId;
use protocol::records::BatchHeader;

use super::{ActiveProducer, Head, Producer, ProducerBatch, ProducerState};
use crate::{
    marker::EndTransaction,
    object::{AbortedUpdate, ProducerUpdate},
    transactions::Ended,
    txn_index::AbortedTransaction,
};

/// A partition's part of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RestoredProducers {
    /// The snapshot holds what lies below.
    pub(crate) end_offset: i64,
    pub(crate) producers: Vec<ActiveProducer>,
    /// Ended transactions that were aborted or not decided yet.
    pub(crate) ended: Vec<Ended>,
}

/// What a footer says of the producers in one extent.
#[derive(Debug, Clone)]
pub(crate) struct ExtentProducers {
    pub(crate) end_offset: i64,
    pub(crate) updates: Vec<ProducerUpdate>,
    pub(crate) aborted: Vec<AbortedUpdate>,
}

impl ProducerState {
    /// Takes the snapshot. Ended transactions below `high_watermark` are decided.
    pub(crate) fn restore_snapshot(&mut self, snapshot: RestoredProducers, high_watermark: i64) {
        for active in snapshot.producers {
            let head = Head {
                producer_epoch: active.producer_epoch,
                coordinator_epoch: active.coordinator_epoch,
                last_timestamp: active.last_timestamp,
                txn_first_offset: active.txn_first_offset,
            };
            if let Some(first_offset) = head.txn_first_offset {
                self.transactions.open(active.producer_id, first_offset);
            }
            let producer = Producer {
                head,
                durable: active.batches.len(),
                batches: active.batches.into(),
                idle_since_ms: Some(active.last_timestamp),
            };
            self.producers.insert(active.producer_id, producer);
        }
        for ended in snapshot.ended {
            if ended.last_offset >= high_watermark {
                self.transactions.end(ended);
            } else if ended.aborted {
                self.transactions.restore_aborted(ended.into());
            }
        }
        self.restored_end = snapshot.end_offset;
    }

    /// Takes what the footer of the next extent says; below the high watermark, as all extents.
    pub(crate) fn restore_extent(&mut self, extent: &ExtentProducers) {
        for aborted in &extent.aborted {
            self.restore_aborted(aborted);
        }
        for update in &extent.updates {
            self.restore_update(update);
        }
        self.restored_end = self.restored_end.max(extent.end_offset);
    }

    /// Where the extent did not see the transaction begin, an earlier one did, or none of it is
    /// there.
    fn restore_aborted(&mut self, aborted: &AbortedUpdate) {
        let AbortedUpdate { producer_id, first_offset, may_begin_before, last_offset } = *aborted;
        let known = self.producers.get(&ProducerId(producer_id)).filter(|_| may_begin_before);
        let open = known.and_then(|producer| producer.head.txn_first_offset);
        if let Some(first_offset) = open.or(first_offset)
            && last_offset >= self.restored_end
        {
            let aborted = AbortedTransaction { producer_id, first_offset, last_offset };
            self.transactions.restore_aborted(aborted);
        }
    }

    fn restore_update(&mut self, update: &ProducerUpdate) {
        let Self { producers, transactions, restored_end, .. } = self;
        let producer_id = ProducerId(update.producer_id);
        let producer = producers.entry(producer_id).or_insert_with(Producer::unknown);
        producer.idle_since_ms = None;
        let head = &mut producer.head;
        head.producer_epoch = head.producer_epoch.max(update.producer_epoch);
        head.coordinator_epoch = head.coordinator_epoch.max(update.coordinator_epoch);
        head.last_timestamp = head.last_timestamp.max(update.last_timestamp);
        let before = head.txn_first_offset;
        head.txn_first_offset = match update.marker_offset {
            Some(marker_offset) if marker_offset >= *restored_end => update.txn_first_offset,
            // What is said to have begun below the restored end would be known to be open.
            _ => before.or(update.txn_first_offset.filter(|first| *first >= *restored_end)),
        };
        if let Some(first_offset) = before {
            transactions.forget_open(first_offset);
        }
        if let Some(first_offset) = head.txn_first_offset {
            transactions.open(producer_id, first_offset);
        }
        let batches = update.batches.iter().filter(|batch| batch.base_offset >= *restored_end);
        producer.batches.extend(batches.map(|batch| ProducerBatch {
            producer_epoch: update.producer_epoch,
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence,
            base_offset: batch.base_offset,
            last_offset: batch.last_offset,
            timestamp: batch.timestamp,
        }));
        producer.durable = producer.batches.len();
        producer.trim();
    }

    /// Takes a batch read back from the WAL.
    pub(crate) fn restore_batch(&mut self, header: &BatchHeader) {
        if header.base_offset < self.restored_end {
            return;
        }
        let producer_id = ProducerId(header.producer_id);
        let producer = self.producers.entry(producer_id).or_insert_with(Producer::unknown);
        if header.is_transactional() && producer.head.txn_first_offset.is_none() {
            self.transactions.open(producer_id, header.base_offset);
        }
        let batch = ProducerBatch::new(header, header.base_offset, header.max_timestamp);
        producer.push(batch, header.is_transactional());
        producer.durable += 1;
        producer.trim();
        self.restored_end = header.next_offset();
    }

    /// Takes a marker read back from the WAL.
    pub(crate) fn restore_end(&mut self, end: &EndTransaction, header: &BatchHeader) {
        if header.base_offset < self.restored_end {
            return;
        }
        let producer = self.producers.entry(end.producer_id).or_insert_with(Producer::unknown);
        if let Some(first_offset) = producer.end(end, header.max_timestamp) {
            self.transactions.end(Ended {
                producer_id: end.producer_id,
                first_offset,
                last_offset: header.base_offset,
                aborted: !end.commit,
            });
        }
        self.restored_end = header.next_offset();
    }

    /// Ends the restore: nothing is known of the log behind its end, even if a snapshot was.
    pub(crate) fn complete_restore(&mut self, log_end: i64, high_watermark: i64) {
        if self.restored_end > log_end {
            self.cut(log_end);
        }
        self.transactions.settle(high_watermark);
        self.transactions.complete_restore();
    }

    fn cut(&mut self, log_end: i64) {
        for producer in self.producers.values_mut() {
            producer.batches.retain(|batch| batch.last_offset < log_end);
            producer.durable = producer.batches.len();
            producer.head.txn_first_offset.take_if(|first_offset| *first_offset >= log_end);
        }
        for (producer_id, first_offset) in self.transactions.cut(log_end) {
            if let Some(producer) = self.producers.get_mut(&producer_id) {
                producer.head.txn_first_offset = Some(first_offset);
            }
        }
        self.restored_end = log_end;
    }
}
