//! A try that takes too long goes on beside the next one.

use std::time::Duration;

use bytes::Bytes;
use mosn_config::model::{BackOffSpec, HttpLimits, RetryCondition, RetrySpec};
use mosn_core::{BodyLength, Failure, RequestHead};
use mosn_upstream::{HostId, Outcome};

use super::{
    client::{Client, body},
    upstream::{Event, Plan},
    world::{World, answers, bytes, data, forward, get, head, last, play, post, response},
};

/// 100 ms for a try, a second for all, and this many tries more.
fn hedging(retries: u32, plans: Vec<Plan>) -> World {
    let conditions = vec![RetryCondition::GatewayError];
    with(RetrySpec { conditions, max_retries: retries, hedge: true, ..RetrySpec::default() }, plans)
}

fn with(retry: RetrySpec, plans: Vec<Plan>) -> World {
    let action = forward(|spec| {
        spec.timeout = Some(Duration::from_secs(1));
        spec.per_try_timeout = Some(Duration::from_millis(100));
        spec.retry = retry;
        spec.buffer_limit = 100;
    });
    World::with(action, HttpLimits::default(), plans)
}

fn silent(host: u64) -> Plan {
    Plan::on(host, Vec::new())
}

/// Each timer is up to 8 ms late, and a timeout is seldom more than two of them.
fn about(took: u64, expected: u64) -> bool {
    (expected..=expected + 24).contains(&took)
}

fn outcomes(world: &World) -> Vec<(u64, Outcome)> {
    world.upstream.outcomes.borrow().iter().map(|&(host, outcome, _)| (host, outcome)).collect()
}

#[test]
fn the_second_try_begins_beside_the_first_and_wins() {
    play(|| async {
        let world = hedging(1, vec![silent(1), answers(2, 20, 200)]);
        let outcome = world.run(Client::new(), get()).await;
        assert!(about(outcome.millis(), 120), "{:?}", outcome.took);
        assert_eq!(outcome.line, "200 0x0 - 0 0");
        assert_eq!(world.sent(1).borrow().tried, [HostId(1)]);
        let metrics = &world.upstream.metrics;
        assert_eq!((metrics.request_retry.get(), metrics.request_hedge.get()), (1, 1));
        assert_eq!((metrics.response_success.get(), metrics.response_failed.get()), (1, 1));
        assert_eq!(outcomes(&world), [(1, Outcome::TimedOut), (2, Outcome::Status(200))]);
    });
}

#[test]
fn the_first_try_wins_if_it_answers_first_after_all() {
    play(|| async {
        let reply = vec![
            (150, Event::Head(response(200, BodyLength::Unknown), Some(data("slow ")))),
            (170, Event::Frame(last("one"))),
        ];
        let world = hedging(1, vec![Plan::on(1, reply), answers(2, 500, 200)]);
        let outcome = world.run(Client::new(), get()).await;
        assert!(about(outcome.millis(), 170), "{:?}", outcome.took);
        assert_eq!(outcome.got.borrow().body(), b"slow one");
        assert_eq!(outcome.line, "200 0x0 - 0 8");
        // Whoever was not given the time to answer is not to blame.
        assert_eq!(outcomes(&world), [(2, Outcome::Unknown), (1, Outcome::Status(200))]);
        assert_eq!(world.upstream.metrics.response_failed.get(), 0);
    });
}

#[test]
fn a_try_that_lost_ends_when_the_other_answers_not_when_its_reply_is_over() {
    play(|| async {
        let long = vec![(50, head(200, BodyLength::Unknown)), (60_000, Event::Frame(last("end")))];
        let world = hedging(1, vec![silent(1), Plan::on(2, long)]);
        let request = async { world.run_partly(Client::new(), get(), usize::MAX).await };
        let watch = async {
            tokio::time::sleep(Duration::from_millis(130)).await;
            assert_eq!(world.upstream.live.get(), 2);
            tokio::time::sleep(Duration::from_millis(70)).await;
            assert_eq!(world.upstream.live.get(), 1);
        };
        tokio::join!(request, watch);
        world.assert_all_given_back();
    });
}

