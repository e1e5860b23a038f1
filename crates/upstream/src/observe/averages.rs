use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{Host, Outcome};

/// Moving averages over a cluster's requests, for peak EWMA.
///
/// MOSN's, which weigh by time and not by number: each value is added with weight alpha to what is
/// left of the earlier ones, of which (1-alpha)^seconds are left. Reading applies the same decay.
#[derive(Debug)]
pub(crate) struct Averages {
    /// Logarithm of what is left of a value after a millisecond.
    decay: f64,
    alpha: f64,
    /// Of all hosts, for one that has none of its own yet.
    nanos: Average,
    /// Where there is none at all: the longest that a request should take.
    longest: f64,
}

/// A host's own.
#[derive(Debug, Default)]
pub(crate) struct HostAverages {
    nanos: Average,
    requests: Average,
    client_errors: Average,
    server_errors: Average,
}

/// What they are at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) nanos: f64,
    pub(crate) requests: f64,
    pub(crate) client_errors: f64,
    pub(crate) server_errors: f64,
}

/// Updates may be lost where two workers meet: one value of many, which no lock is worth.
#[derive(Debug, Default)]
struct Average {
    value: AtomicU64,
    at: AtomicU64,
}

impl Average {
    fn get(&self, decay: f64, now: u64) -> f64 {
        let value = f64::from_bits(self.value.load(Relaxed));
        if value == 0.0 {
            return 0.0;
        }
        let passed = now.saturating_sub(self.at.load(Relaxed));
        if passed == 0 { value } else { value * (decay * passed as f64).exp() }
    }

    fn add(&self, value: f64, decay: f64, now: u64) {
        let value = value + self.get(decay, now);
        self.value.store(value.to_bits(), Relaxed);
        self.at.store(now, Relaxed);
    }
}

impl Averages {
    /// `alpha` is brought to between 0 and 1.
    pub(crate) fn new(alpha: f64, longest: Duration) -> Self {
        let alpha = alpha.clamp(1e-9, 1.0 - 1e-9);
        Self {
            decay: (1.0 - alpha).ln() / 1000.0,
            alpha,
            nanos: Average::default(),
            longest: longest.as_nanos() as f64,
        }
    }

    /// `now` is in [`crate::clock::millis`].
    pub(crate) fn record(&self, host: &Host, outcome: Outcome, took: Duration, now: u64) {
        let own = &host.record().averages;
        let nanos = took.as_nanos() as f64 * self.alpha;
        self.nanos.add(nanos, self.decay, now);
        own.nanos.add(nanos, self.decay, now);
        own.requests.add(self.alpha, self.decay, now);
        match outcome {
            Outcome::Status(400..500) => own.client_errors.add(self.alpha, self.decay, now),
            Outcome::Status(..400) | Outcome::Unknown => {}
            _ => own.server_errors.add(self.alpha, self.decay, now),
        }
    }

    pub(crate) fn of(&self, host: &Host, now: u64) -> Seen {
        let own = &host.record().averages;
        let nanos = [&own.nanos, &self.nanos]
            .into_iter()
            .map(|average| average.get(self.decay, now))
            .find(|&nanos| nanos > 0.0);
        Seen {
            nanos: nanos.unwrap_or(self.longest),
            requests: own.requests.get(self.decay, now),
            client_errors: own.client_errors.get(self.decay, now),
            server_errors: own.server_errors.get(self.decay, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::testing::hosts;

    #[test]
    fn a_value_fades_as_mosns_does() {
        let alpha = 0.25;
        let averages = Averages::new(alpha, Duration::from_secs(10));
        let host = &hosts(&[1])[0];
        assert_eq!(averages.of(host, 1).nanos, 10e9);
        averages.record(host, Outcome::Status(200), Duration::from_nanos(1000), 1);
        assert!((averages.of(host, 1).nanos - 250.0).abs() < 1e-6);
        assert!((averages.of(host, 2001).nanos - 250.0 * 0.75 * 0.75).abs() < 1e-6);
        averages.record(host, Outcome::Status(503), Duration::from_nanos(100), 1001);
        let seen = averages.of(host, 1001);
        assert!((seen.nanos - (25.0 + 250.0 * 0.75)).abs() < 1e-6);
        assert!((seen.requests - (0.25 + 0.25 * 0.75)).abs() < 1e-9);
        assert!((seen.server_errors - 0.25).abs() < 1e-9 && seen.client_errors == 0.0);
    }

    #[test]
    fn a_host_without_requests_has_its_clusters_average() {
        let averages = Averages::new(0.5, Duration::from_secs(10));
        let hosts = hosts(&[1, 1]);
        averages.record(&hosts[0], Outcome::Status(200), Duration::from_nanos(500), 1);
        assert!((averages.of(&hosts[1], 1).nanos - 250.0).abs() < 1e-6);
    }
}
