//! RPC through the real pools, over real sockets: whatever becomes of connections, each caller gets
//! exactly one answer, and everything is given back.

use std::{
    cell::RefCell, collections::HashMap, future::Future, net::IpAddr, rc::Rc, sync::Arc, time::Duration,
};

use bytes::{Buf, BytesMut};
use mosn_codec::rpc::{BOLT, Decoded, FrameKind, FrameView, Limits, RpcProtocol, Side};
use mosn_config::model::{
    Breakers, ClusterSpec, DownstreamProtocols, HeaderAddSpec, HeaderMutations, HeaderMutationsSpec,
    HostSpec, HttpLimits, KeepaliveSpec, LocalitySpec, MetricsFilter, PathMatchSpec, PoolMode, Priority,
    RetryCondition, RetrySpec, RouteMatchSpec, RouteSpec, RouterSpec, RpcSpec, VirtualHostSpec,
};
use mosn_core::{ConnectionInfo, Protocol, Scheme};
use mosn_net::{Io, Meter, Transport};
use mosn_router::Router;
use mosn_stream::{Drain, Pools, ServerContext, serve_connection};
use mosn_telemetry::{Counter, Registry, UpstreamMetrics};
use mosn_upstream::Clusters;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

use super::world::forward;
use crate::{Proxy, ProxySettings, RouterLookup};

struct Unmetered;

impl Meter for Unmetered {
    fn read(&self, _bytes: u64) {}
    fn written(&self, _bytes: u64) {}
}

/// Runs a test on a worker of its own.
fn play<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        tokio::task::spawn_local(mosn_net::timer::drive());
        tokio::time::timeout(Duration::from_secs(60), test()).await.expect("the test hangs");
    });
}

/// A frame as it came.
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

/// One end of a connection that speaks bolt.
struct Peer {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    side: Side,
    buffer: BytesMut,
}

async fn next_frame(read: &mut OwnedReadHalf, buffer: &mut BytesMut, side: Side) -> Option<Got> {
    loop {
        if let Ok(Decoded::Frame(view)) = BOLT.decode(buffer, side, &Limits::default()) {
            let bytes = buffer[..view.len as usize].to_vec();
            buffer.advance(bytes.len());
            return Some(Got { view, bytes });
        }
        if !matches!(read.read_buf(buffer).await, Ok(1..)) {
            return None;
        }
    }
}

impl Peer {
    fn new(stream: TcpStream, side: Side) -> Self {
        let (read, write) = stream.into_split();
        Self { read, write, side, buffer: BytesMut::new() }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.expect("written");
    }

    /// The next frame; `None` when the connection is over.
    async fn next(&mut self) -> Option<Got> {
        next_frame(&mut self.read, &mut self.buffer, self.side).await
    }

    async fn must(&mut self) -> Got {
        self.next().await.expect("a frame")
    }

    /// Nothing comes for a while.
    async fn assert_silent(&mut self) {
        let silence = tokio::time::timeout(Duration::from_millis(50), self.next()).await;
        assert!(silence.is_err(), "{silence:?}");
    }

    async fn reply(&mut self, id: u64, body: &[u8]) {
        self.send(&response(id, body)).await;
    }

    /// Answers each call with its own body until the connection ends.
    async fn echo(&mut self) {
        while let Some(got) = self.next().await {
            self.reply(got.view.id, got.body()).await;
        }
    }
}

fn request(id: u64, timeout_ms: i32, body: &[u8]) -> Vec<u8> {
    call(1, id, timeout_ms, body)
}

