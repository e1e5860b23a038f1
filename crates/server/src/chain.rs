//! Which filter chain takes a connection.

use std::net::{IpAddr, SocketAddr};

use mosn_config::model::{ChainMatch, IpPrefix};

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traits<'a> {
    /// Where it was going.
    pub(crate) destination: Option<SocketAddr>,
    /// Where it comes from.
    pub(crate) source: Option<SocketAddr>,
    /// The TLS server name, lower-case; empty without one.
    pub(crate) server_name: &'a str,
    /// `tls` or `raw_buffer`.
    pub(crate) transport: &'a str,
    /// ALPN names offered, or what the first bytes said.
    pub(crate) protocols: &'a [&'a str],
}

/// How well a chain matches, most important criterion first; greater is better. The order is
/// Envoy's: port, address, server name, transport, application protocol, source address and port.
type Score = (bool, u16, u32, bool, bool, u16, bool);

/// The chain that matches best; `None` if none does.
pub(crate) fn choose<'a>(
    chains: impl IntoIterator<Item = &'a ChainMatch>,
    traits: &Traits<'_>,
) -> Option<usize> {
    let mut best: Option<(Score, usize)> = None;
    for (index, chain) in chains.into_iter().enumerate() {
        if let Some(score) = score(chain, traits)
            && best.is_none_or(|(best, _)| score > best)
        {
            best = Some((score, index));
        }
    }
    best.map(|(_, index)| index)
}

fn score(chain: &ChainMatch, traits: &Traits<'_>) -> Option<Score> {
    let port = equal(chain.destination_port, traits.destination.map(|address| address.port()))?;
    let destination = longest(&chain.destination_prefixes, traits.destination.map(|address| address.ip()))?;
    let name = server_name(&chain.server_names, traits.server_name)?;
    let transport = equal(chain.transport_protocol.as_deref(), Some(traits.transport))?;
    let protocol = any(&chain.application_protocols, |wanted| traits.protocols.contains(&wanted.as_str()))?;
    let source = longest(&chain.source_prefixes, traits.source.map(|address| address.ip()))?;
    let source_port =
        any(&chain.source_ports, |port| traits.source.is_some_and(|source| source.port() == *port))?;
    Some((port, destination, name, transport, protocol, source, source_port))
}

/// `Some(false)` where nothing is asked for, `None` where something else is.
fn equal<T: PartialEq>(wanted: Option<T>, actual: Option<T>) -> Option<bool> {
    match wanted {
        None => Some(false),
        wanted if wanted == actual => Some(true),
        _ => None,
    }
}

fn any<T>(wanted: &[T], matches: impl FnMut(&T) -> bool) -> Option<bool> {
    if wanted.is_empty() {
        return Some(false);
    }
    wanted.iter().any(matches).then_some(true)
}

/// One more than the length of the longest prefix that holds `ip`; 0 where none is asked for.
fn longest(prefixes: &[IpPrefix], ip: Option<IpAddr>) -> Option<u16> {
    if prefixes.is_empty() {
        return Some(0);
    }
    let ip = ip?;
    prefixes.iter().filter(|prefix| prefix.contains(ip)).map(|prefix| u16::from(prefix.length) + 1).max()
}

/// Longer names are more specific, and an exact one more than any wildcard.
fn server_name(names: &[String], actual: &str) -> Option<u32> {
    if names.is_empty() {
        return Some(0);
    }
    let score = |name: &String| match name.strip_prefix("*") {
        None if name == actual => Some(u32::MAX),
        Some(suffix) if actual.len() > suffix.len() && actual.ends_with(suffix) => {
            Some(suffix.len() as u32 + 1)
        }
        _ => None,
    };
    names.iter().filter_map(score).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str, length: u8) -> IpPrefix {
        IpPrefix { address: text.parse().unwrap(), length }
    }

    fn traits(destination: &str, name: &'static str) -> Traits<'static> {
        Traits {
            destination: Some(destination.parse().unwrap()),
            source: Some("10.0.0.9:5000".parse().unwrap()),
            server_name: name,
            transport: "raw_buffer",
            protocols: &["http/1.1"],
        }
    }

    #[test]
    fn the_most_specific_chain_wins_whatever_the_order() {
        let any = ChainMatch::default();
        let port = ChainMatch { destination_port: Some(80), ..ChainMatch::default() };
        let wide = ChainMatch { destination_prefixes: vec![prefix("10.0.0.0", 8)], ..ChainMatch::default() };
        let narrow =
            ChainMatch { destination_prefixes: vec![prefix("10.1.0.0", 16)], ..ChainMatch::default() };
        let chains = [&any, &wide, &narrow, &port];
        assert_eq!(choose(chains, &traits("10.1.2.3:80", "")), Some(3));
        assert_eq!(choose(chains, &traits("10.1.2.3:81", "")), Some(2));
        assert_eq!(choose(chains, &traits("10.2.2.3:81", "")), Some(1));
        assert_eq!(choose(chains, &traits("11.2.2.3:81", "")), Some(0));
        assert_eq!(choose([&port], &traits("11.2.2.3:81", "")), None);
    }

    #[test]
    fn names_transports_and_sources_count_in_this_order() {
        let names = |names: &[&str]| ChainMatch {
            server_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..ChainMatch::default()
        };
        let (exact, wild, wider) = (names(&["a.b.c"]), names(&["*.b.c"]), names(&["*.c"]));
        let raw = ChainMatch { transport_protocol: Some("raw_buffer".into()), ..ChainMatch::default() };
        let tls = ChainMatch { transport_protocol: Some("tls".into()), ..ChainMatch::default() };
        let source = ChainMatch { source_prefixes: vec![prefix("10.0.0.0", 24)], ..ChainMatch::default() };
        let chains = [&source, &raw, &wider, &wild, &exact];
        assert_eq!(choose(chains, &traits("1.1.1.1:1", "a.b.c")), Some(4));
        assert_eq!(choose(chains, &traits("1.1.1.1:1", "x.b.c")), Some(3));
        assert_eq!(choose(chains, &traits("1.1.1.1:1", "b.c")), Some(2));
        assert_eq!(choose(chains, &traits("1.1.1.1:1", "")), Some(1));
        assert_eq!(choose([&tls, &source], &traits("1.1.1.1:1", "")), Some(1));
    }
}
