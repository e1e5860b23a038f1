//! How long a request may take, and what else runs out of time.

use std::time::Duration;

use mosn_config::model::{HttpLimits, RetrySpec};
use mosn_core::{BodyLength, Failure};

use super::{
    client::Client,
    upstream::{Event, Plan},
    world::{World, answers, data, forward, get, head, last, play, post},
};

/// A route with these times in ms, and retries on failure.
fn timed(global: u64, per_try: u64, plans: Vec<Plan>) -> World {
    let action = forward(|spec| {
        spec.timeout = Some(Duration::from_millis(global));
        spec.per_try_timeout = (per_try > 0).then(|| Duration::from_millis(per_try));
        spec.retry = RetrySpec { on_failure: true, ..RetrySpec::default() };
    });
    World::with(action, HttpLimits::default(), plans)
}

fn silent(host: u64) -> Plan {
    Plan::on(host, Vec::new())
}

/// Timers fire in slots of 8 ms, the pause before a retry included.
fn about(took: u64, expected: u64) -> bool {
    (expected..=expected + 40).contains(&took)
}

#[test]
fn the_global_timeout_ends_a_request_that_gets_no_reply() {
    play(|| async {
        let world = timed(200, 0, vec![silent(1)]);
        let outcome = world.run(Client::new(), get()).await;
        assert!(about(outcome.millis(), 200), "{:?}", outcome.took);
        assert!(outcome.line.starts_with("504 0x4 global_timeout"), "{}", outcome.line);
        assert_eq!(world.upstream.metrics.request_timeout.get(), 1);
        assert_eq!(world.upstream.host_metrics.request_timeout.get(), 1);
    });
}

#[test]
fn the_default_timeout_is_a_minute() {
    play(|| async {
        let outcome = World::forwarding(vec![silent(1)]).run(Client::new(), get()).await;
        assert!(about(outcome.millis(), 60_000), "{:?}", outcome.took);
    });
}

#[test]
fn the_global_timeout_runs_over_all_tries() {
    play(|| async {
        let world = timed(300, 120, (0..9).map(silent).collect());
        let outcome = world.run(Client::new(), get()).await;
        assert!(about(outcome.millis(), 300), "{:?}", outcome.took);
        assert_eq!(world.tries(), 3);
        assert!(outcome.line.starts_with("504 0x4 global_timeout"), "{}", outcome.line);
    });
}

#[test]
fn the_global_timeout_also_ends_a_connect_of_a_later_try() {
    play(|| async {
        let world = timed(300, 100, vec![silent(1), answers(2, 0, 200).after(5000)]);
        let outcome = world.run(Client::new(), get()).await;
        assert!(about(outcome.millis(), 300), "{:?}", outcome.took);
        assert!(outcome.line.starts_with("504 0x4 global_timeout"), "{}", outcome.line);
    });
}

#[test]
fn to_wait_for_other_requests_is_part_of_the_time_and_to_connect_is_not() {
    play(|| async {
        let outcome = timed(200, 0, vec![answers(1, 300, 200).after(150)]).run(Client::new(), get()).await;
        assert_eq!(outcome.status(), 200);
        let plans = vec![answers(1, 300, 200).after(150).waits()];
        let outcome = timed(200, 0, plans).run(Client::new(), get()).await;
        assert!(about(outcome.millis(), 200), "{:?}", outcome.took);
        assert!(outcome.line.starts_with("504 0x4 global_timeout"), "{}", outcome.line);
        let outcome = timed(200, 0, vec![silent(1).after(500).waits()]).run(Client::new(), get()).await;
        assert!(about(outcome.millis(), 200), "{:?}", outcome.took);
        assert!(outcome.line.starts_with("504 0x4 global_timeout"), "{}", outcome.line);
    });
}

#[test]
fn a_request_that_waited_while_its_client_still_sent_has_its_time_from_its_end() {
    play(|| async {
        let client = Client::new().sends(vec![(0, data("x")), (300, last("y"))]);
        let plans = vec![answers(1, 450, 200).after(150).waits()];
        let outcome = timed(200, 0, plans).run(client, post()).await;
        assert_eq!(outcome.status(), 200, "{}", outcome.line);
    });
}

