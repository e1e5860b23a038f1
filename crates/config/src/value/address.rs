use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use crate::model::ListenerAddress;

/// A listener's address as it is written, and what it is.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(crate) fn listener_address(network: &str, text: &str) -> Result<ListenerAddress, String> {
    if text.is_empty() {
        return Err("an address is required".to_owned());
    }
    match network {
        "tcp" => socket_address(text).map(ListenerAddress::Tcp),
        "udp" => socket_address(text).map(ListenerAddress::Udp),
        _ => Ok(ListenerAddress::Unix(text.into())),
    }
}

/// `host:port`, the host empty (any), a literal or a name; names are looked up, IPv4 first.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("expected host:port, found {text:?}: the port is missing"));
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bracketed.is_none() && host.contains(':') {
        return Err(format!("expected host:port, found {text:?}: write an IPv6 address in brackets"));
    }
    let Ok(port) = port.parse::<u16>() else {
        return Err(format!("expected host:port, found {text:?}: the port must be 0 to 65535"));
    };
    let host = bracketed.unwrap_or(host);
    if host.is_empty() {
        return Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found: Vec<SocketAddr> = match (host, port).to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => return Err(format!("{host:?} cannot be resolved: {error}")),
    };
    let v4 = found.iter().find(|address| address.is_ipv4());
    v4.or(found.first()).copied().ok_or_else(|| format!("{host:?} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_may_be_empty_literals_or_names() {
        for (text, address) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            (":2045", "[::]:2045"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:80", "127.0.0.1:80"),
        ] {
            assert_eq!(socket_address(text).unwrap().to_string(), address, "{text}");
        }
    }

    #[test]
    fn wrong_addresses_say_why() {
        for (text, reason) in [
            ("127.0.0.1", "expected host:port, found \"127.0.0.1\": the port is missing"),
            ("::1:80", "expected host:port, found \"::1:80\": write an IPv6 address in brackets"),
            ("127.0.0.1:x", "expected host:port, found \"127.0.0.1:x\": the port must be 0 to 65535"),
            ("127.0.0.1:70000", "expected host:port, found \"127.0.0.1:70000\": the port must be 0 to 65535"),
        ] {
            assert_eq!(socket_address(text).unwrap_err(), reason);
        }
    }

    #[test]
    fn unix_addresses_are_paths() {
        assert_eq!(listener_address("unix", "@abstract").unwrap(), ListenerAddress::Unix("@abstract".into()));
        assert!(listener_address("unix", "").is_err());
    }
}
