//! Reads a group of extents, filters its batches, and gives out the bytes of the output object.
//!
//! Invariant: the output covers the offsets of its inputs exactly; memory holds one piece, however
//! large the group. The footer knows every producer of the inputs, those of removed batches too.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use common::{ObjectId, PartitionKey};
use metadata::Extent;
use protocol::records::{RecordError, batches};

use super::{
    PIECE_BYTES,
    filter::{Fate, Filter},
    unreadable,
};
use crate::{
    compaction::{merge::Known, rewrite::Output},
    object::{BatchesBuilder, Error, Footer, ObjectReader, ObjectRef, Result},
    object_store::PartSource,
};

/// The output of a cleaning pass over one group.
pub(super) struct Cleaning<'f> {
    reader: ObjectReader,
    key: PartitionKey,
    inputs: VecDeque<(Arc<ObjectRef>, Extent)>,
    next_offset: i64,
    end_offset: i64,
    output: ObjectId,
    filter: &'f mut Filter,
    builder: Option<BatchesBuilder>,
    footer: Option<Footer>,
}

impl<'f> Cleaning<'f> {
    /// Starts with the producers known at the end of the last input that knows them all.
    pub(super) fn new(
        reader: ObjectReader,
        key: PartitionKey,
        inputs: &[(Arc<ObjectRef>, Extent)],
        output: ObjectId,
        known: Known,
        filter: &'f mut Filter,
    ) -> Self {
        let base_offset = inputs.first().map_or(0, |(_, extent)| extent.base_offset);
        let builder = known.builder(output, key, base_offset).cleaned_up_to(filter.end_offset());
        Self {
            reader,
            key,
            inputs: inputs.iter().cloned().collect(),
            next_offset: base_offset,
            end_offset: inputs.last().map_or(base_offset, |(_, extent)| extent.end_offset),
            output,
            filter,
            builder: Some(builder),
            footer: None,
        }
    }

    /// Filters the next batches; `None` after the last input. Empty where nothing stayed.
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        while let Some((object, extent)) = self.inputs.front().cloned() {
            if self.next_offset >= extent.end_offset {
                self.inputs.pop_front();
                continue;
            }
            let read = self
                .reader
                .read(&object, &self.key, self.next_offset, extent.end_offset, PIECE_BYTES, true)
                .await?;
            if read.next_offset <= self.next_offset {
                self.next_offset = extent.end_offset;
                continue;
            }
            self.next_offset = read.next_offset;
            let mut kept = BytesMut::new();
            for records in &read.records {
                self.filter(&object, records, &mut kept)?;
            }
            tokio::task::yield_now().await;
            return Ok(Some(kept.freeze()));
        }
        Ok(None)
    }

    /// Decides on each batch, in order, and tells the footer of it.
    fn filter(&mut self, object: &ObjectRef, records: &Bytes, kept: &mut BytesMut) -> Result<()> {
        let unreadable = |error: RecordError| unreadable(object, self.key, &error);
        let Some(builder) = &mut self.builder else { return Ok(()) };
        for batch in batches(records) {
            let batch = batch.map_err(unreadable)?;
            let last = batch.header().next_offset() >= self.end_offset;
            let stays = match self.filter.next(&batch.borrowed(), last).map_err(unreadable)? {
                Fate::Stays => batch.into_bytes(),
                Fate::Becomes(bytes) => bytes,
                Fate::Goes => {
                    builder.note_removed(batch.header());
                    continue;
                }
            };
            builder.push(&stays).map_err(|source| Error::Format {
                id: self.output,
                key: String::new(),
                source,
            })?;
            kept.extend_from_slice(&stays);
        }
        Ok(())
    }
}

impl Output for Cleaning<'_> {
    fn footer(&self) -> Option<&Footer> {
        self.footer.as_ref()
    }
}

#[async_trait]
impl PartSource for Cleaning<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(piece) = self.piece().await? {
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
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
