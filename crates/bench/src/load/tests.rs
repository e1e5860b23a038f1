//! The generator against the echo server, and against servers that do wrong.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
};

use bytes::BytesMut;
use mosn_codec::rpc::{FrameView, Frames, Limits, Side};

use super::*;
use crate::{
    cli::Expect,
    serve::{Answers, serve},
};

/// An echo server on a thread, stopped when dropped.
struct Served {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn echo(protocol: &str, delay: Duration) -> Self {
        let dialect = dialect::by_name(protocol).unwrap();
        Self::start(Answers { dialect, payload: None, delay })
    }

    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || serve(listener, answers, &stopped).unwrap());
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn args(protocol: &str, target: SocketAddr) -> LoadArgs {
    LoadArgs {
        protocol: protocol.into(),
        target: target.to_string(),
        connections: 3,
        outstanding: 4,
        duration: Duration::from_millis(100),
        warmup: Duration::from_millis(20),
        rate: None,
        body: 100,
        expect: Expect::Echo,
        service: "com.example.EchoService".into(),
        service_version: "1.0.0".into(),
        method: "echo".into(),
        headers: Vec::new(),
        timeout: Duration::from_secs(5),
        threads: 1,
        json: None,
        allow_errors: false,
    }
}

/// A server that answers each request as `answer` says, on one connection after the other.
fn scripted(
    protocol: &'static str,
    connections: usize,
    mut answer: impl FnMut(usize, &[u8], &FrameView, &mut BytesMut) -> bool + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let codec = dialect::by_name(protocol).unwrap().protocol();
    let thread = thread::spawn(move || {
        let mut number = 0;
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut buffer, mut pending, mut open) = (vec![0; 65536], Vec::new(), true);
            while open {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(len) => pending.extend_from_slice(&buffer[..len]),
                }
                let mut out = BytesMut::new();
                let mut frames = Frames::new(codec, &pending, Side::Downstream, Limits::default());
                for frame in &mut frames {
                    let (frame, view) = frame.unwrap();
                    open &= answer(number, frame, &view, &mut out);
                    number += 1;
                }
                let used = frames.consumed();
                pending.drain(..used);
                let _ = stream.write_all(&out);
            }
        }
    });
    (address, thread)
}

fn put_echo(protocol: &str, frame: &[u8], view: &FrameView, out: &mut BytesMut) {
    let dialect = dialect::by_name(protocol).unwrap();
    dialect.put_reply(frame, view, dialect.argument(frame, view), out);
}

#[test]
fn every_protocol_echoes_without_errors_closed_loop() {
    for protocol in dialect::names() {
        let server = Served::echo(protocol, Duration::ZERO);
        let report = measure(&args(protocol, server.address)).unwrap();
        assert_eq!(report.errors.total, 0, "{report}");
        assert!(report.replies >= 12, "{report}");
        assert!(report.latency_us.count > 0 && report.latency_us.count <= report.replies, "{report}");
        assert!(report.latency_us.p50 > 0.0 && report.latency_us.p50 <= report.latency_us.max, "{report}");
    }
}

#[test]
fn every_protocol_echoes_at_a_fixed_rate_on_several_threads() {
    for protocol in dialect::names() {
        let server = Served::echo(protocol, Duration::ZERO);
        let load =
            LoadArgs { rate: Some(2000.0), threads: 2, body: 20_000, ..args(protocol, server.address) };
        let report = measure(&load).unwrap();
        assert_eq!((report.errors.total, report.unsent), (0, 0), "{report}");
        // 120 ms at 2,000 a second, to the request.
        assert_eq!(report.replies, 240, "{report}");
        assert_eq!(report.latency_us.count, 200, "{report}");
    }
}

