//! Which virtual host a request belongs to.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::{VirtualHost, authority};

/// Virtual hosts by domain. Of several domains that match, in this order:
/// 1. the host itself with the port, then with `:*`;
/// 2. the longest `*suffix` with the port, then the longest with `:*`;
/// 3. the longest `prefix*` with the port, then the longest with `:*`;
/// 4. `*`.
///
/// A domain without a port stands for hosts without one, and `*` for the rest. Nothing falls
/// through: where the chosen virtual host has no route for the request, there is none.
///
/// A copy shares what is not changed in it, so that a change costs little more than its own size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Domains {
    exact: Table,
    suffixes: Wildcards,
    prefixes: Wildcards,
    default: Option<Arc<VirtualHost>>,
}

/// Texts and whose they are, in shards: a copy shares all but those that change.
#[derive(Clone, Debug, Default)]
struct Table {
    hasher: RandomState,
    /// None before the first text.
    shards: Vec<Arc<HashTable<Entry>>>,
    length: usize,
}

/// Copying the list of shards and copying one shard of 10,000 texts cost about the same.
const SHARDS: usize = 128;

#[derive(Clone, Debug)]
struct Entry {
    text: Box<[u8]>,
    ports: Ports,
}

/// Virtual hosts of one host or wildcard, by port.
#[derive(Clone, Debug, Default)]
struct Ports {
    /// Of hosts without a port.
    none: Option<Arc<VirtualHost>>,
    /// `:*`.
    any: Option<Arc<VirtualHost>>,
    /// Few, as a rule none.
    exact: Vec<(Box<[u8]>, Arc<VirtualHost>)>,
}

#[derive(Clone, Debug, Default)]
struct Wildcards {
    /// Lengths that occur among the texts, longest first, and of how many texts.
    lengths: Vec<(usize, usize)>,
    texts: Table,
}

/// Why a domain was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is not a domain.
    Invalid,
    /// This virtual host has it.
    Taken(Arc<VirtualHost>),
}

/// A domain, taken apart.
struct Domain<'a> {
    kind: Kind,
    /// Without port and `*`.
    text: &'a [u8],
    port: &'a [u8],
}

#[derive(Clone, Copy)]
enum Kind {
    Default,
    Exact,
    Suffix,
    Prefix,
}

impl Domains {
    /// Gives `domain` to `owner`.
    pub(crate) fn insert(&mut self, domain: &str, owner: &Arc<VirtualHost>) -> Result<(), Refused> {
        let domain = domain.to_ascii_lowercase();
        let Domain { kind, text, port } = Domain::parse(&domain).ok_or(Refused::Invalid)?;
        match kind {
            Kind::Default => take(&mut self.default, owner),
            Kind::Exact => self.exact.change(text, |ports| ports.insert(port, owner)),
            Kind::Suffix => self.suffixes.change(text, |ports| ports.insert(port, owner)),
            Kind::Prefix => self.prefixes.change(text, |ports| ports.insert(port, owner)),
        }
    }

    /// Takes back a domain that was given.
    pub(crate) fn remove(&mut self, domain: &str) {
        let domain = domain.to_ascii_lowercase();
        let Some(Domain { kind, text, port }) = Domain::parse(&domain) else { return };
        match kind {
            Kind::Default => self.default = None,
            Kind::Exact => self.exact.change(text, |ports| ports.remove(port)),
            Kind::Suffix => self.suffixes.change(text, |ports| ports.remove(port)),
            Kind::Prefix => self.prefixes.change(text, |ports| ports.remove(port)),
        }
    }

    /// The virtual host of requests to `authority`, which is empty if the request names none.
    pub(crate) fn find(&self, authority: &[u8]) -> Option<&Arc<VirtualHost>> {
        let only_default =
            self.exact.length == 0 && self.suffixes.texts.length == 0 && self.prefixes.texts.length == 0;
        if only_default || authority.is_empty() {
            return self.default.as_ref();
        }
        if authority.iter().any(u8::is_ascii_uppercase) {
            let mut lower = SmallVec::<[u8; 256]>::from_slice(authority);
            lower.make_ascii_lowercase();
            self.find_lower(&lower)
        } else {
            self.find_lower(authority)
        }
    }

    fn find_lower(&self, authority: &[u8]) -> Option<&Arc<VirtualHost>> {
        let authority::Split { host, port } = authority::split(authority)?;
        self.exact
            .find(host)
            .and_then(|ports| ports.exactly(port).or(ports.any.as_ref()))
            .or_else(|| self.suffixes.find(host, port, |length| &host[host.len() - length..]))
            .or_else(|| self.prefixes.find(host, port, |length| &host[..length]))
            .or(self.default.as_ref())
    }
}

