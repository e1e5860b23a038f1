//! When a request goes out again.

use mosn_config::model::{HttpLimits, RetrySpec};
use mosn_core::{BodyLength, Failure, RequestHead};
use mosn_upstream::HostId;

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
