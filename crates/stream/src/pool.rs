//! The upstream side of one worker: for every host that it talks to, the connections it has.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use ahash::RandomState;
use mosn_codec::rpc;
use mosn_config::model::{Name, PoolMode, RpcSpec};
use mosn_core::{Failure, Frame, Protocol, RequestHead, Reset};
use mosn_net::{
    ConnectOptions, Io, Meter, Transport, clock, connect_any, connect_tcp, connect_unix, timer::Timer,
};
use mosn_telemetry::{Registry, UpstreamMetrics};
use mosn_upstream::{
    Attempt, ChooseContext, Cluster, ClusterMap, Clusters, ConnectionToken, Host, HostAddress, HostId,
    RequestToken,
};
use tokio::{sync::Notify, time::Instant};

use crate::{
    ClientStream, Held, Reply,
    http1::{ClientConnection, Http1ClientStream, Http1Pool},
    http2::{Http2ClientStream, Http2Connection, Http2Pool},
    rpc::{Opening as RpcOpening, RpcClientStream, RpcPool, RpcUse, Upstream, UpstreamFacts},
};

/// How long a resolved name is used (upstream reference 2).
const RESOLVED: Duration = Duration::from_secs(15);
/// How much longer it is used when it cannot be resolved again.
const RESOLVED_BEFORE: Duration = Duration::from_millis(7500);

/// Hosts that requests of one cluster may name within a second on one worker.
const DESTINATIONS: usize = 4096;

/// From so many failed connects in a row on, a host is left alone for a while: 10 ms at first, twice
/// as long after each further one, up to 640 ms.
const PATIENCE: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const DOUBLINGS: u32 = 6;

/// Ids of upstream connections, in the whole process.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// The upstream side of one worker.
#[derive(Debug)]
pub struct Pools {
    clusters: Clusters,
    registry: Registry,
    known: RefCell<Known>,
    shared: RefCell<HashMap<Sharing, Shared, RandomState>>,
}

/// What clusters must have in common to share connections to a host (`cluster_pool_enable` off).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sharing {
    address: Name,
    tls_disable: bool,
    settings: ConnectionSettings,
}

/// Connections of several clusters, as long as one of them uses them.
type Shared = (Weak<Http1Pool>, Weak<Http2Pool>);

/// What a cluster asks of its connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ConnectionSettings {
    options: ConnectOptions,
    max_requests: Option<u32>,
    max_age: Option<Duration>,
    idle_timeout: Option<Duration>,
}

impl ConnectionSettings {
    fn of(cluster: &Cluster) -> Self {
        Self {
            options: ConnectOptions { mark: cluster.mark, bind: cluster.bind_address },
            max_requests: cluster.max_requests_per_connection,
            max_age: cluster.max_connection_duration,
            idle_timeout: cluster.idle_timeout,
        }
    }
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
    /// Hosts that requests named, by that name, as long as there are connections to them.
    destinations: Rc<RefCell<HashMap<Name, Arc<Host>, RandomState>>>,
}

/// This worker's connections to one host.
#[derive(Debug)]
pub struct HostPool {
    host: Arc<Host>,
    metrics: Arc<UpstreamMetrics>,
    cluster_metrics: Arc<UpstreamMetrics>,
    http1: Rc<Http1Pool>,
    http2: Rc<Http2Pool>,
    /// For each RPC protocol and mode that is used: few, mostly one.
    rpc: Rc<RefCell<Vec<Rc<RpcPool>>>>,
    /// An HTTP/2 connection that others may share is being opened: they wait for it.
    opening: Cell<bool>,
    opened: Notify,
    /// How the last such opening failed, for those who waited for it.
    failure: Cell<Option<Failure>>,
    resolved: RefCell<Option<Resolved>>,
    pause: Cell<Option<Pause>>,
    /// What its last stream spoke.
    protocol: Cell<Option<Protocol>>,
    /// What it was when this worker last looked.
    healthy: Cell<bool>,
}

/// The addresses of a host's name.
#[derive(Debug)]
struct Resolved {
    until: Instant,
    addresses: Rc<[SocketAddr]>,
    /// Somebody asks anew.
    renewing: bool,
}

