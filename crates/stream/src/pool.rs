//! The upstream side of one worker: for every host that it talks to, the connections it has.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use ahash::RandomState;
use mosn_config::model::Name;
use mosn_core::{Failure, Frame, Protocol, RequestHead, Reset};
use mosn_net::{Io, Meter, Transport, clock, connect_tcp, connect_unix, timer::Timer};
use mosn_telemetry::{Registry, UpstreamMetrics};
use mosn_upstream::{
    ChooseContext, Cluster, ClusterMap, Clusters, ConnectionToken, Host, HostAddress, HostId, RequestToken,
};
use tokio::{sync::Notify, time::Instant};

use crate::{
    ClientStream, Held, Reply,
    http1::{ClientConnection, Http1ClientStream, Http1Pool},
    http2::{Http2ClientStream, Http2Connection, Http2Pool},
};

/// How long a resolved name is used (upstream reference 2).
const RESOLVED: Duration = Duration::from_secs(15);

/// Ids of upstream connections, in the whole process.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// The upstream side of one worker.
#[derive(Debug)]
pub struct Pools {
    clusters: Clusters,
    registry: Registry,
    known: RefCell<Known>,
}

/// The clusters that this worker has used, and the state of all clusters it last looked at.
#[derive(Debug)]
struct Known {
    map: Arc<ClusterMap>,
    version: u64,
    clusters: HashMap<Name, (u64, Rc<LocalCluster>), RandomState>,
}

/// A cluster with what this worker keeps for it.
#[derive(Debug)]
pub struct LocalCluster {
    cluster: Arc<Cluster>,
    metrics: Arc<UpstreamMetrics>,
    /// Kept when the cluster changes: connections outlive updates.
    hosts: Rc<RefCell<HashMap<HostId, Rc<HostPool>, RandomState>>>,
}

/// This worker's connections to one host.
#[derive(Debug)]
pub struct HostPool {
    host: Arc<Host>,
    metrics: Arc<UpstreamMetrics>,
    cluster_metrics: Arc<UpstreamMetrics>,
    http1: Rc<Http1Pool>,
    http2: Http2Pool,
    /// A connection that others may share is being opened: they wait for it.
    opening: Cell<bool>,
    opened: Notify,
    /// How the last such opening failed, for those who waited for it.
    failure: Cell<Option<Failure>>,
    resolved: Cell<Option<(Instant, SocketAddr)>>,
}

/// A stream to a host.
#[derive(Debug)]
pub struct UpstreamStream {
    stream: Kind,
    _request: RequestToken,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "lives inside its request, one at a time")]
enum Kind {
    Http1(Http1ClientStream),
    Http2(Http2ClientStream),
}

/// What comes of opening a stream.
pub type Opened = Result<(UpstreamStream, Rc<HostPool>), OpenError>;

/// A stream that is there, or on its way.
pub enum Open {
    /// It is there, or cannot be had.
    Done(Opened),
    /// A connection is being made. Dropping it gives up.
    Connecting(Pin<Box<dyn Future<Output = Opened>>>),
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(done) => f.debug_tuple("Done").field(done).finish(),
            Self::Connecting(_) => f.write_str("Connecting"),
        }
    }
}

/// A stream could not be had.
#[derive(Debug)]
pub struct OpenError {
    /// Why.
    pub why: Failure,
    /// The host that was chosen, if it got so far.
    pub host: Option<Rc<HostPool>>,
}

impl Pools {
    /// No connections yet.
    #[must_use]
    pub fn new(clusters: Clusters, registry: Registry) -> Self {
        let map = clusters.snapshot();
        Self {
            clusters,
            registry,
            known: RefCell::new(Known { map, version: 0, clusters: HashMap::default() }),
        }
    }

