//! Reads the inputs of a merge piece by piece and gives out the bytes of the output object.
//!
//! Invariant: the records are those of the inputs, byte for byte, each verified as it was read;
//! memory holds one piece, however large the object.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use common::{ObjectId, PartitionKey};
use metadata::Extent;

use super::{Plan, rewrite::Output};
use crate::{
    object::{
        AbortedUpdate, BatchesBuilder, Error, ExtentTarget, Footer, KnownTransactions,
        ObjectReader, ObjectRef, ProducerTracker, Result,
    },
    object_store::PartSource,
};

/// Bytes read at a time.
const PIECE_BYTES: usize = 4 << 20;

/// The output of a merge as a source of bytes.
pub(super) struct Merge {
    reader: ObjectReader,
    key: PartitionKey,
    inputs: VecDeque<(Arc<ObjectRef>, Extent)>,
    next_offset: i64,
    pieces: VecDeque<Bytes>,
    output: ObjectId,
    builder: Option<BatchesBuilder>,
    footer: Option<Footer>,
}

impl Merge {
    /// Starts with the producers as the objects before the inputs know them.
    pub(super) async fn begin(
        reader: ObjectReader,
        target: &dyn ExtentTarget,
        plan: &Plan,
        output: ObjectId,
    ) -> Result<Self> {
        let base_offset = plan.base_offset();
        let covers = base_offset..plan.end_offset();
        let known = Known::read(&reader, target, &plan.producers, covers).await?;
        let key = target.key();
        Ok(Self {
            reader,
            key,
            inputs: plan.inputs.iter().cloned().collect(),
            next_offset: base_offset,
            pieces: VecDeque::new(),
            output,
            builder: Some(known.builder(output, key, base_offset)),
            footer: None,
        })
    }

    /// Reads the next batches into `pieces`; `false` after the last input.
    async fn read(&mut self) -> Result<bool> {
        while let Some((object, extent)) = self.inputs.front() {
            if self.next_offset >= extent.end_offset {
                self.inputs.pop_front();
                continue;
            }
            let read = self
                .reader
                .read(object, &self.key, self.next_offset, extent.end_offset, PIECE_BYTES, true)
                .await?;
            if read.next_offset <= self.next_offset {
                // Compaction by key left no batch from here to the end of the extent.
                self.next_offset = extent.end_offset;
                continue;
            }
            self.next_offset = read.next_offset;
            self.pieces.extend(read.records);
            return Ok(true);
        }
        Ok(false)
    }
}

/// What is known of producers and transactions where an output begins.
pub(super) struct Known {
    producers: ProducerTracker,
    transactions: KnownTransactions,
}

impl Known {
    /// The producers at the end of `extents`, the first of which holds all that were known then,
    /// and the transactions that overlap what the output covers.
    pub(super) async fn read(
        reader: &ObjectReader,
        target: &dyn ExtentTarget,
        extents: &[(Arc<ObjectRef>, Extent)],
        covers: Range<i64>,
    ) -> Result<Self> {
        let (key, last_stable_offset) = (target.key(), target.last_stable_offset());
        let mut producers = ProducerTracker::default();
        for (object, extent) in extents {
            let known = reader.producer_updates(object, &key).await?;
            producers.absorb(&known, extent.end_offset);
        }
        producers.forget_unknown(|producer_id| target.knows_producer(producer_id));
        let aborted = target.aborted_transactions(covers.start, covers.end);
        let aborted = aborted.iter().map(AbortedUpdate::from).collect();
        Ok(Self { producers, transactions: KnownTransactions { aborted, last_stable_offset } })
    }

    /// The output in the making.
    pub(super) fn builder(
        self,
        output: ObjectId,
        key: PartitionKey,
        base_offset: i64,
    ) -> BatchesBuilder {
        BatchesBuilder::new(output, key, base_offset, self.producers, self.transactions)
    }
}

impl Output for Merge {
    fn footer(&self) -> Option<&Footer> {
        self.footer.as_ref()
    }
}

#[async_trait]
impl PartSource for Merge {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(builder) = &mut self.builder else { return Ok(None) };
        if let Some(piece) = self.pieces.pop_front() {
            let pushed = builder.push(&piece);
            pushed.map_err(|source| Error::Format {
                id: self.output,
                key: String::new(),
                source,
            })?;
            return Ok(Some(piece));
        }
        if self.read().await? {
            return self.next().await;
        }
        let Some(builder) = self.builder.take() else { return Ok(None) };
        let footer = builder.finish();
        let encoded = footer.encode().map_err(|source| Error::Format {
            id: self.output,
            key: String::new(),
            source,
        })?;
        self.footer = Some(footer);
        Ok(Some(encoded))
    }
}
