//! Connections without sockets, on a clock that jumps: whatever the peers do and however long they
//! take, each caller gets exactly one answer, at its time, and nothing stays behind.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, BytesMut};
use mosn_codec::rpc::{BOLT, Decoded, FrameKind, FrameView, Limits, RpcProtocol, Side};
use mosn_config::model::{ClusterSpec, HostSpec, HttpLimits, KeepaliveSpec, LocalitySpec, MetricsFilter};
use mosn_core::{ConnectionInfo, Failure, Protocol, RequestHead, Scheme};
use mosn_net::{Io, Meter, Transport};
use mosn_telemetry::Registry;
use mosn_upstream::{Attempt, Clusters, Host, RequestToken};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex},
    task::LocalSet,
    time::{Instant, sleep, timeout},
};

use super::{Call, Relay, RelayEnd, RelayObserver, RelayedCall, Upstream, UpstreamFacts, Verdict, serve};
use crate::{Drain, ServerContext, ServerStream, Service};

/// What a connection holds on its way.
const PIPE: usize = 64 * 1024;

const OK: i32 = 0;
/// Bolt's words for how a call failed.
const TIMED_OUT: i32 = 7;

struct Unmetered;

impl Meter for Unmetered {
    fn read(&self, _bytes: u64) {}
    fn written(&self, _bytes: u64) {}
}

/// How calls ended, by client and id.
#[derive(Debug, Default)]
struct Ends {
    began: Cell<usize>,
    ended: RefCell<Vec<(u64, u64, RelayEnd)>>,
}

impl RelayObserver for Ends {
    fn began(&self, _: &UpstreamFacts) {
        self.began.set(self.began.get() + 1);
    }

    fn handed_over(&self, _: &UpstreamFacts) {}

    fn ended(&self, call: &RelayedCall<'_>, end: RelayEnd) {
        self.ended.borrow_mut().push((call.connection.id, call.id, end));
    }
}

/// Relays every call to one upstream; to the next one, if that takes no more.
struct Straight {
    host: Arc<Host>,
    registry: Registry,
    keepalive: KeepaliveSpec,
    upstream: RefCell<Option<Rc<Upstream>>>,
    /// The far ends of connections that were opened.
    opened: RefCell<Vec<DuplexStream>>,
    ends: Rc<Ends>,
}

impl Straight {
    fn upstream(&self) -> Rc<Upstream> {
        let mut current = self.upstream.borrow_mut();
        if let Some(upstream) = current.as_ref().filter(|upstream| upstream.is_open()) {
            return Rc::clone(upstream);
        }
        let (near, far) = duplex(PIPE);
        let facts = UpstreamFacts {
            connection_id: 1,
            protocol: &BOLT,
            cluster: "c".into(),
            host: Arc::clone(&self.host),
            metrics: [self.registry.upstream_cluster("c"), self.registry.upstream_host("c", "h")],
        };
        let io = Io::new(Transport::Memory(near), Rc::new(Unmetered));
        let upstream = Upstream::open(io, facts, &Default::default(), self.keepalive, Box::new(()));
        self.opened.borrow_mut().push(far);
        Rc::clone(current.insert(upstream))
    }
}

impl Service for Straight {
    async fn serve<S: ServerStream>(&self, _: &mut S, _: Box<RequestHead>) {
        panic!("no call takes the long way");
    }

    fn relay(&self, call: &Call<'_>) -> Verdict {
        let observer: Rc<dyn RelayObserver> = Rc::<Ends>::clone(&self.ends);
        let timeout = call.timeout().and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis);
        let (token, attempt) = (RequestToken::default(), Attempt::default());
        let upstream = self.upstream();
        Verdict::Relay(Relay {
            upstream,
            headers: None,
            timeout,
            again: false,
            per_try: None,
            observer,
            token,
            attempt,
        })
    }

    fn refused(&self, _: &Rc<ConnectionInfo>, _: Protocol, _: Failure) {}

    fn flooded(&self, _: &Rc<ConnectionInfo>) {}
}

