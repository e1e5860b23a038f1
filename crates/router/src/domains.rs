//! Which virtual host a request belongs to.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::authority;

/// Virtual hosts by domain. Of several domains that match, in this order:
/// 1. the host itself with the port, then with `:*`;
/// 2. the longest `*suffix` with the port, then the longest with `:*`;
/// 3. the longest `prefix*` with the port, then the longest with `:*`;
/// 4. `*`.
///
/// A domain without a port stands for hosts without one, and `*` for the rest. Nothing falls
/// through: where the chosen virtual host has no route for the request, there is none.
#[derive(Debug, Default)]
pub(crate) struct Domains {
    exact: HashMap<Box<[u8]>, Ports, ahash::RandomState>,
    suffixes: Wildcards,
    prefixes: Wildcards,
    default: Option<u32>,
}

/// Virtual hosts of one host or wildcard, by port.
#[derive(Debug, Default)]
struct Ports {
    /// Of hosts without a port.
    none: Option<u32>,
    /// `:*`.
    any: Option<u32>,
    /// Few, as a rule none.
    exact: Vec<(Box<[u8]>, u32)>,
}

#[derive(Debug, Default)]
struct Wildcards {
    /// Lengths that occur among the texts, longest first.
    lengths: Vec<usize>,
    texts: HashMap<Box<[u8]>, Ports, ahash::RandomState>,
}

/// Why a domain was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not a domain.
    Invalid,
    /// This virtual host has it.
    Taken(u32),
}

enum Wildcard {
    Suffix,
    Prefix,
}

impl Domains {
    /// Gives `domain` to `virtual_host`.
    pub(crate) fn insert(&mut self, domain: &str, virtual_host: u32) -> Result<(), Refused> {
        let domain = domain.to_ascii_lowercase();
        if domain == "*" || domain == "*:*" {
            return take(&mut self.default, virtual_host);
        }
        let split = authority::split(domain.as_bytes()).ok_or(Refused::Invalid)?;
        let ports = match split.host {
            [] => return Err(Refused::Invalid),
            [b'*', suffix @ ..] => self.suffixes.entry(suffix, Wildcard::Suffix)?,
            [prefix @ .., b'*'] => self.prefixes.entry(prefix, Wildcard::Prefix)?,
            host if host.contains(&b'*') => return Err(Refused::Invalid),
            host => self.exact.entry(host.into()).or_default(),
        };
        ports.insert(split.port, virtual_host)
    }

    /// Makes look-ups ready, once all domains are in.
    pub(crate) fn finish(&mut self) {
        self.suffixes.finish();
        self.prefixes.finish();
        self.exact.shrink_to_fit();
    }

    /// The virtual host of requests to `authority`, which is empty if the request names none.
    pub(crate) fn find(&self, authority: &[u8]) -> Option<u32> {
        let only_default =
            self.exact.is_empty() && self.suffixes.texts.is_empty() && self.prefixes.texts.is_empty();
        if only_default || authority.is_empty() {
            return self.default;
        }
        if authority.iter().any(u8::is_ascii_uppercase) {
            let mut lower = SmallVec::<[u8; 256]>::from_slice(authority);
            lower.make_ascii_lowercase();
            self.find_lower(&lower)
        } else {
            self.find_lower(authority)
        }
    }

    fn find_lower(&self, authority: &[u8]) -> Option<u32> {
        let authority::Split { host, port } = authority::split(authority)?;
        self.exact
            .get(host)
            .and_then(|ports| ports.exactly(port).or(ports.any))
            .or_else(|| self.suffixes.find(host, port, Wildcard::Suffix))
            .or_else(|| self.prefixes.find(host, port, Wildcard::Prefix))
            .or(self.default)
    }
}

impl Ports {
    fn insert(&mut self, port: &[u8], virtual_host: u32) -> Result<(), Refused> {
        match port {
            b"" => take(&mut self.none, virtual_host),
            b"*" => take(&mut self.any, virtual_host),
            _ if port.contains(&b'*') => Err(Refused::Invalid),
            _ => match self.exact.iter().find(|(taken, _)| **taken == *port) {
                Some(&(_, other)) => Err(Refused::Taken(other)),
                None => {
                    self.exact.push((port.into(), virtual_host));
                    Ok(())
                }
            },
        }
    }

    fn exactly(&self, port: &[u8]) -> Option<u32> {
        if port.is_empty() {
            return self.none;
        }
        self.exact.iter().find(|(candidate, _)| **candidate == *port).map(|&(_, virtual_host)| virtual_host)
    }
}

impl Wildcards {
    fn entry(&mut self, text: &[u8], kind: Wildcard) -> Result<&mut Ports, Refused> {
        // `*` without a port is the default; `*:80` is a suffix that every host has.
        if text.contains(&b'*') || (text.is_empty() && matches!(kind, Wildcard::Prefix)) {
            return Err(Refused::Invalid);
        }
        Ok(self.texts.entry(text.into()).or_default())
    }

