//! Writes answers to a connection's stream: all that are ready in one vectored write.
//!
//! Record batches stay the slices that the log handed out. What an answer reserved is given back
//! when its last byte has been taken by the socket.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::IoSlice,
    pin::{Pin, pin},
    time::Duration,
};

use bytes::{Buf, Bytes};
use common::memory::Reservation;
use protocol::Encoded;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Close;

/// Slices handed to one system call.
const SLICES_MAX: usize = 64;
/// How long the peer may take nothing at all while an answer waits: a stalled reader must not
/// keep fetched records in memory.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The writing half of a connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    chunks: VecDeque<Bytes>,
    held: Vec<Reservation>,
}

impl Outbox {
    /// Queues one answer with what it holds.
    pub(crate) fn push(&mut self, response: Encoded, held: Vec<Reservation>) {
        self.chunks.extend(response.into_chunks());
        self.held.extend(held);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Writes everything queued.
    pub(crate) async fn flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> Result<(), Close> {
        while !self.chunks.is_empty() {
            let written = self.write_some(stream).await?;
            self.advance(written);
        }
        self.held.clear();
        stream.flush().await.map_err(Close::Io)
    }

    async fn write_some<S: AsyncWrite + Unpin>(&self, stream: &mut S) -> Result<usize, Close> {
        let slices: Vec<_> =
            self.chunks.iter().take(SLICES_MAX).map(|chunk| IoSlice::new(chunk)).collect();
        let mut write =
            pin!(poll_fn(|context| Pin::new(&mut *stream).poll_write_vectored(context, &slices)));
        // The timer is made only where the socket's buffer is full.
        let written = match futures::poll!(&mut write) {
            std::task::Poll::Ready(written) => written,
            std::task::Poll::Pending => tokio::time::timeout(STALL_TIMEOUT, write)
                .await
                .map_err(|_| Close::Stalled("the client takes no answers"))?,
        };
        match written {
            Ok(0) => Err(Close::Disconnected),
            Ok(written) => Ok(written),
            Err(error) => Err(Close::Io(error)),
        }
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            if written < chunk.len() {
                chunk.advance(written);
                return;
            }
            written -= chunk.len();
            self.chunks.pop_front();
        }
    }
}
