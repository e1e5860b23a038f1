//! A call as it passes through the frame loop, and what becomes of it.

use std::{borrow::Cow, fmt, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Method;
use mosn_codec::rpc::{
    Edit, EncodeError, FrameKind, FrameTimeout, FrameView, HeaderError, HeaderScope, RpcProtocol,
};
use mosn_core::{BodyLength, ConnectionInfo, Failure, FieldList, FrameHeaders, Headers, RequestHead, Scheme};
use mosn_net::clock::Moment;
use mosn_telemetry::UpstreamMetrics;
use mosn_upstream::{Attempt, Host, RequestToken};

use super::{client_stream::RpcClientStream, downstream::Downstream, upstream::Upstream};

/// A call that a client sent, before anything was decided about it.
pub struct Call<'a> {
    /// The client's connection.
    pub connection: &'a Rc<ConnectionInfo>,
    /// What the client speaks.
    pub protocol: &'static dyn RpcProtocol,
    /// The whole frame.
    pub frame: &'a [u8],
    /// Where things are in it.
    pub view: &'a FrameView,
    /// Which header fields routes see.
    pub scope: HeaderScope,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("protocol", &self.protocol.name())
            .field("view", self.view)
            .finish_non_exhaustive()
    }
}

impl<'a> Call<'a> {
    /// The value of a header field.
    ///
    /// # Errors
    /// When the frame's fields cannot be read.
    pub fn header(&self, name: &str) -> Result<Option<Cow<'a, [u8]>>, HeaderError> {
        self.protocol.header(self.frame, self.view, self.scope, name)
    }

    /// Whether a header field's name may begin with `prefix`; `false` is certain.
    #[must_use]
    pub fn may_have(&self, prefix: &str) -> bool {
        let block = self.view.headers.of(self.frame);
        // Without a block of its own, the protocol keeps its fields elsewhere.
        block.is_empty() || memchr::memmem::find(block, prefix.as_bytes()).is_some()
    }

    /// It as a request, to be changed before it is passed on.
    ///
    /// # Errors
    /// When the frame's fields cannot be read.
    pub fn head(&self) -> Result<RequestHead, HeaderError> {
        let frame = Rc::new(OwnedFrame::copy(self.protocol, self.frame, self.view));
        let headers = frame.headers(self.scope)?;
        Ok(frame.head(headers, self.view.kind == FrameKind::OneWay))
    }

    /// How long the caller waits, in milliseconds; negative = for ever, `None` = it does not say.
    #[must_use]
    pub const fn timeout(&self) -> Option<i64> {
        timeout(self.view)
    }
}

pub(super) const fn timeout(view: &FrameView) -> Option<i64> {
    match view.timeout {
        FrameTimeout::Unset => None,
        FrameTimeout::Never => Some(-1),
        FrameTimeout::Millis(millis) => Some(millis as i64),
    }
}

/// What is to be done with a call.
#[derive(Debug)]
pub enum Verdict {
    /// It goes to this upstream as it came; its reply comes back as it came.
    Relay(Relay),
    /// It takes the long way, as a request with a task of its own; to this host, if one was chosen.
    Serve(Option<Arc<Host>>),
    /// Its header fields cannot be read.
    Unreadable(HeaderError),
}

/// Where a call goes, and what it holds until its end.
#[derive(Debug)]
pub struct Relay {
    /// The connection to send it on.
    pub upstream: Rc<Upstream>,
    /// What became of its header fields ([`Call::head`]), if they change.
    pub headers: Option<Headers>,
    /// How long it may take; `None` = for ever.
    pub timeout: Option<Duration>,
    /// Whether it takes the long way once it has failed or its reply says so, which may send it again.
    pub again: bool,
    /// How long until it counts as failed for that; less than `timeout`.
    pub per_try: Option<Duration>,
    /// Who is told how it ended.
    pub observer: Rc<dyn RelayObserver>,
    /// Its place among the cluster's requests.
    pub token: RequestToken,
    /// What the balancer and outlier detection learn from it.
    pub attempt: Attempt,
}

/// Who is told of relayed calls.
pub trait RelayObserver: fmt::Debug {
    /// A call was sent.
    fn began(&self, upstream: &UpstreamFacts);

    /// A call goes on by the long way, which counts it anew.
    fn handed_over(&self, upstream: &UpstreamFacts);

    /// A call is over.
    fn ended(&self, call: &RelayedCall<'_>, end: RelayEnd);
}

/// A call that was relayed.
#[derive(Debug)]
pub struct RelayedCall<'a> {
    /// The client's connection.
    pub connection: &'a Rc<ConnectionInfo>,
    /// What it was sent to.
    pub upstream: &'a UpstreamFacts,
    /// When it came.
    pub start: Moment,
    /// The id that the client gave it.
    pub id: u64,
    /// Bytes of its content.
    pub received: u32,
}

/// How a relayed call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEnd {
    /// It was a call without a reply.
    OneWay,
    /// The upstream's reply went to the client.
    Reply {
        /// The HTTP status that the reply's status stands for.
        status: u16,
        /// Bytes of its content.
        sent: u32,
    },
    /// There was no reply from the upstream.
    Failed(Failure),
}

