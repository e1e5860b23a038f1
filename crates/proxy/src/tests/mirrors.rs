//! Copies of requests.

use std::{rc::Rc, time::Duration};

use mosn_config::model::{HttpLimits, MirrorPolicySpec, MirrorSpec};
use mosn_core::{BodyLength, Failure, RequestHead};
use mosn_upstream::Outcome;

use super::{
    client::{Client, body},
    upstream::{Event, Plan, Upstream},
    world::{World, answers, bytes, data, forward, get, head, last, play, post},
};

fn one() -> MirrorSpec {
    MirrorSpec::default()
}

/// Lets all copies come to their end.
async fn settle(world: &World) {
    while world.proxy.copies.get() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mirror = world.mirror();
    assert_eq!((mirror.live.get(), mirror.attempts.get()), (0, 0), "streams and attempts of copies");
    assert_eq!(mirror.metrics.request_active.get(), 0);
    world.assert_all_given_back();
}

/// Copies sent and dropped.
fn counts(world: &World) -> (i64, i64) {
    (world.downstream.request_mirror.get(), world.downstream.request_mirror_dropped.get())
}

#[test]
fn a_copy_is_what_the_upstream_gets() {
    play(|| async {
        let world = World::mirroring(one(), vec![answers(1, 20, 200)], vec![answers(9, 5, 503)]);
        let client = Client::new().sends(vec![(0, data("ab")), (5, data("cd")), (9, last("e"))]);
        let mut request = post();
        request.headers.append("x-a", b"1");
        let outcome = world.run(client, request).await;
        settle(&world).await;
        assert_eq!(outcome.line, "200 0x0 - 5 0");
        let copy = world.mirror();
        let copy = copy.sent.borrow()[0].clone();
        let copy = copy.borrow();
        let sent = copy.head.as_ref().expect("a head");
        assert_eq!((sent.headers.get("x-a"), &sent.path[..]), (Some(&b"1"[..]), &b"/p?q=1"[..]));
        assert_eq!(body(&copy.frames), b"abcde");
        assert_eq!(counts(&world), (1, 0));
        let metrics = &world.mirror().metrics;
        assert_eq!((metrics.request_total.get(), metrics.response_failed.get()), (1, 1));
        assert!(world.upstream.outcomes.borrow().contains(&(9, Outcome::Status(503), 5)));
    });
}

#[test]
fn requests_without_a_body_are_copied_at_once() {
    play(|| async {
        let world = World::mirroring(one(), vec![answers(1, 50, 200)], vec![answers(9, 0, 200)]);
        world.run_partly(Client::new(), get(), 1).await;
        settle(&world).await;
        assert_eq!(world.mirror().sent.borrow().len(), 1);
    });
}

