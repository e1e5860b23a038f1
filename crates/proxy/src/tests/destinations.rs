//! Where requests go by themselves.

use std::rc::Rc;

use mosn_config::model::{HttpLimits, OriginalDstSpec};
use mosn_core::{ConnectionInfo, Redirected};

use super::{
    client::Client,
    upstream::Upstream,
    world::{World, answers, forward, get, play},
};

fn going(header: Option<&str>) -> World {
    let mut world = World::with(forward(|_| {}), HttpLimits::default(), Vec::new());
    let mut upstream = Upstream::new(vec![answers(1, 0, 200)]);
    upstream.original_dst = Some(OriginalDstSpec { header: header.map(Into::into), replace_local: false });
    world.upstream = Rc::new(upstream);
    world.proxy.upstreams = Rc::clone(&world.upstream);
    world
}

fn client(destination: Option<&str>) -> Client {
    let mut client = Client::new();
    client.info = Rc::new(ConnectionInfo {
        id: 1,
        listener: "in".into(),
        listener_type: "".into(),
        local: None,
        remote: None,
        redirected: destination.map(|destination| Redirected { destination: destination.into(), peer: None }),
    });
    client
}

#[test]
fn the_header_says_it_or_else_the_connection() {
    play(|| async {
        for (header, field, redirected, expected) in [
            (None, None, Some("10.0.0.1:80"), Some("10.0.0.1:80")),
            (None, Some("10.0.0.2:80"), Some("10.0.0.1:80"), Some("10.0.0.1:80")),
            (None, Some("10.0.0.2:80"), None, None),
            (Some("x-to"), Some("10.0.0.2:80"), Some("10.0.0.1:80"), Some("10.0.0.2:80")),
            (Some("x-to"), Some("10.0.0.2:80"), None, Some("10.0.0.2:80")),
            (Some("x-to"), None, Some("10.0.0.1:80"), Some("10.0.0.1:80")),
            (Some("x-to"), None, None, None),
            (Some("x-to"), Some("\u{e9}"), Some("10.0.0.1:80"), Some("\u{e9}")),
            (Some("host"), None, Some("10.0.0.1:80"), Some("a.com")),
        ] {
            let world = going(header);
            let mut request = get();
            if let Some(field) = field {
                request.headers.append("x-to", field.as_bytes());
            }
            assert_eq!(world.run(client(redirected), request).await.status(), 200);
            let sent = world.sent(0);
            assert_eq!(sent.borrow().destination.as_deref(), expected, "{header:?} {field:?} {redirected:?}");
        }
    });
}