struct World {
    service: Rc<Straight>,
    drain: Rc<Drain>,
    clients: Cell<u64>,
}

impl World {
    fn new() -> Self {
        let host = HostSpec {
            address: "127.0.0.1:1".into(),
            hostname: "".into(),
            weight: 1,
            metadata: None,
            tls_disable: false,
        };
        let localities = vec![LocalitySpec { hosts: vec![host], ..LocalitySpec::default() }];
        let clusters = Clusters::new();
        let spec = ClusterSpec { name: "c".into(), localities, ..ClusterSpec::default() };
        clusters.add_or_update(spec).expect("a cluster");
        let service = Rc::new(Straight {
            host: Arc::clone(&clusters.get("c").expect("the cluster").hosts()[0]),
            registry: Registry::new(&MetricsFilter::default()),
            keepalive: KeepaliveSpec::default(),
            upstream: RefCell::default(),
            opened: RefCell::default(),
            ends: Rc::default(),
        });
        Self { service, drain: Rc::default(), clients: Cell::new(0) }
    }

    fn client(&self) -> Peer {
        let (near, far) = duplex(PIPE);
        self.clients.set(self.clients.get() + 1);
        let info = ConnectionInfo {
            id: self.clients.get(),
            listener: Arc::from("in"),
            listener_type: Arc::from(""),
            local: None,
            remote: None,
            redirected: None,
        };
        let cx = Rc::new(ServerContext {
            info: Rc::new(info),
            scheme: Scheme::Http,
            limits: Rc::new(HttpLimits::default()),
            rpc: Rc::new([]),
            idle_timeout: None,
            drain: Rc::clone(&self.drain),
        });
        let io = Io::new(Transport::Memory(near), Rc::new(Unmetered));
        tokio::task::spawn_local(serve(io, &BOLT, cx, Rc::clone(&self.service)));
        Peer::new(far, Side::Upstream)
    }

    /// The upstream's end of the next connection.
    fn upstream(&self) -> Peer {
        self.service.upstream();
        Peer::new(self.service.opened.borrow_mut().remove(0), Side::Downstream)
    }

    fn ends(&self) -> Vec<(u64, u64, RelayEnd)> {
        self.service.ends.ended.borrow().clone()
    }

    /// Every call that began has ended, once.
    fn assert_settled(&self) {
        let ended = self.ends();
        assert_eq!(ended.len(), self.service.ends.began.get());
        if let Some(upstream) = &*self.service.upstream.borrow() {
            assert!(upstream.is_idle(), "{upstream:?}");
        }
    }
}

/// One end of a connection.
struct Peer {
    read: ReadHalf<DuplexStream>,
    write: WriteHalf<DuplexStream>,
    buffer: BytesMut,
    side: Side,
}

#[derive(Debug)]
struct Got {
    view: FrameView,
    bytes: Vec<u8>,
}

impl Got {
    fn body(&self) -> &[u8] {
        self.view.body.of(&self.bytes)
    }
}

impl Peer {
    fn new(stream: DuplexStream, side: Side) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self { read, write, buffer: BytesMut::new(), side }
    }

    async fn send(&mut self, bytes: &[u8]) {
        // The other end may be gone; who expects an answer will notice.
        let _ = self.write.write_all(bytes).await;
    }

    async fn reply(&mut self, id: u64, body: &[u8]) {
        self.send(&response(id, body)).await;
    }

    /// `None` = the connection has ended.
    async fn next(&mut self) -> Option<Got> {
        loop {
            if let Ok(Decoded::Frame(view)) = BOLT.decode(&self.buffer, self.side, &Limits::default()) {
                let bytes = self.buffer[..view.len as usize].to_vec();
                self.buffer.advance(bytes.len());
                return Some(Got { view, bytes });
            }
            if !matches!(self.read.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }

    async fn must(&mut self) -> Got {
        self.next().await.expect("a frame")
    }

    /// What comes within a millisecond.
    async fn soon(&mut self) -> Option<Got> {
        timeout(Duration::from_millis(1), self.next()).await.ok().flatten()
    }

    async fn answer(&mut self) -> (u64, i32) {
        let got = self.must().await;
        assert_eq!(got.view.kind, FrameKind::Response);
        (got.view.id, got.view.status)
    }
}

fn request(id: u64, timeout_ms: i32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![1, 1, 0, 1, 1];
    out.extend_from_slice(&(id as u32).to_be_bytes());
    out.push(1);
    out.extend_from_slice(&timeout_ms.to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, 0]);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.push(b'C');
    out.extend_from_slice(body);
    out
}

