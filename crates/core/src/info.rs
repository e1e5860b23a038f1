//! What is known of a request while it lives: the source of logs, variables and metrics.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{Protocol, ResponseFlags};

/// What all requests of one downstream connection share.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// Process-wide, starting at 1.
    pub id: u64,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The listener's `type`: `ingress`, `egress` or empty.
    pub listener_type: Arc<str>,
    /// Our end; `None` on a unix socket.
    pub local: Option<SocketAddr>,
    /// The peer; on listeners that restore the original destination, that destination, as in MOSN.
    pub remote: Option<SocketAddr>,
    /// What is known of a connection whose original destination was restored.
    pub redirected: Option<Redirected>,
}

/// A connection that was on its way elsewhere.
#[derive(Debug)]
pub struct Redirected {
    /// Where it was going, as `ip:port`.
    pub destination: Box<str>,
    /// Where it comes from.
    pub peer: Option<SocketAddr>,
}

impl ConnectionInfo {
    /// Where it comes from.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.redirected.as_ref().map_or(self.remote, |redirected| redirected.peer)
    }
}

/// One request, from the first byte of its head to its access-log line.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// The connection it came in on.
    pub connection: Rc<ConnectionInfo>,
    /// What the client spoke.
    pub protocol: Protocol,
    /// What the upstream was spoken to in, once a host was chosen.
    pub upstream_protocol: Option<Protocol>,
    /// When its head was complete.
    pub start: Instant,
    /// The same moment on the wall clock.
    pub start_wall: SystemTime,
    /// From start until the whole request had been forwarded.
    pub request_received: Option<Duration>,
    /// From start until the upstream's head arrived.
    pub response_received: Option<Duration>,
    /// From start until the request was over.
    pub finished: Option<Duration>,
    /// Body bytes from the client.
    pub bytes_received: u64,
    /// Body bytes to the client.
    pub bytes_sent: u64,
    /// Status sent; 0 while there is none.
    pub response_code: u16,
    /// Why, if the reply is not simply the upstream's.
    pub flags: ResponseFlags,
    /// The failure's word (see [`crate::Failure::row`]), or empty.
    pub details: &'static str,
    /// The cluster the route chose.
    pub cluster: Option<Arc<str>>,
    /// The chosen host's address.
    pub upstream_address: Option<Arc<str>>,
    /// The chosen host's configured `hostname`.
    pub upstream_hostname: Option<Arc<str>>,
    /// The upstream connection's id.
    pub upstream_connection_id: Option<u64>,
    /// The stream's id on its connection.
    pub stream_id: u64,
    /// How many times the request was sent upstream.
    pub tries: u32,
    /// How many of them began while an earlier one was still out.
    pub hedges: u32,
}

impl RequestInfo {
    /// A request that starts now.
    #[must_use]
    pub fn new(
        connection: Rc<ConnectionInfo>,
        protocol: Protocol,
        stream_id: u64,
        start: Instant,
        start_wall: SystemTime,
    ) -> Self {
        Self {
            connection,
            protocol,
            upstream_protocol: None,
            start,
            start_wall,
            request_received: None,
            response_received: None,
            finished: None,
            bytes_received: 0,
            bytes_sent: 0,
            response_code: 0,
            flags: ResponseFlags::NONE,
            details: "",
            cluster: None,
            upstream_address: None,
            upstream_hostname: None,
            upstream_connection_id: None,
            stream_id,
            tries: 0,
            hedges: 0,
        }
    }

    /// The time that the proxy itself took (metric `process_time`): until the request had been
    /// forwarded, and from the reply's arrival until its end.
    #[must_use]
    pub fn process_time(&self) -> Duration {
        let request = self.request_received.unwrap_or_default();
        match (self.response_received, self.finished) {
            (Some(received), Some(finished)) => request + finished.saturating_sub(received),
            _ => request,
        }
    }
}
