//! The time, read once a turn.
//!
//! Every request needs the time several times, and reading the clock costs as much as parsing a
//! header. All requests of a turn share one reading; a turn lasts well under a millisecond.

use std::{cell::Cell, time::SystemTime};

use tokio::time::Instant;

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    static WALL: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
}

/// The time at which this turn began, or now on a thread that has no turns.
#[must_use]
pub fn now() -> Instant {
    NOW.get().unwrap_or_else(Instant::now)
}

/// The wall clock at the same moment. Follows changes of the system's clock within a second.
#[must_use]
pub fn wall() -> SystemTime {
    let now = now();
    match WALL.get() {
        Some((at, wall)) if now.duration_since(at).as_millis() < 1000 => wall + now.duration_since(at),
        _ => {
            let wall = SystemTime::now();
            WALL.set(Some((now, wall)));
            wall
        }
    }
}

/// Begins a turn: to be called by the worker's runtime whenever it wakes.
pub fn begin_turn() {
    NOW.set(Some(Instant::now()));
}