fn response(id: u64, body: &[u8]) -> Vec<u8> {
    let mut out = vec![1, 0, 0, 2, 1];
    out.extend_from_slice(&(id as u32).to_be_bytes());
    out.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
    out
}

const GOAWAY: [u8; 22] = [1, 1, 0, 100, 1, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Runs a test whose time passes only while nothing else can happen.
fn play<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async move {
        tokio::task::spawn_local(mosn_net::timer::drive());
        timeout(Duration::from_secs(24 * 3600), test()).await.expect("the test hangs");
    });
}

#[test]
fn an_upstream_that_dies_fails_each_of_its_calls_once() {
    play(|| async {
        let world = World::new();
        let mut clients = [world.client(), world.client()];
        let mut upstream = world.upstream();
        for client in &mut clients {
            for id in 1..=50 {
                client.send(&request(id, 0, b"x")).await;
            }
        }
        for _ in 0..100 {
            upstream.must().await;
        }
        upstream.reply(7, b"one is answered").await;
        drop(upstream);
        for client in &mut clients {
            let mut ids = Vec::new();
            for _ in 0..50 {
                ids.push(client.answer().await.0);
            }
            ids.sort_unstable();
            assert_eq!(ids, (1..=50).collect::<Vec<_>>());
            assert!(client.soon().await.is_none());
        }
        let ends = world.ends();
        let failed = ends.iter().filter(|end| end.2 == RelayEnd::Failed(Failure::UpstreamTerminated));
        assert_eq!((failed.count(), ends.len()), (99, 100));
        world.assert_settled();
    });
}

#[test]
fn an_answer_that_comes_too_late_or_twice_or_for_nobody_is_dropped() {
    play(|| async {
        let world = World::new();
        let (mut client, mut upstream) = (world.client(), world.upstream());
        let began = Instant::now();
        client.send(&[request(8, 3000, b"slow"), request(9, 0, b"quick")].concat()).await;
        let (slow, quick) = (upstream.must().await, upstream.must().await);
        upstream.reply(quick.view.id, b"quick").await;
        upstream.reply(quick.view.id, b"again").await;
        upstream.reply(4711, b"whose?").await;
        assert_eq!(client.must().await.body(), b"quick");
        assert_eq!(client.answer().await, (8, TIMED_OUT));
        let took = began.elapsed();
        assert!((3000..3020).contains(&took.as_millis()), "{took:?}");
        upstream.reply(slow.view.id, b"late").await;
        assert!(client.soon().await.is_none());
        assert_eq!(world.service.upstream().facts().metrics[0].response_dropped.get(), 3);
        world.assert_settled();
    });
}

#[test]
fn calls_with_deadlines_far_apart_each_end_at_their_own() {
    play(|| async {
        let world = World::new();
        let (mut client, _upstream) = (world.client(), world.upstream());
        let began = Instant::now();
        let waits = [500, 20, 70_000, 1, 9000, 8, 100];
        for (id, wait) in waits.iter().enumerate() {
            client.send(&request(id as u64, *wait, b"x")).await;
        }
        let mut order: Vec<_> = (0..waits.len()).collect();
        order.sort_by_key(|id| waits[*id]);
        for id in order {
            assert_eq!(client.answer().await, (id as u64, TIMED_OUT));
            let late = began.elapsed().as_millis() as i64 - i64::from(waits[id]);
            assert!((0..20).contains(&late), "call {id} is {late} ms late");
        }
        world.assert_settled();
    });
}

