//! The client side of HTTP/2: few connections, many streams.

mod common;

use std::{cell::Cell, future::poll_fn, rc::Rc, task::Poll, time::Duration};

use bytes::Bytes;
use common::{Unmetered, frames, until, worker};
use h2::server::{Builder, SendResponse};
use http::{Method, Request, Response};
use mosn_core::{BodyLength, Failure, Frame, Headers, RequestHead, Reset, Scheme};
use mosn_net::{Io, Transport};
use mosn_stream::{
    ClientStream, Reply,
    http2::{Http2ClientStream, Http2Connection, Http2Pool},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

const PATIENCE: Duration = Duration::from_secs(5);

/// A connection, and the upstream's end of it.
async fn open() -> (Rc<Http2Connection>, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    let io = Io::new(Transport::Unix(near), Rc::new(Unmetered));
    (Http2Connection::open(io, 1, Box::new(())), far)
}

/// An upstream that does the same with every request.
fn upstream<A, F>(far: UnixStream, builder: Builder, answer: A)
where
    A: Fn(Request<h2::RecvStream>, SendResponse<Bytes>) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    tokio::task::spawn_local(async move {
        let Ok(mut connection) = builder.handshake::<_, Bytes>(far).await else {
            return;
        };
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::task::spawn_local(answer(request, respond));
        }
    });
}

/// Sends the whole body back.
async fn echo(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut recv = request.into_body();
    let mut send = respond.send_response(Response::new(()), false).expect("sent");
    while let Some(Ok(data)) = recv.data().await {
        let _ = recv.flow_control().release_capacity(data.len());
        send.send_data(data, false).expect("sent");
    }
    match recv.trailers().await {
        Ok(Some(trailers)) => send.send_trailers(trailers).expect("sent"),
        _ => send.send_data(Bytes::new(), true).expect("sent"),
    }
}

fn request(method: Method, body: BodyLength) -> RequestHead {
    RequestHead {
        method,
        scheme: Scheme::Http,
        authority: Bytes::from_static(b"up"),
        path: Bytes::from_static(b"/p?q"),
        headers: Headers::default(),
        body,
        upgrade: None,
        expects_continue: false,
        one_way: false,
    }
}

fn get() -> RequestHead {
    request(Method::GET, BodyLength::Empty)
}

async fn send_head(
    stream: &mut Http2ClientStream,
    mut head: RequestHead,
    first: Option<Frame>,
) -> Result<(), Reset> {
    let mut first = Some(first);
    poll_fn(|cx| Poll::Ready(stream.send_head(cx, &mut head, true, first.take().flatten()))).await
}

async fn send(stream: &mut Http2ClientStream, frame: Frame) {
    poll_fn(|cx| stream.poll_ready(cx)).await.expect("ready");
    let mut frame = Some(frame);
    poll_fn(|cx| Poll::Ready(stream.send(cx, frame.take().expect("polled once")))).await.expect("sent");
}

/// Status, body, trailers.
async fn reply(stream: &mut Http2ClientStream) -> Result<(u16, Vec<u8>, usize), Failure> {
    let (head, mut next) = loop {
        match poll_fn(|cx| stream.poll_reply(cx)).await.map_err(|reset| reset.0)? {
            Reply::Interim(..) => {}
            Reply::Head(head, first) => break (head, first),
        }
    };
    let (mut body, mut trailers) = (Vec::new(), 0);
    let mut ended = head.body.is_empty();
    while !ended {
        let frame = match next.take() {
            Some(frame) => frame,
            None => poll_fn(|cx| stream.poll_recv(cx)).await.map_err(|reset| reset.0)?,
        };
        match &frame {
            Frame::Data { data, .. } => body.extend_from_slice(data),
            Frame::Trailers(fields) => trailers = fields.len(),
        }
        ended = frame.is_last();
    }
    Ok((head.status.as_u16(), body, trailers))
}