#[test]
fn nothing_that_a_copy_meets_with_reaches_the_client() {
    play(|| async {
        let troubles = || {
            vec![
                Plan::refused(9, Failure::ConnectFailed),
                answers(9, 0, 200).after(100_000),
                Plan::on(9, Vec::new()),
                Plan::on(9, Vec::new()).takes(0, None),
                Plan::on(9, Vec::new()).send_fails(Failure::LocalReset),
                Plan::on(9, vec![(0, Event::Reset(Failure::UpstreamReset))]),
                Plan::on(9, vec![(0, head(200, BodyLength::Unknown)), (1, Event::Frame(data("a")))]),
            ]
        };
        let plans = (0..7).map(|_| answers(1, 5, 200)).collect();
        let world = World::mirroring(one(), plans, troubles());
        for _ in troubles() {
            let begun = tokio::time::Instant::now();
            let client = Client::new().sends(vec![(0, data("a")), (0, last("b"))]);
            let (got, _) = world.run_partly(client, post(), usize::MAX).await;
            assert_eq!((got.borrow().status(), begun.elapsed().as_millis()), (200, 5));
        }
        assert_eq!(world.mirror().sent.borrow().len(), 7);
        let begun = tokio::time::Instant::now();
        settle(&world).await;
        // The route's limit of 2 s is that of a copy, too.
        assert!((1900..2100).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    });
}

#[test]
fn with_too_many_in_flight_copies_are_dropped_and_counted() {
    play(|| async {
        let world = World::mirroring(one(), Vec::new(), Vec::new());
        world.upstream.otherwise.set(Some(|| answers(1, 0, 200)));
        world.mirror().otherwise.set(Some(|| Plan::on(9, Vec::new())));
        for _ in 0..300 {
            let (got, _) = world.run_partly(Client::new(), get(), usize::MAX).await;
            assert_eq!(got.borrow().status(), 200);
        }
        assert_eq!(counts(&world), (256, 44));
        settle(&world).await;
        let (got, _) = world.run_partly(Client::new(), get(), usize::MAX).await;
        assert_eq!((got.borrow().status(), counts(&world)), (200, (257, 44)));
    });
}

#[test]
fn a_body_that_is_too_long_or_breaks_off_is_not_copied() {
    play(|| async {
        let plans = vec![answers(1, 50, 200), Plan::on(1, Vec::new())];
        let world = World::mirroring(one(), plans, Vec::new());
        let client = Client::new().sends(vec![(0, bytes(64 * 1024, false)), (1, bytes(1, true))]);
        assert_eq!(world.run(client, post()).await.status(), 200);
        assert_eq!(counts(&world), (0, 1));

        let client = Client::new().sends_then_fails(vec![(0, data("a"))], 10, Failure::BadRequest);
        assert_eq!(world.run(client, post()).await.status(), 400);
        assert_eq!(counts(&world), (0, 2));
        assert!(world.mirror().sent.borrow().is_empty());
    });
}

#[test]
fn a_retried_request_is_copied_once() {
    play(|| async {
        let plans = vec![Plan::refused(1, Failure::ConnectFailed), answers(2, 0, 200)];
        let world = World::mirroring(one(), plans, vec![answers(9, 0, 200)]);
        let client = Client::new().sends(vec![(0, last("a"))]);
        assert_eq!(world.run_partly(client, post(), usize::MAX).await.0.borrow().status(), 200);
        settle(&world).await;
        assert_eq!((counts(&world), world.mirror().sent.borrow().len()), ((1, 0), 1));
    });
}

#[test]
fn a_share_of_the_requests_is_drawn() {
    play(|| async {
        let action = forward(|spec| {
            spec.mirrors = vec![
                MirrorPolicySpec { cluster: "m".into(), per_million: 250_000 },
                MirrorPolicySpec { cluster: "m".into(), per_million: 0 },
                MirrorPolicySpec { cluster: "gone".into(), per_million: 1_000_000 },
            ];
        });
        let mut world = World::with(action, HttpLimits::default(), Vec::new());
        world.upstream.otherwise.set(Some(|| answers(1, 0, 200)));
        let mirror = Upstream::new(Vec::new());
        mirror.otherwise.set(Some(|| answers(9, 0, 200)));
        world.upstream.mirror.replace(Some(Rc::new(mirror)));
        world.run(Client::new(), get()).await;
        assert_eq!(counts(&world), (0, 0), "nothing is copied where the listener does not");

        world.proxy.settings.mirror = Some(one());
        for _ in 0..2000 {
            world.run_partly(Client::new(), get(), usize::MAX).await;
            settle(&world).await;
        }
        let (sent, dropped) = counts(&world);
        assert!((400..600).contains(&sent) && dropped == 0, "{sent}, {dropped}");
    });
}

#[test]
fn one_request_can_make_several_copies() {
    play(|| async {
        let mirrored = (0..3).map(|_| answers(9, 0, 200)).collect();
        let spec = MirrorSpec { copies: 3, broadcast: false };
        let world = World::mirroring(spec, vec![answers(1, 0, 200)], mirrored);
        world.run_partly(Client::new(), get(), usize::MAX).await;
        settle(&world).await;
        assert_eq!((world.mirror().sent.borrow().len(), world.tries()), (3, 1));
        // However many are asked for.
        let spec = MirrorSpec { copies: u32::MAX, broadcast: false };
        let world = World::mirroring(spec, vec![answers(1, 0, 200)], Vec::new());
        world.run_partly(Client::new(), get(), usize::MAX).await;
        settle(&world).await;
        assert_eq!(counts(&world), (256, i64::from(u32::MAX) - 256));
    });
}

#[test]
fn a_broadcast_goes_to_every_host_and_nowhere_else() {
    play(|| async {
        let spec = MirrorSpec { copies: 1, broadcast: true };
        let world =
            World::mirroring(spec, vec![answers(1, 0, 418)], vec![answers(8, 0, 500), answers(9, 0, 500)]);
        let client = Client::new().sends(vec![(0, data("a")), (9, last("b"))]);
        let (got, _) = world.run_partly(client, post(), usize::MAX).await;
        settle(&world).await;
        assert_eq!((got.borrow().status(), got.borrow().is_complete(), world.tries()), (200, true, 0));
        let mirror = world.mirror();
        assert_eq!(mirror.sent.borrow().len(), 2);
        for copy in &*mirror.sent.borrow() {
            assert_eq!(body(&copy.borrow().frames), b"ab");
        }

        let world = World::mirroring(spec, Vec::new(), Vec::new());
        let client = Client::new().sends(vec![(0, bytes(64 * 1024, false)), (1, bytes(1, true))]);
        let outcome = world.run(client, post()).await;
        assert_eq!((outcome.status(), counts(&world)), (413, (0, 2)), "nobody would get it");
    });
}

#[test]
fn one_way_requests_are_copied_as_such() {
    play(|| async {
        let mirrored = vec![Plan::on(9, Vec::new())];
        let world = World::mirroring(one(), vec![Plan::on(1, Vec::new())], mirrored);
        world.run_partly(Client::new(), RequestHead { one_way: true, ..get() }, usize::MAX).await;
        let begun = tokio::time::Instant::now();
        settle(&world).await;
        assert!(begun.elapsed() < Duration::from_millis(50), "nobody waits for a reply");
        assert_eq!(world.mirror().sent.borrow().len(), 1);
    });
}