#[test]
fn without_the_key_the_first_try_ends_before_the_second_begins() {
    play(|| async {
        let conditions = vec![RetryCondition::GatewayError];
        let retry = RetrySpec { conditions, max_retries: 1, ..RetrySpec::default() };
        let world = with(retry, vec![answers(1, 150, 200), answers(2, 500, 200)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!(outcome.line, "504 0x4 per_try_timeout 0 0");
        assert_eq!(world.upstream.metrics.request_hedge.get(), 0);
    });
}

#[test]
fn any_try_may_win_however_many_there_are() {
    play(|| async {
        for winner in 0..4 {
            let plans = (0..4).map(|host| match host {
                host if host == winner => answers(host + 1, 350 - host * 100, 200),
                host => silent(host + 1),
            });
            let world = hedging(3, plans.collect());
            let outcome = world.run(Client::new(), get()).await;
            assert_eq!(outcome.line, "200 0x0 - 0 0", "{winner}");
            assert!(about(outcome.millis(), 350), "{winner}: {:?}", outcome.took);
            assert_eq!(world.tries(), 4, "{winner}");
        }
    });
}

#[test]
fn without_further_tries_those_that_are_out_have_the_requests_whole_time() {
    play(|| async {
        let world = hedging(1, vec![answers(1, 900, 200), silent(2)]);
        let outcome = world.run(Client::new(), get()).await;
        assert!(about(outcome.millis(), 900), "{:?}", outcome.took);
        assert_eq!((world.tries(), outcome.line.as_str()), (2, "200 0x0 - 0 0"));

        let world = hedging(1, vec![silent(1), silent(2)]);
        let outcome = world.run(Client::new(), get()).await;
        assert!(about(outcome.millis(), 1000), "{:?}", outcome.took);
        assert_eq!(outcome.line, "504 0x4 global_timeout 0 0");
        assert_eq!(outcomes(&world), [(1, Outcome::TimedOut), (2, Outcome::TimedOut)]);
    });
}

#[test]
fn a_bad_reply_counts_only_if_there_is_no_other_to_wait_for() {
    play(|| async {
        let world = hedging(1, vec![answers(1, 150, 503), answers(2, 100, 200)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!((outcome.status(), about(outcome.millis(), 200)), (200, true), "{:?}", outcome.took);

        // There is no try after the second, but the first is still out.
        let world = hedging(1, vec![answers(1, 400, 200), answers(2, 50, 503)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!((outcome.status(), about(outcome.millis(), 400)), (200, true), "{:?}", outcome.took);
        assert_eq!(outcomes(&world), [(2, Outcome::Status(503)), (1, Outcome::Status(200))]);
        world.assert_all_given_back();

        let world = hedging(1, vec![answers(1, 400, 502), answers(2, 50, 503)]);
        assert_eq!(world.run(Client::new(), get()).await.status(), 502);

        let world = hedging(1, vec![silent(1), answers(2, 50, 503)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!(outcome.line, "504 0x4 global_timeout 0 0");
        assert_eq!(outcomes(&world), [(2, Outcome::Status(503)), (1, Outcome::TimedOut)]);

        // Both are overdue: the last word is the client's.
        let world = hedging(1, vec![answers(1, 300, 503), answers(2, 300, 502)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!((outcome.status(), about(outcome.millis(), 400)), (502, true), "{:?}", outcome.took);
        assert_eq!(outcomes(&world), [(1, Outcome::Status(503)), (2, Outcome::Status(502))]);
    });
}

#[test]
fn a_failure_counts_only_if_there_is_no_other_to_wait_for() {
    play(|| async {
        let breaks = |host, at| Plan::on(host, vec![(at, Event::Reset(Failure::UpstreamTerminated))]);
        let world = hedging(1, vec![answers(1, 400, 200), breaks(2, 50)]);
        assert_eq!(world.run(Client::new(), get()).await.status(), 200);
        assert_eq!(outcomes(&world), [(2, Outcome::Reset), (1, Outcome::Status(200))]);
        assert_eq!(world.upstream.metrics.response_failed.get(), 1);

        let world = hedging(1, vec![breaks(1, 150), answers(2, 60, 200)]);
        assert_eq!(world.run(Client::new(), get()).await.status(), 200);

        let world = hedging(1, vec![breaks(1, 150), breaks(2, 150)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!(outcome.line, "500 0x40 upstream_terminated 0 0");
        assert!(about(outcome.millis(), 250), "{:?}", outcome.took);

        let world =
            hedging(1, vec![answers(1, 400, 200), Plan::refused(2, Failure::ConnectFailed).after(30)]);
        assert_eq!(world.run(Client::new(), get()).await.status(), 200);
    });
}

#[test]
fn an_overdue_try_may_answer_while_the_next_connects_or_pauses() {
    play(|| async {
        let world = hedging(1, vec![answers(1, 150, 200), answers(2, 0, 200).after(300)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!((outcome.status(), about(outcome.millis(), 150)), (200, true), "{:?}", outcome.took);

        let pause = Duration::from_secs(900);
        let retry = RetrySpec {
            conditions: vec![RetryCondition::GatewayError],
            max_retries: 2,
            back_off: Some(BackOffSpec { base: pause, max: pause }),
            hedge: true,
            ..RetrySpec::default()
        };
        let world = with(retry, vec![answers(1, 300, 200), answers(2, 50, 503), answers(3, 0, 200)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!((outcome.status(), about(outcome.millis(), 300)), (200, true), "{:?}", outcome.took);
        assert_eq!(world.tries(), 2);
    });
}

#[test]
fn every_try_holds_its_own_place_in_the_retry_budget() {
    play(|| async {
        let world = hedging(3, vec![silent(1), silent(2), silent(3), answers(4, 50, 200)]);
        let request = async { world.run_partly(Client::new(), get(), usize::MAX).await };
        let watch = async {
            let mut seen = Vec::new();
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(80)).await;
                seen.push(world.upstream.tokens.get());
            }
            assert_eq!(seen, [0, 1, 2, 3]);
        };
        tokio::join!(request, watch);
        world.assert_all_given_back();

        let world = hedging(3, vec![answers(1, 300, 200), silent(2)]);
        world.upstream.retries.set(0);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!((world.tries(), outcome.line.as_str()), (1, "200 0x80 - 0 0"));
        assert_eq!(world.upstream.metrics.request_retry_overflow.get(), 1);
        assert_eq!(world.upstream.metrics.request_hedge.get(), 0);
    });
}

#[test]
fn an_open_breaker_lets_the_first_try_go_on() {
    play(|| async {
        let world = hedging(1, vec![answers(1, 300, 200), Plan::refused(2, Failure::Overflow)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!((world.tries(), outcome.line.as_str()), (2, "200 0x0 - 0 0"));
    });
}

#[test]
fn a_request_that_cannot_be_repeated_is_not_hedged() {
    play(|| async {
        let world = hedging(1, vec![answers(1, 150, 200), answers(2, 0, 200)]);
        let client = Client::new().sends(vec![(0, bytes(101, true))]);
        let outcome = world.run(client, post()).await;
        assert_eq!((world.tries(), outcome.line.as_str()), (1, "504 0x4 per_try_timeout 101 0"));

        let world = hedging(1, vec![silent(1), answers(2, 0, 200)]);
        let client = Client::new().sends(vec![(0, bytes(100, true))]);
        assert_eq!(world.run(client, post()).await.status(), 200);
        assert_eq!(body(&world.sent(1).borrow().frames).len(), 100);

        let upgrade = RequestHead { upgrade: Some(Bytes::from_static(b"websocket")), ..get() };
        let world = hedging(1, vec![silent(1), answers(2, 0, 200)]);
        let outcome = world.run(Client::new(), upgrade).await;
        assert_eq!((world.tries(), outcome.line.as_str()), (2, "200 0x0 - 0 0"), "a plain retry");
        assert_eq!(world.upstream.metrics.request_hedge.get(), 0);
    });
}

#[test]
fn a_reply_that_has_begun_is_not_hedged() {
    play(|| async {
        let slow = vec![(90, head(200, BodyLength::Unknown)), (700, Event::Frame(last("end")))];
        let world = hedging(1, vec![Plan::on(1, slow), answers(2, 0, 200)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!((world.tries(), outcome.line.as_str()), (1, "200 0x0 - 0 3"));
    });
}

#[test]
fn a_flood_of_interim_replies_ends_an_overdue_try() {
    play(|| async {
        let flood = (0..200).map(|_| (150, Event::Interim(103))).collect();
        let world = hedging(1, vec![Plan::on(1, flood), answers(2, 300, 200)]);
        assert_eq!(world.run(Client::new(), get()).await.status(), 200);
        assert_eq!(outcomes(&world), [(1, Outcome::Reset), (2, Outcome::Status(200))]);
    });
}