impl<'a> Domain<'a> {
    /// `None` if it is none; `domain` is in lower case.
    fn parse(domain: &'a str) -> Option<Self> {
        if domain == "*" || domain == "*:*" {
            return Some(Self { kind: Kind::Default, text: b"", port: b"" });
        }
        let authority::Split { host, port } = authority::split(domain.as_bytes())?;
        let (kind, text) = match host {
            [] => return None,
            // `*` without a port is the default; `*:80` is a suffix that every host has.
            [b'*', suffix @ ..] => (Kind::Suffix, suffix),
            [prefix @ .., b'*'] => (Kind::Prefix, prefix),
            host => (Kind::Exact, host),
        };
        let starred = text.contains(&b'*') || (port.contains(&b'*') && port != b"*");
        (!starred).then_some(Self { kind, text, port })
    }
}

impl Table {
    fn find(&self, text: &[u8]) -> Option<&Ports> {
        let hash = self.hasher.hash_one(text);
        let shard = self.shards.get(shard_of(hash))?;
        shard.find(hash, |entry| *entry.text == *text).map(|entry| &entry.ports)
    }

    /// Changes what `text` has; it is there as long as it has something.
    fn change<R>(&mut self, text: &[u8], change: impl FnOnce(&mut Ports) -> R) -> R {
        let Self { hasher, shards, length } = self;
        if shards.is_empty() {
            *shards = vec![Arc::default(); SHARDS];
        }
        let hash = hasher.hash_one(text);
        let shard = Arc::make_mut(&mut shards[shard_of(hash)]);
        let rehash = |entry: &Entry| hasher.hash_one(&*entry.text);
        let mut entry = match shard.entry(hash, |entry| *entry.text == *text, rehash) {
            hashbrown::hash_table::Entry::Occupied(entry) => entry,
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                *length += 1;
                vacant.insert(Entry { text: text.into(), ports: Ports::default() })
            }
        };
        let done = change(&mut entry.get_mut().ports);
        if entry.get().ports.is_empty() {
            entry.remove();
            *length -= 1;
        }
        done
    }
}

/// By other bits than the shard uses itself.
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

impl Ports {
    fn is_empty(&self) -> bool {
        self.none.is_none() && self.any.is_none() && self.exact.is_empty()
    }

    fn insert(&mut self, port: &[u8], owner: &Arc<VirtualHost>) -> Result<(), Refused> {
        match port {
            b"" => take(&mut self.none, owner),
            b"*" => take(&mut self.any, owner),
            _ => match self.exactly(port) {
                Some(other) => Err(Refused::Taken(Arc::clone(other))),
                None => {
                    self.exact.push((port.into(), Arc::clone(owner)));
                    Ok(())
                }
            },
        }
    }

    fn remove(&mut self, port: &[u8]) {
        match port {
            b"" => self.none = None,
            b"*" => self.any = None,
            _ => self.exact.retain(|(taken, _)| **taken != *port),
        }
    }

    fn exactly(&self, port: &[u8]) -> Option<&Arc<VirtualHost>> {
        if port.is_empty() {
            return self.none.as_ref();
        }
        self.exact.iter().find(|(taken, _)| **taken == *port).map(|(_, owner)| owner)
    }
}

impl Wildcards {
    fn change<R>(&mut self, text: &[u8], change: impl FnOnce(&mut Ports) -> R) -> R {
        let before = self.texts.length;
        let done = self.texts.change(text, change);
        let place = self.lengths.binary_search_by(|(length, _)| text.len().cmp(length));
        match place {
            Ok(at) => {
                self.lengths[at].1 = self.lengths[at].1 + self.texts.length - before;
                if self.lengths[at].1 == 0 {
                    self.lengths.remove(at);
                }
            }
            Err(at) if self.texts.length > before => self.lengths.insert(at, (text.len(), 1)),
            Err(_) => {}
        }
        done
    }

    /// `of_length` gives the part of the host that a text of a length stands beside; a wildcard
    /// stands for at least one byte.
    fn find<'h>(
        &self,
        host: &[u8],
        port: &[u8],
        of_length: impl Fn(usize) -> &'h [u8],
    ) -> Option<&Arc<VirtualHost>> {
        let mut any_port = None;
        for &(length, _) in self.lengths.iter().filter(|(length, _)| *length < host.len()) {
            if let Some(ports) = self.texts.find(of_length(length)) {
                let exactly = ports.exactly(port);
                if exactly.is_some() {
                    return exactly;
                }
                any_port = any_port.or(ports.any.as_ref());
            }
        }
        any_port
    }
}

