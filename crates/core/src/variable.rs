//! Named facts of a request: the same names in access logs, `%name%` header values and
//! `cluster_variable` (observability reference 4).

use crate::Protocol;

/// A variable, looked up by name once and evaluated for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Variable {
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
    /// The client's, also where the other is the original destination; ours.
    DownstreamPeerAddress,
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

/// A fact of a request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HeadPart {
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

/// The names that stand for themselves.
static FIXED: [(&str, Variable); 70] = {
    use {
        HeadPart as H,
        Protocol::{Http1, Http2},
        Variable as V,
    };
    [
        ("start_time", V::StartTime),
        ("request_received_duration", V::RequestReceivedDuration),
        ("response_received_duration", V::ResponseReceivedDuration),
        ("request_finished_duration", V::RequestFinishedDuration),
        ("process_time_duration", V::ProcessTimeDuration),
        ("duration", V::Duration),
        ("bytes_received", V::BytesReceived),
        ("bytes_sent", V::BytesSent),
        ("protocol", V::DownstreamProtocol),
        ("downstream_protocol", V::DownstreamProtocol),
        ("upstream_protocol", V::UpstreamProtocol),
        ("response_code", V::ResponseCode),
        ("response_flag", V::AnyResponseFlag),
        ("response_flags", V::AnyResponseFlag),
        ("response_code_details", V::Details),
        ("upstream_transport_failure_reason", V::ResponseFlagBits),
        ("upstream_local_address", V::UpstreamAddress),
        ("downstream_local_address", V::DownstreamLocalAddress),
        ("downstream_remote_address", V::DownstreamRemoteAddress),
        ("downstream_direct_remote_address", V::DownstreamPeerAddress),
        ("upstream_host", V::UpstreamHostname),
        ("upstream_cluster", V::UpstreamCluster),
        ("trace_id", V::TraceId),
        ("upstream_tries", V::Tries),
        ("upstream_hedges", V::Hedges),
        ("connection_id", V::ConnectionId),
        ("upstream_connection_id", V::UpstreamConnectionId),
        ("stream_id", V::StreamId),
        ("listener_name", V::ListenerName),
        ("listener_port", V::ListenerPort),
        ("listener_type", V::ListenerType),
        ("x-mosn-status", V::Status),
        ("x-mosn-host", V::Head(H::Authority)),
        ("authority", V::Head(H::Authority)),
        ("x-mosn-method", V::Head(H::Method)),
        ("x-mosn-path", V::Head(H::Path)),
        ("x-mosn-path-original", V::Head(H::OriginalPath)),
        ("x-mosn-querystring", V::Head(H::Query)),
        ("x-mosn-scheme", V::Only(Http2, H::Scheme)),
        ("Http2_request_scheme", V::Only(Http2, H::Scheme)),
        ("Http1_request_scheme", V::Only(Http1, H::Scheme)),
        ("Http1_request_method", V::Only(Http1, H::Method)),
        ("Http1_request_length", V::Only(Http1, H::Length)),
        ("Http1_request_uri", V::Only(Http1, H::Uri)),
        ("Http1_request_path", V::Only(Http1, H::Path)),
        ("Http1_request_path_original", V::Only(Http1, H::OriginalPath)),
        ("Http1_request_arg", V::Only(Http1, H::Query)),
        ("connection_pool_index", V::Unset),
        ("upstream_index", V::Unset),
        ("ori_remote_addr", V::Unset),
        ("x-mosn-rpc-service", V::Unset),
        ("x-mosn-rpc-method", V::Unset),
        ("x-mosn-req-raw-data", V::Unset),
        ("x-mosn-resp-raw-data", V::Unset),
        ("x-mosn-router-meta", V::Unset),
        ("proxy_try_timeout", V::Unset),
        ("proxy_global_timeout", V::Unset),
        ("proxy_disable_retry", V::Unset),
        ("proxy_gzip_switch", V::Unset),
        ("proxy_direct_response", V::Unset),
        ("protocol_config", V::Unset),
        ("listener_match_fallback_ip", V::Unset),
        ("Http2_request_use_stream", V::Unset),
        ("Http2_response_use_stream", V::Unset),
        ("gRPC_serviceName", V::Unset),
        ("requestResult", V::Unset),
        ("Dubbo_service", V::Unset),
        ("Dubbo_method", V::Unset),
        ("x_seata_xid", V::Unset),
        ("x_seata_branch_id", V::Unset),
    ]
};

/// The variable of a header, an argument or a cookie.
type Named = fn(Box<str>) -> Variable;

/// What begins the names of variables that go on with a header, an argument or a cookie, and whether
/// only one protocol has them.
static PREFIXED: [(&str, Named); 9] = {
    use {
        HeadPart as H,
        Protocol::{Http1, Http2},
        Variable as V,
    };
    [
        ("request_header_", V::RequestHeader),
        ("response_header_", V::ResponseHeader),
        ("request_arg_", |rest| V::Head(H::Argument(rest))),
        ("cookie_", |rest| V::Head(H::Cookie(rest))),
        ("Http1_request_header_", |rest| V::Only(Http1, H::Header(rest))),
        ("Http1_request_arg_", |rest| V::Only(Http1, H::Argument(rest))),
        ("Http1_cookie_", |rest| V::Only(Http1, H::Cookie(rest))),
        ("Http2_request_header_", |rest| V::Only(Http2, H::Header(rest))),
        ("Http2_cookie_", |rest| V::Only(Http2, H::Cookie(rest))),
    ]
};

impl Variable {
    /// The variable of this name; `None` for a name that MOSN does not know either.
    ///
    /// `request_arg_<name>` and `cookie_<name>`, without MOSN's `Http1_`/`Http2_`, are ours and work
    /// over every protocol.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let fixed = FIXED.iter().find(|(known, _)| *known == name).map(|(_, variable)| variable.clone());
        fixed.or_else(|| {
            PREFIXED.iter().find_map(|(prefix, of)| name.strip_prefix(prefix).map(|rest| of(rest.into())))
        })
    }

    /// The names there are, apart from those that go on with a name of the request's own.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FIXED.iter().map(|&(name, _)| name)
    }

    /// Whether the value is text to MOSN. Header values and cluster names take only such variables;
    /// the others (ids and the like) count as empty there, while access logs print them.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        !matches!(
            self,
            Self::ConnectionId
                | Self::UpstreamConnectionId
                | Self::StreamId
                | Self::ListenerPort
                | Self::Tries
                | Self::Hedges
        )
    }
}
