//! A demo upstream: answers every request with what it was asked, in either version of HTTP.

use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use http::StatusCode;
use mosn_config::model::{DownstreamProtocols, HttpLimits};
use mosn_core::{
    BodyLength, ConnectionInfo, Failure, Frame, Headers, Protocol, RequestHead, ResponseHead, Scheme,
};
use mosn_net::{Io, Meter, Transport, clock, timer};
use mosn_stream::{Drain, ServerContext, ServerStream, Service, serve_connection};

/// Starts it on a thread of its own; it lives as long as the process.
pub(super) fn start(name: &'static str) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name(format!("demo-{name}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_unpark(clock::begin_turn)
            .build_local(tokio::runtime::LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(accept(name, listener)),
            Err(error) => eprintln!("mosn: the demo upstream {name} is not there: {error}"),
        }
    })?;
    Ok(address)
}

async fn accept(name: &'static str, listener: TcpListener) {
    tokio::task::spawn_local(timer::drive());
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let protocols = Rc::new(DownstreamProtocols::Detect(vec![Protocol::Http1, Protocol::Http2]));
    let (service, listener_name): (_, Arc<str>) = (Rc::new(Demo { name }), name.into());
    let limits = Rc::new(HttpLimits::default());
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let io = Io::new(Transport::Tcp(stream), Rc::new(Uncounted));
        let cx = Rc::new(ServerContext {
            info: Rc::new(ConnectionInfo {
                id: 0,
                listener: Arc::clone(&listener_name),
                listener_type: Arc::default(),
                local: io.local_addr(),
                remote: io.peer_addr(),
                redirected: None,
            }),
            scheme: Scheme::Http,
            limits: Rc::clone(&limits),
            rpc: Rc::default(),
            idle_timeout: None,
            drain: Rc::new(Drain::default()),
        });
        let (protocols, service) = (Rc::clone(&protocols), Rc::clone(&service));
        tokio::task::spawn_local(async move { serve_connection(io, &protocols, cx, service).await });
    }
}

struct Uncounted;

impl Meter for Uncounted {
    fn read(&self, _: u64) {}
    fn written(&self, _: u64) {}
}

struct Demo {
    name: &'static str,
}

impl Service for Demo {
    async fn serve<S: ServerStream>(&self, stream: &mut S, head: Box<RequestHead>) {
        let mut received = 0;
        let mut more = !head.body.is_empty();
        while more {
            match poll_fn(|cx| stream.poll_recv(cx)).await {
                Ok(frame) => {
                    received += frame.len();
                    more = !frame.is_last();
                }
                Err(reset) => return stream.reset(reset.0),
            }
        }
        let text = self.describe(&head, stream.protocol(), received);
        let mut headers = Headers::default();
        headers.append("Content-Type", b"text/plain; charset=utf-8");
        let body = BodyLength::Known(text.len() as u64);
        let mut reply = Some((ResponseHead { status: StatusCode::OK, headers, body }, text));
        // A client that is gone needs no answer.
        let _ = poll_fn(|cx| {
            if let Some((head, text)) = reply.take() {
                stream.send_head(cx, head, Some(Frame::Data { data: text, end: true }))?;
            }
            stream.poll_flushed(cx)
        })
        .await;
    }

    fn refused(&self, _: &Rc<ConnectionInfo>, _: Protocol, _: Failure) {}

    fn flooded(&self, _: &Rc<ConnectionInfo>) {}
}

impl Demo {
    fn describe(&self, head: &RequestHead, protocol: Protocol, received: usize) -> Bytes {
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut text = format!(
            "upstream {}: {} {} over {} ({received} body bytes)\n",
            self.name,
            head.method,
            shown(&head.path),
            protocol.name()
        );
        for (name, value) in &head.headers {
            text.push_str(&format!("  {}: {}\n", shown(name), shown(value)));
        }
        text.into()
    }
}
