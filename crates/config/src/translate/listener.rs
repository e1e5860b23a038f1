use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use mosn_core::Protocol;

use super::proxy::proxy;
use super::route::positive;
use super::{Names, users, variable};
use crate::document::At;
use crate::features::Feature;
use crate::model::{
    AccessLogSpec, ChainMatch, FilterChainSpec, ListenerAddress, ListenerSpec, MirrorSpec, Name,
    NetworkFilterSpec, OriginalDst,
};
use crate::mosn::{
    AccessLog, Filter, FilterChain, Listener, ListenerFilterConfig, NetworkConfig, NetworkFilter,
    RouterConfiguration, StreamConfig, TypedConfig,
};
use crate::paths::Paths;
use crate::problem::Severity;
use crate::value::{listener_address, log_output};

/// What listeners are checked against.
pub(crate) struct ListenerContext<'c> {
    /// The names of the route tables there are.
    pub(crate) routers: &'c HashSet<Name>,
    pub(crate) paths: &'c Paths,
}

/// All listeners, each with its place in the list.
pub(crate) fn listeners(
    at: &At<'_>,
    listeners: &[Listener],
    context: &ListenerContext<'_>,
    names: &mut Names,
) -> Vec<(usize, ListenerSpec)> {
    let mut specs: Vec<(usize, ListenerSpec)> = Vec::with_capacity(listeners.len());
    for (index, given) in listeners.iter().enumerate() {
        let at = at.index(index);
        let Some(spec) = listener(&at, given, context, names) else { continue };
        let twin = specs.iter().map(|(_, other)| other).find(|other| {
            other.bind && spec.bind && other.address == spec.address && other.name != spec.name
        });
        if let Some(twin) = twin {
            at.key("address").error(format!("listener {:?} binds {} already", &*twin.name, spec.address));
        }
        match specs.iter_mut().find(|(_, other)| other.name == spec.name) {
            Some(earlier) if earlier.1.address == spec.address => {
                at.key("name").warning(format!("replaces the earlier listener {:?}", &*spec.name));
                *earlier = (index, spec);
            }
            Some(_) => {
                let message = format!("there is a listener {:?} already, at another address", &*spec.name);
                at.key("name").error(message);
            }
            None => specs.push((index, spec)),
        }
    }
    specs
}

/// The route tables that listeners carry in `connection_manager` filters, an older place for them.
pub(crate) fn inline_tables(
    listener: &Listener,
) -> impl Iterator<Item = (usize, usize, &RouterConfiguration)> {
    listener.filter_chains.iter().enumerate().flat_map(|(chain_index, chain)| {
        chain.filters.iter().enumerate().filter_map(move |(index, filter)| match &filter.config {
            NetworkConfig::ConnectionManager(table) if !table.router_config_name.is_empty() => {
                Some((chain_index, index, &**table))
            }
            _ => None,
        })
    })
}

fn listener(
    at: &At<'_>,
    listener: &Listener,
    context: &ListenerContext<'_>,
    names: &mut Names,
) -> Option<ListenerSpec> {
    let address = address(at, listener);
    let name = match &address {
        _ if !listener.name.is_empty() => names.share(&listener.name),
        _ if listener.address.starts_with(':') => names.share(&listener.address),
        Some(address) => names.share(&address.to_string()),
        None => names.share(&listener.address),
    };
    let idle_timeout = match listener.connection_idle_timeout {
        Some(timeout) => positive(&at.key("connection_idle_timeout"), timeout),
        None if matches!(address, Some(ListenerAddress::Udp(_))) => Some(Duration::from_secs(5)),
        None => Some(Duration::from_secs(90)),
    };
    let mirror = stream_filters(&at.key("stream_filters"), &listener.stream_filters);
    let at_logs = at.key("access_logs");
    let spoken = users::spoken(listener);
    let logs = listener.access_logs.iter().enumerate();
    let access_logs = logs
        .map(|(index, log)| access_log(&at_logs.index(index), log, &name, &spoken, context.paths))
        .collect();
    let mut chain = match listener.filter_chains.as_slice() {
        [chain] => {
            let at = at.key("filter_chains");
            filter_chain(&at.index(0), chain, context, names)
        }
        chains => {
            at.key("filter_chains")
                .error(format!("expected exactly one filter chain, found {}", chains.len()));
            None
        }
    };
    if let Some(FilterChainSpec { filter: NetworkFilterSpec::Proxy(proxy), .. }) = &mut chain {
        proxy.mirror = mirror;
    }
    Some(ListenerSpec {
        name,
        kind: names.share(&listener.kind),
        address: address?,
        bind: listener.bind_port,
        reuse_port: listener.reuseport,
        original_dst: original_dst(at, listener),
        idle_timeout,
        access_logs,
        filter_chains: vec![chain?],
        default_filter_chain: None,
    })
}

