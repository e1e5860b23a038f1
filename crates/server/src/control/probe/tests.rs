use std::{future::Future, os::linux::net::SocketAddrExt as _, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use mosn_codec::rpc::{self, Decoded, Limits, Side};
use mosn_config::model::{GrpcProbeSpec, HealthCheckSpec, HttpProbeSpec, ProbeSpec};
use mosn_upstream::HostAddress;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::ask;
use crate::control::names::KnownNames;

/// A host whose connections are each served by `serve`.
async fn host<F>(mut serve: impl FnMut(TcpStream) -> F + Send + 'static) -> HostAddress
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    HostAddress::Ip(address)
}

/// Answers each request with what `reply` makes of its head.
async fn http_host(reply: impl Fn(&str) -> String + Send + Sync + 'static) -> HostAddress {
    let reply = Arc::new(reply);
    host(move |mut stream| {
        let reply = Arc::clone(&reply);
        async move {
            let mut head = BytesMut::new();
            while !head.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.expect("a request") == 0 {
                    return;
                }
            }
            let reply = reply(&String::from_utf8_lossy(&head));
            stream.write_all(reply.as_bytes()).await.expect("somebody who reads");
        }
    })
    .await
}

async fn answer(host: &HostAddress, probe: ProbeSpec) -> Result<(), String> {
    let known = KnownNames::default();
    let way = HealthCheckSpec {
        probe,
        timeout: Duration::from_secs(1),
        interval: Duration::from_secs(15),
        interval_jitter: Duration::ZERO,
        initial_delay: Duration::ZERO,
        healthy_threshold: 1,
        unhealthy_threshold: 1,
        service_name: "".into(),
        event_log: "".into(),
        mark: 0,
        bind_address: None,
    };
    let asked = ask(host, &way, &known);
    tokio::time::timeout(Duration::from_secs(10), asked).await.expect("an answer in time")
}

fn http(path: &str, codes: &[(u16, u16)]) -> HttpProbeSpec {
    HttpProbeSpec {
        port: 0,
        tls: false,
        method: "GET".into(),
        path: path.into(),
        host: String::new(),
        codes: codes.to_vec(),
    }
}

fn over_http(spec: HttpProbeSpec) -> ProbeSpec {
    ProbeSpec::Http(Box::new(spec))
}

#[tokio::test]
async fn a_host_that_accepts_passes_the_tcp_check_and_one_that_refuses_does_not() {
    let open = host(|_| async {}).await;
    assert_eq!(answer(&open, ProbeSpec::Tcp).await, Ok(()));
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let refused = answer(&HostAddress::Ip(closed), ProbeSpec::Tcp).await.expect_err("nobody is there");
    assert!(refused.starts_with("cannot connect: "), "{refused}");
}

