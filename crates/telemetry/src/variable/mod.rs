//! Named facts of a request: the same names in access logs, `%name%` header values and
//! `cluster_variable` (observability reference 4).

mod eval;
mod query;
#[cfg(test)]
mod tests;
mod trace_id;

use mosn_core::{Headers, Protocol, RequestHead, RequestInfo};

/// What is known of a request when a variable is asked for.
#[derive(Clone, Copy, Debug)]
pub struct LogContext<'a> {
    /// What the engine recorded.
    pub info: &'a RequestInfo,
    /// The request as it was, or is being, sent upstream; `None` where none could be read.
    pub request: Option<&'a RequestHead>,
    /// The reply's fields; `None` before there is a reply.
    pub response_headers: Option<&'a Headers>,
    /// Path and query as the client sent them; `None` where they were not rewritten.
    pub original_path: Option<&'a [u8]>,
    /// The trace id of the request's span; `None` without tracing. HTTP/1 requests then show a
    /// generated one.
    pub trace_id: Option<&'a [u8]>,
}

impl<'a> LogContext<'a> {
    /// A context that knows no more than `info`.
    #[must_use]
    pub const fn new(info: &'a RequestInfo) -> Self {
        Self { info, request: None, response_headers: None, original_path: None, trace_id: None }
    }
}

/// A variable, looked up by name once and evaluated for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    StartTime,
    RequestReceivedDuration,
    ResponseReceivedDuration,
    RequestFinishedDuration,
    ProcessTimeDuration,
    Duration,
    BytesReceived,
    BytesSent,
    DownstreamProtocol,
    UpstreamProtocol,
    ResponseCode,
    AnyResponseFlag,
    /// Which failure it was, by its word; ours.
    Details,
    ResponseFlagBits,
    /// MOSN's `upstream_local_address`, which is the upstream host's address.
    UpstreamAddress,
    DownstreamLocalAddress,
    DownstreamRemoteAddress,
    /// MOSN's `upstream_host`, which is the host's configured name, never its address.
    UpstreamHostname,
    UpstreamCluster,
    /// How often the request was sent; ours.
    Tries,
    /// How many of these tries began while an earlier one was still out; ours.
    Hedges,
    TraceId,
    ConnectionId,
    UpstreamConnectionId,
    StreamId,
    ListenerName,
    ListenerPort,
    ListenerType,
    Status,
    RequestHeader(Box<str>),
    ResponseHeader(Box<str>),
    /// The rest are facts of the request's head.
    Head(HeadPart),
    /// The same, but only of requests that came over this protocol.
    Only(Protocol, HeadPart),
    /// A name that MOSN knows, for which nothing in this process sets a value.
    Unset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HeadPart {
    Scheme,
    Method,
    Authority,
    /// Decoded, after rewriting.
    Path,
    /// As the client sent it, without the query.
    OriginalPath,
    /// Path and query, after rewriting.
    Uri,
    Query,
    Length,
    Header(Box<str>),
    Argument(Box<str>),
    Cookie(Box<str>),
}

