use std::borrow::Cow;

use mosn_core::{RequestHead, RequestInfo};
use mosn_telemetry::Variable;

use crate::{Message, Metadata, NoVariables, Variables};

/// What a route is looked for: an HTTP request's head, or an RPC frame that nobody has decoded.
///
/// Whatever a request does not have is empty, and an empty path matches no path rule.
pub trait Subject {
    /// Host and perhaps port, as received.
    fn authority(&self) -> &[u8];

    /// The method, in the case it came in.
    fn method(&self) -> &[u8];

    /// Path and query, as received.
    fn path(&self) -> &[u8];

    /// `http` or `https`.
    fn scheme(&self) -> &[u8];

    /// The first value of a header. `name` is as the configuration wrote it: HTTP compares names
    /// without regard to case, RPC protocols byte for byte.
    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>>;

    /// The value of the first cookie of this name.
    fn cookie(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match self.header("cookie")? {
            Cow::Borrowed(pairs) => cookie_in(pairs, name).map(Cow::Borrowed),
            Cow::Owned(pairs) => cookie_in(&pairs, name).map(|value| Cow::Owned(value.to_vec())),
        }
    }

    /// How many headers there are, and the bytes of their names and values.
    fn headers_size(&self) -> (usize, usize) {
        (0, 0)
    }

    /// What else is known of the request.
    fn info(&self) -> Option<&RequestInfo> {
        None
    }

    /// Labels that a host must have besides the route's, and rather than the route's: MOSN's
    /// variable `x-mosn-router-meta`.
    fn labels(&self) -> Option<&Metadata> {
        None
    }

    /// Appends the value of a variable; `false`, and nothing appended, if it has none.
    fn variable(&self, variable: &Variable, out: &mut Vec<u8>) -> bool;
}

/// Without variables.
impl Subject for RequestHead {
    fn authority(&self) -> &[u8] {
        &self.authority
    }

    fn method(&self) -> &[u8] {
        self.method.as_str().as_bytes()
    }

    fn path(&self) -> &[u8] {
        &self.path
    }

    fn scheme(&self) -> &[u8] {
        self.scheme.as_str().as_bytes()
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.headers.get(name).map(Cow::Borrowed)
    }

    /// HTTP/2 may send each cookie in a field of its own.
    fn cookie(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let fields = self.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(b"cookie"));
        fields.into_iter().find_map(|(_, pairs)| cookie_in(pairs, name)).map(Cow::Borrowed)
    }

    fn headers_size(&self) -> (usize, usize) {
        let bytes = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        (self.headers.len(), bytes)
    }

    fn variable(&self, variable: &Variable, out: &mut Vec<u8>) -> bool {
        NoVariables.lookup(variable, Message::Request(self), out)
    }
}

/// A head, with what else is known of its request.
#[derive(Debug)]
pub struct WithVariables<'a, V>(pub &'a RequestHead, pub V);

impl<V: Variables> Subject for WithVariables<'_, V> {
    fn authority(&self) -> &[u8] {
        self.0.authority()
    }

    fn method(&self) -> &[u8] {
        self.0.method()
    }

    fn path(&self) -> &[u8] {
        self.0.path()
    }

    fn scheme(&self) -> &[u8] {
        self.0.scheme()
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.0.header(name)
    }

    fn cookie(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.0.cookie(name)
    }

    fn headers_size(&self) -> (usize, usize) {
        self.0.headers_size()
    }

    fn info(&self) -> Option<&RequestInfo> {
        self.1.info()
    }

    fn labels(&self) -> Option<&Metadata> {
        self.1.labels()
    }

    fn variable(&self, variable: &Variable, out: &mut Vec<u8>) -> bool {
        self.1.lookup(variable, Message::Request(self.0), out)
    }
}

fn cookie_in<'a>(pairs: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pairs
        .split(|&byte| byte == b';')
        .find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use mosn_config::model::{
        ActionSpec, HeaderMatchSpec, HeaderMutationsSpec, PathMatchSpec, RouteMatchSpec, RouteSpec,
        RouterSpec, ValueMatchSpec, VirtualHostSpec,
    };

    use super::*;
    use crate::Router;

    /// A frame of a protocol that knows headers only, and compares their names byte for byte.
    struct Frame(Vec<(&'static str, &'static str)>);

    impl Subject for Frame {
        fn authority(&self) -> &[u8] {
            b""
        }

        fn method(&self) -> &[u8] {
            b""
        }

        fn path(&self) -> &[u8] {
            b""
        }

        fn scheme(&self) -> &[u8] {
            b""
        }

        fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
            let found = self.0.iter().find(|(candidate, _)| *candidate == name);
            found.map(|(_, value)| Cow::Owned(value.as_bytes().to_vec()))
        }

        fn variable(&self, _: &Variable, _: &mut Vec<u8>) -> bool {
            false
        }
    }

    fn router(name: &str, value: &str) -> Router {
        let header =
            HeaderMatchSpec { name: name.into(), value: ValueMatchSpec::Exact(value.into()), invert: false };
        let route = RouteSpec {
            name: None,
            matches: RouteMatchSpec {
                path: PathMatchSpec::Any,
                headers: vec![header],
                ..RouteMatchSpec::default()
            },
            action: ActionSpec::None,
            headers: HeaderMutationsSpec::default(),
            leaves_request: false,
            filter_config: None,
        };
        let virtual_host = VirtualHostSpec {
            domains: vec!["*".into(), "a.com".into()],
            routes: vec![route],
            ..VirtualHostSpec::default()
        };
        Router::build(&RouterSpec { virtual_hosts: vec![virtual_host], ..RouterSpec::default() }).unwrap()
    }

    #[test]
    fn an_rpc_frames_headers_are_found_by_the_name_that_was_configured() {
        let router = router("Service", "s1");
        assert!(router.find(&Frame(vec![("Service", "s1")])).is_some());
        assert!(router.find(&Frame(vec![("service", "s1")])).is_none());
    }

    #[test]
    fn a_frames_header_called_host_is_a_header() {
        let router = router("host", "h");
        assert!(router.find(&Frame(vec![("host", "h")])).is_some());
    }

    #[test]
    fn a_cookie_is_found_in_a_header_that_was_put_together() {
        let frame = Frame(vec![("cookie", "a=b; sid=x")]);
        assert_eq!(frame.cookie("sid").as_deref(), Some(&b"x"[..]));
        assert_eq!(frame.cookie("si"), None);
    }
}