#[test]
fn each_try_has_the_per_try_timeout_to_itself() {
    play(|| async {
        let world = timed(1000, 100, vec![silent(1), answers(2, 80, 200)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!(outcome.status(), 200);
        assert!(about(outcome.millis(), 190), "{:?}", outcome.took);
    });
}

#[test]
fn per_try_timeouts_are_final_where_the_route_does_not_retry() {
    play(|| async {
        let action = forward(|spec| spec.per_try_timeout = Some(Duration::from_millis(50)));
        let world = World::with(action, HttpLimits::default(), vec![silent(1), answers(2, 0, 200)]);
        let outcome = world.run(Client::new(), get()).await;
        assert!(outcome.line.starts_with("504 0x4 per_try_timeout"), "{}", outcome.line);
        assert_eq!(world.tries(), 1);
    });
}

#[test]
fn no_timeout_fires_once_the_head_has_come() {
    play(|| async {
        let events = vec![(40, head(200, BodyLength::Unknown)), (5000, Event::Frame(last("late")))];
        let world = timed(100, 50, vec![Plan::on(1, events)]);
        let outcome = world.run(Client::new(), get()).await;
        assert!(outcome.got.borrow().is_complete());
        assert!(outcome.line.starts_with("200 0x0 - 0 4"), "{}", outcome.line);
    });
}

#[test]
fn timeouts_run_from_the_end_of_the_upload() {
    play(|| async {
        let world = timed(100, 50, vec![answers(1, 540, 200)]);
        let client = Client::new().sends(vec![(0, data("a")), (500, last("b"))]);
        let outcome = world.run(client, post()).await;
        assert_eq!(outcome.status(), 200);
        let world = timed(100, 0, vec![silent(1)]);
        let client = Client::new().sends(vec![(0, data("a")), (500, last("b"))]);
        let outcome = world.run(client, post()).await;
        assert!(about(outcome.millis(), 600), "{:?}", outcome.took);
        assert_eq!(outcome.status(), 504);
    });
}

#[test]
fn the_request_may_name_its_own_timeouts() {
    play(|| async {
        let world = timed(60_000, 0, vec![silent(1)]);
        let mut request = get();
        request.headers.set("x-mosn-global-timeout", b"80");
        let outcome = world.run(Client::new(), request).await;
        assert!(about(outcome.millis(), 80), "{:?}", outcome.took);
    });
}

fn idle(ms: u64, plans: Vec<Plan>) -> World {
    let limits = HttpLimits { body_idle_timeout: Duration::from_millis(ms), ..HttpLimits::default() };
    World::with(forward(|_| {}), limits, plans)
}

#[test]
fn an_upload_that_stalls_is_answered_408() {
    play(|| async {
        let world = idle(200, vec![silent(1)]);
        let client = Client::new().sends(vec![(0, data("a")), (150, data("b"))]);
        let outcome = world.run(client, post()).await;
        assert!(about(outcome.millis(), 350), "{:?}", outcome.took);
        assert!(outcome.line.starts_with("408 0x0 body_idle_timeout 2 0"), "{}", outcome.line);
    });
}

#[test]
fn an_upload_that_goes_on_slowly_is_left_alone() {
    play(|| async {
        let world = idle(200, vec![answers(1, 1600, 200)]);
        let mut frames: Vec<_> = (0..10).map(|i| (i * 150, data("a"))).collect();
        frames.push((1500, last("b")));
        let outcome = world.run(Client::new().sends(frames), post()).await;
        assert_eq!(outcome.status(), 200);
    });
}

#[test]
fn waiting_for_the_reply_is_no_silence_within_a_body() {
    play(|| async {
        let events = vec![(900, head(200, BodyLength::Known(2))), (1000, Event::Frame(last("ok")))];
        let world = idle(200, vec![Plan::on(1, events)]);
        let client = Client::new().sends(vec![(0, data("a")), (100, last("b"))]);
        let outcome = world.run(client, post()).await;
        assert!(outcome.got.borrow().is_complete(), "{}", outcome.line);
    });
}

#[test]
fn a_reply_that_stalls_is_cut_short() {
    play(|| async {
        let events = vec![(5, head(200, BodyLength::Known(9))), (50, Event::Frame(data("abc")))];
        let outcome = idle(200, vec![Plan::on(1, events)]).run(Client::new(), get()).await;
        assert!(about(outcome.millis(), 250), "{:?}", outcome.took);
        assert_eq!(outcome.got.borrow().reset, Some(Failure::BodyIdleTimeout));
        assert!(outcome.line.starts_with("200 0x0 body_idle_timeout 0 3"), "{}", outcome.line);
    });
}

#[test]
fn a_client_that_stops_reading_is_cut_off() {
    play(|| async {
        for room in [1, 2] {
            let events = vec![
                (5, head(200, BodyLength::Known(6))),
                (10, Event::Frame(data("abc"))),
                (20, Event::Frame(last("def"))),
            ];
            let world = idle(200, vec![Plan::on(1, events)]);
            let outcome = world.run(Client::new().takes(room - 1, None), get()).await;
            assert!(about(outcome.millis(), 205), "room {room}: {:?}", outcome.took);
            assert_eq!(outcome.got.borrow().reset, Some(Failure::BodyIdleTimeout));
        }
    });
}
