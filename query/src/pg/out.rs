//! What the server sends: messages collected, and written when they are due.
//!
//! A message is put down whole or not at all, and writing is safe to cancel: so the stream stays
//! in step though a statement ends in the middle of its rows. A full buffer waits for the client.

use std::io;

use bytes::{BufMut, BytesMut};
use pgwire::api::Type;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::error::PgError;

/// When rows are sent on.
const FULL_BYTES: usize = 32 << 10;

/// Whether a transaction block is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    None,
    Open,
    /// A statement failed in it; only its end is accepted.
    Failed,
}

/// A column as the protocol describes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Type,
}

/// Messages on their way to a client.
#[derive(Debug)]
pub(super) struct Outgoing<W> {
    stream: W,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> Outgoing<W> {
    pub(super) fn new(stream: W) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Writes everything.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            if self.stream.write_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.stream.flush().await
    }

    /// Writes everything if it is much.
    pub(super) async fn relieve(&mut self) -> io::Result<()> {
        if self.buffer.len() < FULL_BYTES { Ok(()) } else { self.flush().await }
    }

    /// A byte that is no message: the answer to a request for encryption.
    pub(super) fn byte(&mut self, byte: u8) {
        self.buffer.put_u8(byte);
    }

    /// A message whose body is written by `body`.
    pub(super) fn message<E>(
        &mut self,
        kind: u8,
        body: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.buffer.len();
        self.buffer.put_u8(kind);
        self.buffer.put_i32(0);
        if let Err(error) = body(&mut self.buffer) {
            self.buffer.truncate(start);
            return Err(error);
        }
        let length = clamp(self.buffer.len() - start - 1);
        self.buffer[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn put(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        let written: Result<(), std::convert::Infallible> = self.message(kind, |buffer| {
            body(buffer);
            Ok(())
        });
        let Ok(()) = written;
    }

    pub(super) fn authentication_ok(&mut self) {
        self.put(b'R', |body| body.put_i32(0));
    }

    pub(super) fn negotiate(&mut self, minor: i32, options: &[String]) {
        self.put(b'v', |body| {
            body.put_i32(minor);
            body.put_i32(clamp(options.len()));
            options.iter().for_each(|option| text(body, option));
        });
    }

    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        self.put(b'S', |body| {
            text(body, name);
            text(body, value);
        });
    }

    pub(super) fn key(&mut self, process: i32, secret: i32) {
        self.put(b'K', |body| {
            body.put_i32(process);
            body.put_i32(secret);
        });
    }

    pub(super) fn ready(&mut self, transaction: Transaction) {
        let status = match transaction {
            Transaction::None => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        };
        self.put(b'Z', |body| body.put_u8(status));
    }

    pub(super) fn error(&mut self, error: &PgError) {
        self.put(b'E', |body| error.write(body));
    }

    pub(super) fn complete(&mut self, tag: &str) {
        self.put(b'C', |body| text(body, tag));
    }

    pub(super) fn empty_query(&mut self) {
        self.put(b'I', |_| ());
    }

    pub(super) fn parse_complete(&mut self) {
        self.put(b'1', |_| ());
    }

    pub(super) fn bind_complete(&mut self) {
        self.put(b'2', |_| ());
    }

    pub(super) fn close_complete(&mut self) {
        self.put(b'3', |_| ());
    }

    pub(super) fn no_data(&mut self) {
        self.put(b'n', |_| ());
    }

    pub(super) fn suspended(&mut self) {
        self.put(b's', |_| ());
    }

    pub(super) fn parameters(&mut self, kinds: &[Type]) {
        self.put(b't', |body| {
            body.put_u16(u16::try_from(kinds.len()).unwrap_or(u16::MAX));
            kinds.iter().for_each(|kind| body.put_u32(kind.oid()));
        });
    }

    /// The columns, and the format of each.
    pub(super) fn columns(&mut self, columns: &[Column], format: impl Fn(usize) -> i16) {
        self.put(b'T', |body| {
            body.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
            for (index, column) in columns.iter().enumerate() {
                text(body, &column.name);
                // No table and no column of it: a result's column need not be one.
                body.put_i32(0);
                body.put_i16(0);
                body.put_u32(column.kind.oid());
                body.put_i16(super::types::length(&column.kind));
                body.put_i32(-1);
                body.put_i16(format(index));
            }
        });
    }

    pub(super) fn copy_out(&mut self, columns: usize, binary: bool) {
        self.put(b'H', |body| {
            body.put_u8(binary.into());
            body.put_u16(u16::try_from(columns).unwrap_or(u16::MAX));
            (0..columns).for_each(|_| body.put_i16(binary.into()));
        });
    }

    pub(super) fn copy_data(&mut self, data: &[u8]) {
        self.put(b'd', |body| body.put_slice(data));
    }

    /// A row of text, such as a setting.
    pub(super) fn texts(&mut self, cells: &[&str]) {
        self.put(b'D', |body| {
            body.put_u16(u16::try_from(cells.len()).unwrap_or(u16::MAX));
            for cell in cells {
                body.put_i32(clamp(cell.len()));
                body.put_slice(cell.as_bytes());
            }
        });
    }

    pub(super) fn copy_done(&mut self) {
        self.put(b'c', |_| ());
    }
}

/// Ended by a zero, which therefore cannot be part of it.
pub(super) fn text(body: &mut BytesMut, text: &str) {
    body.extend(text.bytes().filter(|byte| *byte != 0));
    body.put_u8(0);
}

fn clamp(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
