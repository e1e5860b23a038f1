//! Connections as streams of messages: the server side, the client side, and the pools between.
//!
//! The engine above speaks to a client through [`ServerStream`] and to an upstream through
//! [`ClientStream`], both of which look the same for every protocol: a head, frames, a reset.
//! What differs stays in here, in a folder for each protocol.

mod connection;
mod date;
mod drain;
pub mod http1;
pub mod http2;
mod lifetime;
mod linger;
mod pool;
mod queue;
pub mod rpc;
mod websocket;

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

pub use connection::serve_connection;
pub use date::http_date;
pub use drain::{Drain, DrainWatch};
use http::StatusCode;
pub use lifetime::Lifetime;
pub use pool::{HostPool, Line, LocalCluster, Open, OpenError, Opened, Pools, Terms, UpstreamStream};

use mosn_config::model::{HttpLimits, RpcSpec};
use mosn_core::{
    ConnectionInfo, Failure, Frame, Headers, Protocol, RequestHead, Reset, ResponseHead, Scheme,
};
use mosn_net::clock::Moment;
use mosn_upstream::Host;

/// A request stream, seen from the proxy: what the client sends, and the way back to it.
///
/// Sending never blocks and never loses: what the connection would not take yet is kept. The
/// engine bounds it by asking [`Self::poll_ready`] before each frame.
pub trait ServerStream {
    /// Whether a stream can be ended without a reply and without ending its connection.
    const CAN_CANCEL: bool;

    /// What the client speaks.
    fn protocol(&self) -> Protocol;

    /// How long the client waits, in milliseconds, where its protocol says so in every request;
    /// negative = for ever.
    fn timeout(&self) -> Option<i64> {
        None
    }

    /// The stream's id on its connection.
    fn id(&self) -> u64;

    /// The connection.
    fn connection(&self) -> &Rc<ConnectionInfo>;

    /// When the request came, where that is longer ago than it may seem.
    fn began(&self) -> Option<Moment> {
        None
    }

    /// The try that was made before the request came here, once.
    fn first_try(&mut self) -> Option<rpc::FirstTry> {
        None
    }

    /// The host that the request's first try goes to, where one was chosen already.
    fn host(&self) -> Option<&Arc<Host>> {
        None
    }

    /// The next frame of the request's body. Not to be called after the last one.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>>;

    /// Ready when the client has gone: it closed, or reset the stream. To be polled while nothing
    /// is awaited from the client.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure>;

    /// Sends an interim reply (1xx, not 101).
    fn send_interim(&mut self, cx: &mut Context<'_>, status: StatusCode, headers: &Headers);

    /// Sends the reply's head, with the body's first frame if it is at hand.
    ///
    /// # Errors
    /// When the stream is gone.
    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: ResponseHead,
        first: Option<Frame>,
    ) -> Result<(), Reset>;

    /// Sends a frame of the reply's body.
    ///
    /// # Errors
    /// When the stream is gone.
    fn send(&mut self, cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset>;

    /// Ready when another frame may be sent.
    ///
    /// # Errors
    /// When the stream is gone.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>>;

    /// Ready when all that was sent has left this connection's own buffers.
    ///
    /// # Errors
    /// When the stream is gone.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>>;

    /// Ends the stream so that the client cannot take the reply for complete.
    fn reset(&mut self, why: Failure);
}

/// What an upstream answers with before its reply's body.
#[derive(Debug)]
pub enum Reply {
    /// An interim reply; another follows.
    Interim(StatusCode, Headers),
    /// The reply, with the body's first frame if it came along.
    Head(ResponseHead, Option<Frame>),
}

/// A stream to an upstream, one for each try of a request. Dropping it gives the connection back
/// to its pool, or closes it if the exchange was not complete. That of a one-way request is complete,
/// and the stream dropped, once the last frame has been taken.
pub trait ClientStream {
    /// The upstream connection's id.
    fn connection_id(&self) -> u64;

    /// Whether the connection had carried requests before. The upstream may have closed such a
    /// connection without our knowing.
    fn is_reused(&self) -> bool;

    /// Sends the request's head, with the body's first frame if it is at hand. Unless it is to be
    /// kept, for another try or for a log, the head's header fields may be taken out of it.
    ///
    /// # Errors
    /// When the stream is gone.
    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
        keep: bool,
        first: Option<Frame>,
    ) -> Result<(), Reset>;

    /// Sends a frame of the request's body.
    ///
    /// # Errors
    /// When the stream is gone.
    fn send(&mut self, cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset>;

    /// Ready when another frame may be sent, and all earlier ones have been handed over.
    ///
    /// # Errors
    /// When the stream is gone.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>>;

    /// The reply's head.
    ///
    /// # Errors
    /// When the stream is gone.
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Reset>>;

    /// The next frame of the reply's body. Not to be called after the last one.
    ///
    /// # Errors
    /// When the stream is gone, or its body ended before its length.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>>;
}

/// What an upstream connection holds as long as it is open, such as its place in a count.
pub trait Held: std::fmt::Debug {
    /// The peer has ended the connection: told before it is dropped.
    fn ended_by_peer(&self) {}
}

impl Held for () {}

/// What answers requests: the engine.
pub trait Service: 'static {
    /// Carries one request through to its end: on return the reply has been sent, or the stream
    /// reset. Dropping the future cancels the request.
    fn serve<S: ServerStream>(&self, stream: &mut S, head: Box<RequestHead>) -> impl Future<Output = ()>;

    /// What is to be done with an RPC call: the quick way is to pass it on as it came.
    fn relay(&self, _call: &rpc::Call<'_>) -> rpc::Verdict {
        rpc::Verdict::Serve(None)
    }

    /// A connection sent something that never became a request.
    fn refused(&self, connection: &Rc<ConnectionInfo>, protocol: Protocol, why: Failure);

    /// A connection was closed because it flooded us with frames that are no requests.
    fn flooded(&self, connection: &Rc<ConnectionInfo>);
}

/// What a downstream connection needs to know.
#[derive(Debug)]
pub struct ServerContext {
    /// The connection.
    pub info: Rc<ConnectionInfo>,
    /// Its transport's scheme.
    pub scheme: Scheme,
    /// Its listener's limits.
    pub limits: Rc<HttpLimits>,
    /// How the listener's RPC protocols are spoken, where it is not the default.
    pub rpc: Rc<[(&'static str, RpcSpec)]>,
    /// How long it may be silent between requests; `None` = for ever.
    pub idle_timeout: Option<Duration>,
    /// Tells it to finish.
    pub drain: Rc<Drain>,
}

impl ServerContext {
    /// How the RPC protocol of this name is spoken.
    pub(crate) fn rpc(&self, name: &str) -> RpcSpec {
        self.rpc.iter().find(|(known, _)| *known == name).map(|(_, spec)| *spec).unwrap_or_default()
    }

    /// How long a new connection may be silent; `None` = for ever.
    pub(crate) fn opening_limit(&self) -> Option<Duration> {
        let header = Some(self.limits.header_timeout).filter(|limit| !limit.is_zero());
        [self.idle_timeout, header].into_iter().flatten().min()
    }
}
