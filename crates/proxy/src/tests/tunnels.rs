//! Streams that stop being HTTP.

use std::time::Duration;

use bytes::Bytes;
use mosn_config::model::HttpLimits;
use mosn_core::{BodyLength, Failure, RequestHead};

use super::{
    client::{Client, body},
    upstream::{Event, Plan},
    world::{World, answers, data, forward, get, head, last, play},
};

fn upgrade() -> RequestHead {
    RequestHead { upgrade: Some(Bytes::from_static(b"websocket")), ..get() }
}

#[test]
fn bytes_flow_both_ways_until_the_upstream_ends() {
    play(|| async {
        let events = vec![
            (10, head(101, BodyLength::Unknown)),
            (30, Event::Frame(data("pong"))),
            (200, Event::Frame(last("bye"))),
        ];
        let world = World::forwarding(vec![Plan::on(1, events)]);
        let client = Client::new().sends(vec![(20, data("ping")), (40, last("done"))]);
        let outcome = world.run(client, upgrade()).await;
        assert_eq!(outcome.got.borrow().body(), b"pongbye");
        assert_eq!(body(&world.sent(0).borrow().frames), b"pingdone");
        assert_eq!(outcome.line, "101 0x0 - 8 7");
    });
}

#[test]
fn nothing_goes_up_before_the_upstream_has_agreed() {
    play(|| async {
        for length in [BodyLength::Empty, BodyLength::Unknown, BodyLength::Known(5)] {
            let events = vec![(100, head(101, BodyLength::Unknown)), (200, Event::Frame(last("bye")))];
            let world = World::forwarding(vec![Plan::on(1, events)]);
            let client = Client::new().sends(vec![(0, data("early"))]);
            let request = RequestHead { body: length, ..upgrade() };
            let sent_early = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let before = world.sent(0).borrow().frames.len();
                tokio::time::sleep(Duration::from_millis(100)).await;
                (before, world.sent(0).borrow().frames.len())
            };
            let (outcome, early) = tokio::join!(world.run(client, request), sent_early);
            assert_eq!(early, (0, 1), "{length:?}: before and right after it has");
            assert_eq!(body(&world.sent(0).borrow().frames), b"early");
            assert_eq!(outcome.status(), 101);
        }
    });
}

#[test]
fn an_upstream_that_declines_gives_an_ordinary_reply() {
    play(|| async {
        let events = vec![(10, head(404, BodyLength::Known(4))), (20, Event::Frame(last("nope")))];
        let world = World::forwarding(vec![Plan::on(1, events)]);
        let outcome = world.run(Client::new(), upgrade()).await;
        assert!(outcome.got.borrow().is_complete());
        assert_eq!(outcome.line, "404 0x0 - 0 4");
    });
}

#[test]
fn a_client_that_goes_before_the_tunnel_is_open_is_noticed() {
    play(|| async {
        let world = World::forwarding(vec![answers(1, 5000, 101)]);
        let outcome = world.run(Client::new().leaves(20), upgrade()).await;
        assert!(outcome.millis() < 40, "{:?}", outcome.took);
        assert!(outcome.line.starts_with("504 0x0 client_gone"), "{}", outcome.line);
    });
}

#[test]
fn an_upstream_that_never_answers_an_upgrade_times_out() {
    play(|| async {
        let action = forward(|spec| spec.timeout = Some(Duration::from_millis(100)));
        let world = World::with(action, HttpLimits::default(), vec![Plan::on(1, Vec::new())]);
        let outcome = world.run(Client::new(), upgrade()).await;
        assert!(outcome.line.starts_with("504 0x4 global_timeout"), "{}", outcome.line);
        assert!(outcome.millis() < 140, "{:?}", outcome.took);
    });
}

#[test]
fn a_tunnel_lasts_as_long_as_either_side_speaks() {
    play(|| async {
        let limits = HttpLimits { body_idle_timeout: Duration::from_millis(200), ..HttpLimits::default() };
        let mut events = vec![(10, head(101, BodyLength::Unknown))];
        events.extend((1..=10).map(|i| (i * 150, Event::Frame(data("x")))));
        let world = World::with(forward(|_| {}), limits, vec![Plan::on(1, events)]);
        let outcome = world.run(Client::new(), upgrade()).await;
        assert!((1690..1740).contains(&outcome.millis()), "{:?}", outcome.took);
        assert_eq!(outcome.got.borrow().reset, Some(Failure::BodyIdleTimeout));
    });
}

#[test]
fn the_body_limit_is_no_limit_on_a_tunnel() {
    play(|| async {
        let limits = HttpLimits { max_request_body_size: 4, ..HttpLimits::default() };
        let events = vec![(10, head(101, BodyLength::Unknown)), (200, Event::Frame(last("bye")))];
        let world = World::with(forward(|_| {}), limits, vec![Plan::on(1, events)]);
        let client = Client::new().sends(vec![(20, data("12345")), (30, data("67890"))]);
        let outcome = world.run(client, upgrade()).await;
        assert_eq!(outcome.line, "101 0x0 - 10 3");
    });
}

#[test]
fn a_tunnel_that_either_side_breaks_is_reset() {
    play(|| async {
        let events =
            vec![(10, head(101, BodyLength::Unknown)), (30, Event::Reset(Failure::UpstreamTerminated))];
        let world = World::forwarding(vec![Plan::on(1, events)]);
        let outcome = world.run(Client::new(), upgrade()).await;
        assert!(outcome.line.starts_with("101 0x40 upstream_terminated"), "{}", outcome.line);
        assert_eq!(outcome.got.borrow().reset, Some(Failure::UpstreamTerminated));

        let world = World::forwarding(vec![Plan::on(1, vec![(10, head(101, BodyLength::Unknown))])]);
        let client = Client::new().sends_then_fails(vec![(20, data("a"))], 30, Failure::ClientGone);
        let outcome = world.run(client, upgrade()).await;
        assert!(outcome.line.starts_with("504 0x0 client_gone"), "{}", outcome.line);
    });
}