fn address(at: &At<'_>, listener: &Listener) -> Option<ListenerAddress> {
    const NETWORKS: [&str; 3] = ["tcp", "udp", "unix"];
    let network = match listener.network.to_ascii_lowercase() {
        none if none.is_empty() => "tcp".to_owned(),
        network => network,
    };
    if !NETWORKS.contains(&network.as_str()) {
        at.key("network").unknown(
            Severity::Error,
            format!("expected tcp, udp or unix, found {:?}", listener.network),
            &network,
            NETWORKS,
        );
        return None;
    }
    if network == "udp" {
        at.key("network").needs(Feature::UdpListener);
    }
    match listener_address(&network, &listener.address) {
        Ok(address) => Some(address),
        Err(reason) => {
            at.key("address").error(reason);
            None
        }
    }
}

fn access_log(
    at: &At<'_>,
    log: &AccessLog,
    listener: &str,
    spoken: &[Protocol],
    paths: &Paths,
) -> AccessLogSpec {
    let output = match log.log_path.as_str() {
        "" => crate::model::LogOutput::File(paths.access_log(listener)),
        path => log_output(path),
    };
    let at_format = at.key("log_format");
    match variables(&log.log_format) {
        Ok(names) => names.iter().for_each(|name| variable::logged(&at_format, name, spoken)),
        Err((place, reason)) => at_format.fault(&log.log_format, place, reason, None),
    }
    AccessLogSpec { output, format: (!log.log_format.is_empty()).then(|| log.log_format.clone()) }
}

/// The variables of an access log's format, each once, or where it is wrong and why. Percent signs come in
/// pairs around a variable's name, unless a backslash stands before them.
fn variables(format: &str) -> Result<BTreeSet<&str>, (usize, &'static str)> {
    let mut names = BTreeSet::new();
    let mut opened: Option<usize> = None;
    let bytes = format.as_bytes();
    for (index, &byte) in bytes.iter().enumerate() {
        let escaped = index > 0 && bytes.get(index - 1) == Some(&b'\\');
        if byte != b'%' || escaped {
            continue;
        }
        match opened.take() {
            None => opened = Some(index),
            Some(start) if start + 1 == index => {
                return Err((start, "`%%` names no variable; write `\\%` for a percent sign"));
            }
            Some(start) => names.extend(format.get(start + 1..index)),
        }
    }
    match opened {
        Some(start) => Err((start, "`%` is not closed; write `%name%`, or `\\%` for a percent sign")),
        None => Ok(names),
    }
}

fn original_dst(at: &At<'_>, listener: &Listener) -> Option<OriginalDst> {
    let transparent = match listener.use_original_dst.as_str() {
        "redirect" => false,
        "tproxy" => true,
        "" => {
            check_listener_filters(at, listener);
            return None;
        }
        other => {
            at.key("use_original_dst").unknown(
                Severity::Warning,
                format!("{other:?} counts as off; there are \"redirect\" and \"tproxy\""),
                other,
                ["redirect", "tproxy"],
            );
            check_listener_filters(at, listener);
            return None;
        }
    };
    check_listener_filters(at, listener);
    if listener.network.eq_ignore_ascii_case("unix") {
        at.key("use_original_dst").warning("has no effect: nothing is redirected to a unix socket");
        return None;
    }
    let fallback_to_local = listener.listener_filters.iter().any(|filter| {
        matches!(&filter.config, ListenerFilterConfig::OriginalDst(config) if config.fallback_to_local)
    });
    Some(OriginalDst { transparent, fallback_to_local })
}

fn check_listener_filters(at: &At<'_>, listener: &Listener) {
    let at = at.key("listener_filters");
    for (index, filter) in listener.listener_filters.iter().enumerate() {
        let at = at.index(index);
        if registered(&at, filter, "listener filter")
            && let ListenerFilterConfig::OriginalDst(config) = &filter.config
            && !["", "redirect", "tproxy"].contains(&config.kind.as_str())
        {
            let at = at.key("config");
            at.key("type").error(format!("expected redirect or tproxy, found {:?}", config.kind));
        }
    }
}

