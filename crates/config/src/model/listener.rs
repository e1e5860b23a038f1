use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use mosn_core::Protocol;

use super::{Name, RouterSpec};

/// A listener: where connections come in, and what happens to them.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// Unique.
    pub name: Name,
    /// `ingress`, `egress` or empty: shown in logs and traces.
    pub kind: Name,
    /// Where it listens, or, for an unbound one, the original destination it stands for.
    pub address: ListenerAddress,
    /// Whether it binds. An unbound listener gets connections only from a bound one that restores
    /// original destinations.
    pub bind: bool,
    /// One socket per worker, balanced by the kernel, instead of one that is shared out.
    pub reuse_port: bool,
    /// Restores the destination a connection had before it was redirected here, and hands it to
    /// the listener of that address.
    pub original_dst: Option<OriginalDst>,
    /// Closes a connection without traffic for this long; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// Access logs, each written for every request.
    pub access_logs: Vec<AccessLogSpec>,
    /// What happens to a connection, by what is known of it once the listener filters have run.
    pub filter_chains: Vec<FilterChainSpec>,
    /// The chain for connections that no other takes; without it they are closed.
    pub default_filter_chain: Option<FilterChainSpec>,
}

/// A listener's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenerAddress {
    /// TCP. An unspecified address binds both families on one socket.
    Tcp(SocketAddr),
    /// UDP.
    Udp(SocketAddr),
    /// A unix stream socket; a name that starts with `@` is abstract.
    Unix(PathBuf),
}

impl std::fmt::Display for ListenerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// How redirected connections arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginalDst {
    /// `TPROXY` (the socket's own local address) instead of `REDIRECT` (`SO_ORIGINAL_DST`).
    pub transparent: bool,
    /// Falls back to a listener on 127.0.0.1 instead of one on the unspecified address.
    pub fallback_to_local: bool,
}

/// An access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogSpec {
    /// Where it goes.
    pub output: super::LogOutput,
    /// `%variable%` format; `None` = MOSN's default.
    pub format: Option<String>,
}

/// One filter chain: what it takes, and what it does.
#[derive(Clone, Debug)]
pub struct FilterChainSpec {
    /// Which connections it takes; the most specific match wins.
    pub matches: ChainMatch,
    /// The network filter that owns the connection.
    pub filter: NetworkFilterSpec,
}

/// What a connection must be for a chain to take it; each criterion that is empty takes any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainMatch {
    /// Original destination port.
    pub destination_port: Option<u16>,
    /// Original destination address.
    pub destination_prefixes: Vec<IpPrefix>,
    /// TLS server names; `*.example.com` takes any subdomain.
    pub server_names: Vec<String>,
    /// `tls` or `raw_buffer`.
    pub transport_protocol: Option<String>,
    /// ALPN names, any one of them.
    pub application_protocols: Vec<String>,
    /// The peer's address.
    pub source_prefixes: Vec<IpPrefix>,
    /// The peer's port, any one of them.
    pub source_ports: Vec<u16>,
}

/// An address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpPrefix {
    /// The network's address.
    pub address: IpAddr,
    /// How many leading bits count: 0 to 32 or 128.
    pub length: u8,
}

impl IpPrefix {
    /// Whether `ip` lies in the range; an IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.length));
                u32::from(net).checked_shr(shift).unwrap_or(0)
                    == u32::from(ip).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.length));
                u128::from(net).checked_shr(shift).unwrap_or(0)
                    == u128::from(ip).checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

/// What owns a connection once it has been accepted.
#[derive(Clone, Debug)]
pub enum NetworkFilterSpec {
    /// The proxy for HTTP and RPC requests (`proxy`).
    Proxy(ProxySpec),
}

/// The request proxy's settings on one listener.
#[derive(Clone, Debug)]
pub struct ProxySpec {
    /// What clients may speak.
    pub downstream: DownstreamProtocols,
    /// Where requests go.
    pub router: RouterSource,
    /// HTTP/1 and HTTP/2 limits.
    pub http: HttpLimits,
    /// How RPC protocols are spoken, by name, where it is not the default.
    pub rpc: Vec<(&'static str, RpcSpec)>,
    /// How requests are copied to the clusters that their routes say; `None` = not at all.
    pub mirror: Option<MirrorSpec>,
}

/// How requests are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorSpec {
    /// How many copies are sent; above 0.
    pub copies: u32,
    /// Instead, as many as the cluster has healthy hosts, and the request itself goes nowhere: the
    /// client is answered 200.
    pub broadcast: bool,
}