/// Connects to a host have failed.
#[derive(Clone, Copy, Debug)]
struct Pause {
    failures: u32,
    until: Instant,
    /// How the last one failed, and so whoever asks meanwhile.
    why: Failure,
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
    Rpc(RpcClientStream),
}

/// What a stream must be like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Only a new connection will do (HTTP/1).
    pub fresh: bool,
    /// How RPC is spoken.
    pub rpc: RpcSpec,
    /// The client's connection, by its id.
    pub client: u64,
}

/// A connection for an RPC call that is passed on as it came, and what the call holds.
#[derive(Debug)]
pub struct Line {
    /// The connection.
    pub upstream: Rc<Upstream>,
    /// The call's place among the cluster's requests.
    pub token: RequestToken,
    /// What the balancer and outlier detection learn from it.
    pub attempt: Attempt,
}

/// What comes of opening a stream.
pub type Opened = Result<(UpstreamStream, Rc<HostPool>), OpenError>;

/// A stream that is there, or on its way.
pub enum Open {
    /// It is there, or cannot be had.
    Done(Opened),
    /// A connection to this host is being made. Dropping it gives up.
    Connecting(Rc<HostPool>, Pin<Box<dyn Future<Output = Opened>>>),
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(done) => f.debug_tuple("Done").field(done).finish(),
            Self::Connecting(..) => f.write_str("Connecting"),
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
            shared: RefCell::default(),
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
            Some((_, local)) => {
                if ConnectionSettings::of(&local.cluster) != ConnectionSettings::of(cluster)
                    || local.cluster.shares_connections() != cluster.shares_connections()
                {
                    // What is in flight goes on; nothing new uses these connections.
                    local.hosts.borrow_mut().clear();
                }
                Rc::new(LocalCluster {
                    cluster: Arc::clone(cluster),
                    metrics: Arc::clone(&local.metrics),
                    hosts: Rc::clone(&local.hosts),
                    destinations: Rc::clone(&local.destinations),
                })
            }
            None => Rc::new(LocalCluster {
                cluster: Arc::clone(cluster),
                metrics: self.registry.upstream_cluster(name),
                hosts: Rc::default(),
                destinations: Rc::default(),
            }),
        };
        known.clusters.insert(Arc::clone(&cluster.name), (version, Rc::clone(&local)));
        Some(local)
    }

    /// Opens connections for RPC calls to the cluster's hosts ahead of the first call, to `most` of
    /// them at most. Returns to how many.
    pub fn warm_up_rpc(&self, cluster: &str, rpc: &RpcUse, most: usize) -> usize {
        let Some(local) = self.cluster(cluster) else { return 0 };
        let hosts = local.cluster.hosts().iter().filter(|host| host.is_healthy()).take(most);
        hosts.map(|host| self.host_pool(&local, host)).fold(0, |count, pool| {
            let _ = pool.rpc_pool(rpc);
            pool.warm_up(&local.cluster);
            count + 1
        })
    }

    /// A connection that is open and leads to a host of the cluster.
    #[must_use]
    pub fn line(&self, cluster: &Rc<LocalCluster>, rpc: &RpcUse, cx: &mut ChooseContext<'_>) -> Option<Line> {
        let token = cluster.cluster.try_acquire_request().ok()?;
        let host = cluster.cluster.choose(cx)?;
        let pool = self.host_pool(cluster, host);
        let rpc_pool = pool.rpc_pool(rpc);
        let ready = rpc_pool.ready(rpc.client, cluster.cluster.max_requests_per_connection);
        let wanted = match &ready {
            Some(upstream) => {
                let configured = configured_connections(&cluster.cluster);
                rpc_pool.wants_another(configured, upstream.is_congested() && !upstream.is_stalled())
            }
            // The long way chooses anew, and may never come to this host: where two take turns, and one
            // has no connection, it would always be passed over.
            None => {
                rpc_pool.mode == PoolMode::Multiplex
                    && rpc_pool.is_empty()
                    && rpc_pool.opening(0).is_none()
                    && !pool.is_paused()
            }
        };
        if wanted {
            let opening = RpcOpening::begin(&rpc_pool, rpc.client);
            let (cluster, rpc) = (Arc::clone(&cluster.cluster), *rpc);
            tokio::task::spawn_local(async move {
                // How it failed is known to the pool, and to the log.
                let _ = pool.open_rpc(&cluster, &rpc_pool, &rpc, Some(opening)).await;
            });
        }
        let upstream = ready.filter(|upstream| !upstream.is_stalled())?;
        let attempt = cluster.cluster.begin(host);
        Some(Line { upstream, token, attempt })
    }

    /// Chooses a host and opens a stream to it: on a connection that is there, or on a new one.
    #[must_use]
    pub fn open(
        &self,
        cluster: &Rc<LocalCluster>,
        protocol: Protocol,
        cx: &mut ChooseContext<'_>,
        terms: Terms,
    ) -> Open {
        let without_host = |why| Open::Done(Err(OpenError { why, host: None }));
        let Ok(request) = cluster.cluster.try_acquire_request() else {
            return without_host(Failure::Overflow);
        };
        let named = cluster.destination(cx.destination);
        let Some(host) = named.as_ref().or_else(|| cluster.cluster.choose(cx)) else {
            return without_host(Failure::NoHealthyHost);
        };
        let pool = self.host_pool(cluster, host);
        let there = match protocol {
            Protocol::Http1 => pool
                .http1
                .take()
                .filter(|_| !terms.fresh)
                .map(|connection| Kind::Http1(Http1ClientStream::new(connection, &pool.http1))),
            Protocol::Http2 => {
                pool.http2.take().map(|connection| Kind::Http2(Http2ClientStream::new(connection)))
            }
            Protocol::Rpc(name) => {
                let Some(protocol) = rpc::by_name(name) else {
                    return without_host(Failure::NotImplemented);
                };
                let rpc = RpcUse { protocol, spec: terms.rpc, client: terms.client };
                let max = cluster.cluster.max_requests_per_connection;
                let upstream = pool.rpc_pool(&rpc).ready(rpc.client, max);
                upstream.map(|upstream| Kind::Rpc(RpcClientStream::new(upstream, rpc.spec.pool)))
            }
        };
        if let Some(stream) = there {
            return Open::Done(Ok((UpstreamStream { stream, _request: request }, pool)));
        }
        let Ok(pending) = cluster.cluster.try_acquire_pending() else {
            return Open::Done(Err(OpenError { why: Failure::Overflow, host: Some(pool) }));
        };
        pool.protocol.set(Some(protocol));
        let cluster = Arc::clone(&cluster.cluster);
        let host = Rc::clone(&pool);
        let connecting = async move {
            let opened = match protocol {
                Protocol::Http1 => pool.http1_stream(&cluster).await.map(Kind::Http1),
                Protocol::Http2 => pool.http2_stream(&cluster).await.map(Kind::Http2),
                Protocol::Rpc(name) => match rpc::by_name(name) {
                    Some(protocol) => {
                        let rpc = RpcUse { protocol, spec: terms.rpc, client: terms.client };
                        pool.rpc_stream(&cluster, &rpc).await.map(Kind::Rpc)
                    }
                    None => Err(Failure::NotImplemented),
                },
            };
            drop(pending);
            match opened {
                Ok(stream) => Ok((UpstreamStream { stream, _request: request }, pool)),
                Err(why) => Err(OpenError { why, host: Some(pool) }),
            }
        };
        Open::Connecting(host, Box::pin(connecting))
    }

    fn host_pool(&self, cluster: &LocalCluster, host: &Arc<Host>) -> Rc<HostPool> {
        let mut hosts = cluster.hosts.borrow_mut();
        if let Some(pool) = hosts.get(&host.id)
            && Arc::ptr_eq(&pool.host, host)
        {
            return Rc::clone(pool);
        }
        let (http1, http2, rpc) = match hosts.get(&host.id) {
            Some(before) => (Rc::clone(&before.http1), Rc::clone(&before.http2), Rc::clone(&before.rpc)),
            None => {
                let (http1, http2) = self.connections(&cluster.cluster, host);
                (http1, http2, Rc::default())
            }
        };
        let pool = Rc::new(HostPool {
            host: Arc::clone(host),
            metrics: match cluster.cluster.destination_header() {
                None => self.registry.upstream_host(&cluster.cluster.name, &host.address_text),
                // Clients name these; there may be any number.
                Some(_) => Arc::default(),
            },
            cluster_metrics: Arc::clone(&cluster.metrics),
            http1,
            http2,
            rpc,
            opening: Cell::new(false),
            opened: Notify::new(),
            failure: Cell::new(None),
            resolved: RefCell::default(),
            pause: Cell::new(None),
            protocol: Cell::new(None),
            healthy: Cell::new(true),
        });
        hosts.insert(host.id, Rc::clone(&pool));
        pool
    }

    /// The connections that a cluster has to a host, or is to have: its own, or those of clusters
    /// like it.
    fn connections(&self, cluster: &Cluster, host: &Host) -> (Rc<Http1Pool>, Rc<Http2Pool>) {
        let settings = ConnectionSettings::of(cluster);
        let (http1, http2) = (Rc::<Http1Pool>::default(), Rc::<Http2Pool>::default());
        http1.set_max_requests(settings.max_requests);
        http2.set_max_requests(settings.max_requests);
        http1.set_max_age(settings.max_age);
        http2.set_max_age(settings.max_age);
        if cluster.shares_connections() {
            let address = Arc::clone(&host.address_text);
            let sharing = Sharing { address, tls_disable: host.tls_disable, settings };
            let mut shared = self.shared.borrow_mut();
            if let Some((one, two)) = shared.get(&sharing)
                && let (Some(one), Some(two)) = (one.upgrade(), two.upgrade())
            {
                return (one, two);
            }
            shared.insert(sharing, (Rc::downgrade(&http1), Rc::downgrade(&http2)));
        }
        (http1, http2)
    }

    /// Closes connections that have idled too long, were closed by their peers, or lead to hosts and
    /// clusters that are gone, and opens one to each host that has become healthy. To be called about
    /// once a second.
    pub fn sweep(&self) {
        let current = self.clusters.snapshot();
        let mut known = self.known.borrow_mut();
        if !Arc::ptr_eq(&current, &known.map) {
            // A worker without requests keeps nothing alive that has been replaced.
            known.map = Arc::clone(&current);
            known.version += 1;
        }
        known.clusters.retain(|name, (_, local)| {
            let cluster = current.get(name);
            local.hosts.borrow_mut().retain(|_, pool| {
                if cluster.is_none() || pool.host.is_retired() {
                    return false;
                }
                pool.http1.sweep(local.cluster.idle_timeout);
                pool.http2.sweep(local.cluster.idle_timeout);
                pool.rpc.borrow().iter().for_each(|rpc| rpc.sweep(local.cluster.idle_timeout));
                let healthy = pool.host.is_healthy();
                if !pool.healthy.replace(healthy) && healthy {
                    pool.warm_up(&local.cluster);
                }
                local.cluster.destination_header().is_none() || pool.is_used()
            });
            let hosts = local.hosts.borrow();
            local.destinations.borrow_mut().retain(|_, host| hosts.contains_key(&host.id));
            cluster.is_some()
        });
        self.shared.borrow_mut().retain(|_, (http1, _)| http1.strong_count() > 0);
    }
}