    /// The cluster of this name, as it is now.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<Rc<LocalCluster>> {
        let current = self.clusters.load();
        let mut known = self.known.borrow_mut();
        if !Arc::ptr_eq(&current, &known.map) {
            known.map = Arc::clone(&current);
            known.version += 1;
        }
        let version = known.version;
        if let Some((seen, local)) = known.clusters.get(name)
            && *seen == version
        {
            return Some(Rc::clone(local));
        }
        let Some(cluster) = current.get(name) else {
            known.clusters.remove(name);
            return None;
        };
        let local = match known.clusters.get(name) {
            Some((_, local)) if Arc::ptr_eq(&local.cluster, cluster) => Rc::clone(local),
            Some((_, local)) => Rc::new(LocalCluster {
                cluster: Arc::clone(cluster),
                metrics: Arc::clone(&local.metrics),
                hosts: Rc::clone(&local.hosts),
            }),
            None => Rc::new(LocalCluster {
                cluster: Arc::clone(cluster),
                metrics: self.registry.upstream_cluster(name),
                hosts: Rc::default(),
            }),
        };
        known.clusters.insert(Arc::clone(&cluster.name), (version, Rc::clone(&local)));
        Some(local)
    }

    /// Chooses a host and opens a stream to it: on a connection that is there, or on a new one.
    /// `fresh` = only a new one will do.
    #[must_use]
    pub fn open(
        &self,
        cluster: &Rc<LocalCluster>,
        protocol: Protocol,
        cx: &mut ChooseContext<'_>,
        fresh: bool,
    ) -> Open {
        let without_host = |why| Open::Done(Err(OpenError { why, host: None }));
        let Ok(request) = cluster.cluster.try_acquire_request() else {
            return without_host(Failure::Overflow);
        };
        let Some(host) = cluster.cluster.choose(cx) else {
            return without_host(Failure::NoHealthyHost);
        };
        let pool = self.host_pool(cluster, host);
        let there = match protocol {
            Protocol::Http1 => pool
                .http1
                .take()
                .filter(|_| !fresh)
                .map(|connection| Kind::Http1(Http1ClientStream::new(connection, &pool.http1))),
            Protocol::Http2 => {
                pool.http2.take().map(|connection| Kind::Http2(Http2ClientStream::new(connection)))
            }
        };
        if let Some(stream) = there {
            return Open::Done(Ok((UpstreamStream { stream, _request: request }, pool)));
        }
        let cluster = Arc::clone(&cluster.cluster);
        Open::Connecting(Box::pin(async move {
            let opened = match protocol {
                Protocol::Http1 => pool.http1_stream(&cluster).await.map(Kind::Http1),
                Protocol::Http2 => pool.http2_stream(&cluster).await.map(Kind::Http2),
            };
            match opened {
                Ok(stream) => Ok((UpstreamStream { stream, _request: request }, pool)),
                Err(why) => Err(OpenError { why, host: Some(pool) }),
            }
        }))
    }

    fn host_pool(&self, cluster: &LocalCluster, host: &Arc<Host>) -> Rc<HostPool> {
        let mut hosts = cluster.hosts.borrow_mut();
        if let Some(pool) = hosts.get(&host.id)
            && Arc::ptr_eq(&pool.host, host)
        {
            return Rc::clone(pool);
        }
        let pool = Rc::new(HostPool {
            host: Arc::clone(host),
            metrics: self.registry.upstream_host(&cluster.cluster.name, &host.address_text),
            cluster_metrics: Arc::clone(&cluster.metrics),
            http1: Rc::default(),
            http2: Http2Pool::default(),
            opening: Cell::new(false),
            opened: Notify::new(),
            failure: Cell::new(None),
            resolved: Cell::new(None),
        });
        pool.http1.set_max_requests(cluster.cluster.max_requests_per_connection);
        pool.http2.set_max_requests(cluster.cluster.max_requests_per_connection);
        hosts.insert(host.id, Rc::clone(&pool));
        pool
    }

    /// Closes connections that have idled too long, were closed by their peers, or lead to hosts and
    /// clusters that are gone. To be called about once a second.
    pub fn sweep(&self) {
        let current = self.clusters.snapshot();
        let mut known = self.known.borrow_mut();
        known.clusters.retain(|name, (_, local)| {
            let cluster = current.get(name);
            local.hosts.borrow_mut().retain(|_, pool| {
                if cluster.is_none() || pool.host.is_retired() {
                    return false;
                }
                pool.http1.sweep(local.cluster.idle_timeout);
                pool.http2.sweep(local.cluster.idle_timeout);
                true
            });
            cluster.is_some()
        });
    }
}

impl LocalCluster {
    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// This worker's shard of its metrics.
    #[must_use]
    pub fn metrics(&self) -> &UpstreamMetrics {
        &self.metrics
    }
}

impl HostPool {
    /// The host.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// This worker's shard of its metrics.
    #[must_use]
    pub fn metrics(&self) -> &Arc<UpstreamMetrics> {
        &self.metrics
    }

    async fn http1_stream(self: &Rc<Self>, cluster: &Cluster) -> Result<Http1ClientStream, Failure> {
        let token = cluster.try_acquire_connection(&self.host).map_err(|_| Failure::Overflow)?;
        let io = self.connect(cluster).await?;
        let open = self.count_open(token);
        let connection = ClientConnection::new(io, NEXT_CONNECTION.fetch_add(1, Relaxed), open);
        Ok(Http1ClientStream::new(connection, &self.http1))
    }

    async fn http2_stream(self: &Rc<Self>, cluster: &Cluster) -> Result<Http2ClientStream, Failure> {
        loop {
            if let Some(connection) = self.http2.take() {
                return Ok(Http2ClientStream::new(connection));
            }
            if self.opening.get() {
                self.opened.notified().await;
                if let Some(why) = self.failure.get() {
                    return Err(why);
                }
                continue;
            }
            let opening = Opening::begin(self);
            let opened = self.open_http2(cluster).await;
            opening.end(opened.as_ref().err().copied());
            let connection = opened?;
            self.http2.put(Rc::clone(&connection));
            return Ok(Http2ClientStream::new(connection));
        }
    }

    async fn open_http2(self: &Rc<Self>, cluster: &Cluster) -> Result<Rc<Http2Connection>, Failure> {
        let token = cluster.try_acquire_connection(&self.host).map_err(|_| Failure::Overflow)?;
        let io = self.connect(cluster).await?;
        let open = self.count_open(token);
        Http2Connection::open(io, NEXT_CONNECTION.fetch_add(1, Relaxed), cluster.connect_timeout, open).await
    }