impl Default for MirrorSpec {
    fn default() -> Self {
        Self { copies: 1, broadcast: false }
    }
}

/// How an RPC protocol is spoken on one listener, and with the upstreams of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcSpec {
    /// Bytes of one frame, either way; a larger one ends its connection. At least 1 KiB.
    pub max_frame_bytes: u32,
    /// Tells clients to send no more when the listener drains, if the protocol has a frame for it.
    pub goaway: bool,
    /// How requests share upstream connections.
    pub pool: PoolMode,
}

impl Default for RpcSpec {
    fn default() -> Self {
        Self { max_frame_bytes: 64 << 20, goaway: false, pool: PoolMode::Multiplex }
    }
}

/// How requests share the connections to a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// Many requests at once on few connections.
    #[default]
    Multiplex,
    /// One request at a time on a connection.
    PingPong,
    /// Each client connection has an upstream connection of its own, which ends with it.
    Binding,
}

impl ProxySpec {
    /// How the RPC protocol of this name is spoken.
    #[must_use]
    pub fn rpc(&self, name: &str) -> RpcSpec {
        self.rpc.iter().find(|(known, _)| *known == name).map(|(_, spec)| *spec).unwrap_or_default()
    }
}

/// Which protocols a listener speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownstreamProtocols {
    /// One, spoken from the first byte on.
    One(Protocol),
    /// Several, told apart by the first bytes, in this order.
    Detect(Vec<Protocol>),
}

/// Where a proxy finds its routes.
#[derive(Clone, Debug)]
pub enum RouterSource {
    /// In the route table of this name, which may come and change later.
    Named(Name),
    /// Right here.
    Inline(Box<RouterSpec>),
}

/// Limits on what one downstream HTTP connection may send or hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// HTTP/1: bytes of request line and header fields; more is answered 431.
    pub max_header_size: usize,
    /// HTTP/2: bytes of a header list as RFC 9113 6.5.2 counts them (32 more for each field); more
    /// is answered 431.
    pub max_header_list_size: u32,
    /// Header fields; more is answered 431.
    pub max_header_count: usize,
    /// Bytes of the request target; more is answered 414.
    pub max_uri_length: usize,
    /// Bytes of a request body; more is answered 413. 0 = no limit.
    pub max_request_body_size: u64,
    /// From the first byte of a request, or the opening of the connection, until its header is
    /// complete; more is answered 408. 0 = no limit.
    pub header_timeout: Duration,
    /// Longest silence within a body, either way; more is answered 408 or resets the stream. 0 = no limit.
    pub body_idle_timeout: Duration,
    /// HTTP/2: streams that a client may have open.
    pub max_concurrent_streams: u32,
    /// HTTP/2: streams that a client may reset in any 30 s window, as long as they are at least half
    /// of those it opened, before the connection is closed.
    pub max_resets: u32,
    /// HTTP/2: PING and SETTINGS frames, and empty DATA frames, that a client may send in any 30 s
    /// window on top of ten for each stream, before the connection is closed.
    pub max_control_frames: u32,
    /// HTTP/2: bytes of one stream that a client may send ahead, its window; the connection's is four
    /// times that. HTTP/1 holds at most 64 KiB each way, whatever this says.
    pub max_buffered_bytes: usize,
}

impl Default for HttpLimits {
    /// `max_header_size` is MOSN's; the rest are ours.
    fn default() -> Self {
        Self {
            max_header_size: 8192,
            max_header_list_size: 64 * 1024,
            max_header_count: 100,
            max_uri_length: 8192,
            max_request_body_size: 0,
            header_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(300),
            max_concurrent_streams: 1000,
            max_resets: 500,
            max_control_frames: 1000,
            max_buffered_bytes: 256 * 1024,
        }
    }
}
