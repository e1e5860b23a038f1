//! Requests that wait because a host has as many connections as it may.
//!
//! Each worker has a queue for each host whose connections are limited. Whoever is first in it gets
//! the next connection of this worker that fits and becomes free, or room for one of its own, which may
//! be a connection that another worker has closed for it ([`Seat`]).

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use mosn_net::clock;
use mosn_upstream::{ConnectionToken, Host, Seat};
use tokio::sync::Notify;

/// What a request waits for, besides room for a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// A connection of HTTP/1.
    Http1,
    /// A stream of HTTP/2.
    Http2,
    /// A connection of this RPC protocol, for one call.
    PingPong(&'static str),
    /// Nothing else.
    Room,
}

/// What a request has waited for.
#[derive(Debug)]
pub(crate) enum Place<T> {
    /// A connection that was in use.
    Free(T),
    /// Room for a new one.
    Room(ConnectionToken),
}

/// The requests of one worker that wait, first come first served.
#[derive(Debug)]
pub(crate) struct Queue {
    seat: Seat,
    /// How many connections there may be, as whoever came last knows.
    limit: Cell<u32>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Debug)]
struct Waiter {
    wants: Wants,
    /// There may be something for it.
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Waiter {
    fn call(&self) {
        self.called.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Queue {
    pub(crate) fn new(host: &Arc<Host>) -> Rc<Self> {
        Rc::new(Self { seat: Seat::new(host), limit: Cell::new(0), waiting: RefCell::default() })
    }

    /// What rings when [`Self::attend`] is to be called.
    pub(crate) fn bell(&self) -> Arc<Notify> {
        Arc::clone(self.seat.bell())
    }

    /// Whether nobody waits. Whoever comes while somebody does must wait as well.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// A connection is free again. Returns whether this worker keeps it; if not, it is to be closed,
    /// for another one.
    pub(crate) fn keeps(&self, wants: Wants) -> bool {
        if self.yields() {
            return false;
        }
        self.call(|waiter| waiter.wants == wants);
        true
    }

    /// A connection has become free in part. What is not in use at all may be closed for another worker.
    pub(crate) fn freed(&self, wants: Wants) {
        if self.seat.is_wanted() {
            self.call(|waiter| waiter.wants == wants);
            self.seat.bell().notify_one();
        }
    }

    /// Whether a connection that is not in use is to be closed for another worker.
    pub(crate) fn yields(&self) -> bool {
        self.seat.yields(clock::now().into_std())
    }

    /// Tells the first for whom there may be something.
    fn call(&self, fits: impl Fn(&Waiter) -> bool) {
        let waiting = self.waiting.borrow();
        if let Some(waiter) = waiting.iter().find(|waiter| !waiter.called.get() && fits(waiter)) {
            waiter.call();
        }
    }

    /// Tells everybody who waits for this.
    pub(crate) fn call_all(&self, wants: Wants) {
        self.waiting.borrow().iter().filter(|waiter| waiter.wants == wants).for_each(|waiter| waiter.call());
    }

    /// Looks for room for those who wait. Returns when to look again, if the bell does not ring before.
    pub(crate) fn attend(&self) -> Option<Duration> {
        self.call(|_| true);
        self.seat.ask(clock::now().into_std())
    }

    fn room<T>(&self) -> Option<Place<T>> {
        self.seat.take(self.limit.get(), clock::now().into_std()).map(Place::Room)
    }

    /// Waits for what `take` finds, or for room within `limit` connections, or what becomes of the limit.
    pub(crate) async fn wait<T>(
        &self,
        wants: Wants,
        limit: u32,
        take: impl Fn() -> Option<Place<T>>,
    ) -> Place<T> {
        let turn = Turn::begin(self, wants);
        if self.limit.replace(limit) != limit {
            // There may be room for those before it.
            self.seat.bell().notify_one();
        }
        poll_fn(|cx| {
            if turn.waiter.called.replace(false)
                && let Some(place) = take().or_else(|| self.room())
            {
                return Poll::Ready(place);
            }
            *turn.waiter.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// A request's place in the queue; it leaves with the value.
struct Turn<'a> {
    queue: &'a Queue,
    waiter: Rc<Waiter>,
}

impl<'a> Turn<'a> {
    fn begin(queue: &'a Queue, wants: Wants) -> Self {
        let mut waiting = queue.waiting.borrow_mut();
        let first = waiting.is_empty();
        // What has become free since it last looked, nobody was told of.
        let waiter = Rc::new(Waiter { wants, called: Cell::new(first), waker: RefCell::default() });
        waiting.push_back(Rc::clone(&waiter));
        if first {
            queue.seat.set_waits(true);
            queue.seat.bell().notify_one();
        }
        Self { queue, waiter: Rc::clone(&waiter) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.waiting.borrow_mut().retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter));
        if self.queue.is_empty() {
            self.queue.seat.set_waits(false);
        } else if self.waiter.called.get() {
            self.queue.call(|waiter| waiter.wants == self.waiter.wants);
        }
        // What this one leaves may be of use to others.
        self.queue.seat.bell().notify_one();
    }
}
