//! Connections to one host, through the pools: how long they live, and who gets one where they are few.

mod common;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{until, worker};
use http::{Method, Response};
use mosn_config::model::{Breakers, ClusterSpec, HostSpec, LocalitySpec, MetricsFilter};
use mosn_core::{BodyLength, Failure, Headers, Protocol, RequestHead, Scheme};
use mosn_stream::{ClientStream, Open, OpenError, Pools, Reply, Terms, UpstreamStream};
use mosn_telemetry::Registry;
use mosn_upstream::{ChooseContext, Clusters};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// A host that answers everything with 200, and what it has seen.
#[derive(Default)]
struct Host {
    accepted: Cell<usize>,
    open: Cell<usize>,
    /// Ends its connections (HTTP/2).
    closing: Notify,
}

impl Host {
    /// Starts it. Returns its address too.
    async fn start(protocol: Protocol, streams: u32) -> (Rc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let host = Rc::<Self>::default();
        let accepts = Rc::clone(&host);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let host = Rc::clone(&accepts);
                host.accepted.set(host.accepted.get() + 1);
                host.open.set(host.open.get() + 1);
                tokio::task::spawn_local(async move {
                    match protocol {
                        Protocol::Http2 => tokio::select! {
                            () = http2(stream, streams) => {}
                            () = host.closing.notified() => {}
                        },
                        _ => http1(stream).await,
                    }
                    host.open.set(host.open.get() - 1);
                });
            }
        });
        (host, address)
    }
}

async fn http1(mut stream: TcpStream) {
    let mut buffer = Vec::new();
    while matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
        if buffer.ends_with(b"\r\n\r\n") {
            buffer.clear();
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}

async fn http2(stream: TcpStream, streams: u32) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let _ = respond.send_response(Response::new(()), true);
    }
}

/// One worker of several that share a cluster.
struct Worker(Pools);

impl Worker {
    async fn open(&self, protocol: Protocol) -> Result<UpstreamStream, OpenError> {
        let cluster = self.0.cluster("c").expect("the cluster");
        let mut cx = ChooseContext::default();
        let opened = match self.0.open(&cluster, protocol, &mut cx, Terms::default()) {
            Open::Done(opened) => opened,
            Open::Connecting { opened, .. } => opened.await,
        };
        opened.map(|(stream, _)| stream)
    }

    /// One exchange. Returns its stream, which holds the connection.
    async fn exchange(&self, protocol: Protocol) -> UpstreamStream {
        let mut stream = self.open(protocol).await.expect("a stream");
        let mut head = RequestHead {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: Bytes::from_static(b"up"),
            path: Bytes::from_static(b"/"),
            headers: Headers::default(),
            body: BodyLength::Empty,
            upgrade: None,
            expects_continue: false,
            one_way: false,
        };
        poll_fn(|cx| Poll::Ready(stream.send_head(cx, &mut head, false, None))).await.expect("sent");
        match poll_fn(|cx| stream.poll_reply(cx)).await.expect("a reply") {
            Reply::Head(head, _) => assert_eq!(head.status, 200),
            Reply::Interim(..) => panic!("an interim reply"),
        }
        stream
    }

    async fn get(&self, protocol: Protocol) {
        drop(self.exchange(protocol).await);
    }
}

/// A cluster of one host, with these settings.
fn cluster(address: &str, spec: ClusterSpec) -> Clusters {
    let host = HostSpec {
        address: address.into(),
        hostname: "".into(),
        weight: 1,
        metadata: None,
        tls_disable: false,
    };
    let localities = vec![LocalitySpec { hosts: vec![host], ..LocalitySpec::default() }];
    let clusters = Clusters::new();
    clusters.add_or_update(ClusterSpec { name: "c".into(), localities, ..spec }).expect("a valid cluster");
    clusters
}

fn workers<const N: usize>(clusters: &Clusters) -> [Worker; N] {
    std::array::from_fn(|_| Worker(Pools::new(clusters.clone(), Registry::new(&MetricsFilter::default()))))
}

fn limited(max_connections: u32) -> ClusterSpec {
    let breakers = Breakers { max_connections, ..Breakers::default() };
    ClusterSpec { breakers, ..ClusterSpec::default() }
}

fn connections(clusters: &Clusters) -> u32 {
    clusters.get("c").expect("the cluster").hosts()[0].active_connections()
}

