//! What is counted.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies up to this are told apart, in nanoseconds; longer ones count as this long.
const LONGEST: u64 = 24 * 3600 * 1_000_000_000;
/// Statuses of failed replies that are told apart.
const MAX_STATUSES: usize = 32;

/// The counts of one thread, or of all.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) window: Window,
    /// Nanoseconds, of requests that were due within the window.
    pub(crate) latency: Histogram<u64>,
    /// Good replies, whenever they came.
    pub(crate) replies: u64,
    /// Good replies that came within the window.
    pub(crate) in_window: u64,
    /// Requests that were due within the window and never sent, for want of room.
    pub(crate) unsent: u64,
    /// Connections that the target asked to end, and that were replaced.
    pub(crate) goaways: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) errors: Errors,
    /// How often each status of a failed reply was seen.
    pub(crate) statuses: BTreeMap<i32, u64>,
}

/// What is measured, in nanoseconds from the start of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Window {
    const fn holds(self, time: u64) -> bool {
        time >= self.from && time < self.to
    }
}

/// Failed requests by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Errors {
    /// A connection could not be opened again.
    pub(crate) connect: u64,
    /// Requests in flight on a connection that ended.
    pub(crate) closed: u64,
    /// No reply within `--timeout`.
    pub(crate) timeout: u64,
    /// A reply whose status tells of an error.
    pub(crate) status: u64,
    /// A reply with another body than was expected.
    pub(crate) body: u64,
    /// A reply to no request, to one that had its reply, or to one that was given up.
    pub(crate) unknown_id: u64,
    /// Bytes that are no frame, or a frame that no server sends.
    pub(crate) malformed: u64,
}

impl Errors {
    /// Each kind under its name.
    pub(crate) const fn kinds(&self) -> [(&'static str, u64); 7] {
        [
            ("connect", self.connect),
            ("closed", self.closed),
            ("timeout", self.timeout),
            ("status", self.status),
            ("body", self.body),
            ("unknown_id", self.unknown_id),
            ("malformed", self.malformed),
        ]
    }

    pub(crate) fn total(&self) -> u64 {
        self.kinds().iter().map(|(_, count)| count).sum()
    }

    fn add(&mut self, other: &Self) {
        let Self { connect, closed, timeout, status, body, unknown_id, malformed } = other;
        self.connect += connect;
        self.closed += closed;
        self.timeout += timeout;
        self.status += status;
        self.body += body;
        self.unknown_id += unknown_id;
        self.malformed += malformed;
    }
}

impl Tally {
    pub(crate) fn new(window: Window) -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3);
        Self {
            window,
            latency: latency.unwrap_or_else(|_| unreachable!("the bounds are constants")),
            replies: 0,
            in_window: 0,
            unsent: 0,
            goaways: 0,
            bytes_sent: 0,
            bytes_received: 0,
            errors: Errors::default(),
            statuses: BTreeMap::new(),
        }
    }

    /// A good reply at `now` to a request that was due at `due`.
    pub(crate) fn reply(&mut self, due: u64, now: u64) {
        self.replies += 1;
        self.in_window += u64::from(self.window.holds(now));
        if self.window.holds(due) {
            self.latency.saturating_record(now.saturating_sub(due));
        }
    }

    /// A request that was due at `due` and never sent. That it would have been answered at once after
    /// the end is the most favourable guess.
    pub(crate) fn unsent(&mut self, due: u64) {
        if self.window.holds(due) {
            self.unsent += 1;
            self.latency.saturating_record(self.window.to - due);
        }
    }

    /// A reply with the status of an error.
    pub(crate) fn failed(&mut self, status: i32) {
        self.errors.status += 1;
        if self.statuses.len() < MAX_STATUSES || self.statuses.contains_key(&status) {
            *self.statuses.entry(status).or_default() += 1;
        }
    }

    /// Takes in the counts of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
        self.replies += other.replies;
        self.in_window += other.in_window;
        self.unsent += other.unsent;
        self.goaways += other.goaways;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.errors.add(&other.errors);
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn latency_counts_from_when_the_request_was_due() {
        let mut tally = Tally::new(Window { from: 0, to: 1000 * MS });
        // A target that stalls for 100 ms: one request sent in time, nine more due meanwhile.
        for number in 0..10 {
            tally.reply(number * 10 * MS, 100 * MS);
        }
        // Three digits are kept.
        let is_about = |found: u64, ms: u64| found.abs_diff(ms * MS) < MS / 10;
        assert!(is_about(tally.latency.max(), 100) && is_about(tally.latency.min(), 10));
        assert!(is_about(tally.latency.value_at_quantile(0.5), 50));
    }

    #[test]
    fn the_warm_up_does_not_count_but_a_reply_after_the_end_does() {
        let mut tally = Tally::new(Window { from: 100, to: 200 });
        tally.reply(50, 90);
        tally.reply(90, 150);
        tally.reply(150, 160);
        tally.reply(199, 5000);
        assert_eq!((tally.replies, tally.in_window, tally.latency.len()), (4, 2, 2));
        assert!(tally.latency.max() >= 4801);
    }

    #[test]
    fn a_request_that_never_went_out_counts_as_having_waited_until_the_end() {
        let mut tally = Tally::new(Window { from: 0, to: 100 });
        tally.unsent(40);
        assert_eq!((tally.unsent, tally.latency.max()), (1, 60));
    }

    #[test]
    fn threads_add_up() {
        let window = Window { from: 0, to: 100 };
        let (mut sum, mut other) = (Tally::new(window), Tally::new(window));
        sum.reply(0, 10);
        sum.failed(6);
        other.reply(0, 30);
        other.failed(6);
        other.errors.timeout = 2;
        sum.add(&other);
        assert_eq!((sum.replies, sum.latency.max(), sum.errors.total()), (2, 30, 4));
        assert_eq!(sum.statuses.get(&6), Some(&2));
    }
}