fn frame(text: &'static str, end: bool) -> Frame {
    Frame::Data { data: Bytes::from_static(text.as_bytes()), end }
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    worker(async {
        let (connection, far) = open().await;
        upstream(far, Builder::new(), echo);
        let mut stream = Http2ClientStream::new(Rc::clone(&connection));
        assert!(!stream.is_reused());
        let head = request(Method::POST, BodyLength::Unknown);
        send_head(&mut stream, head, Some(frame("ab", false))).await.expect("sent");
        send(&mut stream, frame("cd", false)).await;
        let mut trailers = Headers::default();
        trailers.append("x-sum", b"1");
        send(&mut stream, Frame::Trailers(trailers.into())).await;
        assert_eq!(reply(&mut stream).await, Ok((200, b"abcd".to_vec(), 1)));

        let mut stream = Http2ClientStream::new(connection);
        assert!(stream.is_reused());
        send_head(&mut stream, get(), None).await.expect("sent");
        assert_eq!(reply(&mut stream).await, Ok((200, Vec::new(), 0)));
    });
}

#[test]
fn a_full_connection_leaves_the_rest_to_another() {
    worker(async {
        let pool = Http2Pool::default();
        let mut streams = Vec::new();
        for _ in 0..2 {
            let (connection, far) = open().await;
            let mut builder = Builder::new();
            builder.max_concurrent_streams(3);
            upstream(far, builder, echo);
            // An exchange, by the end of which the peer's SETTINGS have come.
            let mut first = Http2ClientStream::new(Rc::clone(&connection));
            send_head(&mut first, get(), None).await.expect("sent");
            reply(&mut first).await.expect("a reply");
            drop(first);
            pool.put(connection);
        }
        for _ in 0..6 {
            let mut stream = Http2ClientStream::new(pool.take().expect("room"));
            send_head(&mut stream, request(Method::POST, BodyLength::Unknown), None).await.expect("sent");
            streams.push(stream);
        }
        assert!(pool.take().is_none(), "two connections of three streams each are full");
        for stream in &mut streams {
            send(stream, frame("x", true)).await;
            assert_eq!(reply(stream).await.expect("a reply").1, b"x");
        }
        streams.clear();
        assert!(pool.take().is_some());
    });
}

#[test]
fn streams_that_wait_for_their_turn_get_it_and_their_bodies_too() {
    worker(async {
        let (connection, far) = open().await;
        let mut builder = Builder::new();
        builder.max_concurrent_streams(1);
        upstream(far, builder, echo);
        let pool = Http2Pool::default();
        pool.put(Rc::clone(&connection));
        let mut first = Http2ClientStream::new(Rc::clone(&connection));
        send_head(&mut first, get(), None).await.expect("sent");
        reply(&mut first).await.expect("a reply");
        drop(first);
        // More than the peer takes: each was given its connection while there was room.
        let done = Rc::new(Cell::new(0));
        for _ in 0..5 {
            let mut stream = Http2ClientStream::new(Rc::clone(&connection));
            let head = request(Method::POST, BodyLength::Unknown);
            send_head(&mut stream, head, None).await.expect("sent");
            let done = Rc::clone(&done);
            tokio::task::spawn_local(async move {
                for _ in 0..20 {
                    send(&mut stream, Frame::Data { data: vec![0; 16 * 1024].into(), end: false }).await;
                }
                send(&mut stream, Frame::END).await;
                let (status, body, _) = reply(&mut stream).await.expect("a reply");
                assert_eq!((status, body.len()), (200, 20 * 16 * 1024));
                done.set(done.get() + 1);
            });
        }
        // The pool is asked for room all the while.
        until("every stream has had its turn", || {
            let _ = pool.take();
            done.get() == 5
        })
        .await;
    });
}

#[test]
fn refused_streams_and_goaway_may_be_tried_again() {
    worker(async {
        let (connection, far) = open().await;
        upstream(far, Builder::new(), |_request, mut respond| async move {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        });
        let mut stream = Http2ClientStream::new(connection);
        send_head(&mut stream, get(), None).await.expect("sent");
        assert_eq!(reply(&mut stream).await, Err(Failure::UpstreamRefused));

        let (connection, mut far) = open().await;
        let mut stream = Http2ClientStream::new(Rc::clone(&connection));
        send_head(&mut stream, get(), None).await.expect("sent");
        // No stream was processed.
        let mut bytes = frames::frame(frames::SETTINGS, 0, 0, &[]);
        bytes.extend(frames::frame(frames::GOAWAY, 0, 0, &[0; 8]));
        far.write_all(&bytes).await.expect("written");
        assert_eq!(reply(&mut stream).await, Err(Failure::UpstreamRefused));
        let pool = Http2Pool::default();
        pool.put(connection);
        assert!(pool.take().is_none(), "it takes no new streams");
        assert!(pool.is_empty());
    });
}

