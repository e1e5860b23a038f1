//! What consistent-hash balancers go by.

use std::{hash::Hasher, net::IpAddr};

use mosn_config::model::{HashPolicySpec, Name};
use siphasher::sip::SipHasher24;

use crate::{Forward, Subject, condition::Field};

impl Forward {
    /// The hash of what the route's policy names, as MOSN works it out, so that a mixed fleet sends a
    /// key to the same host. A header or cookie that is not there hashes to 0, and so do all
    /// requests without it; `None` if there is no policy, or the address is not known.
    ///
    /// `client` is the peer's address.
    #[must_use]
    pub fn hash<S: Subject + ?Sized>(&self, subject: &S, client: Option<IpAddr>) -> Option<u64> {
        match self.hash_policy.as_deref()? {
            HashPolicySpec::Header(name) => {
                let value = Field::new(name.clone()).get(subject);
                Some(value.map_or(0, |value| keyed(name, b':', &value)))
            }
            HashPolicySpec::Cookie { name, .. } => {
                Some(subject.cookie(name).map_or(0, |value| keyed(name, b'=', &value)))
            }
            HashPolicySpec::SourceIp => client.map(address),
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

    use super::*;
    use crate::{ForwardPolicy, Retry, action::Cluster};

    fn hash(policy: Option<HashPolicySpec>, fields: &[(&str, &str)], client: Option<&str>) -> Option<u64> {
        let forward = Forward {
            policy: ForwardPolicy {
                timeout: Duration::from_secs(60),
                per_try_timeout: None,
                retry: Retry::default(),
                upstream_protocol: None,
                hash_policy: policy.map(Box::new),
            }
            .into(),
            cluster: Cluster::Named("c".into()),
            metadata: None,
            rewrite: None,
        };
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.append(name, value.as_bytes());
        }
        let head = RequestHead {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: Bytes::from_static(b"a.com"),
            path: Bytes::from_static(b"/"),
            headers,
            body: BodyLength::Empty,
            upgrade: None,
            expects_continue: false,
            one_way: false,
        };
        forward.hash(&head, client.map(|client| client.parse().unwrap()))
    }

    fn cookie_policy() -> Option<HashPolicySpec> {
        Some(HashPolicySpec::Cookie { name: "sid".into(), path: "".into(), ttl: Duration::ZERO })
    }

    #[test]
    fn headers_hash_as_in_mosn() {
        let policy = || Some(HashPolicySpec::Header("x-user".into()));
        assert_eq!(hash(policy(), &[("X-User", "alice")], None), Some(0x1acc_580c_88cc_969a));
        assert_eq!(hash(policy(), &[], None), Some(0));
    }

    #[test]
    fn cookies_hash_as_in_mosn_wherever_they_stand() {
        let expected = Some(0x7d0a_cbfd_29ad_3366);
        for fields in [
            &[("Cookie", "sid=abc")][..],
            &[("cookie", "a=b; sid=abc;c")],
            &[("cookie", "xsid=1;sidx=2"), ("cookie", "sid=abc")],
        ] {
            assert_eq!(hash(cookie_policy(), fields, None), expected, "{fields:?}");
        }
        assert_eq!(hash(cookie_policy(), &[("cookie", "sid2=abc; sid")], None), Some(0));
    }

    #[test]
    fn the_clients_address_is_the_peers() {
        let of = |client| hash(Some(HashPolicySpec::SourceIp), &[], client);
        assert_eq!(of(Some("10.1.2.3")), Some(0x0a01_0203));
        assert_eq!(of(Some("::ffff:10.1.2.3")), Some(0x0a01_0203));
        assert_eq!(of(Some("fe80::1:2")), Some(0x0001_0002));
        assert_eq!(of(None), None);
        assert_eq!(hash(None, &[], Some("10.1.2.3")), None);
    }
}
