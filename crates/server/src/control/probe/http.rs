//! Over HTTP/1.

use std::io;

use bytes::{Buf as _, BytesMut};
use mosn_config::model::HttpProbeSpec;
use mosn_upstream::{HostAddress, good_status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Asker, Connection, LONGEST, authority};

/// Redirects that are followed at most, as in MOSN.
const REDIRECTS: usize = 10;

pub(super) async fn ask(host: &HostAddress, spec: &HttpProbeSpec, asker: &Asker<'_>) -> Result<(), String> {
    if spec.tls {
        return Err("cannot check over TLS".to_owned());
    }
    let (mut host, mut port) = (host.clone(), spec.port);
    let mut authority = authority(&host, &spec.host);
    let mut path = spec.path.clone();
    for _ in 0..=REDIRECTS {
        let connection = asker.connect(&host, port).await?;
        let (status, location) = http_status(connection, &spec.method, &path, &authority).await?;
        if good_status(spec, status) {
            return Ok(());
        }
        let Some(location) = location.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308)) else {
            return Err(format!("status {status}"));
        };
        if location.starts_with('/') && !location.starts_with("//") {
            path = location;
            continue;
        }
        // Elsewhere, without the port that this host is asked at.
        let elsewhere = location.strip_prefix("http://").map(|rest| match rest.find('/') {
            Some(at) => (rest[..at].to_owned(), rest[at..].to_owned()),
            None => (rest.to_owned(), "/".to_owned()),
        });
        let Some((to, rest)) = elsewhere else {
            return Err(format!("status {status}, which leads to {location:?}"));
        };
        path = rest;
        if to != authority {
            let with_port = if to.rsplit(']').next().is_some_and(|end| end.contains(':')) {
                to.clone()
            } else {
                format!("{to}:80")
            };
            host = HostAddress::parse(&with_port)
                .ok_or_else(|| format!("status {status}, which leads to {location:?}"))?;
            port = 0;
            authority = to;
        }
    }
    Err(format!("more than {REDIRECTS} redirects"))
}

/// The status of a reply, and where it leads.
async fn http_status(
    mut connection: Connection,
    method: &str,
    path: &str,
    authority: &str,
) -> Result<(u16, Option<String>), String> {
    let lost = |error: io::Error| format!("connection lost: {error}");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: mosn\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.map_err(lost)?;
    let mut buffer = BytesMut::new();
    loop {
        if connection.read_buf(&mut buffer).await.map_err(lost)? == 0 {
            return Err("closed without an answer".to_owned());
        }
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            let mut reply = httparse::Response::new(&mut fields);
            let parsed = reply.parse(&buffer).map_err(|error| format!("no HTTP/1 answer: {error}"))?;
            let httparse::Status::Complete(length) = parsed else { break };
            let status = reply.code.unwrap_or_default();
            if (100..200).contains(&status) && status != 101 {
                buffer.advance(length);
                continue;
            }
            let location = reply.headers.iter().find(|field| field.name.eq_ignore_ascii_case("location"));
            let location = location.map(|field| String::from_utf8_lossy(field.value).into_owned());
            // Whatever is sent to the next place must be one line.
            let location = location.filter(|location| location.bytes().all(|byte| byte.is_ascii_graphic()));
            return Ok((status, location));
        }
        if buffer.len() > LONGEST {
            return Err("an answer without end".to_owned());
        }
    }
}
