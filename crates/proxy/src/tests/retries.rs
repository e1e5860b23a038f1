//! When a request goes out again.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use mosn_config::model::{
    BackOffSpec, ClusterSpec, HttpLimits, Priority, RetryBudgetSpec, RetryCondition, RetrySpec,
};
use mosn_core::{BodyLength, Failure, RequestHead};
use mosn_upstream::{Clusters, HostId};

use super::{
    client::{Client, body},
    upstream::{Event, Plan},
    world::{World, answers, bytes, data, forward, get, head, last, play, post, response},
};

fn retrying(retry: RetrySpec, plans: Vec<Plan>) -> World {
    World::with(forward(|spec| spec.retry = retry), HttpLimits::default(), plans)
}

fn on_failure(plans: Vec<Plan>) -> World {
    retrying(RetrySpec { on_failure: true, ..RetrySpec::default() }, plans)
}

fn resets(host: u64, why: Failure) -> Plan {
    Plan::on(host, vec![(0, Event::Reset(why))])
}

#[test]
fn a_failed_connect_is_tried_three_more_times_on_other_hosts() {
    play(|| async {
        let plans = (1..=5).map(|host| Plan::refused(host, Failure::ConnectFailed)).collect();
        let world = World::forwarding(plans);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!((world.tries(), outcome.status()), (4, 502));
        assert_eq!(world.sent(3).borrow().tried, [HostId(1), HostId(2), HostId(3)]);
        assert_eq!(world.upstream.metrics.request_retry.get(), 3);
        // Each pause is 10 ms, and timers are up to 8 ms late.
        assert!((30..=70).contains(&outcome.millis()), "{:?}", outcome.took);

        let world = World::forwarding(vec![Plan::refused(1, Failure::ConnectTimeout), answers(2, 0, 200)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!((world.tries(), outcome.status()), (2, 200));
        assert_eq!(outcome.line, "200 0x0 - 0 0");
    });
}

#[test]
fn a_stream_that_the_upstream_refused_is_tried_again() {
    play(|| async {
        let world = World::forwarding(vec![resets(1, Failure::UpstreamRefused), answers(2, 0, 200)]);
        let client = Client::new().sends(vec![(0, last("abc"))]);
        assert_eq!(world.run(client, post()).await.status(), 200);
        assert_eq!(body(&world.sent(1).borrow().frames), b"abc");
    });
}

#[test]
fn what_the_upstream_may_have_acted_on_is_not_repeated_without_a_policy() {
    play(|| async {
        for why in [
            Failure::UpstreamTerminated,
            Failure::UpstreamReset,
            Failure::UpstreamClosed,
            Failure::Overflow,
            Failure::LocalReset,
        ] {
            let world = World::forwarding(vec![resets(1, why), answers(2, 0, 200)]);
            let outcome = world.run(Client::new(), get()).await;
            assert_eq!((world.tries(), outcome.status()), (1, why.row().status), "{why:?}");
        }
        let world = World::forwarding(vec![answers(1, 0, 503), answers(2, 0, 200)]);
        assert_eq!(world.run(Client::new(), get()).await.status(), 503);
    });
}

#[test]
fn the_policy_adds_lost_connections_and_5xx() {
    play(|| async {
        for first in [resets(1, Failure::UpstreamTerminated), answers(1, 0, 503)] {
            let world = on_failure(vec![first, answers(2, 0, 200)]);
            let outcome = world.run(Client::new(), get()).await;
            assert_eq!((world.tries(), outcome.line.as_str()), (2, "200 0x0 - 0 0"));
        }
        for why in [Failure::UpstreamReset, Failure::Overflow] {
            let world = on_failure(vec![resets(1, why), answers(2, 0, 200)]);
            assert_eq!(world.run(Client::new(), get()).await.status(), why.row().status);
        }
    });
}

#[test]
fn listed_statuses_are_the_only_ones() {
    play(|| async {
        let retry = RetrySpec { on_failure: true, status_codes: vec![429], ..RetrySpec::default() };
        let world = retrying(retry.clone(), vec![answers(1, 0, 429), answers(2, 0, 503), answers(3, 0, 200)]);
        assert_eq!(world.run(Client::new(), get()).await.status(), 503);
        assert_eq!(world.tries(), 2);
    });
}

#[test]
fn when_the_tries_are_used_up_the_last_reply_is_the_clients() {
    play(|| async {
        let mut plans: Vec<_> = (1..=3).map(|host| answers(host, 0, 503)).collect();
        let reply = Event::Head(response(502, BodyLength::Known(4)), Some(last("last")));
        plans.push(Plan::on(4, vec![(0, reply)]));
        plans.push(answers(5, 0, 200));
        let world = on_failure(plans);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!(world.tries(), 4);
        assert_eq!(outcome.got.borrow().body(), b"last");
        assert_eq!(outcome.line, "502 0x0 - 0 4");
    });
}

/// A policy of exactly these conditions.
fn on(conditions: &[&str], max_retries: u32) -> RetrySpec {
    let conditions = conditions.iter().filter_map(|name| RetryCondition::from_name(name)).collect();
    RetrySpec { conditions, status_codes: vec![404], max_retries, ..RetrySpec::default() }
}

/// An upstream that fails like this, and the status the client sees if that is the end of it.
fn failing(why: Failure) -> (Plan, u16) {
    let plan = match why {
        Failure::ConnectFailed | Failure::ConnectTimeout | Failure::Overflow | Failure::NoHealthyHost => {
            Plan::refused(1, why)
        }
        Failure::LocalReset => Plan::on(1, Vec::new()).send_fails(why),
        // Their time limits are over.
        Failure::PerTryTimeout | Failure::GlobalTimeout => Plan::on(1, Vec::new()),
        _ => resets(1, why),
    };
    (plan, why.row().status)
}

#[test]
fn every_condition_is_tried_again_for_what_it_says_and_nothing_else() {
    use Failure as F;
    const CONNECT: &[Failure] = &[F::ConnectFailed, F::ConnectTimeout];
    const SILENT: &[Failure] = &[
        F::ConnectFailed,
        F::ConnectTimeout,
        F::UpstreamClosed,
        F::UpstreamTerminated,
        F::UpstreamReset,
        F::UpstreamRefused,
        F::UpstreamCancelled,
        F::LocalReset,
        F::PerTryTimeout,
    ];
    let never = [F::Overflow, F::NoHealthyHost, F::GlobalTimeout];
    let table: [(&str, &[Failure], &[u16]); 8] = [
        ("5xx", SILENT, &[500, 502, 503]),
        ("gateway-error", SILENT, &[502, 503]),
        ("reset", SILENT, &[]),
        ("connect-failure", CONNECT, &[]),
        ("refused-stream", &[F::UpstreamRefused], &[]),
        ("retriable-status-codes", &[], &[404]),
        ("retriable-4xx", &[], &[409]),
        ("unavailable", &[], &[]),
    ];
    for (condition, failures, statuses) in table {
        play(|| async move {
            for why in SILENT.iter().chain(&never).copied() {
                let (plan, status) = failing(why);
                let per_try = (why == F::PerTryTimeout).then_some(Duration::from_millis(50));
                let route = forward(|spec| {
                    spec.retry = on(&[condition], 1);
                    spec.timeout = Some(Duration::from_millis(200));
                    spec.per_try_timeout = per_try;
                });
                let world = World::with(route, HttpLimits::default(), vec![plan, answers(2, 0, 200)]);
                let outcome = world.run(Client::new(), get()).await;
                let expected = if failures.contains(&why) { (2, 200) } else { (1, status) };
                assert_eq!((world.tries(), outcome.status()), expected, "{condition}: {why:?}");
            }
            for status in [200, 404, 409, 429, 500, 502, 503] {
                let world = retrying(on(&[condition], 1), vec![answers(1, 0, status), answers(2, 0, 201)]);
                let outcome = world.run(Client::new(), get()).await;
                let expected = if statuses.contains(&status) { (2, 201) } else { (1, status) };
                assert_eq!((world.tries(), outcome.status()), expected, "{condition}: {status}");
            }
        });
    }
}

#[test]
fn a_grpc_failure_without_a_message_is_tried_again() {
    play(|| async {
        let reply = |status: &str| {
            let mut head = response(200, BodyLength::Empty);
            head.headers.append("grpc-status", status.as_bytes());
            Plan::on(1, vec![(0, Event::Head(head, None))])
        };
        for (status, tries) in [("14", 2), ("0", 1), ("13", 1)] {
            let world = retrying(on(&["unavailable"], 1), vec![reply(status), answers(2, 0, 201)]);
            world.run(Client::new(), post()).await;
            assert_eq!(world.tries(), tries, "{status}");
        }
    });
}

#[test]
fn with_conditions_there_are_as_many_tries_as_configured() {
    play(|| async {
        for retries in [0, 1, 12] {
            let world = retrying(on(&["5xx"], retries), (1..=20).map(|host| answers(host, 0, 503)).collect());
            assert_eq!(world.run(Client::new(), get()).await.status(), 503);
            assert_eq!(world.tries() as u32, retries + 1);
        }
    });
}

#[test]
fn retries_that_never_reach_an_upstream_end_with_the_requests_time() {
    play(|| async {
        let world = retrying(on(&["connect-failure"], u32::MAX), Vec::new());
        world.upstream.otherwise.set(Some(|| Plan::refused(1, Failure::ConnectFailed)));
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!(outcome.status(), 504);
        // The default of 60 s, from the first failure on.
        assert!((60_000..60_100).contains(&outcome.millis()), "{:?}", outcome.took);
    });
}

#[test]
fn pauses_grow_where_the_policy_says_so() {
    play(|| async {
        let back_off = BackOffSpec { base: Duration::from_millis(100), max: Duration::from_millis(1000) };
        let retry = RetrySpec { back_off: Some(back_off), ..on(&["5xx"], 5) };
        let mut longest = 0;
        for _ in 0..40 {
            let world = retrying(retry.clone(), (1..=6).map(|host| answers(host, 0, 503)).collect());
            let outcome = world.run(Client::new(), get()).await;
            // 100 + 200 + 400 + 800 + 1000, and timers are up to 8 ms late.
            assert!(outcome.millis() <= 2500 + 5 * 8, "{:?}", outcome.took);
            longest = longest.max(outcome.millis());
        }
        assert!(longest > 1250, "{longest}");
    });
}

#[test]
fn the_route_says_how_much_of_a_body_is_kept() {
    play(|| async {
        for (limit, length, tries) in [(10, 10, 2), (10, 11, 1), (0, 1, 1), (1 << 20, 1 << 20, 2)] {
            let route = forward(|spec| {
                spec.retry = on(&["5xx"], 1);
                spec.buffer_limit = limit;
            });
            let plans = vec![answers(1, 20, 503), answers(2, 20, 200)];
            let world = World::with(route, HttpLimits::default(), plans);
            let client = Client::new().sends(vec![(0, bytes(length, true))]);
            world.run(client, post()).await;
            assert_eq!(world.tries(), tries, "{length} bytes of {limit}");
        }
        let route = forward(|spec| {
            spec.retry = on(&["5xx"], 1);
            spec.buffer_limit = 0;
        });
        let world = World::with(route, HttpLimits::default(), vec![answers(1, 0, 503), answers(2, 0, 200)]);
        world.run(Client::new(), get()).await;
        assert_eq!(world.tries(), 2, "no body, nothing to keep");
    });
}

/// How often the upstream is asked for 1000 requests, one each ms, while it fails them all after 50 ms.
fn asked_in_an_outage(budget: Option<RetryBudgetSpec>) -> usize {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    play(move || async move {
        let world = on_failure(Vec::new());
        let clusters = Clusters::new();
        let spec = ClusterSpec { name: "c".into(), retry_budget: budget, ..ClusterSpec::default() };
        clusters.add_or_update(spec).expect("a cluster");
        let cluster = clusters.get("c");
        world.upstream.otherwise.set(Some(|| answers(1, 50, 503)));
        world.upstream.breakers.replace(cluster.clone());
        let world = Rc::new(world);
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..1000 {
            let world = Rc::clone(&world);
            requests.spawn_local(async move {
                let (got, _) = world.run_partly(Client::new(), get(), usize::MAX).await;
                assert_eq!(got.borrow().status(), 503);
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while let Some(request) = requests.join_next().await {
            request.expect("carried through");
        }
        world.assert_all_given_back();
        assert_eq!(cluster.map(|cluster| cluster.in_flight(Priority::Default)), Some([0; 3]));
        count.store(world.tries(), Relaxed);
    });
    asked.load(Relaxed)
}

#[test]
fn an_outage_is_not_amplified_beyond_the_budget() {
    assert_eq!(asked_in_an_outage(None), 4000, "without a budget each request is tried four times");
    let budget = RetryBudgetSpec { percent: 20.0, min_concurrency: 3 };
    let asked = asked_in_an_outage(Some(budget));
    assert!((1100..=1300).contains(&asked), "{asked}");
    let none = RetryBudgetSpec { percent: 0.0, min_concurrency: 0 };
    assert_eq!(asked_in_an_outage(Some(none)), 1000);
}

#[test]
fn an_exhausted_retry_budget_gives_the_first_result_and_flag_0x80() {
    play(|| async {
        let world = on_failure(vec![answers(1, 0, 503), answers(2, 0, 200)]);
        world.upstream.retries.set(0);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!(outcome.line, "503 0x80 - 0 0");
        assert_eq!(world.upstream.metrics.request_retry_overflow.get(), 1);

        let world = World::forwarding(vec![Plan::refused(1, Failure::ConnectFailed), answers(2, 0, 200)]);
        world.upstream.retries.set(0);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!(outcome.line, "502 0xa0 connect_failed 0 0");
    });
}

#[test]
fn a_body_is_replayed_up_to_64_kib() {
    play(|| async {
        let frames = |size: usize| vec![(0, bytes(size / 2, false)), (10, bytes(size - size / 2, true))];
        let world = on_failure(vec![answers(1, 20, 503), answers(2, 20, 200)]);
        let client = Client::new().sends(frames(64 * 1024));
        assert_eq!(world.run(client, post()).await.status(), 200);
        assert_eq!(body(&world.sent(1).borrow().frames).len(), 64 * 1024);

        let world = on_failure(vec![answers(1, 20, 503), answers(2, 20, 200)]);
        let client = Client::new().sends(frames(64 * 1024 + 1));
        assert_eq!(world.run(client, post()).await.status(), 503);
        assert_eq!(world.tries(), 1);

        let world = on_failure(vec![
            Plan::on(1, vec![(20, Event::Reset(Failure::UpstreamTerminated))]),
            answers(2, 20, 200),
        ]);
        let client = Client::new().sends(frames(64 * 1024 + 1));
        assert_eq!(world.run(client, post()).await.status(), 500);
        assert_eq!(world.tries(), 1);
    });
}

#[test]
fn a_retry_in_the_middle_of_an_upload_sends_what_was_there_and_goes_on() {
    play(|| async {
        let world = on_failure(vec![answers(1, 15, 503), answers(2, 60, 200)]);
        let client = Client::new().sends(vec![(0, data("a")), (10, data("b")), (50, last("c"))]);
        let outcome = world.run(client, post()).await;
        assert_eq!(outcome.line, "200 0x0 - 3 0");
        assert_eq!(body(&world.sent(0).borrow().frames), b"ab");
        assert_eq!(body(&world.sent(1).borrow().frames), b"abc");
    });
}

#[test]
fn a_stale_connection_is_replaced_once_for_requests_that_may_be_repeated() {
    play(|| async {
        let stale = |host| resets(host, Failure::UpstreamClosed).reused();
        let world = World::forwarding(vec![stale(1), answers(1, 0, 200)]);
        assert_eq!(world.run(Client::new(), get()).await.status(), 200);
        assert!(!world.sent(0).borrow().fresh && world.sent(1).borrow().fresh);
        assert_eq!(world.upstream.metrics.request_retry.get(), 0, "it is no retry");

        let world = World::forwarding(vec![stale(1), stale(1), answers(1, 0, 200)]);
        assert_eq!(world.run(Client::new(), get()).await.status(), 502, "once");

        let world = World::forwarding(vec![resets(1, Failure::UpstreamClosed), answers(1, 0, 200)]);
        assert_eq!(world.run(Client::new(), get()).await.status(), 502, "a new connection is not stale");

        let world = World::forwarding(vec![stale(1), answers(1, 0, 200)]);
        let client = Client::new().sends(vec![(0, last("x"))]);
        assert_eq!(world.run(client, post()).await.status(), 502, "a POST may not be repeated");

        let put = RequestHead { method: http::Method::PUT, ..post() };
        let world = World::forwarding(vec![stale(1), answers(1, 0, 200)]);
        let client = Client::new().sends(vec![(0, last("x"))]);
        assert_eq!(world.run(client, put).await.status(), 200);
        assert_eq!(body(&world.sent(1).borrow().frames), b"x");
    });
}

#[test]
fn nothing_is_repeated_once_the_client_has_part_of_the_reply() {
    play(|| async {
        let cut = vec![(0, head(200, BodyLength::Known(4))), (5, Event::Reset(Failure::UpstreamTerminated))];
        let world = on_failure(vec![Plan::on(1, cut), answers(2, 0, 200)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!(world.tries(), 1);
        assert!(outcome.got.borrow().reset.is_some());
    });
}

#[test]
fn the_heads_of_all_tries_are_the_same() {
    play(|| async {
        let world = on_failure(vec![answers(1, 0, 503), answers(2, 0, 200)]);
        let mut request = get();
        request.headers.append("x-a", b"1");
        world.run(Client::new(), request).await;
        for try_ in [0, 1] {
            let sent = world.sent(try_);
            let sent = sent.borrow();
            let head = sent.head.as_ref().expect("a head");
            assert_eq!((head.headers.get("x-a"), &head.path[..]), (Some(&b"1"[..]), &b"/p?q=1"[..]));
        }
    });
}
