//! The failure table, and every way in which an upstream breaks off.

use bytes::Bytes;
use http::Method;
use mosn_config::model::HttpLimits;
use mosn_core::{BodyLength, Failure, Protocol, RequestHead};
use mosn_stream::{ServerStream, Service};

use super::{
    client::Client,
    upstream::{Event, Plan},
    world::{World, answers, data, forward, get, head, last, play, post, response, trailers},
};

/// A request that ends with this failure; `None` where it is a connection that fails, before there
/// is a request.
fn provoke(why: Failure) -> Option<(World, Client, RequestHead)> {
    use Failure as F;
    let client = Client::new;
    let resets = |times: usize| {
        let plan = || Plan::on(1, vec![(0, Event::Reset(why))]);
        World::forwarding((0..times).map(|_| plan()).collect())
    };
    let refused = |times: usize| World::forwarding((0..times).map(|_| Plan::refused(1, why)).collect());
    let silent = || vec![Plan::on(1, Vec::new())];
    Some(match why {
        F::NoRoute => (
            World::forwarding(Vec::new()),
            client(),
            RequestHead { authority: Bytes::from("b.com"), ..get() },
        ),
        F::NoCluster => {
            let elsewhere = forward(|spec| {
                spec.cluster = mosn_config::model::ClusterChoiceSpec::Named("gone".into());
            });
            (World::with(elsewhere, HttpLimits::default(), Vec::new()), client(), get())
        }
        F::NoHealthyHost => (World::forwarding(Vec::new()), client(), get()),
        F::ConnectFailed | F::ConnectTimeout => (refused(4), client(), get()),
        F::Overflow => (refused(1), client(), get()),
        F::UpstreamRefused => (resets(4), client(), get()),
        F::UpstreamClosed | F::UpstreamTerminated | F::UpstreamReset | F::UpstreamCancelled => {
            (resets(1), client(), get())
        }
        F::LocalReset => (World::forwarding(vec![Plan::on(1, Vec::new()).send_fails(why)]), client(), get()),
        F::GlobalTimeout => (World::forwarding(silent()), client(), get()),
        F::PerTryTimeout => {
            let action = forward(|spec| spec.per_try_timeout = Some(std::time::Duration::from_millis(50)));
            (World::with(action, HttpLimits::default(), silent()), client(), get())
        }
        F::ClientGone => (World::forwarding(silent()), client().leaves(10), get()),
        F::BadRequest => {
            let client = client().sends_then_fails(vec![(0, data("a"))], 10, why);
            (World::forwarding(silent()), client, post())
        }
        F::BodyIdleTimeout => (World::forwarding(silent()), client().sends(vec![(0, data("a"))]), post()),
        F::PayloadTooLarge => {
            let limits = HttpLimits { max_request_body_size: 3, ..HttpLimits::default() };
            let head = RequestHead { body: BodyLength::Known(4), ..post() };
            (World::with(forward(|_| {}), limits, silent()), client(), head)
        }
        F::NotImplemented => {
            let head = RequestHead { method: Method::CONNECT, path: Bytes::new(), ..get() };
            (World::forwarding(silent()), client(), head)
        }
        F::Drain | F::HeaderTimeout | F::UriTooLong | F::HeaderTooLarge => return None,
    })
}

#[test]
fn every_row_of_the_failure_table_gives_its_status_flag_and_word() {
    let mut seen = 0;
    for why in Failure::ALL {
        play(|| async move {
            let row = why.row();
            let Some((world, client, head)) = provoke(why) else {
                // Seen by the connection: all that the engine does is to say so.
                let world = World::forwarding(Vec::new());
                world.proxy.refused(Client::new().connection(), Protocol::Http1, why);
                let expected = format!("{} {:#x} {} 0 0", row.status, row.flag.bits(), row.word);
                assert_eq!(world.lines(), [expected]);
                world.assert_all_given_back();
                return;
            };
            let outcome = world.run(client, head).await;
            let got = outcome.got.borrow();
            if why == Failure::ClientGone {
                assert_eq!((got.status(), got.reset), (0, Some(why)), "nobody is there to be answered");
            } else {
                assert_eq!(got.status(), row.status, "{why:?}");
                assert!(got.is_complete(), "{why:?}");
            }
            let expected = format!("{} {:#x} {} ", row.status, row.flag.bits(), row.word);
            assert!(outcome.line.starts_with(&expected), "{why:?}: {}", outcome.line);
        });
        seen += 1;
    }
    assert_eq!(seen, Failure::ALL.len());
}

