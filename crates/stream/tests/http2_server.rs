//! The server side of HTTP/2 with a well-behaved client.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{POUR_FRAME, Server, frames, http1::Reader, until, worker};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Response};
use mosn_core::{Failure, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn server() -> Server {
    Server::new(Protocol::Http2)
}

/// A client's connection, driven.
async fn connect(server: &Server) -> SendRequest<Bytes> {
    let (send, connection) =
        h2::client::Builder::new().handshake(server.connect()).await.expect("a connection");
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    send
}

fn request(method: Method, path: &str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = format!("http://a.com{path}").parse().expect("a uri");
    request
}

/// The whole of a body.
async fn body(response: Response<h2::RecvStream>) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut recv = response.into_body();
    let mut body = Vec::new();
    while let Some(data) = recv.data().await {
        let data = data?;
        let _ = recv.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    Ok((body, recv.trailers().await?))
}

#[test]
fn a_request_with_body_and_trailers_gets_them_back() {
    worker(async {
        let server = server();
        let mut client = connect(&server).await;
        let (reply, mut send) = client.send_request(request(Method::POST, "/echo?q"), false).expect("sent");
        send.send_data(Bytes::from_static(b"ab"), false).expect("sent");
        send.send_data(Bytes::from_static(b"cd"), false).expect("sent");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().expect("a value"));
        send.send_trailers(trailers.clone()).expect("sent");
        let (got, got_trailers) = body(reply.await.expect("a reply")).await.expect("a body");
        assert_eq!((&got[..], got_trailers), (&b"abcd"[..], Some(trailers)));
        let seen = server.app.seen.borrow();
        assert_eq!((&seen[0].path[..], &seen[0].authority[..]), ("/echo?q", "a.com"));
    });
}

#[test]
fn many_streams_are_served_at_once_and_in_any_order() {
    worker(async {
        let server = server();
        let mut client = connect(&server).await;
        let (waiting, _) = client.send_request(request(Method::GET, "/wait"), true).expect("sent");
        let mut replies = Vec::new();
        for _ in 0..50 {
            client = client.ready().await.expect("ready");
            replies.push(client.send_request(request(Method::GET, "/hello"), true).expect("sent").0);
        }
        for reply in replies {
            assert_eq!(body(reply.await.expect("a reply")).await.expect("a body").0, b"hello");
        }
        server.app.release();
        assert_eq!(body(waiting.await.expect("a reply")).await.expect("a body").0, b"waited");
    });
}

#[test]
fn heads_without_bodies_end_their_streams() {
    worker(async {
        let server = server();
        for (method, path, status) in
            [(Method::HEAD, "/hello", 200), (Method::GET, "/204", 204), (Method::GET, "/304", 304)]
        {
            let mut client = connect(&server).await;
            let (reply, _) = client.send_request(request(method, path), true).expect("sent");
            let reply = reply.await.expect("a reply");
            assert_eq!(reply.status(), status);
            assert!(!reply.headers().contains_key("connection"));
            assert!(reply.headers().contains_key("date"));
            assert!(body(reply).await.expect("no body").0.is_empty());
        }
    });
}

#[test]
fn a_reply_that_breaks_off_is_reset() {
    worker(async {
        let server = server();
        let mut client = connect(&server).await;
        let (reply, _) = client.send_request(request(Method::GET, "/cut"), true).expect("sent");
        // What the client has not got by then it may not get.
        let error = match reply.await {
            Ok(reply) => body(reply).await.expect_err("half a body"),
            Err(error) => error,
        };
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
        client = client.ready().await.expect("the connection lives");
        let (reply, _) = client.send_request(request(Method::GET, "/never"), true).expect("sent");
        assert!(reply.await.expect_err("no reply").is_reset());
    });
}

