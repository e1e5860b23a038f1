//! The client side of HTTP/1: one exchange at a time, on connections that are used again.

mod common;

use std::{future::poll_fn, rc::Rc, time::Duration};

use bytes::Bytes;
use common::{Unmetered, until, worker};
use http::Method;
use mosn_core::{BodyLength, Failure, Frame, Headers, RequestHead, Scheme};
use mosn_net::{Io, Transport};
use mosn_stream::{
    ClientStream, Lifetime, Reply,
    http1::{ClientConnection, Http1ClientStream, Http1Pool},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// A new connection's stream, and the upstream's end.
fn open(pool: &Rc<Http1Pool>) -> (Http1ClientStream, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    let io = Io::new(Transport::Unix(near), Rc::new(Unmetered));
    (Http1ClientStream::new(ClientConnection::new(io, 1, Box::new(())), pool), far)
}

fn request(method: Method, body: BodyLength) -> RequestHead {
    let mut headers = Headers::default();
    headers.append("X-A", b"1");
    RequestHead {
        method,
        scheme: Scheme::Http,
        authority: Bytes::from_static(b"up"),
        path: Bytes::from_static(b"/p?q"),
        headers,
        body,
        upgrade: None,
        expects_continue: false,
        one_way: false,
    }
}

fn frame(text: &'static str, end: bool) -> Frame {
    Frame::Data { data: Bytes::from_static(text.as_bytes()), end }
}

async fn send_head(stream: &mut Http1ClientStream, mut head: RequestHead, first: Option<Frame>) {
    let mut first = Some(first);
    poll_fn(|cx| {
        let first = first.take().expect("polled once");
        std::task::Poll::Ready(stream.send_head(cx, &mut head, true, first))
    })
    .await
    .expect("sent");
}

async fn send(stream: &mut Http1ClientStream, frame: Frame) {
    poll_fn(|cx| stream.poll_ready(cx)).await.expect("ready");
    let mut frame = Some(frame);
    poll_fn(|cx| std::task::Poll::Ready(stream.send(cx, frame.take().expect("polled once"))))
        .await
        .expect("sent");
}

/// A reply as the engine gets it: interim statuses, final status, body, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    interims: Vec<u16>,
    status: u16,
    body: Vec<u8>,
    trailers: usize,
    failure: Option<Failure>,
}

async fn reply(stream: &mut Http1ClientStream) -> Got {
    let mut got = Got::default();
    let (head, mut next) = loop {
        match poll_fn(|cx| stream.poll_reply(cx)).await {
            Ok(Reply::Interim(status, _)) => got.interims.push(status.as_u16()),
            Ok(Reply::Head(head, first)) => break (head, first),
            Err(reset) => {
                got.failure = Some(reset.0);
                return got;
            }
        }
    };
    got.status = head.status.as_u16();
    if head.body.is_empty() {
        return got;
    }
    loop {
        let frame = match next.take() {
            Some(frame) => frame,
            None => match poll_fn(|cx| stream.poll_recv(cx)).await {
                Ok(frame) => frame,
                Err(reset) => {
                    got.failure = Some(reset.0);
                    return got;
                }
            },
        };
        match &frame {
            Frame::Data { data, .. } => got.body.extend_from_slice(data),
            Frame::Trailers(trailers) => got.trailers = trailers.len(),
        }
        if frame.is_last() {
            return got;
        }
    }
}

/// Reads what the upstream gets, up to `end`.
async fn read_until(far: &mut UnixStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        assert!(far.read_buf(&mut text).await.expect("read") > 0, "{}", String::from_utf8_lossy(&text));
    }
    String::from_utf8_lossy(&text).into_owned()
}

const END: &str = "\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends a GET and gets what the upstream says; whether the connection is used again.
async fn exchange(method: Method, answer: &[u8], then_close: bool) -> (Got, bool) {
    let pool = Rc::new(Http1Pool::default());
    let (mut stream, mut far) = open(&pool);
    send_head(&mut stream, request(method, BodyLength::Empty), None).await;
    read_until(&mut far, END).await;
    far.write_all(answer).await.expect("written");
    if then_close {
        far.shutdown().await.expect("closed");
    }
    let got = reply(&mut stream).await;
    drop(stream);
    (got, pool.idle() == 1)
}

#[test]
fn requests_are_framed_by_their_bodies() {
    worker(async {
        let pool = Rc::new(Http1Pool::default());
        let (mut stream, mut far) = open(&pool);
        send_head(&mut stream, request(Method::POST, BodyLength::Unknown), Some(frame("ab", false))).await;
        send(&mut stream, frame("cde", false)).await;
        let mut trailers = Headers::default();
        trailers.append("x-sum", b"1");
        send(&mut stream, Frame::Trailers(trailers.into())).await;
        let text = read_until(&mut far, "x-sum: 1\r\n\r\n").await;
        assert!(text.starts_with("POST /p?q HTTP/1.1\r\nHost: up\r\nX-A: 1\r\n"), "{text}");
        assert!(text.contains("Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n"), "{text}");

        let (mut stream, mut far) = open(&pool);
        send_head(&mut stream, request(Method::POST, BodyLength::Known(4)), Some(frame("abcd", true))).await;
        let text = read_until(&mut far, "abcd").await;
        assert!(text.contains("Content-Length: 4\r\n\r\nabcd") && !text.contains("chunked"), "{text}");
    });
}

