//! A log in memory with one partition.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use common::ProducerId;
use futures::future::BoxFuture;
use protocol::{
    Records,
    records::{
        BatchBuilder, BatchHeader, Compression, CompressionType, EndTransactionMarker,
        encode_end_transaction_marker, set_base_offset,
    },
};
use tokio::{sync::oneshot, time::sleep};

use crate::log::{Appended, Bounds, CoordinatorLog, LogError, NewBatch, Permit, TransactionEnd};

#[derive(Debug, Default)]
struct State {
    batches: Vec<Bytes>,
    /// How many batches are durable.
    synced: usize,
    held: bool,
    waiting: Vec<oneshot::Sender<Result<(), LogError>>>,
    /// What the next appends are told, the last one first.
    refusals: Vec<LogError>,
    failing_reads: u32,
    read_time: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct FakeLog(Mutex<State>);

impl State {
    fn end(&self, batches: usize) -> i64 {
        let last = self.batches[..batches].last();
        last.map_or(0, |batch| BatchHeader::parse(batch).unwrap().next_offset())
    }

    fn push(&mut self, bytes: &Bytes) -> Appended {
        let base_offset = self.end(self.batches.len());
        let mut bytes = bytes.to_vec();
        set_base_offset(&mut bytes, base_offset).unwrap();
        self.batches.push(bytes.into());
        if !self.held {
            self.synced = self.batches.len();
            return Appended { base_offset, durable: Box::pin(std::future::ready(Ok(()))) };
        }
        let (done, waiting) = oneshot::channel();
        self.waiting.push(done);
        let durable = Box::pin(async { waiting.await.unwrap() });
        Appended { base_offset, durable }
    }
}

impl FakeLog {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// From now on nothing becomes durable.
    pub(crate) fn hold(&self) {
        self.lock().held = true;
    }

    /// All becomes durable, also from now on.
    pub(crate) fn sync(&self) {
        let mut state = self.lock();
        (state.held, state.synced) = (false, state.batches.len());
        state.waiting.drain(..).for_each(|done| drop(done.send(Ok(()))));
    }

    /// What is not durable is lost.
    pub(crate) fn take_back(&self) {
        let mut state = self.lock();
        let synced = state.synced;
        state.batches.truncate(synced);
        state.held = false;
        let error = LogError::Storage("the write failed".into());
        state.waiting.drain(..).for_each(|done| drop(done.send(Err(error.clone()))));
    }

    /// Refuses as many appends.
    pub(crate) fn refuse(&self, count: usize, error: &LogError) {
        self.lock().refusals = vec![error.clone(); count];
    }

    pub(crate) fn fail_reads(&self, count: u32) {
        self.lock().failing_reads = count;
    }

    pub(crate) fn slow_reads(&self, time: Duration) {
        self.lock().read_time = time;
    }

    pub(crate) fn put(&self, values: &[u8], producer: Option<(ProducerId, i16)>) {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some((id, epoch)) = producer {
            builder = builder.producer(id.0, epoch, -1).transactional(true);
        }
        for (delta, value) in (0..).zip(values) {
            builder.append(delta, 0, Some(b"\0\x01"), Some(&[*value]), &[]).unwrap();
        }
        drop(self.lock().push(&builder.build().unwrap()));
    }

    pub(crate) fn put_raw(&self, key: &[u8], value: Option<&[u8]>) {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(0, 0, Some(key), value, &[]).unwrap();
        drop(self.lock().push(&builder.build().unwrap()));
    }

    /// Takes the last batch away, as a repair by hand would.
    pub(crate) fn mend(&self) {
        let mut state = self.lock();
        state.batches.pop();
        state.synced = state.batches.len();
    }

    pub(crate) fn len(&self) -> i64 {
        let state = self.lock();
        state.end(state.batches.len())
    }

    /// The codec of each batch.
    pub(crate) fn codecs(&self) -> Vec<CompressionType> {
        let batches = &self.lock().batches;
        let codec = |batch: &Bytes| BatchHeader::parse(batch).unwrap().compression().unwrap();
        batches.iter().map(codec).collect()
    }

    pub(crate) fn batches(&self) -> usize {
        self.lock().batches.len()
    }
}

impl CoordinatorLog for FakeLog {
    fn admit(&self) -> BoxFuture<'_, Result<Permit, LogError>> {
        Box::pin(std::future::ready(Ok(Box::new(()) as Permit)))
    }

    fn batch_bytes_max(&self, _partition: i32) -> usize {
        2_048
    }

    fn append(&self, _partition: i32, batch: NewBatch) -> Result<Appended, LogError> {
        let mut state = self.lock();
        if let Some(error) = state.refusals.pop() {
            return Err(error);
        }
        let (expected, actual) = (batch.expected_offset, state.end(state.batches.len()));
        if expected != actual {
            return Err(LogError::Moved { expected, actual });
        }
        assert_eq!(BatchHeader::parse(&batch.bytes).unwrap().records_count, batch.records);
        Ok(state.push(&batch.bytes))
    }

    fn append_marker(
        &self,
        _partition: i32,
        expected_offset: i64,
        end: TransactionEnd,
    ) -> Result<Appended, LogError> {
        let mut state = self.lock();
        assert_eq!(expected_offset, state.end(state.batches.len()));
        let marker = EndTransactionMarker {
            commit: end.committed,
            coordinator_epoch: end.coordinator_epoch,
        };
        let (id, epoch) = (end.producer_id.0, end.producer_epoch);
        Ok(state.push(&encode_end_transaction_marker(id, epoch, 0, marker).unwrap()))
    }

    fn bounds(&self, _partition: i32) -> Result<Bounds, LogError> {
        let state = self.lock();
        let (high_watermark, log_end) = (state.end(state.synced), state.end(state.batches.len()));
        Ok(Bounds { log_start: 0, high_watermark, log_end })
    }

    fn read(&self, _partition: i32, offset: i64) -> BoxFuture<'_, Result<Records, LogError>> {
        Box::pin(async move {
            let wait = self.lock().read_time;
            sleep(wait).await;
            let mut state = self.lock();
            if state.failing_reads > 0 {
                state.failing_reads -= 1;
                return Err(LogError::Storage("the disk is busy".into()));
            }
            let durable = &state.batches[..state.synced];
            let found = durable
                .iter()
                .find(|batch| BatchHeader::parse(batch).unwrap().next_offset() > offset);
            Ok(found.cloned().into_iter().collect())
        })
    }
}
