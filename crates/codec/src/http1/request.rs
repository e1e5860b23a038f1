use bytes::Bytes;
use http::Method;
use mosn_core::{BodyLength, Failure, Headers, RequestHead, Scheme};

use super::{
    MAX_FIELDS,
    fields::{self, FramingError, Repeats},
};

/// How large a request head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, request line included.
    pub bytes: usize,
    /// Header fields, up to [`MAX_FIELDS`].
    pub fields: usize,
    /// Bytes of the request target.
    pub uri: usize,
}

/// The version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// What a request head says beyond the request itself.
#[derive(Clone, Copy, Debug)]
pub struct RequestMeta {
    /// Bytes of the head.
    pub consumed: usize,
    /// The client's version.
    pub version: Version,
    /// Whether the client wants the connection kept.
    pub keep_alive: bool,
    /// Whether the body is chunked.
    pub chunked: bool,
    /// Whether this is a well-formed upgrade to cleartext HTTP/2 (RFC 7540 3.2).
    pub upgrade_h2c: bool,
}

/// Why bytes are no acceptable request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RequestError {
    Syntax,
    Target,
    Host,
    ContentLength,
    TransferEncoding,
    UnknownCoding,
    LengthAndEncoding,
    UriTooLong,
    TooLarge,
}

impl RequestError {
    /// The failure that it ends the request with.
    #[must_use]
    pub const fn failure(self) -> Failure {
        match self {
            Self::UriTooLong => Failure::UriTooLong,
            Self::TooLarge => Failure::HeaderTooLarge,
            Self::UnknownCoding => Failure::NotImplemented,
            _ => Failure::BadRequest,
        }
    }
}

impl From<FramingError> for RequestError {
    fn from(error: FramingError) -> Self {
        match error {
            FramingError::ContentLength => Self::ContentLength,
            FramingError::TransferEncoding => Self::TransferEncoding,
            FramingError::UnknownCoding => Self::UnknownCoding,
            FramingError::Both => Self::LengthAndEncoding,
            FramingError::Host => Self::Host,
        }
    }
}

/// Parses the request head at the start of `bytes`; `None` = more bytes are needed.
///
/// # Errors
/// When no further byte could make it a request that is acceptable within `limits`.
pub fn parse_request(
    bytes: &[u8],
    scheme: Scheme,
    limits: &HeadLimits,
) -> Result<Option<(Box<RequestHead>, RequestMeta)>, RequestError> {
    let mut storage = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
    let storage = &mut storage[..limits.fields.min(MAX_FIELDS)];
    let mut request = httparse::Request::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, storage);
    let consumed = match parsed {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        Ok(httparse::Status::Partial) => return partial(bytes, request.path, limits),
        Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooLarge),
        Err(_) => return Err(RequestError::Syntax),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(RequestError::Syntax);
    };
    if target.len() > limits.uri {
        return Err(RequestError::UriTooLong);
    }
    if consumed > limits.bytes {
        return Err(RequestError::TooLarge);
    }
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let head = &bytes[..consumed];
    let block = Bytes::copy_from_slice(head);
    let (facts, list) = fields::scan(head, block.clone(), request.headers, Repeats::Refused)?;
    if facts.chunked && version == Version::Http10 {
        return Err(RequestError::TransferEncoding);
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| RequestError::Syntax)?;
    let host = match facts.host {
        Some((at, len)) => block.slice(at..at + len),
        None if version == Version::Http11 => return Err(RequestError::Host),
        None => Bytes::new(),
    };
    let target_at = target.as_ptr() as usize - head.as_ptr() as usize;
    let target = block.slice(target_at..target_at + target.len());
    let (authority, path) = target_form(&method, target, host)?;
    let body = match facts.content_length {
        _ if facts.chunked => BodyLength::Unknown,
        Some(0) | None => BodyLength::Empty,
        Some(length) => BodyLength::Known(length),
    };
    // A body would go up as the tunnel's first bytes, unframed; an upstream that declines would take
    // it for another request. RFC 9110 7.8 lets us overlook the wish.
    let upgrade = facts
        .upgrade
        .filter(|_| facts.connection_upgrade && version == Version::Http11 && body.is_empty())
        .map(|(at, len)| block.slice(at..at + len));
    let is_h2c = upgrade.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(b"h2c"));
    // An upstream that took up HTTP/2 from a list would be talked to past all routes.
    let offers_h2c = upgrade
        .as_ref()
        .is_some_and(|names| fields::tokens(names).any(|name| name.eq_ignore_ascii_case(b"h2c")));
    let meta = RequestMeta {
        consumed,
        version,
        keep_alive: match version {
            Version::Http11 => !facts.close,
            Version::Http10 => facts.keep_alive && !facts.close,
        },
        chunked: facts.chunked,
        upgrade_h2c: is_h2c && facts.http2_settings && body.is_empty(),
    };
    let head = Box::new(RequestHead {
        expects_continue: facts.expects_continue && version == Version::Http11 && !body.is_empty(),
        one_way: false,
        upgrade: upgrade.filter(|_| !offers_h2c),
        headers: Headers::List(list),
        method,
        scheme,
        authority,
        path,
        body,
    });
    Ok(Some((head, meta)))
}

