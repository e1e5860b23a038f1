use http::StatusCode;
use mosn_config::model::{Name, RedirectSpec};
use mosn_core::RequestHead;

use crate::{authority, error::Problem, path};

/// Sends the client elsewhere.
#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// Percent-encoded.
    path: Option<Box<[u8]>>,
    host: Option<Name>,
    scheme: Option<Name>,
}

impl Redirect {
    pub(crate) fn build(spec: &RedirectSpec) -> Result<Self, Problem> {
        let bad_status = Problem::BadStatus { status: spec.status, action: "redirect" };
        let status = match spec.status {
            0 => StatusCode::MOVED_PERMANENTLY,
            301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(spec.status).map_err(|_| bad_status)?,
            _ => return Err(bad_status),
        };
        if let Some(scheme) = spec.scheme.as_ref().filter(|scheme| !valid_scheme(scheme)) {
            return Err(Problem::BadScheme { scheme: scheme.clone() });
        }
        if let Some(host) = spec.host.as_ref().filter(|host| !authority::valid(host.as_bytes())) {
            return Err(Problem::BadHost { host: host.clone() });
        }
        let path = spec.path.as_ref().map(|path| {
            let slash: &[u8] = if path.starts_with('/') { b"" } else { b"/" };
            [slash, &path::encode(path.as_bytes())].concat().into_boxed_slice()
        });
        Ok(Self { status, path, host: spec.host.clone(), scheme: spec.scheme.clone() })
    }

    /// The `Location`: an absolute URI, each part the request's own unless configured. The query
    /// always stays. Where the scheme changes, a port that was the other scheme's default goes.
    #[must_use]
    pub fn location(&self, head: &RequestHead) -> Vec<u8> {
        let old_scheme = head.scheme.as_str();
        let scheme = self.scheme.as_deref().unwrap_or(old_scheme);
        let mut host = self.host.as_ref().map_or(&head.authority[..], |host| host.as_bytes());
        if scheme != old_scheme {
            let port: &[u8] = match scheme {
                "http" => b":443",
                "https" => b":80",
                _ => b"",
            };
            host = host.strip_suffix(port).unwrap_or(host);
        }
        let path = self.path.as_deref().unwrap_or(head.path_only());
        let mut location = Vec::with_capacity(scheme.len() + 3 + host.len() + head.path.len() + path.len());
        location.extend_from_slice(scheme.as_bytes());
        location.extend_from_slice(b"://");
        location.extend_from_slice(host);
        location.extend_from_slice(path);
        if let Some(query) = head.query() {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        location
    }
}

/// RFC 3986 3.1, lower-case.
fn valid_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use mosn_core::{BodyLength, Headers, Scheme};

    use super::*;

    fn location(spec: RedirectSpec, scheme: Scheme, authority: &'static str) -> String {
        let head = RequestHead {
            method: Method::GET,
            scheme,
            authority: Bytes::from_static(authority.as_bytes()),
            path: Bytes::from_static(b"/o%20p?x=1"),
            headers: Headers::default(),
            body: BodyLength::Empty,
            upgrade: None,
            expects_continue: false,
            one_way: false,
        };
        String::from_utf8(Redirect::build(&spec).unwrap().location(&head)).unwrap()
    }

    fn to(scheme: &str) -> RedirectSpec {
        RedirectSpec { scheme: Some(scheme.into()), ..RedirectSpec::default() }
    }

    #[test]
    fn parts_that_are_not_configured_are_the_requests() {
        let spec = RedirectSpec { path: Some("/n".into()), ..to("https") };
        assert_eq!(location(spec, Scheme::Http, "h:80"), "https://h/n?x=1");
        let spec = RedirectSpec { host: Some("other:81".into()), ..RedirectSpec::default() };
        assert_eq!(location(spec, Scheme::Https, "h"), "https://other:81/o%20p?x=1");
        let spec = RedirectSpec { path: Some("/a?b ü".into()), ..RedirectSpec::default() };
        assert_eq!(location(spec, Scheme::Http, "h"), "http://h/a%3Fb%20%C3%BC?x=1");
    }

    #[test]
    fn default_ports_go_with_their_scheme() {
        assert_eq!(location(to("https"), Scheme::Http, "h:8080"), "https://h:8080/o%20p?x=1");
        assert_eq!(location(to("http"), Scheme::Https, "h:443"), "http://h/o%20p?x=1");
        assert_eq!(location(to("https"), Scheme::Https, "h:80"), "https://h:80/o%20p?x=1");
        assert_eq!(location(to("ws"), Scheme::Http, "h:80"), "ws://h:80/o%20p?x=1");
    }

    #[test]
    fn bad_redirects_are_refused() {
        let status = RedirectSpec { status: 200, ..RedirectSpec::default() };
        assert!(matches!(Redirect::build(&status), Err(Problem::BadStatus { status: 200, .. })));
        assert_eq!(Redirect::build(&RedirectSpec::default()).unwrap().status, 301);
        for scheme in ["", "1a", "HTTPS", "a b"] {
            assert!(matches!(Redirect::build(&to(scheme)), Err(Problem::BadScheme { .. })), "{scheme}");
        }
        let host = RedirectSpec { host: Some("a/b".into()), ..RedirectSpec::default() };
        assert!(matches!(Redirect::build(&host), Err(Problem::BadHost { .. })));
    }
}
