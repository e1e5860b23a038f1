//! The engine over real sockets, with the real pools: what breaks on one side must show on the
//! other.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use mosn_config::model::{
    BalancerKind, Breakers, ClusterSpec, DownstreamProtocols, HostSpec, HttpLimits, LocalitySpec,
    MetricsFilter, Priority,
};
use mosn_core::{ConnectionInfo, Protocol, Scheme};
use mosn_net::{Io, Meter, Transport};
use mosn_stream::{Drain, Pools, ServerContext, serve_connection};
use mosn_telemetry::Registry;
use mosn_upstream::Clusters;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::world::router;
use crate::{Proxy, ProxySettings, RouterLookup};

struct Unmetered;

impl Meter for Unmetered {
    fn read(&self, _bytes: u64) {}
    fn written(&self, _bytes: u64) {}
}

/// A proxy in front of one upstream that says what it is told.
struct Wire {
    proxy: Rc<Proxy<Pools>>,
    clusters: Clusters,
    registry: Registry,
    drain: Rc<Drain>,
    /// Connections that the upstream has accepted.
    accepted: Rc<Cell<usize>>,
    /// What it has read.
    heard: Rc<RefCell<Vec<u8>>>,
}

/// What the upstream does once it has read a head.
#[derive(Clone, Copy)]
enum Then {
    Keep,
    Close,
    /// Says something once, and takes nothing more.
    Deaf,
}

impl Wire {
    async fn new(answer: &'static str, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (accepted, heard) = (Rc::<Cell<usize>>::default(), Rc::<RefCell<Vec<u8>>>::default());
        let (count, hears) = (Rc::clone(&accepted), Rc::clone(&heard));
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.set(count.get() + 1);
                tokio::task::spawn_local(upstream(stream, answer, then, Rc::clone(&hears)));
            }
        });
        let clusters = Clusters::new();
        let host = HostSpec {
            address: address.as_str().into(),
            hostname: "".into(),
            weight: 1,
            metadata: None,
            tls_disable: false,
        };
        let spec = ClusterSpec {
            name: "c".into(),
            balancer: BalancerKind::RoundRobin,
            breakers: Breakers {
                max_connections: 5,
                max_pending_requests: 5,
                max_requests: 5,
                max_retries: 5,
            },
            localities: vec![LocalitySpec { hosts: vec![host], ..LocalitySpec::default() }],
            ..ClusterSpec::default()
        };
        clusters.add_or_update(spec).expect("a cluster");
        let registry = Registry::new(&MetricsFilter::default());
        let settings = ProxySettings {
            limits: Rc::new(HttpLimits::default()),
            rpc: Rc::default(),
            router: RouterLookup::inline(router()),
            metrics: [registry.downstream_global(), registry.downstream_listener("in")],
            mirror: None,
            access_logs: Vec::new(),
        };
        let pools = Rc::new(Pools::new(clusters.clone(), registry.clone()));
        let proxy = Rc::new(Proxy::new(settings, pools));
        Self { proxy, clusters, registry, drain: Rc::default(), accepted, heard }
    }

    /// A client's connection.
    async fn connect(&self, protocol: Protocol) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let (far, _) = listener.accept().await.expect("accepted");
        let cx = Rc::new(ServerContext {
            info: Rc::new(ConnectionInfo {
                id: 1,
                listener: Arc::from("in"),
                listener_type: Arc::from(""),
                local: None,
                remote: None,
                redirected: None,
            }),
            scheme: Scheme::Http,
            limits: Rc::new(HttpLimits::default()),
            rpc: Rc::default(),
            idle_timeout: None,
            drain: Rc::clone(&self.drain),
        });
        let (proxy, protocols) = (Rc::clone(&self.proxy), DownstreamProtocols::One(protocol));
        let io = Io::new(Transport::Tcp(far), Rc::new(Unmetered));
        tokio::task::spawn_local(async move { serve_connection(io, &protocols, cx, proxy).await });
        near
    }

    /// What comes back until the connection ends, and whether it ended as if that were all.
    async fn exchange(&self, request: &str) -> (String, bool) {
        let mut client = self.connect(Protocol::Http1).await;
        client.write_all(request.as_bytes()).await.expect("written");
        let mut reply = Vec::new();
        let ended = client.read_to_end(&mut reply).await.is_ok();
        (String::from_utf8_lossy(&reply).into_owned(), ended)
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

async fn upstream(mut stream: TcpStream, answer: &'static str, then: Then, heard: Rc<RefCell<Vec<u8>>>) {
    let mut buffer = Vec::new();
    loop {
        let before = buffer.len();
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
        heard.borrow_mut().extend_from_slice(&buffer[before..]);
        if !buffer.windows(4).any(|four| four == b"\r\n\r\n") {
            continue;
        }
        buffer.clear();
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        match then {
            Then::Keep => {}
            Then::Close => return,
            Then::Deaf => std::future::pending().await,
        }
    }
}

fn worker(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        tokio::task::spawn_local(mosn_net::timer::drive());
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs");
    });
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\n\r\n";
const GET_1_0: &str = "GET / HTTP/1.0\r\nHost: a.com\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Replies that are cut short.
const CUT: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
];

