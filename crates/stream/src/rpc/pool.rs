//! The RPC connections of one worker to one host.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use ahash::RandomState;
use mosn_codec::rpc::RpcProtocol;
use mosn_config::model::{PoolMode, RpcSpec};
use mosn_core::Failure;
use mosn_net::clock;
use tokio::sync::Notify;

use super::upstream::Upstream;
use crate::{
    Lifetime,
    queue::{Queue, Wants},
};

/// Connections that a host gets beyond what is configured when one cannot keep up.
const MOST_UNASKED: usize = 4;

/// How connections are to be used and, where there is none yet, made.
#[derive(Clone, Copy, Debug)]
pub struct RpcUse {
    /// What is spoken.
    pub protocol: &'static dyn RpcProtocol,
    /// How.
    pub spec: RpcSpec,
    /// The client's connection, by its id.
    pub client: u64,
}

/// Connections to one host that speak one protocol in one mode.
#[derive(Debug)]
pub(crate) struct RpcPool {
    pub(crate) protocol: &'static dyn RpcProtocol,
    pub(crate) mode: PoolMode,
    spec: RpcSpec,
    /// Not of bound connections, which live as long as their clients.
    lifetime: Lifetime,
    connections: RefCell<Vec<Rc<Upstream>>>,
    /// By client, where each has its own.
    bound: RefCell<HashMap<u64, Rc<Upstream>, RandomState>>,
    next: Cell<usize>,
    /// Connections being opened that others wait for, by who will share them ([`RpcPool::sharers`]).
    openings: RefCell<Vec<(u64, Rc<Underway>)>>,
    /// Who waits for a connection, where they are limited.
    queue: Option<Rc<Queue>>,
}

/// A connection is being opened.
#[derive(Debug, Default)]
pub(crate) struct Underway {
    over: Notify,
    failure: Cell<Option<Failure>>,
}

impl Underway {
    /// Waits until it is open, or given up. `Err` = how it failed.
    pub(crate) async fn over(&self) -> Result<(), Failure> {
        self.over.notified().await;
        self.failure.get().map_or(Ok(()), Err)
    }
}

impl RpcPool {
    pub(crate) fn new(of: &RpcUse, lifetime: Lifetime, queue: Option<Rc<Queue>>) -> Self {
        Self {
            protocol: of.protocol,
            mode: of.spec.pool,
            spec: of.spec,
            lifetime,
            connections: RefCell::default(),
            bound: RefCell::default(),
            next: Cell::new(0),
            openings: RefCell::default(),
            queue,
        }
    }

    /// How a client's calls use it.
    pub(crate) fn use_for(&self, client: u64) -> RpcUse {
        RpcUse { protocol: self.protocol, spec: self.spec, client }
    }

    /// Whether it has no connection.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }

    pub(crate) fn is_for(&self, of: &RpcUse) -> bool {
        self.mode == of.spec.pool && self.protocol.name() == of.protocol.name()
    }

    /// A connection for another call, if one is open.
    pub(crate) fn ready(&self, client: u64) -> Option<Rc<Upstream>> {
        if self.mode == PoolMode::Binding {
            return self.bound.borrow().get(&client).filter(|upstream| upstream.is_open()).cloned();
        }
        if self.mode == PoolMode::PingPong {
            let others_wait = self.queue.as_ref().is_some_and(|queue| !queue.is_empty());
            return if others_wait { None } else { self.free() };
        }
        let mut connections = self.connections.borrow_mut();
        loop {
            let at = self.next.get() % connections.len().max(1);
            let upstream = connections.get(at)?;
            if self.is_usable(upstream) {
                self.next.set(at + 1);
                return Some(Rc::clone(upstream));
            }
            connections.remove(at);
        }
    }

