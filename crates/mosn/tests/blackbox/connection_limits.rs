//! `max_connections` with two workers: it holds, and costs no request.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use mosn_tests::{Config, Listener, Mosn, Origin, Reply, Request, Wire, admin, route, run, to, until};
use serde_json::{Value, json};

use crate::{MOSN, bench::Echo, start};

const WORKERS: usize = 2;

/// Everything goes to one host with these limits.
fn limited(host: &str, breakers: &Value) -> Mosn {
    let listener = Listener::new("in", "Http1").routes([to("/", "up", &json!({ "timeout": "15s" }))]);
    let more = json!({ "circuit_breakers": [breakers] });
    start(
        &Config::new()
            .listener(listener)
            .cluster_with("up", &[host], &more)
            .workers(WORKERS)
            .top("admin", admin()),
    )
}

/// An upstream that takes a moment for each request, and knows how many it had at once.
fn busy(most: &Arc<AtomicUsize>) -> Origin {
    let (now, most) = (AtomicUsize::new(0), Arc::clone(most));
    Origin::new(move |exchange| {
        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        exchange.read()?;
        thread::sleep(Duration::from_millis(1));
        now.fetch_sub(1, SeqCst);
        exchange.reply(200, &[], b"ok")
    })
}

#[test]
fn clients_of_both_workers_get_their_turn_within_the_limit() {
    for limit in [1, 2, 5] {
        let most = Arc::new(AtomicUsize::new(0));
        let origin = busy(&most);
        let mosn = limited(&origin.address(), &json!({ "max_connections": limit }));
        // A connection goes to the worker with the fewest, so that these are on both.
        let clients: Vec<_> = (0..4 * WORKERS).map(|_| mosn.client("in")).collect();
        let clients: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                thread::spawn(move || {
                    let mut longest = Duration::ZERO;
                    for _ in 0..60 {
                        let begun = Instant::now();
                        assert_eq!(client.ask(&Request::get("/")).status, 200);
                        longest = longest.max(begun.elapsed());
                    }
                    longest
                })
            })
            .collect();
        for client in clients {
            let longest = client.join().unwrap();
            assert!(longest < Duration::from_secs(5), "one waited for {longest:?} with a limit of {limit}");
        }
        assert!((1..=limit).contains(&most.load(SeqCst)), "{} at once, limit {limit}", most.load(SeqCst));
        assert_eq!(mosn.metric("upstream.cluster.up", "request_pending_overflow").unwrap_or(0), 0);
        mosn.metric_is("upstream.cluster.up", "request_active", 0);
        let open = mosn.metric("upstream.cluster.up", "connection_active").unwrap();
        assert!(open <= limit as u64, "{open} connections, limit {limit}");
    }
}