#[test]
fn a_connection_carries_as_many_requests_as_allowed() {
    for protocol in BOTH {
        worker(async move {
            let (host, address) = Host::start(protocol, 100).await;
            let spec = ClusterSpec { max_requests_per_connection: Some(2), ..ClusterSpec::default() };
            let [worker] = workers(&cluster(&address, spec));
            for _ in 0..6 {
                worker.get(protocol).await;
            }
            assert_eq!(host.accepted.get(), 3, "{protocol:?}");
            worker.0.sweep();
            until("what has carried enough is closed", || host.open.get() == 0).await;
        });
    }
}

#[test]
fn a_connection_that_is_too_old_or_has_idled_too_long_is_not_used_and_closed() {
    const LIMIT: Duration = Duration::from_millis(60);
    let aged = ClusterSpec { max_connection_duration: Some(LIMIT), ..ClusterSpec::default() };
    let idle = ClusterSpec { idle_timeout: Some(LIMIT), ..ClusterSpec::default() };
    for protocol in BOTH {
        for spec in [aged.clone(), idle.clone()] {
            worker(async move {
                let (host, address) = Host::start(protocol, 100).await;
                let [worker] = workers(&cluster(&address, spec));
                worker.get(protocol).await;
                worker.get(protocol).await;
                assert_eq!(host.accepted.get(), 1, "{protocol:?}");
                // Nobody sweeps meanwhile.
                tokio::time::sleep(LIMIT).await;
                worker.get(protocol).await;
                assert_eq!(host.accepted.get(), 2, "{protocol:?}");
                tokio::time::sleep(LIMIT).await;
                worker.0.sweep();
                until("it is closed", || host.open.get() == 0).await;
            });
        }
    }
}

#[test]
fn a_connection_in_use_outlives_every_limit() {
    for protocol in BOTH {
        worker(async move {
            let (host, address) = Host::start(protocol, 100).await;
            let spec = ClusterSpec {
                max_connection_duration: Some(Duration::ZERO),
                idle_timeout: Some(Duration::ZERO),
                ..ClusterSpec::default()
            };
            let [worker] = workers(&cluster(&address, spec));
            let stream = worker.exchange(protocol).await;
            worker.0.sweep();
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(host.open.get(), 1, "{protocol:?}");
            drop(stream);
            until("it is closed", || host.open.get() == 0).await;
        });
    }
}

#[test]
fn after_a_few_failed_connects_a_host_is_left_alone_for_a_while() {
    for protocol in BOTH {
        worker(async move {
            // Bound, and nobody listens.
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
            let address = socket.local_addr().expect("an address").to_string();
            let clusters = cluster(&address, ClusterSpec::default());
            let [worker] = workers(&clusters);
            let begun = Instant::now();
            let mut tries = 0;
            while begun.elapsed() < Duration::from_millis(200) {
                let error = worker.open(protocol).await.expect_err("nobody is there");
                assert_eq!(error.why, Failure::ConnectFailed);
                tries += 1;
                tokio::task::yield_now().await;
            }
            let local = worker.0.cluster("c").expect("the cluster");
            let connects = local.metrics().connection_con_fail.get();
            assert!((3..12).contains(&connects) && tries > 50, "{protocol:?}: {connects} of {tries}");
        });
    }
}

