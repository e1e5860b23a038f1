use std::{fmt, net::SocketAddr, path::PathBuf};

use mosn_config::model::Name;

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostAddress {
    /// An address and a port.
    Ip(SocketAddr),
    /// A unix stream socket; a name that starts with `@` is abstract.
    Unix(PathBuf),
    /// A name that is resolved when a connection is made.
    Name {
        /// Lower-case or not, as written.
        host: Name,
        /// 1 to 65535.
        port: u16,
    },
}

impl HostAddress {
    /// Parses `ip:port`, `[ipv6]:port`, `name:port` or `unix:/path`; `None` if it is none of them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return (!path.is_empty()).then(|| Self::Unix(path.into()));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return (address.port() != 0).then_some(Self::Ip(address));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|&port| port != 0)?;
        let valid = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        valid.then(|| Self::Name { host: host.into(), port })
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_kind_parse_and_print_alike() {
        for text in ["127.0.0.1:80", "[::1]:8080", "unix:/run/a.sock", "unix:@a", "my-app.svc_1.local:80"] {
            assert_eq!(HostAddress::parse(text).unwrap().to_string(), text);
        }
        assert!(matches!(HostAddress::parse("a.b:80"), Some(HostAddress::Name { port: 80, .. })));
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for text in
            ["", "a", "a:", ":80", "a:0", "1.2.3.4:0", "a:65536", "::1:80", "a b:80", "unix:", "a/b:80"]
        {
            assert_eq!(HostAddress::parse(text), None, "{text}");
        }
    }
}
