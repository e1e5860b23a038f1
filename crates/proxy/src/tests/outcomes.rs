//! What balancers and outlier detection learn of hosts.

use std::{rc::Rc, time::Duration};

use mosn_config::model::{HashKeySpec, HashPolicySpec, HashSourceSpec, HttpLimits, RetrySpec};
use mosn_core::{BodyLength, Failure};
use mosn_upstream::Outcome;

use super::{
    client::Client,
    upstream::{Event, Plan},
    world::{World, answers, data, forward, get, head, play, post},
};

fn reset(why: Failure) -> Event {
    Event::Reset(why)
}

#[test]
fn each_try_tells_how_its_host_did_and_how_long_it_took() {
    play(|| async {
        let retry = RetrySpec { on_failure: true, ..RetrySpec::default() };
        let plans = vec![
            Plan::on(1, vec![(20, reset(Failure::UpstreamTerminated))]),
            answers(2, 40, 503),
            answers(3, 80, 200),
        ];
        let world = World::with(forward(|spec| spec.retry = retry), HttpLimits::default(), plans);
        assert_eq!(world.run(Client::new(), get()).await.status(), 200);
        let expected =
            [(1, Outcome::Reset, 20), (2, Outcome::Status(503), 40), (3, Outcome::Status(200), 80)];
        assert_eq!(*world.upstream.outcomes.borrow(), expected);
    });
}

#[test]
fn a_reply_that_breaks_off_tells_against_the_host() {
    play(|| async {
        let events = vec![(10, head(200, BodyLength::Known(9))), (30, reset(Failure::UpstreamReset))];
        let world = World::forwarding(vec![Plan::on(1, events)]);
        world.run(Client::new(), get()).await;
        assert_eq!(*world.upstream.outcomes.borrow(), [(1, Outcome::Reset, 30)]);
    });
}

#[test]
fn time_limits_tell_against_the_host() {
    play(|| async {
        let route = forward(|spec| spec.timeout = Some(Duration::from_millis(100)));
        let world = World::with(route, HttpLimits::default(), vec![Plan::on(1, Vec::new())]);
        world.run(Client::new(), get()).await;
        let outcomes = world.upstream.outcomes.borrow();
        assert!(matches!(outcomes[..], [(1, Outcome::TimedOut, 100..=110)]), "{outcomes:?}");
    });
}

#[test]
fn nobody_blames_a_host_for_its_client() {
    play(|| async {
        let world = World::forwarding(vec![Plan::on(1, Vec::new()), Plan::on(1, Vec::new())]);
        world.run(Client::new().leaves(10), get()).await;
        let client = Client::new().sends_then_fails(vec![(0, data("a"))], 10, Failure::BadRequest);
        world.run(client, post()).await;
        let outcomes: Vec<_> = world.upstream.outcomes.borrow().iter().map(|&(_, how, _)| how).collect();
        assert_eq!(outcomes, [Outcome::Unknown, Outcome::Unknown]);
    });
}

#[test]
fn nobody_blames_a_host_for_closing_a_connection_that_idled() {
    play(|| async {
        let closed = Plan::on(1, vec![(0, reset(Failure::UpstreamClosed))]).reused();
        let world = World::forwarding(vec![closed, answers(1, 0, 200)]);
        assert_eq!(world.run(Client::new(), get()).await.status(), 200);
        let outcomes: Vec<_> = world.upstream.outcomes.borrow().iter().map(|&(_, how, _)| how).collect();
        assert_eq!(outcomes, [Outcome::Unknown, Outcome::Status(200)]);
    });
}

#[test]
fn every_try_is_chosen_by_the_same_hash_and_goes_on_from_the_last_position() {
    play(|| async {
        let key = HashKeySpec { source: HashSourceSpec::Header("x-user".into()), terminal: false };
        let policy = HashPolicySpec { keys: vec![key], otherwise: Some(0) };
        let route = forward(|spec| spec.hash_policy = Some(policy));
        let refused = || Plan::refused(1, Failure::ConnectFailed);
        let plans = vec![refused(), refused(), answers(2, 0, 200), answers(2, 0, 200)];
        let world = World::with(route, HttpLimits::default(), plans);
        let mut request = get();
        request.headers.append("X-User", b"alice");
        world.run(Client::new(), request).await;
        let seen = |try_| (world.sent(try_).borrow().hash, world.sent(try_).borrow().position);
        let alice = Some(0x1acc_580c_88cc_969a);
        assert_eq!([0, 1, 2].map(seen), [(alice, None), (alice, Some(1)), (alice, Some(2))]);

        world.run(Client::new(), get()).await;
        assert_eq!(seen(3), (Some(0), None), "another request begins anew");
    });
}

#[test]
fn without_a_hash_policy_there_is_no_hash() {
    play(|| async {
        let world = World::forwarding(vec![answers(1, 0, 200)]);
        world.run(Client::new(), get()).await;
        assert_eq!(world.sent(0).borrow().hash, None);
    });
}

#[test]
fn a_client_without_the_hash_policys_cookie_is_given_one_that_brings_it_back() {
    play(|| async {
        let ttl = Some(Duration::from_secs(60));
        let source = HashSourceSpec::Cookie { name: "sid".into(), path: "/".into(), ttl };
        let keys = vec![HashKeySpec { source, terminal: false }];
        let policy = HashPolicySpec { keys, otherwise: Some(0) };
        let route = forward(|spec| spec.hash_policy = Some(policy));
        let plans = vec![Plan::refused(1, Failure::ConnectFailed), answers(2, 0, 200), answers(2, 0, 200)];
        let world = World::with(route, HttpLimits::default(), plans);
        let cookies = |got: &Client| Rc::clone(&got.got);
        let client = Client::new();
        let got = cookies(&client);
        world.run(client, get()).await;
        let set_cookie = {
            let got = got.borrow();
            let all: Vec<_> = got.head.as_ref().expect("a head").headers.get_all("set-cookie").collect();
            assert_eq!(all.len(), 1, "one cookie, however many tries there were");
            String::from_utf8(all[0].to_vec()).expect("text")
        };
        let mut request = get();
        request.headers.append("Cookie", set_cookie.split(';').next().unwrap_or_default().as_bytes());
        let client = Client::new();
        let got = cookies(&client);
        world.run(client, request).await;
        assert!(!got.borrow().head.as_ref().expect("a head").headers.contains("set-cookie"));
        let hashes = [0, 1, 2].map(|try_| world.sent(try_).borrow().hash);
        assert!(hashes[0].is_some());
        assert_eq!(hashes, [hashes[0]; 3]);
    });
}