    fn finish(&mut self) {
        self.lengths = self.texts.keys().map(|text| text.len()).collect();
        self.lengths.sort_unstable_by(|a, b| b.cmp(a));
        self.lengths.dedup();
        self.texts.shrink_to_fit();
    }

    /// A wildcard stands for at least one byte.
    fn find(&self, host: &[u8], port: &[u8], kind: Wildcard) -> Option<u32> {
        let mut any_port = None;
        for &length in self.lengths.iter().filter(|&&length| length < host.len()) {
            let text = match kind {
                Wildcard::Suffix => &host[host.len() - length..],
                Wildcard::Prefix => &host[..length],
            };
            if let Some(ports) = self.texts.get(text) {
                let exactly = ports.exactly(port);
                if exactly.is_some() {
                    return exactly;
                }
                any_port = any_port.or(ports.any);
            }
        }
        any_port
    }
}

fn take(slot: &mut Option<u32>, virtual_host: u32) -> Result<(), Refused> {
    match *slot {
        Some(other) => Err(Refused::Taken(other)),
        None => {
            *slot = Some(virtual_host);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(list: &[&str]) -> Domains {
        let mut domains = Domains::default();
        for (index, domain) in list.iter().enumerate() {
            domains.insert(domain, index as u32).unwrap();
        }
        domains.finish();
        domains
    }

    fn find<'a>(list: &[&'a str], authority: &str) -> Option<&'a str> {
        domains(list).find(authority.as_bytes()).map(|index| list[index as usize])
    }

    #[test]
    fn case_does_not_count_and_the_port_does() {
        let list = ["*", "www.A.com"];
        assert_eq!(find(&list, "WWW.a.com"), Some("www.A.com"));
        assert_eq!(find(&list, "www.a.com:8080"), Some("*"));
        let list = ["*", "www.a.com", "www.a.com:*", "www.a.com:81"];
        assert_eq!(find(&list, "www.a.com:8080"), Some("www.a.com:*"));
        assert_eq!(find(&list, "www.a.com:81"), Some("www.a.com:81"));
        assert_eq!(find(&list, "www.a.com"), Some("www.a.com"));
        assert_eq!(find(&["www.a.com:*"], "www.a.com"), Some("www.a.com:*"));
    }

    #[test]
    fn the_longest_wildcard_wins_and_must_stand_for_something() {
        let list = ["*.com", "*.a.com"];
        assert_eq!(find(&list, "x.a.com"), Some("*.a.com"));
        assert_eq!(find(&list, ".a.com"), Some("*.com"));
        assert_eq!(find(&list, "a.org"), None);
        assert_eq!(find(&["a.*", "a.b.*"], "a.b.c"), Some("a.b.*"));
        assert_eq!(find(&["a.*"], "a."), None);
    }

    #[test]
    fn kinds_of_domains_have_their_order() {
        let list = ["x.a.com", "*.a.com", "x.*", "*"];
        assert_eq!(find(&list, "x.a.com"), Some("x.a.com"));
        assert_eq!(find(&list[1..], "x.a.com"), Some("*.a.com"));
        assert_eq!(find(&list[2..], "x.a.com"), Some("x.*"));
        assert_eq!(find(&list[3..], "x.a.com"), Some("*"));
    }

    #[test]
    fn an_exact_port_beats_a_longer_wildcard_with_any_port() {
        let list = ["*.a.com:*", "*.com:80", "*:81"];
        assert_eq!(find(&list, "x.a.com:80"), Some("*.com:80"));
        assert_eq!(find(&list, "x.a.com:82"), Some("*.a.com:*"));
        assert_eq!(find(&list, "x.org:81"), Some("*:81"));
        assert_eq!(find(&list, "x.org"), None);
    }

    #[test]
    fn a_request_without_host_gets_the_default() {
        assert_eq!(find(&["*", "a.com"], ""), Some("*"));
        assert_eq!(find(&["*:*"], "anything:at:all"), Some("*:*"));
        assert_eq!(find(&["*", "a.com"], "::1"), None);
    }

    #[test]
    fn addresses_are_hosts() {
        assert_eq!(find(&["[::1]:80", "[::1]"], "[::1]:80"), Some("[::1]:80"));
        assert_eq!(find(&["[::1]:80", "[::1]"], "[::1]"), Some("[::1]"));
    }

    #[test]
    fn bad_and_double_domains_are_refused() {
        for bad in ["", "a.*.com", "*.*", "a*b", "a:b:c", ":80", "a.com:8*", "a*:80*"] {
            assert_eq!(Domains::default().insert(bad, 0), Err(Refused::Invalid), "{bad}");
        }
        for (one, other) in
            [("*", "*:*"), ("A.com", "a.com"), ("*.a.com:80", "*.A.com:80"), ("a.com:*", "a.com:*")]
        {
            let mut domains = domains(&[one]);
            assert_eq!(domains.insert(other, 1), Err(Refused::Taken(0)), "{other}");
        }
    }
}
