//! Replies of the proxy's own: direct responses and redirects.

use std::time::Duration;

use http::Method;
use mosn_config::model::{
    ActionSpec, DirectResponseSpec, HeaderAddSpec, HeaderMutations, HeaderMutationsSpec, HttpLimits,
    PathMatchSpec, RedirectSpec, RouteMatchSpec, RouteSpec,
};
use mosn_core::{BodyLength, Failure, RequestHead};

use super::{
    client::Client,
    upstream::{Event, Plan},
    world::{World, forward, get, play, response},
};

/// A route that adds `x-added` with the status's variable and removes `x-removed` from replies.
fn route(action: ActionSpec) -> RouteSpec {
    let add =
        |name: &str, value: &str| HeaderAddSpec { name: name.into(), value: value.into(), append: false };
    let mutations = HeaderMutations {
        request_add: vec![add("x-asked", "%x-mosn-method%")],
        response_add: vec![add("x-added", "%listener_name%")],
        response_remove: vec!["x-removed".into(), "content-type".into()],
        ..HeaderMutations::default()
    };
    RouteSpec {
        name: None,
        matches: RouteMatchSpec {
            path: PathMatchSpec::Prefix("/".into()),
            headers: Vec::new(),
            ..RouteMatchSpec::default()
        },
        action,
        headers: HeaderMutationsSpec { inner: Some(Box::new(mutations)) },
        leaves_request: false,
        filter_config: None,
    }
}

fn direct(status: u16, body: &str) -> ActionSpec {
    ActionSpec::DirectResponse(Box::new(DirectResponseSpec { status, body: body.into() }))
}

fn world(action: ActionSpec) -> World {
    World::routed(route(action), HttpLimits::default(), Vec::new())
}

#[test]
fn a_direct_response_has_its_status_body_and_changed_headers() {
    play(|| async {
        let outcome = world(direct(418, "teapot")).run(Client::new(), get()).await;
        let got = outcome.got.borrow();
        assert_eq!((got.status(), got.body()), (418, b"teapot".to_vec()));
        let head = got.head.as_ref().expect("a head");
        assert_eq!(head.body, BodyLength::Known(6));
        assert_eq!(head.headers.get("x-added"), Some(&b"in"[..]));
        assert_eq!(head.headers.get("content-type"), None, "the route removes it");
        assert_eq!(outcome.line, "418 0x0 - 0 6");
    });
}

#[test]
fn a_direct_response_to_head_has_the_length_and_no_body() {
    play(|| async {
        let request = RequestHead { method: Method::HEAD, ..get() };
        let outcome = world(direct(200, "hello")).run(Client::new(), request).await;
        let got = outcome.got.borrow();
        let head = got.head.as_ref().expect("a head");
        assert_eq!((head.body, head.headers.get("content-length")), (BodyLength::Empty, Some(&b"5"[..])));
        assert!(got.frames.is_empty());
        assert_eq!(outcome.line, "200 0x0 - 0 0");
    });
}

#[test]
fn statuses_without_a_body_have_none() {
    play(|| async {
        for status in [204, 304] {
            let outcome = world(direct(status, "ignored")).run(Client::new(), get()).await;
            assert!(outcome.got.borrow().frames.is_empty(), "{status}");
        }
    });
}

#[test]
fn a_redirect_names_the_place_and_keeps_the_query() {
    play(|| async {
        let redirect = RedirectSpec {
            status: 302,
            host: Some("b.com".into()),
            path: Some("/new".into()),
            ..RedirectSpec::default()
        };
        let outcome = world(ActionSpec::Redirect(Box::new(redirect))).run(Client::new(), get()).await;
        let got = outcome.got.borrow();
        let head = got.head.as_ref().expect("a head");
        assert_eq!(head.headers.get("location"), Some(&b"http://b.com/new?q=1"[..]));
        assert_eq!(head.headers.get("x-added"), Some(&b"in"[..]));
        assert_eq!(outcome.line, "302 0x0 - 0 0");
    });
}

#[test]
fn a_route_without_an_action_is_no_route() {
    play(|| async {
        let outcome = world(ActionSpec::None).run(Client::new(), get()).await;
        assert_eq!(outcome.line, "404 0x100 no_route 0 0");
    });
}

#[test]
fn forwarded_requests_and_replies_are_changed_as_the_route_says() {
    play(|| async {
        let mut reply = response(200, BodyLength::Empty);
        reply.headers.append("X-Removed", b"1");
        let plan = Plan::on(1, vec![(5, Event::Head(reply, None))]);
        let world = World::routed(route(forward(|_| {})), HttpLimits::default(), vec![plan]);
        let outcome = world.run(Client::new(), get()).await;
        let got = outcome.got.borrow();
        let head = got.head.as_ref().expect("a head");
        assert_eq!(head.headers.get("x-added"), Some(&b"in"[..]));
        assert!(!head.headers.contains("x-removed"));
        let sent = world.sent(0);
        let asked =
            sent.borrow().head.as_ref().and_then(|head| head.headers.get("x-asked").map(<[u8]>::to_vec));
        assert_eq!(asked, Some(b"GET".to_vec()));
    });
}

#[test]
fn a_client_that_does_not_read_a_direct_response_does_not_stay() {
    play(|| async {
        let limits = HttpLimits { body_idle_timeout: Duration::from_millis(300), ..HttpLimits::default() };
        let world = World::routed(route(direct(200, "large")), limits, Vec::new());
        let outcome = world.run(Client::new().takes(0, None), get()).await;
        assert!(outcome.millis() < 400, "{:?}", outcome.took);
        assert_eq!(outcome.got.borrow().reset, Some(Failure::BodyIdleTimeout));
    });
}
