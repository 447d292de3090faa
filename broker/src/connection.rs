//! One connection: requests in, answers out, in order.
//!
//! Requests are handled one after the other, as Kafka mutes a channel while it works, except that
//! Produce requests overlap: each is appended in order, and its answer waits for durability while
//! the next is appended. Answers leave strictly in request order. Nothing is read while an answer
//! waits for the socket, so a slow reader holds back only itself.
//!
//! The stream is anything that reads and writes: a socket here, an in-process pipe in tests and in
//! the simulator.

mod frames;
mod outbox;
mod send_file;
mod transport;

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use futures::future::BoxFuture;
use protocol::{ApiKey, DecodeError, frame::FrameError};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tracing::{debug, info, warn};

pub(crate) use self::frames::Frame;
pub use self::transport::Transport;
use self::{frames::FrameReader, outbox::Outbox};
use crate::{
    context::{Broker, ConnectionInfo},
    dispatch::{self, Answer, Served},
};

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Close {
    /// The peer closed it.
    #[error("the client disconnected")]
    Disconnected,
    /// The socket failed.
    #[error("i/o: {0}")]
    Io(io::Error),
    /// A frame's length makes no sense: another protocol, or garbage.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The request cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An API that is not served.
    #[error("unknown api key {0}")]
    UnknownApi(i16),
    /// A version that is not served. Kafka closes too, but for ApiVersions.
    #[error("{api} has no version {version}")]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The version asked for.
        version: i16,
    },
    /// The peer stopped in the middle of a request or of an answer.
    #[error("{0}")]
    Stalled(&'static str),
    /// No request for `connections.max.idle.ms`.
    #[error("idle for too long")]
    Idle,
    /// The broker is shutting down.
    #[error("the broker is shutting down")]
    Shutdown,
    /// A Produce with acks=0 failed: closing is the only answer.
    #[error("a produce without acknowledgement failed")]
    FailedWithoutAck,
    /// A handler filled in what the version cannot carry.
    #[error("the answer could not be encoded")]
    Unencodable,
}

struct Connection<S> {
    broker: Arc<Broker>,
    info: Arc<ConnectionInfo>,
    stream: S,
    frames: FrameReader,
    /// Answers that wait for durability, oldest first.
    pending: VecDeque<BoxFuture<'static, Answer>>,
    outbox: Outbox,
    active_at: Duration,
    idle: Pin<Box<tokio::time::Sleep>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
}

enum Event {
    Answer(Answer),
    Frame(Frame),
    IdleTimer,
    Shutdown,
}

/// Serves one connection until it ends.
pub(crate) async fn serve<S: Transport>(broker: Arc<Broker>, info: Arc<ConnectionInfo>, stream: S) {
    let idle = Box::pin(tokio::time::sleep(broker.options().idle_max));
    let mut connection = Connection {
        active_at: broker.clock.monotonic(),
        shutdown: Box::pin(broker.shutdown.draining()),
        idle,
        stream,
        frames: FrameReader::new(),
        pending: VecDeque::new(),
        outbox: Outbox::default(),
        info: Arc::clone(&info),
        broker,
    };
    let close = connection.run().await;
    report(&info, &close);
}

/// One line per connection that ended for another reason than a client's wish.
fn report(connection: &ConnectionInfo, close: &Close) {
    let (id, listener) = (connection.id, &connection.listener);
    let peer = connection.peer.map_or_else(|| "in-process".to_owned(), |peer| peer.to_string());
    match close {
        Close::Disconnected | Close::Io(_) | Close::Idle | Close::Shutdown => {
            debug!(id, %peer, listener, reason = %close, "connection closed");
        }
        Close::Frame(_)
        | Close::Decode(_)
        | Close::UnknownApi(_)
        | Close::UnsupportedVersion { .. }
        | Close::Stalled(_)
        | Close::FailedWithoutAck => {
            info!(id, %peer, listener, reason = %close, "closing connection");
        }
        Close::Unencodable => warn!(id, %peer, listener, reason = %close, "closing connection"),
    }
}

impl<S: Transport> Connection<S> {
    async fn run(&mut self) -> Close {
        loop {
            if let Err(close) = self.step().await {
                return close;
            }
        }
    }