/// Whether MOSN has a filter of this type. If not, that is an error: a filter that is left out is a
/// gap in what the configuration asks for.
fn registered<C: TypedConfig>(at: &At<'_>, filter: &Filter<C>, what: &str) -> bool {
    if filter.go_plugin_config.as_ref().is_some_and(|plugin| !plugin.so_path.is_empty()) {
        at.key("go_plugin_config").error("Go plugins cannot be loaded");
        return false;
    }
    if filter.kind.is_empty() {
        at.key("type").error(format!("a {what} needs a type"));
        return false;
    }
    let known = C::TYPES.contains(&filter.kind.as_str());
    if !known {
        let message = format!("there is no {what} of type {:?}", filter.kind);
        at.key("type").unknown(Severity::Error, message, &filter.kind, C::TYPES.iter().copied());
    }
    known
}

/// What is built of them.
fn stream_filters(at: &At<'_>, filters: &[Filter<StreamConfig>]) -> Option<MirrorSpec> {
    let mut mirror = None;
    for (index, filter) in filters.iter().enumerate() {
        let at = at.index(index);
        if registered(&at, filter, "stream filter")
            && let Some(kind) = StreamConfig::TYPES.iter().find(|&&kind| kind == filter.kind)
        {
            at.key("type").needs(Feature::StreamFilter(kind));
            if *kind == "mirror" {
                let spec = match &filter.config {
                    StreamConfig::Mirror(config) => {
                        MirrorSpec { copies: config.amplification.max(1), broadcast: config.broadcast }
                    }
                    _ => MirrorSpec::default(),
                };
                if mirror.replace(spec).is_some() {
                    at.warning("takes the place of the mirror filter before it");
                }
            }
        }
    }
    mirror
}

fn filter_chain(
    at: &At<'_>,
    chain: &FilterChain,
    context: &ListenerContext<'_>,
    names: &mut Names,
) -> Option<FilterChainSpec> {
    if chain.tls_context.is_some() && !chain.tls_context_set.is_empty() {
        at.key("tls_context_set").error("there can only be one of tls_context and tls_context_set");
    }
    if chain.tls_context.as_ref().is_some_and(|tls| tls.status) {
        at.key("tls_context").needs(Feature::Tls);
    }
    if let Some(index) = chain.tls_context_set.iter().position(|tls| tls.status) {
        let at = at.key("tls_context_set");
        at.index(index).needs(Feature::Tls);
    }
    let at_filters = at.key("filters");
    let mut chosen = None;
    let mut wrong = false;
    for (index, filter) in chain.filters.iter().enumerate() {
        let at = at_filters.index(index);
        if !registered(&at, filter, "network filter") {
            wrong = true;
            continue;
        }
        match network_filter(&at, filter, context, names) {
            Network::Built(_) if chosen.is_some() => {
                at.warning("has no effect: the filter before it takes every connection");
            }
            Network::Built(spec) => chosen = Some(*spec),
            Network::Wrong => wrong = true,
            Network::Nothing => {}
        }
    }
    if chosen.is_none() && !wrong {
        at_filters.error("no filter takes the connections: expected one of type \"proxy\"");
    }
    Some(FilterChainSpec { matches: ChainMatch::default(), filter: chosen? })
}

enum Network {
    Built(Box<NetworkFilterSpec>),
    /// Stands for nothing that connections go through.
    Nothing,
    /// Reported.
    Wrong,
}

fn network_filter(
    at: &At<'_>,
    filter: &NetworkFilter,
    context: &ListenerContext<'_>,
    names: &mut Names,
) -> Network {
    match &filter.config {
        NetworkConfig::Proxy(config) => match proxy(&at.key("config"), config, context.routers, names) {
            Some(spec) => Network::Built(Box::new(NetworkFilterSpec::Proxy(spec))),
            None => Network::Wrong,
        },
        NetworkConfig::ConnectionManager(_) => Network::Nothing,
        _ if filter.kind == "connection_manager" => Network::Nothing,
        _ if filter.kind == "proxy" => {
            at.key("config").error("the proxy needs settings");
            Network::Wrong
        }
        _ => {
            if let Some(kind) = NetworkConfig::TYPES.iter().find(|&&kind| kind == filter.kind) {
                at.key("type").needs(Feature::NetworkFilter(kind));
            }
            Network::Wrong
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_log_formats_close_what_they_open() {
        for (format, names) in [
            ("", &[][..]),
            ("%start_time% %duration%%duration%", &["duration", "start_time"]),
            (r"100\% of %protocol%", &["protocol"]),
            ("plain", &[]),
        ] {
            let found = variables(format).map(|found| found.into_iter().collect::<Vec<_>>());
            assert_eq!(found.as_deref(), Ok(names), "{format}");
        }
        assert_eq!(variables("a %% b").unwrap_err().0, 2);
        assert_eq!(variables("ab %start_time").unwrap_err().0, 3);
    }
}