#[test]
fn a_body_cut_short_upstream_is_never_complete_to_an_http1_client() {
    worker(async {
        for answer in CUT {
            let wire = Wire::new(answer, Then::Close).await;
            let (reply, _) = wire.exchange(GET).await;
            if !reply.is_empty() {
                let counted = reply.contains("Content-Length: 10\r\n") && !reply.ends_with("0123456789");
                let chunked =
                    reply.contains("Transfer-Encoding: chunked\r\n") && !reply.ends_with("0\r\n\r\n");
                assert!(counted || chunked, "{answer:?}: {reply:?}");
            }
            // One that reads to the end of the connection must not get to an orderly one.
            let (reply, ended) = wire.exchange(GET_1_0).await;
            assert!(!ended || reply.contains("Content-Length: 10\r\n"), "{answer:?}: {reply:?}");
            wire.settle().await;
        }
    });
}

#[test]
fn a_body_cut_short_upstream_is_reset_for_an_http2_client() {
    worker(async {
        for answer in CUT {
            let wire = Wire::new(answer, Then::Close).await;
            let io = wire.connect(Protocol::Http2).await;
            let (mut send, connection) = h2::client::handshake(io).await.expect("a connection");
            tokio::task::spawn_local(async move {
                let _ = connection.await;
            });
            let request = http::Request::get("http://a.com/").body(()).expect("a request");
            let (reply, _) = send.send_request(request, true).expect("sent");
            let error = match reply.await {
                Err(error) => error,
                Ok(reply) => {
                    assert_eq!(reply.status(), 200);
                    let mut recv = reply.into_body();
                    loop {
                        match recv.data().await {
                            Some(Ok(data)) => drop(recv.flow_control().release_capacity(data.len())),
                            Some(Err(error)) => break error,
                            None => break recv.trailers().await.expect_err("half a body looks whole"),
                        }
                    }
                }
            };
            assert!(error.is_reset(), "{answer:?}: {error}");
            wire.settle().await;
        }
    });
}

#[test]
fn a_body_that_ends_with_its_connection_is_complete() {
    worker(async {
        let wire = Wire::new("HTTP/1.1 200 OK\r\n\r\nto the end", Then::Close).await;
        let (reply, _) = wire.exchange(GET).await;
        assert!(reply.ends_with("a\r\nto the end\r\n0\r\n\r\n"), "{reply}");
        let (reply, ended) = wire.exchange(GET_1_0).await;
        assert!(ended && reply.ends_with("\r\n\r\nto the end"), "{reply}");
        wire.settle().await;
    });
}

#[test]
fn an_upstream_connection_serves_one_request_after_the_other() {
    worker(async {
        let wire = Wire::new(OK, Then::Keep).await;
        for _ in 0..10 {
            assert!(wire.exchange(GET).await.0.ends_with("\r\n\r\nok"));
        }
        assert_eq!(wire.accepted.get(), 1);
        wire.settle().await;
    });
}

#[test]
fn a_connection_that_was_closed_meanwhile_costs_no_request() {
    worker(async {
        let wire = Wire::new(OK, Then::Close).await;
        for _ in 0..20 {
            let (reply, _) = wire.exchange(GET).await;
            assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
        }
        wire.settle().await;
    });
}

#[test]
fn a_body_behind_an_upgrade_is_framed_as_one() {
    worker(async {
        let wire = Wire::new("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", Then::Keep).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.com\r\n\r\n";
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a.com\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\
             Content-Length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        );
        wire.exchange(&request).await;
        let heard = String::from_utf8_lossy(&wire.heard.borrow()).into_owned();
        assert!(heard.contains(&format!("Content-Length: {}\r\n", smuggled.len())), "{heard}");
        wire.settle().await;
    });
}

#[test]
fn an_early_refusal_reaches_a_client_that_still_uploads() {
    worker(async {
        let wire = Wire::new("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig", Then::Deaf).await;
        let mut client = wire.connect(Protocol::Http1).await;
        let (mut reader, mut writer) = client.split();
        let uploading = async {
            let head = b"POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 100000000\r\n\r\n";
            writer.write_all(head).await.ok();
            while writer.write_all(&[0; 65_536]).await.is_ok() {}
            std::future::pending::<()>().await;
        };
        let mut reply = Vec::new();
        let reading = async {
            while !reply.ends_with(b"big") && matches!(reader.read_buf(&mut reply).await, Ok(1..)) {}
        };
        tokio::select! {
            () = uploading => {}
            () = reading => {}
        }
        assert!(reply.starts_with(b"HTTP/1.1 413 "), "{:?}", String::from_utf8_lossy(&reply));
        wire.settle().await;
    });
}

#[test]
fn a_client_that_leaves_gives_back_all_that_its_requests_held() {
    worker(async {
        let wire = Wire::new("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", Then::Deaf).await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = wire.connect(Protocol::Http1).await;
            client.write_all(GET.as_bytes()).await.expect("written");
            let mut reply = Vec::new();
            while !reply.ends_with(b"half") {
                assert!(client.read_buf(&mut reply).await.expect("read") > 0);
            }
            clients.push(client);
        }
        let cluster = wire.clusters.get("c").expect("the cluster");
        assert_eq!(cluster.in_flight(Priority::Default)[..1], [5]);
        // The breakers are full.
        let (reply, _) = wire.exchange(GET).await;
        assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
        clients.clear();
        wire.settle().await;
        let mut client = wire.connect(Protocol::Http1).await;
        client.write_all(GET.as_bytes()).await.expect("written");
        let mut head = [0; 13];
        client.read_exact(&mut head).await.expect("read");
        assert_eq!(&head, b"HTTP/1.1 200 ", "there is room again");
    });
}
