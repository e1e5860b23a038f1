//! One application behind two protocols: what it answers depends on the path.
//!
//! | path | answer |
//! |---|---|
//! | `/bytes/N` | `N` bytes of known length |
//! | `/chunks/N` | `N` bytes of unknown length |
//! | `/trailers` | `body`, then the trailer `x-sum: 4` |
//! | `/status/N` | that status, without a body |
//! | `/interim` | 103 with `link: </style>`, then 200 |
//! | `/stream` | the request's body, each piece as it comes |
//! | anything else | the request's body and trailers, once they are complete |

use std::io;

use bytes::Bytes;

use crate::{
    Exchange, Fields, Http2Exchange, Http2Origin, Origin,
    http2::{send_all, send_some},
};

/// Bytes in which a shift, a loss or a repetition shows.
#[must_use]
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn number(path: &str) -> usize {
    path.rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(0)
}

fn kind(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

/// The application in HTTP/1.
#[must_use]
pub fn echo_http1() -> Origin {
    Origin::new(http1)
}

fn http1(exchange: &mut Exchange<'_>) -> io::Result<()> {
    let path = exchange.head.target().to_owned();
    if exchange.head.fields.get("upgrade").is_some() {
        exchange.note(Vec::new(), Fields::default());
        return tunnel(exchange);
    }
    if kind(&path) == "stream" {
        return stream(exchange);
    }
    if exchange.head.fields.get("expect").is_some() {
        exchange.wire.send("HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    let trailers = exchange.wire.request_body(&exchange.head, &mut body)?;
    exchange.note(body.clone(), trailers.clone());
    match kind(&path) {
        "bytes" => exchange.reply(200, &[], &pattern(number(&path))),
        "chunks" => chunked(exchange, &pattern(number(&path)), &Fields::default()),
        "trailers" => chunked(exchange, b"body", &[("X-Sum", "4")].into()),
        "status" => exchange.reply(number(&path) as u16, &[("ETag", "\"1\"")], b""),
        "interim" => {
            exchange.wire.send("HTTP/1.1 103 Early Hints\r\nLink: </style>\r\n\r\n")?;
            exchange.reply(200, &[], b"after")
        }
        _ if trailers.0.is_empty() => exchange.reply(200, &[], &body),
        _ => chunked(exchange, &body, &trailers),
    }
}

fn chunked(exchange: &mut Exchange<'_>, body: &[u8], trailers: &Fields) -> io::Result<()> {
    exchange.wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    for chunk in body.chunks(7_000) {
        exchange.wire.chunk(chunk)?;
    }
    exchange.wire.last_chunk(trailers)
}

fn tunnel(exchange: &mut Exchange<'_>) -> io::Result<()> {
    let key = exchange.head.fields.get("sec-websocket-key").unwrap_or_default();
    exchange.wire.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept(key)
    ))?;
    while let Ok(some) = exchange.wire.some(usize::MAX) {
        exchange.wire.send(some)?;
    }
    Err(io::ErrorKind::ConnectionAborted.into())
}

/// The answer to a WebSocket client's key (RFC 6455 1.3).
fn accept(key: &str) -> String {
    use base64::Engine as _;
    use sha1::Digest as _;
    let digest = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(digest)
}

/// Sends the body back piece by piece.
fn stream(exchange: &mut Exchange<'_>) -> io::Result<()> {
    exchange.note(Vec::new(), Fields::default());
    exchange.wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    if let Some(length) = exchange.head.fields.get("content-length") {
        let mut left = length.parse().map_err(io::Error::other)?;
        while left > 0 {
            let some = exchange.wire.some(left)?;
            left -= some.len();
            exchange.wire.chunk(&some)?;
        }
        return exchange.wire.last_chunk(&Fields::default());
    }
    loop {
        let size = usize::from_str_radix(&exchange.wire.line()?, 16).map_err(io::Error::other)?;
        if size == 0 {
            exchange.wire.line()?;
            return exchange.wire.last_chunk(&Fields::default());
        }
        let chunk = exchange.wire.take(size)?;
        exchange.wire.line()?;
        exchange.wire.chunk(&chunk)?;
    }
}

/// The application in HTTP/2.
#[must_use]
pub fn echo_http2() -> Http2Origin {
    Http2Origin::new(http2)
}

async fn http2(mut exchange: Http2Exchange) -> Result<(), h2::Error> {
    let path = exchange.head.uri.path().to_owned();
    let tunnel = exchange.head.extensions.get::<h2::ext::Protocol>().is_some();
    if tunnel || kind(&path) == "stream" {
        exchange.note(Vec::new(), Fields::default());
        let mut send = exchange.reply(200, &[], false)?;
        while let Some(data) = exchange.recv.data().await {
            let mut data = data?;
            // Fails only for more than was received.
            let _ = exchange.recv.flow_control().release_capacity(data.len());
            while !data.is_empty() {
                send_some(&mut send, &mut data).await?;
            }
        }
        return send.send_data(Bytes::new(), true);
    }
    let (body, trailers) = exchange.read().await?;
    let length = |length: usize| length.to_string();
    match kind(&path) {
        "bytes" => {
            let body = pattern(number(&path));
            let send = exchange.reply(200, &[("content-length", &length(body.len()))], is_head(&exchange))?;
            if is_head(&exchange) { Ok(()) } else { send_all(send, body, &Fields::default()).await }
        }
        "chunks" => {
            let send = exchange.reply(200, &[], is_head(&exchange))?;
            if is_head(&exchange) {
                return Ok(());
            }
            send_all(send, pattern(number(&path)), &Fields::default()).await
        }
        "trailers" => {
            let send = exchange.reply(200, &[], false)?;
            send_all(send, &b"body"[..], &[("x-sum", "4")].into()).await
        }
        "status" => exchange.reply(number(&path) as u16, &[("etag", "\"1\"")], true).map(drop),
        "interim" => {
            let interim = http::Response::builder().status(103).header("link", "</style>").body(());
            exchange.respond.send_informational(interim.expect("a reply"))?;
            let send = exchange.reply(200, &[], false)?;
            send_all(send, &b"after"[..], &Fields::default()).await
        }
        _ if body.is_empty() && trailers.0.is_empty() => {
            exchange.reply(200, &[("content-length", "0")], true).map(drop)
        }
        _ => {
            let send = exchange.reply(200, &[], false)?;
            send_all(send, body, &trailers).await
        }
    }
}

fn is_head(exchange: &Http2Exchange) -> bool {
    exchange.head.method == http::Method::HEAD
}
