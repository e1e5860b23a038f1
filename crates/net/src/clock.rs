//! The time, read once a turn.
//!
//! Every request needs the time several times, and reading the clock costs as much as parsing a
//! header. All requests of a turn share one reading; a turn lasts well under a millisecond.

use std::{
    cell::Cell,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

thread_local! {
    /// The turn's reading.
    static TURN: Cell<Option<Turn>> = const { Cell::new(None) };
    /// Its time since [`EPOCH`], by itself because it is asked for most; [`NO_TURN`] without one.
    static MOMENT: Cell<Moment> = const { Cell::new(NO_TURN) };
    /// What this thread counts nanoseconds from.
    static EPOCH: Cell<Option<Instant>> = const { Cell::new(None) };
}

const NO_TURN: Moment = Moment(u64::MAX);

#[derive(Clone, Copy)]
struct Turn {
    now: Instant,
    moment: Moment,
    wall: SystemTime,
}

impl Turn {
    fn read() -> Self {
        let now = Instant::now();
        let epoch = EPOCH.get().unwrap_or_else(|| {
            EPOCH.set(Some(now));
            now
        });
        let nanos = now.saturating_duration_since(epoch).as_nanos();
        Self { now, moment: Moment(nanos as u64), wall: SystemTime::now() }
    }
}

/// A point in time on one thread, in nanoseconds: what the request path reckons with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Later than any other.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time from `earlier` until this one; zero if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Milliseconds since an arbitrary time.
    pub(crate) const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The same point as an [`Instant`].
    pub(crate) fn instant(millis: u64) -> Instant {
        EPOCH.get().unwrap_or_else(Instant::now) + Duration::from_millis(millis)
    }
}

fn turn() -> Turn {
    TURN.get().unwrap_or_else(Turn::read)
}

/// The time at which this turn began, or now on a thread that has no turns.
#[must_use]
pub fn now() -> Instant {
    turn().now
}

/// The same, to reckon with.
#[must_use]
pub fn moment() -> Moment {
    match MOMENT.get() {
        NO_TURN => Turn::read().moment,
        moment => moment,
    }
}

/// The wall clock at the same moment.
#[must_use]
pub fn wall() -> SystemTime {
    turn().wall
}

/// The time as it is, whatever the turn's is.
pub(crate) fn read_moment() -> Moment {
    Turn::read().moment
}

/// Begins a turn: to be called by the worker's runtime whenever it wakes.
pub fn begin_turn() {
    let turn = Turn::read();
    MOMENT.set(turn.moment);
    TURN.set(Some(turn));
}