#[test]
fn a_goaway_lets_calls_under_way_finish_and_sends_the_next_elsewhere() {
    play(|| async {
        let world = World::new();
        let (mut client, mut old) = (world.client(), world.upstream());
        client.send(&request(1, 0, b"a")).await;
        let a = old.must().await;
        old.send(&GOAWAY).await;
        sleep(Duration::from_millis(1)).await;
        let mut new = world.upstream();
        client.send(&request(2, 0, b"b")).await;
        let b = new.must().await;
        old.reply(a.view.id, b"a").await;
        assert_eq!(client.must().await.body(), b"a");
        assert!(old.next().await.is_none(), "it ends with its last call");
        new.reply(b.view.id, b"b").await;
        assert_eq!(client.must().await.body(), b"b");
        world.assert_settled();
    });
}

#[test]
fn ids_that_come_round_skip_the_call_that_still_waits() {
    play(|| async {
        let world = World::new();
        let (mut client, mut upstream) = (world.client(), world.upstream());
        client.send(&request(1, 0, b"slow")).await;
        let slow = upstream.must().await;
        world.service.upstream().start_ids_after(u64::from(u32::MAX) - 2);
        let mut ids = Vec::new();
        for id in 10..20 {
            client.send(&request(id, 0, b"quick")).await;
            let got = upstream.must().await;
            ids.push(got.view.id);
            upstream.reply(got.view.id, b"quick").await;
            assert_eq!(client.must().await.view.id, id);
        }
        assert!(ids.contains(&u64::from(u32::MAX)) && ids.contains(&(slow.view.id + 1)), "{ids:?}");
        assert!(!ids.contains(&slow.view.id));
        upstream.reply(slow.view.id, b"slow").await;
        assert_eq!(client.must().await.view.id, 1);
        world.assert_settled();
    });
}

#[test]
fn a_client_that_reads_nothing_is_given_up_after_15_seconds() {
    play(|| async {
        let world = World::new();
        let (mut deaf, mut slow, mut upstream) = (world.client(), world.client(), world.upstream());
        let big = vec![b'x'; 8 * PIPE];
        for client in [&mut deaf, &mut slow] {
            client.send(&request(1, 0, b"x")).await;
            let id = upstream.must().await.view.id;
            upstream.reply(id, &big).await;
        }
        let mut read = 0;
        let mut buffer = vec![0; 4096];
        // Slowly, but it reads.
        for _ in 0..4 {
            sleep(Duration::from_secs(10)).await;
            read += slow.read.read(&mut buffer).await.expect("bytes");
        }
        while read < big.len() {
            read += slow.read.read(&mut buffer).await.expect("bytes");
        }
        let mut got = 0;
        while let Ok(more @ 1..) = deaf.read.read(&mut buffer).await {
            got += more;
        }
        assert_eq!(got, PIPE, "only what was on its way when it was given up");
        world.assert_settled();
    });
}

#[test]
fn replies_that_nobody_reads_are_kept_up_to_64_mib_only() {
    play(|| async {
        let world = World::new();
        let (mut deaf, mut other, mut upstream) = (world.client(), world.client(), world.upstream());
        for id in 0..80 {
            deaf.send(&request(id, 0, b"x")).await;
        }
        let big = vec![b'x'; 1 << 20];
        for _ in 0..80 {
            let id = upstream.must().await.view.id;
            upstream.reply(id, &big).await;
        }
        other.send(&request(1, 0, b"x")).await;
        let id = upstream.must().await.view.id;
        upstream.reply(id, b"unharmed").await;
        assert_eq!(other.must().await.body(), b"unharmed");
        let ends = world.ends();
        let replies = ends.iter().filter(|end| end.0 == 1 && matches!(end.2, RelayEnd::Reply { .. })).count();
        let gone = ends.iter().filter(|end| end.2 == RelayEnd::Failed(Failure::ClientGone)).count();
        assert_eq!((replies, gone), (65, 15), "one goes beyond the limit, and is the last");
        world.assert_settled();
    });
}