#[test]
fn an_idle_connection_is_given_up_for_a_request_on_another_worker() {
    let origin = Origin::saying("ok");
    let mosn = limited(&origin.address(), &json!({ "max_connections": 1 }));
    let mut clients: Vec<_> = (0..WORKERS).map(|_| mosn.client("in")).collect();
    let begun = Instant::now();
    for _ in 0..10 {
        for client in &mut clients {
            assert_eq!(client.ask(&Request::get("/")).status, 200);
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(origin.log().connections() > 1, "both clients are on one worker");
    mosn.metric_is("upstream.cluster.up", "connection_active", 1);
}

/// An upstream that answers a request when it is told to.
fn held() -> (Origin, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel();
    let released = Mutex::new(released);
    let origin = Origin::new(move |exchange| {
        exchange.read()?;
        let _ = released.lock().unwrap().recv();
        exchange.reply(200, &[], b"ok")
    });
    (origin, release)
}

#[test]
fn a_request_is_refused_only_when_too_many_wait() {
    let (origin, release) = held();
    let breakers = json!({ "max_connections": 1, "max_pending_requests": 3 });
    let mosn = limited(&origin.address(), &breakers);
    let mut wires: Vec<_> = (0..4).map(|_| mosn.wire("in")).collect();
    send(&mosn, &mut wires);
    until("the next one to be refused", || (mosn.ask("in", &Request::get("/")).status == 503).then_some(()));
    let log = mosn.access_log("in", 1);
    assert!(log.iter().all(|line| line.starts_with("503 0x80 overflow")), "{log:?}");
    all_are_answered(&release, &mut wires);
    // Nothing is left behind: as many may wait again.
    mosn.metric_is("downstream.proxy.global", "request_active", 0);
    send(&mosn, &mut wires);
    all_are_answered(&release, &mut wires);
}

/// Sends a request on each: the first gets a connection, the others wait.
fn send(mosn: &Mosn, wires: &mut [Wire]) {
    for (count, wire) in wires.iter_mut().enumerate() {
        wire.request(&Request::get("/")).unwrap();
        mosn.metric_is("downstream.proxy.global", "request_active", count as u64 + 1);
        mosn.metric_is("upstream.cluster.up", "request_active", 1);
    }
}

fn all_are_answered(release: &mpsc::Sender<()>, wires: &mut [Wire]) {
    for _ in 0..wires.len() {
        release.send(()).unwrap();
    }
    for wire in wires {
        let mut reply = Reply::default();
        wire.reply("GET", &mut reply).unwrap();
        assert_eq!(reply.status, 200);
    }
}

#[test]
fn a_request_waits_no_longer_than_its_timeout_and_leaves_its_place_to_others() {
    let (origin, release) = held();
    let listener = Listener::new("in", "Http1").routes([
        to("/short", "up", &json!({ "timeout": "100ms" })),
        to("/", "up", &json!({ "timeout": "15s" })),
    ]);
    let more = json!({ "circuit_breakers": [{ "max_connections": 1 }] });
    let mosn = start(
        &Config::new()
            .listener(listener)
            .cluster_with("up", &[&origin.address()], &more)
            .workers(WORKERS)
            .top("admin", admin()),
    );
    let mut wires = [mosn.wire("in"), mosn.wire("in")];
    send(&mosn, &mut wires[..1]);
    let begun = Instant::now();
    assert_eq!(mosn.ask("in", &Request::get("/short")).status, 504);
    assert!(begun.elapsed() >= Duration::from_millis(95), "{:?}", begun.elapsed());
    let log = mosn.access_log("in", 1);
    assert!(log[0].contains("global_timeout"), "{log:?}");
    wires[1].request(&Request::get("/")).unwrap();
    mosn.metric_is("downstream.proxy.global", "request_active", 2);
    all_are_answered(&release, &mut wires);
}

/// One service behind a listener whose calls have connections to themselves in this way.
fn limited_rpc(echo: &Echo, mode: &str, limit: usize) -> Mosn {
    let by_service = json!({ "headers": [{ "name": "service", "value": "com.example.EchoService" }] });
    let routes = [route(&by_service, &json!({ "route": { "cluster_name": "up" } }))];
    let listener = Listener::new("in", "bolt").routes(routes).extend(json!({ "pool_mode": mode }));
    let more = json!({ "circuit_breakers": [{ "max_connections": limit }] });
    start(
        &Config::new()
            .listener(listener)
            .cluster_with("up", &[&echo.address], &more)
            .workers(WORKERS)
            .top("admin", admin()),
    )
}

/// Makes calls over this many connections for a while. Returns how many were answered.
fn load(mosn: &Mosn, connections: usize, outstanding: usize) -> u64 {
    let target = mosn.address("in").to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let json = file.path().to_str().unwrap();
    let (connections, outstanding) =
        (format!("--connections={connections}"), format!("--outstanding={outstanding}"));
    let output = run(
        MOSN,
        &[
            "bench",
            "load",
            "bolt",
            "--target",
            &target,
            &connections,
            &outstanding,
            "--duration=500ms",
            "--warmup=0s",
            "--json",
            json,
        ],
    );
    assert_eq!(output.code, 0, "{output:?}");
    let found: Value = serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap();
    found["replies"].as_u64().unwrap()
}

#[test]
fn ping_pong_calls_of_both_workers_get_their_turn_within_the_limit() {
    for limit in [1, 3] {
        let echo = Echo::start("bolt");
        let mosn = limited_rpc(&echo, "ping-pong", limit);
        assert!(load(&mosn, 2 * WORKERS, 4) > 0);
        mosn.metric_is("upstream.cluster.up", "request_active", 0);
        let open = mosn.metric("upstream.cluster.up", "connection_active").unwrap();
        assert!(open <= limit as u64, "{open} connections, limit {limit}");
        assert_eq!(mosn.metric("upstream.cluster.up", "request_pending_overflow").unwrap_or(0), 0);
    }
}

#[test]
fn bound_connections_are_left_to_clients_that_come_later() {
    let echo = Echo::start("bolt");
    let limit = 2 * WORKERS;
    let mosn = limited_rpc(&echo, "binding", limit);
    for _ in 0..3 {
        assert!(load(&mosn, limit, 4) > 0);
    }
    mosn.metric_is("upstream.cluster.up", "connection_active", 0);
}
