//! Kafka's wire format, and nothing else: pure functions between bytes and types.
//!
//! ```text
//!  socket ─► frame ─► header ─► messages::<api>::…Request ─► handlers ─► …Response ─► Writer ─► socket
//!            length    api,      generated from Kafka's                    chain of slices,
//!            capped    version   own definitions                           records not copied
//!                                      │ Records (slices of the frame)
//!                                      └─► records: batches, compression, control markers
//! ```
//!
//! The crate knows no socket, no file, no clock and no async runtime. Its promise to the broker: no
//! bytes make it panic, and decoding never allocates more than a budget that follows from the length
//! of the frame, whatever the lengths inside it claim.

pub mod api_key;
pub mod codec;
pub mod coordinator_records;
pub mod error_code;
pub mod frame;
pub mod header;
pub mod messages;
pub mod records;

#[cfg(test)]
mod testing;

pub use self::{
    api_key::ApiKey,
    codec::{DecodeError, EncodeError, Encoded, Piece, Reader, Records, Slice, Source, Writer},
    error_code::ErrorCode,
    header::{RequestHeader, ResponseHeader},
    messages::{Message, Request},
};
