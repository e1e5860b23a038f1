//! Who is due when, for very many.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How exact times are. What is due within one step is done together.
pub(super) const STEP: Duration = Duration::from_millis(10);

/// What is to be done at times to come.
#[derive(Debug)]
pub(super) struct Queue<T> {
    start: Instant,
    /// By time, whole steps from `start`; none is empty.
    steps: BTreeMap<Instant, Vec<T>>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { start: Instant::now(), steps: BTreeMap::new() }
    }
}

impl<T> Queue<T> {
    /// Adds what is due at `at`: never given out earlier, and up to a [`STEP`] later.
    pub(super) fn add(&mut self, at: Instant, what: T) {
        let beyond = at.saturating_duration_since(self.start).as_nanos() % STEP.as_nanos();
        let rest = if beyond == 0 { 0 } else { STEP.as_nanos() - beyond };
        self.steps.entry(at + Duration::from_nanos(rest as u64)).or_default().push(what);
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.steps.first_key_value().map(|(&at, _)| at)
    }

    /// Something that is due by `now`, of the earliest step.
    pub(super) fn take(&mut self, now: Instant) -> Option<T> {
        let mut first = self.steps.first_entry().filter(|first| *first.key() <= now)?;
        let what = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        what
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_early_nor_later_than_a_step() {
        let mut queue = Queue::default();
        let start = queue.start;
        for millis in [25_u64, 0, 21, 1000, 20, 11] {
            queue.add(start + Duration::from_millis(millis), millis);
        }
        let mut times = Vec::new();
        while let Some(at) = queue.next() {
            assert_eq!(queue.take(at - Duration::from_nanos(1)), None);
            while let Some(millis) = queue.take(at) {
                let late = (at - start).checked_sub(Duration::from_millis(millis)).expect("not early");
                assert!(late < STEP, "{millis}");
                times.push(millis.div_ceil(10));
            }
        }
        assert_eq!(times, [0, 2, 2, 3, 3, 100]);
    }
}
