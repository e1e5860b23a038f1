//! The server side of HTTP/2 with clients that break the rules or wear it out.

mod common;

use std::time::Duration;

use common::{
    Server,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
        block, frame, goaway, headers, opening, read,
    },
    until, worker,
};
use mosn_core::{Failure, Protocol};
use tokio::io::{AsyncWriteExt, split};

const ENHANCE_YOUR_CALM: u32 = 11;

fn server() -> Server {
    let mut server = Server::new(Protocol::Http2);
    server.limits.max_resets = 50;
    server.limits.max_control_frames = 100;
    server
}

type Frames = Box<dyn Iterator<Item = Vec<u8>>>;

/// Sends frames until the server has had enough; its last word.
async fn flood(server: &Server, frames: impl Iterator<Item = Vec<u8>>) -> Option<u32> {
    let (mut reader, mut writer) = split(server.connect());
    let sending = async {
        writer.write_all(&opening()).await.ok();
        for frame in frames {
            if writer.write_all(&frame).await.is_err() {
                return;
            }
            // As fast as the server reads, so that each frame is seen as what it is.
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = sending => goaway(&mut reader).await,
        code = goaway(&mut reader) => code,
    }
}

fn streams() -> impl Iterator<Item = u32> {
    (0..).map(|i| 2 * i + 1)
}

#[test]
fn floods_of_useless_frames_end_the_connection() {
    worker(async {
        let ping = || std::iter::repeat_with(|| frame(PING, 0, 0, &[0; 8]));
        let settings = || std::iter::repeat_with(|| frame(SETTINGS, 0, 0, &[]));
        let updates = || std::iter::repeat_with(|| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
        let open = || std::iter::once(headers(1, "POST", "/wait", false));
        let data = || std::iter::repeat_with(|| frame(DATA, 0, 1, &[]));
        let floods: Vec<(&str, Frames)> = vec![
            ("PING", Box::new(ping().take(2000))),
            ("SETTINGS", Box::new(settings().take(2000))),
            ("WINDOW_UPDATE", Box::new(updates().take(2000))),
            ("empty DATA", Box::new(open().chain(data()).take(2000))),
        ];
        for (name, frames) in floods {
            let server = server();
            assert_eq!(flood(&server, frames).await, Some(ENHANCE_YOUR_CALM), "{name}");
            until(&format!("{name} is counted"), || server.app.floods.get() == 1).await;
            until("nothing is left", || server.drain.connections() == 0 && server.app.active.get() == 0)
                .await;
        }
    });
}

#[test]
fn rapid_resets_end_the_connection() {
    worker(async {
        let server = server();
        let resets = streams().take(2000).map(|stream| {
            [headers(stream, "GET", "/wait", true), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        });
        assert_eq!(flood(&server, resets).await, Some(ENHANCE_YOUR_CALM));
        until("nothing is left", || server.drain.connections() == 0 && server.app.active.get() == 0).await;
        // h2 may have had enough before the meter has.
        assert!(server.app.seen.borrow().len() <= 60, "{}", server.app.seen.borrow().len());
    });
}

#[test]
fn a_flood_from_a_client_that_never_reads_still_ends() {
    worker(async {
        let server = server();
        let (reader, mut writer) = split(server.connect());
        writer.write_all(&opening()).await.expect("written");
        let pings = frame(PING, 0, 0, &[0; 8]).repeat(1000);
        tokio::time::timeout(Duration::from_secs(5), async {
            while writer.write_all(&pings).await.is_ok() {}
        })
        .await
        .ok();
        until("nothing is left", || server.drain.connections() == 0).await;
        drop(reader);
    });
}

#[test]
fn endless_continuations_end_the_connection() {
    worker(async {
        let server = server();
        let first = std::iter::once(frame(HEADERS, 0, 1, &block(&[(":method", "GET")])));
        let more = std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, &block(&[("x-a", "b")])));
        let code = flood(&server, first.chain(more).take(100_000)).await;
        assert!(code.is_some(), "the connection ends");
        assert!(server.app.seen.borrow().is_empty());
        until("nothing is left", || server.drain.connections() == 0).await;
    });
}

#[test]
fn ordinary_traffic_trips_no_meter() {
    worker(async {
        let server = server();
        let (mut reader, mut writer) = split(server.connect());
        writer.write_all(&opening()).await.expect("written");
        // A PING for each request, a window update for each reply, small DATA frames, and a
        // reset of every tenth: what a client of a streaming service does.
        for stream in streams().take(400) {
            let mut bytes = frame(PING, 0, 0, &[0; 8]);
            bytes.extend(headers(stream, "POST", "/echo", false));
            for _ in 0..5 {
                bytes.extend(frame(DATA, 0, stream, b"x"));
            }
            bytes.extend(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 5]));
            let reset = stream % 20 == 1;
            if reset {
                bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            } else {
                bytes.extend(frame(DATA, END_STREAM, stream, b""));
            }
            writer.write_all(&bytes).await.expect("written");
            let mut answered = reset;
            while !answered {
                let (kind, flags, at, _) = read(&mut reader).await.expect("the connection lives");
                answered = kind == DATA && flags & END_STREAM != 0 && at == stream;
            }
        }
        assert_eq!(server.app.floods.get(), 0);
    });
}

