//! Runs that have left memory, as slices of their WAL file: only the headers of their batches are
//! read, the bytes go from the file to the socket.
//!
//! Invariant: a slice is whole batches of one synced run, chosen by the same rules as in memory,
//! with offsets and lengths checked. Its bytes are not: as for a run that is read into memory, what
//! checks them is the CRC of each batch, at whoever reads the records.

use std::{io, sync::Arc};

use bytes::Bytes;
use protocol::{
    Slice,
    records::{BATCH_OVERHEAD, BatchHeader},
};

use super::gather::{Gather, Selected, Unreadable, Want};
use crate::{
    error::ReadError,
    object::SLICE_BYTES_MIN,
    partition::Partition,
    wal::{WalFileRef, WalRead},
};

/// Bytes read at a time for headers: small batches have many of them in one page.
const WINDOW_BYTES: usize = 4096;

impl Partition {
    /// Takes what is wanted of the run of `len` bytes at `position`.
    pub(super) async fn take_slice(
        &self,
        gather: &mut Gather,
        file: Arc<WalFileRef>,
        position: u64,
        len: usize,
    ) -> Result<(), ReadError> {
        let (offset, want, reader) = (gather.next_offset, gather.want(), file.reader());
        let selected = move || -> Result<_, Unreadable> {
            let selected = select(&want, reader.as_ref(), position, len)?;
            let range = selected.range.clone();
            let bytes = match range.len() {
                0 => Some(Bytes::new()),
                len if len < SLICE_BYTES_MIN => {
                    Some(reader.read_at(position + range.start as u64, len)?)
                }
                _ => None,
            };
            Ok((selected, bytes))
        };
        let read = self.shared.spawner.blocking(selected).await;
        let read = read.map_err(Unreadable::Io).and_then(|read| read);
        let (selected, bytes) = read.map_err(|unreadable| match unreadable {
            Unreadable::Damage(reason) => self.damaged(offset, &reason),
            Unreadable::Io(error) => self.storage_error(offset, &error),
        })?;
        match bytes {
            Some(bytes) => gather.take_bytes(&selected, bytes),
            None => {
                let Selected { range, .. } = &selected;
                let position = position + range.start as u64;
                let slice = Slice { source: file, position, len: range.len() };
                gather.take_slice(&selected, slice);
            }
        }
        Ok(())
    }
}

fn select(
    want: &Want,
    reader: &dyn WalRead,
    position: u64,
    len: usize,
) -> Result<Selected, Unreadable> {
    let mut window = Window { start: 0, len: 0, bytes: [0; WINDOW_BYTES] };
    want.select(len, |at| {
        let bytes = window.at(reader, position, at, len)?;
        BatchHeader::parse(bytes).map_err(|error| Unreadable::Damage(error.to_string()))
    })
}

/// A part of the run in memory.
struct Window {
    start: usize,
    len: usize,
    bytes: [u8; WINDOW_BYTES],
}

impl Window {
    /// The bytes at `at`: those of a header, unless the run of `run_len` ends before.
    fn at(
        &mut self,
        reader: &dyn WalRead,
        position: u64,
        at: usize,
        run_len: usize,
    ) -> io::Result<&[u8]> {
        let end = (at + BATCH_OVERHEAD).min(run_len);
        if at < self.start || end > self.start + self.len {
            self.start = at;
            self.len = WINDOW_BYTES.min(run_len - at);
            let window = self.bytes.get_mut(..self.len).unwrap_or_default();
            reader.read_exact_at(position + at as u64, window)?;
        }
        Ok(self.bytes.get(at - self.start..self.len).unwrap_or_default())
    }
}
