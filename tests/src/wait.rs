use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything may take before a test fails. Generous: it costs only failing tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value, which it returns.
///
/// # Panics
/// When that takes longer than [`PATIENCE`]; `what` says what was waited for.
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "still waiting for {what} after {PATIENCE:?}");
        sleep(LOOK_AGAIN);
    }
}

/// Waits until `measure` has given the same value for `quiet`, and returns that: what moves no more
/// is held back.
///
/// # Panics
/// When it still moves after [`PATIENCE`].
#[track_caller]
pub fn settled<T: PartialEq + Copy>(what: &str, quiet: Duration, mut measure: impl FnMut() -> T) -> T {
    let mut last = measure();
    let mut since = Instant::now();
    until(what, || {
        let now = measure();
        if now != last {
            last = now;
            since = Instant::now();
        }
        (since.elapsed() >= quiet).then_some(last)
    })
}