#[test]
fn bodies_larger_than_any_buffer_come_back_whole() {
    for protocol in dialect::names() {
        let server = Served::echo(protocol, Duration::ZERO);
        let load =
            LoadArgs { body: 1 << 20, connections: 2, outstanding: 3, ..args(protocol, server.address) };
        let report = measure(&load).unwrap();
        assert_eq!(report.errors.total, 0, "{report}");
        assert!(report.replies >= 6, "{report}");
    }
}

#[test]
fn bodies_too_short_for_a_number_are_still_compared() {
    let server = Served::echo("dubbo", Duration::ZERO);
    for body in [0, 1, 7, 8] {
        let report = measure(&LoadArgs { body, ..args("dubbo", server.address) }).unwrap();
        assert_eq!(report.errors.total, 0, "{body}: {report}");
    }
}

#[test]
fn a_slow_target_shows_in_the_latency_of_every_request_that_was_due() {
    let server = Served::echo("bolt", Duration::from_millis(20));
    // One request in flight and 20 ms each: 50 a second at most, and 200 are due.
    let load = LoadArgs { connections: 1, outstanding: 1, rate: Some(200.0), ..args("bolt", server.address) };
    let report = measure(&load).unwrap();
    assert_eq!(report.errors.total, 0, "{report}");
    assert!(report.unsent > 0, "{report}");
    assert_eq!(report.latency_us.count, 20, "none may be left out: {report}");
    assert!(report.latency_us.p99 > 50_000.0, "{report}");
    // Closed loop, nothing is ever due that is not sent.
    let closed = measure(&LoadArgs { rate: None, ..load }).unwrap();
    assert!(closed.unsent == 0 && closed.latency_us.min >= 20_000.0, "{closed}");
}

#[test]
fn a_reply_to_somebody_elses_request_is_an_error() {
    let mut kept: Option<Vec<u8>> = None;
    // Swaps the bodies of each two requests.
    let (address, server) = scripted("bolt", 1, move |_, frame, view, out| {
        let dialect = dialect::by_name("bolt").unwrap();
        match kept.take() {
            None => kept = Some(frame.to_vec()),
            Some(first) => {
                let protocol = dialect.protocol();
                let seen = Frames::new(protocol, &first, Side::Downstream, Limits::default()).next();
                let (first, first_view) = seen.unwrap().unwrap();
                dialect.put_reply(first, &first_view, dialect.argument(frame, view), out);
                dialect.put_reply(frame, view, dialect.argument(first, &first_view), out);
            }
        }
        true
    });
    let load = LoadArgs {
        connections: 1,
        outstanding: 2,
        timeout: Duration::from_millis(200),
        ..args("bolt", address)
    };
    let report = measure(&load).unwrap();
    assert!(report.replies == 0 && report.errors.kinds.body > 0, "{report}");
    server.join().unwrap();
}

#[test]
fn a_reply_that_comes_twice_and_one_to_nothing_are_errors() {
    let (address, server) = scripted("tars", 1, |number, frame, view, out| {
        put_echo("tars", frame, view, out);
        if number == 3 {
            put_echo("tars", frame, view, out);
            put_echo("tars", frame, &FrameView { id: 0x00ff_ffff, ..*view }, out);
        }
        true
    });
    let report = measure(&LoadArgs { connections: 1, ..args("tars", address) }).unwrap();
    assert_eq!((report.errors.kinds.unknown_id, report.errors.total), (2, 2), "{report}");
    server.join().unwrap();
}

#[test]
fn an_error_status_is_counted_by_its_number() {
    let (address, server) = scripted("dubbo", 1, |number, frame, view, out| {
        let protocol = dialect::by_name("dubbo").unwrap().protocol();
        if number % 2 == 0 {
            put_echo("dubbo", frame, view, out);
        } else {
            protocol.local_reply(&protocol.reply_seed(frame, view).unwrap(), 404, None, out);
        }
        true
    });
    let report = measure(&LoadArgs { connections: 1, ..args("dubbo", address) }).unwrap();
    assert!(report.errors.kinds.status > 0 && report.errors.total == report.errors.kinds.status, "{report}");
    assert_eq!(report.statuses.get(&60), Some(&report.errors.total), "{report}");
    server.join().unwrap();
}

