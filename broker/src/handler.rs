//! The shape of a handler: one type per Kafka API, declared, not wired.
//!
//! Dispatch decodes the request, asks the handler for what it touches (design D17), runs it and
//! encodes the answer. A handler never sees a socket, a frame or a permit, and it never fails:
//! failures are error codes per topic or partition, as in Kafka's `AbstractRequest`.
//!
//! Most handlers are a plain [`Handler`]: the next request of the connection is read only after
//! its answer, as Kafka mutes the channel. A few are [`Pipelined`]. Produce: phase 1 fixes the order
//! (validate, append), phase 2 waits for durability while the next produce is already appended.
//! JoinGroup and SyncGroup: phase 1 tells the group, phase 2 waits for its other members, and
//! meanwhile holds no memory of the request pool.

use std::{future::Future, sync::Arc};

use futures::future::BoxFuture;
use protocol::{ErrorCode, Request};

use crate::{
    acl::Access,
    context::{Broker, RequestContext},
};

/// Memory that a small request takes beside its frame, bytes: its decoded form and its answer.
pub const MEMORY_ESTIMATE_BASE: usize = 8 * 1024;

/// What every API declares. Its key and response come with the request type; its versions are the
/// row of `protocol::api_key`.
pub trait Api {
    /// The decoded request.
    type Request: Request;

    /// What the request touches and how, for the authorizer.
    fn resources(request: &Self::Request) -> Vec<Access>;

    /// Bytes to reserve before a frame of `frame_bytes` is read: the frame, what it decodes to and
    /// the answer. Twice the frame and a base, unless an API knows better.
    #[must_use]
    fn memory_estimate(frame_bytes: usize) -> usize {
        frame_bytes.saturating_mul(2).saturating_add(MEMORY_ESTIMATE_BASE)
    }

    /// The answer that refuses the whole request with one code, as Kafka's `getErrorResponse`.
    fn error_response(request: &Self::Request, error: ErrorCode) -> Response<Self>;
}

/// The response type of an API.
pub type Response<A> = <<A as Api>::Request as Request>::Response;

/// An API whose answer is awaited before the connection's next request is read.
pub trait Handler: Api {
    /// Whether the work is dropped when the client goes away: for long polls, never for changes.
    const CANCELLED_BY_DISCONNECT: bool = false;

    /// Does the work. It may be dropped where it awaits (the client of a long poll is gone, the
    /// process ends): state that must not be left half-changed is changed in a spawned task or
    /// between two awaits.
    fn handle(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: Self::Request,
    ) -> impl Future<Output = Response<Self>> + Send;
}

/// What a pipelined handler answers in the end.
#[derive(Debug)]
pub enum Reply<R> {
    /// A response.
    Response(R),
    /// Nothing: the client asked for no acknowledgement.
    Nothing,
    /// Nothing, and the connection closes: the only way to tell a client that wants no answers
    /// that its request failed.
    Close,
}

/// Phase 2 of a pipelined request: owns what it needs and resolves to the reply.
pub type Finish<R> = BoxFuture<'static, Reply<R>>;

/// An API whose requests overlap on one connection: in order in phase 1, answered in order.
pub trait Pipelined: Api {
    /// Phase 1: everything whose order matters. The next request of the connection begins when
    /// this returns; the returned future is polled until the reply.
    fn begin(
        broker: &Arc<Broker>,
        context: &RequestContext,
        request: Self::Request,
    ) -> impl Future<Output = Finish<Response<Self>>> + Send;
}
