//! A reader that does not read holds its sender back, and the proxy holds nothing for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use mosn_tests::{
    Client, Config, Http2Origin, Listener, Mosn, Origin, RawFrame, Reply, Request, block_on, pattern,
    settled, spawn, to, until,
};
use serde_json::json;

use crate::{fixture::PAIRS, start};

/// More than the sockets' own buffers take on two connections.
const TOTAL: usize = 16 * PIECE;
const PIECE: usize = 1024 * 1024;
/// What the proxy may hold, and what its allocator keeps for later.
const GROWTH_KIB: u64 = 8 * 1024;
/// How long a sender must have been stuck to count as held back.
const QUIET: Duration = Duration::from_millis(300);

fn proxy(pair: (&str, &str), origin: &str) -> Mosn {
    let routes = [to("/", "up", &json!({ "upstream_protocol": pair.1 }))];
    start(&Config::new().listener(Listener::new("in", pair.0).routes(routes)).cluster("up", &[origin]))
}

/// A server that sends [`TOTAL`] bytes and counts what has left it.
fn sending(protocol: &str, sent: &Arc<AtomicU64>) -> String {
    let sent = Arc::clone(sent);
    let piece = Bytes::from(pattern(PIECE));
    if protocol == "Http1" {
        let origin = Origin::new(move |exchange| {
            exchange.wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n"))?;
            for _ in 0..TOTAL / PIECE {
                for part in piece.chunks(64 * 1024) {
                    exchange.wire.send(part)?;
                    sent.fetch_add(part.len() as u64, Relaxed);
                }
            }
            Ok(())
        });
        return origin.address();
    }
    let origin = Http2Origin::new(move |mut exchange| {
        let (sent, piece) = (Arc::clone(&sent), piece.clone());
        async move {
            let mut send = exchange.reply(200, &[], false)?;
            for _ in 0..TOTAL / PIECE {
                send_counted(&mut send, piece.clone(), &sent).await?;
            }
            send.send_data(Bytes::new(), true)
        }
    });
    origin.address()
}

async fn send_counted(
    send: &mut h2::SendStream<Bytes>,
    mut piece: Bytes,
    sent: &AtomicU64,
) -> Result<(), h2::Error> {
    while !piece.is_empty() {
        send.reserve_capacity(piece.len());
        let room = match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
            Some(room) => room?,
            None => return Err(h2::Reason::CANCEL.into()),
        };
        let part = piece.split_to(room.min(piece.len()));
        sent.fetch_add(part.len() as u64, Relaxed);
        send.send_data(part, false)?;
    }
    Ok(())
}

#[track_caller]
fn held_back(mosn: &Mosn, before: u64, sent: &AtomicU64, pair: (&str, &str)) {
    until("the first bytes", || (sent.load(Relaxed) > 0).then_some(()));
    let stuck = settled("the sender to be held back", QUIET, || sent.load(Relaxed));
    assert!(stuck < TOTAL as u64, "{pair:?}: everything was taken");
    let growth = mosn.resident().saturating_sub(before);
    assert!(growth < GROWTH_KIB, "{pair:?}: {growth} KiB more with {stuck} bytes under way");
}

#[test]
fn a_client_that_does_not_read_holds_the_upstream_back() {
    for pair in PAIRS {
        let sent = Arc::default();
        let mosn = proxy(pair, &sending(pair.1, &sent));
        match mosn.client("in") {
            Client::Http1(mut wire) => {
                let before = mosn.resident();
                wire.request(&Request::get("/")).unwrap();
                held_back(&mosn, before, &sent, pair);
                let mut reply = Reply::default();
                wire.reply("GET", &mut reply).unwrap();
                assert_whole(&reply.body, pair);
            }
            Client::Http2(client) => {
                let before = mosn.resident();
                let under_way = block_on(client.start(&Request::get("/"), None)).unwrap();
                held_back(&mosn, before, &sent, pair);
                assert_whole(&under_way.receive().unwrap().body, pair);
            }
        }
    }
}

fn assert_whole(body: &[u8], pair: (&str, &str)) {
    assert_eq!(body.len(), TOTAL, "{pair:?}");
    let piece = pattern(PIECE);
    assert!(body.chunks(PIECE).all(|part| part == piece), "{pair:?}: other bytes");
}

