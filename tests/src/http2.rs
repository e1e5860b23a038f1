//! Both sides of HTTP/2, on cleartext connections with prior knowledge.

use std::{
    future::{Future, poll_fn},
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
    server::SendResponse,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

use crate::{Broken, Fields, PATIENCE, Reply, Request, Seen, SeenLog};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

/// What either side takes before it has read anything.
const WINDOW: u32 = 1024 * 1024;

/// Runs a future to its end, on the runtime that serves both sides of HTTP/2.
///
/// # Panics
/// When that takes longer than [`PATIENCE`].
#[track_caller]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    match RUNTIME.block_on(async { tokio::time::timeout(PATIENCE, future).await }) {
        Ok(value) => value,
        Err(_) => panic!("still waiting after {PATIENCE:?}"),
    }
}

/// Runs a future beside the test.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    RUNTIME.spawn(future)
}

/// A client's connection.
#[derive(Debug)]
pub struct Http2Client {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// A request under way.
#[derive(Debug)]
pub struct Http2Reply {
    /// Its body; `None` if the request had none.
    pub send: Option<SendStream<Bytes>>,
    /// Its reply.
    pub response: ResponseFuture,
}

impl Http2Client {
    /// Connects, and waits for the other side's settings.
    ///
    /// # Panics
    /// When nobody accepts, or nobody who speaks HTTP/2.
    #[must_use]
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        block_on(async {
            let stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket option");
            let (send, connection) = h2::client::Builder::new()
                .initial_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .handshake(stream)
                .await
                .expect("a connection");
            let send = send.ready().await.expect("a connection");
            Self { send, driver: tokio::spawn(connection) }
        })
    }

    /// Sends a request and reads its reply to the end.
    ///
    /// # Errors
    /// When the reply does not come to its end.
    #[track_caller]
    pub fn exchange(&self, request: &Request) -> Result<Reply, Broken> {
        block_on(async {
            let under_way = self.start(request, None).await.map_err(Broken::new)?;
            let Http2Reply { send, response } = under_way;
            if let Some(send) = send {
                let (body, trailers) = (request.body.clone().unwrap_or_default(), request.trailers.clone());
                // An early reply ends the stream: what could not be sent is no error then.
                tokio::spawn(async move { send_all(send, body, &trailers).await });
            }
            receive(response).await
        })
    }

    /// Sends a request's head; `protocol` makes it an extended CONNECT.
    ///
    /// # Errors
    /// When the connection takes no requests any more.
    pub async fn start(&self, request: &Request, protocol: Option<&str>) -> Result<Http2Reply, h2::Error> {
        let uri = format!("http://{}{}", request.authority, request.path);
        let mut head = http::Request::builder().method(request.method.as_str()).uri(uri);
        if let Some(body) = request.body.as_ref().filter(|_| request.known_length) {
            head = head.header("content-length", body.len());
        }
        let mut head = head.body(()).expect("a request");
        head.headers_mut().extend(request.fields.to_map());
        if let Some(protocol) = protocol {
            head.extensions_mut().insert(h2::ext::Protocol::from(protocol));
        }
        let end = request.body.is_none() && protocol.is_none();
        let mut send = self.send.clone().ready().await?;
        let (response, send) = send.send_request(head, end)?;
        Ok(Http2Reply { send: (!end).then_some(send), response })
    }

    /// Waits until the other side has closed the connection.
    ///
    /// # Errors
    /// When it did so with an error.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn closed(self) -> Result<(), h2::Error> {
        block_on(self.driver).expect("a task that does not panic")
    }
}

/// Reads a reply to its end.
///
/// # Errors
/// When it does not come to its end.
async fn receive(mut response: ResponseFuture) -> Result<Reply, Broken> {
    let mut reply = Reply::default();
    while let Some(interim) = poll_fn(|cx| response.poll_informational(cx)).await {
        let interim = interim.map_err(Broken::new)?;
        reply.interim.push((interim.status().as_u16(), Fields::of_map(interim.headers())));
    }
    let (head, mut body) = response.await.map_err(Broken::new)?.into_parts();
    reply.status = head.status.as_u16();
    reply.fields = Fields::of_map(&head.headers);
    match read_all(&mut body, &mut reply.body).await {
        Ok(trailers) => Ok(Reply { trailers, ..reply }),
        Err(error) => Err(Broken { reply: Box::new(reply), why: error.to_string() }),
    }
}

impl Http2Reply {
    /// Reads the reply to its end.
    ///
    /// # Errors
    /// When it does not come to its end.
    #[track_caller]
    pub fn receive(self) -> Result<Reply, Broken> {
        block_on(receive(self.response))
    }
}

/// Reads a body to its end, and the trailers.
pub(crate) async fn read_all(recv: &mut RecvStream, body: &mut Vec<u8>) -> Result<Fields, h2::Error> {
    while let Some(data) = recv.data().await {
        let data = data?;
        body.extend_from_slice(&data);
        // Fails only for more than was received.
        let _ = recv.flow_control().release_capacity(data.len());
    }
    Ok(recv.trailers().await?.map(|map| Fields::of_map(&map)).unwrap_or_default())
}

