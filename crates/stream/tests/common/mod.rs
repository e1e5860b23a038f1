//! A worker with a server on it, and an application behind the server.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use mosn_config::model::{DownstreamProtocols, HttpLimits};
use mosn_core::{
    BodyLength, ConnectionInfo, Failure, Frame, Headers, Protocol, RequestHead, ResponseHead, Scheme,
};
use mosn_net::{Io, Meter, Transport};
use mosn_stream::{Drain, ServerContext, ServerStream, Service, serve_connection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

pub mod frames;
pub mod http1;

/// Runs a test on a worker: one thread, its timers driven.
pub fn worker(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        tokio::task::spawn_local(mosn_net::timer::drive());
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs");
    });
}

/// Waits until something is so.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(5);
    while !is_so() {
        assert!(tokio::time::Instant::now() < patience, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub struct Unmetered;

impl Meter for Unmetered {
    fn read(&self, _bytes: u64) {}
    fn written(&self, _bytes: u64) {}
}

/// A request as the application got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub authority: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

/// Answers by path, and remembers:
/// - `/echo` reads the body and sends it back, with its trailers;
/// - `/early` answers 403 without reading;
/// - `/wait` answers when [`App::release`] is called, or notices that the client has gone;
/// - `/pour` sends 64 MiB as fast as the client takes it, `/drip` as much as came from the client;
/// - `/cut` breaks off within its body, `/never` before its head;
/// - `/interim` sends a 103 first;
/// - `/tunnel` agrees to an upgrade and echoes;
/// - anything else is answered 200 `hello`.
#[derive(Default)]
pub struct App {
    pub seen: RefCell<Vec<Seen>>,
    pub refused: RefCell<Vec<Failure>>,
    pub gone: RefCell<Vec<Failure>>,
    pub floods: Cell<usize>,
    pub active: Cell<usize>,
    /// Frames that `/pour` has sent.
    pub poured: Cell<usize>,
    released: tokio::sync::Notify,
}

pub const POUR_FRAME: usize = 16 * 1024;
pub const POUR_FRAMES: usize = 4096;

impl App {
    /// Lets one `/wait` go on.
    pub fn release(&self) {
        self.released.notify_one();
    }

    async fn answer<S: ServerStream>(&self, stream: &mut S, head: RequestHead) -> Result<(), Failure> {
        let path = String::from_utf8_lossy(head.path_only()).into_owned();
        let index = self.seen.borrow().len();
        self.seen.borrow_mut().push(seen(&head));
        let bodiless = head.body.is_empty();
        match path.as_str() {
            "/echo" => {
                let mut frames = Vec::new();
                while !bodiless && !frames.last().is_some_and(Frame::is_last) {
                    let frame = recv(stream).await?;
                    match &frame {
                        Frame::Data { data, .. } => {
                            self.seen.borrow_mut()[index].body.extend_from_slice(data);
                        }
                        Frame::Trailers(trailers) => {
                            self.seen.borrow_mut()[index].trailers = fields(trailers);
                        }
                    }
                    frames.push(frame);
                }
                let body = self.seen.borrow()[index].body.clone();
                let trailers = frames.pop().filter(|frame| matches!(frame, Frame::Trailers(_)));
                let length = match (&trailers, body.len()) {
                    (Some(_), _) => BodyLength::Unknown,
                    (None, 0) => return reply(stream, 200, BodyLength::Empty, Vec::new()).await,
                    (None, length) => BodyLength::Known(length as u64),
                };
                let end = trailers.is_none();
                let mut frames = vec![Frame::Data { data: body.into(), end }];
                frames.extend(trailers);
                reply(stream, 200, length, frames).await
            }
            "/early" => reply(stream, 403, BodyLength::Known(2), vec![text("no")]).await,
            "/wait" => {
                let mut released = std::pin::pin!(self.released.notified());
                poll_fn(|cx| match released.as_mut().poll(cx) {
                    std::task::Poll::Ready(()) => std::task::Poll::Ready(Ok(())),
                    std::task::Poll::Pending => stream.poll_gone(cx).map(Err),
                })
                .await?;
                reply(stream, 200, BodyLength::Known(6), vec![text("waited")]).await
            }
            "/pour" => {
                send_head(stream, 200, BodyLength::Unknown).await?;
                for at in 1..=POUR_FRAMES {
                    let frame = Frame::Data { data: vec![0; POUR_FRAME].into(), end: at == POUR_FRAMES };
                    send(stream, frame).await?;
                    self.poured.set(at);
                }
                flush(stream).await
            }
            "/cut" => {
                send_head(stream, 200, BodyLength::Unknown).await?;
                send(stream, Frame::Data { data: Bytes::from_static(b"half"), end: false }).await?;
                flush(stream).await?;
                stream.reset(Failure::UpstreamTerminated);
                Ok(())
            }
            "/never" => {
                stream.reset(Failure::UpstreamTerminated);
                Ok(())
            }
            "/interim" => {
                poll_fn(|cx| {
                    let mut headers = Headers::default();
                    headers.append("link", b"</a>");
                    stream.send_interim(cx, StatusCode::EARLY_HINTS, &headers);
                    std::task::Poll::Ready(())
                })
                .await;
                reply(stream, 200, BodyLength::Known(2), vec![text("ok")]).await
            }
            "/tunnel" if head.upgrade.is_some() => {
                send_head(stream, 101, BodyLength::Unknown).await?;
                loop {
                    let frame = recv(stream).await?;
                    let last = frame.is_last();
                    send(stream, frame).await?;
                    if last {
                        return flush(stream).await;
                    }
                }
            }
            "/unknown" => {
                let frames = vec![Frame::Data { data: Bytes::from_static(b"he"), end: false }, text("llo")];
                reply(stream, 200, BodyLength::Unknown, frames).await
            }
            "/204" => reply(stream, 204, BodyLength::Empty, Vec::new()).await,
            "/304" => reply(stream, 304, BodyLength::Empty, Vec::new()).await,
            _ if head.method == http::Method::HEAD => reply(stream, 200, BodyLength::Empty, Vec::new()).await,
            _ => reply(stream, 200, BodyLength::Known(5), vec![text("hello")]).await,
        }
    }
}

/// Counts the requests that are being served.
struct Serving<'a>(&'a Cell<usize>);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Service for App {
    async fn serve<S: ServerStream>(&self, stream: &mut S, head: Box<RequestHead>) {
        self.active.set(self.active.get() + 1);
        let _serving = Serving(&self.active);
        if let Err(why) = self.answer(stream, *head).await {
            self.gone.borrow_mut().push(why);
            match why {
                Failure::BadRequest => {
                    let refused = reply(stream, 400, BodyLength::Empty, Vec::new()).await;
                    refused.unwrap_or_else(|why| stream.reset(why));
                }
                _ => stream.reset(why),
            }
        }
    }

    fn refused(&self, _connection: &Rc<ConnectionInfo>, _protocol: Protocol, why: Failure) {
        self.refused.borrow_mut().push(why);
    }

    fn flooded(&self, _connection: &Rc<ConnectionInfo>) {
        self.floods.set(self.floods.get() + 1);
    }
}

fn text(text: &'static str) -> Frame {
    Frame::Data { data: Bytes::from_static(text.as_bytes()), end: true }
}

pub fn fields(headers: &Headers) -> Vec<(String, String)> {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().map(|(name, value)| (string(name), string(value))).collect()
}

fn seen(head: &RequestHead) -> Seen {
    Seen {
        method: head.method.to_string(),
        path: String::from_utf8_lossy(&head.path).into_owned(),
        authority: String::from_utf8_lossy(&head.authority).into_owned(),
        headers: fields(&head.headers),
        ..Seen::default()
    }
}

async fn recv<S: ServerStream>(stream: &mut S) -> Result<Frame, Failure> {
    poll_fn(|cx| stream.poll_recv(cx)).await.map_err(|reset| reset.0)
}

async fn send<S: ServerStream>(stream: &mut S, frame: Frame) -> Result<(), Failure> {
    poll_fn(|cx| stream.poll_ready(cx)).await.map_err(|reset| reset.0)?;
    let mut frame = Some(frame);
    poll_fn(|cx| std::task::Poll::Ready(frame.take().map_or(Ok(()), |frame| stream.send(cx, frame))))
        .await
        .map_err(|reset| reset.0)
}

async fn send_head<S: ServerStream>(stream: &mut S, status: u16, body: BodyLength) -> Result<(), Failure> {
    let status = StatusCode::from_u16(status).expect("a status");
    let mut head = Some(ResponseHead { status, headers: Headers::default(), body });
    poll_fn(|cx| std::task::Poll::Ready(head.take().map_or(Ok(()), |head| stream.send_head(cx, head, None))))
        .await
        .map_err(|reset| reset.0)
}

async fn flush<S: ServerStream>(stream: &mut S) -> Result<(), Failure> {
    poll_fn(|cx| stream.poll_flushed(cx)).await.map_err(|reset| reset.0)
}

async fn reply<S: ServerStream>(
    stream: &mut S,
    status: u16,
    body: BodyLength,
    frames: Vec<Frame>,
) -> Result<(), Failure> {
    send_head(stream, status, body).await?;
    for frame in frames {
        send(stream, frame).await?;
    }
    flush(stream).await
}

/// A server on this worker.
pub struct Server {
    pub app: Rc<App>,
    pub limits: HttpLimits,
    pub idle_timeout: Option<Duration>,
    pub protocols: DownstreamProtocols,
    pub drain: Rc<Drain>,
}

impl Server {
    pub fn new(protocol: Protocol) -> Self {
        Self {
            app: Rc::default(),
            limits: HttpLimits::default(),
            idle_timeout: None,
            protocols: DownstreamProtocols::One(protocol),
            drain: Rc::default(),
        }
    }

    /// A new connection's client end.
    pub fn connect(&self) -> UnixStream {
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        self.serve(Transport::Unix(far));
        near
    }

    /// Serves a connection.
    pub fn serve(&self, transport: Transport) {
        let cx = Rc::new(ServerContext {
            info: Rc::new(ConnectionInfo {
                id: 1,
                listener: Arc::from("in"),
                listener_type: Arc::from(""),
                local: None,
                remote: None,
                redirected: None,
            }),
            scheme: Scheme::Http,
            limits: Rc::new(self.limits.clone()),
            rpc: Rc::default(),
            idle_timeout: self.idle_timeout,
            drain: Rc::clone(&self.drain),
        });
        let (app, protocols) = (Rc::clone(&self.app), self.protocols.clone());
        let io = Io::new(transport, Rc::new(Unmetered));
        tokio::task::spawn_local(async move { serve_connection(io, &protocols, cx, app).await });
    }

    /// Sends bytes on a connection of their own and returns all that comes back until it closes.
    pub async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.connect();
        client.write_all(request.as_ref()).await.expect("the server reads");
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).await.expect("the server closes");
        String::from_utf8_lossy(&reply).into_owned()
    }
}