fn take(slot: &mut Option<Arc<VirtualHost>>, owner: &Arc<VirtualHost>) -> Result<(), Refused> {
    match slot {
        Some(other) => Err(Refused::Taken(Arc::clone(other))),
        None => {
            *slot = Some(Arc::clone(owner));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Finder;

    fn named(name: &str) -> Arc<VirtualHost> {
        Arc::new(VirtualHost {
            name: name.into(),
            domains: Box::default(),
            routes: Box::default(),
            finder: Finder::of(&[]),
            mutations: None,
            filter_config: None,
        })
    }

    /// Each domain given to a virtual host of its name.
    fn domains(list: &[&str]) -> Domains {
        let mut domains = Domains::default();
        for domain in list {
            domains.insert(domain, &named(domain)).unwrap();
        }
        domains
    }

    fn find(list: &[&str], authority: &str) -> Option<String> {
        domains(list).find(authority.as_bytes()).map(|found| found.name.to_string())
    }

    #[test]
    fn case_does_not_count_and_the_port_does() {
        let list = ["*", "www.A.com"];
        assert_eq!(find(&list, "WWW.a.com").as_deref(), Some("www.A.com"));
        assert_eq!(find(&list, "www.a.com:8080").as_deref(), Some("*"));
        let list = ["*", "www.a.com", "www.a.com:*", "www.a.com:81"];
        assert_eq!(find(&list, "www.a.com:8080").as_deref(), Some("www.a.com:*"));
        assert_eq!(find(&list, "www.a.com:81").as_deref(), Some("www.a.com:81"));
        assert_eq!(find(&list, "www.a.com").as_deref(), Some("www.a.com"));
        assert_eq!(find(&["www.a.com:*"], "www.a.com").as_deref(), Some("www.a.com:*"));
    }

    #[test]
    fn the_longest_wildcard_wins_and_must_stand_for_something() {
        let list = ["*.com", "*.a.com"];
        assert_eq!(find(&list, "x.a.com").as_deref(), Some("*.a.com"));
        assert_eq!(find(&list, ".a.com").as_deref(), Some("*.com"));
        assert_eq!(find(&list, "a.org"), None);
        assert_eq!(find(&["a.*", "a.b.*"], "a.b.c").as_deref(), Some("a.b.*"));
        assert_eq!(find(&["a.*"], "a."), None);
    }

    #[test]
    fn kinds_of_domains_have_their_order() {
        let list = ["x.a.com", "*.a.com", "x.*", "*"];
        assert_eq!(find(&list, "x.a.com").as_deref(), Some("x.a.com"));
        assert_eq!(find(&list[1..], "x.a.com").as_deref(), Some("*.a.com"));
        assert_eq!(find(&list[2..], "x.a.com").as_deref(), Some("x.*"));
        assert_eq!(find(&list[3..], "x.a.com").as_deref(), Some("*"));
    }

    #[test]
    fn an_exact_port_beats_a_longer_wildcard_with_any_port() {
        let list = ["*.a.com:*", "*.com:80", "*:81"];
        assert_eq!(find(&list, "x.a.com:80").as_deref(), Some("*.com:80"));
        assert_eq!(find(&list, "x.a.com:82").as_deref(), Some("*.a.com:*"));
        assert_eq!(find(&list, "x.org:81").as_deref(), Some("*:81"));
        assert_eq!(find(&list, "x.org"), None);
    }

    #[test]
    fn a_request_without_host_gets_the_default() {
        assert_eq!(find(&["*", "a.com"], "").as_deref(), Some("*"));
        assert_eq!(find(&["*:*"], "anything:at:all").as_deref(), Some("*:*"));
        assert_eq!(find(&["*", "a.com"], "::1"), None);
    }

    #[test]
    fn addresses_are_hosts() {
        assert_eq!(find(&["[::1]:80", "[::1]"], "[::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(find(&["[::1]:80", "[::1]"], "[::1]").as_deref(), Some("[::1]"));
    }

    #[test]
    fn bad_and_double_domains_are_refused() {
        for bad in ["", "a.*.com", "*.*", "a*b", "a:b:c", ":80", "a.com:8*", "a*:80*"] {
            let refused = Domains::default().insert(bad, &named("a"));
            assert!(matches!(refused, Err(Refused::Invalid)), "{bad}");
        }
        for (one, other) in
            [("*", "*:*"), ("A.com", "a.com"), ("*.a.com:80", "*.A.com:80"), ("a.com:*", "a.com:*")]
        {
            let refused = domains(&[one]).insert(other, &named("b"));
            assert!(matches!(refused, Err(Refused::Taken(owner)) if *owner.name == *one), "{other}");
        }
    }
}
