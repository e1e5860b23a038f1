//! Bodies on their way: interim replies, early replies, limits, back-pressure.

use mosn_config::model::HttpLimits;
use mosn_core::{BodyLength, Failure, RequestHead};

use super::{
    client::{Client, body},
    upstream::{Event, Plan},
    world::{World, answers, bytes, data, forward, get, head, last, play, post, response},
};

#[test]
fn interim_replies_pass_through_in_order() {
    play(|| async {
        let events = vec![
            (5, Event::Interim(103)),
            (10, Event::Interim(100)),
            (15, Event::Interim(102)),
            (20, head(200, BodyLength::Empty)),
        ];
        let outcome = World::forwarding(vec![Plan::on(1, events)]).run(Client::new(), get()).await;
        assert_eq!(outcome.got.borrow().interims, [103, 100, 102]);
        assert_eq!(outcome.status(), 200);
    });
}

#[test]
fn an_upstream_that_never_gets_beyond_interim_replies_is_cut_off() {
    play(|| async {
        let mut events: Vec<_> = (0..100_000).map(|_| (5, Event::Interim(102))).collect();
        events.push((5, head(200, BodyLength::Empty)));
        let world = World::forwarding(vec![Plan::on(1, events)]);
        let outcome = world.run(Client::new(), get()).await;
        assert_eq!(outcome.status(), 502);
        assert!(outcome.line.starts_with("502 0x10 upstream_reset"), "{}", outcome.line);
        assert!(outcome.got.borrow().interims.len() < 1000);
    });
}

#[test]
fn a_reply_that_comes_before_the_upload_ends_is_the_reply() {
    play(|| async {
        let events = vec![
            (15, Event::Head(response(413, BodyLength::Known(6)), Some(data("too")))),
            (20, Event::Frame(last("big"))),
        ];
        let world = World::forwarding(vec![Plan::on(1, events)]);
        let client = Client::new().sends((0..100).map(|i| (i * 10, data("a"))).collect());
        let outcome = world.run(client, post()).await;
        assert_eq!(outcome.got.borrow().body(), b"toobig");
        assert!(outcome.got.borrow().is_complete());
        assert!(outcome.millis() < 30, "it does not wait for the upload: {:?}", outcome.took);
        assert_eq!(outcome.line, "413 0x0 - 3 6");
    });
}

#[test]
fn an_early_reply_with_a_long_body_lets_the_upload_go_on_meanwhile() {
    play(|| async {
        let events = vec![(5, head(200, BodyLength::Unknown)), (100, Event::Frame(last("end")))];
        let world = World::forwarding(vec![Plan::on(1, events)]);
        let client = Client::new().sends(vec![(0, data("a")), (20, data("b")), (40, last("c"))]);
        let outcome = world.run(client, post()).await;
        assert_eq!(body(&world.sent(0).borrow().frames), b"abc");
        assert_eq!(outcome.line, "200 0x0 - 3 3");
    });
}

fn limited(limit: u64) -> World {
    let limits = HttpLimits { max_request_body_size: limit, ..HttpLimits::default() };
    World::with(forward(|_| {}), limits, vec![answers(1, 20, 200)])
}

#[test]
fn a_body_that_is_known_to_be_too_large_never_reaches_the_upstream() {
    play(|| async {
        let world = limited(10);
        let head = RequestHead { body: BodyLength::Known(11), ..post() };
        let outcome = world.run(Client::new(), head).await;
        assert_eq!((outcome.line.as_str(), world.tries()), ("413 0x1000 payload_too_large 0 0", 0));
        let head = RequestHead { body: BodyLength::Known(10), ..post() };
        let outcome = limited(10).run(Client::new().sends(vec![(0, bytes(10, true))]), head).await;
        assert_eq!(outcome.status(), 200);
    });
}

#[test]
fn a_body_that_turns_out_too_large_is_answered_413() {
    play(|| async {
        let world = limited(10);
        let client = Client::new().sends(vec![(0, bytes(6, false)), (5, bytes(6, true))]);
        let outcome = world.run(client, post()).await;
        assert_eq!(outcome.line, "413 0x1000 payload_too_large 12 0");
        assert!(body(&world.sent(0).borrow().frames).len() <= 10);
        let client = Client::new().sends(vec![(0, bytes(6, false)), (5, bytes(4, true))]);
        assert_eq!(limited(10).run(client, post()).await.status(), 200);
    });
}

#[test]
fn a_slow_upstream_holds_the_client_back() {
    play(|| async {
        let world = World::forwarding(vec![
            Plan::on(1, vec![(600, head(200, BodyLength::Empty))]).takes(3, Some(500)),
        ]);
        let mut frames: Vec<_> = (0..200).map(|_| (0, bytes(100, false))).collect();
        frames.push((0, last("end")));
        let client = Client::new().sends(frames);
        let got = std::rc::Rc::clone(&client.got);
        let taken = async {
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
            got.borrow().taken
        };
        let (outcome, taken) = join(world.run(client, post()), taken).await;
        assert!(taken <= 4, "{taken} frames were taken from a client while the upstream took 3");
        assert_eq!(outcome.status(), 200);
        assert_eq!(body(&world.sent(0).borrow().frames).len(), 20_003);
    });
}

#[test]
fn a_slow_client_holds_the_upstream_back() {
    play(|| async {
        let mut events = vec![(0, head(200, BodyLength::Unknown))];
        events.extend((0..200).map(|_| (0, Event::Frame(bytes(100, false)))));
        events.push((0, Event::Frame(last("end"))));
        let world = World::forwarding(vec![Plan::on(1, events)]);
        let client = Client::new().takes(3, Some(500));
        let taken = async {
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
            world.sent(0).borrow().taken
        };
        let (outcome, taken) = join(world.run(client, get()), taken).await;
        assert!(taken <= 4, "{taken} frames were taken from an upstream while the client took 3");
        assert_eq!(outcome.got.borrow().body().len(), 20_003);
    });
}

async fn join<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    tokio::join!(a, b)
}

#[test]
fn a_reply_to_head_ends_with_its_head() {
    play(|| async {
        let mut reply = response(200, BodyLength::Empty);
        reply.headers.append("Content-Length", b"5000");
        let world = World::forwarding(vec![Plan::on(1, vec![(5, Event::Head(reply, None))])]);
        let request = RequestHead { method: http::Method::HEAD, ..get() };
        let outcome = world.run(Client::new(), request).await;
        let got = outcome.got.borrow();
        assert!(got.is_complete() && got.frames.is_empty());
        let head = got.head.as_ref().expect("a head");
        assert_eq!(head.headers.get("content-length"), Some(&b"5000"[..]));
        assert_eq!(outcome.line, "200 0x0 - 0 0");
    });
}

#[test]
fn a_body_that_is_there_leaves_together_with_the_head() {
    play(|| async {
        let world = World::forwarding(vec![answers(1, 5, 200)]);
        world.run(Client::new().sends(vec![(0, last("abc"))]), post()).await;
        assert_eq!(world.sent(0).borrow().frames.len(), 1);
        let world = World::forwarding(vec![Plan::on(1, vec![(5, Event::Reset(Failure::UpstreamReset))])]);
        let outcome = world.run(Client::new().sends(vec![(0, last("abc"))]), post()).await;
        assert_eq!(outcome.line, "502 0x10 upstream_reset 3 0");
    });
}
