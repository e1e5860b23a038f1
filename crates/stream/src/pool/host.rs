//! One worker's connections to one host: kept, lent, and opened where there is none to lend.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use mosn_config::model::PoolMode;
use mosn_core::{Failure, Protocol};
use mosn_net::timer::Timer;
use mosn_telemetry::UpstreamMetrics;
use mosn_upstream::{Cluster, ConnectionToken, Host};
use tokio::sync::Notify;

use super::connect::Connector;
use crate::{
    Lifetime,
    http1::{ClientConnection, Http1ClientStream, Http1Pool},
    http2::{Http2ClientStream, Http2Connection, Http2Pool},
    queue::{Place, Queue, Wants},
    rpc::{Opening as RpcOpening, RpcClientStream, RpcPool, RpcUse, Upstream, UpstreamFacts},
};

/// Ids of upstream connections, in the whole process.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// The connections themselves: they stay when the host's settings change.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) http1: Rc<Http1Pool>,
    pub(super) http2: Rc<Http2Pool>,
    /// For each RPC protocol and mode that is used: few, mostly one.
    rpc: RefCell<Vec<Rc<RpcPool>>>,
    /// Requests that wait for one of them, where they are limited.
    queue: Option<Rc<Queue>>,
    lifetime: Lifetime,
}

impl Connections {
    pub(super) fn new(http1: Rc<Http1Pool>, http2: Rc<Http2Pool>, lifetime: Lifetime) -> Rc<Self> {
        Rc::new(Self { http1, http2, rpc: RefCell::default(), queue: None, lifetime })
    }

    /// Connections that are limited, together with those of other workers.
    pub(super) fn limited(host: &Arc<Host>, lifetime: Lifetime) -> Rc<Self> {
        let (http1, http2) = (Rc::new(Http1Pool::new(lifetime)), Rc::new(Http2Pool::new(lifetime)));
        let queue = Queue::new(host);
        http1.set_queue(Rc::clone(&queue));
        http2.set_queue(Rc::clone(&queue));
        let bell = queue.bell();
        let connections =
            Rc::new(Self { http1, http2, rpc: RefCell::default(), queue: Some(queue), lifetime });
        tokio::task::spawn_local(attend(Rc::downgrade(&connections), bell));
        connections
    }

    /// Serves those who wait, and closes what another worker needs and this one does not. Returns when
    /// to do so again, if nobody rings before.
    fn attend(&self) -> Option<Duration> {
        let queue = self.queue.as_ref()?;
        if !queue.is_empty() {
            return queue.attend();
        }
        while self.has_idle() && queue.yields() {
            self.close_idle();
        }
        None
    }

    fn has_idle(&self) -> bool {
        self.http1.idle() > 0 || self.http2.has_idle() || self.rpc.borrow().iter().any(|pool| pool.has_idle())
    }

    fn close_idle(&self) {
        let rpc = self.rpc.borrow();
        if self.http1.idle() > 0 {
            self.http1.close_idle();
        } else if let Some(pool) = rpc.iter().find(|pool| pool.has_idle()) {
            pool.close_idle();
        } else {
            self.http2.close_idle();
        }
    }

    pub(super) fn rpc(&self, of: &RpcUse) -> Rc<RpcPool> {
        let mut pools = self.rpc.borrow_mut();
        if let Some(pool) = pools.iter().find(|pool| pool.is_for(of)) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(RpcPool::new(of, self.lifetime, self.queue.clone()));
        pools.push(Rc::clone(&pool));
        pool
    }

    /// Closes what is not to be used any more.
    fn sweep(&self) {
        self.http1.sweep();
        self.http2.sweep();
        self.rpc.borrow().iter().for_each(|rpc| rpc.sweep());
    }

    fn is_empty(&self) -> bool {
        self.http1.idle() == 0 && self.http2.is_empty() && self.rpc.borrow().is_empty()
    }
}