/// Sends a body as fast as it is taken, and the trailers.
pub(crate) async fn send_all(
    mut send: SendStream<Bytes>,
    body: impl Into<Bytes>,
    trailers: &Fields,
) -> Result<(), h2::Error> {
    let mut body = body.into();
    while !body.is_empty() {
        send_some(&mut send, &mut body).await?;
    }
    if trailers.0.is_empty() {
        send.send_data(Bytes::new(), true)
    } else {
        send.send_trailers(trailers.to_map())
    }
}

/// Sends as much of `data` as the other side takes, at least a byte.
pub(crate) async fn send_some(send: &mut SendStream<Bytes>, data: &mut Bytes) -> Result<(), h2::Error> {
    send.reserve_capacity(data.len());
    match poll_fn(|cx| send.poll_capacity(cx)).await {
        Some(Ok(room)) => send.send_data(data.split_to(room.min(data.len())), false),
        Some(Err(error)) => Err(error),
        None => Err(Reason::CANCEL.into()),
    }
}

/// A server whose replies are written by hand. Its port is taken for as long as the tests run.
#[derive(Clone, Debug)]
pub struct Http2Origin {
    address: String,
    log: Arc<SeenLog>,
}

/// A request that waits for its reply.
#[derive(Debug)]
pub struct Http2Exchange {
    /// Its head.
    pub head: http::request::Parts,
    /// Its body.
    pub recv: RecvStream,
    /// Its reply.
    pub respond: SendResponse<Bytes>,
    connection: usize,
    log: Arc<SeenLog>,
    orders: UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    /// Keeps the exchange, whose end would reset its stream, until the connection is gone.
    HangUp(Box<Http2Exchange>),
    Leave,
}

impl Http2Origin {
    /// Serves each request with `serve`.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn new<F>(serve: impl Fn(Http2Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), h2::Error>> + Send + 'static,
    {
        let listener = block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let log = Arc::new(SeenLog::default());
        let origin =
            Self { address: listener.local_addr().expect("an address").to_string(), log: Arc::clone(&log) };
        let serve: Arc<Serve> = Arc::new(move |exchange| Box::pin(serve(exchange)));
        RUNTIME.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&log), Arc::clone(&serve)));
            }
        });
        origin
    }

    /// Its address, as a host of a cluster has it.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// What came.
    #[must_use]
    pub fn log(&self) -> &SeenLog {
        &self.log
    }
}

type Served = Pin<Box<dyn Future<Output = Result<(), h2::Error>> + Send>>;
type Serve = dyn Fn(Http2Exchange) -> Served + Send + Sync;

async fn connection(stream: TcpStream, log: Arc<SeenLog>, serve: Arc<Serve>) {
    let number = log.connection();
    let (orders, mut ordered) = unbounded_channel();
    // The proxy may go away at any time.
    let Ok(mut connection) = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .enable_connect_protocol()
        .handshake(stream)
        .await
    else {
        return;
    };
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else {
                    return;
                };
                let (head, recv) = request.into_parts();
                let (log, orders) = (Arc::clone(&log), orders.clone());
                tokio::spawn(serve(Http2Exchange { head, recv, respond, connection: number, log, orders }));
            }
            order = ordered.recv() => match order {
                Some(Order::HangUp(exchange)) => {
                    drop(connection);
                    drop(exchange);
                    return;
                }
                None => return,
                Some(Order::Leave) => connection.graceful_shutdown(),
            },
        }
    }
}

impl Http2Exchange {
    /// Reads the body, and notes the request in the origin's log.
    ///
    /// # Errors
    /// When it is cut short.
    pub async fn read(&mut self) -> Result<(Vec<u8>, Fields), h2::Error> {
        let mut body = Vec::new();
        let trailers = read_all(&mut self.recv, &mut body).await;
        self.record(body.clone(), trailers.as_ref().ok().cloned().unwrap_or_default(), trailers.is_ok());
        Ok((body, trailers?))
    }

    /// Notes the request in the origin's log, as one that was read to its end.
    pub fn note(&self, body: Vec<u8>, trailers: Fields) {
        self.record(body, trailers, true);
    }

    fn record(&self, body: Vec<u8>, trailers: Fields, whole: bool) {
        self.log.push(Seen {
            connection: self.connection,
            method: self.head.method.to_string(),
            path: self.head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            authority: self.head.uri.authority().map(ToString::to_string).unwrap_or_default(),
            fields: Fields::of_map(&self.head.headers),
            body,
            trailers,
            whole,
        });
    }

    /// Answers with a status and fields; what follows goes into the stream, if anything does.
    ///
    /// # Errors
    /// When the proxy is gone.
    pub fn reply(
        &mut self,
        status: u16,
        fields: &[(&str, &str)],
        end: bool,
    ) -> Result<SendStream<Bytes>, h2::Error> {
        let mut head = http::Response::builder().status(status);
        for (name, value) in fields {
            head = head.header(*name, *value);
        }
        self.respond.send_response(head.body(()).expect("a reply"), end)
    }

    /// Closes the connection without a word.
    pub fn hang_up(self) {
        let orders = self.orders.clone();
        // It may be closed already.
        let _ = orders.send(Order::HangUp(Box::new(self)));
    }

    /// Says that the connection takes no more requests.
    pub fn leave(&self) {
        // It may be closed already.
        let _ = self.orders.send(Order::Leave);
    }
}
