//! What a configuration may ask for that this build does not have.

use std::fmt;

/// A feature that a configuration can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    Tls,
    StreamFilter(&'static str),
    NetworkFilter(&'static str),
    ProtocolFallback,
    UdpListener,
    Tracing,
    WasmPlugins,
    Xds,
    Extension(&'static str),
    SharedMemory,
}

/// The one list of what is understood, but not built yet. A feature that is built leaves it.
const NOT_BUILT: &[Feature] = &[
    Feature::Tls,
    Feature::StreamFilter("fault"),
    Feature::StreamFilter("payload_limit"),
    Feature::StreamFilter("gzip"),
    Feature::StreamFilter("fault_tolerance"),
    Feature::StreamFilter("dsl"),
    Feature::StreamFilter("dubbo_stream"),
    Feature::StreamFilter("grpc_metric"),
    Feature::StreamFilter("ip_access"),
    Feature::StreamFilter("transcoder"),
    Feature::StreamFilter("proxywasm"),
    Feature::StreamFilter("seata"),
    Feature::StreamFilter("header_to_metadata"),
    Feature::StreamFilter("flowControlFilter"),
    Feature::StreamFilter("jwt_authn"),
    Feature::StreamFilter("mixer"),
    Feature::StreamFilter("istio.stats"),
    Feature::NetworkFilter("tcp_proxy"),
    Feature::NetworkFilter("udp_proxy"),
    Feature::NetworkFilter("grpc"),
    Feature::NetworkFilter("tunnel"),
    Feature::ProtocolFallback,
    Feature::UdpListener,
    Feature::Tracing,
    Feature::WasmPlugins,
    Feature::Xds,
    Feature::Extension("tunnel_agent"),
    Feature::Extension("dubbo_registry"),
    Feature::SharedMemory,
];

impl Feature {
    /// Whether this build has it.
    pub(crate) fn is_built(self) -> bool {
        !NOT_BUILT.contains(&self)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls => f.write_str("TLS"),
            Self::StreamFilter(name) => write!(f, "stream filter {name}"),
            Self::NetworkFilter(name) => write!(f, "network filter {name}"),
            Self::ProtocolFallback => f.write_str("fallback for unknown protocols"),
            Self::UdpListener => f.write_str("UDP listeners"),
            Self::Tracing => f.write_str("tracing"),
            Self::WasmPlugins => f.write_str("Wasm plugins"),
            Self::Xds => f.write_str("xDS"),
            Self::Extension(name) => write!(f, "extension {name}"),
            Self::SharedMemory => f.write_str("metrics in shared memory"),
        }
    }
}
