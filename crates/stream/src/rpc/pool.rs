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
    /// For whom a connection is being opened that others may share ([`RpcPool::sharers`]): they wait for it.
    opening: RefCell<Vec<u64>>,
    pub(crate) opened: Notify,
    /// How the last such opening failed, for those who waited for it.
    failure: Cell<Option<Failure>>,
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
            opening: RefCell::default(),
            opened: Notify::new(),
            failure: Cell::new(None),
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
            && !self.is_opening(0)
    }

    /// Whose calls share a connection with this client's: everybody's, its own, or nobody's.
    fn sharers(&self, client: u64) -> Option<u64> {
        match self.mode {
            PoolMode::Multiplex => Some(0),
            PoolMode::Binding => Some(client),
            PoolMode::PingPong => None,
        }
    }

    /// Whether somebody is opening a connection that this client's calls may share.
    pub(crate) fn is_opening(&self, client: u64) -> bool {
        self.sharers(client).is_some_and(|sharers| self.opening.borrow().contains(&sharers))
    }

    /// How the last connect failed, if it did.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.get()
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

/// Somebody opens a shared connection. Others are woken however that ends, also if it is cancelled.
pub(crate) struct Opening {
    pool: Rc<RpcPool>,
    sharers: u64,
}

impl Opening {
    /// `None` = nobody else will use it.
    pub(crate) fn begin(pool: &Rc<RpcPool>, client: u64) -> Option<Self> {
        let sharers = pool.sharers(client)?;
        pool.opening.borrow_mut().push(sharers);
        pool.failure.set(None);
        Some(Self { pool: Rc::clone(pool), sharers })
    }

    pub(crate) fn end(self, failure: Option<Failure>) {
        self.pool.failure.set(failure);
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.pool.opening.borrow_mut().retain(|sharers| *sharers != self.sharers);
        self.pool.opened.notify_waiters();
    }
}