/// Looks after limited connections until they are dropped.
async fn attend(connections: Weak<Connections>, bell: Arc<Notify>) {
    while let Some(attended) = connections.upgrade().map(|connections| connections.attend()) {
        let pause = async {
            match attended {
                Some(pause) => Timer::after(pause).fired().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = bell.notified() => {}
            () = pause => {}
        }
    }
}

/// This worker's connections to one host.
#[derive(Debug)]
pub struct HostPool {
    connector: Rc<Connector>,
    pub(super) connections: Rc<Connections>,
    /// An HTTP/2 connection that others may share is being opened: they wait for it.
    opening: Cell<bool>,
    opened: Notify,
    /// How the last such opening failed, for those who waited for it.
    failure: Cell<Option<Failure>>,
    /// What its last stream spoke.
    pub(super) protocol: Cell<Option<Protocol>>,
    /// What it was when this worker last looked.
    healthy: Cell<bool>,
}

impl HostPool {
    pub(super) fn new(connector: Rc<Connector>, connections: Rc<Connections>) -> Rc<Self> {
        Rc::new(Self {
            connector,
            connections,
            opening: Cell::new(false),
            opened: Notify::new(),
            failure: Cell::new(None),
            protocol: Cell::new(None),
            healthy: Cell::new(true),
        })
    }

    /// Whether there is a connection, or somebody who holds it.
    pub(super) fn is_used(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) > 1 || !self.connections.is_empty()
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.connector.host
    }

    /// This worker's shard of its metrics.
    #[must_use]
    pub fn metrics(&self) -> &Arc<UpstreamMetrics> {
        &self.connector.metrics[0]
    }

    /// Closes connections that are not to stay, and opens one if the host has become healthy.
    pub(super) fn sweep(self: &Rc<Self>, cluster: &Arc<Cluster>) {
        self.connections.sweep();
        let healthy = self.host().is_healthy();
        if !self.healthy.replace(healthy) && healthy {
            self.warm_up(cluster);
        }
    }

    /// Whether connects have failed, and the next must wait.
    pub(super) fn is_paused(&self) -> bool {
        self.connector.is_paused()
    }

    pub(super) async fn http1_stream(
        self: &Rc<Self>,
        cluster: &Cluster,
        waits: &Cell<bool>,
    ) -> Result<Http1ClientStream, Failure> {
        let pool = &self.connections.http1;
        let connection =
            match self.room(cluster, Wants::Http1, waits, || pool.take_in_turn().map(Place::Free)).await {
                Place::Free(connection) => connection,
                Place::Room(room) => self.connect_http1(cluster, room).await?,
            };
        Ok(Http1ClientStream::new(connection, pool))
    }

    async fn connect_http1(
        self: &Rc<Self>,
        cluster: &Cluster,
        room: ConnectionToken,
    ) -> Result<Box<ClientConnection>, Failure> {
        let io = self.connector.connect(cluster).await?;
        let open = self.connector.count_open(room);
        Ok(ClientConnection::new(io, NEXT_CONNECTION.fetch_add(1, Relaxed), open))
    }

    /// Room for another connection; where there is none, what `take` finds or room, whatever comes first.
    /// `waits` tells that it waits.
    async fn room<T>(
        &self,
        cluster: &Cluster,
        wants: Wants,
        waits: &Cell<bool>,
        take: impl Fn() -> Option<Place<T>>,
    ) -> Place<T> {
        let limit = cluster.breakers.max_connections;
        // A request may be older than the limit.
        let Some(queue) = self.connections.queue.as_ref().filter(|_| limit > 0) else {
            return Place::Room(cluster.count_connection(self.host()));
        };
        if queue.is_empty()
            && let Ok(room) = cluster.try_acquire_connection(self.host())
        {
            return Place::Room(room);
        }
        waits.set(true);
        let place = queue.wait(wants, limit, take).await;
        waits.set(false);
        place
    }

    /// Opens a connection ahead of the first request, if there is none and there was one before.
    pub(super) fn warm_up(self: &Rc<Self>, cluster: &Arc<Cluster>) {
        let (pool, cluster) = (Rc::clone(self), Arc::clone(cluster));
        tokio::task::spawn_local(async move {
            let waits = &Cell::new(false);
            let rpc = pool.connections.rpc.borrow().clone();
            for rpc in rpc {
                if rpc.mode == PoolMode::Multiplex && rpc.is_empty() && rpc.opening(0).is_none() {
                    let opening = RpcOpening::begin(&rpc, 0);
                    let _ = pool.open_rpc(&cluster, &rpc, &rpc.use_for(0), Some(opening), waits).await;
                }
            }
            // Where it fails, the first request will say so.
            match pool.protocol.get() {
                Some(Protocol::Http1) if pool.connections.http1.idle() == 0 => {
                    if let Ok(room) = cluster.try_acquire_connection(pool.host())
                        && let Ok(connection) = pool.connect_http1(&cluster, room).await
                    {
                        pool.connections.http1.put(connection);
                    }
                }
                Some(Protocol::Http2) if pool.connections.http2.is_empty() => {
                    let _ = pool.http2_stream(&cluster, waits).await;
                }
                _ => {}
            }
        });
    }

    pub(super) async fn http2_stream(
        self: &Rc<Self>,
        cluster: &Cluster,
        waits: &Cell<bool>,
    ) -> Result<Http2ClientStream, Failure> {
        let pool = &self.connections.http2;
        loop {
            if let Some(connection) = pool.take() {
                return Ok(Http2ClientStream::new(connection));
            }
            if self.opening.get() {
                self.opened.notified().await;
                if let Some(why) = self.failure.get() {
                    return Err(why);
                }
                continue;
            }
            // Other workers' connections are of no use here: the first one is counted, but never refused.
            let first = || {
                let none = pool.is_empty() && !self.opening.get();
                none.then(|| Place::Room(cluster.count_connection(self.host())))
            };
            let place = match first() {
                Some(room) => room,
                None => {
                    let take = || pool.take_in_turn().map(Place::Free).or_else(first);
                    self.room(cluster, Wants::Http2, waits, take).await
                }
            };
            let room = match place {
                Place::Free(connection) => return Ok(Http2ClientStream::new(connection)),
                Place::Room(room) => room,
            };
            let opening = Opening::begin(self);
            let opened = self.connect_http2(cluster, room).await;
            if let Ok(connection) = &opened {
                pool.put(Rc::clone(connection));
            }
            opening.end(opened.as_ref().err().copied());
            return opened.map(Http2ClientStream::new);
        }
    }

    async fn connect_http2(
        self: &Rc<Self>,
        cluster: &Cluster,
        room: ConnectionToken,
    ) -> Result<Rc<Http2Connection>, Failure> {
        let io = self.connector.connect(cluster).await?;
        let open = self.connector.count_open(room);
        Ok(Http2Connection::open(io, NEXT_CONNECTION.fetch_add(1, Relaxed), open))
    }

    pub(super) async fn rpc_stream(
        self: &Rc<Self>,
        cluster: &Cluster,
        rpc: &RpcUse,
        waits: &Cell<bool>,
    ) -> Result<RpcClientStream, Failure> {
        let pool = self.connections.rpc(rpc);
        loop {
            if let Some(upstream) = pool.ready(rpc.client) {
                return Ok(RpcClientStream::new(upstream, pool.mode));
            }
            // In ping-pong mode nobody could use it together with whoever opens it.
            let shared = pool.mode != PoolMode::PingPong;
            if shared && let Some(underway) = pool.opening(rpc.client) {
                // Whoever opens it may wait for room.
                waits.set(pool.mode == PoolMode::Binding);
                let over = underway.over().await;
                waits.set(false);
                over?;
                continue;
            }
            let opening = shared.then(|| RpcOpening::begin(&pool, rpc.client));
            let upstream = self.open_rpc(cluster, &pool, rpc, opening, waits).await?;
            return Ok(RpcClientStream::new(upstream, pool.mode));
        }
    }

    /// Adds a connection to the pool, or, in ping-pong mode, waits for one if there may be no more.
    pub(super) async fn open_rpc(
        self: &Rc<Self>,
        cluster: &Cluster,
        pool: &Rc<RpcPool>,
        rpc: &RpcUse,
        opening: Option<RpcOpening>,
        waits: &Cell<bool>,
    ) -> Result<Rc<Upstream>, Failure> {
        let place = match pool.mode {
            // The limit says how many share the load, and each worker needs one.
            PoolMode::Multiplex => Place::Room(cluster.count_connection(self.host())),
            PoolMode::PingPong | PoolMode::Binding => {
                let take = || pool.free().map(Place::Free);
                self.room(cluster, pool.wants(), waits, take).await
            }
        };
        let room = match place {
            Place::Free(upstream) => return Ok(upstream),
            Place::Room(room) => room,
        };
        let opened = self.connect_rpc(cluster, rpc, room).await;
        if let Ok(upstream) = &opened {
            pool.put(rpc.client, upstream);
        }
        if let Some(opening) = opening {
            opening.end(opened.as_ref().err().copied());
        }
        opened
    }

    async fn connect_rpc(
        self: &Rc<Self>,
        cluster: &Cluster,
        rpc: &RpcUse,
        room: ConnectionToken,
    ) -> Result<Rc<Upstream>, Failure> {
        let io = self.connector.connect(cluster).await?;
        let facts = UpstreamFacts {
            connection_id: NEXT_CONNECTION.fetch_add(1, Relaxed),
            protocol: rpc.protocol,
            cluster: Arc::clone(&cluster.name),
            host: Arc::clone(self.host()),
            metrics: self.connector.metrics.clone(),
        };
        Ok(Upstream::open(io, facts, &rpc.spec, cluster.keepalive, self.connector.count_open(room)))
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
        if let Some(queue) = &self.0.connections.queue {
            queue.call_all(Wants::Http2);
        }
    }
}
