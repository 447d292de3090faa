//! Reads request frames from a connection's stream.
//!
//! The length is judged before anything is allocated for it, then the API and its version, then
//! memory is reserved for the whole request, then the body is read: of a small frame into the
//! connection's own buffer, of one of middling size straight into a buffer that is used again, of a
//! huge one into memory that grows with what arrives. All of it is cancel-safe: what was read stays
//! in the reader.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use common::{buffers::PooledBuffer, memory::Reservation};
use futures::future::BoxFuture;
use protocol::{
    ApiKey, DecodeError,
    frame::{FRAME_PREFIX_BYTES, frame_length},
};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Close;
use crate::{
    context::Broker,
    dispatch::{self, Route},
};

/// Bytes of the smallest header: key, version, correlation id, length of the client id.
const HEADER_BYTES_MIN: usize = 10;
/// Bytes read at first where nothing is known of the connection: idle ones hold only this.
const FIRST_READ_BYTES_MIN: usize = 1024;
/// Bytes read at first on a connection whose requests go to reused buffers: what tells where the
/// rest belongs.
const FIRST_READ_BYTES_POOLED: usize = FRAME_PREFIX_BYTES + 4;
/// Frames from this size on are read into reused buffers, bytes.
const POOLED_FRAME_BYTES_MIN: usize = 16 * 1024;
/// Frames up to this size are read into reused buffers, bytes: a length field alone must not make
/// more memory be touched than the buffers that are kept.
const POOLED_FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The least that the buffer of a large frame grows by, bytes.
const GROWTH_BYTES_MIN: usize = 64 * 1024;
/// Bytes taken from a client that sends on while its request is being handled.
const READ_AHEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a frame may take to arrive once memory is reserved for it: a client that stops in the
/// middle must not keep the pool from others.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// A whole request, not decoded yet.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Who handles it.
    pub(crate) route: &'static Route,
    /// The request without its length: header and body.
    pub(crate) bytes: Bytes,
    /// The memory reserved for it.
    pub(crate) reservation: Reservation,
}

/// The reading half of a connection.
pub(crate) struct FrameReader {
    buffer: BytesMut,
    state: State,
    last_frame_bytes: usize,
}

/// What is known of the frame at the front of the buffer.
enum State {
    /// Nothing yet.
    Prefix,
    /// Its length and its handler; its memory is being waited for.
    Admitting { length: usize, route: &'static Route, waiting: BoxFuture<'static, Reservation> },
    /// Its memory is reserved, its body is arriving.
    Body {
        length: usize,
        route: &'static Route,
        reservation: Reservation,
        deadline: Deadline,
        memory: Memory,
    },
}

/// Where a frame's bytes are gathered.
enum Memory {
    /// At the front of the connection's own buffer.
    Own,
    /// In a buffer that is used again, of which so many bytes are filled.
    Pooled(PooledBuffer, usize),
}

type Deadline = Pin<Box<tokio::time::Sleep>>;

impl FrameReader {
    pub(crate) fn new() -> Self {
        Self { buffer: BytesMut::new(), state: State::Prefix, last_frame_bytes: 0 }
    }