#[test]
fn a_request_beyond_the_limit_gets_the_connection_that_becomes_free() {
    for protocol in BOTH {
        worker(async move {
            let (host, address) = Host::start(protocol, 1).await;
            let [worker] = workers(&cluster(&address, limited(1)));
            let worker = Rc::new(worker);
            // Only now does HTTP/2 know how many streams the host takes.
            worker.get(protocol).await;
            let held = worker.exchange(protocol).await;
            let order = Rc::<RefCell<Vec<usize>>>::default();
            for request in 0..5 {
                let (worker, order) = (Rc::clone(&worker), Rc::clone(&order));
                tokio::task::spawn_local(async move {
                    let stream = worker.exchange(protocol).await;
                    order.borrow_mut().push(request);
                    tokio::task::yield_now().await;
                    drop(stream);
                });
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert!(order.borrow().is_empty(), "{protocol:?}");
            drop(held);
            until("all have had their turn", || order.borrow().len() == 5).await;
            assert_eq!(order.borrow()[..], [0, 1, 2, 3, 4], "{protocol:?}");
            assert_eq!(host.accepted.get(), 1, "{protocol:?}");
        });
    }
}

#[test]
fn those_who_give_up_waiting_leave_their_turn_to_others() {
    worker(async {
        let (host, address) = Host::start(Protocol::Http1, 1).await;
        let [worker] = workers(&cluster(&address, limited(1)));
        let worker = Rc::new(worker);
        let held = worker.exchange(Protocol::Http1).await;
        let waits = |worker: &Rc<Worker>| {
            let worker = Rc::clone(worker);
            tokio::task::spawn_local(async move { worker.get(Protocol::Http1).await })
        };
        let (first, second, third) = (waits(&worker), waits(&worker), waits(&worker));
        tokio::time::sleep(Duration::from_millis(10)).await;
        first.abort();
        // Called already, and gone before it comes.
        drop(held);
        second.abort();
        third.await.expect("it gets its turn");
        assert_eq!(host.accepted.get(), 1);
    });
}

#[test]
fn a_connection_that_closes_leaves_room_for_whoever_waits() {
    worker(async {
        let (host, address) = Host::start(Protocol::Http1, 1).await;
        let [one, two] = workers(&cluster(&address, limited(1)));
        // A stream that was never used closes its connection.
        let held = one.open(Protocol::Http1).await.expect("a stream");
        let mut waits = std::pin::pin!(two.get(Protocol::Http1));
        tokio::select! {
            () = &mut waits => panic!("there is no room"),
            () = tokio::time::sleep(Duration::from_millis(30)) => {}
        }
        drop(held);
        waits.await;
        assert_eq!(host.accepted.get(), 2);
    });
}

#[test]
fn idle_connections_are_given_up_for_other_workers_within_milliseconds() {
    worker(async {
        let (host, address) = Host::start(Protocol::Http1, 1).await;
        let clusters = cluster(&address, limited(2));
        let [one, two, three] = workers(&clusters);
        let both = (one.exchange(Protocol::Http1).await, one.exchange(Protocol::Http1).await);
        drop(both);
        for worker in [&two, &three, &one, &two, &three] {
            let begun = Instant::now();
            worker.get(Protocol::Http1).await;
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
            assert!(connections(&clusters) <= 2);
        }
        assert!((4..=7).contains(&host.accepted.get()), "{}", host.accepted.get());
    });
}

#[test]
fn workers_that_never_rest_take_turns_and_the_limit_holds() {
    worker(async {
        let (host, address) = Host::start(Protocol::Http1, 1).await;
        let clusters = cluster(&address, limited(1));
        let workers: [Worker; 3] = workers(&clusters);
        let begun = Instant::now();
        let mut served = Vec::new();
        for worker in workers {
            let worker = Rc::new(worker);
            let count = Rc::<Cell<usize>>::default();
            for _ in 0..4 {
                let (worker, count) = (Rc::clone(&worker), Rc::clone(&count));
                tokio::task::spawn_local(async move {
                    loop {
                        worker.get(Protocol::Http1).await;
                        count.set(count.get() + 1);
                    }
                });
            }
            served.push(count);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let turns = begun.elapsed().as_millis() as usize / 10;
        let served: Vec<usize> = served.iter().map(|count| count.get()).collect();
        let (least, most) = (served.iter().min().expect("three"), served.iter().max().expect("three"));
        assert!(*least > 0 && most / least < 5, "{served:?}");
        // Each turn serves many, and costs one connection.
        assert!(
            host.accepted.get() <= 3 * turns && host.accepted.get() * 2 < served.iter().sum(),
            "{served:?}, {} connections",
            host.accepted.get()
        );
        assert!(connections(&clusters) <= 1);
    });
}

#[test]
fn every_worker_has_its_first_http2_connection_whatever_the_limit() {
    worker(async {
        let (host, address) = Host::start(Protocol::Http2, 1).await;
        let clusters = cluster(&address, limited(1));
        let [one, two] = workers(&clusters);
        one.get(Protocol::Http2).await;
        two.get(Protocol::Http2).await;
        let (a, b) = (one.exchange(Protocol::Http2).await, two.exchange(Protocol::Http2).await);
        assert_eq!(host.accepted.get(), 2);
        // One that waits for a stream takes nobody's only connection, idle or not.
        drop(b);
        let mut waits = std::pin::pin!(one.exchange(Protocol::Http2));
        tokio::select! {
            _ = &mut waits => panic!("there is no stream"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        assert_eq!(host.open.get(), 2);
        two.get(Protocol::Http2).await;
        drop(a);
        let a = waits.await;
        assert_eq!(host.accepted.get(), 2);
        // Its connection goes: whoever waits for a stream of it opens another.
        let mut waits = std::pin::pin!(one.exchange(Protocol::Http2));
        tokio::select! {
            _ = &mut waits => panic!("there is no stream"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        host.closing.notify_waiters();
        until("they are closed", || connections(&clusters) == 0).await;
        drop(a);
        drop(waits.await);
        assert_eq!(host.accepted.get(), 3);
    });
}