fn call(kind: u8, id: u64, timeout_ms: i32, body: &[u8]) -> Vec<u8> {
    let headers = b"\0\0\0\x07service\0\0\0\x02s1";
    let mut out = vec![1, kind, 0, 1, 1];
    out.extend_from_slice(&(id as u32).to_be_bytes());
    out.push(1);
    out.extend_from_slice(&timeout_ms.to_be_bytes());
    out.extend_from_slice(&1_u16.to_be_bytes());
    out.extend_from_slice(&(headers.len() as u16).to_be_bytes());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(b"C");
    out.extend_from_slice(headers);
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
const HEARTBEAT: [u8; 22] = [1, 1, 0, 0, 1, 0, 0, 0, 7, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];

struct World {
    proxy: Rc<Proxy<Pools>>,
    pools: Rc<Pools>,
    clusters: Clusters,
    registry: Registry,
    drain: Rc<Drain>,
    rpc: Rc<[(&'static str, RpcSpec)]>,
    accepted: RefCell<mpsc::UnboundedReceiver<TcpStream>>,
    clients: std::cell::Cell<u64>,
}

struct Setup {
    rpc: RpcSpec,
    cluster: ClusterSpec,
    router: RouterSpec,
    /// The hosts' addresses; they share the port.
    hosts: Vec<&'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rpc: RpcSpec::default(),
            hosts: vec!["127.0.0.1"],
            cluster: ClusterSpec {
                name: "c".into(),
                breakers: Breakers { max_requests: 1000, ..Breakers::default() },
                ..ClusterSpec::default()
            },
            router: RouterSpec {
                name: "r".into(),
                virtual_hosts: vec![VirtualHostSpec {
                    name: "v".into(),
                    domains: vec!["*".into()],
                    routes: vec![RouteSpec {
                        name: None,
                        matches: RouteMatchSpec { path: PathMatchSpec::Any, ..RouteMatchSpec::default() },
                        action: forward(|_| {}),
                        headers: HeaderMutationsSpec::default(),
                        filter_config: None,
                        leaves_request: false,
                    }],
                    ..VirtualHostSpec::default()
                }],
                ..RouterSpec::default()
            },
        }
    }
}

impl World {
    async fn new(setup: Setup) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, accepted) = mpsc::unbounded_channel();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        let host = |address: &&str| HostSpec {
            address: format!("{address}:{port}").into(),
            hostname: "".into(),
            weight: 1,
            metadata: None,
            tls_disable: false,
        };
        let hosts = setup.hosts.iter().map(host).collect();
        let clusters = Clusters::new();
        let localities = vec![LocalitySpec { hosts, ..LocalitySpec::default() }];
        clusters.add_or_update(ClusterSpec { localities, ..setup.cluster }).expect("a cluster");
        let registry = Registry::new(&MetricsFilter::default());
        let rpc: Rc<[_]> = Rc::new([("bolt", setup.rpc)]);
        let settings = ProxySettings {
            limits: Rc::new(HttpLimits::default()),
            rpc: Rc::clone(&rpc),
            router: RouterLookup::inline(Router::build(&setup.router).expect("a router")),
            metrics: [registry.downstream_global(), registry.downstream_listener("in")],
            access_logs: Vec::new(),
            mirror: None,
        };
        let pools = Rc::new(Pools::new(clusters.clone(), registry.clone()));
        let proxy = Rc::new(Proxy::new(settings, Rc::clone(&pools)));
        let (accepted, clients) = (RefCell::new(accepted), std::cell::Cell::new(0));
        Self { proxy, pools, clusters, registry, drain: Rc::default(), rpc, accepted, clients }
    }

    async fn client(&self) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let (far, _) = listener.accept().await.expect("accepted");
        self.clients.set(self.clients.get() + 1);
        let cx = Rc::new(ServerContext {
            info: Rc::new(ConnectionInfo {
                id: self.clients.get(),
                listener: Arc::from("in"),
                listener_type: Arc::from(""),
                local: None,
                remote: None,
                redirected: None,
            }),
            scheme: Scheme::Http,
            limits: Rc::new(HttpLimits::default()),
            rpc: Rc::clone(&self.rpc),
            idle_timeout: None,
            drain: Rc::clone(&self.drain),
        });
        let (proxy, protocols) = (Rc::clone(&self.proxy), DownstreamProtocols::One(Protocol::Rpc("bolt")));
        let io = Io::new(Transport::Tcp(far), Rc::new(Unmetered));
        tokio::task::spawn_local(async move { serve_connection(io, &protocols, cx, proxy).await });
        Peer::new(near, Side::Upstream)
    }

    /// The next connection that the proxy makes.
    async fn upstream(&self) -> Peer {
        let accepted = std::future::poll_fn(|cx| self.accepted.borrow_mut().poll_recv(cx));
        let stream = accepted.await.expect("a connection");
        Peer::new(stream, Side::Downstream)
    }

    fn assert_no_connection_waits(&self) {
        assert!(self.accepted.borrow_mut().try_recv().is_err(), "the proxy made another connection");
    }

    /// A client and an upstream with an open connection between proxy and upstream.
    async fn opened(&self) -> (Peer, Peer) {
        let mut client = self.client().await;
        client.send(&request(1, 0, b"first")).await;
        let mut upstream = self.upstream().await;
        let got = upstream.must().await;
        upstream.reply(got.view.id, b"first").await;
        assert_eq!(client.must().await.body(), b"first");
        (client, upstream)
    }

    fn count(&self, counter: impl Fn(&UpstreamMetrics) -> &Counter) -> i64 {
        counter(self.pools.cluster("c").expect("the cluster").metrics()).get()
    }

    /// Waits until a counter has got so far.
    async fn until_count(&self, counter: impl Fn(&UpstreamMetrics) -> &Counter, expected: i64) {
        for _ in 0..2000 {
            if self.count(&counter) == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("counted {}, not {expected}", self.count(&counter));
    }

    /// Waits until nothing is in flight.
    async fn settle(&self) {
        let cluster = self.clusters.get("c").expect("the cluster");
        for _ in 0..2000 {
            if cluster.in_flight(Priority::Default) == [0; 3] && self.registry.requests_active(None) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!(
            "in flight: {:?}, {}",
            cluster.in_flight(Priority::Default),
            self.registry.requests_active(None)
        );
    }
}

#[test]
fn a_call_passes_as_it_came_but_for_its_id_and_so_does_its_reply() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let (mut client, mut upstream) = world.opened().await;
        let sent = request(0x1122_3344, 3000, b"hi");
        client.send(&sent).await;
        let got = upstream.must().await;
        assert_eq!(got.view.id, 2);
        assert_eq!((&got.bytes[..5], &got.bytes[9..]), (&sent[..5], &sent[9..]));
        upstream.reply(2, b"ok").await;
        assert_eq!(client.must().await.bytes, response(0x1122_3344, b"ok"));
        world.settle().await;
    });
}

#[test]
fn replies_in_any_order_reach_their_callers() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let (first, mut upstream) = world.opened().await;
        let mut clients = [first, world.client().await, world.client().await];
        // The same ids on every connection.
        for (index, client) in clients.iter_mut().enumerate() {
            for id in 10..20 {
                client.send(&request(id, 0, format!("{index}/{id}").as_bytes())).await;
            }
        }
        let mut calls = Vec::new();
        for _ in 0..30 {
            calls.push(upstream.must().await);
        }
        calls.reverse();
        calls.rotate_left(7);
        for call in &calls {
            upstream.reply(call.view.id, call.body()).await;
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let mut ids = Vec::new();
            for _ in 0..10 {
                let reply = client.must().await;
                assert_eq!(reply.body(), format!("{index}/{}", reply.view.id).as_bytes());
                ids.push(reply.view.id);
            }
            ids.sort_unstable();
            assert_eq!(ids, (10..20).collect::<Vec<_>>());
        }
        world.assert_no_connection_waits();
        world.settle().await;
    });
}

#[test]
fn an_upstream_that_dies_answers_each_outstanding_call_once() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let (mut one, mut upstream) = world.opened().await;
        let mut two = world.client().await;
        for id in 1..=20 {
            one.send(&request(id, 0, b"x")).await;
            two.send(&request(id, 0, b"x")).await;
        }
        for _ in 0..40 {
            upstream.must().await;
        }
        drop(upstream);
        for client in [&mut one, &mut two] {
            let mut ids = Vec::new();
            for _ in 0..20 {
                let reply = client.must().await;
                assert_eq!((reply.view.kind, reply.view.status), (FrameKind::Response, 3));
                ids.push(reply.view.id);
            }
            ids.sort_unstable();
            assert_eq!(ids, (1..=20).collect::<Vec<_>>());
            client.assert_silent().await;
        }
        world.settle().await;
        assert_eq!(world.count(|metrics| &metrics.connection_remote_close_with_active_request), 1);
        // The next call finds another connection.
        one.send(&request(99, 0, b"again")).await;
        let mut upstream = world.upstream().await;
        let got = upstream.must().await;
        assert_eq!(got.view.id, 1);
        upstream.reply(1, b"there").await;
        assert_eq!(one.must().await.body(), b"there");
    });
}