    async fn step(&mut self) -> Result<(), Close> {
        match self.next_event().await? {
            Event::Answer(answer) => self.send(answer).await,
            Event::Frame(frame) => self.handle(frame).await,
            Event::IdleTimer => self.check_idle(),
            Event::Shutdown => {
                self.drain().await?;
                Err(Close::Shutdown)
            }
        }
    }

    async fn next_event(&mut self) -> Result<Event, Close> {
        let room = self.pending.len() < self.broker.options().inflight_produce_max;
        tokio::select! {
            biased;
            answer = next_answer(&mut self.pending) => Ok(Event::Answer(answer)),
            () = &mut self.shutdown => Ok(Event::Shutdown),
            frame = self.frames.next(&mut self.stream, &self.broker), if room => {
                frame.map(Event::Frame)
            }
            () = &mut self.idle => Ok(Event::IdleTimer),
        }
    }

    /// Runs one request. Any but a pipelined one waits until all before it are answered.
    async fn handle(&mut self, frame: Frame) -> Result<(), Close> {
        self.active_at = self.broker.clock.monotonic();
        let route = frame.route;
        if !route.pipelined {
            self.drain().await?;
        }
        // The reservation ends with this function. What a produce leaves behind is counted by the
        // log's own queue: acknowledgements that are slow in coming do not keep frames out.
        let Frame { bytes, reservation: _reservation, .. } = frame;
        let work = dispatch::serve(&self.broker, &self.info, route, bytes)?;
        match self.drive(work, route.cancelled_by_disconnect).await? {
            Served::Answer(answer) => self.send(answer).await,
            Served::Later(answer) => {
                self.pending.push_back(answer);
                Ok(())
            }
        }
    }

    /// Polls a request's work, and meanwhile sends the answers of those before it.
    async fn drive(
        &mut self,
        mut work: BoxFuture<'static, Result<Served, Close>>,
        cancelled_by_disconnect: bool,
    ) -> Result<Served, Close> {
        loop {
            let answer = tokio::select! {
                biased;
                served = &mut work => return served,
                answer = next_answer(&mut self.pending) => answer,
                close = self.frames.watch(&mut self.stream), if cancelled_by_disconnect => {
                    return Err(close);
                }
            };
            self.send(answer).await?;
        }
    }

    /// Answers everything that is pending.
    async fn drain(&mut self) -> Result<(), Close> {
        while !self.pending.is_empty() {
            let answer = next_answer(&mut self.pending).await;
            self.send(answer).await?;
        }
        Ok(())
    }

    /// Writes an answer, and with it those behind it that are ready by now.
    async fn send(&mut self, answer: Answer) -> Result<(), Close> {
        self.queue(answer)?;
        while let Poll::Ready(answer) = futures::poll!(next_answer(&mut self.pending)) {
            self.queue(answer)?;
        }
        if self.outbox.is_empty() {
            return Ok(());
        }
        self.outbox.flush(&mut self.stream, &self.broker.spawner).await?;
        self.active_at = self.broker.clock.monotonic();
        Ok(())
    }

    fn queue(&mut self, answer: Answer) -> Result<(), Close> {
        match answer {
            Answer::Response { response, held } => self.outbox.push(response, held),
            Answer::Nothing => {}
            Answer::Close => return Err(Close::FailedWithoutAck),
            Answer::Unencodable => return Err(Close::Unencodable),
        }
        Ok(())
    }

    /// The timer is set once per idle period, not once per request.
    fn check_idle(&mut self) -> Result<(), Close> {
        let idle_max = self.broker.options().idle_max;
        let idle_for = self.broker.clock.monotonic().saturating_sub(self.active_at);
        if idle_for >= idle_max && self.pending.is_empty() {
            return Err(Close::Idle);
        }
        let left = idle_max.saturating_sub(idle_for).max(Duration::from_millis(1));
        self.idle = Box::pin(tokio::time::sleep(left));
        Ok(())
    }
}

/// The answer of the oldest pending request; only that one is polled, since the rest only wait.
/// Pending for ever where there is none.
fn next_answer(
    pending: &mut VecDeque<BoxFuture<'static, Answer>>,
) -> impl Future<Output = Answer> + Unpin {
    poll_fn(|context| {
        let Some(oldest) = pending.front_mut() else { return Poll::Pending };
        let answer = ready!(oldest.as_mut().poll(context));
        pending.pop_front();
        Poll::Ready(answer)
    })
}

#[cfg(test)]
mod tests;
