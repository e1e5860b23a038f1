//! Every way a request can fail that can be brought about from outside: what the client sees, and
//! what the access log says.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use mosn_tests::{
    BlackHole, Client, Config, Exchange, Http2Origin, Listener, Mosn, Origin, Refusing, Request, admin,
    block_on, to, until,
};
use serde_json::json;

use crate::start;

/// What the log says first of a request: status, flags, word.
#[track_caller]
fn logged(mosn: &Mosn, listener: &str, nth: usize) -> String {
    let line = mosn.access_log(listener, nth)[nth - 1].clone();
    line.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// An HTTP/1 server that does this with the connection once a request's head is there.
fn ending(end: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static) -> Origin {
    Origin::new(move |exchange| {
        exchange.read()?;
        end(exchange)?;
        Err(io::ErrorKind::ConnectionAborted.into())
    })
}

/// Makes the connection end with a reset.
fn reset(exchange: &Exchange<'_>) {
    exchange.wire.twin().reset();
}

/// A listener for each protocol in front of one route for each cluster, `/<cluster>`.
fn both(routes: impl Fn() -> Vec<serde_json::Value>) -> Config {
    Config::new()
        .listener(Listener::new("Http1", "Http1").routes(routes()))
        .listener(Listener::new("Http2", "Http2").routes(routes()))
}

#[test]
fn each_failure_before_the_reply_has_its_status_flag_and_word() {
    let refusing = Refusing::new();
    let hole = BlackHole::new();
    let closing = ending(|_| Ok(()));
    let resetting = ending(|exchange| {
        reset(exchange);
        Ok(())
    });
    let babbling = ending(|exchange| exchange.wire.send("220 ready\r\n\r\n"));
    let halting = ending(|exchange| exchange.wire.send("HTTP/1.1 200 OK\r\nContent-Le"));
    let silent = Origin::new(|exchange| exchange.wire.rest().map(drop));
    let rejecting = Http2Origin::new(|mut exchange| async move {
        exchange.respond.send_reset(h2::Reason::INTERNAL_ERROR);
        Ok(())
    });
    let refusing_streams = Http2Origin::new(|mut exchange| async move {
        exchange.respond.send_reset(h2::Reason::REFUSED_STREAM);
        Ok(())
    });
    let hanging_up = Http2Origin::new(|exchange| async move {
        exchange.hang_up();
        Ok(())
    });
    let http1 = json!({ "upstream_protocol": "Http1" });
    let http2 = json!({ "upstream_protocol": "Http2" });
    let routes = || {
        let mut routes: Vec<_> =
            ["empty", "refusing", "hole", "closing", "resetting", "babbling", "halting", "nowhere"]
                .map(|name| to(&format!("/{name}"), name, &http1))
                .into();
        routes
            .extend(["rejecting", "unwilling", "hanging"].map(|name| to(&format!("/{name}"), name, &http2)));
        routes.push(to("/silent", "silent", &json!({ "upstream_protocol": "Http1", "timeout": "300ms" })));
        let retry = json!({ "upstream_protocol": "Http1", "retry_policy": { "retry_timeout": "200ms" } });
        routes.push(to("/try", "silent", &retry));
        routes
    };
    let config = both(routes)
        .cluster("empty", &[])
        .cluster("refusing", &[&refusing.address()])
        .cluster_with("hole", &[&hole.address()], &json!({ "connect_timeout": "150ms" }))
        .cluster("closing", &[&closing.address()])
        .cluster("resetting", &[&resetting.address()])
        .cluster("babbling", &[&babbling.address()])
        .cluster("halting", &[&halting.address()])
        .cluster("silent", &[&silent.address()])
        .cluster("rejecting", &[&rejecting.address()])
        .cluster("unwilling", &[&refusing_streams.address()])
        .cluster("hanging", &[&hanging_up.address()]);
    let mosn = start(&config);
    let table = [
        ("/other", "404 0x100 no_route"),
        ("/nowhere", "404 0x100 no_cluster"),
        ("/empty", "502 0x2 no_healthy_upstream"),
        ("/refusing", "502 0x20 connect_failed"),
        ("/hole", "502 0x20 connect_timeout"),
        ("/closing", "502 0x40 upstream_closed"),
        ("/resetting", "500 0x40 upstream_terminated"),
        ("/babbling", "502 0x10 upstream_reset"),
        ("/halting", "502 0x10 upstream_reset"),
        ("/rejecting", "502 0x10 upstream_reset"),
        ("/unwilling", "502 0x10 upstream_refused"),
        ("/hanging", "500 0x40 upstream_terminated"),
        ("/silent", "504 0x4 global_timeout"),
        ("/try", "504 0x4 per_try_timeout"),
    ];
    let mut differing = Vec::new();
    for protocol in ["Http1", "Http2"] {
        // POST: what an idempotent request would be spared by another try, it is not.
        let replies = table.map(|(path, _)| mosn.ask(protocol, &Request::post(path, "x")).status);
        for (index, (path, row)) in table.into_iter().enumerate() {
            let (status, said) = (replies[index], logged(&mosn, protocol, index + 1));
            if said != row || row[..3] != status.to_string() {
                differing
                    .push(format!("{protocol} {path}: {status} to the client, {said} in the log, not {row}"));
            }
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn a_header_shortens_the_time_that_a_request_has() {
    let silent = Origin::new(|exchange| exchange.wire.rest().map(drop));
    let mosn = start(&crate::fixture::forwarding(&[&silent.address()]));
    let reply = mosn.ask("in", &Request::get("/").with("x-mosn-global-timeout", "100"));
    assert_eq!(reply.status, 504);
    assert_eq!(logged(&mosn, "in", 1), "504 0x4 global_timeout");
    assert_eq!(silent.log().nth(1).get("x-mosn-global-timeout"), Some("100"));
    let reply = mosn.ask("in", &Request::get("/").with("x-mosn-try-timeout", "100"));
    assert_eq!((reply.status, logged(&mosn, "in", 2).as_str()), (504, "504 0x4 per_try_timeout"));
}

#[test]
fn no_request_is_lost_when_one_of_two_hosts_refuses() {
    for protocol in ["Http1", "Http2"] {
        let (refusing, origin) = (Refusing::new(), Origin::saying("here"));
        let config = both(|| vec![to("/", "up", &json!({ "upstream_protocol": "Http1" }))])
            .cluster("up", &[&refusing.address(), &origin.address()])
            .top("admin", admin());
        let mosn = start(&config);
        let mut client = mosn.client(protocol);
        for index in 0..40 {
            let reply = client.ask(&Request::get("/"));
            assert_eq!((reply.status, reply.text().as_str()), (200, "here"), "{protocol} {index}");
        }
        assert!(mosn.metric("upstream.cluster.up", "request_retry").unwrap() > 0, "{protocol}");
    }
}

#[test]
fn a_full_cluster_answers_503_at_once() {
    let go_on = Arc::new(AtomicBool::new(false));
    let leave = Arc::clone(&go_on);
    let origin = Origin::new(move |exchange| {
        exchange.read()?;
        until("leave to answer", || leave.load(Relaxed).then_some(()));
        exchange.reply(200, &[], b"late")
    });
    let config = Config::new()
        .listener(Listener::new("in", "Http1").routes([to("/", "up", &json!({}))]))
        .cluster_with("up", &[&origin.address()], &json!({ "circuit_breakers": [{ "max_requests": 1 }] }));
    let mosn = start(&config);
    let mut first = mosn.wire("in");
    first.request(&Request::get("/first")).unwrap();
    let _ = origin.log().nth(1);
    assert_eq!(mosn.ask("in", &Request::get("/second")).status, 503);
    assert_eq!(logged(&mosn, "in", 1), "503 0x80 overflow");
    go_on.store(true, Relaxed);
    let mut reply = mosn_tests::Reply::default();
    first.reply("GET", &mut reply).unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "late"));
    assert_eq!(mosn.ask("in", &Request::get("/third")).status, 200);
}

#[test]
fn requests_of_high_priority_pass_where_others_have_reached_their_limit() {
    let go_on = Arc::new(AtomicBool::new(false));
    let leave = Arc::clone(&go_on);
    let origin = Origin::new(move |exchange| {
        exchange.read()?;
        if !exchange.head.start.contains(" /now ") {
            until("leave to answer", || leave.load(Relaxed).then_some(()));
        }
        exchange.reply(200, &[], b"")
    });
    let routes = [to("/now", "up", &json!({ "priority": "HIGH" })), to("/", "up", &json!({}))];
    let limits =
        json!({ "circuit_breakers": [{ "max_requests": 1 }, { "priority": "HIGH", "max_requests": 1 }] });
    let config = Config::new().listener(Listener::new("in", "Http1").routes(routes)).cluster_with(
        "up",
        &[&origin.address()],
        &limits,
    );
    let mosn = start(&config);
    let mut first = mosn.wire("in");
    first.request(&Request::get("/first")).unwrap();
    let _ = origin.log().nth(1);
    assert_eq!(mosn.ask("in", &Request::get("/second")).status, 503);
    assert_eq!(mosn.ask("in", &Request::get("/now")).status, 200);
    go_on.store(true, Relaxed);
    let mut reply = mosn_tests::Reply::default();
    first.reply("GET", &mut reply).unwrap();
    assert_eq!(reply.status, 200);
}

#[test]
fn a_client_that_leaves_takes_its_upstream_request_with_it() {
    for protocol in ["Http1", "Http2"] {
        let left = Arc::new(AtomicBool::new(false));
        let noticed = Arc::clone(&left);
        let origin = Origin::new(move |exchange| {
            exchange.read()?;
            // Until the proxy closes the connection.
            let rest = exchange.wire.rest();
            noticed.store(true, Relaxed);
            rest.map(drop)
        });
        let config = both(|| vec![to("/", "up", &json!({ "upstream_protocol": "Http1" }))])
            .cluster("up", &[&origin.address()]);
        let mosn = start(&config);
        match mosn.client(protocol) {
            Client::Http1(mut wire) => {
                wire.request(&Request::get("/")).unwrap();
                let _ = origin.log().nth(1);
                drop(wire);
            }
            Client::Http2(client) => {
                let under_way = block_on(client.start(&Request::get("/"), None)).unwrap();
                let _ = origin.log().nth(1);
                drop(under_way);
                until("the upstream to notice", || left.load(Relaxed).then_some(()));
                // Only the stream has gone.
                drop(client);
            }
        }
        until("the upstream to notice", || left.load(Relaxed).then_some(()));
        assert_eq!(logged(&mosn, protocol, 1), "504 0x0 client_gone", "{protocol}");
    }
}

#[test]
fn a_stream_that_the_client_resets_is_reset_upstream() {
    let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
    let origin = Http2Origin::new(move |mut exchange| {
        let told = told.clone();
        async move {
            exchange.read().await?;
            let reason = std::future::poll_fn(|cx| exchange.respond.poll_reset(cx)).await;
            // The test may have failed by now.
            let _ = told.send(reason.is_ok());
            Ok(())
        }
    });
    for protocol in ["Http1", "Http2"] {
        let config = both(|| vec![to("/", "up", &json!({ "upstream_protocol": "Http2" }))])
            .cluster("up", &[&origin.address()]);
        let mosn = start(&config);
        let before = origin.log().requests().len();
        let mut client = mosn.client(protocol);
        match &mut client {
            Client::Http1(wire) => wire.request(&Request::get("/")).unwrap(),
            Client::Http2(client) => {
                let under_way = block_on(client.start(&Request::get("/"), None)).unwrap();
                let _ = origin.log().nth(before + 1);
                drop(under_way);
            }
        }
        let _ = origin.log().nth(before + 1);
        if protocol == "Http1" {
            drop(client);
        }
        assert_eq!(block_on(tell.recv()), Some(true), "{protocol}");
    }
}

#[test]
fn a_reply_cut_short_upstream_is_never_shown_as_complete() {
    let counted = ending(|exchange| exchange.wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"));
    let chunked = ending(|exchange| {
        exchange.wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    });
    let in_chunk = ending(|exchange| {
        exchange.wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf")
    });
    let bad_chunk = ending(|exchange| {
        exchange.wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfxx0\r\n\r\n")
    });
    let no_last = ending(|exchange| {
        exchange.wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n")
    });
    let reset_stream = Http2Origin::new(|mut exchange| async move {
        let mut send = exchange.reply(200, &[], false)?;
        send.send_data(Bytes::from_static(b"half"), false)?;
        send.send_reset(h2::Reason::INTERNAL_ERROR);
        Ok(())
    });
    let short = Http2Origin::new(|mut exchange| async move {
        let mut send = exchange.reply(200, &[("content-length", "100")], false)?;
        send.send_data(Bytes::from_static(b"half"), true)
    });
    let names1 = ["counted", "chunked", "in_chunk", "bad_chunk", "no_last"];
    let names2 = ["reset_stream", "short"];
    let routes = || {
        let http1 =
            names1.map(|name| to(&format!("/{name}"), name, &json!({ "upstream_protocol": "Http1" })));
        let http2 =
            names2.map(|name| to(&format!("/{name}"), name, &json!({ "upstream_protocol": "Http2" })));
        http1.into_iter().chain(http2).collect()
    };
    let mut config = both(routes);
    for (name, origin) in names1.into_iter().zip([&counted, &chunked, &in_chunk, &bad_chunk, &no_last]) {
        config = config.cluster(name, &[&origin.address()]);
    }
    for (name, origin) in names2.into_iter().zip([&reset_stream, &short]) {
        config = config.cluster(name, &[&origin.address()]);
    }
    let mosn = start(&config);
    let mut whole = Vec::new();
    for protocol in ["Http1", "Http2"] {
        for name in names1.into_iter().chain(names2) {
            match mosn.client(protocol).exchange(&Request::get(&format!("/{name}"))) {
                // An error in place of the whole reply is as good as a broken one.
                Ok(reply) if reply.status == 200 => whole.push(format!("{protocol} {name}: {reply:?}")),
                Ok(_) => {}
                Err(broken) => {
                    assert!(b"half".starts_with(&broken.reply.body), "{protocol} {name}: {broken:?}");
                }
            }
        }
    }
    assert!(whole.is_empty(), "{whole:#?}");
}

#[test]
fn a_reply_that_ends_with_its_connection_is_whole_only_after_an_orderly_end() {
    let orderly = ending(|exchange| exchange.wire.send("HTTP/1.1 200 OK\r\n\r\nwhole"));
    let broken = ending(|exchange| {
        exchange.wire.send("HTTP/1.1 200 OK\r\n\r\nhalf")?;
        reset(exchange);
        Ok(())
    });
    let routes = || {
        ["orderly", "broken"]
            .map(|name| to(&format!("/{name}"), name, &json!({ "upstream_protocol": "Http1" })))
            .into()
    };
    let config =
        both(routes).cluster("orderly", &[&orderly.address()]).cluster("broken", &[&broken.address()]);
    let mosn = start(&config);
    for protocol in ["Http1", "Http2"] {
        assert_eq!(mosn.ask(protocol, &Request::get("/orderly")).text(), "whole", "{protocol}");
        let broken = mosn.client(protocol).exchange(&Request::get("/broken"));
        // Where the reset overtakes the head, there is no reply to break.
        assert!(broken.as_ref().map_or(true, |reply| reply.status >= 500), "{protocol}: {broken:?}");
    }
}

#[test]
fn a_request_cut_short_never_reaches_the_upstream_as_complete() {
    let origin = Origin::new(|exchange| {
        let body = exchange.read()?;
        exchange.reply(200, &[], &body)
    });
    let reached = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&reached);
    let http2 = Http2Origin::new(move |mut exchange| {
        let flag = Arc::clone(&flag);
        async move {
            exchange.read().await?;
            flag.store(true, Relaxed);
            exchange.reply(200, &[], true).map(drop)
        }
    });
    let listener = Listener::new("in", "Http1").routes([
        to("/1", "one", &json!({ "upstream_protocol": "Http1" })),
        to("/2", "two", &json!({ "upstream_protocol": "Http2" })),
    ]);
    let config = Config::new()
        .listener(listener)
        .cluster("one", &[&origin.address()])
        .cluster("two", &[&http2.address()]);
    let mosn = start(&config);
    for (index, path) in ["/1", "/2"].into_iter().enumerate() {
        for (at, part) in
            ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
                .into_iter()
                .enumerate()
        {
            let mut wire = mosn.wire("in");
            wire.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{part}")).unwrap();
            wire.finish();
            wire.closes();
            assert!(logged(&mosn, "in", index * 2 + at + 1).ends_with("client_gone"), "{path} {part}");
        }
    }
    assert!(!reached.load(Relaxed));
    let seen = origin.log();
    until("the requests at the origin", || (seen.requests().len() == 2).then_some(()));
    assert!(seen.requests().iter().all(|request| !request.whole), "{:?}", seen.requests());
}

#[test]
fn an_early_reply_reaches_a_client_that_is_still_sending() {
    for up in ["Http1", "Http2"] {
        let http1 = Origin::new(|exchange| {
            exchange.reply(413, &[("Connection", "close")], b"enough")?;
            Err(io::ErrorKind::ConnectionAborted.into())
        });
        let http2 = Http2Origin::new(|mut exchange| async move {
            let mut send = exchange.reply(413, &[], false)?;
            send.send_data(Bytes::from_static(b"enough"), true)
        });
        let address = if up == "Http1" { http1.address() } else { http2.address() };
        let mosn = start(
            &both(|| vec![to("/", "up", &json!({ "upstream_protocol": up }))]).cluster("up", &[&address]),
        );
        // Over HTTP/1 the body is announced, but not sent.
        let mut wire = mosn.wire("Http1");
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nfirst").unwrap();
        let mut reply = mosn_tests::Reply::default();
        wire.reply("POST", &mut reply).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (413, "enough"), "{up}");
        let reply = mosn.ask("Http2", &Request::post("/", vec![0; 300_000]));
        assert_eq!((reply.status, reply.text().as_str()), (413, "enough"), "{up}");
    }
}

#[test]
fn a_connection_that_closed_while_it_idled_costs_no_request() {
    // Closes each connection after its first reply, without a word about it beforehand.
    let origin = Origin::new(|exchange| {
        exchange.read()?;
        exchange.reply(200, &[], b"ok")?;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    let mosn = start(&crate::fixture::forwarding(&[&origin.address()]));
    let mut client = mosn.client("in");
    for index in 0..30 {
        assert_eq!(client.ask(&Request::get("/")).status, 200, "{index}");
    }
}

#[test]
fn an_idempotent_request_on_a_used_connection_that_breaks_gets_a_second_try() {
    for orderly in [true, false] {
        // Answers the first request of each connection, and swallows the second.
        let used = std::sync::Mutex::new(std::collections::HashSet::new());
        let origin = Origin::new(move |exchange| {
            exchange.read()?;
            if used.lock().unwrap().insert(exchange.connection) {
                return exchange.reply(200, &[], b"ok");
            }
            if !orderly {
                reset(exchange);
            }
            Err(io::ErrorKind::ConnectionAborted.into())
        });
        let mosn = start(&crate::fixture::forwarding(&[&origin.address()]));
        let mut client = mosn.client("in");
        for index in 0..5 {
            assert_eq!(client.ask(&Request::get("/")).status, 200, "{index}, orderly: {orderly}");
        }
        // What may have been done once is not done twice.
        let before = origin.log().requests().len();
        let reply = client.ask(&Request::post("/", "x"));
        assert!(reply.status >= 500, "{reply:?}, orderly: {orderly}");
        assert_eq!(origin.log().requests().len(), before + 1);
    }
}

#[test]
fn a_reply_that_stalls_is_broken_off() {
    let stalling = Origin::new(|exchange| {
        exchange.wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
        exchange.wire.rest().map(drop)
    });
    for protocol in ["Http1", "Http2"] {
        let listener = Listener::new("in", protocol)
            .routes([to("/", "up", &json!({ "upstream_protocol": "Http1" }))])
            .extend(json!({ "body_idle_timeout": "200ms" }));
        let mosn = start(&Config::new().listener(listener).cluster("up", &[&stalling.address()]));
        let broken = mosn.client("in").exchange(&Request::get("/")).unwrap_err();
        assert_eq!((broken.reply.status, broken.reply.text().as_str()), (200, "half"), "{protocol}");
        assert!(logged(&mosn, "in", 1).ends_with("body_idle_timeout"), "{}", logged(&mosn, "in", 1));
    }
}

#[test]
fn a_body_too_large_to_be_kept_is_sent_once_whatever_the_policy_says() {
    let origin = Origin::new(|exchange| {
        exchange.read()?;
        exchange.reply(503, &[], b"busy")
    });
    let retry = json!({ "retry_policy": { "retry_on": true, "num_retries": 3 } });
    let config = Config::new()
        .listener(Listener::new("in", "Http1").routes([to("/", "up", &retry)]))
        .cluster("up", &[&origin.address()]);
    let mosn = start(&config);
    let before = mosn.resident();
    let reply = mosn.ask("in", &Request::post("/", vec![b'x'; 8 * 1024 * 1024]));
    assert_eq!((reply.status, reply.text().as_str()), (503, "busy"));
    assert_eq!(origin.log().requests().len(), 1);
    assert!(mosn.resident() < before + 4096, "{} KiB more", mosn.resident() - before);
}

#[test]
fn a_negative_time_is_no_limit() {
    let origin = Origin::new(|exchange| {
        exchange.read()?;
        std::thread::sleep(std::time::Duration::from_millis(400));
        exchange.reply(200, &[], b"late")
    });
    let config = Config::new()
        .listener(Listener::new("in", "Http1").routes([to("/", "up", &json!({ "timeout": "100ms" }))]))
        .cluster("up", &[&origin.address()]);
    let mosn = start(&config);
    assert_eq!(mosn.ask("in", &Request::get("/")).status, 504);
    assert_eq!(mosn.ask("in", &Request::get("/").with("x-mosn-global-timeout", "-1")).text(), "late");
}