    async fn connect(self: &Rc<Self>, cluster: &Cluster) -> Result<Io, Failure> {
        let mut timer = Timer::after(cluster.connect_timeout);
        let mut connect = pin!(self.dial(cluster.mark));
        let connected = poll_fn(|cx| match connect.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done.map_err(|error| {
                tracing::warn!(
                    alert = "mosn.proxy.upstream_conn_failed",
                    "cannot connect to {} of cluster {}: {error}",
                    self.host.address_text,
                    cluster.name
                );
                Failure::ConnectFailed
            })),
            Poll::Pending => timer.poll(cx).map(|()| Err(Failure::ConnectTimeout)),
        })
        .await;
        match connected {
            Ok(transport) => {
                for metrics in [&self.metrics, &self.cluster_metrics] {
                    metrics.connection_total.inc();
                    metrics.connection_active.inc();
                }
                let meter = Rc::new(ClusterMeter(Arc::clone(&self.cluster_metrics)));
                Ok(Io::new(transport, meter))
            }
            Err(why) => {
                for metrics in [&self.metrics, &self.cluster_metrics] {
                    metrics.connection_con_fail.inc();
                }
                Err(why)
            }
        }
    }

    async fn dial(&self, mark: u32) -> io::Result<Transport> {
        match &self.host.address {
            HostAddress::Ip(address) => connect_tcp(*address, mark).await.map(Transport::Tcp),
            HostAddress::Unix(path) => connect_unix(path).await.map(Transport::Unix),
            HostAddress::Name { host, port } => {
                let address = match self.resolved.get() {
                    Some((at, address)) if clock::now().duration_since(at) < RESOLVED => address,
                    _ => {
                        let mut addresses = tokio::net::lookup_host((&**host, *port)).await?;
                        let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
                        self.resolved.set(Some((clock::now(), address)));
                        address
                    }
                };
                connect_tcp(address, mark).await.map(Transport::Tcp)
            }
        }
    }

    fn count_open(&self, token: ConnectionToken) -> Box<OpenConnection> {
        Box::new(OpenConnection {
            metrics: [Arc::clone(&self.metrics), Arc::clone(&self.cluster_metrics)],
            remote: Cell::new(false),
            _token: token,
        })
    }
}

/// Someone opens a shared connection. Others are woken however that ends, also if it is cancelled.
struct Opening<'a>(&'a HostPool);

impl<'a> Opening<'a> {
    fn begin(pool: &'a HostPool) -> Self {
        pool.opening.set(true);
        pool.failure.set(None);
        Self(pool)
    }

    fn end(self, failure: Option<Failure>) {
        self.0.failure.set(failure);
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.opened.notify_waiters();
    }
}

/// Counts an open connection; dropped when it closes.
#[derive(Debug)]
struct OpenConnection {
    metrics: [Arc<UpstreamMetrics>; 2],
    /// Whether the peer has ended it.
    remote: Cell<bool>,
    _token: ConnectionToken,
}

impl Held for OpenConnection {
    fn ended_by_peer(&self) {
        self.remote.set(true);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        for metrics in &self.metrics {
            metrics.connection_active.dec();
            metrics.connection_close.inc();
            if self.remote.get() {
                metrics.connection_remote_close.inc();
            } else {
                metrics.connection_local_close.inc();
            }
        }
    }
}

/// Counts the bytes of a cluster's connections.
struct ClusterMeter(Arc<UpstreamMetrics>);

impl Meter for ClusterMeter {
    fn read(&self, bytes: u64) {
        self.0.connection_bytes_read_total.add(bytes);
    }

    fn written(&self, bytes: u64) {
        self.0.connection_bytes_write.add(bytes);
    }
}

macro_rules! each_kind {
    ($self:ident, $stream:ident => $body:expr) => {
        match &$self.stream {
            Kind::Http1($stream) => $body,
            Kind::Http2($stream) => $body,
        }
    };
    (mut $self:ident, $stream:ident => $body:expr) => {
        match &mut $self.stream {
            Kind::Http1($stream) => $body,
            Kind::Http2($stream) => $body,
        }
    };
}

impl ClientStream for UpstreamStream {
    fn connection_id(&self) -> u64 {
        each_kind!(self, stream => stream.connection_id())
    }

    fn is_reused(&self) -> bool {
        each_kind!(self, stream => stream.is_reused())
    }

    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
        keep: bool,
        first: Option<Frame>,
    ) -> Result<(), Reset> {
        each_kind!(mut self, stream => stream.send_head(cx, head, keep, first))
    }

    fn send(&mut self, cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset> {
        each_kind!(mut self, stream => stream.send(cx, frame))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        each_kind!(mut self, stream => stream.poll_ready(cx))
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Reset>> {
        each_kind!(mut self, stream => stream.poll_reply(cx))
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        each_kind!(mut self, stream => stream.poll_recv(cx))
    }
}
