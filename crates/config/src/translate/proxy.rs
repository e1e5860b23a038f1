use std::collections::HashSet;

use mosn_codec::detect::Candidate;
use mosn_core::Protocol;

use super::Names;
use super::route::positive;
use crate::document::At;
use crate::features::Feature;
use crate::model::{DownstreamProtocols, HttpLimits, Name, PoolMode, ProxySpec, RouterSource, RpcSpec};
use crate::mosn::{ExtendConfig, Http1Settings, Http2Settings, ProxyConfig, RpcSettings};
use crate::problem::Severity;
use crate::value::GoDuration;

pub(super) fn proxy(
    at: &At<'_>,
    config: &ProxyConfig,
    routers: &HashSet<Name>,
    names: &mut Names,
) -> Option<ProxySpec> {
    let extend = config.extend_config.as_ref();
    let downstream = downstream(at, config, extend)?;
    let at_router = at.key("router_config_name");
    if config.router_config_name.is_empty() {
        at_router.warning("names no router: every request is answered 404");
    } else if !routers.contains(config.router_config_name.as_str()) {
        at_router.warning(format!(
            "there is no router {:?}: requests are answered 404 until there is",
            config.router_config_name
        ));
    }
    if config.fallback_for_unknown_protocol {
        at.key("fallback_for_unknown_protocol").needs(Feature::ProtocolFallback);
    }
    let (http, rpc) = match extend {
        Some(extend) => {
            let at = at.key("extend_config");
            (limits(&at, extend, &downstream), rpc(&at, extend, &downstream))
        }
        None => (HttpLimits::default(), Vec::new()),
    };
    let router = RouterSource::Named(names.share(&config.router_config_name));
    Some(ProxySpec { downstream, router, http, rpc, mirror: None })
}

fn downstream(
    at: &At<'_>,
    config: &ProxyConfig,
    extend: Option<&ExtendConfig>,
) -> Option<DownstreamProtocols> {
    if config.downstream_protocol != "X" {
        return protocols(&at.key("downstream_protocol"), &config.downstream_protocol);
    }
    // The older way of naming an RPC protocol.
    match extend.filter(|extend| !extend.sub_protocol.is_empty()) {
        Some(extend) => {
            let at = at.key("extend_config");
            protocols(&at.key("sub_protocol"), &extend.sub_protocol)
        }
        None => {
            at.key("downstream_protocol").error("\"X\" needs a protocol in extend_config.sub_protocol");
            None
        }
    }
}

fn protocols(at: &At<'_>, text: &str) -> Option<DownstreamProtocols> {
    if text.is_empty() {
        at.error(
            "a protocol is required: Http1, Http2, bolt, boltv2, dubbo, dubbo-thrift, tars, or Auto for any",
        );
        return None;
    }
    let mut protocols = Vec::new();
    for name in text.split(',') {
        if name == "Auto" {
            return Some(DownstreamProtocols::Detect(Candidate::all().map(Candidate::protocol).collect()));
        }
        protocols.extend(protocol(at, name));
    }
    protocols.dedup();
    match protocols.as_slice() {
        [] => None,
        [only] => Some(DownstreamProtocols::One(*only)),
        _ => Some(DownstreamProtocols::Detect(protocols)),
    }
}

/// The protocol of this name; if there is none, that is an error here.
pub(super) fn protocol(at: &At<'_>, name: &str) -> Option<Protocol> {
    let candidate = Candidate::by_name(name);
    if candidate.is_none() {
        let names = Candidate::all().map(Candidate::name);
        at.unknown(Severity::Error, format!("unknown protocol {name:?}"), name, names);
    }
    candidate.map(Candidate::protocol)
}

impl DownstreamProtocols {
    fn speaks(&self, protocol: Protocol) -> bool {
        match self {
            Self::One(one) => *one == protocol,
            Self::Detect(several) => several.contains(&protocol),
        }
    }
}