#[test]
fn a_client_that_does_not_read_is_sent_no_more_than_its_window() {
    worker(async {
        let server = server();
        let mut client = connect(&server).await;
        let (reply, _) = client.send_request(request(Method::GET, "/pour"), true).expect("sent");
        let reply = reply.await.expect("a head");
        let mut before = 0;
        while before == 0 || before != server.app.poured.get() {
            before = server.app.poured.get();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The client's window is 64 KiB, our buffer as much; the body is 64 MiB.
        assert!(before * POUR_FRAME <= 256 * 1024, "{before} frames");
        let mut recv = reply.into_body();
        let data = recv.data().await.expect("data").expect("data");
        recv.flow_control().release_capacity(data.len()).expect("released");
        drop(recv);
        until("the client is missed", || server.app.active.get() == 0).await;
        assert_eq!(server.app.gone.borrow()[..], [Failure::ClientGone]);
    });
}

#[test]
fn a_body_that_nobody_takes_is_held_back_by_its_window() {
    worker(async {
        let mut server = server();
        server.limits.max_buffered_bytes = 100_000;
        let mut client = connect(&server).await;
        let (_reply, mut send) = client.send_request(request(Method::POST, "/wait"), false).expect("sent");
        until("the request is there", || server.app.active.get() == 1).await;
        send.reserve_capacity(10_000_000);
        let mut sent = 0;
        while let Ok(Some(Ok(capacity))) = tokio::time::timeout(
            Duration::from_millis(100),
            std::future::poll_fn(|cx| send.poll_capacity(cx)),
        )
        .await
        {
            send.send_data(vec![0; capacity].into(), false).expect("sent");
            sent += capacity;
            send.reserve_capacity(10_000_000);
        }
        assert_eq!(sent, 100_000);
    });
}

#[test]
fn streams_that_nobody_reads_leave_others_the_rest_of_the_connections_window() {
    worker(async {
        let mut server = server();
        server.limits.max_buffered_bytes = 100_000;
        let mut client = connect(&server).await;
        let mut unread = Vec::new();
        for _ in 0..3 {
            client = client.ready().await.expect("ready");
            let (reply, mut send) = client.send_request(request(Method::POST, "/wait"), false).expect("sent");
            send.send_data(vec![0; 200_000].into(), false).expect("sent");
            unread.push((reply, send));
        }
        until("the requests are there", || server.app.active.get() == 3).await;
        client = client.ready().await.expect("ready");
        let (reply, mut send) = client.send_request(request(Method::POST, "/echo"), false).expect("sent");
        send.send_data(vec![0; 1_000_000].into(), true).expect("sent");
        let (got, _) = body(reply.await.expect("a reply")).await.expect("a body");
        assert_eq!(got.len(), 1_000_000);
    });
}

#[test]
fn a_reset_by_the_client_reaches_the_application() {
    worker(async {
        let server = server();
        let mut client = connect(&server).await;
        let (reply, mut send) = client.send_request(request(Method::POST, "/wait"), false).expect("sent");
        until("the request is there", || server.app.active.get() == 1).await;
        send.send_reset(h2::Reason::CANCEL);
        until("the client is missed", || server.app.active.get() == 0).await;
        assert_eq!(server.app.gone.borrow()[..], [Failure::ClientGone]);
        drop(reply);
        let (reply, _) = client.send_request(request(Method::GET, "/hello"), true).expect("sent");
        assert_eq!(reply.await.expect("a reply").status(), 200);
    });
}

#[test]
fn the_loss_of_the_connection_reaches_every_request() {
    worker(async {
        let server = server();
        let mut io = server.connect();
        let mut bytes = frames::opening();
        for stream in [1, 3, 5] {
            bytes.extend(frames::headers(stream, "GET", "/wait", true));
        }
        io.write_all(&bytes).await.expect("written");
        until("the requests are there", || server.app.active.get() == 3).await;
        drop(io);
        until("the client is missed", || server.app.active.get() == 0).await;
        until("nothing is left", || server.drain.connections() == 0).await;
    });
}

#[test]
fn an_early_reply_ends_the_upload() {
    worker(async {
        let server = server();
        let mut client = connect(&server).await;
        let (reply, mut send) = client.send_request(request(Method::POST, "/early"), false).expect("sent");
        let reply = reply.await.expect("a reply");
        assert_eq!(reply.status(), 403);
        assert_eq!(body(reply).await.expect("a body").0, b"no");
        let reason = std::future::poll_fn(|cx| send.poll_reset(cx)).await.expect("a reset");
        assert!(matches!(reason, h2::Reason::NO_ERROR | h2::Reason::CANCEL), "{reason:?}");
        client = client.ready().await.expect("the connection lives");
        let (reply, _) = client.send_request(request(Method::GET, "/hello"), true).expect("sent");
        assert_eq!(reply.await.expect("a reply").status(), 200);
    });
}

#[test]
fn an_extended_connect_opens_a_tunnel() {
    worker(async {
        let server = server();
        let mut client = connect(&server).await;
        until("SETTINGS have come", || {
            // Needs the connection's task to have read them.
            client.is_extended_connect_protocol_enabled()
        })
        .await;
        let mut connect = request(Method::CONNECT, "/tunnel");
        connect.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (reply, mut send) = client.send_request(connect, false).expect("sent");
        let reply = reply.await.expect("a reply");
        assert_eq!(reply.status(), 200);
        send.send_data(Bytes::from_static(b"ping"), true).expect("sent");
        assert_eq!(body(reply).await.expect("a body").0, b"ping");
    });
}

#[test]
fn h2c_upgrades_begin_with_the_request_as_stream_1() {
    worker(async {
        let server = Server::new(Protocol::Http1);
        let mut io = server.connect();
        let upgrade =
            b"GET /hello?1 HTTP/1.1\r\nHost: a.com\r\nX-Kept: 1\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                        Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
        io.write_all(upgrade).await.expect("written");
        let mut reader = Reader::new(&mut io);
        let reply = reader.reply("GET").await.expect("a reply");
        assert_eq!((reply.status, reply.field("upgrade")), (101, Some("h2c")));
        drop(reader);
        let later = [frames::opening(), frames::headers(3, "GET", "/hello?3", true)].concat();
        io.write_all(&later).await.expect("written");
        let mut ended = Vec::new();
        while ended.len() < 2 {
            let (kind, flags, stream, _) = frames::read(&mut io).await.expect("a frame");
            if matches!(kind, frames::DATA | frames::HEADERS) && flags & frames::END_STREAM != 0 {
                ended.push(stream);
            }
        }
        ended.sort_unstable();
        assert_eq!(ended, [1, 3]);
        let seen = server.app.seen.borrow();
        assert_eq!((&seen[0].path[..], &seen[0].authority[..]), ("/hello?1", "a.com"));
        assert!(seen[0].headers.contains(&("x-kept".into(), "1".into())), "{:?}", seen[0]);
        assert!(!seen[0].headers.iter().any(|(name, _)| name == "http2-settings" || name == "upgrade"));
    });
}

#[test]
fn an_upgrade_that_does_not_go_on_in_http2_is_dropped() {
    worker(async {
        let server = Server::new(Protocol::Http1);
        let mut io = server.connect();
        let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                        HTTP2-Settings: AAMAAABk\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        io.write_all(upgrade).await.expect("written");
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.expect("closed");
        assert!(rest.starts_with(b"HTTP/1.1 101 ") && rest.ends_with(b"\r\n\r\n"));
        assert!(server.app.seen.borrow().is_empty());
    });
}

#[test]
fn drain_says_goaway_and_lets_streams_finish() {
    worker(async {
        let server = server();
        let mut client = connect(&server).await;
        let idle = connect(&server).await;
        let (reply, _) = client.send_request(request(Method::GET, "/wait"), true).expect("sent");
        until("the request is there", || server.app.active.get() == 1).await;
        server.drain.begin();
        until("the idle connection closes", || server.drain.connections() == 1).await;
        drop(idle);
        server.app.release();
        assert_eq!(body(reply.await.expect("a reply")).await.expect("a body").0, b"waited");
        std::future::poll_fn(|cx| server.drain.poll_empty(cx)).await;
        assert!(client.ready().await.is_err(), "no new streams");
    });
}

#[test]
fn an_idle_connection_is_closed_with_goaway() {
    worker(async {
        let mut server = server();
        server.idle_timeout = Some(Duration::from_millis(100));
        let mut io = server.connect();
        io.write_all(&[frames::opening(), frames::headers(1, "GET", "/wait", true)].concat())
            .await
            .expect("written");
        until("the request is there", || server.app.active.get() == 1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(server.drain.connections(), 1, "a stream is open");
        server.app.release();
        // The client answers the PING that comes with the GOAWAY.
        let mut code = None;
        while let Some((kind, flags, _, payload)) = frames::read(&mut io).await {
            match kind {
                frames::PING if flags == 0 => {
                    io.write_all(&frames::frame(frames::PING, 1, 0, &payload)).await.expect("written");
                }
                frames::GOAWAY => code = Some(payload[7]),
                _ => {}
            }
        }
        assert_eq!(code, Some(0));
    });
}
