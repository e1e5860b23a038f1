//! A client's connection, as those see it who have replies for it.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use mosn_core::ConnectionInfo;
use slab::Slab;

use super::{
    call::{FirstTry, LongWay, OwnedFrame},
    upstream::Upstream,
    wire::{CONGESTED, Wire},
};

/// Replies that may wait for a client that does not read; with more it is cut off. A client that
/// makes no more calls until it has read costs at most this and the replies to what it had asked.
const MOST_UNREAD: usize = 64 << 20;
/// Calls of one client that may be under way; more are read when some are over.
const MOST_CALLS: usize = 1 << 16;
/// Bytes that are kept for its calls, from which on no more are read.
const MOST_HELD: usize = 16 << 20;

/// A client's connection.
pub(super) struct Downstream {
    wire: Wire,
    info: Rc<ConnectionInfo>,
    /// Calls under way.
    calls: Cell<usize>,
    /// Somebody is going to flush it.
    touched: Cell<bool>,
    /// It waits until it may read again, or until its last call is over.
    waits: Cell<bool>,
    ended: Cell<bool>,
    /// Upstreams that have, or had, calls of it.
    upstreams: RefCell<Vec<Weak<Upstream>>>,
    /// Calls with a task of their own, to be woken when the client has gone.
    tasks: RefCell<Slab<Option<Waker>>>,
    /// Bytes of those calls, and of others that may be sent again.
    held: Cell<usize>,
    long_way: Box<dyn LongWay>,
}

impl Downstream {
    pub(super) fn new(wire: Wire, info: Rc<ConnectionInfo>, long_way: Box<dyn LongWay>) -> Rc<Self> {
        Rc::new(Self {
            wire,
            info,
            calls: Cell::new(0),
            touched: Cell::new(false),
            waits: Cell::new(false),
            ended: Cell::new(false),
            upstreams: RefCell::default(),
            tasks: RefCell::default(),
            held: Cell::new(0),
            long_way,
        })
    }

    pub(super) const fn wire(&self) -> &Wire {
        &self.wire
    }

    pub(super) const fn info(&self) -> &Rc<ConnectionInfo> {
        &self.info
    }

    /// Calls under way.
    pub(super) fn calls(&self) -> usize {
        self.calls.get() + self.tasks.borrow().len()
    }

    /// Whether it may bring another call.
    pub(super) fn has_room(&self) -> bool {
        self.wire.waiting() <= CONGESTED && self.calls() < MOST_CALLS && self.held.get() < MOST_HELD
    }

    /// Whether it must be woken when it may read on, or has nothing left to do.
    pub(super) fn set_waits(&self, waits: bool) {
        self.waits.set(waits);
    }

    /// Whether it is over, or should be.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.get() || self.wire.is_broken()
    }

    /// Makes it end as if the client had left.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.wire.wake();
    }

    /// A call of it was relayed.
    pub(super) fn call_began(&self) {
        self.calls.set(self.calls.get() + 1);
    }

    /// Remembers that `upstream` is to be told when the client goes.
    pub(super) fn knows(&self, upstream: &Rc<Upstream>) {
        let mut upstreams = self.upstreams.borrow_mut();
        if upstreams.last().is_some_and(|known| std::ptr::eq(known.as_ptr(), Rc::as_ptr(upstream))) {
            return;
        }
        upstreams
            .retain(|known| known.strong_count() > 0 && !std::ptr::eq(known.as_ptr(), Rc::as_ptr(upstream)));
        upstreams.push(Rc::downgrade(upstream));
    }

    /// The client answers a call that its upstream made. Returns that upstream.
    pub(super) fn answered(self: &Rc<Self>, frame: &[u8]) -> Option<Rc<Upstream>> {
        let bound = self
            .upstreams
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .find(|upstream| upstream.is_bound_to(self))?;
        bound.pass(frame);
        Some(bound)
    }

    /// A relayed call goes on the long way.
    pub(super) fn hand_over(self: &Rc<Self>, frame: Rc<OwnedFrame>, first: FirstTry) {
        self.long_way.take(self, frame, first);
        self.call_over();
    }

    /// A relayed call is over.
    pub(super) fn call_over(&self) {
        self.calls.set(self.calls.get() - 1);
        self.wake_waiting();
    }

    fn wake_waiting(&self) {
        if self.waits.get() {
            self.wire.wake();
        }
    }

    /// Whether whoever asks is the first with something for it, and must flush it.
    pub(super) fn touch(&self) -> bool {
        !self.touched.replace(true)
    }

    /// Writes what was collected.
    pub(super) fn flush_touched(&self) {
        self.touched.set(false);
        match self.flush() {
            0 => self.wake_waiting(),
            // It must look to its patience.
            _ => self.wire.wake(),
        }
    }

    /// Writes what there is. Returns how much the client leaves unread; too much is its end.
    pub(super) fn flush(&self) -> usize {
        self.wire.flush();
        let unread = self.wire.waiting();
        if unread > MOST_UNREAD && !self.wire.is_broken() {
            tracing::warn!(
                "closing connection {}: {unread} bytes of replies, and the client does not read",
                self.info.id
            );
            // At once: while it had time for last words, more replies would come.
            self.wire.hang_up();
            self.end();
        }
        unread
    }

    /// The client has gone: whoever works for it stops.
    pub(super) fn gone(self: &Rc<Self>) {
        self.ended.set(true);
        self.wire.hang_up();
        for upstream in self.upstreams.take() {
            if let Some(upstream) = upstream.upgrade() {
                upstream.cancel(self);
            }
        }
        let tasks: Vec<Waker> =
            self.tasks.borrow_mut().iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        tasks.into_iter().for_each(Waker::wake);
    }
}

/// Bytes that are kept for a client's call.
pub(super) struct HeldBytes {
    client: Rc<Downstream>,
    bytes: usize,
}

impl HeldBytes {
    pub(super) fn new(client: &Rc<Downstream>, bytes: usize) -> Self {
        client.held.set(client.held.get() + bytes);
        Self { client: Rc::clone(client), bytes }
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.client.held.set(self.client.held.get() - self.bytes);
        self.client.wake_waiting();
    }
}

/// A call with a task of its own.
pub(super) struct Task {
    client: Rc<Downstream>,
    key: usize,
    _held: HeldBytes,
}

impl Task {
    /// A call of so many bytes.
    pub(super) fn new(client: &Rc<Downstream>, bytes: usize) -> Self {
        let key = client.tasks.borrow_mut().insert(None);
        Self { client: Rc::clone(client), key, _held: HeldBytes::new(client, bytes) }
    }

    pub(super) const fn client(&self) -> &Rc<Downstream> {
        &self.client
    }

    /// Ready when the client has gone.
    pub(super) fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        if self.client.is_ended() {
            return Poll::Ready(());
        }
        let mut tasks = self.client.tasks.borrow_mut();
        match &mut tasks[self.key] {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            slot => *slot = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.client.tasks.borrow_mut().remove(self.key);
        self.client.wake_waiting();
    }
}