#[tokio::test]
async fn a_unix_socket_passes_the_tcp_check() {
    let name = format!("mosn-probe-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let listener = std::os::unix::net::UnixListener::bind_addr(&address).expect("a socket");
    let host = HostAddress::Unix(format!("@{name}").into());
    assert_eq!(answer(&host, ProbeSpec::Tcp).await, Ok(()));
    drop(listener);
    assert!(answer(&host, ProbeSpec::Tcp).await.is_err());
}

#[tokio::test]
async fn an_http_check_asks_for_what_it_is_told() {
    let host = http_host(|head| {
        let expected = "HEAD /up?deep=1 HTTP/1.1\r\nHost: a.com\r\n";
        let status = if head.starts_with(expected) { "204 Fine" } else { "500 No" };
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 {status}\r\n\r\n")
    })
    .await;
    let spec =
        HttpProbeSpec { method: "HEAD".into(), host: "a.com".into(), ..http("/up?deep=1", &[(200, 299)]) };
    assert_eq!(answer(&host, over_http(spec.clone())).await, Ok(()));
    let strict = HttpProbeSpec { codes: vec![], ..spec };
    assert_eq!(answer(&host, over_http(strict)).await, Err("status 204".into()));
}

#[tokio::test]
async fn an_http_check_goes_where_it_is_sent() {
    let end = http_host(|_| "HTTP/1.1 200 OK\r\n\r\n".into()).await.to_string();
    let to = format!("http://{end}/up");
    let host = http_host(move |head| match head.split(' ').nth(1).expect("a path") {
        "/far" => format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n"),
        "/near" => "HTTP/1.1 301 Moved\r\nLocation: /far\r\n\r\n".into(),
        "/secure" => "HTTP/1.1 302 Found\r\nLocation: https://a.com/\r\n\r\n".into(),
        _ => "HTTP/1.1 302 Found\r\nLocation: /round\r\n\r\n".into(),
    })
    .await;
    assert_eq!(answer(&host, over_http(http("/near", &[]))).await, Ok(()));
    // A redirect that is good by itself is not followed.
    assert_eq!(answer(&host, over_http(http("/round", &[(302, 302)]))).await, Ok(()));
    assert!(answer(&host, over_http(http("/round", &[]))).await.expect_err("no end").contains("redirects"));
    assert!(answer(&host, over_http(http("/secure", &[]))).await.is_err());
}

#[tokio::test]
async fn what_is_no_http_is_no_good_answer() {
    for reply in ["SSH-2.0-x\r\n", "", "HTTP/1.1 2x0 OK\r\n\r\n"] {
        let host = http_host(move |_| reply.to_owned()).await;
        assert!(answer(&host, over_http(http("/", &[]))).await.is_err(), "{reply:?}");
    }
    let endless = host(|mut stream| async move {
        let line = [b'a'; 4096];
        if stream.write_all(b"HTTP/1.1 200 OK\r\na: ").await.is_ok() {
            while stream.write_all(&line).await.is_ok() {}
        }
    })
    .await;
    assert!(answer(&endless, over_http(http("/", &[]))).await.is_err());
}

/// A gRPC server that answers with this message and status.
async fn grpc_host(message: &'static [u8], status: &'static str) -> HostAddress {
    host(move |stream| async move {
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(request.headers()["content-type"], "application/grpc");
            let mut body = request.into_body();
            tokio::spawn(async move {
                let asked = body.data().await.expect("a message").expect("a whole one");
                let expected: &[u8] = b"\0\0\0\0\x05\x0a\x03a.B";
                let status = if asked == expected { status } else { "3" };
                let head = http::Response::builder().header("content-type", "application/grpc");
                let mut send =
                    respond.send_response(head.body(()).expect("a head"), false).expect("a stream");
                send.send_data(Bytes::from_static(message), false).expect("room");
                let trailers =
                    [(http::HeaderName::from_static("grpc-status"), status.parse().expect("a value"))];
                send.send_trailers(trailers.into_iter().collect()).expect("a stream");
            });
        }
    })
    .await
}

#[tokio::test]
async fn a_grpc_check_wants_serving() {
    let spec = GrpcProbeSpec { service: "a.B".into(), ..GrpcProbeSpec::default() };
    for (message, status, expected) in [
        (&b"\0\0\0\0\x02\x08\x01"[..], "0", Ok(())),
        (b"\0\0\0\0\x02\x08\x02", "0", Err("NOT_SERVING")),
        (b"\0\0\0\0\0", "0", Err("no serving status")),
        (b"\0\0\0\0\x09\x08\x01", "0", Err("no serving status")),
        (b"", "5", Err("gRPC status 5")),
    ] {
        let host = grpc_host(message, status).await;
        let found = answer(&host, ProbeSpec::Grpc(Box::new(spec.clone()))).await;
        assert_eq!(found, expected.map_err(str::to_owned), "{message:?}");
    }
    let http1 = host(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    assert!(answer(&http1, ProbeSpec::Grpc(Box::new(spec))).await.is_err());
}

#[tokio::test]
async fn a_heartbeat_is_answered_or_it_is_not() {
    for protocol in ["bolt", "boltv2", "dubbo"] {
        let codec = rpc::by_name(protocol).expect("a protocol");
        let alive = host(move |mut stream| async move {
            let (mut read, mut write) = (BytesMut::new(), BytesMut::new());
            loop {
                match codec.decode(&read, Side::Downstream, &Limits::default()).expect("a frame") {
                    Decoded::Frame(view) => {
                        assert!(codec.heartbeat_reply(&read, &view, &mut write));
                        read.advance(view.len as usize);
                        // A byte at a time: an answer may come in any pieces.
                        for byte in write.split() {
                            stream.write_all(&[byte]).await.expect("somebody who reads");
                        }
                    }
                    Decoded::NeedMore { .. } => {
                        if stream.read_buf(&mut read).await.expect("a heartbeat") == 0 {
                            return;
                        }
                    }
                }
            }
        })
        .await;
        assert_eq!(answer(&alive, ProbeSpec::Heartbeat(protocol)).await, Ok(()), "{protocol}");
        let closing = host(|stream| async move { drop(stream) }).await;
        assert!(answer(&closing, ProbeSpec::Heartbeat(protocol)).await.is_err(), "{protocol}");
    }
}