#[test]
fn a_late_reply_is_dropped_and_the_caller_has_heard_of_the_timeout() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let (mut client, mut upstream) = world.opened().await;
        let begun = tokio::time::Instant::now();
        client.send(&request(5, 200, b"slow")).await;
        client.send(&request(6, -1, b"patient")).await;
        let (slow, patient) = (upstream.must().await, upstream.must().await);
        let reply = client.must().await;
        let took = begun.elapsed();
        assert_eq!((reply.view.id, reply.view.status), (5, 7));
        assert!(took >= Duration::from_millis(200), "{took:?}");
        upstream.reply(slow.view.id, b"late").await;
        upstream.reply(slow.view.id, b"twice").await;
        upstream.reply(4_000_000_000, b"unknown").await;
        client.assert_silent().await;
        world.until_count(|metrics| &metrics.response_dropped, 3).await;
        upstream.reply(patient.view.id, b"at last").await;
        assert_eq!(client.must().await.body(), b"at last");
        world.settle().await;
        assert_eq!(world.count(|metrics| &metrics.request_timeout), 1);
    });
}

#[test]
fn goaway_stops_new_calls_but_finishes_old_ones() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let (mut client, mut upstream) = world.opened().await;
        client.send(&request(5, 0, b"old")).await;
        let old = upstream.must().await;
        upstream.send(&GOAWAY).await;
        client.assert_silent().await;
        client.send(&request(6, 0, b"new")).await;
        let mut another = world.upstream().await;
        let new = another.must().await;
        assert_eq!(new.body(), b"new");
        another.reply(new.view.id, b"new").await;
        assert_eq!(client.must().await.body(), b"new");
        upstream.reply(old.view.id, b"old").await;
        assert_eq!(client.must().await.body(), b"old");
        assert!(upstream.next().await.is_none(), "the connection ends with its last call");
        world.settle().await;
    });
}

#[test]
fn signs_of_life_are_answered_here_and_asked_for_on_a_silent_upstream() {
    play(|| async {
        let keepalive = KeepaliveSpec {
            interval: Some(Duration::from_millis(60)),
            timeout: Duration::from_millis(30),
            ..KeepaliveSpec::default()
        };
        let cluster = ClusterSpec { keepalive, ..Setup::default().cluster };
        let world = World::new(Setup { cluster, ..Setup::default() }).await;
        let (mut client, mut upstream) = world.opened().await;
        client.send(&HEARTBEAT).await;
        let reply = client.must().await;
        assert_eq!((reply.view.kind, reply.view.id), (FrameKind::HeartbeatReply, 7));
        upstream.send(&HEARTBEAT).await;
        assert_eq!(upstream.must().await.view.kind, FrameKind::HeartbeatReply);
        let mut beats = 0;
        while let Some(frame) = upstream.next().await {
            assert_eq!(frame.view.kind, FrameKind::Heartbeat);
            beats += 1;
        }
        assert_eq!(beats, 6, "signs of life that went unanswered until the connection was given up");
    });
}

#[test]
fn a_silent_upstream_is_asked_and_lives_on_as_long_as_it_answers() {
    play(|| async {
        let keepalive = KeepaliveSpec {
            interval: None,
            silence: Duration::from_millis(40),
            timeout: Duration::from_millis(20),
        };
        let cluster = ClusterSpec { keepalive, ..Setup::default().cluster };
        let world = World::new(Setup { cluster, ..Setup::default() }).await;
        let (_client, mut upstream) = world.opened().await;
        let begun = tokio::time::Instant::now();
        for _ in 0..8 {
            let beat = upstream.must().await;
            assert_eq!(beat.view.kind, FrameKind::Heartbeat);
            upstream.send(&[1, 0, 0, 0, 1]).await;
            upstream.send(&(beat.view.id as u32).to_be_bytes()).await;
            upstream.send(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(8 * 40), "{took:?}");
    });
}

#[test]
fn a_call_without_reply_leaves_nothing_behind() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let (mut client, mut upstream) = world.opened().await;
        client.send(&call(2, 5, -1, b"told")).await;
        let got = upstream.must().await;
        assert_eq!((got.view.kind, got.body()), (FrameKind::OneWay, &b"told"[..]));
        client.assert_silent().await;
        world.settle().await;
        // Nor does one that nobody can take.
        drop(upstream);
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.clusters.update_hosts("c", Vec::new()).expect("no hosts");
        client.send(&call(2, 6, -1, b"lost")).await;
        client.assert_silent().await;
        client.send(&request(7, 0, b"lost")).await;
        assert_eq!(client.must().await.view.status, 6);
        world.settle().await;
    });
}

#[test]
fn the_calls_of_a_client_that_leaves_are_given_up() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let (mut stays, mut upstream) = world.opened().await;
        let mut leaves = world.client().await;
        for id in 1..=10 {
            leaves.send(&request(id, 0, b"x")).await;
        }
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(upstream.must().await.view.id);
        }
        drop(leaves);
        world.settle().await;
        for id in ids {
            upstream.reply(id, b"too late").await;
        }
        stays.send(&request(3, 0, b"here")).await;
        let got = upstream.must().await;
        upstream.reply(got.view.id, b"here").await;
        assert_eq!(stays.must().await.body(), b"here");
        world.until_count(|metrics| &metrics.response_dropped, 10).await;
    });
}

#[test]
fn a_client_that_does_not_read_is_read_no_more_and_harms_nobody() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let (mut quick, mut upstream) = world.opened().await;
        let deaf = world.client().await;
        let (mut deaf_write, _deaf_read) = (deaf.write, deaf.read);
        let flood = tokio::task::spawn_local(async move {
            let sent = request(1, 0, &vec![b'x'; 64 * 1024]);
            for _ in 0..2000 {
                if deaf_write.write_all(&sent).await.is_err() {
                    return;
                }
            }
        });
        // A congested connection gets company, and a call of either client may take it.
        let answers = async {
            tokio::task::spawn_local(async move { upstream.echo().await });
            loop {
                let mut another = world.upstream().await;
                tokio::task::spawn_local(async move { another.echo().await });
            }
        };
        let calls = async {
            for call in 0..20 {
                quick.send(&request(call, 0, b"quick")).await;
                assert_eq!(quick.must().await.body(), b"quick");
            }
        };
        tokio::select! {
            () = answers => {}
            () = calls => {}
        }
        assert!(!flood.is_finished(), "the client that does not read was read to its end");
    });
}

#[test]
fn a_ping_pong_pool_carries_one_call_at_a_time_on_a_connection() {
    play(|| async {
        let rpc = RpcSpec { pool: PoolMode::PingPong, ..RpcSpec::default() };
        let world = World::new(Setup { rpc, ..Setup::default() }).await;
        let (mut client, mut first) = world.opened().await;
        client.send(&request(5, 0, b"a")).await;
        let a = first.must().await;
        client.send(&request(6, 0, b"b")).await;
        let mut second = world.upstream().await;
        let b = second.must().await;
        first.reply(a.view.id, b"a").await;
        second.reply(b.view.id, b"b").await;
        client.must().await;
        client.must().await;
        client.send(&request(7, 0, b"c")).await;
        tokio::select! {
            got = first.must() => assert_eq!(got.body(), b"c"),
            got = second.must() => assert_eq!(got.body(), b"c"),
        }
        world.assert_no_connection_waits();
    });
}

