//! Keeps web pages away from an API without authentication.

use std::net::{IpAddr, Ipv6Addr};

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Version,
        header::{HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::Next,
    response::Response,
};

use crate::reply;

/// Answers 403 to what a browser would send on behalf of a web page, and marks every answer as not to
/// be sniffed.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal(&request) {
        Some(why) => {
            reply::rejected(request.uri().path(), why);
            reply::with_status(StatusCode::FORBIDDEN, format!("{why}\n"))
        }
        None => next.run(request).await,
    };
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Why the request is refused, for its sender to read.
fn refusal(request: &Request) -> Option<&'static str> {
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => match single(request.headers()) {
            Ok(host) => host,
            Err(()) => return Some("the Host header must be one line of text"),
        },
    };
    match host {
        None if request.version() != Version::HTTP_10 => {
            return Some("a Host header is required: an IP address or localhost");
        }
        Some(host) if !is_local_name(host) => {
            return Some("this API answers to an IP address or localhost only, not to other host names");
        }
        _ => {}
    }
    // A page on another site can send a form without asking; its browser says whence.
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let foreign = request.headers().get(ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        host.is_none_or(|host| origin.strip_prefix("http://") != Some(host))
    });
    (!reads && foreign).then_some("requests from pages of other origins are refused")
}

/// The `Host` field; an error if there are several or it is no text.
fn single(headers: &HeaderMap) -> Result<Option<&str>, ()> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(host), None) => host.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Whether no DNS server can have chosen the address behind this `host[:port]`.
fn is_local_name(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((ip, port)) = rest.split_once(']') else { return false };
        return ip.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port.strip_prefix(':')));
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    (port.is_none() || is_port(port))
        && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}

fn is_port(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_local_and_other_names_are_not() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:34901",
            "10.0.0.1:80",
            "localhost",
            "LocalHost:1",
            "[::1]:34901",
            "[::1]",
        ] {
            assert!(is_local_name(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:34901",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:x",
            "127.0.0.1:",
            "[::1",
            "[::1]x",
            "[evil]",
            "::1",
            "localhost:99999",
            "a@127.0.0.1",
        ] {
            assert!(!is_local_name(host), "{host}");
        }
    }
}