/// An incomplete head is an error as soon as it can no longer become an acceptable one.
fn partial<T>(bytes: &[u8], target: Option<&str>, limits: &HeadLimits) -> Result<Option<T>, RequestError> {
    let line = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let target_len = match target {
        Some(target) => target.len(),
        None => bytes[..line].split(|&byte| byte == b' ').nth(1).map_or(0, <[u8]>::len),
    };
    if target_len > limits.uri {
        return Err(RequestError::UriTooLong);
    }
    if bytes.len() >= limits.bytes {
        return Err(RequestError::TooLarge);
    }
    Ok(None)
}

/// RFC 9112 3.2: origin-form, absolute-form, authority-form (CONNECT) or `*` (OPTIONS).
fn target_form(method: &Method, target: Bytes, host: Bytes) -> Result<(Bytes, Bytes), RequestError> {
    if !target.iter().all(|byte| (0x21..0x7f).contains(byte) && *byte != b'#') {
        return Err(RequestError::Target);
    }
    if *method == Method::CONNECT {
        let valid = fields::valid_host(&target) && target.contains(&b':');
        return if valid { Ok((target, Bytes::new())) } else { Err(RequestError::Target) };
    }
    if target.first() == Some(&b'/') || (*method == Method::OPTIONS && &target[..] == b"*") {
        return Ok((host, target));
    }
    let scheme_len = match target.iter().position(|&byte| byte == b':') {
        Some(at) if target[at..].starts_with(b"://") => at,
        _ => return Err(RequestError::Target),
    };
    let scheme = &target[..scheme_len];
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(RequestError::Target);
    }
    let start = scheme_len + 3;
    let end =
        target[start..].iter().position(|&b| b == b'/' || b == b'?').map_or(target.len(), |at| start + at);
    let authority = target.slice(start..end);
    if authority.is_empty() || !fields::valid_host(&authority) {
        return Err(RequestError::Target);
    }
    let path = match target.get(end) {
        Some(b'/') => target.slice(end..),
        Some(_) => Bytes::from([b"/", &target[end..]].concat()),
        None if *method == Method::OPTIONS => Bytes::from_static(b"*"),
        None => Bytes::from_static(b"/"),
    };
    Ok((authority, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 20, uri: 100 };

    fn parse(text: &str) -> Result<Option<(Box<RequestHead>, RequestMeta)>, RequestError> {
        parse_request(text.as_bytes(), Scheme::Http, &LIMITS)
    }

    fn ok(text: &str) -> (Box<RequestHead>, RequestMeta) {
        parse(text).expect(text).expect(text)
    }

    fn err(text: &str) -> RequestError {
        match parse(text) {
            Err(error) => error,
            other => panic!("accepted {text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_plain_request_keeps_its_fields_in_case_and_order() {
        let text = "GET /a?b=1 HTTP/1.1\r\nHost: h:80\r\nX-B: 1\r\nx-a: 2\r\n\r\nrest";
        let (head, meta) = ok(text);
        assert_eq!(
            (&head.authority[..], &head.path[..], head.path_only()),
            (&b"h:80"[..], &b"/a?b=1"[..], &b"/a"[..])
        );
        let names: Vec<_> =
            head.headers.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        assert_eq!(names, ["Host", "X-B", "x-a"]);
        assert_eq!(meta.consumed, text.len() - 4);
        assert!(meta.keep_alive && head.body.is_empty());
    }

    #[test]
    fn hop_by_hop_fields_stay_behind_with_those_that_connection_names() {
        let (head, meta) = ok(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Private, host\r\nx-private: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\nUpgrade: foo\r\nX-Kept: 1\r\n\r\n",
        );
        let names: Vec<_> = head.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        assert_eq!(names, [b"host".to_vec(), b"x-kept".to_vec()]);
        assert!(!meta.keep_alive);
        assert!(head.upgrade.is_none(), "Connection did not name Upgrade");
        let (head, _) = ok("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
        assert!(head.headers.contains("te"));
    }

    #[test]
    fn body_length_follows_from_the_fields() {
        assert_eq!(
            ok("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").0.body,
            BodyLength::Known(5)
        );
        assert_eq!(ok("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").0.body, BodyLength::Empty);
        let (head, meta) = ok("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n");
        assert_eq!(head.body, BodyLength::Unknown);
        assert!(meta.chunked && !head.headers.contains("transfer-encoding"));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        use RequestError as E;
        let table: &[(&str, E)] = &[
            ("Content-Length: 5\r\nContent-Length: 5\r\n", E::ContentLength),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", E::ContentLength),
            ("Content-Length: 5, 5\r\n", E::ContentLength),
            ("Content-Length: +5\r\n", E::ContentLength),
            ("Content-Length: -1\r\n", E::ContentLength),
            ("Content-Length: 0x5\r\n", E::ContentLength),
            ("Content-Length:\r\n", E::ContentLength),
            ("Content-Length: 99999999999999999999\r\n", E::ContentLength),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", E::LengthAndEncoding),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", E::LengthAndEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", E::TransferEncoding),
            ("Transfer-Encoding: chunked, chunked\r\n", E::TransferEncoding),
            ("Transfer-Encoding: chunked;q=1\r\n", E::TransferEncoding),
            ("Transfer-Encoding: \"chunked\"\r\n", E::TransferEncoding),
            ("Transfer-Encoding: \x0bchunked\r\n", E::Syntax),
            ("Transfer-Encoding:\r\n", E::TransferEncoding),
            ("Transfer-Encoding: gzip, chunked\r\n", E::UnknownCoding),
            ("Transfer-Encoding: identity\r\n", E::UnknownCoding),
            ("Transfer-Encoding: xchunked\r\n", E::UnknownCoding),
            ("Content-Length : 5\r\n", E::Syntax),
            ("X: a\r\n folded\r\n", E::Syntax),
            ("X: a\rb\r\n", E::Syntax),
            ("X: a\0b\r\n", E::Syntax),
            ("Bad Name: a\r\n", E::Syntax),
            (": a\r\n", E::Syntax),
            ("Host: b\r\n", E::Host),
            ("Host: a\r\n", E::Host),
        ];
        for (fields, expected) in table {
            let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            assert_eq!(err(&text), *expected, "{text:?}");
        }
        assert_eq!(err("GET / HTTP/1.1\r\n\r\n"), E::Host);
        assert_eq!(err("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), E::Host);
        assert_eq!(err("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n"), E::Host);
        assert_eq!(err("GET / HTTP/1.1\r\nHost: h:x\r\n\r\n"), E::Host);
        assert_eq!(err("GET / HTTP/1.1\r\nHost: h:1:2\r\n\r\n"), E::Host);
        ok("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
        assert_eq!(err("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), E::TransferEncoding);
    }

    #[test]
    fn targets_take_the_four_forms_of_the_rfc_and_no_other() {
        use RequestError as E;
        let (head, _) = ok("GET http://b:8080?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((&head.authority[..], &head.path[..]), (&b"b:8080"[..], &b"/?x=1"[..]));
        let (head, _) = ok("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(&head.path[..], b"*");
        let (head, _) = ok("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n");
        assert_eq!((&head.authority[..], &head.path[..]), (&b"h:443"[..], &b""[..]));
        for target in ["*", "a/b", "ftp://a/", "http://", "http:///x", "/a#b", "/\u{e9}", "http://u@h/", "//"]
        {
            let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            if target == "//" {
                ok(&text);
            } else {
                assert_eq!(err(&text), E::Target, "{target}");
            }
        }
        assert_eq!(err("CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n"), E::Target);
        assert_eq!(err("G=T / HTTP/1.1\r\nHost: a\r\n\r\n"), E::Syntax);
        assert_eq!(err("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), E::Syntax);
        assert_eq!(err("GET /\r\n\r\n"), E::Syntax);
        assert_eq!(err("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), E::Syntax);
    }

    #[test]
    fn limits_hold_before_the_head_is_complete() {
        use RequestError as E;
        assert_eq!(err(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(100))), E::UriTooLong);
        assert_eq!(err(&format!("GET /{}", "a".repeat(100))), E::UriTooLong);
        assert_eq!(err(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(1024))), E::TooLarge);
        let many = (0..20).map(|i| format!("x{i}: 1\r\n")).collect::<String>();
        assert_eq!(err(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), E::TooLarge);
        assert_eq!(parse("GET / HTTP/1.1\r\nHost: a\r\n").map(|o| o.is_some()), Ok(false));
    }

    #[test]
    fn upgrades_need_the_connection_field_and_http_1_1() {
        let (head, _) =
            ok("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(head.upgrade.as_deref(), Some(&b"websocket"[..]));
        let (head, meta) = ok(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        );
        assert!(meta.upgrade_h2c && head.upgrade.is_none() && !head.headers.contains("http2-settings"));
        let (head, meta) =
            ok("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, H2C\r\n\r\n");
        assert!(head.upgrade.is_none() && !meta.upgrade_h2c, "an upstream could choose HTTP/2");
        let (head, _) = ok("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert!(head.upgrade.is_none());
        for body in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let (head, _) = ok(&format!(
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{body}\r\n\r\n"
            ));
            assert!(head.upgrade.is_none() && !head.body.is_empty());
        }
    }
}