    /// The next frame. Dropping the future loses nothing.
    pub(crate) async fn next<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        broker: &Arc<Broker>,
    ) -> Result<Frame, Close> {
        loop {
            match &mut self.state {
                State::Prefix => match self.judge_prefix(broker)? {
                    Some(admitting) => self.state = admitting,
                    None => self.read_first(stream).await?,
                },
                State::Admitting { length, route, waiting } => {
                    let (length, route, reservation) = (*length, *route, waiting.await);
                    let deadline = Box::pin(tokio::time::sleep(BODY_TIMEOUT));
                    let memory = self.memory_for(length, broker);
                    self.state = State::Body { length, route, reservation, deadline, memory };
                }
                State::Body { .. } => {
                    if let Some(frame) = self.take_frame() {
                        return Ok(frame);
                    }
                    self.read_body(stream).await?;
                }
            }
        }
    }

    /// Completes when the peer has gone. Meanwhile takes in a little of what it sends, without
    /// looking at it.
    pub(crate) async fn watch<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Close {
        while self.buffer.len() < READ_AHEAD_BYTES_MAX {
            let room = READ_AHEAD_BYTES_MAX - self.buffer.len();
            if let Err(close) = read_some(stream, &mut self.buffer, room).await {
                return close;
            }
        }
        std::future::pending().await
    }

    /// Judges length, API and version as soon as they are there; `None` asks for more bytes.
    fn judge_prefix(&self, broker: &Arc<Broker>) -> Result<Option<State>, Close> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<FRAME_PREFIX_BYTES>() else {
            return Ok(None);
        };
        let length = frame_length(*prefix, broker.options().request_bytes_max)?;
        if length < HEADER_BYTES_MIN {
            let short = DecodeError::UnexpectedEnd { needed: HEADER_BYTES_MIN, remaining: length };
            return Err(short.into());
        }
        let Some(&[k0, k1, v0, v1]) = rest.first_chunk::<4>() else { return Ok(None) };
        let (code, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
        let route = ApiKey::try_from(code).ok().and_then(dispatch::route);
        let route = route.ok_or(Close::UnknownApi(code))?;
        if !route.accepts(version) {
            return Err(Close::UnsupportedVersion { api: route.api, version });
        }
        let bytes = (route.memory_estimate)(length);
        let budget = broker.request_pool(bytes).clone();
        let waiting: BoxFuture<'static, Reservation> = match budget.try_acquire(bytes) {
            Some(reservation) => Box::pin(std::future::ready(reservation)),
            None => Box::pin(async move { budget.acquire(bytes).await }),
        };
        Ok(Some(State::Admitting { length, route, waiting }))
    }

    /// Reads about as much as the last request had, in case this is one of its kind.
    async fn read_first<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<(), Close> {
        let room = match self.last_frame_bytes {
            ..POOLED_FRAME_BYTES_MIN => self.last_frame_bytes.max(FIRST_READ_BYTES_MIN),
            POOLED_FRAME_BYTES_MIN.. => {
                FIRST_READ_BYTES_POOLED.saturating_sub(self.buffer.len()).max(1)
            }
        };
        read_some(stream, &mut self.buffer, room).await
    }

    /// Where the frame at the front of the buffer goes; moves there what has arrived of it.
    fn memory_for(&mut self, length: usize, broker: &Broker) -> Memory {
        let frame_bytes = FRAME_PREFIX_BYTES + length;
        if !(POOLED_FRAME_BYTES_MIN..=POOLED_FRAME_BYTES_MAX).contains(&frame_bytes) {
            return Memory::Own;
        }
        let mut memory = broker.frame_buffers.take(frame_bytes);
        let arrived = self.buffer.split_to(self.buffer.len().min(frame_bytes));
        memory[..arrived.len()].copy_from_slice(&arrived);
        Memory::Pooled(memory, arrived.len())
    }

    /// Reads no further than the end of the frame, so that its bytes need no copy afterwards.
    async fn read_body<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<(), Close> {
        let State::Body { length, deadline, memory, .. } = &mut self.state else { return Ok(()) };
        let frame_bytes = FRAME_PREFIX_BYTES + *length;
        let buffer = &mut self.buffer;
        let read = async {
            match memory {
                Memory::Own => {
                    let have = buffer.len();
                    let missing = frame_bytes.saturating_sub(have);
                    let room = missing.min(GROWTH_BYTES_MIN.max(have.saturating_mul(3)));
                    read_some(stream, buffer, room).await
                }
                Memory::Pooled(memory, filled) => {
                    match stream.read(&mut memory[*filled..frame_bytes]).await {
                        Ok(0) => Err(Close::Disconnected),
                        Ok(read) => {
                            *filled += read;
                            Ok(())
                        }
                        Err(error) => Err(Close::Io(error)),
                    }
                }
            }
        };
        tokio::select! {
            biased;
            read = read => read,
            () = deadline => Err(Close::Stalled("the request's body did not arrive")),
        }
    }

    /// The frame, if it is there as a whole.
    fn take_frame(&mut self) -> Option<Frame> {
        let State::Body { length, memory, .. } = &self.state else { return None };
        let frame_bytes = FRAME_PREFIX_BYTES + *length;
        let arrived = match memory {
            Memory::Own => self.buffer.len(),
            Memory::Pooled(_, filled) => *filled,
        };
        if arrived < frame_bytes {
            return None;
        }
        let State::Body { route, reservation, memory, .. } =
            std::mem::replace(&mut self.state, State::Prefix)
        else {
            return None;
        };
        self.last_frame_bytes = frame_bytes;
        let bytes = match memory {
            Memory::Own => self.buffer.split_to(frame_bytes).freeze(),
            Memory::Pooled(memory, _) => Bytes::from_owner(memory),
        };
        Some(Frame { route, bytes: bytes.slice(FRAME_PREFIX_BYTES..frame_bytes), reservation })
    }
}

/// One read of at most `room` bytes into the end of `buffer`.
fn read_some<'a, S: AsyncRead + Unpin>(
    stream: &'a mut S,
    buffer: &'a mut BytesMut,
    room: usize,
) -> impl Future<Output = Result<(), Close>> + 'a {
    buffer.reserve(room);
    async move {
        match stream.read_buf(&mut buffer.limit(room)).await {
            Ok(0) => Err(Close::Disconnected),
            Ok(_) => Ok(()),
            Err(error) => Err(Close::Io(error)),
        }
    }
}