#[test]
fn a_silent_upstream_is_asked_after_15_seconds_and_given_up_after_six_missed_answers() {
    play(|| async {
        let world = World::new();
        let (mut client, mut upstream) = (world.client(), world.upstream());
        let began = Instant::now();
        client.send(&request(1, 0, b"x")).await;
        upstream.must().await;
        for beat in 1..=6 {
            let got = upstream.must().await;
            assert_eq!(got.view.kind, FrameKind::Heartbeat);
            let late = began.elapsed().as_millis() as i64 - beat * 15_000;
            assert!((-20..20 * beat).contains(&late), "beat {beat} is {late} ms late");
            if beat == 3 {
                // One answer makes up for all that were missed, and is not the start of a new silence.
                upstream.send(&[1, 0, 0, 0, 1]).await;
                upstream.send(&(got.view.id as u32).to_be_bytes()).await;
                upstream.send(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
            }
        }
        let mut more = 0;
        while upstream.next().await.is_some() {
            more += 1;
        }
        assert_eq!(more, 3);
        assert_eq!(client.answer().await.0, 1);
        world.assert_settled();
    });
}

#[test]
fn calls_under_way_when_the_worker_ends_are_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build().expect("a runtime");
    let local = LocalSet::new();
    let (world, mut client) = local.block_on(&runtime, async {
        let world = World::new();
        let (mut client, mut upstream) = (world.client(), world.upstream());
        client.send(&request(5, 0, b"x")).await;
        upstream.must().await;
        (world, client)
    });
    drop(local);
    assert_eq!(world.ends(), [(1, 5, RelayEnd::Failed(Failure::Drain))]);
    let (id, status) = runtime.block_on(client.answer());
    assert_eq!(id, 5);
    assert_ne!(status, OK);
}

#[test]
fn whatever_happens_each_call_gets_one_answer() {
    play(|| async {
        for seed in 0..300 {
            chaos(seed).await;
        }
    });
}

/// Three clients, one upstream at a time that answers out of order, late, twice, or not at all, says
/// goaway, or dies.
async fn chaos(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let world = World::new();
    let mut clients: Vec<Peer> = (0..3).map(|_| world.client()).collect();
    let mut answers: [HashMap<u64, usize>; 3] = Default::default();
    let mut upstreams = vec![world.upstream()];
    let mut held: Vec<(usize, u64)> = Vec::new();
    let mut calls = 0;
    for _ in 0..120 {
        match rng.u8(..20) {
            0..8 => {
                calls += 1;
                let which = rng.usize(..3);
                answers[which].insert(calls, 0);
                clients[which].send(&request(calls, rng.i32(1..60), b"x")).await;
            }
            8..13 => {
                let at = upstreams.len() - 1;
                if let Some(got) = upstreams[at].soon().await {
                    held.push((at, got.view.id));
                }
            }
            13..17 if !held.is_empty() => {
                let (at, id) = held.swap_remove(rng.usize(..held.len()));
                for _ in 0..rng.usize(1..3) {
                    upstreams[at].reply(id, b"y").await;
                }
            }
            17 => upstreams.last_mut().expect("one").reply(rng.u64(1000..2000), b"?").await,
            18 if rng.u8(..3) == 0 => {
                if rng.bool() {
                    upstreams.last_mut().expect("one").send(&GOAWAY).await;
                    sleep(Duration::from_millis(1)).await;
                } else {
                    *upstreams.last_mut().expect("one") = Peer::new(duplex(1).0, Side::Downstream);
                    sleep(Duration::from_millis(1)).await;
                }
                upstreams.push(world.upstream());
            }
            _ => sleep(Duration::from_millis(rng.u64(..20))).await,
        }
    }
    sleep(Duration::from_millis(100)).await;
    for (client, answers) in clients.iter_mut().zip(&mut answers) {
        while let Some(got) = client.soon().await {
            *answers.get_mut(&got.view.id).expect("a call of this client") += 1;
        }
        for (id, count) in answers {
            assert_eq!(*count, 1, "answers to call {id}, seed {seed}");
        }
    }
    world.assert_settled();
}