impl Variable {
    /// The variable of this name; `None` for a name that MOSN does not know either.
    ///
    /// `request_arg_<name>` and `cookie_<name>`, without MOSN's `Http1_`/`Http2_`, are ours and work
    /// over every protocol.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::fixed(name).or_else(|| Self::prefixed(name)).map(Self)
    }

    fn fixed(name: &str) -> Option<Kind> {
        use Kind as K;
        let h1 = |part| K::Only(Protocol::Http1, part);
        Some(match name {
            "start_time" => K::StartTime,
            "request_received_duration" => K::RequestReceivedDuration,
            "response_received_duration" => K::ResponseReceivedDuration,
            "request_finished_duration" => K::RequestFinishedDuration,
            "process_time_duration" => K::ProcessTimeDuration,
            "duration" => K::Duration,
            "bytes_received" => K::BytesReceived,
            "bytes_sent" => K::BytesSent,
            "protocol" | "downstream_protocol" => K::DownstreamProtocol,
            "upstream_protocol" => K::UpstreamProtocol,
            "response_code" => K::ResponseCode,
            "response_flag" | "response_flags" => K::AnyResponseFlag,
            "response_code_details" => K::Details,
            "upstream_transport_failure_reason" => K::ResponseFlagBits,
            "upstream_local_address" => K::UpstreamAddress,
            "downstream_local_address" => K::DownstreamLocalAddress,
            "downstream_remote_address" => K::DownstreamRemoteAddress,
            "upstream_host" => K::UpstreamHostname,
            "upstream_cluster" => K::UpstreamCluster,
            "trace_id" => K::TraceId,
            "upstream_tries" => K::Tries,
            "upstream_hedges" => K::Hedges,
            "connection_id" => K::ConnectionId,
            "upstream_connection_id" => K::UpstreamConnectionId,
            "stream_id" => K::StreamId,
            "listener_name" => K::ListenerName,
            "listener_port" => K::ListenerPort,
            "listener_type" => K::ListenerType,
            "x-mosn-status" => K::Status,
            "x-mosn-host" | "authority" => K::Head(HeadPart::Authority),
            "x-mosn-method" => K::Head(HeadPart::Method),
            "x-mosn-path" => K::Head(HeadPart::Path),
            "x-mosn-path-original" => K::Head(HeadPart::OriginalPath),
            "x-mosn-querystring" => K::Head(HeadPart::Query),
            "x-mosn-scheme" | "Http2_request_scheme" => K::Only(Protocol::Http2, HeadPart::Scheme),
            "Http1_request_scheme" => h1(HeadPart::Scheme),
            "Http1_request_method" => h1(HeadPart::Method),
            "Http1_request_length" => h1(HeadPart::Length),
            "Http1_request_uri" => h1(HeadPart::Uri),
            "Http1_request_path" => h1(HeadPart::Path),
            "Http1_request_path_original" => h1(HeadPart::OriginalPath),
            "Http1_request_arg" => h1(HeadPart::Query),
            "connection_pool_index"
            | "upstream_index"
            | "ori_remote_addr"
            | "x-mosn-rpc-service"
            | "x-mosn-rpc-method"
            | "x-mosn-req-raw-data"
            | "x-mosn-resp-raw-data"
            | "x-mosn-router-meta"
            | "proxy_try_timeout"
            | "proxy_global_timeout"
            | "proxy_disable_retry"
            | "proxy_gzip_switch"
            | "proxy_direct_response"
            | "protocol_config"
            | "listener_match_fallback_ip"
            | "Http2_request_use_stream"
            | "Http2_response_use_stream"
            | "gRPC_serviceName"
            | "requestResult"
            | "Dubbo_service"
            | "Dubbo_method"
            | "x_seata_xid"
            | "x_seata_branch_id" => K::Unset,
            _ => return None,
        })
    }

    fn prefixed(name: &str) -> Option<Kind> {
        let only = |protocol, part: fn(Box<str>) -> HeadPart| {
            move |rest: &str| Kind::Only(protocol, part(rest.into()))
        };
        let http1 = |part| only(Protocol::Http1, part);
        let http2 = |part| only(Protocol::Http2, part);
        let strip = |prefix| name.strip_prefix(prefix);
        let any = |part: fn(Box<str>) -> HeadPart| move |rest: &str| Kind::Head(part(rest.into()));
        None.or_else(|| strip("request_header_").map(|rest| Kind::RequestHeader(rest.into())))
            .or_else(|| strip("response_header_").map(|rest| Kind::ResponseHeader(rest.into())))
            .or_else(|| strip("request_arg_").map(any(HeadPart::Argument)))
            .or_else(|| strip("cookie_").map(any(HeadPart::Cookie)))
            .or_else(|| strip("Http1_request_header_").map(http1(HeadPart::Header)))
            .or_else(|| strip("Http1_request_arg_").map(http1(HeadPart::Argument)))
            .or_else(|| strip("Http1_cookie_").map(http1(HeadPart::Cookie)))
            .or_else(|| strip("Http2_request_header_").map(http2(HeadPart::Header)))
            .or_else(|| strip("Http2_cookie_").map(http2(HeadPart::Cookie)))
    }

    /// Whether the value is text to MOSN. Header values and cluster names take only such variables;
    /// the others (ids and the like) count as empty there, while access logs print them.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        !matches!(
            self.0,
            Kind::ConnectionId
                | Kind::UpstreamConnectionId
                | Kind::StreamId
                | Kind::ListenerPort
                | Kind::Tries
                | Kind::Hedges
        )
    }

    /// Whether [`LogContext::request`] is needed for it.
    pub(crate) const fn needs_request(&self) -> bool {
        matches!(self.0, Kind::RequestHeader(_) | Kind::Head(_) | Kind::Only(..))
    }

    /// Whether [`LogContext::response_headers`] is needed for it.
    pub(crate) const fn needs_response_headers(&self) -> bool {
        matches!(self.0, Kind::ResponseHeader(_))
    }

    /// Whether the value may hold bytes that a client or an upstream chose.
    pub(crate) const fn is_foreign(&self) -> bool {
        matches!(
            self.0,
            Kind::RequestHeader(_) | Kind::ResponseHeader(_) | Kind::Head(_) | Kind::Only(..) | Kind::TraceId
        )
    }
}