/// The settings of the RPC protocols that the listener speaks.
fn rpc(at: &At<'_>, extend: &ExtendConfig, downstream: &DownstreamProtocols) -> Vec<(&'static str, RpcSpec)> {
    let mut specs = Vec::new();
    if let DownstreamProtocols::One(Protocol::Rpc(name)) = downstream {
        let flat = RpcSettings {
            enable_bolt_goaway: extend.enable_bolt_goaway,
            max_frame_bytes: extend.max_frame_bytes,
            pool_mode: extend.pool_mode.clone(),
        };
        specs.push((*name, rpc_spec(at, name, &flat)));
    }
    for (name, settings) in [
        ("bolt", &extend.bolt),
        ("boltv2", &extend.boltv2),
        ("dubbo", &extend.dubbo),
        ("dubbo-thrift", &extend.dubbo_thrift),
        ("tars", &extend.tars),
    ] {
        let Some(settings) = settings else { continue };
        let at = at.key(name);
        if downstream.speaks(Protocol::Rpc(name)) {
            specs.retain(|(known, _)| *known != name);
            specs.push((name, rpc_spec(&at, name, settings)));
        } else {
            at.warning(format!("has no effect: the listener does not speak {name}"));
        }
    }
    specs
}

fn rpc_spec(at: &At<'_>, name: &str, settings: &RpcSettings) -> RpcSpec {
    let mut spec = RpcSpec::default();
    if let Some(goaway) = settings.enable_bolt_goaway {
        if name == "bolt" {
            spec.goaway = goaway;
        } else if goaway {
            at.key("enable_bolt_goaway").warning(format!("has no effect: {name} has no goaway frame"));
        }
    }
    match settings.max_frame_bytes {
        None => {}
        Some(bytes) if (1024..=1 << 30).contains(&bytes) => spec.max_frame_bytes = bytes as u32,
        Some(bytes) => {
            at.key("max_frame_bytes").error(format!("expected 1024 to {} bytes, found {bytes}", 1 << 30));
        }
    }
    if let Some(mode) = &settings.pool_mode {
        const MODES: [(&str, PoolMode); 3] = [
            ("multiplex", PoolMode::Multiplex),
            ("ping-pong", PoolMode::PingPong),
            ("binding", PoolMode::Binding),
        ];
        match MODES.into_iter().find(|(known, _)| known == mode) {
            Some((_, mode)) => spec.pool = mode,
            None => at.key("pool_mode").unknown(
                Severity::Error,
                format!("unknown pool mode {mode:?}"),
                mode,
                MODES.map(|(known, _)| known),
            ),
        }
    }
    spec
}

/// The settings of the protocols that the listener speaks, ours put into one.
fn limits(at: &At<'_>, extend: &ExtendConfig, downstream: &DownstreamProtocols) -> HttpLimits {
    let mut limits = HttpLimits::default();
    let speaks = |protocol| downstream.speaks(protocol);
    let flat = Flat::of(extend);
    if matches!(downstream, DownstreamProtocols::Detect(_)) {
        if let Some(key) = flat.first_key() {
            at.key(key).warning("has no effect: with several protocols, put it under \"Http1\" or \"Http2\"");
        }
    } else {
        apply_http1(at, &flat.http1, &mut limits);
        apply_http2(at, &flat.http2, &mut limits);
    }
    if let Some(http1) = &extend.http1 {
        let at = at.key("Http1");
        if speaks(Protocol::Http1) {
            apply_http1(&at, http1, &mut limits);
        } else {
            at.warning("has no effect: the listener does not speak Http1");
        }
    }
    if let Some(http2) = &extend.http2 {
        let at = at.key("Http2");
        if speaks(Protocol::Http2) {
            // One listener has one limit: where both protocols set it, the larger counts.
            let before = limits.clone();
            apply_http2(&at, http2, &mut limits);
            if speaks(Protocol::Http1) {
                limits.max_header_size = limits.max_header_size.max(before.max_header_size);
                limits.header_timeout = longer(limits.header_timeout, before.header_timeout);
                limits.body_idle_timeout = longer(limits.body_idle_timeout, before.body_idle_timeout);
            }
        } else {
            at.warning("has no effect: the listener does not speak Http2");
        }
    }
    limits
}

/// The longer of two limits, of which 0 is none at all.
fn longer(a: std::time::Duration, b: std::time::Duration) -> std::time::Duration {
    if a.is_zero() || b.is_zero() { std::time::Duration::ZERO } else { a.max(b) }
}

/// The keys that stand in `extend_config` itself.
struct Flat {
    http1: Http1Settings,
    http2: Http2Settings,
}

