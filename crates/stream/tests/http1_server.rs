//! The server side of HTTP/1, byte by byte.

mod common;

use std::time::Duration;

use common::{App, POUR_FRAME, Seen, Server, http1::Reader, until, worker};
use mosn_core::{Failure, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn server() -> Server {
    Server::new(Protocol::Http1)
}

const CHUNKED: &str = "POST /echo?a=1 HTTP/1.1\r\nHost: h:80\r\nX-Case: Kept\r\nTransfer-Encoding: chunked\r\n\r\n\
                       4;ext=1\r\nwiki\r\n5\r\npedia\r\n0\r\nX-Sum: 9\r\n\r\n";

#[test]
fn a_request_that_is_split_at_any_byte_is_the_same_request() {
    worker(async {
        let expected = Seen {
            method: "POST".into(),
            path: "/echo?a=1".into(),
            authority: "h:80".into(),
            headers: vec![("Host".into(), "h:80".into()), ("X-Case".into(), "Kept".into())],
            body: b"wikipedia".to_vec(),
            trailers: vec![("X-Sum".into(), "9".into())],
        };
        let server = server();
        for at in 0..CHUNKED.len() {
            let mut client = server.connect();
            client.write_all(&CHUNKED.as_bytes()[..at]).await.expect("written");
            // Lets the server take the first part by itself; if it does not, this is no split.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_micros(100)).await;
            client.write_all(&CHUNKED.as_bytes()[at..]).await.expect("written");
            let reply = Reader::new(client).reply("POST").await.expect("a reply");
            assert_eq!((reply.status, &reply.body[..]), (200, &b"wikipedia"[..]), "split at {at}");
            assert_eq!(reply.trailers, "X-Sum: 9\r\n", "split at {at}");
            assert_eq!(server.app.seen.borrow_mut().pop().as_ref(), Some(&expected), "split at {at}");
        }
    });
}

#[test]
fn a_request_may_come_byte_by_byte() {
    worker(async {
        let server = server();
        let mut client = server.connect();
        for byte in CHUNKED.as_bytes() {
            client.write_all(&[*byte]).await.expect("written");
            tokio::task::yield_now().await;
        }
        let reply = Reader::new(client).reply("POST").await.expect("a reply");
        assert_eq!(reply.body, b"wikipedia");
    });
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    worker(async {
        let server = server();
        let mut client = server.connect();
        let mut requests = String::new();
        for i in 0..50 {
            requests += &match i % 3 {
                0 => format!("GET /hello?{i} HTTP/1.1\r\nHost: a\r\n\r\n"),
                1 => format!("POST /echo?{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{i:02}"),
                _ => format!(
                    "POST /echo?{i} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{i:02}\r\n0\r\n\r\n"
                ),
            };
        }
        client.write_all(requests.as_bytes()).await.expect("written");
        let mut reader = Reader::new(client);
        for i in 0..50 {
            let reply = reader.reply("GET").await.expect("a reply");
            let expected = if i % 3 == 0 { "hello".to_owned() } else { format!("{i:02}") };
            assert_eq!(String::from_utf8_lossy(&reply.body), expected);
        }
        let paths: Vec<_> = server.app.seen.borrow().iter().map(|seen| seen.path.clone()).collect();
        assert!(paths.iter().enumerate().all(|(i, path)| path.ends_with(&format!("?{i}"))), "{paths:?}");
    });
}

#[test]
fn what_could_be_read_in_two_ways_is_answered_and_the_connection_closed() {
    use Failure as F;
    let fields: &[(&str, Failure)] = &[
        ("Content-Length: 3\r\nContent-Length: 4\r\n", F::BadRequest),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", F::BadRequest),
        ("Content-Length: +3\r\n", F::BadRequest),
        ("Content-Length: 3,3\r\n", F::BadRequest),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", F::BadRequest),
        ("Transfer-Encoding: chunked, identity\r\n", F::NotImplemented),
        ("Transfer-Encoding: gzip\r\n", F::NotImplemented),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", F::BadRequest),
        ("Transfer-Encoding: \u{b}chunked\r\n", F::BadRequest),
        ("Transfer-Encoding : chunked\r\n", F::BadRequest),
        ("X: a\rb\r\n", F::BadRequest),
        ("X: a\0b\r\n", F::BadRequest),
        ("X : a\r\n", F::BadRequest),
        ("X: a\r\n b\r\n", F::BadRequest),
        (" X: a\r\n", F::BadRequest),
        ("Host: b\r\n", F::BadRequest),
    ];
    let heads: &[(&str, Failure)] = &[
        ("GET / HTTP/1.1\r\n\r\n", F::BadRequest),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", F::BadRequest),
        ("GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", F::BadRequest),
        ("GET foo HTTP/1.1\r\nHost: a\r\n\r\n", F::BadRequest),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", F::BadRequest),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", F::BadRequest),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", F::BadRequest),
        ("GET /\r\n\r\n", F::BadRequest),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", F::BadRequest),
        ("\u{1}\u{2}\u{3}\r\n\r\n", F::BadRequest),
    ];
    worker(async move {
        let server = server();
        let fields = fields
            .iter()
            .map(|(fields, why)| (format!("POST /echo HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), *why));
        let heads = heads.iter().map(|(head, why)| ((*head).to_owned(), *why));
        for (request, why) in fields.chain(heads) {
            // What follows must not be taken for another request.
            let reply = server.exchange(format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            let status = format!("HTTP/1.1 {} ", why.row().status);
            assert!(reply.starts_with(&status), "{request:?}: {reply}");
            assert!(reply.contains("Connection: close\r\n"), "{request:?}: {reply}");
            assert_eq!(reply.matches("HTTP/1.1 ").count(), 1, "{request:?}: {reply}");
            assert_eq!(server.app.refused.borrow_mut().pop(), Some(why), "{request:?}");
        }
        assert!(server.app.seen.borrow().is_empty());
    });
}

#[test]
fn broken_chunks_are_answered_400_and_the_connection_closed() {
    worker(async {
        let server = server();
        for body in [
            "g\r\n",
            "0x1\r\na\r\n",
            "1\na\n0\n\n",
            "1\r\nab\r\n",
            "-1\r\n",
            "\r\n",
            "1;\r\na\rb",
            "10000000000000000\r\n",
        ] {
            let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let reply = server.exchange(format!("{head}{body}")).await;
            assert!(reply.starts_with("HTTP/1.1 400 "), "{body:?}: {reply}");
            assert!(reply.contains("Connection: close\r\n"), "{body:?}: {reply}");
            assert_eq!(server.app.gone.borrow_mut().pop(), Some(Failure::BadRequest), "{body:?}");
        }
    });
}

#[test]
fn heads_beyond_the_limits_are_refused_by_name() {
    worker(async {
        let mut server = server();
        server.limits.max_header_size = 2048;
        server.limits.max_header_count = 10;
        server.limits.max_uri_length = 100;
        let long = "a".repeat(3000);
        let many: String = (0..10).map(|i| format!("x{i}: 1\r\n")).collect();
        for (request, why) in [
            (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), Failure::HeaderTooLarge),
            (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}"), Failure::HeaderTooLarge),
            (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), Failure::HeaderTooLarge),
            (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), Failure::UriTooLong),
            (format!("GET /{long}"), Failure::UriTooLong),
        ] {
            let reply = server.exchange(&request).await;
            assert!(reply.starts_with(&format!("HTTP/1.1 {} ", why.row().status)), "{reply}");
            assert_eq!(server.app.refused.borrow_mut().pop(), Some(why));
        }
    });
}

#[test]
fn connections_last_as_the_version_and_the_client_say() {
    let table = [
        ("GET /a HTTP/1.1\r\nHost: a\r\n\r\n", true, None),
        ("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false, Some("close")),
        ("GET /a HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false, Some("close")),
        ("GET /a HTTP/1.0\r\n\r\n", false, Some("close")),
        ("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, Some("keep-alive")),
        ("GET /unknown HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, Some("close")),
        ("GET /unknown HTTP/1.1\r\nHost: a\r\n\r\n", true, None),
        ("HEAD /unknown HTTP/1.1\r\nHost: a\r\n\r\n", true, None),
        ("GET /204 HTTP/1.1\r\nHost: a\r\n\r\n", true, None),
        ("GET /304 HTTP/1.1\r\nHost: a\r\n\r\n", true, None),
    ];
    worker(async move {
        let server = server();
        for (request, kept, connection) in table {
            let mut client = server.connect();
            let (reader, mut writer) = client.split();
            let mut reader = Reader::new(reader);
            writer.write_all(request.as_bytes()).await.expect("written");
            let method = request.split(' ').next().expect("a method");
            let reply = reader.reply(method).await.expect(request);
            assert_eq!(reply.field("connection"), connection, "{request:?}");
            if kept {
                writer.write_all(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await.expect(request);
                assert_eq!(reader.reply("GET").await.expect(request).body, b"hello", "{request:?}");
            } else {
                assert!(reader.is_closed().await, "{request:?}");
            }
        }
    });
}

#[test]
fn bodies_of_unknown_length_are_chunked_or_end_with_the_connection() {
    worker(async {
        let server = server();
        let reply = server.exchange("GET /unknown HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(reply.ends_with("\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), "{reply}");
        let reply = server.exchange("GET /unknown HTTP/1.0\r\n\r\n").await;
        assert!(reply.ends_with("\r\n\r\nhello") && !reply.contains("chunked"), "{reply}");
        let reply = server.exchange("HEAD /unknown HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(reply.ends_with("\r\n\r\n") && reply.matches("\r\n\r\n").count() == 1, "{reply}");
    });
}

#[test]
fn a_reply_that_breaks_off_does_not_end_like_a_whole_one() {
    worker(async {
        let server = server();
        let reply = server.exchange("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(reply.ends_with("4\r\nhalf\r\n"), "no last chunk: {reply}");
        assert_eq!(server.exchange("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    });
}

#[test]
fn a_body_that_ends_with_the_connection_breaks_off_with_a_reset() {
    worker(async {
        let server = server();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut client = tokio::net::TcpStream::connect(address).await.expect("connected");
        let (far, _) = listener.accept().await.expect("accepted");
        server.serve(mosn_net::Transport::Tcp(far));
        client.write_all(b"GET /cut HTTP/1.0\r\n\r\n").await.expect("written");
        let mut reply = Vec::new();
        let error = client.read_to_end(&mut reply).await.expect_err("a close would mean that this was all");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn the_client_is_told_to_continue_when_somebody_wants_its_body() {
    worker(async {
        let server = server();
        let mut client = server.connect();
        client
            .write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            .await
            .expect("written");
        let mut interim = [0; 25];
        client.read_exact(&mut interim).await.expect("an interim reply");
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"ok").await.expect("written");
        assert_eq!(Reader::new(client).reply("POST").await.expect("a reply").body, b"ok");

        // One that nobody wants is not asked for, and the connection cannot go on.
        let mut client = server.connect();
        client
            .write_all(
                b"POST /early HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
            )
            .await
            .expect("written");
        let mut reader = Reader::new(client);
        let reply = reader.reply("POST").await.expect("a reply");
        assert_eq!((reply.status, reply.field("connection")), (403, Some("close")));
        assert!(reader.is_closed().await);
    });
}

#[test]
fn interim_replies_come_first_and_never_to_http_1_0() {
    worker(async {
        let server = server();
        let reply = server.exchange("GET /interim HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(
            reply.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"),
            "{reply}"
        );
        let reply = server.exchange("GET /interim HTTP/1.0\r\n\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    });
}

#[test]
fn an_early_reply_reaches_a_client_that_is_still_sending() {
    worker(async {
        let server = server();
        let mut client = server.connect();
        let head = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n";
        client.write_all(head).await.expect("written");
        client.write_all(&vec![b'x'; 100_000]).await.expect("written");
        let mut reader = Reader::new(client);
        let reply = reader.reply("POST").await.expect("a reply");
        assert_eq!((reply.status, reply.field("connection")), (403, Some("close")));
        assert!(reader.is_closed().await);
    });
}

#[test]
fn a_client_that_does_not_read_is_sent_no_more_than_fits() {
    worker(async {
        let server = server();
        let mut client = server.connect();
        client.write_all(b"GET /pour HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        until("the reply begins", || server.app.poured.get() > 0).await;
        let mut before = 0;
        while before != server.app.poured.get() {
            before = server.app.poured.get();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The socket's own buffer and ours; of 64 MiB.
        assert!(before * POUR_FRAME < 1024 * 1024, "{before} frames");
        drop(client);
        until("the client is missed", || server.app.active.get() == 0).await;
        assert_eq!(server.app.gone.borrow()[..], [Failure::ClientGone]);
    });
}

#[test]
fn nothing_is_read_of_a_body_that_nobody_takes() {
    worker(async {
        let server = server();
        let client = server.connect();
        client.writable().await.expect("writable");
        let mut sent = client
            .try_write(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
            .expect("written");
        until("the request is there", || server.app.active.get() == 1).await;
        for _ in 0..20 {
            while let Ok(more) = client.try_write(&[b'x'; 65_536]) {
                sent += more;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(sent < 1024 * 1024, "{sent} bytes");
    });
}

#[test]
fn a_refusal_that_nobody_reads_does_not_keep_the_connection() {
    worker(async {
        let server = server();
        let request = b"GET /204 HTTP/1.1\r\nHost: a\r\n\r\n";
        // How many replies fit into the socket: the next one waits for the client to read.
        let mut full = server.connect();
        full.write_all(&request.repeat(2000)).await.expect("written");
        let mut fit = 0;
        while fit == 0 || fit != server.app.seen.borrow().len() {
            fit = server.app.seen.borrow().len();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(server.app.active.get(), 1, "one reply waits");
        drop(full);
        until("it is gone", || server.drain.connections() == 0).await;

        let mut client = server.connect();
        let requests = [&request.repeat(fit - 1)[..], b"no request\r\n\r\n"].concat();
        client.write_all(&requests).await.expect("written");
        until("it is refused", || !server.app.refused.borrow().is_empty()).await;
        until("it is closed all the same", || server.drain.connections() == 0).await;
    });
}

#[test]
fn a_tunnel_carries_bytes_both_ways() {
    worker(async {
        let server = server();
        let mut client = server.connect();
        client
            .write_all(b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nearly")
            .await
            .expect("written");
        let mut reader = Reader::new(&mut client);
        let reply = reader.reply("GET").await.expect("a reply");
        assert_eq!((reply.status, reply.field("upgrade")), (101, Some("raw")));
        drop(reader);
        client.write_all(b" and late").await.expect("written");
        client.shutdown().await.expect("closed");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("read");
        assert!(b"early and late".ends_with(&rest[..]), "{rest:?}");
    });
}

#[test]
fn the_application_learns_that_a_waiting_client_has_gone() {
    worker(async {
        let server = server();
        let mut client = server.connect();
        client.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        until("the request is there", || server.app.active.get() == 1).await;
        drop(client);
        until("the client is missed", || server.app.active.get() == 0).await;
        assert_eq!(server.app.gone.borrow()[..], [Failure::ClientGone]);
    });
}

#[test]
fn an_app_answers_by_path() {
    // The tests above rely on it.
    worker(async {
        let server = server();
        let reply = server.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(reply.ends_with("hello"));
        let App { seen, .. } = &*server.app;
        assert_eq!(seen.borrow().len(), 1);
    });
}
