//! Moments as whole milliseconds, so that they fit an atomic.

use std::{sync::OnceLock, time::Instant};

/// `now` in ms from some moment of the process's life; never 0, and 1 for all before that moment.
pub(crate) fn millis(now: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    now.saturating_duration_since(start).as_millis() as u64 + 1
}