fn ping_pong() -> RpcSpec {
    RpcSpec { pool: PoolMode::PingPong, ..RpcSpec::default() }
}

/// A cluster with so many connections at most, and so many calls that wait for one.
fn limited(max_connections: u32, max_pending_requests: u32) -> ClusterSpec {
    let breakers = Breakers { max_connections, max_pending_requests, ..Setup::default().cluster.breakers };
    ClusterSpec { breakers, ..Setup::default().cluster }
}

/// A call on a connection that is open, and its reply.
async fn pass(client: &mut Peer, upstream: &mut Peer) {
    client.send(&request(50, 0, b"x")).await;
    let got = upstream.must().await;
    upstream.reply(got.view.id, b"y").await;
    assert_eq!(client.must().await.body(), b"y");
}

#[test]
fn a_connection_is_replaced_after_so_many_calls_and_when_it_is_old_or_has_idled() {
    const LIMIT: Duration = Duration::from_millis(60);
    let default = || Setup::default().cluster;
    for rpc in [RpcSpec::default(), ping_pong()] {
        for (calls, cluster) in [
            (2, ClusterSpec { max_requests_per_connection: Some(2), ..default() }),
            (1, ClusterSpec { max_connection_duration: Some(LIMIT), ..default() }),
            (1, ClusterSpec { idle_timeout: Some(LIMIT), ..default() }),
        ] {
            play(|| async move {
                let world = World::new(Setup { rpc, cluster, ..Setup::default() }).await;
                let (mut client, mut first) = world.opened().await;
                for _ in 1..calls {
                    pass(&mut client, &mut first).await;
                }
                tokio::time::sleep(LIMIT).await;
                client.send(&request(5, 0, b"next")).await;
                let mut second = world.upstream().await;
                let got = second.must().await;
                second.reply(got.view.id, b"ok").await;
                assert_eq!(client.must().await.body(), b"ok");
                assert!(first.next().await.is_none(), "it is closed");
            });
        }
    }
}

#[test]
fn a_connection_under_way_outlives_every_limit_and_is_swept_afterwards() {
    play(|| async {
        let limit = Some(Duration::from_millis(100));
        let cluster =
            ClusterSpec { max_connection_duration: limit, idle_timeout: limit, ..Setup::default().cluster };
        let world = World::new(Setup { cluster, ..Setup::default() }).await;
        let mut client = world.client().await;
        client.send(&request(5, 0, b"x")).await;
        let mut upstream = world.upstream().await;
        let got = upstream.must().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.pools.sweep();
        upstream.assert_silent().await;
        upstream.reply(got.view.id, b"y").await;
        assert_eq!(client.must().await.body(), b"y");
        assert!(upstream.next().await.is_none());
    });
}

#[test]
fn a_bound_connection_is_its_clients_however_much_it_carries() {
    play(|| async {
        let rpc = RpcSpec { pool: PoolMode::Binding, ..RpcSpec::default() };
        let cluster = ClusterSpec {
            max_requests_per_connection: Some(1),
            max_connection_duration: Some(Duration::ZERO),
            ..Setup::default().cluster
        };
        let world = World::new(Setup { rpc, cluster, ..Setup::default() }).await;
        let (mut client, mut upstream) = world.opened().await;
        for _ in 0..3 {
            world.pools.sweep();
            pass(&mut client, &mut upstream).await;
        }
        world.assert_no_connection_waits();
    });
}

#[test]
fn calls_to_a_host_that_refuses_connections_leave_it_alone_for_a_while() {
    for rpc in [RpcSpec::default(), ping_pong()] {
        play(|| async move {
            let world = World::new(Setup { rpc, ..Setup::default() }).await;
            // Bound, and nobody listens.
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
            let host = HostSpec {
                address: socket.local_addr().expect("an address").to_string().into(),
                hostname: "".into(),
                weight: 1,
                metadata: None,
                tls_disable: false,
            };
            world.clusters.update_hosts("c", vec![host]).expect("another host");
            let mut client = world.client().await;
            for id in 0..100 {
                client.send(&request(id, 0, b"x")).await;
                assert_ne!(client.must().await.view.status, 0);
            }
            let connects = world.count(|metrics| &metrics.connection_con_fail);
            assert!((3..100).contains(&connects), "{connects}");
            world.settle().await;
        });
    }
}

#[test]
fn a_ping_pong_connection_whose_call_is_given_up_carries_no_other() {
    for router in [Setup::default().router, changing(LITERAL), changing(VARIABLE)] {
        play(|| async {
            let world = World::new(Setup { rpc: ping_pong(), router, ..Setup::default() }).await;
            let (mut client, mut first) = world.opened().await;
            client.send(&request(5, 50, b"slow")).await;
            first.must().await;
            assert_eq!(client.must().await.view.status, 7, "its time is up");
            client.send(&request(6, 0, b"next")).await;
            let mut second = world.upstream().await;
            let got = second.must().await;
            assert_eq!(got.body(), b"next");
            assert!(first.next().await.is_none(), "the late reply has nowhere to come from");
            second.reply(got.view.id, b"ok").await;
            assert_eq!(client.must().await.body(), b"ok");

            let mut leaves = world.client().await;
            leaves.send(&request(7, 0, b"left")).await;
            assert_eq!(second.must().await.body(), b"left");
            drop(leaves);
            assert!(second.next().await.is_none());
            client.send(&request(8, 0, b"after")).await;
            let mut third = world.upstream().await;
            let got = third.must().await;
            third.reply(got.view.id, b"ok").await;
            assert_eq!(client.must().await.view.id, 8);
            world.settle().await;
        });
    }
}

