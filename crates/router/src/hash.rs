//! What consistent-hash balancers go by.

use std::{hash::Hasher, net::IpAddr};

use mosn_config::model::{HashKeySpec, HashSourceSpec, Name};
use siphasher::sip::SipHasher24;

use crate::{Forward, Subject, condition, path, query};

/// What a request hashes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Hash<'a> {
    /// `None` = there is nothing to go by, and any host will do.
    pub value: Option<u64>,
    /// The cookie that the client should get, so that its next requests hash alike.
    pub cookie: Option<NewCookie<'a>>,
}

/// A cookie that a hash policy makes for a client that has none.
#[derive(Debug, PartialEq, Eq)]
pub struct NewCookie<'a> {
    source: &'a HashSourceSpec,
    value: String,
}

impl NewCookie<'_> {
    /// As the value of `Set-Cookie`.
    #[must_use]
    pub fn set_cookie(&self) -> String {
        let HashSourceSpec::Cookie { name, path, ttl } = self.source else { return String::new() };
        let mut text = format!("{name}={}", self.value);
        if let Some(ttl) = ttl.filter(|ttl| !ttl.is_zero()) {
            text.push_str(&format!("; Max-Age={}", ttl.as_secs().max(1)));
        }
        if !path.is_empty() {
            text.push_str(&format!("; Path={path}"));
        }
        text.push_str("; HttpOnly");
        text
    }
}

impl Forward {
    /// The hash of what the route's policy names; a key by itself as MOSN works it out, so that a
    /// mixed fleet sends it to the same host. `client` is the peer's address.
    #[must_use]
    pub fn hash<S: Subject + ?Sized>(&self, subject: &S, client: Option<IpAddr>) -> Hash<'_> {
        let mut hash = Hash { value: None, cookie: None };
        let Some(policy) = self.hash_policy.as_deref() else { return hash };
        for HashKeySpec { source, terminal } in &policy.keys {
            let Some(key) = hash.key(source, subject, client) else { continue };
            hash.value = Some(hash.value.map_or(key, |before| before.rotate_left(1) ^ key));
            if *terminal {
                break;
            }
        }
        hash.value = hash.value.or(policy.otherwise);
        hash
    }
}

impl<'a> Hash<'a> {
    fn key<S: Subject + ?Sized>(
        &mut self,
        source: &'a HashSourceSpec,
        subject: &S,
        client: Option<IpAddr>,
    ) -> Option<u64> {
        match source {
            HashSourceSpec::Header(name) => {
                condition::header(subject, name).map(|value| keyed(name, b':', &value))
            }
            HashSourceSpec::QueryParameter(name) => {
                let query = path::split(subject.path()).1.unwrap_or_default();
                query::argument(query, name, |value| keyed(name, b'=', value))
            }
            HashSourceSpec::SourceIp => client.map(address),
            HashSourceSpec::Cookie { name, ttl, .. } => match subject.cookie(name) {
                Some(value) => Some(keyed(name, b'=', &value)),
                None if ttl.is_some() && self.cookie.is_none() => {
                    let value = format!("{:016x}", fastrand::u64(..));
                    let hash = keyed(name, b'=', value.as_bytes());
                    self.cookie = Some(NewCookie { source, value });
                    Some(hash)
                }
                None => None,
            },
        }
    }
}

fn keyed(name: &Name, between: u8, value: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0xbeef_cafe_babe_dead, 0);
    hasher.write(name.as_bytes());
    hasher.write(&[between]);
    hasher.write(value);
    hasher.finish()
}