impl Flat {
    fn of(extend: &ExtendConfig) -> Self {
        Self {
            http1: Http1Settings {
                max_header_size: extend.max_header_size,
                max_header_count: extend.max_header_count,
                max_uri_length: extend.max_uri_length,
                max_request_body_size: extend.max_request_body_size,
                header_timeout: extend.header_timeout,
                body_idle_timeout: extend.body_idle_timeout,
                max_buffered_bytes: extend.max_buffered_bytes,
            },
            http2: Http2Settings {
                http2_use_stream: extend.http2_use_stream,
                max_header_size: extend.max_header_size,
                max_concurrent_streams: extend.max_concurrent_streams,
                max_resets: extend.max_resets,
                max_control_frames: extend.max_control_frames,
                ..Http2Settings::default()
            },
        }
    }

    fn first_key(&self) -> Option<&'static str> {
        [
            ("max_header_size", self.http1.max_header_size.is_some()),
            ("max_header_count", self.http1.max_header_count.is_some()),
            ("max_uri_length", self.http1.max_uri_length.is_some()),
            ("max_request_body_size", self.http1.max_request_body_size.is_some()),
            ("header_timeout", self.http1.header_timeout.is_some()),
            ("body_idle_timeout", self.http1.body_idle_timeout.is_some()),
            ("max_buffered_bytes", self.http1.max_buffered_bytes.is_some()),
            ("http2_use_stream", self.http2.http2_use_stream.is_some()),
            ("max_concurrent_streams", self.http2.max_concurrent_streams.is_some()),
            ("max_resets", self.http2.max_resets.is_some()),
            ("max_control_frames", self.http2.max_control_frames.is_some()),
        ]
        .into_iter()
        .find(|&(_, given)| given)
        .map(|(key, _)| key)
    }
}

fn apply_http1(at: &At<'_>, settings: &Http1Settings, limits: &mut HttpLimits) {
    size(at, "max_header_size", settings.max_header_size, &mut limits.max_header_size);
    size(at, "max_header_count", settings.max_header_count, &mut limits.max_header_count);
    size(at, "max_uri_length", settings.max_uri_length, &mut limits.max_uri_length);
    size(at, "max_buffered_bytes", settings.max_buffered_bytes, &mut limits.max_buffered_bytes);
    if let Some(limit) = settings.max_request_body_size {
        limits.max_request_body_size = limit;
    }
    time(at, "header_timeout", settings.header_timeout, &mut limits.header_timeout);
    time(at, "body_idle_timeout", settings.body_idle_timeout, &mut limits.body_idle_timeout);
}

fn apply_http2(at: &At<'_>, settings: &Http2Settings, limits: &mut HttpLimits) {
    let mut list = limits.max_header_list_size as usize;
    size(at, "max_header_size", settings.max_header_size, &mut list);
    limits.max_header_list_size = u32::try_from(list).unwrap_or(u32::MAX);
    for (key, given, limit) in [
        ("max_concurrent_streams", settings.max_concurrent_streams, &mut limits.max_concurrent_streams),
        ("max_resets", settings.max_resets, &mut limits.max_resets),
        ("max_control_frames", settings.max_control_frames, &mut limits.max_control_frames),
    ] {
        match given {
            Some(0) => at.key(key).error("must be at least 1"),
            Some(given) => *limit = given,
            None => {}
        }
    }
    time(at, "header_timeout", settings.header_timeout, &mut limits.header_timeout);
    time(at, "body_idle_timeout", settings.body_idle_timeout, &mut limits.body_idle_timeout);
}

fn size(at: &At<'_>, key: &str, given: Option<u64>, limit: &mut usize) {
    /// Memory that one connection may ask for because of a limit.
    const MOST: u64 = 1 << 30;
    match given {
        // MOSN takes 0 for its default.
        None | Some(0) => {}
        Some(given) if given <= MOST => *limit = given as usize,
        Some(given) => at.key(key).error(format!("expected at most {MOST}, found {given}")),
    }
}

fn time(at: &At<'_>, key: &str, given: Option<GoDuration>, limit: &mut std::time::Duration) {
    if let Some(given) = given {
        *limit = positive(&at.key(key), given).unwrap_or_default();
    }
}
