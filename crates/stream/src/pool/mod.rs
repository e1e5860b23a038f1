//! The upstream side of one worker: for every host that it talks to, the connections it has.

mod connect;
mod host;
mod stream;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
};

use ahash::RandomState;
use mosn_codec::rpc;
use mosn_config::model::{Name, PoolMode, Priority, RpcSpec};
use mosn_core::{Failure, Protocol};
use mosn_net::ConnectOptions;
use mosn_telemetry::{Registry, UpstreamMetrics};
use mosn_upstream::{Attempt, ChooseContext, Cluster, ClusterMap, Clusters, Host, HostId, RequestToken};

use self::{connect::Connector, host::Connections, stream::Kind};
pub use self::{host::HostPool, stream::UpstreamStream};
use crate::{
    Lifetime,
    http1::{Http1ClientStream, Http1Pool},
    http2::{Http2ClientStream, Http2Pool},
    rpc::{FirstTry, Opening as RpcOpening, RpcClientStream, RpcUse, Upstream},
};

/// Hosts that requests of one cluster may name within a second on one worker.
const DESTINATIONS: usize = 4096;

/// The upstream side of one worker.
#[derive(Debug)]
pub struct Pools {
    clusters: Clusters,
    registry: Registry,
    known: RefCell<Known>,
    shared: RefCell<HashMap<Sharing, Shared, RandomState>>,
    /// Where this process listens.
    own: Rc<RefCell<Vec<SocketAddr>>>,
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
    lifetime: Lifetime,
    /// Whether there is a limit on their number.
    limited: bool,
}

impl ConnectionSettings {
    fn of(cluster: &Cluster) -> Self {
        Self {
            options: ConnectOptions { mark: cluster.mark, bind: cluster.bind_address },
            lifetime: Lifetime {
                max_requests: cluster.max_requests_per_connection,
                max_age: cluster.max_connection_duration,
                idle_timeout: cluster.idle_timeout,
            },
            limited: cluster.breakers.max_connections > 0,
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

/// What a stream must be like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// The host that was chosen already, if one was.
    pub host: Option<&'a Arc<Host>>,
    /// Only a new connection will do (HTTP/1).
    pub fresh: bool,
    /// How RPC is spoken.
    pub rpc: RpcSpec,
    /// The client's connection, by its id.
    pub client: u64,
    /// Which of the cluster's limits the request counts against.
    pub priority: Priority,
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
    /// A connection is being made, or awaited. Dropping it gives up.
    Connecting {
        /// The host.
        host: Rc<HostPool>,
        /// Whether it waits at present, because the host has as many connections as it may.
        waits: Rc<Cell<bool>>,
        /// Ready when it is there, or cannot be had.
        opened: Pin<Box<dyn Future<Output = Opened>>>,
    },
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(done) => f.debug_tuple("Done").field(done).finish(),
            Self::Connecting { .. } => f.write_str("Connecting"),
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
            own: Rc::default(),
        }
    }