impl LocalCluster {
    /// The host that a request names, where requests of this cluster do.
    fn destination(&self, target: Option<&str>) -> Option<Arc<Host>> {
        self.cluster.destination_header()?;
        let target = target?;
        let mut destinations = self.destinations.borrow_mut();
        if let Some(host) = destinations.get(target) {
            return Some(Arc::clone(host));
        }
        // The next sweep makes room.
        if destinations.len() >= DESTINATIONS {
            return None;
        }
        let host = self.cluster.destination(target)?;
        destinations.insert(target.into(), Arc::clone(&host));
        Some(host)
    }

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
    /// Whether there is a connection, or somebody who holds it.
    fn is_used(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) > 1
            || self.http1.idle() > 0
            || !self.http2.is_empty()
            || !self.rpc.borrow().is_empty()
    }

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
        Ok(Http1ClientStream::new(self.http1_connection(cluster).await?, &self.http1))
    }

    async fn http1_connection(self: &Rc<Self>, cluster: &Cluster) -> Result<Box<ClientConnection>, Failure> {
        let token = cluster.try_acquire_connection(&self.host).map_err(|_| Failure::Overflow)?;
        let io = self.connect(cluster).await?;
        let open = self.count_open(token);
        Ok(ClientConnection::new(io, NEXT_CONNECTION.fetch_add(1, Relaxed), open))
    }

    /// Opens a connection ahead of the first request, if there is none and there was one before.
    fn warm_up(self: &Rc<Self>, cluster: &Arc<Cluster>) {
        let (pool, cluster) = (Rc::clone(self), Arc::clone(cluster));
        tokio::task::spawn_local(async move {
            let rpc = pool.rpc.borrow().clone();
            for rpc in rpc {
                if rpc.mode == PoolMode::Multiplex && rpc.is_empty() && rpc.opening(0).is_none() {
                    let opening = RpcOpening::begin(&rpc, 0);
                    let _ = pool.open_rpc(&cluster, &rpc, &rpc.use_for(0), Some(opening)).await;
                }
            }
            // Where it fails, the first request will say so.
            match pool.protocol.get() {
                Some(Protocol::Http1) if pool.http1.idle() == 0 => {
                    if let Ok(connection) = pool.http1_connection(&cluster).await {
                        pool.http1.put(connection);
                    }
                }
                Some(Protocol::Http2) if pool.http2.is_empty() => {
                    let _ = pool.http2_stream(&cluster).await;
                }
                _ => {}
            }
        });
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
        // Other workers' connections are of no use here: the first one is counted, but never refused.
        let token = match self.http2.is_empty() {
            true => cluster.count_connection(&self.host),
            false => cluster.try_acquire_connection(&self.host).map_err(|_| Failure::Overflow)?,
        };
        let io = self.connect(cluster).await?;
        let open = self.count_open(token);
        Ok(Http2Connection::open(io, NEXT_CONNECTION.fetch_add(1, Relaxed), open))
    }

    fn rpc_pool(&self, rpc: &RpcUse) -> Rc<RpcPool> {
        let mut pools = self.rpc.borrow_mut();
        if let Some(pool) = pools.iter().find(|pool| pool.is_for(rpc)) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(RpcPool::new(rpc));
        pools.push(Rc::clone(&pool));
        pool
    }

    async fn rpc_stream(
        self: &Rc<Self>,
        cluster: &Cluster,
        rpc: &RpcUse,
    ) -> Result<RpcClientStream, Failure> {
        let pool = self.rpc_pool(rpc);
        loop {
            if let Some(upstream) = pool.ready(rpc.client, cluster.max_requests_per_connection) {
                return Ok(RpcClientStream::new(upstream, pool.mode));
            }
            // In ping-pong mode nobody could use it together with whoever opens it.
            let shared = pool.mode != PoolMode::PingPong;
            if shared && let Some(underway) = pool.opening(rpc.client) {
                underway.over().await?;
                continue;
            }
            let opening = shared.then(|| RpcOpening::begin(&pool, rpc.client));
            let upstream = self.open_rpc(cluster, &pool, rpc, opening).await?;
            return Ok(RpcClientStream::new(upstream, pool.mode));
        }
    }

    /// Adds a connection to the pool.
    async fn open_rpc(
        self: &Rc<Self>,
        cluster: &Cluster,
        pool: &Rc<RpcPool>,
        rpc: &RpcUse,
        opening: Option<RpcOpening>,
    ) -> Result<Rc<Upstream>, Failure> {
        let opened = self.connect_rpc(cluster, rpc).await;
        if let Ok(upstream) = &opened {
            pool.put(rpc.client, upstream);
        }
        if let Some(opening) = opening {
            opening.end(opened.as_ref().err().copied());
        }
        opened
    }

    async fn connect_rpc(self: &Rc<Self>, cluster: &Cluster, rpc: &RpcUse) -> Result<Rc<Upstream>, Failure> {
        let token = match rpc.spec.pool {
            // The limit says how many share the load, and each worker needs one.
            PoolMode::Multiplex => cluster.count_connection(&self.host),
            PoolMode::PingPong | PoolMode::Binding => {
                cluster.try_acquire_connection(&self.host).map_err(|_| Failure::Overflow)?
            }
        };
        let io = self.connect(cluster).await?;
        let facts = UpstreamFacts {
            connection_id: NEXT_CONNECTION.fetch_add(1, Relaxed),
            protocol: rpc.protocol,
            cluster: Arc::clone(&cluster.name),
            host: Arc::clone(&self.host),
            metrics: [Arc::clone(&self.cluster_metrics), Arc::clone(&self.metrics)],
        };
        Ok(Upstream::open(io, facts, &rpc.spec, cluster.keepalive, self.count_open(token)))
    }

    /// Whether connects have failed, and the next must wait.
    fn is_paused(&self) -> bool {
        self.pause.get().is_some_and(|pause| clock::now() < pause.until)
    }

    async fn connect(self: &Rc<Self>, cluster: &Cluster) -> Result<Io, Failure> {
        if let Some(pause) = self.pause.get().filter(|_| self.is_paused()) {
            return Err(pause.why);
        }
        let mut timer = Timer::after(cluster.connect_timeout);
        let options = ConnectOptions { mark: cluster.mark, bind: cluster.bind_address };
        let mut connect = pin!(self.dial(options));
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
                self.pause.set(None);
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
                self.pause.set(Some(Pause::after(self.pause.get(), why)));
                Err(why)
            }
        }
    }

    async fn dial(self: &Rc<Self>, options: ConnectOptions) -> io::Result<Transport> {
        match &self.host.address {
            HostAddress::Ip(address) => connect_tcp(*address, options).await.map(Transport::Tcp),
            HostAddress::Unix(path) => connect_unix(path).await.map(Transport::Unix),
            HostAddress::Name { host, port } => {
                let addresses = self.addresses(host, *port).await?;
                connect_any(&addresses, options).await.map(Transport::Tcp)
            }
        }
    }

    /// The addresses of a name. Those that are out of date are used once more while somebody asks
    /// anew: a slow or broken resolver must not hold up requests to a host that is known.
    async fn addresses(self: &Rc<Self>, name: &Name, port: u16) -> io::Result<Rc<[SocketAddr]>> {
        if let Some(resolved) = &mut *self.resolved.borrow_mut() {
            if clock::now() >= resolved.until && !std::mem::replace(&mut resolved.renewing, true) {
                let (pool, name) = (Rc::clone(self), Arc::clone(name));
                // An error leaves what there is.
                tokio::task::spawn_local(async move { pool.resolve(&name, port).await.ok() });
            }
            return Ok(Rc::clone(&resolved.addresses));
        }
        self.resolve(name, port).await
    }

    async fn resolve(&self, name: &str, port: u16) -> io::Result<Rc<[SocketAddr]>> {
        let found = tokio::net::lookup_host((name, port)).await.map(Iterator::collect::<Vec<_>>);
        let mut resolved = self.resolved.borrow_mut();
        match found
            .and_then(|found| if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) })
        {
            Ok(found) => {
                let addresses: Rc<[SocketAddr]> = found.into();
                let until = clock::now() + RESOLVED;
                *resolved = Some(Resolved { until, addresses: Rc::clone(&addresses), renewing: false });
                Ok(addresses)
            }
            Err(error) => {
                if let Some(resolved) = &mut *resolved {
                    resolved.until = clock::now() + RESOLVED_BEFORE;
                    resolved.renewing = false;
                }
                Err(error)
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

impl Pause {
    /// After another failure.
    fn after(before: Option<Self>, why: Failure) -> Self {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let pause = match failures.checked_sub(PATIENCE) {
            Some(more) => FIRST_PAUSE * 2_u32.pow(more.min(DOUBLINGS)),
            None => Duration::ZERO,
        };
        Self { failures, until: clock::now() + pause, why }
    }
}

/// How many connections to each host should share its RPC calls.
fn configured_connections(cluster: &Cluster) -> usize {
    match cluster.breakers.max_connections {
        limit @ 1..65535 => limit as usize,
        _ => 1,
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
            Kind::Rpc($stream) => $body,
        }
    };
    (mut $self:ident, $stream:ident => $body:expr) => {
        match &mut $self.stream {
            Kind::Http1($stream) => $body,
            Kind::Http2($stream) => $body,
            Kind::Rpc($stream) => $body,
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