    /// A connection that carries no call, for whoever has waited for it (ping-pong).
    pub(crate) fn free(&self) -> Option<Rc<Upstream>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|upstream| self.is_usable(upstream));
        // The one used last is the likeliest to be open still.
        let at = connections.iter().rposition(|upstream| upstream.is_free())?;
        let upstream = connections.remove(at);
        connections.push(Rc::clone(&upstream));
        Some(upstream)
    }

    /// What its calls wait for where connections are limited.
    pub(crate) fn wants(&self) -> Wants {
        match self.mode {
            PoolMode::PingPong => Wants::PingPong(self.protocol.name()),
            PoolMode::Multiplex | PoolMode::Binding => Wants::Room,
        }
    }

    /// A connection carries no call any more (ping-pong).
    pub(super) fn returned(&self, upstream: &Upstream) {
        if self.queue.as_ref().is_some_and(|queue| !queue.keeps(self.wants())) {
            upstream.leave();
        }
    }

    /// Whether it has a connection that carries no call, and that another call would open again.
    pub(crate) fn has_idle(&self) -> bool {
        self.mode == PoolMode::PingPong && self.connections.borrow().iter().any(|upstream| upstream.is_free())
    }

    /// Closes such a connection, the one not used for longest.
    pub(crate) fn close_idle(&self) {
        let mut connections = self.connections.borrow_mut();
        if let Some(at) = connections.iter().position(|upstream| upstream.is_free()) {
            connections.remove(at).leave();
        }
    }

    /// Whether another connection should be opened beside those there are; `configured` is how many
    /// there should be.
    pub(crate) fn wants_another(&self, configured: usize, congested: bool) -> bool {
        let count = self.connections.borrow().len();
        self.mode == PoolMode::Multiplex
            && (count < configured || congested && count < MOST_UNASKED)
            && self.opening(0).is_none()
    }

    /// Whose calls share a connection with this client's: everybody's, or its own.
    fn sharers(&self, client: u64) -> u64 {
        match self.mode {
            PoolMode::Multiplex | PoolMode::PingPong => 0,
            PoolMode::Binding => client,
        }
    }

    /// The connection that is being opened and that this client's calls may share, if there is one.
    pub(crate) fn opening(&self, client: u64) -> Option<Rc<Underway>> {
        let whose = self.sharers(client);
        let openings = self.openings.borrow();
        openings.iter().find(|(sharers, _)| *sharers == whose).map(|(_, underway)| Rc::clone(underway))
    }

    pub(crate) fn put(self: &Rc<Self>, client: u64, upstream: &Rc<Upstream>) {
        match self.mode {
            PoolMode::Binding => {
                self.bound.borrow_mut().insert(client, Rc::clone(upstream));
            }
            PoolMode::Multiplex => self.connections.borrow_mut().push(Rc::clone(upstream)),
            PoolMode::PingPong => {
                upstream.lent_by(self);
                self.connections.borrow_mut().push(Rc::clone(upstream));
            }
        }
    }

    /// Whether it takes another call, now or when one of its calls is over.
    fn is_usable(&self, upstream: &Upstream) -> bool {
        if self.lifetime.is_over(upstream.requests(), || upstream.age()) || self.has_idled(upstream) {
            upstream.leave();
        }
        upstream.is_open()
    }

    fn has_idled(&self, upstream: &Upstream) -> bool {
        self.lifetime.has_idled(|| clock::moment().since(upstream.idle_since())) && upstream.is_free()
    }

    /// Lets go of what is over, or is not to be used any more.
    pub(crate) fn sweep(&self) {
        self.connections.borrow_mut().retain(|upstream| self.is_usable(upstream) || !upstream.is_closed());
        self.bound.borrow_mut().retain(|_, upstream| {
            if self.has_idled(upstream) {
                upstream.leave();
            }
            !upstream.is_closed()
        });
    }
}

impl Drop for RpcPool {
    /// Calls under way go on.
    fn drop(&mut self) {
        self.connections.take().iter().for_each(|upstream| upstream.leave());
        self.bound.take().values().for_each(|upstream| upstream.leave());
    }
}

/// Somebody opens a connection that others wait for. They are woken however that ends, also if it is
/// cancelled.
pub(crate) struct Opening {
    pool: Rc<RpcPool>,
    underway: Rc<Underway>,
}

impl Opening {
    /// It counts from now on, not only from when the connect begins: calls of the same turn must find it.
    pub(crate) fn begin(pool: &Rc<RpcPool>, client: u64) -> Self {
        let underway = Rc::<Underway>::default();
        pool.openings.borrow_mut().push((pool.sharers(client), Rc::clone(&underway)));
        Self { pool: Rc::clone(pool), underway }
    }

    pub(crate) fn end(self, failure: Option<Failure>) {
        self.underway.failure.set(failure);
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.pool.openings.borrow_mut().retain(|(_, underway)| !Rc::ptr_eq(underway, &self.underway));
        self.underway.over.notify_waiters();
    }
}