#[test]
fn requests_beyond_the_limits_are_refused_by_name() {
    worker(async {
        let mut server = server();
        server.limits.max_uri_length = 20;
        server.limits.max_header_count = 5;
        let long = format!("/{}", "a".repeat(30));
        let mut many: Vec<(&str, &str)> =
            vec![(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        many.extend([("x-a", "1"), ("x-b", "1"), ("x-c", "1"), ("x-d", "1"), ("x-e", "1"), ("x-f", "1")]);
        for (request, why) in [
            (headers(1, "GET", &long, true), Failure::UriTooLong),
            (frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&many)), Failure::HeaderTooLarge),
        ] {
            let mut io = server.connect();
            io.write_all(&[opening(), request].concat()).await.expect("written");
            let payload = loop {
                let (kind, _, _, payload) = read(&mut io).await.expect("a frame");
                if kind == HEADERS {
                    break payload;
                }
            };
            let status = why.row().status.to_string();
            // A status without an entry in the static table is a literal, plain or Huffman-coded.
            assert!(payload.len() > 1 && payload[0] != 0x88, "{status}: {payload:?}");
            assert_eq!(server.app.refused.borrow_mut().pop(), Some(why));
        }
        assert!(server.app.seen.borrow().is_empty());
    });
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_is_no_request() {
    worker(async {
        for (length, sent, end) in [("4", &b"abcdef"[..], true), ("4", b"ab", true), ("0", b"a", true)] {
            let server = server();
            let mut io = server.connect();
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", "/echo"),
                ("content-length", length),
            ];
            let request = frame(HEADERS, END_HEADERS, 1, &block(&fields));
            let data = frame(DATA, u8::from(end), 1, sent);
            io.write_all(&[opening(), request, data].concat()).await.expect("written");
            loop {
                let (kind, _, stream, payload) = read(&mut io).await.expect("a frame");
                match kind {
                    RST_STREAM => {
                        assert_eq!((stream, payload[3]), (1, 1), "PROTOCOL_ERROR");
                        break;
                    }
                    HEADERS => panic!("answered {payload:?}"),
                    _ => {}
                }
            }
            until("it is over", || server.app.active.get() == 0).await;
        }
    });
}

#[test]
fn a_connection_that_never_speaks_http2_does_not_stay() {
    worker(async {
        let mut server = server();
        server.limits.header_timeout = Duration::from_millis(100);
        let silent = server.connect();
        let mut half = server.connect();
        half.write_all(&opening()[..20]).await.expect("written");
        let mut other = server.connect();
        other.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        until("they are there", || server.drain.connections() > 0).await;
        until("all are gone", || server.drain.connections() == 0).await;
        drop((silent, half, other));
    });
}