/// A server that reads a request's body once it is told to, and answers with its length.
fn reading(protocol: &str, may_read: &Arc<AtomicBool>) -> String {
    let may_read = Arc::clone(may_read);
    if protocol == "Http1" {
        let origin = Origin::new(move |exchange| {
            until("leave to read", || may_read.load(Relaxed).then_some(()));
            let length = exchange.read()?.len();
            exchange.reply(200, &[], length.to_string().as_bytes())
        });
        return origin.address();
    }
    let origin = Http2Origin::new(move |mut exchange| {
        let may_read = Arc::clone(&may_read);
        async move {
            while !may_read.load(Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let length = exchange.read().await?.0.len();
            let mut send = exchange.reply(200, &[], false)?;
            send.send_data(length.to_string().into(), true)
        }
    });
    origin.address()
}

#[test]
fn an_upstream_that_does_not_read_holds_the_client_back() {
    for pair in PAIRS {
        let (may_read, sent) = (Arc::default(), Arc::new(AtomicU64::new(0)));
        let mosn = proxy(pair, &reading(pair.1, &may_read));
        let counted = Arc::clone(&sent);
        let piece = Bytes::from(pattern(PIECE));
        let reply = match mosn.client("in") {
            Client::Http1(mut wire) => {
                let before = mosn.resident();
                let mut writing = wire.twin();
                let writer = thread::spawn(move || {
                    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {TOTAL}\r\n\r\n");
                    writing.send(head).unwrap();
                    for part in
                        std::iter::repeat_n(&piece, TOTAL / PIECE).flat_map(|piece| piece.chunks(65_536))
                    {
                        writing.send(part).unwrap();
                        counted.fetch_add(part.len() as u64, Relaxed);
                    }
                });
                held_back(&mosn, before, &sent, pair);
                may_read.store(true, Relaxed);
                let mut reply = Reply::default();
                wire.reply("POST", &mut reply).unwrap();
                writer.join().unwrap();
                reply
            }
            Client::Http2(client) => {
                let before = mosn.resident();
                let request = Request::post("/", "").chunked();
                let mut under_way = block_on(client.start(&request, None)).unwrap();
                let mut send = under_way.send.take().unwrap();
                let writer = spawn(async move {
                    for _ in 0..TOTAL / PIECE {
                        send_counted(&mut send, piece.clone(), &counted).await?;
                    }
                    send.send_data(Bytes::new(), true)
                });
                held_back(&mosn, before, &sent, pair);
                may_read.store(true, Relaxed);
                let reply = under_way.receive().unwrap();
                block_on(writer).unwrap().unwrap();
                reply
            }
        };
        assert_eq!((reply.status, reply.text()), (200, TOTAL.to_string()), "{pair:?}");
    }
}

#[test]
fn pipelined_requests_of_a_client_that_does_not_read_pile_up_nowhere() {
    const REQUESTS: usize = 3000;
    const LENGTH: usize = 20_000;
    let origin = mosn_tests::echo_http1();
    let mosn = proxy(("Http1", "Http1"), &origin.address());
    let mut wire = mosn.wire("in");
    let before = mosn.resident();
    let mut writing = wire.twin();
    let writer = thread::spawn(move || {
        let request = format!("GET /bytes/{LENGTH} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(100);
        for _ in 0..REQUESTS / 100 {
            writing.send(&request).unwrap();
        }
    });
    until("the first requests", || (origin.log().requests().len() > 10).then_some(()));
    let served = settled("the proxy to be held back", QUIET, || origin.log().requests().len());
    assert!(served < REQUESTS, "all requests were served");
    let growth = mosn.resident().saturating_sub(before);
    assert!(growth < GROWTH_KIB, "{growth} KiB more with {served} requests served");
    let whole = pattern(LENGTH);
    for index in 0..REQUESTS {
        let mut reply = Reply::default();
        wire.reply("GET", &mut reply).unwrap();
        assert!(reply.status == 200 && reply.body == whole, "{index}");
    }
    writer.join().unwrap();
}

#[test]
fn many_streams_of_a_client_that_takes_nothing_hold_little_each() {
    const STREAMS: u32 = 200;
    for up in ["Http1", "Http2"] {
        let sent = Arc::new(AtomicU64::new(0));
        let mosn = proxy(("Http2", up), &sending(up, &sent));
        let mut wire = mosn.wire("in");
        // SETTINGS_INITIAL_WINDOW_SIZE 0: no stream may send a byte of its body.
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        wire.send(RawFrame::new(4, 0, 0, [0, 4, 0, 0, 0, 0]).encode()).unwrap();
        wire.send(RawFrame::new(4, 1, 0, []).encode()).unwrap();
        let before = mosn.resident();
        for stream in 0..STREAMS {
            wire.send(RawFrame::get(stream * 2 + 1).encode()).unwrap();
        }
        until("all replies to begin", || (sent.load(Relaxed) >= u64::from(STREAMS) * 1000).then_some(()));
        let _ = settled("the origins to be held back", QUIET, || sent.load(Relaxed));
        let growth = mosn.resident().saturating_sub(before);
        // What waits to be sent on each stream, and what its upstream may send ahead.
        let window_kib = if up == "Http2" { u64::from(STREAMS) * 128 } else { 0 };
        assert!(growth < u64::from(STREAMS) * 100 + window_kib, "{up}: {growth} KiB more");
    }
}