#[test]
fn what_the_client_did_wrong_is_counted_as_invalid_once() {
    play(|| async {
        let world = World::forwarding(Vec::new());
        for why in [Failure::BadRequest, Failure::HeaderTimeout, Failure::UriTooLong, Failure::HeaderTooLarge]
        {
            world.proxy.refused(Client::new().connection(), Protocol::Http1, why);
        }
        assert_eq!(world.downstream.request_total.get(), 4);
        assert_eq!(world.lines().len(), 4);
    });
}

/// When an upstream breaks off, how, and whether the client has the reply's head by then.
type Break = (&'static str, Vec<(u64, Event)>, bool);

fn breaks() -> Vec<Break> {
    let cut = || Event::Reset(Failure::UpstreamTerminated);
    vec![
        ("before the head", vec![(5, cut())], false),
        ("after an interim reply", vec![(5, Event::Interim(103)), (10, cut())], false),
        ("between head and body", vec![(5, head(200, BodyLength::Known(6))), (10, cut())], true),
        (
            "within the body",
            vec![(5, Event::Head(response(200, BodyLength::Known(6)), Some(data("abc")))), (10, cut())],
            true,
        ),
        (
            "before the end of a body of unknown length",
            vec![(5, head(200, BodyLength::Unknown)), (6, Event::Frame(data("abc"))), (10, cut())],
            true,
        ),
        (
            "before the trailers",
            vec![
                (5, head(200, BodyLength::Unknown)),
                (6, Event::Frame(data("abcdef"))),
                (7, Event::Frame(data(""))),
                (10, cut()),
            ],
            true,
        ),
    ]
}

#[test]
fn a_reply_that_breaks_off_is_never_complete() {
    for which in 0..breaks().len() {
        play(|| async move {
            let (when, events, has_head) = breaks().swap_remove(which);
            let world = World::forwarding(vec![Plan::on(1, events)]);
            let outcome = world.run(Client::new(), get()).await;
            let got = outcome.got.borrow();
            if has_head {
                assert_eq!(got.status(), 200, "{when}");
                assert!(got.reset.is_some() && !got.is_complete(), "{when}");
                let flag = Failure::UpstreamTerminated.row();
                let expected = format!("200 {:#x} {} ", flag.flag.bits(), flag.word);
                assert!(outcome.line.starts_with(&expected), "{when}: {}", outcome.line);
            } else {
                assert_eq!((got.status(), got.reset), (500, None), "{when}");
            }
        });
    }
}

#[test]
fn a_reset_while_the_request_is_still_going_up_is_answered() {
    play(|| async {
        for events in [
            vec![(15, Event::Reset(Failure::UpstreamReset))],
            vec![(15, Event::Interim(100)), (16, Event::Reset(Failure::UpstreamReset))],
        ] {
            let world = World::forwarding(vec![Plan::on(1, events)]);
            let client = Client::new().sends(vec![(0, data("a")), (10, data("b")), (20, last("c"))]);
            let outcome = world.run(client, post()).await;
            assert_eq!(outcome.status(), 502);
            assert!(outcome.line.starts_with("502 0x10 upstream_reset 2 0"), "{}", outcome.line);
        }
    });
}

#[test]
fn a_reply_passes_through_with_its_body_and_trailers() {
    play(|| async {
        let world = World::forwarding(vec![Plan::on(
            1,
            vec![
                (5, Event::Head(response(201, BodyLength::Unknown), Some(data("ab")))),
                (10, Event::Frame(data("cd"))),
                (15, Event::Frame(trailers())),
            ],
        )]);
        let client = Client::new().sends(vec![(0, data("12")), (3, trailers())]);
        let outcome = world.run(client, post()).await;
        let got = outcome.got.borrow();
        assert_eq!((got.status(), got.body(), got.is_complete()), (201, b"abcd".to_vec(), true));
        assert!(
            matches!(got.frames.last(), Some(mosn_core::Frame::Trailers(trailers)) if trailers.get("x-sum") == Some(b"1"))
        );
        let sent = world.sent(0);
        let sent = sent.borrow();
        assert_eq!(super::client::body(&sent.frames), b"12");
        assert!(matches!(sent.frames.last(), Some(mosn_core::Frame::Trailers(_))));
        assert_eq!(outcome.line, "201 0x0 - 2 4");
    });
}

#[test]
fn each_request_is_counted_by_listener_cluster_and_host() {
    play(|| async {
        let world = World::forwarding(vec![answers(1, 5, 200), answers(1, 5, 503)]);
        world.run(Client::new(), get()).await;
        world.run(Client::new(), get()).await;
        assert_eq!(world.downstream.request_total.get(), 2);
        for metrics in [&world.upstream.metrics, &world.upstream.host_metrics] {
            assert_eq!(metrics.request_total.get(), 2);
            assert_eq!((metrics.response_success.get(), metrics.response_failed.get()), (1, 1));
        }
    });
}
