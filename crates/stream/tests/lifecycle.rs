//! How long connections live: timeouts, detection, drain.

mod common;

use std::time::{Duration, Instant};

use common::{Server, http1::Reader, until, worker};
use mosn_config::model::DownstreamProtocols;
use mosn_core::{Failure, Protocol};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

const GET: &[u8] = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";

fn server() -> Server {
    Server::new(Protocol::Http1)
}

/// Everything that comes until the connection ends, and how long that took.
async fn rest(mut client: UnixStream) -> (String, Duration) {
    let begun = Instant::now();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).await.expect("the server closes");
    (String::from_utf8_lossy(&reply).into_owned(), begun.elapsed())
}

#[test]
fn a_header_that_does_not_come_to_its_end_is_answered_408() {
    worker(async {
        let mut server = server();
        server.limits.header_timeout = Duration::from_millis(100);
        let mut client = server.connect();
        client.write_all(b"GET / HTTP/1.1\r\n").await.expect("written");
        let (reply, took) = rest(client).await;
        assert!(reply.starts_with("HTTP/1.1 408 ") && reply.contains("Connection: close\r\n"), "{reply}");
        assert!(took >= Duration::from_millis(95), "{took:?}");
        assert_eq!(server.app.refused.borrow()[..], [Failure::HeaderTimeout]);
    });
}

#[test]
fn bytes_that_trickle_in_do_not_prolong_the_header_timeout() {
    worker(async {
        let mut server = server();
        server.limits.header_timeout = Duration::from_millis(100);
        let mut client = server.connect();
        let begun = Instant::now();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await.expect("written");
        while begun.elapsed() < Duration::from_secs(3) && client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(server.app.refused.borrow()[..], [Failure::HeaderTimeout]);
    });
}

#[test]
fn a_connection_that_never_sends_anything_does_not_stay() {
    worker(async {
        let mut server = server();
        server.limits.header_timeout = Duration::from_millis(100);
        let (_, took) = rest(server.connect()).await;
        assert!(took >= Duration::from_millis(95), "{took:?}");
        // Between requests it is the idle timeout that counts.
        let mut client = server.connect();
        client.write_all(GET).await.expect("written");
        let mut reader = Reader::new(&mut client);
        reader.reply("GET").await.expect("a reply");
        drop(reader);
        tokio::time::sleep(Duration::from_millis(250)).await;
        client.write_all(GET).await.expect("written");
        assert!(Reader::new(client).reply("GET").await.is_some());
    });
}

#[test]
fn an_idle_connection_closes_and_a_busy_one_does_not() {
    worker(async {
        let mut server = server();
        server.idle_timeout = Some(Duration::from_millis(100));
        let mut client = server.connect();
        client.write_all(GET).await.expect("written");
        let mut reader = Reader::new(client);
        reader.reply("GET").await.expect("a reply");
        let begun = Instant::now();
        assert!(reader.is_closed().await);
        assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());

        let mut client = server.connect();
        client.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.app.release();
        assert_eq!(Reader::new(client).reply("GET").await.expect("a reply").body, b"waited");
    });
}

#[test]
fn drain_closes_idle_connections_and_lets_others_finish() {
    worker(async {
        let server = server();
        let mut idle = server.connect();
        idle.write_all(GET).await.expect("written");
        let mut idle = Reader::new(idle);
        idle.reply("GET").await.expect("a reply");
        let fresh = server.connect();
        let mut busy = server.connect();
        busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        until("the request is there", || server.app.active.get() == 1).await;
        assert_eq!(server.drain.connections(), 3);

        server.drain.begin();
        assert!(idle.is_closed().await);
        assert_eq!(rest(fresh).await.0, "", "one that never asked has nothing to be told");
        until("only the busy one is left", || server.drain.connections() == 1).await;
        server.app.release();
        let mut busy = Reader::new(busy);
        let reply = busy.reply("GET").await.expect("a reply");
        assert_eq!((&reply.body[..], reply.field("connection")), (&b"waited"[..], Some("close")));
        assert!(busy.is_closed().await);
        std::future::poll_fn(|cx| server.drain.poll_empty(cx)).await;
        assert_eq!(server.drain.connections(), 0);
    });
}

#[test]
fn a_request_that_was_sent_before_the_drain_is_answered() {
    worker(async {
        let server = server();
        let mut client = server.connect();
        client.write_all(GET).await.expect("written");
        server.drain.begin();
        let reply = Reader::new(client).reply("GET").await.expect("a reply");
        assert_eq!((reply.status, reply.field("connection")), (200, Some("close")));
    });
}

fn detecting() -> Server {
    let mut server = server();
    server.protocols = DownstreamProtocols::Detect(vec![Protocol::Http1, Protocol::Http2]);
    server
}

#[test]
fn the_protocol_is_told_by_the_first_bytes_however_they_come() {
    worker(async {
        let server = detecting();
        let mut client = server.connect();
        for byte in GET {
            client.write_all(&[*byte]).await.expect("written");
            tokio::task::yield_now().await;
        }
        assert_eq!(Reader::new(client).reply("GET").await.expect("a reply").body, b"hello");

        let mut client = server.connect();
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
            client.write_all(&[*byte]).await.expect("written");
            tokio::task::yield_now().await;
        }
        let mut frame = [0; 9];
        client.read_exact(&mut frame).await.expect("a frame");
        assert_eq!(frame[3], 4, "the server's SETTINGS come first");
    });
}

#[test]
fn bytes_of_no_protocol_are_refused() {
    worker(async {
        let server = detecting();
        server.exchange(b"\x16\x03\x01\x02\x00\x01\x00").await;
        assert_eq!(server.app.refused.borrow()[..], [Failure::BadRequest]);
    });
}

#[test]
fn a_connection_that_closes_without_a_byte_was_no_request() {
    worker(async {
        for server in [server(), detecting()] {
            drop(server.connect());
            until("it is gone", || server.drain.connections() == 0).await;
            tokio::task::yield_now().await;
            assert!(server.app.refused.borrow().is_empty());
        }
        let server = detecting();
        let client = server.connect();
        until("it is there", || server.drain.connections() == 1).await;
        server.drain.begin();
        assert_eq!(rest(client).await.0, "");
        assert!(server.app.refused.borrow().is_empty());
    });
}

#[test]
fn detection_does_not_wait_for_ever() {
    worker(async {
        let mut server = detecting();
        server.idle_timeout = Some(Duration::from_secs(60));
        server.limits.header_timeout = Duration::from_millis(100);
        for bytes in [&b""[..], b"GE"] {
            let mut client = server.connect();
            client.write_all(bytes).await.expect("written");
            assert!(rest(client).await.1 >= Duration::from_millis(95));
        }
    });
}
