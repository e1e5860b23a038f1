//! Timers by the thousand: a hashed wheel of 8 ms slots, one for each worker.
//!
//! A request's timeout is almost always taken back before it fires, so setting and dropping one
//! costs a few stores: entries are linked into their slot and unlinked again, nothing is left
//! behind. One task, [`drive`], sleeps until the next slot that holds anything; a worker without
//! timers sleeps for good.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::time::Sleep;

use crate::clock::{self, Moment};

/// Length of a slot: how late a timer may fire.
pub const RESOLUTION: Duration = Duration::from_millis(RESOLUTION_MS);
const RESOLUTION_MS: u64 = 8;
const SLOTS: usize = 1024;
const NONE: u32 = u32::MAX;

thread_local! {
    static WHEEL: RefCell<Wheel> = RefCell::new(Wheel::new());
}

/// A timer; dropping it takes it back.
#[derive(Debug)]
pub struct Timer {
    key: u32,
}

struct Entry {
    /// The tick at which it fires; a slot also holds entries of later rounds.
    tick: u64,
    prev: u32,
    next: u32,
    state: State,
}

enum State {
    Free,
    Armed(Option<Waker>),
    Fired,
}

struct Wheel {
    /// The first tick that has not been fired.
    next_tick: u64,
    heads: Box<[u32; SLOTS]>,
    entries: Vec<Entry>,
    free: u32,
    armed: usize,
    /// The driver, and the tick it sleeps until.
    driver: Option<Waker>,
    sleeping_until: u64,
}

impl Timer {
    /// Fires when `after` has passed since this turn began, at most [`RESOLUTION`] late.
    #[must_use]
    pub fn after(after: Duration) -> Self {
        WHEEL.with_borrow_mut(|wheel| wheel.insert(clock::moment().after(after)))
    }

    /// Whether it has fired; if not, the task is woken when it does.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        WHEEL.with_borrow_mut(|wheel| match &mut wheel.entries[self.key as usize].state {
            State::Fired => Poll::Ready(()),
            State::Armed(waker) => {
                match waker {
                    Some(waker) if waker.will_wake(cx.waker()) => {}
                    waker => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Free => Poll::Pending,
        })
    }

    /// Completes when it has fired.
    pub async fn fired(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // The wheel is gone while its thread ends; so is the timer then.
        let _ = WHEEL.try_with(|wheel| {
            if let Ok(mut wheel) = wheel.try_borrow_mut() {
                wheel.remove(self.key);
            }
        });
    }
}

impl Wheel {
    fn new() -> Self {
        Self {
            next_tick: 0,
            heads: Box::new([NONE; SLOTS]),
            entries: Vec::new(),
            free: NONE,
            armed: 0,
            driver: None,
            sleeping_until: u64::MAX,
        }
    }

    fn insert(&mut self, deadline: Moment) -> Timer {
        let tick = (ticks(deadline) + 1).max(self.next_tick);
        let entry = Entry { tick, prev: NONE, next: NONE, state: State::Armed(None) };
        let key = if self.free == NONE {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            let key = self.free;
            self.free = self.entries[key as usize].next;
            self.entries[key as usize] = entry;
            key
        };
        let slot = tick as usize % SLOTS;
        let head = self.heads[slot];
        self.entries[key as usize].next = head;
        if head != NONE {
            self.entries[head as usize].prev = key;
        }
        self.heads[slot] = key;
        self.armed += 1;
        if tick < self.sleeping_until
            && let Some(driver) = self.driver.take()
        {
            driver.wake();
        }
        Timer { key }
    }

    fn remove(&mut self, key: u32) {
        if let State::Armed(_) = self.entries[key as usize].state {
            self.unlink(key);
        }
        let entry = &mut self.entries[key as usize];
        entry.state = State::Free;
        entry.next = self.free;
        self.free = key;
    }

