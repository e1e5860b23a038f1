//! The requests of one connection, polled by the connection's own task.
//!
//! A request costs no task of its own: it has a bit, which its waker sets, and the task goes through
//! the bits that are set. However many requests were woken, the task is woken once.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Requests whose bits share a word.
const GROUP: usize = 64;

/// A connection's requests.
#[derive(Default)]
pub(super) struct Requests {
    slots: Vec<Slot>,
    free: Vec<usize>,
    groups: Vec<Arc<Group>>,
    task: Arc<Task>,
    /// Where to begin: behind the one that was polled first the last time, so that each is first in
    /// turn and finds the room that the others did not leave it.
    next: usize,
}

struct Slot {
    request: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// Sets the slot's bit; outlives the request.
    waker: Waker,
}

struct Group {
    /// Which of its requests were woken.
    woken: AtomicU64,
    task: Arc<Task>,
}

/// The connection's task.
#[derive(Default)]
struct Task {
    /// Looked at once a turn: by the first that wakes in a group, and when the task is polled.
    waker: Mutex<Option<Waker>>,
}

struct SlotWaker {
    group: Arc<Group>,
    bit: u64,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.group.woken.fetch_or(self.bit, Ordering::AcqRel) == 0 {
            let waker = self.group.task.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(waker) = &*waker {
                waker.wake_by_ref();
            }
        }
    }
}

impl Requests {
    /// Notes whom to wake when a request is woken.
    pub(super) fn register(&self, waker: &Waker) {
        let mut slot = self.task.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(known) if known.will_wake(waker) => {}
            _ => *slot = Some(waker.clone()),
        }
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Begins a request, as far as it gets without waiting.
    pub(super) fn start(&mut self, request: Pin<Box<dyn Future<Output = ()>>>) {
        let at = self.free.pop().unwrap_or_else(|| self.add());
        self.slots[at].request = Some(request);
        self.poll(at);
    }

    fn add(&mut self) -> usize {
        let at = self.slots.len();
        if at.is_multiple_of(GROUP) {
            self.groups.push(Arc::new(Group { woken: AtomicU64::new(0), task: Arc::clone(&self.task) }));
        }
        let group = Arc::clone(&self.groups[at / GROUP]);
        let waker = Waker::from(Arc::new(SlotWaker { group, bit: 1 << (at % GROUP) }));
        if at == self.slots.capacity() {
            // Most connections have few requests at a time.
            self.slots.reserve_exact(at.max(1));
        }
        self.slots.push(Slot { request: None, waker });
        at
    }

    /// Polls those that were woken, once each; whether there was any.
    pub(super) fn run(&mut self) -> bool {
        let (group, bit) = (self.next / GROUP, self.next % GROUP);
        let below = (1 << bit) - 1;
        let mut first = None;
        self.run_group(group, !below, &mut first);
        for other in (group + 1..self.groups.len()).chain(0..group) {
            self.run_group(other, !0, &mut first);
        }
        if below != 0 {
            self.run_group(group, below, &mut first);
        }
        match first {
            Some(first) => self.next = if first + 1 < self.slots.len() { first + 1 } else { 0 },
            None => return false,
        }
        true
    }

    fn run_group(&mut self, group: usize, bits: u64, first: &mut Option<usize>) {
        let Some(woken) = self.groups.get(group).map(|group| &group.woken) else { return };
        if woken.load(Ordering::Relaxed) & bits == 0 {
            return;
        }
        let mut woken = woken.fetch_and(!bits, Ordering::AcqRel) & bits;
        while woken != 0 {
            let at = group * GROUP + woken.trailing_zeros() as usize;
            first.get_or_insert(at);
            self.poll(at);
            woken &= woken - 1;
        }
    }

    /// Whether one was woken since.
    pub(super) fn is_any_woken(&self) -> bool {
        self.groups.iter().any(|group| group.woken.load(Ordering::Relaxed) != 0)
    }

    fn poll(&mut self, at: usize) {
        let Some(Slot { request: Some(request), waker }) = self.slots.get_mut(at) else { return };
        if let Poll::Ready(()) = request.as_mut().poll(&mut Context::from_waker(waker)) {
            self.slots[at].request = None;
            self.free.push(at);
        }
    }

    /// Gives up the room of earlier requests, if there is none now.
    pub(super) fn shrink(&mut self) {
        if self.len() == 0 {
            (self.slots, self.free, self.groups) = (Vec::new(), Vec::new(), Vec::new());
            self.next = 0;
        }
    }

    /// Lets every request see that the connection is over, and drops those that go on.
    pub(super) fn end(&mut self) {
        for at in 0..self.slots.len() {
            self.poll(at);
        }
        self.slots.clear();
        self.free.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        future::poll_fn,
        rc::Rc,
        sync::atomic::AtomicUsize,
    };

    use super::*;

    /// Counts how often the connection's task is woken.
    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends when it is let go; notes each poll.
    fn request(
        polls: &Rc<Cell<usize>>,
        gate: &Rc<RefCell<Option<Waker>>>,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        let (polls, gate, mut first) = (Rc::clone(polls), Rc::clone(gate), true);
        Box::pin(poll_fn(move |cx| {
            polls.set(polls.get() + 1);
            *gate.borrow_mut() = Some(cx.waker().clone());
            if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }
        }))
    }

    #[test]
    fn the_task_is_woken_once_and_polls_only_whom_it_was_woken_for() {
        let counted = Arc::<Counted>::default();
        let mut requests = Requests::default();
        requests.register(&Waker::from(Arc::clone(&counted)));
        let polls: Vec<Rc<Cell<usize>>> = (0..50).map(|_| Rc::default()).collect();
        let gates: Vec<Rc<RefCell<Option<Waker>>>> = (0..50).map(|_| Rc::default()).collect();
        for (polls, gate) in polls.iter().zip(&gates) {
            requests.start(request(polls, gate));
        }
        assert!(!requests.is_any_woken() && !requests.run());
        for gate in &gates[10..20] {
            gate.borrow().as_ref().expect("polled").wake_by_ref();
        }
        assert_eq!(counted.0.load(Ordering::Relaxed), 1);
        assert!(requests.run() && !requests.run());
        assert_eq!(polls.iter().map(|polls| polls.get()).sum::<usize>(), 60);
        assert_eq!(requests.len(), 40);
    }

    #[test]
    fn places_are_used_again_and_late_wakers_do_no_harm() {
        let mut requests = Requests::default();
        let (polls, gate) = (Rc::default(), Rc::default());
        for round in 1..=200 {
            requests.start(request(&polls, &gate));
            let waker: Waker = gate.borrow().clone().expect("polled");
            waker.wake_by_ref();
            assert!(requests.run());
            assert_eq!((requests.len(), requests.slots.len(), polls.get()), (0, 1, round * 2));
            waker.wake();
        }
        requests.shrink();
        gate.borrow().as_ref().expect("polled").wake_by_ref();
        assert!(requests.slots.is_empty() && !requests.run());
    }

    #[test]
    fn the_end_shows_to_every_request_once() {
        let mut requests = Requests::default();
        let (polls, gate) = (Rc::default(), Rc::default());
        for _ in 0..100 {
            requests.start(request(&polls, &gate));
        }
        requests.end();
        assert_eq!((polls.get(), requests.len()), (200, 0));
    }
}
