//! Messages as the engine sees them: a head, then frames of body, perhaps trailers.

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::{Failure, Headers};

/// An application protocol, by the name that configuration and logs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.0 and 1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// An RPC protocol, by its name; the codecs know which there are.
    Rpc(&'static str),
}

impl Protocol {
    /// MOSN's name, case-sensitive in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "Http1",
            Self::Http2 => "Http2",
            Self::Rpc(name) => name,
        }
    }
}

/// Whether `authority` can be sent as `Host` or `:authority`: a host, perhaps with a port, and
/// nothing that a reader might take for another part of a URI.
#[must_use]
pub fn is_authority(authority: &[u8]) -> bool {
    !authority.is_empty()
        && authority.len() <= 512
        && authority.iter().all(|&byte| byte.is_ascii_graphic() && !b"/?#@\\\"<>^`{|}".contains(&byte))
}

/// The scheme a request was made with, from the transport it came over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As written in a URI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What is known of a body's length when its head arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body and there are no trailers.
    Empty,
    /// Exactly this many bytes, never 0.
    Known(u64),
    /// As many as come.
    Unknown,
}

impl BodyLength {
    /// Whether nothing follows the head.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::Empty)
    }
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method; case-sensitive, and not necessarily one that is known.
    pub method: Method,
    /// The scheme of the transport.
    pub scheme: Scheme,
    /// `Host` or `:authority`, as received, with the port if it had one. Empty if absent.
    pub authority: Bytes,
    /// Path and query as received, percent-encoding untouched. Starts with `/`, or is `*` for an
    /// `OPTIONS *`, or is empty for a plain CONNECT. Visible ASCII only.
    pub path: Bytes,
    /// The header fields, without `Host` when it came as `:authority`, and without hop-by-hop
    /// fields: those end with the connection that carried them.
    pub headers: Headers,
    /// What follows.
    pub body: BodyLength,
    /// The protocol that the connection or stream should switch to (`websocket`): from `Upgrade`
    /// in HTTP/1, from `:protocol` of an extended CONNECT in HTTP/2. After a successful reply the
    /// stream is a tunnel.
    pub upgrade: Option<Bytes>,
    /// Whether the client waits for a `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the client awaits no reply of any kind, as RPC protocols allow. Never so in HTTP.
    pub one_way: bool,
}

impl RequestHead {
    /// The path without the query.
    #[must_use]
    pub fn path_only(&self) -> &[u8] {
        match self.path.iter().position(|&byte| byte == b'?') {
            Some(at) => &self.path[..at],
            None => &self.path,
        }
    }

    /// The query without its `?`, if there is a `?`.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        self.path.iter().position(|&byte| byte == b'?').map(|at| &self.path[at + 1..])
    }
}

/// The head of a reply.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status; 101 or, for an extended CONNECT, 200 turn the stream into a tunnel.
    pub status: StatusCode,
    /// The header fields, without hop-by-hop fields.
    pub headers: Headers,
    /// What follows. For a reply to HEAD, and for 304, [`BodyLength::Empty`] whatever
    /// `Content-Length` says.
    pub body: BodyLength,
}

/// What follows a head on a stream.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A piece of the body; empty only where it merely says that the body is over.
    Data {
        /// The bytes.
        data: Bytes,
        /// Whether they are the last, and no trailers follow.
        end: bool,
    },
    /// Trailers, which end the body.
    Trailers(Box<Headers>),
}

impl Frame {
    /// The end of a body that was sent before.
    pub const END: Self = Self::Data { data: Bytes::new(), end: true };

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Trailers(_) | Self::Data { end: true, .. })
    }

    /// Body bytes in this frame.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Data { data, .. } => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    /// Whether it carries no body bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A stream that ended before its end: nothing more can be read from it or written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset(pub Failure);