    /// This process listens on `address`: no request may choose it as its destination, or it would come
    /// back for ever.
    pub fn listens_on(&self, address: SocketAddr) {
        self.own.borrow_mut().push(address);
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
            let _ = pool.connections.rpc(rpc);
            pool.warm_up(&local.cluster);
            count + 1
        })
    }

    /// A connection that is open and leads to a host of the cluster.
    ///
    /// # Errors
    /// When there is none: the host that was chosen, if the call should go there nevertheless.
    pub fn line(
        &self,
        cluster: &Rc<LocalCluster>,
        rpc: &RpcUse,
        cx: &mut ChooseContext<'_>,
        priority: Priority,
    ) -> Result<Line, Option<Arc<Host>>> {
        let token = cluster.cluster.try_acquire_request(priority).map_err(|_| None)?;
        let host = cluster.cluster.choose(cx).ok_or(None)?;
        let pool = self.host_pool(cluster, host);
        let rpc_pool = pool.connections.rpc(rpc);
        let ready = rpc_pool.ready(rpc.client);
        let paused = pool.is_paused();
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
                    && !paused
            }
        };
        if wanted {
            let opening = RpcOpening::begin(&rpc_pool, rpc.client);
            let (cluster, rpc) = (Arc::clone(&cluster.cluster), *rpc);
            tokio::task::spawn_local(async move {
                // How it failed is known to the pool, and to the log.
                let _ = pool.open_rpc(&cluster, &rpc_pool, &rpc, Some(opening), &Cell::new(false)).await;
            });
        }
        let Some(upstream) = ready.filter(|upstream| !upstream.is_stalled()) else {
            // The balancer has counted its turn: with another choice the long way would pass it over.
            let wanted = rpc.spec.pool != PoolMode::Multiplex && !paused;
            return Err(wanted.then(|| Arc::clone(host)));
        };
        let attempt = cluster.cluster.begin(host);
        Ok(Line { upstream, token, attempt })
    }

    /// The stream of a try that was made the quick way, and its host.
    pub fn resume(
        &self,
        cluster: &Rc<LocalCluster>,
        first: FirstTry,
    ) -> (UpstreamStream, Rc<HostPool>, Attempt) {
        let pool = self.host_pool(cluster, first.host());
        let (stream, token, attempt) = first.into_stream();
        (UpstreamStream { stream: Kind::Rpc(stream), _request: token }, pool, attempt)
    }

    /// Chooses a host and opens a stream to it: on a connection that is there, or on a new one.
    #[must_use]
    pub fn open(
        &self,
        cluster: &Rc<LocalCluster>,
        protocol: Protocol,
        cx: &mut ChooseContext<'_>,
        terms: Terms<'_>,
    ) -> Open {
        let without_host = |why| Open::Done(Err(OpenError { why, host: None }));
        let Ok(request) = cluster.cluster.try_acquire_request(terms.priority) else {
            return without_host(Failure::Overflow);
        };
        let named = cluster.destination(cx.destination);
        // It may have been chosen among the hosts of another cluster, or is gone.
        let hosts = cluster.cluster.hosts();
        let chosen = terms.host.filter(|host| hosts.iter().any(|one| Arc::ptr_eq(one, host)));
        let Some(host) = chosen.or(named.as_ref()).or_else(|| cluster.cluster.choose(cx)) else {
            return without_host(Failure::NoHealthyHost);
        };
        let pool = self.host_pool(cluster, host);
        let there =
            match protocol {
                Protocol::Http1 => pool.connections.http1.take().filter(|_| !terms.fresh).map(|connection| {
                    Kind::Http1(Http1ClientStream::new(connection, &pool.connections.http1))
                }),
                Protocol::Http2 => pool
                    .connections
                    .http2
                    .take()
                    .map(|connection| Kind::Http2(Http2ClientStream::new(connection))),
                Protocol::Rpc(name) => {
                    let Some(protocol) = rpc::by_name(name) else {
                        return without_host(Failure::NotImplemented);
                    };
                    let rpc = RpcUse { protocol, spec: terms.rpc, client: terms.client };
                    let upstream = pool.connections.rpc(&rpc).ready(rpc.client);
                    upstream.map(|upstream| Kind::Rpc(RpcClientStream::new(upstream, rpc.spec.pool)))
                }
            };
        if let Some(stream) = there {
            return Open::Done(Ok((UpstreamStream { stream, _request: request }, pool)));
        }
        let Ok(pending) = cluster.cluster.try_acquire_pending(terms.priority) else {
            return Open::Done(Err(OpenError { why: Failure::Overflow, host: Some(pool) }));
        };
        pool.protocol.set(Some(protocol));
        let cluster = Arc::clone(&cluster.cluster);
        let (host, waits) = (Rc::clone(&pool), Rc::<Cell<bool>>::default());
        let waiting = Rc::clone(&waits);
        let connecting = async move {
            let opened = match protocol {
                Protocol::Http1 => pool.http1_stream(&cluster, &waiting).await.map(Kind::Http1),
                Protocol::Http2 => pool.http2_stream(&cluster, &waiting).await.map(Kind::Http2),
                Protocol::Rpc(name) => match rpc::by_name(name) {
                    Some(protocol) => {
                        let rpc = RpcUse { protocol, spec: terms.rpc, client: terms.client };
                        pool.rpc_stream(&cluster, &rpc, &waiting).await.map(Kind::Rpc)
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
        Open::Connecting { host, waits, opened: Box::pin(connecting) }
    }

    fn host_pool(&self, cluster: &LocalCluster, host: &Arc<Host>) -> Rc<HostPool> {
        let mut hosts = cluster.hosts.borrow_mut();
        let before = hosts.get(&host.id);
        if let Some(pool) = before.filter(|pool| Arc::ptr_eq(pool.host(), host)) {
            return Rc::clone(pool);
        }
        let connections = match before {
            Some(before) => Rc::clone(&before.connections),
            None => self.connections(&cluster.cluster, host),
        };
        let metrics = match cluster.cluster.original_dst() {
            None => self.registry.upstream_host(&cluster.cluster.name, &host.address_text),
            // Clients name these; there may be any number.
            Some(_) => Arc::default(),
        };
        let own = cluster.cluster.original_dst().map(|_| Rc::clone(&self.own));
        let connector = Connector::new(Arc::clone(host), [metrics, Arc::clone(&cluster.metrics)], own);
        let pool = HostPool::new(connector, connections);
        hosts.insert(host.id, Rc::clone(&pool));
        pool
    }

    /// The connections that a cluster has to a host, or is to have: its own, or those of clusters
    /// like it.
    fn connections(&self, cluster: &Cluster, host: &Arc<Host>) -> Rc<Connections> {
        let settings = ConnectionSettings::of(cluster);
        let lifetime = settings.lifetime;
        if settings.limited {
            return Connections::limited(host, lifetime);
        }
        let (http1, http2) = (Rc::new(Http1Pool::new(lifetime)), Rc::new(Http2Pool::new(lifetime)));
        if cluster.shares_connections() {
            let address = Arc::clone(&host.address_text);
            let sharing = Sharing { address, tls_disable: host.tls_disable, settings };
            let mut shared = self.shared.borrow_mut();
            if let Some((one, two)) = shared.get(&sharing)
                && let (Some(one), Some(two)) = (one.upgrade(), two.upgrade())
            {
                return Connections::new(one, two, lifetime);
            }
            shared.insert(sharing, (Rc::downgrade(&http1), Rc::downgrade(&http2)));
        }
        Connections::new(http1, http2, lifetime)
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
                if cluster.is_none() || pool.host().is_retired() {
                    return false;
                }
                pool.sweep(&local.cluster);
                local.cluster.original_dst().is_none() || pool.is_used()
            });
            let hosts = local.hosts.borrow();
            local.destinations.borrow_mut().retain(|_, host| hosts.contains_key(&host.id));
            cluster.is_some()
        });
        self.shared.borrow_mut().retain(|_, (http1, _)| http1.strong_count() > 0);
    }
}

impl LocalCluster {
    /// The host that a request goes to by itself, where requests of this cluster do.
    fn destination(&self, target: Option<&str>) -> Option<Arc<Host>> {
        self.cluster.original_dst()?;
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

/// How many connections to each host should share its RPC calls.
fn configured_connections(cluster: &Cluster) -> usize {
    match cluster.breakers.max_connections {
        limit @ 1..65535 => limit as usize,
        _ => 1,
    }
}
