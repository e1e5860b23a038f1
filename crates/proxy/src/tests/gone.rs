//! The client goes away, in every phase.

use mosn_core::{BodyLength, Failure};

use super::{
    client::Client,
    upstream::{Event, Plan},
    world::{Outcome, World, answers, data, get, head, last, play, post},
};

/// The proxy notices at once, and says so.
fn assert_gone(outcome: &Outcome, at: u64, when: &str) {
    let took = outcome.millis();
    assert!((at..=at + 10).contains(&took), "{when}: {:?}", outcome.took);
    assert!(outcome.line.starts_with("504 0x0 client_gone"), "{when}: {}", outcome.line);
    assert_eq!(outcome.got.borrow().reset, Some(Failure::ClientGone), "{when}");
}

#[test]
fn while_a_host_is_chosen_and_connected_to() {
    play(|| async {
        let world = World::forwarding(vec![answers(1, 0, 200).after(1000)]);
        assert_gone(&world.run(Client::new().leaves(20), get()).await, 20, "connecting");
        assert_eq!(world.downstream.request_reset.get(), 1);
    });
}

#[test]
fn while_it_uploads() {
    play(|| async {
        let world = World::forwarding(vec![Plan::on(1, Vec::new())]);
        let client = Client::new().sends_then_fails(vec![(0, data("a"))], 30, Failure::ClientGone);
        let outcome = world.run(client, post()).await;
        assert_gone(&outcome, 30, "uploading");
        assert!(outcome.line.ends_with(" 1 0"), "{}", outcome.line);
    });
}

#[test]
fn while_the_upstream_takes_nothing_of_the_upload() {
    play(|| async {
        let world = World::forwarding(vec![Plan::on(1, Vec::new()).takes(1, None)]);
        let client = Client::new().sends(vec![(0, data("a")), (0, data("b"))]).leaves(30);
        assert_gone(&world.run(client, post()).await, 30, "held back");
    });
}

#[test]
fn while_it_waits() {
    play(|| async {
        let world = World::forwarding(vec![answers(1, 1000, 200)]);
        assert_gone(&world.run(Client::new().leaves(20), get()).await, 20, "waiting");
        let world = World::forwarding(vec![answers(1, 1000, 200)]);
        let client = Client::new().sends(vec![(0, last("a"))]).leaves(20);
        assert_gone(&world.run(client, post()).await, 20, "waiting after an upload");
    });
}

#[test]
fn while_it_downloads() {
    play(|| async {
        let events = vec![(5, head(200, BodyLength::Known(9))), (10, Event::Frame(data("abc")))];
        let world = World::forwarding(vec![Plan::on(1, events)]);
        let outcome = world.run(Client::new().leaves(20), get()).await;
        assert_gone(&outcome, 20, "downloading");
        assert!(outcome.line.ends_with(" 0 3"), "{}", outcome.line);
    });
}

#[test]
fn while_it_takes_nothing_of_the_reply() {
    play(|| async {
        let events = vec![
            (5, head(200, BodyLength::Known(6))),
            (10, Event::Frame(data("abc"))),
            (15, Event::Frame(last("def"))),
        ];
        let world = World::forwarding(vec![Plan::on(1, events)]);
        let outcome = world.run(Client::new().takes(1, None).leaves(20), get()).await;
        assert_gone(&outcome, 20, "held back");
    });
}

#[test]
fn in_the_pause_before_a_retry() {
    play(|| async {
        let world = World::forwarding(vec![Plan::refused(1, Failure::ConnectFailed), answers(2, 0, 200)]);
        let outcome = world.run(Client::new().leaves(3), get()).await;
        assert_gone(&outcome, 3, "pausing");
        assert_eq!(world.tries(), 1);
    });
}

#[test]
fn while_a_later_try_connects() {
    play(|| async {
        let world =
            World::forwarding(vec![Plan::refused(1, Failure::ConnectFailed), answers(2, 0, 200).after(500)]);
        assert_gone(&world.run(Client::new().leaves(100), get()).await, 100, "connecting again");
    });
}
