//! When requests are due.

use std::time::Duration;

/// An endless row of requests, one every `1 / rate` seconds, dealt out to connections in turn.
///
/// Request `n` is due at `first + n / rate` whatever happens to those before it. Times are
/// nanoseconds from the start of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Nanoseconds between two requests of this row.
    interval: f64,
    first: f64,
    /// Requests that were taken.
    taken: u64,
    connections: u64,
}

impl Schedule {
    /// The part of `rate` requests per second that falls to thread `thread` of `threads`, which has
    /// `connections` of the connections.
    pub(crate) fn new(rate: f64, thread: usize, threads: usize, connections: usize) -> Self {
        let between = 1e9 / rate;
        Self {
            interval: between * threads as f64,
            first: between * thread as f64,
            taken: 0,
            connections: connections as u64,
        }
    }

    /// When the next request is due.
    pub(crate) fn next_at(&self) -> u64 {
        self.due(self.taken)
    }

    fn due(&self, number: u64) -> u64 {
        (self.first + self.interval * number as f64) as u64
    }

    /// Takes the next request if it is due by now: the connection that has to send it.
    pub(crate) fn take(&mut self, now: u64) -> Option<usize> {
        (self.next_at() <= now).then(|| {
            let connection = self.taken % self.connections;
            self.taken += 1;
            connection as usize
        })
    }

    /// When the `number`th request of a connection was due.
    pub(crate) fn due_on(&self, connection: usize, number: u64) -> u64 {
        self.due(number * self.connections + connection as u64)
    }
}

/// A length of time in the unit of schedules.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_dealt_out_in_turn_at_even_distances() {
        let mut schedule = Schedule::new(1000.0, 0, 1, 3);
        assert_eq!(schedule.take(0), Some(0));
        assert_eq!(schedule.take(999_999), None);
        assert_eq!(schedule.next_at(), 1_000_000);
        let late: Vec<_> = std::iter::from_fn(|| schedule.take(5_000_000)).collect();
        assert_eq!(late, [1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_late_request_still_knows_when_it_was_due() {
        let schedule = Schedule::new(1000.0, 0, 1, 3);
        assert_eq!(schedule.due_on(2, 0), 2_000_000);
        assert_eq!(schedule.due_on(2, 5), 17_000_000);
    }

    #[test]
    fn threads_share_a_rate_without_sending_at_the_same_time() {
        let mut times = Vec::new();
        for thread in 0..4 {
            let mut schedule = Schedule::new(4000.0, thread, 4, 2);
            let mut numbers = [0; 2];
            while let Some(connection) = schedule.take(9_999_999) {
                times.push(schedule.due_on(connection, numbers[connection]));
                numbers[connection] += 1;
            }
        }
        times.sort_unstable();
        let expected: Vec<_> = (0..40).map(|n| n * 250_000).collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn a_rate_that_is_no_whole_number_of_nanoseconds_does_not_drift() {
        let schedule = Schedule::new(3_000_000.0, 0, 1, 1);
        assert_eq!(schedule.due_on(0, 3_000_000 * 3600), 3_600_000_000_000);
    }
}
