//! Streaming zstd with a decoder per thread.
//!
//! Setting up a decoder costs about as much as a 16 KiB batch takes to decompress, so each thread
//! keeps one. Invariant: a kept decoder never holds on to more than [`KEPT_OUTPUT_MAX`] of touched
//! memory, since one that wrote more is dropped; its state is reset before every use. (A frame may ask
//! for a window of up to 128 MiB, as the Java client's largest level does; only the part that its
//! output reaches is ever touched, and the reader's limit bounds that.)

use std::{cell::Cell, io};

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// A decoder's window is touched only as far as its frames wrote, so this bounds what a thread keeps.
const KEPT_OUTPUT_MAX: u64 = 4 * 1024 * 1024;

thread_local! {
    static KEPT: Cell<Option<Decoder<'static>>> = const { Cell::new(None) };
}

/// Streams the plain bytes of one or more zstd frames.
pub(super) struct ZstdReader<'a> {
    rest: &'a [u8],
    decoder: Option<Decoder<'static>>,
    inside_frame: bool,
    produced: u64,
}

impl<'a> ZstdReader<'a> {
    pub(super) fn new(body: &'a [u8]) -> io::Result<Self> {
        let decoder = match KEPT.take() {
            Some(mut kept) => {
                kept.reinit()?;
                kept
            }
            None => Decoder::new()?,
        };
        Ok(Self { rest: body, decoder: Some(decoder), inside_frame: false, produced: 0 })
    }

    /// Fills the front of `out`; 0 at the end of the last frame.
    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(0);
        };
        while self.inside_frame || !self.rest.is_empty() {
            let mut input = InBuffer::around(self.rest);
            let mut output = OutBuffer::around(&mut *out);
            let hint = decoder.run(&mut input, &mut output)?;
            let (consumed, written) = (input.pos(), output.pos());
            self.rest = self.rest.get(consumed..).unwrap_or_default();
            self.inside_frame = hint != 0;
            if !self.inside_frame {
                decoder.reinit()?;
            }
            if written > 0 {
                self.produced += written as u64;
                return Ok(written);
            }
            if consumed == 0 && (self.inside_frame || !self.rest.is_empty()) {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "incomplete frame"));
            }
        }
        Ok(0)
    }
}

impl Drop for ZstdReader<'_> {
    fn drop(&mut self) {
        if self.produced <= KEPT_OUTPUT_MAX {
            KEPT.set(self.decoder.take());
        }
    }
}