#[test]
fn a_request_without_a_reply_times_out_and_the_run_ends() {
    let (address, server) = scripted("bolt", 1, |number, frame, view, out| {
        if number != 5 {
            put_echo("bolt", frame, view, out);
        }
        true
    });
    let load = LoadArgs { connections: 1, timeout: Duration::from_millis(150), ..args("bolt", address) };
    let report = measure(&load).unwrap();
    assert_eq!((report.errors.kinds.timeout, report.errors.total), (1, 1), "{report}");
    server.join().unwrap();
}

#[test]
fn a_connection_that_ends_costs_its_requests_and_is_opened_again() {
    let (address, server) = scripted("bolt", 2, |number, frame, view, out| {
        if number != 10 {
            put_echo("bolt", frame, view, out);
        }
        number != 10
    });
    let load = LoadArgs { connections: 1, duration: Duration::from_millis(400), ..args("bolt", address) };
    let report = measure(&load).unwrap();
    assert!(report.errors.kinds.closed > 0 && report.errors.total == report.errors.kinds.closed, "{report}");
    assert!(report.replies > 20, "{report}");
    server.join().unwrap();
}

#[test]
fn after_a_goaway_the_last_replies_are_awaited_and_another_connection_is_opened() {
    let (address, server) = scripted("bolt", 2, |number, frame, view, out| {
        if number == 8 {
            assert!(dialect::by_name("bolt").unwrap().protocol().goaway(1, out));
        }
        put_echo("bolt", frame, view, out);
        true
    });
    let load = LoadArgs { connections: 1, duration: Duration::from_millis(400), ..args("bolt", address) };
    let report = measure(&load).unwrap();
    assert_eq!((report.goaways, report.errors.total), (1, 0), "{report}");
    assert!(report.replies > 20, "{report}");
    server.join().unwrap();
}

#[test]
fn a_server_with_a_body_of_its_own_is_held_to_its_length() {
    let dialect = dialect::by_name("dubbo").unwrap();
    let server = Served::start(Answers {
        dialect,
        payload: Some(dialect.payload(&vec![b'x'; 5000])),
        delay: Duration::ZERO,
    });
    let load = |expect| measure(&LoadArgs { expect, ..args("dubbo", server.address) }).unwrap();
    assert_eq!(load(Expect::Bytes(5000)).errors.total, 0);
    assert_eq!(load(Expect::Any).errors.total, 0);
    let wrong = load(Expect::Bytes(4999));
    assert!(wrong.replies == 0 && wrong.errors.kinds.body > 0, "{wrong}");
}

#[test]
fn nobody_there_is_said_at_once() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = measure(&args("bolt", free)).unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("cannot connect to {free} (connection 1 of 3)")),
        "{error}"
    );
    let many = LoadArgs { connections: 60_000, outstanding: 65_536, ..args("bolt", free) };
    assert!(measure(&many).unwrap_err().to_string().contains("more than 4194304 in flight"));
}

#[test]
fn the_result_file_has_every_figure_of_the_table() {
    let server = Served::echo("bolt", Duration::ZERO);
    let file = tempfile::NamedTempFile::new().unwrap();
    let load = LoadArgs { json: Some(file.path().into()), ..args("bolt", server.address) };
    assert_eq!(run(&load).unwrap(), ExitCode::SUCCESS);
    let found: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
    assert_eq!(found["protocol"], "bolt");
    assert!(found["replies"].as_u64().unwrap() > 0);
    assert!(found["latency_us"]["p99_99"].as_f64().unwrap() > 0.0);
    assert_eq!((&found["errors"]["total"], &found["errors"]["unknown_id"]), (&0.into(), &0.into()));
    assert_eq!(found["rate"], serde_json::Value::Null);
}