/// What an upstream connection knows of where it leads.
#[derive(Debug)]
pub struct UpstreamFacts {
    /// Unique in the process.
    pub connection_id: u64,
    /// What it speaks.
    pub protocol: &'static dyn RpcProtocol,
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// The host.
    pub host: Arc<Host>,
    /// This worker's shards of the host's metrics and the cluster's.
    pub metrics: [Arc<UpstreamMetrics>; 2],
}

/// A try that was made the quick way, for a request that goes on the long way.
#[derive(Debug)]
pub struct FirstTry {
    pub(super) upstream: Rc<Upstream>,
    pub(super) answer: Result<Rc<OwnedFrame>, Failure>,
    /// When it began.
    pub(super) start: Moment,
    pub(super) token: RequestToken,
    pub(super) attempt: Attempt,
}

impl FirstTry {
    /// The host that it went to.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.upstream.facts().host
    }

    pub(crate) fn into_stream(self) -> (RpcClientStream, RequestToken, Attempt) {
        (RpcClientStream::answered(self.upstream, self.answer), self.token, self.attempt)
    }
}

/// Who takes calls on by the long way.
pub(super) trait LongWay {
    fn take(&self, client: &Rc<Downstream>, frame: Rc<OwnedFrame>, first: FirstTry);
}

/// A frame that takes the long way, with what is known of it.
pub(super) struct OwnedFrame {
    pub(super) protocol: &'static dyn RpcProtocol,
    pub(super) view: FrameView,
    pub(super) bytes: Bytes,
    /// The client whose call it is.
    pub(super) client: Option<Rc<Downstream>>,
    /// The host that was chosen for it, if one was.
    pub(super) host: Option<Arc<Host>>,
}

impl fmt::Debug for OwnedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedFrame")
            .field("protocol", &self.protocol.name())
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

impl OwnedFrame {
    pub(super) fn copy(protocol: &'static dyn RpcProtocol, frame: &[u8], view: &FrameView) -> Self {
        Self { protocol, view: *view, bytes: Bytes::copy_from_slice(frame), client: None, host: None }
    }

    pub(super) fn body(&self) -> Bytes {
        let range = self.view.body.range();
        if range.end <= self.bytes.len() { self.bytes.slice(range) } else { Bytes::new() }
    }

    /// Its header fields, which carry it along.
    pub(super) fn headers(self: &Rc<Self>, scope: HeaderScope) -> Result<Headers, HeaderError> {
        let mut fields = FieldList::with_block(self.bytes.clone(), 8);
        let block = self.bytes.as_ptr() as usize..self.bytes.as_ptr() as usize + self.bytes.len();
        let place = |part: &[u8]| {
            let at = part.as_ptr() as usize;
            (block.contains(&at) && at + part.len() <= block.end).then(|| (at - block.start, part.len()))
        };
        self.protocol.visit_headers(&self.bytes, &self.view, scope, &mut |name, value| {
            match (place(name), place(&value)) {
                (Some(name), Some(value)) => fields.push_range(name, value),
                _ => fields.append(name, &value),
            }
            std::ops::ControlFlow::Continue(())
        })?;
        let frame: Rc<dyn std::any::Any> = Rc::<Self>::clone(self);
        Ok(Headers::Frame(Box::new(FrameHeaders::new(fields, frame))))
    }

    /// A request of these header fields.
    pub(super) fn head(&self, headers: Headers, one_way: bool) -> RequestHead {
        RequestHead {
            method: Method::POST,
            scheme: Scheme::Http,
            authority: Bytes::new(),
            path: Bytes::new(),
            headers,
            body: length(&self.body()),
            upgrade: None,
            expects_continue: false,
            one_way,
        }
    }

    /// No header fields but the frame.
    pub(super) fn bare(self: &Rc<Self>) -> Headers {
        let frame: Rc<dyn std::any::Any> = Rc::<Self>::clone(self);
        Headers::Frame(Box::new(FrameHeaders::new(FieldList::default(), frame)))
    }

    /// Appends it under another id, with whatever the long way changed.
    pub(super) fn write(
        &self,
        headers: &FrameHeaders,
        body: &Bytes,
        id: u64,
        out: &mut bytes::BytesMut,
    ) -> Result<(), EncodeError> {
        let own = self.body();
        let same = own.len() == body.len() && (own.as_ptr() == body.as_ptr() || own == *body);
        if same && !headers.is_changed() {
            self.protocol.append(&self.bytes, &self.view, id, out);
            return Ok(());
        }
        let pairs: Vec<(&[u8], &[u8])> = headers.iter().collect();
        let edit =
            Edit { headers: headers.is_changed().then_some(&pairs[..]), body: (!same).then_some(&body[..]) };
        self.protocol.rebuild(&self.bytes, &self.view, edit, id, out)
    }
}

/// The frame that header fields came with, if a connection that speaks `protocol` can carry it.
pub(super) fn frame_of<'h>(
    headers: &'h Headers,
    protocol: &'static dyn RpcProtocol,
) -> Option<(&'h FrameHeaders, Rc<OwnedFrame>)> {
    let Headers::Frame(headers) = headers else { return None };
    let frame = Rc::clone(headers.frame()).downcast::<OwnedFrame>().ok()?;
    protocol.carries(frame.protocol.name()).then_some((&**headers, frame))
}

pub(super) fn length(body: &Bytes) -> BodyLength {
    match body.len() {
        0 => BodyLength::Empty,
        length => BodyLength::Known(length as u64),
    }
}
