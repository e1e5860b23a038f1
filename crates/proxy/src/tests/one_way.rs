//! Requests whose client awaits no reply.

use mosn_config::model::{ActionSpec, DirectResponseSpec, HttpLimits, RetrySpec};
use mosn_core::{BodyLength, Failure, RequestHead};

use super::{
    client::{Client, body},
    upstream::{Event, Plan},
    world::{Outcome, World, answers, data, forward, get, last, play, post},
};

fn one_way(head: RequestHead) -> RequestHead {
    RequestHead { one_way: true, ..head }
}

fn assert_silent(outcome: &Outcome) {
    let got = outcome.got.borrow();
    assert!(got.head.is_none() && got.frames.is_empty() && got.reset.is_none(), "{got:?}");
}

#[test]
fn it_is_over_once_the_upstream_has_it() {
    play(|| async {
        let world = World::forwarding(vec![answers(1, 100, 200).after(30)]);
        let outcome = world.run(Client::new(), one_way(get())).await;
        assert_silent(&outcome);
        assert_eq!((outcome.millis(), outcome.line.as_str()), (30, "0 0x0 - 0 0"));
        assert_eq!(world.downstream.request_reset.get(), 0);
        let metrics = &world.upstream.metrics;
        assert_eq!(
            (metrics.request_total.get(), metrics.response_success.get(), metrics.response_failed.get()),
            (1, 0, 0)
        );
    });
}

#[test]
fn the_upstream_gets_all_of_its_body() {
    play(|| async {
        let world = World::forwarding(vec![Plan::on(1, Vec::new()).takes(1, Some(50))]);
        let client = Client::new().sends(vec![(0, data("ab")), (0, data("cd")), (0, last("ef"))]);
        let outcome = world.run(client, one_way(post())).await;
        assert_silent(&outcome);
        assert_eq!(body(&world.sent(0).borrow().frames), b"abcdef");
        assert_eq!((outcome.millis(), outcome.line.as_str()), (50, "0 0x0 - 6 0"));
    });
}

#[test]
fn it_is_sent_once_and_nobody_hears_of_its_failure() {
    play(|| async {
        let retry = RetrySpec { on_failure: true, ..RetrySpec::default() };
        let plans = [
            Plan::refused(1, Failure::ConnectFailed),
            Plan::on(1, vec![(0, Event::Reset(Failure::UpstreamClosed))]).reused().takes(0, None),
            Plan::on(1, Vec::new()).send_fails(Failure::LocalReset),
        ];
        let words = ["connect_failed", "upstream_closed", "local_reset"];
        for (plan, word) in plans.into_iter().zip(words) {
            let route = forward(|spec| spec.retry = retry.clone());
            let world = World::with(route, HttpLimits::default(), vec![plan, answers(2, 0, 200)]);
            let client = Client::new().sends(vec![(0, data("a")), (1, last("b"))]);
            let outcome = world.run(client, one_way(post())).await;
            assert_silent(&outcome);
            assert_eq!(world.tries(), 1, "{word}");
            let fields: Vec<_> = outcome.line.split(' ').collect();
            assert_eq!((fields[0], fields[2]), ("0", word), "{}", outcome.line);
        }
    });
}

#[test]
fn replies_of_our_own_are_not_sent_either() {
    play(|| async {
        let direct = Box::new(DirectResponseSpec { status: 418, body: "tea".into() });
        let world = World::with(ActionSpec::DirectResponse(direct), HttpLimits::default(), Vec::new());
        let outcome = world.run(Client::new(), one_way(get())).await;
        assert_silent(&outcome);
        assert_eq!(outcome.line, "0 0x0 - 0 0");

        let limits = HttpLimits { max_request_body_size: 3, ..HttpLimits::default() };
        let world = World::with(forward(|_| {}), limits, Vec::new());
        let head = RequestHead { body: BodyLength::Known(4), ..post() };
        let outcome = world.run(Client::new(), one_way(head)).await;
        assert_silent(&outcome);
        assert_eq!(outcome.line, "0 0x1000 payload_too_large 0 0");
    });
}
