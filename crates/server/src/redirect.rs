//! Connections that were on their way elsewhere, and which listener they are for.

use std::net::SocketAddr;

use mosn_config::model::{ListenerAddress, ListenerSpec, OriginalDst};
use mosn_net::Transport;

/// Where a connection was going that a listener with `use_original_dst` accepted; `None` if that cannot
/// be told, which leaves it to the listener.
pub(crate) fn destination(transport: &Transport, how: OriginalDst, listener: &str) -> Option<SocketAddr> {
    if how.transparent {
        return transport.local_addr();
    }
    let original = transport.original_destination();
    // Anybody may connect without having been redirected.
    original
        .inspect_err(|error| tracing::debug!("listener {listener}: no original destination: {error}"))
        .ok()
}

/// The listener, by its index, that a connection to `destination` is for: that of this very address, or
/// the last one of its port on any address (or, with `fallback_to_local`, on the loopback address). `None`
/// = whoever accepted it.
pub(crate) fn hand_over<'a>(
    listeners: impl IntoIterator<Item = &'a ListenerSpec>,
    destination: SocketAddr,
    fallback_to_local: bool,
) -> Option<usize> {
    let mut fallback = None;
    for (index, listener) in listeners.into_iter().enumerate() {
        let ListenerAddress::Tcp(address) = listener.address else { continue };
        if address == destination {
            return Some(index);
        }
        let ip = address.ip();
        let falls_back = if fallback_to_local { ip.is_loopback() } else { ip.is_unspecified() };
        if falls_back && address.port() == destination.port() {
            fallback = Some(index);
        }
    }
    fallback
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn listeners(addresses: &[&str]) -> Vec<ListenerSpec> {
        let listener = |address: &&str| ListenerSpec {
            name: Arc::from(*address),
            kind: Arc::from(""),
            address: ListenerAddress::Tcp(address.parse().unwrap()),
            bind: false,
            reuse_port: false,
            original_dst: None,
            idle_timeout: None,
            access_logs: Vec::new(),
            filter_chains: Vec::new(),
            default_filter_chain: None,
        };
        addresses.iter().map(listener).collect()
    }

    #[test]
    fn the_very_address_comes_before_its_port_and_the_last_of_equals_wins() {
        let all = listeners(&[
            "0.0.0.0:15001",
            "0.0.0.0:80",
            "10.0.0.1:80",
            "127.0.0.1:80",
            "[::]:80",
            "[fd00::1]:80",
            "[::1]:81",
        ]);
        for (destination, any, local) in [
            ("10.0.0.1:80", Some(2), Some(2)),
            ("10.0.0.2:80", Some(4), Some(3)),
            ("[fd00::1]:80", Some(5), Some(5)),
            ("[fd00::2]:81", None, Some(6)),
            ("10.0.0.1:443", None, None),
            ("10.0.0.1:15001", Some(0), None),
        ] {
            let destination: SocketAddr = destination.parse().unwrap();
            assert_eq!(hand_over(&all, destination, false), any, "{destination}");
            assert_eq!(hand_over(&all, destination, true), local, "{destination}");
        }
    }
}
