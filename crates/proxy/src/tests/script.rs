//! What an in-memory peer does, and when.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// Events at their times, in ms since the script began. After the last one nothing happens.
pub(super) struct Script<T> {
    start: Instant,
    events: VecDeque<(u64, T)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<T> Script<T> {
    pub(super) fn new(events: Vec<(u64, T)>) -> Self {
        Self { start: Instant::now(), events: events.into(), sleep: None }
    }

    pub(super) fn into_events(self) -> Vec<(u64, T)> {
        self.events.into()
    }

    /// The next event, whether it is due or not.
    pub(super) fn peek(&self) -> Option<&T> {
        self.events.front().map(|(_, event)| event)
    }

    /// The next event, once it is due.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let Some((at, _)) = self.events.front() else {
            return Poll::Pending;
        };
        let due = self.start + Duration::from_millis(*at);
        if due > Instant::now() {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            sleep.as_mut().reset(due);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        match self.events.pop_front() {
            Some((_, event)) => Poll::Ready(event),
            None => Poll::Pending,
        }
    }
}

/// A peer that takes some frames and then no more until a moment comes.
pub(super) struct Appetite {
    /// Frames it takes at once.
    room: usize,
    /// From when on it takes any number; `None` = never.
    opens: Option<Script<()>>,
    open: bool,
    taken: usize,
}

impl Appetite {
    pub(super) fn any() -> Self {
        Self { room: usize::MAX, opens: None, open: true, taken: 0 }
    }

    pub(super) fn of(room: usize, opens_at: Option<u64>) -> Self {
        Self { room, opens: opens_at.map(|at| Script::new(vec![(at, ())])), open: false, taken: 0 }
    }

    pub(super) fn take(&mut self) {
        self.taken += 1;
    }

    /// Ready when another frame fits; or, with `all`, when everything that was taken has been used.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, all: bool) -> Poll<()> {
        let full = if all { self.taken > self.room } else { self.taken >= self.room };
        if self.open || !full {
            return Poll::Ready(());
        }
        match &mut self.opens {
            Some(opens) => opens.poll(cx).map(|()| self.open = true),
            None => Poll::Pending,
        }
    }
}
