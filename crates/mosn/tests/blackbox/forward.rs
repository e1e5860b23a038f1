//! Requests and replies through all four combinations of protocols.

use bytes::Bytes;
use mosn_tests::{Client, Fields, Head, Reply, Request, Wire, block_on, pattern};

use crate::fixture::{Matrix, PAIRS};

const QUARTER: usize = 256 * 1024;

#[test]
fn a_get_comes_back_with_its_body_in_every_combination() {
    let matrix = Matrix::new();
    for pair in PAIRS {
        let reply = matrix.ask(pair, Request::get("/bytes/1000"));
        assert_eq!((reply.status, reply.body), (200, pattern(1000)), "{pair:?}");
    }
}

#[test]
fn a_path_its_query_and_the_host_arrive_as_they_were_sent() {
    let matrix = Matrix::new();
    for (index, pair) in PAIRS.into_iter().enumerate() {
        let path = "/a%2Fb/%7euser;v=1?q=a%20b&&c=%zz";
        matrix.ask(pair, Request::get(path).to("Shop.Test:8080").with("x-a", "one"));
        let log = if pair.1 == "Http1" { matrix.http1.log() } else { matrix.http2.log() };
        let seen = log.nth(index / 2 + 1);
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", path), "{pair:?}");
        assert_eq!((seen.authority.as_str(), seen.get("x-a")), ("Shop.Test:8080", Some("one")), "{pair:?}");
    }
}

#[test]
fn a_quarter_mebibyte_goes_both_ways_in_every_combination() {
    let matrix = Matrix::new();
    let body = pattern(QUARTER);
    for pair in PAIRS {
        for request in [Request::post("/echo", body.clone()), Request::post("/echo", body.clone()).chunked()]
        {
            let reply = matrix.ask(pair, request);
            assert_eq!((reply.status, reply.body.len()), (200, QUARTER), "{pair:?}");
            assert!(reply.body == body, "{pair:?}");
        }
        let reply = matrix.ask(pair, Request::get("/chunks/262144"));
        assert!(reply.body == body, "{pair:?}");
    }
}

#[test]
fn trailers_pass_both_ways_in_every_combination() {
    let matrix = Matrix::new();
    for pair in PAIRS {
        let request = Request::post("/echo", "hello").with_trailer("x-check", "42").with("te", "trailers");
        let reply = matrix.ask(pair, request);
        assert_eq!(reply.text(), "hello", "{pair:?}");
        assert_eq!(reply.trailers.get("x-check"), Some("42"), "{pair:?}");
        let reply = matrix.ask(pair, Request::get("/trailers").with("te", "trailers"));
        assert_eq!((reply.text().as_str(), reply.trailers.get("x-sum")), ("body", Some("4")), "{pair:?}");
    }
}

#[test]
fn head_tells_the_length_and_sends_nothing() {
    let matrix = Matrix::new();
    for pair in PAIRS {
        let mut client = matrix.mosn.client(pair.0);
        for _ in 0..2 {
            let reply = client.ask(&Request::new("HEAD", "/bytes/1000").with("x-up", pair.1));
            let length = reply.get("content-length");
            assert_eq!((reply.status, length, reply.body.len()), (200, Some("1000"), 0), "{pair:?}");
        }
    }
}

#[test]
fn replies_without_a_body_leave_the_connection_usable() {
    let matrix = Matrix::new();
    for pair in PAIRS {
        let mut client = matrix.mosn.client(pair.0);
        for status in [204, 304] {
            let reply = client.ask(&Request::get(&format!("/status/{status}")).with("x-up", pair.1));
            assert_eq!((reply.status, reply.body.len()), (status, 0), "{pair:?}");
            assert_eq!(reply.get("etag"), Some("\"1\""), "{pair:?}");
            assert_eq!(reply.get("transfer-encoding"), None, "{pair:?}");
        }
        let reply = client.ask(&Request::get("/bytes/10").with("x-up", pair.1));
        assert_eq!(reply.body, pattern(10), "{pair:?}");
    }
}