#[test]
fn a_stream_below_the_goaway_is_finished_and_the_connection_not_used_again() {
    worker(async {
        let (connection, mut far) = open().await;
        let mut stream = Http2ClientStream::new(Rc::clone(&connection));
        send_head(&mut stream, get(), None).await.expect("sent");
        let mut bytes = frames::frame(frames::SETTINGS, 0, 0, &[]);
        bytes.extend(frames::frame(frames::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
        // `:status: 200` is entry 8 of the static table.
        bytes.extend(frames::frame(frames::HEADERS, frames::END_HEADERS, 1, &[0x88]));
        bytes.extend(frames::frame(frames::DATA, frames::END_STREAM, 1, b"late"));
        far.write_all(&bytes).await.expect("written");
        assert_eq!(reply(&mut stream).await, Ok((200, b"late".to_vec(), 0)));
        let pool = Http2Pool::default();
        pool.put(connection);
        assert!(pool.take().is_none());
        drop(stream);
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, far.read_to_end(&mut rest)).await.expect("it closes").expect("read");
    });
}

#[test]
fn what_ends_a_stream_or_its_connection_is_told_apart() {
    worker(async {
        for (reason, failure) in [
            (h2::Reason::INTERNAL_ERROR, Failure::UpstreamReset),
            (h2::Reason::CANCEL, Failure::UpstreamCancelled),
            (h2::Reason::REFUSED_STREAM, Failure::UpstreamRefused),
        ] {
            let (connection, far) = open().await;
            upstream(far, Builder::new(), move |_request, mut respond| async move {
                respond.send_reset(reason);
            });
            let mut stream = Http2ClientStream::new(connection);
            send_head(&mut stream, get(), None).await.expect("sent");
            assert_eq!(reply(&mut stream).await, Err(failure));
        }
        for head_first in [false, true] {
            let (connection, mut far) = open().await;
            let mut stream = Http2ClientStream::new(Rc::clone(&connection));
            send_head(&mut stream, get(), None).await.expect("sent");
            let mut bytes = frames::frame(frames::SETTINGS, 0, 0, &[]);
            if head_first {
                bytes.extend(frames::frame(frames::HEADERS, frames::END_HEADERS, 1, &[0x88]));
                bytes.extend(frames::frame(frames::DATA, 0, 1, b"half"));
            }
            far.write_all(&bytes).await.expect("written");
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(far);
            assert_eq!(
                reply(&mut stream).await,
                Err(Failure::UpstreamTerminated),
                "head first: {head_first}"
            );
            let pool = Http2Pool::default();
            pool.put(connection);
            assert!(pool.take().is_none());
        }
    });
}

#[test]
fn a_reply_is_shorter_than_it_said_only_once() {
    worker(async {
        let (connection, far) = open().await;
        upstream(far, Builder::new(), |_request, mut respond| async move {
            let mut response = Response::new(());
            response.headers_mut().insert("content-length", 9.into());
            let mut send = respond.send_response(response, false).expect("sent");
            send.send_data(Bytes::from_static(b"half"), true).expect("sent");
        });
        let mut stream = Http2ClientStream::new(connection);
        send_head(&mut stream, get(), None).await.expect("sent");
        assert_eq!(reply(&mut stream).await, Err(Failure::UpstreamReset));
    });
}

#[test]
fn a_peer_that_does_not_read_holds_the_sender_back() {
    worker(async {
        let (connection, far) = open().await;
        upstream(far, Builder::new(), |request, respond| async move {
            let _held = (request, respond);
            std::future::pending::<()>().await;
        });
        let mut stream = Http2ClientStream::new(connection);
        send_head(&mut stream, request(Method::POST, BodyLength::Unknown), None).await.expect("sent");
        let sent = Cell::new(0_usize);
        let sending = async {
            loop {
                send(&mut stream, Frame::Data { data: Bytes::from_static(&[0; 16 * 1024]), end: false })
                    .await;
                sent.set(sent.get() + 16 * 1024);
            }
        };
        assert!(tokio::time::timeout(Duration::from_millis(200), sending).await.is_err());
        // The peer's window is 64 KiB, our buffer as much.
        assert!((65_535..=256 * 1024).contains(&sent.get()), "{} bytes", sent.get());
    });
}

#[test]
fn a_reply_that_nobody_reads_holds_its_sender_back() {
    worker(async {
        let (connection, far) = open().await;
        let sent = Rc::new(Cell::new(0));
        let counted = Rc::clone(&sent);
        upstream(far, Builder::new(), move |_request, mut respond| {
            let counted = Rc::clone(&counted);
            async move {
                let mut send = respond.send_response(Response::new(()), false).expect("sent");
                loop {
                    send.reserve_capacity(16 * 1024);
                    let Some(Ok(capacity)) = poll_fn(|cx| send.poll_capacity(cx)).await else {
                        return;
                    };
                    if send.send_data(vec![0; capacity].into(), false).is_err() {
                        return;
                    }
                    counted.set(counted.get() + capacity);
                }
            }
        });
        let mut stream = Http2ClientStream::new(connection);
        send_head(&mut stream, get(), None).await.expect("sent");
        poll_fn(|cx| stream.poll_reply(cx)).await.expect("a head");
        let mut before = 0;
        while before == 0 || before != sent.get() {
            before = sent.get();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(before <= 512 * 1024, "{before} bytes piled up");
    });
}

#[test]
fn dropping_a_stream_cancels_it() {
    worker(async {
        let (connection, far) = open().await;
        let cancelled = Rc::new(Cell::new(0));
        let counted = Rc::clone(&cancelled);
        upstream(far, Builder::new(), move |_request, mut respond| {
            let counted = Rc::clone(&counted);
            async move {
                let reason = poll_fn(|cx| respond.poll_reset(cx)).await;
                assert_eq!(reason.expect("a reset"), h2::Reason::CANCEL);
                counted.set(counted.get() + 1);
            }
        });
        let mut stream = Http2ClientStream::new(Rc::clone(&connection));
        send_head(&mut stream, get(), None).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(stream);
        until("the upstream is told", || cancelled.get() == 1).await;
    });
}

#[test]
fn extended_connect_needs_an_upstream_that_takes_it() {
    worker(async {
        let tunnel = || RequestHead {
            upgrade: Some(Bytes::from_static(b"websocket")),
            ..request(Method::GET, BodyLength::Empty)
        };
        let (connection, far) = open().await;
        upstream(far, Builder::new(), echo);
        let mut stream = Http2ClientStream::new(connection);
        let sent = send_head(&mut stream, tunnel(), None).await;
        let refused = match sent {
            Err(reset) => Err(reset.0),
            Ok(()) => reply(&mut stream).await.map(|_| ()),
        };
        assert_eq!(refused, Err(Failure::NotImplemented));

        let (connection, far) = open().await;
        let mut builder = Builder::new();
        builder.enable_connect_protocol();
        upstream(far, builder, |request, respond| async move {
            assert_eq!(request.method(), Method::CONNECT);
            echo(request, respond).await;
        });
        let mut stream = Http2ClientStream::new(connection);
        send_head(&mut stream, tunnel(), None).await.expect("sent");
        let Ok(Reply::Head(head, _)) = poll_fn(|cx| stream.poll_reply(cx)).await else {
            panic!("no head");
        };
        assert_eq!(head.status, 101, "as HTTP/1 says it");
        send(&mut stream, frame("ping", true)).await;
        let got = poll_fn(|cx| stream.poll_recv(cx)).await.expect("a frame");
        assert_eq!(got.len(), 4);
    });
}

#[test]
fn a_peer_that_never_answers_the_preface_is_used_and_one_that_closes_is_not() {
    worker(async {
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        drop(far);
        let io = Io::new(Transport::Unix(near), Rc::new(Unmetered));
        let pool = Http2Pool::default();
        pool.put(Http2Connection::open(io, 1, Box::new(())));
        until("it leaves the pool", || pool.take().is_none()).await;
    });
}
