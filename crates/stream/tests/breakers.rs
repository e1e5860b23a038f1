//! What breakers count comes back to nothing, however streams are opened and given up.

mod common;

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use common::{until, worker};
use mosn_config::model::{Breakers, ClusterSpec, HostSpec, LocalitySpec, MetricsFilter, Priority};
use mosn_core::{Failure, Protocol};
use mosn_stream::{Open, Pools, Terms};
use mosn_telemetry::Registry;
use mosn_upstream::{ChooseContext, Clusters};
use proptest::prelude::*;

const LIMITS: Breakers =
    Breakers { max_connections: 3, max_pending_requests: 2, max_requests: 4, max_retries: 1 };

const WORKERS: usize = 2;

fn spec(address: &str, breakers: Breakers) -> ClusterSpec {
    let host = HostSpec {
        address: address.into(),
        hostname: "".into(),
        weight: 1,
        metadata: None,
        tls_disable: false,
    };
    ClusterSpec {
        name: "c".into(),
        breakers,
        localities: vec![LocalitySpec { hosts: vec![host], ..LocalitySpec::default() }],
        ..ClusterSpec::default()
    }
}

fn clusters(address: &str) -> Clusters {
    let clusters = Clusters::new();
    clusters.add_or_update(spec(address, LIMITS)).expect("a valid cluster");
    clusters
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request comes to a worker.
    Open(usize, Protocol),
    /// One is given up, or is over: the stream goes with its connection.
    Drop(usize),
    /// All that can go on does.
    Turn,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..WORKERS).prop_map(|worker| Step::Open(worker, Protocol::Http1)),
        (0..WORKERS).prop_map(|worker| Step::Open(worker, Protocol::Http2)),
        (0..6_usize).prop_map(Step::Drop),
        Just(Step::Turn),
    ];
    prop::collection::vec(step, 0..40)
}

async fn history(address: String, steps: Vec<Step>) {
    let clusters = clusters(&address);
    let worker = || Pools::new(clusters.clone(), Registry::new(&MetricsFilter::default()));
    let workers: [Pools; WORKERS] = std::array::from_fn(|_| worker());
    let cluster = clusters.get("c").expect("the cluster");
    let mut open: Vec<Open> = Vec::new();
    for step in steps {
        match step {
            Step::Open(worker, protocol) => {
                let pools = &workers[worker];
                let local = pools.cluster("c").expect("the cluster");
                let stream = pools.open(&local, protocol, &mut ChooseContext::default(), Terms::default());
                if let Open::Done(Err(error)) = &stream {
                    assert_eq!(error.why, Failure::Overflow);
                } else {
                    open.push(stream);
                }
            }
            Step::Drop(at) if at < open.len() => drop(open.swap_remove(at)),
            Step::Drop(_) => {}
            Step::Turn => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let cx = &mut Context::from_waker(Waker::noop());
                open.retain_mut(|stream| {
                    let Open::Connecting { opened: connecting, .. } = stream else { return true };
                    match connecting.as_mut().poll(cx) {
                        Poll::Pending => true,
                        Poll::Ready(Err(_)) => false,
                        Poll::Ready(Ok(opened)) => {
                            *stream = Open::Done(Ok(opened));
                            true
                        }
                    }
                });
            }
        }
        let [requests, pending, _] = cluster.in_flight(Priority::Default);
        assert!(requests <= LIMITS.max_requests && pending <= LIMITS.max_pending_requests);
        assert_eq!(requests as usize, open.len());
        let waiting = open.iter().filter(|stream| matches!(stream, Open::Connecting { .. })).count();
        assert_eq!(pending as usize, waiting);
        // A worker's first connection of HTTP/2 is not refused.
        let most = LIMITS.max_connections + WORKERS as u32;
        assert!(cluster.hosts()[0].active_connections() <= most);
    }
    drop(open);
    assert_eq!(cluster.in_flight(Priority::Default), [0, 0, 0]);
    // A connection of HTTP/2 ends on a task of its own.
    drop(workers);
    until("no connection is counted", || cluster.hosts()[0].active_connections() == 0).await;
    // Nobody wants room any more, or this one would have to wait.
    let (another, cx) = (worker(), &mut ChooseContext::default());
    let local = another.cluster("c").expect("the cluster");
    if let Open::Connecting { waits, mut opened, .. } =
        another.open(&local, Protocol::Http1, cx, Terms::default())
    {
        let _ = opened.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(!waits.get());
    }
}

#[test]
fn a_higher_limit_is_for_those_who_wait_as_well() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    worker(async move {
        let limited = |max_connections| spec(&address, Breakers { max_connections, ..Breakers::default() });
        let clusters = Clusters::new();
        clusters.add_or_update(limited(1)).expect("a valid cluster");
        let pools = Pools::new(clusters.clone(), Registry::new(&MetricsFilter::default()));
        let open = || {
            let local = pools.cluster("c").expect("the cluster");
            match pools.open(&local, Protocol::Http1, &mut ChooseContext::default(), Terms::default()) {
                Open::Connecting { opened, .. } => tokio::task::spawn_local(opened),
                Open::Done(_) => panic!("there is no connection yet"),
            }
        };
        let first = open().await.expect("a task").expect("a stream");
        let before = [open(), open()];
        tokio::task::yield_now().await;
        clusters.add_or_update(limited(4)).expect("a valid cluster");
        let mut streams = vec![open().await.expect("a task").expect("a stream"), first];
        for waiting in before {
            streams.push(waiting.await.expect("a task").expect("a stream"));
        }
        let cluster = clusters.get("c").expect("the cluster");
        assert_eq!(cluster.hosts()[0].active_connections(), 4);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn counters_return_to_zero_after_any_history_of_resets(steps in steps(), refusing: bool) {
        // A listener that never accepts: the system does it for it.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let _listener = if refusing { None } else { Some(listener) };
        worker(history(address, steps));
    }
}
