use bytes::Bytes;
use http::{Method, StatusCode};
use mosn_core::{BodyLength, Headers, RequestHead, ResponseHead};

use super::Version;

/// How a reply's body is framed, which depends on what the client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFraming {
    /// There is none, or its length is in the head.
    Counted,
    /// Chunked.
    Chunked,
    /// Until the connection ends (HTTP/1.0 clients).
    ToEof,
    /// What follows is no HTTP any more.
    Tunnel,
}

/// Appends a request head for the upstream; whether the body must be sent chunked. Everything that
/// frames the message is written from what `head` says it is, never from fields that came along.
pub fn write_request_head(out: &mut Vec<u8>, head: &RequestHead) -> bool {
    out.reserve(256);
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(&head.path);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(&head.authority);
    out.extend_from_slice(b"\r\n");
    head.headers.write_http1(out, |name, _| match name.len() {
        4 => !name.eq_ignore_ascii_case(b"host"),
        14 => head.body.is_empty() || !name.eq_ignore_ascii_case(b"content-length"),
        _ => true,
    });
    let chunked = match (head.body, &head.upgrade) {
        (_, Some(protocol)) => {
            field(out, b"Connection", b"upgrade");
            field(out, b"Upgrade", protocol);
            false
        }
        (BodyLength::Known(length), None) => {
            content_length(out, length);
            false
        }
        (BodyLength::Unknown, None) => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            true
        }
        (BodyLength::Empty, None) => {
            // RFC 9110 8.6: methods that give a body a meaning say that there is none.
            let needs = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
            if needs && !head.headers.contains("content-length") {
                content_length(out, 0);
            }
            false
        }
    };
    out.extend_from_slice(b"\r\n");
    chunked
}

/// Appends a reply head for a client of `version` that asked with `method`; how the body follows.
/// `date` is added where the reply has no `Date` (RFC 9110 6.6.1); `close` says that the
/// connection ends afterwards.
pub fn write_response_head(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    upgrade: Option<&Bytes>,
    version: Version,
    method: &Method,
    date: &[u8],
    close: bool,
) -> ReplyFraming {
    out.reserve(256);
    status_line(out, head.status);
    let bodiless = head.status.is_informational()
        || head.status == StatusCode::NO_CONTENT
        || (*method == Method::CONNECT && head.status.is_success());
    let empty = bodiless || *method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED;
    let (mut has_date, mut has_length) = (false, false);
    head.headers.write_http1(out, |name, _| match name.len() {
        4 => {
            has_date |= name.eq_ignore_ascii_case(b"date");
            true
        }
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            let kept = match head.body {
                BodyLength::Empty => !bodiless,
                BodyLength::Known(_) => true,
                BodyLength::Unknown => false,
            };
            has_length |= kept;
            kept
        }
        _ => true,
    });
    if !has_date {
        field(out, b"Date", date);
    }
    let framing = match head.body {
        _ if head.status == StatusCode::SWITCHING_PROTOCOLS => {
            field(out, b"Connection", b"upgrade");
            if let Some(protocol) = upgrade {
                field(out, b"Upgrade", protocol);
            }
            ReplyFraming::Tunnel
        }
        BodyLength::Empty if empty || has_length => ReplyFraming::Counted,
        BodyLength::Empty => {
            content_length(out, 0);
            ReplyFraming::Counted
        }
        BodyLength::Known(length) => {
            if !has_length {
                content_length(out, length);
            }
            ReplyFraming::Counted
        }
        BodyLength::Unknown if empty => ReplyFraming::Counted,
        BodyLength::Unknown if version == Version::Http10 => ReplyFraming::ToEof,
        BodyLength::Unknown => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            ReplyFraming::Chunked
        }
    };
    if framing != ReplyFraming::Tunnel {
        match (close || framing == ReplyFraming::ToEof, version) {
            (true, _) => out.extend_from_slice(b"Connection: close\r\n"),
            (false, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (false, Version::Http11) => {}
        }
    }
    out.extend_from_slice(b"\r\n");
    framing
}

/// Appends `100 Continue`.
pub fn write_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// Appends an interim (1xx) reply.
pub fn write_informational(out: &mut Vec<u8>, status: StatusCode, headers: &Headers) {
    status_line(out, status);
    headers.write_http1(out, |name, _| !name.eq_ignore_ascii_case(b"content-length"));
    out.extend_from_slice(b"\r\n");
}