#[test]
fn early_hints_come_before_the_reply() {
    let matrix = Matrix::new();
    for pair in PAIRS {
        let reply = matrix.ask(pair, Request::get("/interim"));
        assert_eq!(reply.text(), "after", "{pair:?}");
        let hints: Vec<_> =
            reply.interim.iter().map(|(status, fields)| (*status, fields.get("link"))).collect();
        assert_eq!(hints, [(103, Some("</style>"))], "{pair:?}");
    }
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_and_then_the_reply() {
    let matrix = Matrix::new();
    for up in ["Http1", "Http2"] {
        let mut wire = matrix.mosn.wire("Http1");
        let head = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n";
        wire.send(format!("{head}x-up: {up}\r\n\r\n")).unwrap();
        assert_eq!(wire.head().unwrap().unwrap().status(), 100, "{up}");
        wire.send("data").unwrap();
        let mut reply = Reply::default();
        wire.reply("POST", &mut reply).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "data"), "{up}");
        assert!(reply.interim.is_empty(), "one 100 is enough: {reply:?}");
    }
}

#[test]
fn bodies_stream_both_ways_at_once() {
    let matrix = Matrix::new();
    for up in ["Http1", "Http2"] {
        let mut wire = matrix.mosn.wire("Http1");
        wire.send(format!(
            "POST /stream HTTP/1.1\r\nHost: a\r\nx-up: {up}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ))
        .unwrap();
        let head = wire.head().unwrap().unwrap();
        assert_eq!(head.status(), 200, "{up}");
        for piece in ["one", "two", "three"] {
            wire.chunk(piece.as_bytes()).unwrap();
            assert_eq!(next_chunk(&mut wire), piece.as_bytes(), "{up}");
        }
        wire.last_chunk(&Fields::default()).unwrap();
        assert_eq!(wire.line().unwrap(), "0", "{up}");

        let Client::Http2(client) = matrix.mosn.client("Http2") else { unreachable!() };
        let request = Request::post("/stream", "").chunked().with("x-up", up);
        block_on(async {
            let under_way = client.start(&request, None).await.unwrap();
            let mut send = under_way.send.unwrap();
            // An HTTP/1 reply's head need not wait for its body.
            let mut recv = under_way.response.await.unwrap().into_body();
            for piece in ["one", "two", "three"] {
                send.send_data(Bytes::from_static(piece.as_bytes()), false).unwrap();
                let data = recv.data().await.unwrap().unwrap();
                assert_eq!(data, piece.as_bytes(), "{up}");
            }
            send.send_data(Bytes::new(), true).unwrap();
            assert!(recv.data().await.is_none_or(|last| last.unwrap().is_empty()), "{up}");
        });
    }
}

fn next_chunk(wire: &mut Wire) -> Vec<u8> {
    let size = usize::from_str_radix(&wire.line().unwrap(), 16).unwrap();
    let chunk = wire.take(size).unwrap();
    assert_eq!(wire.take(2).unwrap(), b"\r\n");
    chunk
}

#[test]
fn many_requests_share_a_connection_one_after_the_other() {
    let matrix = Matrix::new();
    for pair in PAIRS {
        let mut client = matrix.mosn.client(pair.0);
        for length in 0..50 {
            let reply = client.ask(&Request::get(&format!("/bytes/{length}")).with("x-up", pair.1));
            assert_eq!(reply.body, pattern(length), "{pair:?}");
        }
    }
    assert_eq!(matrix.http1.log().connections(), 1);
    assert_eq!(matrix.http2.log().connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let matrix = Matrix::new();
    for up in ["Http1", "Http2"] {
        let mut wire = matrix.mosn.wire("Http1");
        let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nx-up: {up}\r\n\r\n");
        wire.send([one("/bytes/5"), one("/status/204"), one("/chunks/7"), one("/bytes/0")].concat()).unwrap();
        for (status, length) in [(200, 5), (204, 0), (200, 7), (200, 0)] {
            let mut reply = Reply::default();
            wire.reply("GET", &mut reply).unwrap();
            assert_eq!((reply.status, reply.body), (status, pattern(length)), "{up}");
        }
    }
}

#[test]
fn hop_by_hop_fields_end_at_the_proxy() {
    let matrix = Matrix::new();
    let mut wire = matrix.mosn.wire("Http1");
    wire.send(
        "GET / HTTP/1.1\r\nHost: a\r\nx-up: Http1\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nX-Kept: Yes\r\n\r\n",
    )
    .unwrap();
    wire.reply("GET", &mut Reply::default()).unwrap();
    let seen = matrix.http1.log().nth(1);
    for gone in ["x-private", "keep-alive", "proxy-connection"] {
        assert_eq!(seen.get(gone), None, "{seen:?}");
    }
    // Spelled as the client spelled it.
    assert!(seen.fields.0.contains(&("X-Kept".into(), "Yes".into())), "{seen:?}");
}

#[test]
fn an_http_1_0_client_gets_a_reply_that_ends_with_the_connection() {
    let matrix = Matrix::new();
    let mut wire = matrix.mosn.wire("Http1");
    wire.send("GET /chunks/3000 HTTP/1.0\r\nHost: a\r\nx-up: Http1\r\n\r\n").unwrap();
    let Head { fields, .. } = wire.head().unwrap().unwrap();
    assert_eq!(fields.get("transfer-encoding"), None);
    assert_eq!(wire.rest().unwrap(), pattern(3000));
}

// All replies together fit into the connection's window: they are read one after the other.
#[test]
fn sixteen_streams_of_one_connection_do_not_mix() {
    let matrix = Matrix::new();
    let Client::Http2(client) = matrix.mosn.client("Http2") else { unreachable!() };
    for up in ["Http1", "Http2"] {
        let request = |index: usize| Request::get(&format!("/bytes/{}", index * 200)).with("x-up", up);
        let under_way: Vec<_> = block_on(async {
            let mut all = Vec::new();
            for index in 0..16 {
                all.push(client.start(&request(index), None).await.unwrap());
            }
            all
        });
        for (index, reply) in under_way.into_iter().enumerate() {
            assert!(reply.receive().unwrap().body == pattern(index * 200), "{up} {index}");
        }
    }
}

#[test]
fn an_http_2_client_gets_100_continue_as_well() {
    let matrix = Matrix::new();
    for up in ["Http1", "Http2"] {
        let request = Request::post("/echo", "data").with("expect", "100-continue");
        let reply = matrix.ask(("Http2", up), request);
        assert_eq!(reply.text(), "data", "{up}");
        assert!(reply.interim.iter().all(|(status, _)| *status == 100), "{reply:?}");
        assert_eq!(reply.interim.len(), 1, "{up}: {reply:?}");
    }
}

#[test]
fn fields_keep_their_case_their_order_and_their_repetitions_over_http_1() {
    let said = "HTTP/1.1 200 OK\r\nX-One: 1\r\nset-cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\nX-Last: 2\r\n\r\n";
    let origin = mosn_tests::Origin::scripted(said, false);
    let mosn = crate::start(&crate::fixture::forwarding(&[&origin.address()]));
    let mut wire = mosn.wire("in");
    wire.send("GET / HTTP/1.1\r\nX-B: 1\r\nHOST: a\r\nx-a: 2\r\nX-B: 3\r\n\r\n").unwrap();
    let fields = wire.head().unwrap().unwrap().fields.0;
    let names: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let ours = ["X-One=1", "set-cookie=a", "Set-Cookie=b", "X-Last=2"];
    let kept: Vec<_> = names.iter().filter(|name| ours.contains(&name.as_str())).collect();
    assert_eq!(kept, ours, "{names:?}");
    let seen = origin.log().nth(1).fields.0;
    let kept: Vec<_> = seen
        .iter()
        .filter(|(name, _)| name.to_lowercase().starts_with("x-"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(kept, ["X-B=1", "x-a=2", "X-B=3"], "{seen:?}");
}

#[test]
fn crumbs_of_a_cookie_become_one_field_on_the_way_to_http_1() {
    let matrix = Matrix::new();
    let request = Request::get("/").with("cookie", "a=1").with("x", "y").with("cookie", "b=2");
    matrix.ask(("Http2", "Http1"), request);
    assert_eq!(matrix.http1.log().nth(1).fields.all("cookie"), ["a=1; b=2"]);
}

#[test]
fn what_http_2_forbids_does_not_reach_it() {
    let matrix = Matrix::new();
    let mut wire = matrix.mosn.wire("Http1");
    wire.send(
        "GET / HTTP/1.1\r\nHost: a\r\nx-up: Http2\r\nConnection: keep-alive, TE\r\nKeep-Alive: timeout=5\r\n\
         TE: gzip, trailers\r\nUpgrade: foo\r\nProxy-Connection: close\r\n\r\n",
    )
    .unwrap();
    let mut reply = Reply::default();
    wire.reply("GET", &mut reply).unwrap();
    assert_eq!(reply.status, 200);
    let seen = matrix.http2.log().nth(1);
    for gone in ["connection", "keep-alive", "upgrade", "proxy-connection", "host"] {
        assert_eq!(seen.get(gone), None, "{seen:?}");
    }
    assert!([None, Some("trailers")].contains(&seen.get("te")), "{seen:?}");
}

#[test]
fn the_host_of_an_absolute_target_counts() {
    let matrix = Matrix::new();
    for (up, log) in [("Http1", matrix.http1.log()), ("Http2", matrix.http2.log())] {
        let mut wire = matrix.mosn.wire("Http1");
        wire.send(format!("GET http://b.test:81/x?y HTTP/1.1\r\nHost: a.test\r\nx-up: {up}\r\n\r\n"))
            .unwrap();
        wire.reply("GET", &mut Reply::default()).unwrap();
        let seen = log.nth(1);
        assert_eq!((seen.authority.as_str(), seen.path.as_str()), ("b.test:81", "/x?y"), "{up}");
        assert!(seen.fields.all("host").len() <= 1, "{seen:?}");
    }
}

#[test]
fn a_client_that_wants_its_connection_closed_gets_that() {
    let matrix = Matrix::new();
    let mut wire = matrix.mosn.wire("Http1");
    wire.send("GET /bytes/5 HTTP/1.1\r\nHost: a\r\nx-up: Http1\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = Reply::default();
    wire.reply("GET", &mut reply).unwrap();
    assert_eq!((reply.status, reply.get("connection")), (200, Some("close")));
    wire.closes();
    // The upstream's connection is not the client's.
    matrix.ask(("Http1", "Http1"), Request::get("/bytes/5"));
    assert_eq!(matrix.http1.log().connections(), 1);
}

#[test]
fn an_http_1_0_client_may_keep_its_connection() {
    let matrix = Matrix::new();
    let mut wire = matrix.mosn.wire("Http1");
    for _ in 0..2 {
        wire.send("GET /bytes/5 HTTP/1.0\r\nx-up: Http1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            .unwrap();
        let mut reply = Reply::default();
        wire.reply("GET", &mut reply).unwrap();
        assert_eq!(reply.body, pattern(5));
        assert!(
            reply.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")),
            "{reply:?}"
        );
    }
}

#[test]
fn a_reply_is_dated_by_the_upstream_or_else_by_the_proxy() {
    let matrix = Matrix::new();
    for pair in PAIRS {
        assert_eq!(matrix.ask(pair, Request::get("/")).fields.all("date").len(), 1, "{pair:?}");
    }
    let dated = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n";
    let origin = mosn_tests::Origin::scripted(dated, false);
    let mosn = crate::start(&crate::fixture::forwarding(&[&origin.address()]));
    assert_eq!(mosn.ask("in", &Request::get("/")).fields.all("date"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
}
