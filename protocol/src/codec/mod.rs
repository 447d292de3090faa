//! The primitives of Kafka's wire format: what generated messages are read from and written to.
//!
//! `Reader` walks one frame and never allocates what a length field merely claims; `Writer` builds
//! a chain of byte slices, so that record batches are never copied into a response.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

mod error;
mod reader;
mod records;
mod writer;

pub use self::{
    error::{DecodeError, EncodeError},
    reader::{BUDGET_BASE_BYTES, BUDGET_FRAME_FACTOR, Reader},
    records::{Piece, Records, Slice, Source},
    writer::{Encoded, SPLICE_BYTES_MIN, Writer},
};