#[test]
fn ping_pong_calls_beyond_the_limit_wait_in_order_until_too_many_do() {
    for router in [Setup::default().router, changing(LITERAL), changing(VARIABLE)] {
        play(|| async {
            let setup = Setup { rpc: ping_pong(), cluster: limited(1, 2), router, ..Setup::default() };
            let world = World::new(setup).await;
            let (mut client, mut upstream) = world.opened().await;
            for (id, body) in [(5, b"a"), (6, b"b"), (7, b"c"), (8, b"d")] {
                client.send(&request(id, 0, body)).await;
            }
            let refused = client.must().await;
            assert_eq!(refused.view.id, 8);
            assert_ne!(refused.view.status, 0);
            for (id, body) in [(5, b"a"), (6, b"b"), (7, b"c")] {
                let got = upstream.must().await;
                assert_eq!(got.body(), body);
                upstream.assert_silent().await;
                upstream.reply(got.view.id, body).await;
                let reply = client.must().await;
                assert_eq!((reply.view.id, reply.body()), (id, &body[..]));
            }
            world.assert_no_connection_waits();
            world.settle().await;
        });
    }
}

#[test]
fn a_ping_pong_call_that_waits_gets_the_place_of_a_connection_that_ends() {
    play(|| async {
        let setup = Setup { rpc: ping_pong(), cluster: limited(1, 0), ..Setup::default() };
        let world = World::new(setup).await;
        let (mut client, mut first) = world.opened().await;
        client.send(&request(5, 0, b"a")).await;
        first.must().await;
        client.send(&request(6, 0, b"b")).await;
        // One whose time is up leaves the queue.
        client.send(&request(7, 30, b"c")).await;
        assert_eq!(client.must().await.view.id, 7);
        world.assert_no_connection_waits();
        drop(first);
        assert_ne!(client.must().await.view.status, 0);
        let mut second = world.upstream().await;
        let got = second.must().await;
        assert_eq!(got.body(), b"b");
        second.reply(got.view.id, b"b").await;
        assert_eq!(client.must().await.body(), b"b");
        world.settle().await;
    });
}

#[test]
fn a_client_waits_for_a_bound_connection_until_another_client_leaves() {
    play(|| async {
        let rpc = RpcSpec { pool: PoolMode::Binding, ..RpcSpec::default() };
        let world = World::new(Setup { rpc, cluster: limited(1, 0), ..Setup::default() }).await;
        let (one, _first) = world.opened().await;
        let mut two = world.client().await;
        two.send(&[request(5, 0, b"a"), request(6, 0, b"b"), request(7, 30, b"c")].concat()).await;
        assert_eq!(two.must().await.view.id, 7, "its time is up");
        world.assert_no_connection_waits();
        drop(one);
        let mut second = world.upstream().await;
        for body in [b"a", b"b"] {
            let got = second.must().await;
            assert_eq!(got.body(), body);
            second.reply(got.view.id, body).await;
            assert_eq!(two.must().await.body(), body);
        }
        world.settle().await;
    });
}

#[test]
fn a_ping_pong_host_whose_connections_are_in_use_is_not_passed_over() {
    play(|| async {
        let hosts = vec!["127.0.0.1", "127.0.0.2"];
        let world = World::new(Setup { rpc: ping_pong(), hosts, ..Setup::default() }).await;
        let mut client = world.client().await;
        let mut upstreams = Vec::new();
        for id in 0..8 {
            client.send(&request(id, 0, b"x")).await;
            upstreams.push(world.upstream().await);
        }
        let of_first = |peer: &&Peer| {
            peer.read.as_ref().local_addr().expect("an address").ip().to_string() == "127.0.0.1"
        };
        assert_eq!(upstreams.iter().filter(of_first).count(), 4);
    });
}

#[test]
fn bound_connections_carry_calls_both_ways_and_end_together() {
    play(|| async {
        let rpc = RpcSpec { pool: PoolMode::Binding, ..RpcSpec::default() };
        let world = World::new(Setup { rpc, ..Setup::default() }).await;
        let (mut one, mut first) = world.opened().await;
        let (mut two, mut second) = world.opened().await;
        first.send(&request(77, 0, b"callback")).await;
        let pushed = one.must().await;
        assert_eq!(
            (pushed.view.kind, pushed.view.id, pushed.body()),
            (FrameKind::Request, 77, &b"callback"[..])
        );
        one.send(&response(77, b"done")).await;
        assert_eq!(first.must().await.bytes, response(77, b"done"));
        drop(first);
        assert!(one.next().await.is_none(), "the client's connection ends with its upstream's");
        second.send(&request(78, 0, b"still")).await;
        assert_eq!(two.must().await.body(), b"still");
        drop(two);
        assert!(second.next().await.is_none(), "the upstream's connection ends with its client's");
        world.settle().await;
    });
}

#[test]
fn calls_that_come_before_the_bound_connection_is_open_share_it() {
    play(|| async {
        let rpc = RpcSpec { pool: PoolMode::Binding, ..RpcSpec::default() };
        let world = World::new(Setup { rpc, ..Setup::default() }).await;
        let mut client = world.client().await;
        client.send(&[request(1, 0, b"a"), request(2, 0, b"b"), request(3, 0, b"c")].concat()).await;
        let mut upstream = world.upstream().await;
        for body in [b"a", b"b", b"c"] {
            assert_eq!(upstream.must().await.body(), body);
        }
        world.assert_no_connection_waits();
        // With two, the answer would go to either.
        upstream.send(&request(77, 0, b"callback")).await;
        client.must().await;
        client.send(&response(77, b"done")).await;
        assert_eq!(upstream.must().await.bytes, response(77, b"done"));
    });
}

/// Routes that change a header: calls take the long way.
/// A header value with which a call goes the quick way nevertheless, and one with which it does not.
const LITERAL: &str = "z1";
const VARIABLE: &str = "%downstream_protocol%";

fn changing(value: &str) -> RouterSpec {
    let mut router = Setup::default().router;
    let add = HeaderAddSpec { name: "zone".into(), value: value.into(), append: true };
    router.virtual_hosts[0].routes[0].headers = HeaderMutationsSpec {
        inner: Some(Box::new(HeaderMutations { request_add: vec![add], ..HeaderMutations::default() })),
    };
    router
}

/// More than sockets and the proxy may hold.
const PLENTY: usize = 32 << 20;

/// Reads what there is to read.
async fn drained(peer: &mut Peer) -> usize {
    let (mut bytes, mut buffer) = (0, vec![0; 1 << 20]);
    while let Ok(Ok(read @ 1..)) =
        tokio::time::timeout(Duration::from_millis(300), peer.read.read(&mut buffer)).await
    {
        bytes += read;
    }
    bytes
}