/// Appends what stands before a chunk of `len` bytes, `len` above 0; behind it comes CRLF.
pub fn chunk_head(out: &mut Vec<u8>, len: usize) {
    let mut digits = [0; 16];
    let (mut at, mut left) = (digits.len(), len);
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk and the trailer section, which may be empty.
pub fn write_trailers(out: &mut Vec<u8>, trailers: Option<&Headers>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write_http1(out, |_, _| true);
    }
    out.extend_from_slice(b"\r\n");
}

fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use mosn_core::{FieldList, Scheme};

    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut list = FieldList::default();
        for (name, value) in fields {
            list.append(name.as_bytes(), value.as_bytes());
        }
        Headers::List(list)
    }

    fn request(method: Method, body: BodyLength, fields: &[(&str, &str)]) -> (String, bool) {
        let head = RequestHead {
            method,
            scheme: Scheme::Http,
            authority: Bytes::from_static(b"up:1"),
            path: Bytes::from_static(b"/p?q"),
            headers: headers(fields),
            body,
            upgrade: None,
            expects_continue: false,
            one_way: false,
        };
        let mut out = Vec::new();
        let chunked = write_request_head(&mut out, &head);
        (String::from_utf8(out).unwrap(), chunked)
    }

    fn response(
        status: u16,
        body: BodyLength,
        fields: &[(&str, &str)],
        version: Version,
        method: Method,
    ) -> (String, ReplyFraming) {
        let head =
            ResponseHead { status: StatusCode::from_u16(status).unwrap(), headers: headers(fields), body };
        let mut out = Vec::new();
        let framing = write_response_head(&mut out, &head, None, version, &method, b"now", false);
        (String::from_utf8(out).unwrap(), framing)
    }

    #[test]
    fn requests_are_framed_by_what_the_body_is() {
        let (text, chunked) = request(Method::GET, BodyLength::Empty, &[("host", "x"), ("X-A", "1")]);
        assert_eq!((text.as_str(), chunked), ("GET /p?q HTTP/1.1\r\nHost: up:1\r\nX-A: 1\r\n\r\n", false));
        let (text, chunked) = request(Method::POST, BodyLength::Known(5), &[("content-length", "7")]);
        assert_eq!(
            (text.as_str(), chunked),
            ("POST /p?q HTTP/1.1\r\nHost: up:1\r\nContent-Length: 5\r\n\r\n", false)
        );
        let (text, chunked) = request(Method::POST, BodyLength::Unknown, &[("content-length", "7")]);
        assert!(text.ends_with("Host: up:1\r\nTransfer-Encoding: chunked\r\n\r\n") && chunked);
        assert!(request(Method::POST, BodyLength::Empty, &[]).0.contains("Content-Length: 0\r\n"));
    }

    #[test]
    fn replies_are_framed_for_the_client_that_reads_them() {
        use ReplyFraming as F;
        let (text, framing) =
            response(200, BodyLength::Known(5), &[("Date", "d")], Version::Http11, Method::GET);
        assert_eq!(
            (text.as_str(), framing),
            ("HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 5\r\n\r\n", F::Counted)
        );
        let (text, framing) = response(200, BodyLength::Unknown, &[], Version::Http11, Method::GET);
        assert!(
            text.contains("Transfer-Encoding: chunked\r\n")
                && text.contains("Date: now\r\n")
                && framing == F::Chunked
        );
        let (text, framing) = response(200, BodyLength::Unknown, &[], Version::Http10, Method::GET);
        assert!(text.contains("Connection: close\r\n") && !text.contains("Transfer") && framing == F::ToEof);
        let (text, _) =
            response(200, BodyLength::Empty, &[("Content-Length", "9")], Version::Http11, Method::HEAD);
        assert!(text.contains("Content-Length: 9\r\n"));
        let (text, _) =
            response(204, BodyLength::Empty, &[("Content-Length", "9")], Version::Http11, Method::GET);
        assert!(!text.contains("Content-Length"));
        let (text, _) = response(500, BodyLength::Empty, &[], Version::Http10, Method::GET);
        assert!(text.contains("Content-Length: 0\r\n") && text.contains("Connection: keep-alive\r\n"));
    }

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for len in [1, 15, 16, 255, 4096, 65_536] {
            let mut out = Vec::new();
            chunk_head(&mut out, len);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{len:x}\r\n"));
        }
    }
}