#[test]
fn a_connection_is_used_again_when_both_sides_are_done_and_agree() {
    let table: &[(&str, &[u8], bool)] = &[
        ("counted", OK, true),
        ("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
        ("no content", b"HTTP/1.1 204 No Content\r\n\r\n", true),
        ("empty", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("close", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false),
        ("1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false),
        ("1.0 kept", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", true),
        ("bytes too many", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n", false),
        ("bytes after none", b"HTTP/1.1 204 No Content\r\n\r\nx", false),
        ("bytes after chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", false),
    ];
    worker(async move {
        for (name, answer, kept) in table {
            let (got, idle) = exchange(Method::GET, answer, false).await;
            assert_eq!((got.failure, idle), (None, *kept), "{name}");
        }
        let (got, idle) =
            exchange(Method::HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", false).await;
        assert_eq!((got.status, got.body.len(), idle), (200, 0, true));
    });
}

#[test]
fn a_pooled_connection_knows_that_it_was_used_before() {
    worker(async {
        let pool = Rc::new(Http1Pool::default());
        let (mut stream, mut far) = open(&pool);
        assert!(!stream.is_reused());
        for round in 0..3 {
            send_head(&mut stream, request(Method::GET, BodyLength::Empty), None).await;
            read_until(&mut far, END).await;
            far.write_all(OK).await.expect("written");
            assert_eq!(reply(&mut stream).await.body, b"ok", "{round}");
            drop(stream);
            stream = Http1ClientStream::new(pool.take().expect("an idle connection"), &pool);
            assert!(stream.is_reused());
        }
    });
}

#[test]
fn connections_that_closed_or_spoke_out_of_turn_leave_the_pool() {
    worker(async {
        for unasked in [None, Some(&b"HTTP/1.1 408 Request Timeout\r\n\r\n"[..])] {
            let pool = Rc::new(Http1Pool::default());
            let (mut stream, mut far) = open(&pool);
            send_head(&mut stream, request(Method::GET, BodyLength::Empty), None).await;
            read_until(&mut far, END).await;
            far.write_all(OK).await.expect("written");
            reply(&mut stream).await;
            drop(stream);
            assert_eq!(pool.idle(), 1);
            match unasked {
                Some(bytes) => far.write_all(bytes).await.expect("written"),
                None => drop(far),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(pool.take().is_none());
            assert_eq!(pool.idle(), 0);
        }
    });
}

#[test]
fn pools_close_what_idles_too_long_or_has_carried_enough() {
    worker(async {
        let minute = Some(Duration::from_secs(60));
        let lifetime = Lifetime { max_requests: Some(2), idle_timeout: minute, ..Lifetime::default() };
        let pool = Rc::new(Http1Pool::new(lifetime));
        let (mut stream, mut far) = open(&pool);
        for round in 1..=2 {
            send_head(&mut stream, request(Method::GET, BodyLength::Empty), None).await;
            read_until(&mut far, END).await;
            far.write_all(OK).await.expect("written");
            reply(&mut stream).await;
            drop(stream);
            assert_eq!(pool.idle(), usize::from(round < 2));
            if round == 2 {
                break;
            }
            pool.sweep();
            stream = Http1ClientStream::new(pool.take().expect("still there"), &pool);
        }
        stream = open(&pool).0;
        drop(stream);
        assert_eq!(pool.idle(), 0, "an exchange that never was leaves nothing to use again");
        let hasty = Lifetime { idle_timeout: Some(Duration::ZERO), ..Lifetime::default() };
        let pool = Rc::new(Http1Pool::new(hasty));
        let (mut stream, mut far) = open(&pool);
        send_head(&mut stream, request(Method::GET, BodyLength::Empty), None).await;
        read_until(&mut far, END).await;
        far.write_all(OK).await.expect("written");
        reply(&mut stream).await;
        drop(stream);
        pool.sweep();
        assert_eq!(pool.idle(), 0);
        assert_eq!(far.read(&mut [0; 8]).await.expect("closed"), 0);
    });
}

#[test]
fn an_exchange_that_is_dropped_half_way_closes_its_connection() {
    worker(async {
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"] {
            let pool = Rc::new(Http1Pool::default());
            let (mut stream, mut far) = open(&pool);
            send_head(&mut stream, request(Method::GET, BodyLength::Empty), None).await;
            read_until(&mut far, END).await;
            far.write_all(answer).await.expect("written");
            if !answer.is_empty() {
                poll_fn(|cx| stream.poll_reply(cx)).await.expect("a head");
            }
            drop(stream);
            assert_eq!(pool.idle(), 0);
            assert_eq!(far.read(&mut [0; 8]).await.expect("closed"), 0);
        }
    });
}

#[test]
fn a_body_that_is_cut_short_is_no_body() {
    let table: &[(&[u8], Option<Failure>)] = &[
        (b"", Some(Failure::UpstreamClosed)),
        (b"HTTP/1.1 200 OK\r\nConte", Some(Failure::UpstreamReset)),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Some(Failure::UpstreamClosed)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhalf", Some(Failure::UpstreamReset)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", Some(Failure::UpstreamReset)),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
            Some(Failure::UpstreamReset),
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", None),
    ];
    worker(async move {
        for (answer, failure) in table {
            let (got, idle) = exchange(Method::GET, answer, true).await;
            let text = String::from_utf8_lossy(answer);
            assert_eq!((got.failure, idle), (*failure, false), "{text:?}");
        }
    });
}

#[test]
fn replies_that_are_none_reset_the_exchange() {
    worker(async {
        for answer in [
            &b"SSH-2.0-OpenSSH\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            let (got, idle) = exchange(Method::GET, answer, false).await;
            let text = String::from_utf8_lossy(answer);
            assert_eq!((got.failure, idle), (Some(Failure::UpstreamReset), false), "{text:?}");
        }
    });
}

#[test]
fn interim_replies_and_trailers_are_told_apart_from_the_rest() {
    worker(async {
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                       HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\nX-Sum: 1\r\n\r\n";
        let (got, idle) = exchange(Method::GET, answer, false).await;
        assert_eq!(got.interims, [100, 103]);
        assert_eq!((got.status, &got.body[..], got.trailers, idle), (200, &b"ab"[..], 1, true));
    });
}

#[test]
fn an_early_reply_is_read_though_the_upstream_takes_no_more() {
    worker(async {
        let pool = Rc::new(Http1Pool::default());
        let (mut stream, mut far) = open(&pool);
        send_head(&mut stream, request(Method::POST, BodyLength::Known(1 << 30)), None).await;
        read_until(&mut far, END).await;
        far.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").await.expect("written");
        drop(far);
        // The write fails; what was said before the close counts.
        for _ in 0..3 {
            send(&mut stream, frame("abc", false)).await;
        }
        let got = reply(&mut stream).await;
        assert_eq!((got.status, &got.body[..], got.failure), (413, &b"big"[..], None));
        drop(stream);
        assert_eq!(pool.idle(), 0, "half a request went up");
    });
}

#[test]
fn an_upstream_that_does_not_read_holds_the_sender_back() {
    worker(async {
        let pool = Rc::new(Http1Pool::default());
        let (mut stream, far) = open(&pool);
        send_head(&mut stream, request(Method::POST, BodyLength::Unknown), None).await;
        let sent = std::cell::Cell::new(0_usize);
        let sending = async {
            loop {
                let data = Bytes::from_static(&[0; 16 * 1024]);
                send(&mut stream, Frame::Data { data, end: false }).await;
                sent.set(sent.get() + 16 * 1024);
            }
        };
        let ended = tokio::time::timeout(Duration::from_millis(200), sending).await;
        assert!(ended.is_err());
        assert!(sent.get() < 1024 * 1024, "{} bytes", sent.get());
        drop(far);
    });
}

#[test]
fn a_tunnel_opens_only_when_it_was_asked_for_and_agreed_to() {
    worker(async {
        let pool = Rc::new(Http1Pool::default());
        let (mut stream, mut far) = open(&pool);
        let head = RequestHead {
            upgrade: Some(Bytes::from_static(b"raw")),
            ..request(Method::GET, BodyLength::Empty)
        };
        send_head(&mut stream, head, None).await;
        let text = read_until(&mut far, END).await;
        assert!(text.contains("Connection: upgrade\r\nUpgrade: raw\r\n"), "{text}");
        far.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\n\r\nhi").await.expect("written");
        let Ok(Reply::Head(head, None)) = poll_fn(|cx| stream.poll_reply(cx)).await else {
            panic!("no head");
        };
        assert_eq!(head.status, 101);
        send(&mut stream, frame("ping", false)).await;
        read_until(&mut far, "ping").await;
        far.write_all(b" there").await.expect("written");
        far.shutdown().await.expect("closed");
        let mut got = Vec::new();
        loop {
            let frame = poll_fn(|cx| stream.poll_recv(cx)).await.expect("a frame");
            if let Frame::Data { data, .. } = &frame {
                got.extend_from_slice(data);
            }
            if frame.is_last() {
                break;
            }
        }
        assert_eq!(got, b"hi there");
        send(&mut stream, frame("bye", true)).await;
        read_until(&mut far, "bye").await;
        assert_eq!(far.read(&mut [0; 8]).await.expect("closed"), 0, "our end is passed on");
        drop(stream);
        assert_eq!(pool.idle(), 0);
        until("nothing is left", || pool.idle() == 0).await;
    });
}