#[test]
fn calls_of_one_turn_open_no_more_connections_than_configured() {
    play(|| async {
        let mut cluster = Setup::default().cluster;
        cluster.breakers.max_connections = 2;
        let world = World::new(Setup { cluster, ..Setup::default() }).await;
        let (mut client, mut first) = world.opened().await;
        let calls: Vec<u8> = (2..52).flat_map(|id| request(id, 0, b"x")).collect();
        client.send(&calls).await;
        for _ in 0..50 {
            let got = first.must().await;
            first.reply(got.view.id, b"y").await;
            client.must().await;
        }
        let _second = world.upstream().await;
        client.assert_silent().await;
        world.assert_no_connection_waits();
    });
}

#[test]
fn a_host_without_a_connection_gets_its_turn() {
    play(|| async {
        let hosts = vec!["127.0.0.1", "127.0.0.2"];
        let world = World::new(Setup { hosts, ..Setup::default() }).await;
        let mut client = world.client().await;
        let (sender, mut served) = mpsc::unbounded_channel();
        // One call after the other: the turns are never out of step.
        let calls = async {
            for id in 1.. {
                client.send(&request(id, 0, b"x")).await;
                client.must().await;
            }
        };
        let upstreams = async {
            loop {
                let mut upstream = world.upstream().await;
                let sender = sender.clone();
                tokio::task::spawn_local(async move {
                    for call in 0.. {
                        let got = upstream.must().await;
                        upstream.reply(got.view.id, b"y").await;
                        if call == 10 {
                            let _ =
                                sender.send(upstream.read.as_ref().local_addr().expect("an address").ip());
                        }
                    }
                });
            }
        };
        let both = async {
            let (one, other) = (served.recv().await, served.recv().await);
            assert_ne!(one, other);
        };
        tokio::select! {
            () = calls => {}
            () = upstreams => {}
            () = both => {}
        }
    });
}

#[test]
fn an_upstream_that_does_not_read_is_owed_little_whatever_way_calls_take() {
    play(|| async {
        let world = World::new(Setup { router: changing(VARIABLE), ..Setup::default() }).await;
        let (client, mut upstream) = world.opened().await;
        let Peer { read, mut write, .. } = client;
        let sender = tokio::task::spawn_local(async move {
            let body = vec![0; 256 << 10];
            for id in 0..(PLENTY / body.len()) as u64 {
                write.write_all(&request(id, 100, &body)).await.expect("written");
            }
            write
        });
        let mut client =
            Peer { read, write: sender.await.expect("sent"), side: Side::Upstream, buffer: BytesMut::new() };
        for _ in 0..PLENTY / (256 << 10) {
            assert_eq!(client.must().await.view.status, 7, "each caller hears that its time is up");
        }
        let owed = drained(&mut upstream).await;
        assert!(owed < PLENTY / 2, "{owed} bytes");
        world.settle().await;
    });
}

#[test]
fn an_upstream_that_asks_for_signs_of_life_and_reads_none_gets_no_more() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let (_client, mut upstream) = world.opened().await;
        let asked = HEARTBEAT.repeat(1 << 14);
        for _ in 0..PLENTY / asked.len() {
            upstream.send(&asked).await;
        }
        let answered = drained(&mut upstream).await;
        assert!((1..PLENTY / 2).contains(&answered), "{answered} bytes");
    });
}

#[test]
fn an_upstream_that_does_not_read_holds_up_no_calls_to_others() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let (client, _upstream) = world.opened().await;
        let Peer { read, mut write, .. } = client;
        tokio::task::spawn_local(async move {
            let body = vec![0; 256 << 10];
            for id in 0..(PLENTY / body.len()) as u64 {
                write.write_all(&request(id, 100, &body)).await.expect("written");
            }
            // Answered by the proxy itself, if it is read.
            write.write_all(&HEARTBEAT).await.expect("written");
            std::future::pending::<()>().await;
        });
        let mut told = 0;
        let mut buffer = BytesMut::new();
        let mut read = read;
        loop {
            while let Ok(Decoded::Frame(view)) = BOLT.decode(&buffer, Side::Upstream, &Limits::default()) {
                buffer.advance(view.len as usize);
                if view.kind == FrameKind::HeartbeatReply {
                    assert!(told > 0, "calls to it are told that their time is up");
                    return;
                }
                told += 1;
            }
            assert!(matches!(read.read_buf(&mut buffer).await, Ok(1..)));
        }
    });
}

#[test]
fn a_call_that_a_route_sends_to_http_is_refused() {
    play(|| async {
        let mut router = Setup::default().router;
        router.virtual_hosts[0].routes[0].action =
            forward(|forward| forward.upstream_protocol = Some(Protocol::Http1));
        let world = World::new(Setup { router, ..Setup::default() }).await;
        let mut client = world.client().await;
        client.send(&request(5, 0, b"x")).await;
        let told = client.must().await;
        assert_eq!((told.view.id, told.view.status), (5, 6), "no upstream");
        world.assert_no_connection_waits();
        world.settle().await;
    });
}

#[test]
fn an_upstream_that_calls_nobody_in_particular_is_told_so() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let (mut client, mut upstream) = world.opened().await;
        upstream.send(&request(77, 0, b"callback")).await;
        let told = upstream.must().await;
        assert_eq!((told.view.kind, told.view.id, told.view.status), (FrameKind::Response, 77, 6));
        client.assert_silent().await;
    });
}

#[test]
fn a_changed_header_is_written_anew_and_everything_else_passes() {
    play(|| async {
        for (value, shown) in [(LITERAL, "z1"), (VARIABLE, "bolt")] {
            let world = World::new(Setup { router: changing(value), ..Setup::default() }).await;
            let mut client = world.client().await;
            let shown = [&(shown.len() as u32).to_be_bytes()[..], shown.as_bytes()].concat();
            let headers = [&b"\0\0\0\x07service\0\0\0\x02s1\0\0\0\x04zone"[..], &shown].concat();
            client.send(&request(5, 0, b"body")).await;
            let mut upstream = world.upstream().await;
            // The second call finds an open connection.
            for id in [5, 6] {
                let got = upstream.must().await;
                assert_eq!((got.body(), got.view.headers.of(&got.bytes)), (&b"body"[..], &headers[..]));
                upstream.reply(got.view.id, b"ok").await;
                assert_eq!(client.must().await.bytes, response(id, b"ok"));
                client.send(&if id == 5 { request(6, 0, b"body") } else { call(2, 7, 0, b"body") }).await;
            }
            let got = upstream.must().await;
            assert_eq!(got.view.kind, FrameKind::OneWay);
            assert_eq!((got.body(), got.view.headers.of(&got.bytes)), (&b"body"[..], &headers[..]));
            world.settle().await;
        }
    });
}

