//! Writes answers to a connection's stream: all that are ready in one go.
//!
//! Record batches stay the pieces that the log handed out: slices of memory are written by
//! reference, slices of files go from the kernel to the socket, or in parts through memory where the
//! stream is no socket. What an answer reserved is given back when its last byte has been taken.
//! Invariant: whatever is queued was promised by a length that was sent before it, so an answer that
//! cannot be finished ends the connection.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    os::fd::{AsFd, OwnedFd},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use common::{memory::Reservation, spawn::Spawner};
use protocol::{Encoded, Piece};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Close,
    send_file::{Sent, advance, send_pieces},
    transport::{Transport, writable},
};

/// Slices handed to one system call.
const SLICES_MAX: usize = 64;
/// Bytes read at a time of what cannot be sent from its file.
const LOAD_BYTES_MAX: usize = 256 * 1024;
/// How long the peer may take nothing at all while an answer waits: a stalled reader must not
/// keep fetched records in memory, nor the files of deleted ones on the disk.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The writing half of a connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
    held: Vec<Reservation>,
    /// The stream's socket under a second descriptor, once it was needed.
    socket: Option<Arc<OwnedFd>>,
}

impl Outbox {
    /// Queues one answer with what it holds.
    pub(crate) fn push(&mut self, response: Encoded, held: Vec<Reservation>) {
        self.pieces.extend(response.into_pieces());
        self.held.extend(held);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Writes everything queued.
    pub(crate) async fn flush<S: Transport>(
        &mut self,
        stream: &mut S,
        spawner: &Spawner,
    ) -> Result<(), Close> {
        while let Some(front) = self.pieces.front() {
            let in_files = self.pieces.iter().any(|piece| piece.bytes().is_none());
            match stream.socket().filter(|_| in_files) {
                Some(socket) => {
                    let sent = self.send(socket, spawner).await?;
                    match sent {
                        Sent::All => {}
                        Sent::Full => unless_stalled(writable(socket)).await?,
                        Sent::NotFromFile => self.load(spawner).await?,
                    }
                }
                None if front.bytes().is_none() => self.load(spawner).await?,
                None => {
                    let written = self.write_some(stream).await?;
                    advance(&mut self.pieces, written);
                }
            }
        }
        self.held.clear();
        stream.flush().await.map_err(Close::Io)
    }

    /// Sends from memory and from files, as far as the socket takes it.
    async fn send(&mut self, socket: &TcpStream, spawner: &Spawner) -> Result<Sent, Close> {
        let socket = match &self.socket {
            Some(socket) => Arc::clone(socket),
            None => {
                let another = socket.as_fd().try_clone_to_owned().map_err(Close::Io)?;
                Arc::clone(self.socket.insert(Arc::new(another)))
            }
        };
        let mut pieces = std::mem::take(&mut self.pieces);
        let work = move || {
            let sent = send_pieces(&socket, &mut pieces);
            (pieces, sent)
        };
        let (pieces, sent) = spawner.blocking(work).await.map_err(Close::Io)?;
        self.pieces = pieces;
        sent.map_err(Close::Io)
    }

    /// Brings the beginning of the slice at the front into memory.
    async fn load(&mut self, spawner: &Spawner) -> Result<(), Close> {
        let Some(Piece::Slice(slice)) = self.pieces.front().cloned() else { return Ok(()) };
        let len = slice.len.min(LOAD_BYTES_MAX);
        let read = move || slice.source.read_at(slice.position, len);
        let bytes = spawner.blocking(read).await.and_then(|read| read).map_err(Close::Io)?;
        advance(&mut self.pieces, bytes.len());
        self.pieces.push_front(Piece::Bytes(bytes));
        Ok(())
    }

    /// Writes what is in memory at the front.
    async fn write_some<S: AsyncWrite + Unpin>(&self, stream: &mut S) -> Result<usize, Close> {
        let chunks = self.pieces.iter().map_while(Piece::bytes);
        let slices: Vec<_> =
            chunks.take(SLICES_MAX).map(|chunk: &Bytes| IoSlice::new(chunk)).collect();
        let write = poll_fn(|context| Pin::new(&mut *stream).poll_write_vectored(context, &slices));
        match unless_stalled(write).await? {
            0 => Err(Close::Disconnected),
            written => Ok(written),
        }
    }
}

/// What the socket says, unless it says nothing for too long. The timer is made only where it does
/// not answer at once.
async fn unless_stalled<T>(work: impl Future<Output = io::Result<T>>) -> Result<T, Close> {
    let mut work = pin!(work);
    let done = match futures::poll!(&mut work) {
        Poll::Ready(done) => done,
        Poll::Pending => tokio::time::timeout(STALL_TIMEOUT, work)
            .await
            .map_err(|_| Close::Stalled("the client takes no answers"))?,
    };
    done.map_err(Close::Io)
}

#[cfg(test)]
mod tests;
