//! A request that is dropped, at whatever point, leaves nothing behind.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use bytes::Bytes;
use mosn_config::model::{ActionSpec, DirectResponseSpec, HttpLimits, RetrySpec};
use mosn_core::{BodyLength, Failure, RequestHead};
use proptest::prelude::*;

use super::{
    client::Client,
    upstream::{Event, Plan},
    world::{World, answers, data, forward, get, head, last, play, post, trailers},
};

/// A request on its way, by name.
type Scene = (&'static str, fn() -> (World, Client, RequestHead));

/// Every phase there is, and several tries.
fn scenes() -> Vec<Scene> {
    vec![
        ("a plain exchange", || {
            let events = vec![
                (10, Event::Interim(103)),
                (20, head(200, BodyLength::Unknown)),
                (30, Event::Frame(data("a"))),
                (40, Event::Frame(trailers())),
            ];
            (World::forwarding(vec![Plan::on(1, events).after(10)]), Client::new(), get())
        }),
        ("an upload", || {
            let client = Client::new().sends(vec![(5, data("a")), (10, data("b")), (30, last("c"))]);
            (World::forwarding(vec![answers(1, 60, 200).after(3).takes(1, Some(20))]), client, post())
        }),
        ("a slow client", || {
            let events = vec![
                (5, head(200, BodyLength::Unknown)),
                (5, Event::Frame(data("a"))),
                (5, Event::Frame(last("b"))),
            ];
            (World::forwarding(vec![Plan::on(1, events)]), Client::new().takes(1, Some(50)), get())
        }),
        ("retries", || {
            let retry = RetrySpec { on_failure: true, ..RetrySpec::default() };
            let plans = vec![
                Plan::refused(1, Failure::ConnectFailed).after(5),
                Plan::on(2, vec![(10, Event::Reset(Failure::UpstreamTerminated))]),
                answers(3, 10, 503).after(5),
                answers(4, 10, 200).after(5),
            ];
            let client = Client::new().sends(vec![(1, data("a")), (12, last("b"))]);
            (World::with(forward(|spec| spec.retry = retry), HttpLimits::default(), plans), client, post())
        }),
        ("hedging", || {
            let action = forward(|spec| {
                spec.retry = RetrySpec { hedge: true, ..RetrySpec::default() };
                spec.per_try_timeout = Some(Duration::from_millis(20));
            });
            let reply = vec![(80, head(200, BodyLength::Unknown)), (90, Event::Frame(last("a")))];
            let plans = vec![
                Plan::on(1, reply),
                Plan::on(2, Vec::new()).after(5),
                Plan::refused(3, Failure::Overflow),
            ];
            (World::with(action, HttpLimits::default(), plans), Client::new(), get())
        }),
        ("a tunnel", || {
            let events = vec![
                (10, head(101, BodyLength::Unknown)),
                (20, Event::Frame(data("a"))),
                (40, Event::Frame(last("b"))),
            ];
            let request = RequestHead { upgrade: Some(Bytes::from_static(b"websocket")), ..get() };
            let client = Client::new().sends(vec![(15, data("x")), (30, last("y"))]);
            (World::forwarding(vec![Plan::on(1, events).after(5)]), client, request)
        }),
        ("a reply of our own", || {
            let direct = DirectResponseSpec { status: 200, body: "large".into() };
            let action = ActionSpec::DirectResponse(Box::new(direct));
            let world = World::with(action, HttpLimits::default(), Vec::new());
            (world, Client::new().takes(0, Some(20)), get())
        }),
    ]
}

#[test]
fn dropping_a_request_after_any_poll_leaks_nothing_and_logs_one_line() {
    for (name, scene) in scenes() {
        for polls in 0.. {
            let over = std::sync::atomic::AtomicBool::new(false);
            play(|| async {
                let (world, client, head) = scene();
                let (_, ended) = world.run_partly(client, head, polls).await;
                world.assert_all_given_back();
                // Dropped before its first poll, it never was a request.
                let lines = world.lines();
                assert_eq!(lines.len(), usize::from(polls > 0), "{name} after {polls} polls: {lines:?}");
                over.store(ended, Relaxed);
                if let ([line], false) = (&lines[..], ended) {
                    assert!(line.starts_with("504 0x0 client_gone"), "{name} after {polls} polls: {line}");
                }
                assert_eq!(world.downstream.request_total.get(), i64::from(polls > 0));
            });
            if over.load(Relaxed) {
                assert!(polls > 1, "{name} never had to wait");
                break;
            }
            assert!(polls < 200, "{name} does not end");
        }
    }
}

#[test]
fn a_worker_that_ends_says_that_it_did() {
    play(|| async {
        let world = World::forwarding(vec![answers(1, 100, 200)]);
        world.proxy.leave();
        world.run_partly(Client::new(), get(), 1).await;
        assert_eq!(world.lines(), ["503 0x0 drain 0 0"]);
        assert_eq!(world.downstream.request_reset.get(), 0);
        world.assert_all_given_back();
    });
}

/// An upstream that does one thing or another.
fn any_plan() -> impl Strategy<Value = (u8, u64, u64, bool)> {
    (0..9_u8, 0..60_u64, prop_oneof![Just(0_u64), 1..40_u64], any::<bool>())
}

fn plan(host: u64, (what, at, connects, reused): (u8, u64, u64, bool)) -> Plan {
    let resets = |why| Plan::on(host, vec![(at, Event::Reset(why))]);
    let plan = match what {
        0 => Plan::refused(host, Failure::ConnectFailed),
        1 => resets(Failure::UpstreamTerminated),
        2 => resets(Failure::UpstreamRefused),
        3 => resets(Failure::UpstreamClosed),
        4 => answers(host, at, 503),
        5 => Plan::on(host, Vec::new()),
        6 => Plan::on(
            host,
            vec![(at, head(200, BodyLength::Unknown)), (at + 9, Event::Reset(Failure::UpstreamReset))],
        ),
        7 => Plan::on(host, Vec::new()).takes(0, None),
        _ => answers(host, at, 200),
    };
    let plan = plan.after(connects);
    if reused { plan.reused() } else { plan }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn everything_is_given_back_after_any_history(
        plans in prop::collection::vec(any_plan(), 0..7),
        budget in 0..5_u32,
        leaves in prop::option::of(0..120_u64),
        per_try in prop::option::of(5..50_u64),
        upload in any::<bool>(),
        polls in prop_oneof![Just(usize::MAX), 0..20_usize],
    ) {
        play(move || async move {
            let plans = (1..).zip(plans).map(|(host, how)| plan(host, how)).collect();
            let route = forward(|spec| {
                spec.retry = RetrySpec { on_failure: true, ..RetrySpec::default() };
                spec.timeout = Some(Duration::from_millis(150));
                spec.per_try_timeout = per_try.map(Duration::from_millis);
            });
            let world = World::with(route, HttpLimits::default(), plans);
            world.upstream.retries.set(budget);
            let (client, request) = match upload {
                true => (Client::new().sends(vec![(1, data("a")), (30, last("b"))]), post()),
                false => (Client::new(), get()),
            };
            let client = match leaves {
                Some(at) => client.leaves(at),
                None => client,
            };
            world.run_partly(client, request, polls).await;
            world.assert_all_given_back();
            assert_eq!(world.lines().len(), usize::from(polls > 0));
        });
    }
}
