//! How a worker tells its connections to finish.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use slab::Slab;

/// Of one listener on one worker: whether its connections should finish, how many there are, and
/// how to wake them.
#[derive(Debug, Default)]
pub struct Drain {
    draining: Cell<bool>,
    wakers: RefCell<Slab<Option<Waker>>>,
    empty: RefCell<Vec<Waker>>,
}

/// One connection's place in a [`Drain`]; the connection is counted while it lives.
#[derive(Debug)]
pub struct DrainWatch {
    drain: Rc<Drain>,
    key: usize,
}

impl Drain {
    /// Whether connections should finish.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.wakers.borrow().len()
    }

    /// Tells every connection to finish what it does and close.
    pub fn begin(&self) {
        self.draining.set(true);
        // Collected first: a woken task may run at once and drop its watch.
        let wakers: Vec<Waker> =
            self.wakers.borrow_mut().iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Counts a connection in.
    #[must_use]
    pub fn watch(self: &Rc<Self>) -> DrainWatch {
        let key = self.wakers.borrow_mut().insert(None);
        DrainWatch { drain: Rc::clone(self), key }
    }

    /// Ready when no connection is left.
    pub fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.connections() == 0 {
            return Poll::Ready(());
        }
        self.empty.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }
}

impl DrainWatch {
    /// Ready when the connection should finish.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.drain.draining.get() {
            return Poll::Ready(());
        }
        let mut wakers = self.drain.wakers.borrow_mut();
        match &mut wakers[self.key] {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            slot => *slot = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Whether the connection should finish.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.draining.get()
    }
}

impl Drop for DrainWatch {
    fn drop(&mut self) {
        let last = {
            let mut wakers = self.drain.wakers.borrow_mut();
            wakers.remove(self.key);
            wakers.is_empty()
        };
        if last {
            self.drain.empty.take().into_iter().for_each(Waker::wake);
        }
    }
}
