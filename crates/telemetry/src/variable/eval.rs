use std::time::Duration;

use mosn_core::{HeadPart, Headers, RequestHead, ResponseFlags, Variable};

use super::{LogContext, query, trace_id};
use crate::{
    clock,
    text::{write_address, write_duration, write_hex, write_int, write_padded},
};

impl LogContext<'_> {
    /// Appends a variable's value; `false`, and nothing appended, if it has none.
    ///
    /// The bytes are the value's own: a header or path may hold anything its protocol allows, and a
    /// decoded path or argument anything at all. Escaping is the caller's job.
    pub fn write(&self, variable: &Variable, out: &mut Vec<u8>) -> bool {
        use Variable as V;

        let info = self.info;
        match variable {
            V::StartTime => {
                let millis = clock::write_date_time(info.start_wall, b'/', out);
                out.push(b'.');
                write_padded(millis, 3, out);
            }
            V::RequestReceivedDuration => return duration(info.request_received, out),
            V::ResponseReceivedDuration => return duration(info.response_received, out),
            V::RequestFinishedDuration => return duration(info.finished, out),
            V::ProcessTimeDuration => return duration(Some(info.process_time()), out),
            V::Duration => return duration(info.finished.or_else(|| Some(info.start.elapsed())), out),
            V::BytesReceived => write_int(info.bytes_received, out),
            V::BytesSent => write_int(info.bytes_sent, out),
            V::DownstreamProtocol => return bytes(Some(info.protocol.name()), out),
            V::UpstreamProtocol => return bytes(info.upstream_protocol.map(|p| p.name()), out),
            V::ResponseCode => write_int(info.response_code, out),
            V::AnyResponseFlag => {
                let text = if info.flags == ResponseFlags::NONE { "false" } else { "true" };
                return bytes(Some(text), out);
            }
            V::Details => return bytes(Some(info.details).filter(|word| !word.is_empty()), out),
            V::ResponseFlagBits => {
                out.extend_from_slice(b"0x");
                write_hex(u64::from(info.flags.bits()), out);
            }
            V::UpstreamAddress => return bytes(info.upstream_address.as_deref(), out),
            V::DownstreamLocalAddress => return address(info.connection.local, out),
            V::DownstreamPeerAddress => return address(info.connection.peer(), out),
            V::DownstreamRemoteAddress => return address(info.connection.remote, out),
            V::UpstreamHostname => return non_empty(info.upstream_hostname.as_deref(), out),
            V::UpstreamCluster => return bytes(info.cluster.as_deref(), out),
            V::TraceId => return trace_id::write(self, out),
            V::Tries => write_int(info.tries, out),
            V::Hedges => write_int(info.hedges, out),
            V::ConnectionId => write_int(info.connection.id, out),
            V::UpstreamConnectionId => return int(info.upstream_connection_id, out),
            V::StreamId => write_int(info.stream_id, out),
            V::ListenerName => return bytes(Some(&*info.connection.listener), out),
            V::ListenerPort => return int(info.connection.local.map(|address| address.port()), out),
            // MOSN sets it even where it is empty, and an access log then prints nothing.
            V::ListenerType => return bytes(Some(&*info.connection.listener_type), out),
            V::Status => return int((info.response_code != 0).then_some(info.response_code), out),
            V::RequestHeader(name) => return header(self.request, name, out),
            V::ResponseHeader(name) => {
                return bytes(self.response_headers.and_then(|headers| headers.get(name)), out);
            }
            V::Head(part) => return head_part(part, self, out),
            V::Only(protocol, part) => return info.protocol == *protocol && head_part(part, self, out),
            V::Unset => return false,
        }
        true
    }
}

fn head_part(part: &HeadPart, cx: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
    let Some(request) = cx.request else { return false };
    match part {
        HeadPart::Scheme => bytes(Some(request.scheme.as_str()), out),
        HeadPart::Method => bytes(Some(request.method.as_str()), out),
        HeadPart::Authority => non_empty(Some(&request.authority), out),
        HeadPart::Path => {
            let before = out.len();
            query::write_decoded(request.path_only(), false, out);
            out.len() > before
        }
        HeadPart::OriginalPath => {
            let path = cx.original_path.unwrap_or(&request.path);
            non_empty(path.split(|&byte| byte == b'?').next(), out)
        }
        HeadPart::Uri => non_empty(Some(&request.path), out),
        HeadPart::Query => non_empty(request.query(), out),
        HeadPart::Length => {
            write_int(head_length(request).saturating_add(cx.info.bytes_received), out);
            true
        }
        // In HTTP/2 an empty header counts as missing, but so it does in a log: it shows as "-".
        HeadPart::Header(name) => {
            let before = out.len();
            header(Some(request), name, out) && out.len() > before
        }
        HeadPart::Argument(name) => query::write_argument(request.query().unwrap_or_default(), name, out),
        HeadPart::Cookie(name) => {
            let cookies = request.headers.get_all("cookie");
            cookies.into_iter().any(|cookies| query::write_cookie(cookies, name, out))
        }
    }
}

/// The bytes that the head takes as HTTP/1.1, as it is sent upstream.
fn head_length(request: &RequestHead) -> u64 {
    let line = request.method.as_str().len() + 1 + request.path.len() + " HTTP/1.1\r\n".len();
    let host = "Host: \r\n".len() + request.authority.len();
    let field = |(name, value): (&[u8], &[u8])| name.len() + ": ".len() + value.len() + "\r\n".len();
    let fields: usize = request.headers.iter().map(field).sum();
    (line + host + fields + "\r\n".len()) as u64
}

/// `host` is not among the fields of a head, but operators ask for it like for any other.
fn header(request: Option<&RequestHead>, name: &str, out: &mut Vec<u8>) -> bool {
    let Some(request) = request else { return false };
    let headers: &Headers = &request.headers;
    if let Some(value) = headers.get(name) {
        return bytes(Some(value), out);
    }
    name.eq_ignore_ascii_case("host") && non_empty(Some(&request.authority), out)
}

fn bytes<T: AsRef<[u8]> + ?Sized>(value: Option<&T>, out: &mut Vec<u8>) -> bool {
    if let Some(value) = value {
        out.extend_from_slice(value.as_ref());
    }
    value.is_some()
}

fn non_empty<T: AsRef<[u8]> + ?Sized>(value: Option<&T>, out: &mut Vec<u8>) -> bool {
    bytes(value.filter(|value| !value.as_ref().is_empty()), out)
}

fn int(value: Option<impl itoa::Integer>, out: &mut Vec<u8>) -> bool {
    value.map(|value| write_int(value, out)).is_some()
}

/// A moment that never came shows as `0s`.
fn duration(value: Option<Duration>, out: &mut Vec<u8>) -> bool {
    write_duration(value.unwrap_or_default(), out);
    true
}

fn address(value: Option<std::net::SocketAddr>, out: &mut Vec<u8>) -> bool {
    value.map(|value| write_address(value, out)).is_some()
}