#[test]
fn a_call_with_a_changed_header_has_it_in_every_try_once() {
    play(|| async {
        let mut setup = retrying(10_000);
        setup.router.virtual_hosts[0].routes[0].headers =
            changing(LITERAL).virtual_hosts[0].routes[0].headers.clone();
        let world = World::new(setup).await;
        let (mut client, mut arrived) = warmed_up(&world).await;
        client.send(&request(7, 0, b"x")).await;
        for status in [SERVER_EXCEPTION, 0] {
            let call = arrived.recv().await.expect("a call");
            let headers = call.got.view.headers.of(&call.got.bytes);
            assert_eq!(headers, b"\0\0\0\x07service\0\0\0\x02s1\0\0\0\x04zone\0\0\0\x02z1");
            call.reply(status).await;
        }
        assert_eq!(client.must().await.bytes, response(7, b"x"));
        world.settle().await;
    });
}

#[test]
fn a_drain_finishes_calls_says_goaway_where_asked_to_and_closes() {
    play(|| async {
        let rpc = RpcSpec { goaway: true, ..RpcSpec::default() };
        let world = World::new(Setup { rpc, ..Setup::default() }).await;
        let (mut client, mut upstream) = world.opened().await;
        client.send(&request(5, 0, b"x")).await;
        let got = upstream.must().await;
        world.drain.begin();
        assert_eq!(client.must().await.view.kind, FrameKind::GoAway);
        client.assert_silent().await;
        upstream.reply(got.view.id, b"done").await;
        assert_eq!(client.must().await.body(), b"done");
        assert!(client.next().await.is_none());
    });
}

/// What a server that failed says, at byte 11 of a reply.
const SERVER_EXCEPTION: u8 = 2;

/// Two hosts, two more tries, and so long for each of them.
fn retrying(per_try_ms: u64) -> Setup {
    let mut setup = Setup { hosts: vec!["127.0.0.1", "127.0.0.2"], ..Setup::default() };
    setup.router.virtual_hosts[0].routes[0].action = forward(|spec| {
        spec.per_try_timeout = Some(Duration::from_millis(per_try_ms));
        spec.retry = RetrySpec { on_failure: true, max_retries: 2, ..RetrySpec::default() };
        spec.buffer_limit = 1 << 20;
    });
    setup
}

/// A call as it came to a host.
struct Arrived {
    got: Got,
    host: IpAddr,
    connection: Rc<RefCell<Option<OwnedWriteHalf>>>,
}

impl Arrived {
    async fn reply(&self, status: u8) {
        let mut reply = response(self.got.view.id, self.got.body());
        reply[11] = status;
        let connection = self.connection.take();
        if let Some(mut connection) = connection {
            connection.write_all(&reply).await.expect("sent");
            self.connection.replace(Some(connection));
        }
    }

    /// Ends the connection that it came on.
    fn hang_up(&self) {
        self.connection.take();
    }
}

/// The calls that come to whichever host, on whichever connection.
fn arrivals(world: &World) -> mpsc::UnboundedReceiver<Arrived> {
    let (sender, arrived) = mpsc::unbounded_channel();
    let mut accepted = world.accepted.replace(mpsc::unbounded_channel().1);
    tokio::task::spawn_local(async move {
        while let Some(stream) = accepted.recv().await {
            let host = stream.local_addr().expect("an address").ip();
            let Peer { mut read, write, mut buffer, side } = Peer::new(stream, Side::Downstream);
            let (connection, sender) = (Rc::new(RefCell::new(Some(write))), sender.clone());
            tokio::task::spawn_local(async move {
                while let Some(got) = next_frame(&mut read, &mut buffer, side).await {
                    let connection = Rc::clone(&connection);
                    let _ = sender.send(Arrived { got, host, connection });
                }
            });
        }
    });
    arrived
}

/// A client, after calls to both hosts: there are connections, and the next calls go the quick way.
async fn warmed_up(world: &World) -> (Peer, mpsc::UnboundedReceiver<Arrived>) {
    let (mut client, mut arrived) = (world.client().await, arrivals(world));
    let mut seen = HashMap::new();
    while seen.len() < 2 || seen.values().any(|calls| *calls < 2) {
        client.send(&request(1, 0, b"warm")).await;
        let call = arrived.recv().await.expect("a call");
        call.reply(0).await;
        client.must().await;
        *seen.entry(call.host).or_insert(0) += 1;
    }
    (client, arrived)
}

#[test]
fn a_call_whose_reply_is_a_failure_is_tried_at_another_host() {
    play(|| async {
        let world = World::new(retrying(10_000)).await;
        let (mut client, mut arrived) = warmed_up(&world).await;
        let before = (
            world.count(|metrics| &metrics.request_total),
            world.proxy.settings.metrics[0].request_total.get(),
        );
        client.send(&request(7, 0, b"again")).await;
        let first = arrived.recv().await.expect("a call");
        first.reply(SERVER_EXCEPTION).await;
        let second = arrived.recv().await.expect("the call, again");
        assert_ne!(first.host, second.host);
        assert_eq!(second.got.bytes[9..], first.got.bytes[9..]);
        second.reply(0).await;
        assert_eq!(client.must().await.bytes, response(7, b"again"));
        client.assert_silent().await;
        world.settle().await;
        assert_eq!(world.count(|metrics| &metrics.request_retry), 1);
        let after = (
            world.count(|metrics| &metrics.request_total),
            world.proxy.settings.metrics[0].request_total.get(),
        );
        assert_eq!((after.0 - before.0, after.1 - before.1), (2, 1), "two tries, one request");
    });
}

#[test]
fn calls_of_a_connection_that_ends_are_tried_at_another_host() {
    play(|| async {
        let world = World::new(retrying(10_000)).await;
        let (mut client, mut arrived) = warmed_up(&world).await;
        let mut waiting = Vec::new();
        for id in 10..30 {
            client.send(&request(id, 0, b"x")).await;
            waiting.push(arrived.recv().await.expect("a call"));
        }
        let dead = waiting[0].host;
        let (lost, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|call| call.host == dead);
        assert!(!lost.is_empty() && !others.is_empty());
        lost[0].hang_up();
        for _ in &lost {
            let call = arrived.recv().await.expect("the call, again");
            assert_ne!(call.host, dead);
            call.reply(0).await;
        }
        for call in &others {
            call.reply(0).await;
        }
        let mut ids = Vec::new();
        for _ in 10..30 {
            let reply = client.must().await;
            assert_eq!(reply.view.status, 0);
            ids.push(reply.view.id);
        }
        ids.sort_unstable();
        assert_eq!(ids, (10..30).collect::<Vec<_>>());
        world.settle().await;
    });
}