/// The last four bytes, as MOSN takes them.
fn address(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => u128::from(ip) as u64 & 0xffff_ffff,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::Method;
    use mosn_core::{BodyLength, Headers, RequestHead, Scheme};

    use mosn_config::model::HashPolicySpec;

    use super::*;
    use crate::{ForwardPolicy, Retry, action::Cluster};

    fn forward(policy: Option<HashPolicySpec>) -> Forward {
        Forward {
            policy: ForwardPolicy {
                timeout: Duration::from_secs(60),
                per_try_timeout: None,
                retry: Retry::default(),
                buffer_limit: 0,
                priority: Default::default(),
                mirrors: Box::default(),
                upstream_protocol: None,
                hash_policy: policy.map(Box::new),
            }
            .into(),
            cluster: Cluster::Named("c".into()),
            metadata: None,
            rewrite: None,
        }
    }

    fn head(fields: &[(&str, &str)], path: &'static str) -> RequestHead {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.append(name, value.as_bytes());
        }
        RequestHead {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: Bytes::from_static(b"a.com"),
            path: Bytes::from_static(path.as_bytes()),
            headers,
            body: BodyLength::Empty,
            upgrade: None,
            expects_continue: false,
            one_way: false,
        }
    }

    fn hash(policy: HashPolicySpec, fields: &[(&str, &str)], client: Option<&str>) -> Option<u64> {
        let client = client.map(|client| client.parse().unwrap());
        forward(Some(policy)).hash(&head(fields, "/"), client).value
    }

    /// As MOSN's dialect is translated.
    fn policy(sources: Vec<HashSourceSpec>) -> HashPolicySpec {
        let keys = sources.into_iter().map(|source| HashKeySpec { source, terminal: false });
        HashPolicySpec { keys: keys.collect(), otherwise: Some(0) }
    }

    fn user() -> HashSourceSpec {
        HashSourceSpec::Header("x-user".into())
    }

    fn cookie(ttl: Option<Duration>) -> HashSourceSpec {
        HashSourceSpec::Cookie { name: "sid".into(), path: "/shop".into(), ttl }
    }

    #[test]
    fn headers_hash_as_in_mosn() {
        assert_eq!(hash(policy(vec![user()]), &[("X-User", "alice")], None), Some(0x1acc_580c_88cc_969a));
        assert_eq!(hash(policy(vec![user()]), &[], None), Some(0));
    }

    #[test]
    fn cookies_hash_as_in_mosn_wherever_they_stand() {
        let expected = Some(0x7d0a_cbfd_29ad_3366);
        for fields in [
            &[("Cookie", "sid=abc")][..],
            &[("cookie", "a=b; sid=abc;c")],
            &[("cookie", "xsid=1;sidx=2"), ("cookie", "sid=abc")],
        ] {
            assert_eq!(hash(policy(vec![cookie(None)]), fields, None), expected, "{fields:?}");
        }
        assert_eq!(hash(policy(vec![cookie(None)]), &[("cookie", "sid2=abc; sid")], None), Some(0));
    }

    #[test]
    fn the_clients_address_is_the_peers() {
        let of = |client| {
            let policy = HashPolicySpec { otherwise: None, ..policy(vec![HashSourceSpec::SourceIp]) };
            hash(policy, &[], client)
        };
        assert_eq!(of(Some("10.1.2.3")), Some(0x0a01_0203));
        assert_eq!(of(Some("::ffff:10.1.2.3")), Some(0x0a01_0203));
        assert_eq!(of(Some("fe80::1:2")), Some(0x0001_0002));
        assert_eq!(of(None), None);
    }

    #[test]
    fn a_client_without_the_cookie_gets_one_that_hashes_alike() {
        let forward = forward(Some(policy(vec![cookie(Some(Duration::from_secs(90)))])));
        let first = forward.hash(&head(&[], "/"), None);
        let set_cookie = first.cookie.unwrap().set_cookie();
        let (pair, rest) = set_cookie.split_once("; ").unwrap();
        assert_eq!(rest, "Max-Age=90; Path=/shop; HttpOnly");
        let second = forward.hash(&head(&[("cookie", pair)], "/"), None);
        assert_eq!(second, Hash { value: first.value, cookie: None });
        let other = forward.hash(&head(&[], "/"), None);
        assert_ne!(other.value, first.value);
    }

    #[test]
    fn a_cookie_without_a_life_ends_with_the_browser() {
        let forward = forward(Some(policy(vec![cookie(Some(Duration::ZERO))])));
        let set_cookie = forward.hash(&head(&[], "/"), None).cookie.unwrap().set_cookie();
        assert!(set_cookie.ends_with("; Path=/shop; HttpOnly") && !set_cookie.contains("Max-Age"));
    }

    #[test]
    fn keys_combine_up_to_the_first_terminal_one_that_is_there() {
        let both = policy(vec![user(), HashSourceSpec::SourceIp]);
        let client = Some("10.1.2.3");
        let alice = Some(0x1acc_580c_88cc_969a_u64);
        assert_eq!(
            hash(both.clone(), &[("x-user", "alice")], client),
            alice.map(|hash| hash.rotate_left(1) ^ 0x0a01_0203)
        );
        let mut terminal = both;
        terminal.keys[0].terminal = true;
        assert_eq!(hash(terminal.clone(), &[("x-user", "alice")], client), alice);
        assert_eq!(hash(terminal, &[], client), Some(0x0a01_0203));
    }

    #[test]
    fn a_query_parameter_hashes_decoded() {
        let forward = forward(Some(policy(vec![HashSourceSpec::QueryParameter("u".into())])));
        let of = |path| forward.hash(&head(&[], path), None).value;
        assert_eq!(of("/?u=a%20b"), of("/x?v=1&u=a+b"));
        assert_ne!(of("/?u=a"), of("/?u=b"));
        assert_eq!(of("/"), Some(0));
    }

    #[test]
    fn without_a_policy_there_is_no_hash() {
        assert_eq!(forward(None).hash(&head(&[], "/"), None).value, None);
    }
}
