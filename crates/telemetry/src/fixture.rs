//! A request to log.

use std::{
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use mosn_core::{
    BodyLength, ConnectionInfo, Headers, Protocol, RequestHead, RequestInfo, ResponseFlags, Scheme,
};

/// 2023-11-14 22:13:20.042 UTC.
pub(crate) fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_042)
}

pub(crate) fn info(protocol: Protocol) -> RequestInfo {
    let connection = ConnectionInfo {
        id: 7,
        listener: "in".into(),
        listener_type: "ingress".into(),
        local: Some(([127, 0, 0, 1], 2045).into()),
        remote: Some(([10, 1, 2, 3], 51000).into()),
        redirected: None,
    };
    let mut info = RequestInfo::new(Rc::new(connection), protocol, 5, Instant::now(), start());
    info.upstream_protocol = Some(Protocol::Http2);
    info.request_received = Some(Duration::from_nanos(1_234_000));
    info.response_received = Some(Duration::from_nanos(2_500_000));
    info.finished = Some(Duration::from_nanos(2_750_000));
    info.bytes_received = 12;
    info.bytes_sent = 1024;
    info.response_code = 200;
    info.cluster = Some("c1".into());
    info.upstream_address = Some("10.9.8.7:8080".into());
    info.upstream_hostname = Some("one.example".into());
    info.upstream_connection_id = Some(9);
    info.tries = 3;
    info.hedges = 1;
    info
}

/// A request that has nothing but its connection.
pub(crate) fn bare(protocol: Protocol) -> RequestInfo {
    let connection = ConnectionInfo {
        id: 1,
        listener: "".into(),
        listener_type: "".into(),
        local: None,
        remote: None,
        redirected: None,
    };
    let mut info = RequestInfo::new(Rc::new(connection), protocol, 1, Instant::now(), start());
    info.finished = Some(Duration::ZERO);
    info.flags = ResponseFlags::NO_HEALTHY_UPSTREAM;
    info.response_code = 502;
    info
}

pub(crate) fn request(path: &'static str, fields: &[(&str, &str)]) -> RequestHead {
    let mut headers = Headers::default();
    for (name, value) in fields {
        if let Headers::List(list) = &mut headers {
            list.append(name.as_bytes(), value.as_bytes());
        }
    }
    RequestHead {
        method: http::Method::POST,
        scheme: Scheme::Https,
        authority: Bytes::from_static(b"a.example:81"),
        path: Bytes::from_static(path.as_bytes()),
        headers,
        body: BodyLength::Known(12),
        upgrade: None,
        expects_continue: false,
        one_way: false,
    }
}
