//! A connection to a broker: frames out, frames in, either in step or pipelined.
//!
//! Invariant: answers arrive in the order of the requests, which is what lets pipelining do without
//! a table of correlation ids; each is checked all the same.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use protocol::frame::{FRAME_PREFIX_BYTES, encode_request, frame_length};
use protocol::messages::{Message, Request};
use protocol::{Encoded, Reader, ResponseHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Largest answer that is accepted; a fetch may ask for 64 MiB.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// What the read buffer asks the socket for at once.
const READ_CHUNK_BYTES: usize = 256 << 10;
const CLIENT_ID: Option<&str> = Some("streamhouse-bench");

/// The half that sends requests.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedWriteHalf,
    next_correlation_id: i32,
}

/// The half that receives answers.
#[derive(Debug)]
pub struct Receiver {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    next_correlation_id: i32,
}

/// Both halves.
#[derive(Debug)]
pub struct Connection {
    /// Sends.
    pub sender: Sender,
    /// Receives.
    pub receiver: Receiver,
}

impl Connection {
    /// Connects without delay of small segments.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let socket =
            TcpStream::connect(address).await.with_context(|| format!("connect {address}"))?;
        socket.set_nodelay(true)?;
        let (read, write) = socket.into_split();
        Ok(Self {
            sender: Sender { socket: write, next_correlation_id: 0 },
            receiver: Receiver { socket: read, buffer: BytesMut::new(), next_correlation_id: 0 },
        })
    }

    /// One request and its answer.
    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.sender.send(request, version).await?;
        self.receiver.receive::<R>(version).await
    }
}

impl Sender {
    /// Sends a request; its answer is the next that [`Receiver`] has not taken yet.
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<()> {
        let frame = encode_request(request, version, self.next_correlation_id, CLIENT_ID)?;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        self.write(frame).await
    }

    async fn write(&mut self, frame: Encoded) -> Result<()> {
        let pieces = frame.into_pieces().into_iter();
        // A request has nothing but memory.
        let chunks = pieces.filter_map(|piece| piece.bytes().cloned()).collect();
        let mut chain = Chain { chunks, at: 0 };
        self.socket.write_all_buf(&mut chain).await?;
        Ok(())
    }
}

impl Receiver {
    /// The answer to the oldest request that has none yet.
    pub async fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response> {
        let frame = self.frame().await?;
        let mut reader = Reader::new(frame);
        let header = ResponseHeader::decode(&mut reader, R::API_KEY, version)?;
        ensure!(header.correlation_id == self.next_correlation_id, "answers out of order");
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        Ok(R::Response::decode(&mut reader, version)?)
    }

    async fn frame(&mut self) -> Result<Bytes> {
        self.fill(FRAME_PREFIX_BYTES).await?;
        let prefix = self.buffer.split_to(FRAME_PREFIX_BYTES);
        let length = frame_length(prefix[..].try_into()?, ANSWER_BYTES_MAX)?;
        self.fill(length).await?;
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn fill(&mut self, bytes: usize) -> Result<()> {
        while self.buffer.len() < bytes {
            self.buffer.reserve((bytes - self.buffer.len()).max(READ_CHUNK_BYTES));
            let read = self.socket.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the broker closed the connection");
        }
        Ok(())
    }
}

/// The chunks of one frame, for one vectored write.
struct Chain {
    chunks: Vec<Bytes>,
    at: usize,
}

impl bytes::Buf for Chain {
    fn remaining(&self) -> usize {
        self.chunks[self.at..].iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.get(self.at).map_or(&[], |chunk| &chunk[..])
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [std::io::IoSlice<'a>]) -> usize {
        let left = &self.chunks[self.at..];
        for (slot, chunk) in into.iter_mut().zip(left) {
            *slot = std::io::IoSlice::new(chunk);
        }
        left.len().min(into.len())
    }

    fn advance(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let chunk = &mut self.chunks[self.at];
            let step = bytes.min(chunk.len());
            bytes::Buf::advance(chunk, step);
            bytes -= step;
            if chunk.is_empty() {
                self.at += 1;
            }
        }
    }
}
