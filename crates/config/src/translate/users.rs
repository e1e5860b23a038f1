use std::collections::{BTreeSet, HashMap};

use mosn_codec::detect::Candidate;
use mosn_core::Protocol;

use crate::mosn::{Listener, NetworkConfig, ProxyConfig};

/// The listeners that use a route table, as far as it matters to its routes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    /// What their clients may speak.
    pub(crate) protocols: Vec<Protocol>,
    /// The types of their stream filters.
    pub(crate) stream_filters: BTreeSet<String>,
}

/// Who uses which route table, by the tables' names.
pub(crate) fn users(listeners: &[Listener]) -> HashMap<String, Users> {
    let mut tables: HashMap<String, Users> = HashMap::new();
    for listener in listeners {
        for proxy in proxies(listener) {
            let users = tables.entry(proxy.router_config_name.clone()).or_default();
            users.protocols.extend(protocols(proxy));
            users.stream_filters.extend(listener.stream_filters.iter().map(|filter| filter.kind.clone()));
        }
    }
    tables
}

/// What a listener's clients may speak; nothing where that is not clear.
pub(super) fn spoken(listener: &Listener) -> Vec<Protocol> {
    proxies(listener).flat_map(protocols).collect()
}

fn proxies(listener: &Listener) -> impl Iterator<Item = &ProxyConfig> {
    let filters = listener.filter_chains.iter().flat_map(|chain| &chain.filters);
    filters.filter_map(|filter| match &filter.config {
        NetworkConfig::Proxy(proxy) => Some(&**proxy),
        _ => None,
    })
}

fn protocols(proxy: &ProxyConfig) -> Vec<Protocol> {
    let text = match (proxy.downstream_protocol.as_str(), &proxy.extend_config) {
        ("X", Some(extend)) => &extend.sub_protocol,
        (text, _) => text,
    };
    if text.split(',').any(|name| name == "Auto") {
        return Candidate::all().map(Candidate::protocol).collect();
    }
    text.split(',').filter_map(Candidate::by_name).map(Candidate::protocol).collect()
}