    fn unlink(&mut self, key: u32) {
        let Entry { tick, prev, next, .. } = self.entries[key as usize];
        if prev == NONE {
            self.heads[tick as usize % SLOTS] = next;
        } else {
            self.entries[prev as usize].next = next;
        }
        if next != NONE {
            self.entries[next as usize].prev = prev;
        }
        self.armed -= 1;
    }

    /// Fires what is due and says at which tick to look again.
    fn advance(&mut self, now: Moment, due: &mut Vec<Waker>) -> u64 {
        let now = ticks(now);
        // After a long sleep every slot is looked at once, not once for each tick slept.
        let first = self.next_tick.max(now.saturating_sub(SLOTS as u64 - 1));
        for tick in first..=now {
            let mut key = self.heads[tick as usize % SLOTS];
            while key != NONE {
                let next = self.entries[key as usize].next;
                if self.entries[key as usize].tick <= now {
                    self.unlink(key);
                    let state = std::mem::replace(&mut self.entries[key as usize].state, State::Fired);
                    if let State::Armed(Some(waker)) = state {
                        due.push(waker);
                    }
                }
                key = next;
            }
        }
        self.next_tick = now + 1;
        if self.armed == 0 {
            return u64::MAX;
        }
        (self.next_tick..self.next_tick + SLOTS as u64)
            .find(|tick| self.heads[*tick as usize % SLOTS] != NONE)
            .unwrap_or(u64::MAX)
    }
}

/// The slot-lengths that have passed until then.
const fn ticks(at: Moment) -> u64 {
    at.millis() / RESOLUTION_MS
}

/// Fires this thread's timers; each worker runs one.
pub async fn drive() {
    let mut sleep = pin!(None::<Sleep>);
    let mut due = Vec::new();
    poll_fn::<(), _>(|cx| {
        loop {
            let until = WHEEL.with_borrow_mut(|wheel| {
                let until = wheel.advance(clock::read_moment(), &mut due);
                wheel.sleeping_until = until;
                wheel.driver = Some(cx.waker().clone());
                (until != u64::MAX).then(|| Moment::instant(until * RESOLUTION_MS))
            });
            // Outside the borrow: waking may run code that sets timers.
            due.drain(..).for_each(Waker::wake);
            let Some(until) = until else {
                sleep.set(None);
                return Poll::Pending;
            };
            sleep.set(Some(tokio::time::sleep_until(until)));
            if let Some(sleep) = sleep.as_mut().as_pin_mut() {
                ready!(sleep.poll(cx));
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn armed() -> usize {
        WHEEL.with_borrow(|wheel| wheel.armed)
    }

    #[tokio::test(start_paused = true)]
    async fn timers_fire_in_order_and_not_before_their_time() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                tokio::task::spawn_local(drive());
                let start = Instant::now();
                let mut long = Timer::after(Duration::from_secs(20));
                let mut short = Timer::after(Duration::from_millis(50));
                short.fired().await;
                let took = start.elapsed();
                assert!(took >= Duration::from_millis(50) && took <= Duration::from_millis(70), "{took:?}");
                long.fired().await;
                let took = start.elapsed();
                assert!(took >= Duration::from_secs(20) && took < Duration::from_millis(20_030), "{took:?}");
                assert_eq!(armed(), 0);
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_timer_wakes_a_sleeping_driver_and_a_dropped_one_leaves_nothing() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                tokio::task::spawn_local(drive());
                let timers: Vec<Timer> =
                    (0..100).map(|i| Timer::after(Duration::from_secs(60 + i))).collect();
                tokio::task::yield_now().await;
                let start = Instant::now();
                Timer::after(Duration::from_millis(10)).fired().await;
                assert!(start.elapsed() < Duration::from_millis(40));
                drop(timers);
                assert_eq!(armed(), 0);
                assert!(WHEEL.with_borrow(|wheel| wheel.heads.iter().all(|head| *head == NONE)));
            })
            .await;
    }
}
