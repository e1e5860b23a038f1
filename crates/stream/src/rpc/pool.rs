//! The RPC connections of one worker to one host.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use ahash::RandomState;
use mosn_codec::rpc::RpcProtocol;
use mosn_config::model::{PoolMode, RpcSpec};
use mosn_core::Failure;
use mosn_net::clock;
use tokio::sync::Notify;

use super::upstream::Upstream;

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
    connections: RefCell<Vec<Rc<Upstream>>>,
    /// By client, where each has its own.
    bound: RefCell<HashMap<u64, Rc<Upstream>, RandomState>>,
    next: Cell<usize>,
    /// Connections being opened that others wait for, by who will share them ([`RpcPool::sharers`]).
    openings: RefCell<Vec<(u64, Rc<Underway>)>>,
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
    pub(crate) fn new(of: &RpcUse) -> Self {
        Self {
            protocol: of.protocol,
            mode: of.spec.pool,
            spec: of.spec,
            connections: RefCell::default(),
            bound: RefCell::default(),
            next: Cell::new(0),
            openings: RefCell::default(),
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

    /// A connection for another call, if one is open. `max_requests` is how many calls one carries.
    pub(crate) fn ready(&self, client: u64, max_requests: Option<u32>) -> Option<Rc<Upstream>> {
        let usable = |upstream: &Rc<Upstream>| {
            if max_requests.is_some_and(|max| upstream.requests() >= max) {
                upstream.leave();
            }
            upstream.is_open()
        };
        if self.mode == PoolMode::Binding {
            return self.bound.borrow().get(&client).filter(|upstream| usable(upstream)).cloned();
        }
        let mut connections = self.connections.borrow_mut();
        if self.mode == PoolMode::PingPong {
            connections.retain(usable);
            // The one used last is the likeliest to be open still.
            let at = connections.iter().rposition(|upstream| upstream.is_idle())?;
            let upstream = connections.remove(at);
            connections.push(Rc::clone(&upstream));
            return Some(upstream);
        }
        loop {
            let at = self.next.get() % connections.len().max(1);
            let upstream = connections.get(at)?;
            if usable(upstream) {
                self.next.set(at + 1);
                return Some(Rc::clone(upstream));
            }
            connections.remove(at);
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

    pub(crate) fn put(&self, client: u64, upstream: &Rc<Upstream>) {
        match self.mode {
            PoolMode::Binding => {
                self.bound.borrow_mut().insert(client, Rc::clone(upstream));
            }
            PoolMode::Multiplex | PoolMode::PingPong => {
                self.connections.borrow_mut().push(Rc::clone(upstream));
            }
        }
    }

    /// Lets go of what is over, and of what has idled for `timeout`.
    pub(crate) fn sweep(&self, timeout: Option<Duration>) {
        let now = clock::moment();
        let keep = |upstream: &Rc<Upstream>| {
            let expired = upstream.is_idle()
                && timeout.is_some_and(|timeout| now.since(upstream.idle_since()) >= timeout);
            if expired {
                upstream.leave();
            }
            !upstream.is_closed()
        };
        self.connections.borrow_mut().retain(keep);
        self.bound.borrow_mut().retain(|_, upstream| keep(upstream));
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