#[test]
fn a_try_that_takes_too_long_gives_way_to_the_next_and_its_late_reply_is_dropped() {
    play(|| async {
        let world = World::new(retrying(500)).await;
        let (mut client, mut arrived) = warmed_up(&world).await;
        client.send(&request(7, 0, b"slow")).await;
        let first = arrived.recv().await.expect("a call");
        let second = arrived.recv().await.expect("the call, again");
        assert_ne!(first.host, second.host);
        first.reply(0).await;
        second.reply(0).await;
        assert_eq!(client.must().await.bytes, response(7, b"slow"));
        client.assert_silent().await;
        world.settle().await;
    });
}

#[test]
fn a_call_that_fails_everywhere_gets_the_last_reply_as_it_came() {
    play(|| async {
        let world = World::new(retrying(10_000)).await;
        let (mut client, mut arrived) = warmed_up(&world).await;
        client.send(&request(7, 0, b"x")).await;
        for _ in 0..3 {
            arrived.recv().await.expect("a call").reply(SERVER_EXCEPTION).await;
        }
        let mut last = response(7, b"x");
        last[11] = SERVER_EXCEPTION;
        assert_eq!(client.must().await.bytes, last);
        client.assert_silent().await;
        world.settle().await;
        assert_eq!(world.count(|metrics| &metrics.request_retry), 2);
    });
}

#[test]
fn a_failure_that_the_policy_does_not_name_is_passed_on() {
    play(|| async {
        let mut setup = retrying(10_000);
        setup.router.virtual_hosts[0].routes[0].action = forward(|spec| {
            let conditions = vec![RetryCondition::StatusCodes];
            spec.retry =
                RetrySpec { conditions, status_codes: vec![503], max_retries: 2, ..RetrySpec::default() };
            spec.buffer_limit = 1 << 20;
        });
        let world = World::new(setup).await;
        let (mut client, mut arrived) = warmed_up(&world).await;
        client.send(&request(7, 0, b"x")).await;
        arrived.recv().await.expect("a call").reply(SERVER_EXCEPTION).await;
        assert_eq!(client.must().await.view.status, i32::from(SERVER_EXCEPTION));
        client.assert_silent().await;
        world.settle().await;
        assert_eq!(world.count(|metrics| &metrics.request_retry), 0);
    });
}

#[test]
fn the_callers_time_runs_over_all_tries() {
    play(|| async {
        let world = World::new(retrying(60)).await;
        let (mut client, mut arrived) = warmed_up(&world).await;
        let began = std::time::Instant::now();
        client.send(&request(7, 100, b"x")).await;
        arrived.recv().await.expect("a call");
        arrived.recv().await.expect("the call, again");
        let reply = client.must().await;
        assert_eq!((reply.view.id, reply.view.status), (7, 7), "timeout");
        assert!(began.elapsed() >= Duration::from_millis(100));
        client.assert_silent().await;
        world.settle().await;
    });
}

#[test]
fn whatever_happens_each_call_is_answered_once() {
    for seed in 0..6_u64 {
        whatever_happens(seed, Setup::default);
    }
}

#[test]
fn whatever_happens_each_call_that_may_be_tried_again_is_answered_once() {
    for seed in 0..6_u64 {
        whatever_happens(seed, || retrying(40));
    }
}

fn whatever_happens(seed: u64, setup: impl Fn() -> Setup) {
    play(|| async {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::new(setup()).await;
        let mut clients = [world.client().await, world.client().await];
        let mut upstreams: Vec<Peer> = Vec::new();
        let mut asked: Vec<HashMap<u64, usize>> = vec![HashMap::new(), HashMap::new()];
        let mut waiting: Vec<(usize, u64)> = Vec::new();
        let mut next_id = 1;
        for _ in 0..80 {
            match random.u8(0..10) {
                0..5 => {
                    let which = random.usize(0..2);
                    clients[which].send(&request(next_id, random.i32(20..120), b"x")).await;
                    asked[which].insert(next_id, 0);
                    next_id += 1;
                }
                5..8 if !waiting.is_empty() => {
                    let (which, id) = waiting.swap_remove(random.usize(0..waiting.len()));
                    let mut reply = response(id, b"y");
                    if random.u8(0..4) == 0 {
                        reply[11] = SERVER_EXCEPTION;
                    }
                    let _ = upstreams[which].write.write_all(&reply).await;
                }
                8 if !upstreams.is_empty() => {
                    // Half-dead ones stay in the list so that places keep their meaning.
                    let which = random.usize(0..upstreams.len());
                    let _ = upstreams[which].write.shutdown().await;
                }
                _ => tokio::time::sleep(Duration::from_millis(random.u64(0..20))).await,
            }
            while let Ok(stream) = world.accepted.borrow_mut().try_recv() {
                upstreams.push(Peer::new(stream, Side::Downstream));
            }
            for (which, upstream) in upstreams.iter_mut().enumerate() {
                while let Ok(Some(got)) =
                    tokio::time::timeout(Duration::from_millis(1), upstream.next()).await
                {
                    waiting.push((which, got.view.id));
                }
            }
        }
        for (client, asked) in clients.iter_mut().zip(&mut asked) {
            while asked.values().any(|answers| *answers == 0) {
                let reply = client.must().await;
                *asked.get_mut(&reply.view.id).expect("a call that was made") += 1;
            }
            client.assert_silent().await;
            assert!(asked.values().all(|answers| *answers == 1), "seed {seed}: {asked:?}");
        }
        world.settle().await;
    });
}

#[test]
fn a_route_may_ask_how_large_a_call_is() {
    play(|| async {
        let mut setup = Setup::default();
        let route = &mut setup.router.virtual_hosts[0].routes[0];
        route.matches.expressions = vec!["request.total_size > 0 && context.protocol == \"bolt\"".into()];
        let world = World::new(setup).await;
        let (_client, _upstream) = world.opened().await;
        world.settle().await;
    });
}

#[test]
fn what_was_said_before_a_broken_frame_is_read_however_much_follows_it() {
    play(|| async {
        let world = World::new(Setup::default()).await;
        let mut client = world.client().await;
        // More than one read of the proxy's takes: the rest lies unread when the connection ends.
        let sent = [&HEARTBEAT[..], &[0xff; 200_000]].concat();
        client.send(&sent).await;
        assert_eq!(client.must().await.view.kind, FrameKind::HeartbeatReply);
        let end = client.read.read_buf(&mut client.buffer).await;
        assert_eq!(end.expect("an end, and no reset"), 0);
    });
}
