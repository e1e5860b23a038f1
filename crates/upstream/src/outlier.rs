//! Outlier detection: hosts that fail requests are left out for a while.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use mosn_config::model::OutlierSpec;

use crate::{Health, Host, Outcome, clock};

/// A cluster's detection. Outlives changes of its hosts.
#[derive(Debug)]
pub(crate) struct Outlier {
    spec: OutlierSpec,
    /// Hosts there are, and hosts that are left out; brought up to date by [`Self::sweep`].
    hosts: AtomicU32,
    ejected: AtomicU32,
    /// Whether a host was left out that [`Self::news`] has not told of.
    news: AtomicBool,
}

/// What is kept of a host.
#[derive(Debug, Default)]
pub(crate) struct HostOutlier {
    consecutive_5xx: AtomicU32,
    consecutive_gateway: AtomicU32,
    consecutive_local: AtomicU32,
    /// Since the last sweep.
    requests: AtomicU32,
    successes: AtomicU32,
    /// How often in a row it was left out; less by one for each sweep that finds it in.
    times: AtomicU32,
    /// When it was left out (see [`clock`]).
    since: AtomicU64,
    /// Why it was left out, until that was told; 0 = nothing to tell (see [`OutlierReason::ALL`]).
    untold: AtomicU8,
}

/// What became of a host.
#[derive(Clone, Debug)]
pub struct OutlierEvent {
    /// The host.
    pub host: Arc<Host>,
    /// Why it is left out; `None` = it is back.
    pub ejected: Option<OutlierReason>,
}

/// Why a host is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutlierReason {
    /// `consecutive_5xx`.
    Consecutive5xx,
    /// `consecutive_gateway_failure`.
    ConsecutiveGatewayFailure,
    /// `consecutive_local_origin_failure`.
    ConsecutiveLocalOriginFailure,
    /// Its success rate is far below that of the others.
    SuccessRate,
    /// `failure_percentage_threshold`.
    FailurePercentage,
}

impl OutlierReason {
    /// In the order of their numbers.
    const ALL: [Self; 5] = [
        Self::Consecutive5xx,
        Self::ConsecutiveGatewayFailure,
        Self::ConsecutiveLocalOriginFailure,
        Self::SuccessRate,
        Self::FailurePercentage,
    ];
}

impl fmt::Display for OutlierReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consecutive5xx => "too many 5xx in a row",
            Self::ConsecutiveGatewayFailure => "too many gateway failures in a row",
            Self::ConsecutiveLocalOriginFailure => "too many lost or refused requests in a row",
            Self::SuccessRate => "its success rate is far below that of the others",
            Self::FailurePercentage => "too many of its requests fail",
        })
    }
}

impl Outlier {
    pub(crate) fn new(spec: OutlierSpec) -> Self {
        Self { spec, hosts: AtomicU32::new(0), ejected: AtomicU32::new(0), news: AtomicBool::new(false) }
    }

    pub(crate) fn set_hosts(&self, hosts: &[Arc<Host>]) {
        self.hosts.store(hosts.len() as u32, Relaxed);
        let ejected = hosts.iter().filter(|host| is_out(host)).count();
        self.ejected.store(ejected as u32, Relaxed);
    }

    /// Takes note of a request's end, and leaves the host out if that was one failure too many.
    pub(crate) fn record(&self, host: &Host, outcome: Outcome, now: Instant) {
        let own = &host.record().outlier;
        own.requests.fetch_add(1, Relaxed);
        let (server, gateway, local) = match outcome {
            Outcome::Status(502..=504) => (true, true, false),
            Outcome::Status(500..) => (true, false, false),
            Outcome::TimedOut => (true, true, true),
            Outcome::ConnectFailed | Outcome::Reset => (true, true, true),
            Outcome::Status(_) | Outcome::Unknown => (false, false, false),
        };
        if !server {
            own.successes.fetch_add(1, Relaxed);
        }
        let rules = [
            (server, &own.consecutive_5xx, self.spec.consecutive_5xx, OutlierReason::Consecutive5xx),
            (
                gateway,
                &own.consecutive_gateway,
                self.spec.consecutive_gateway_failure,
                OutlierReason::ConsecutiveGatewayFailure,
            ),
            (
                local,
                &own.consecutive_local,
                self.spec.consecutive_local_origin_failure,
                OutlierReason::ConsecutiveLocalOriginFailure,
            ),
        ];
        for (failed, count, limit, reason) in rules {
            if !failed {
                // Most requests succeed, and a load costs less than a store to a shared line.
                if count.load(Relaxed) != 0 {
                    count.store(0, Relaxed);
                }
            } else if count.fetch_add(1, Relaxed) + 1 >= limit && limit != 0 {
                count.store(0, Relaxed);
                if self.eject(host, now) {
                    own.untold.store(reason as u8 + 1, Relaxed);
                    self.news.store(true, Release);
                }
            }
        }
    }

    /// Whether it did: as many may be out as the percentage allows, and one in any case.
    fn eject(&self, host: &Host, now: Instant) -> bool {
        let allowed = match self.spec.max_ejection_percent {
            0 => 0,
            percent => (self.hosts.load(Relaxed) * u32::from(percent) / 100).max(1),
        };
        let took = self.ejected.fetch_update(Relaxed, Relaxed, |out| (out < allowed).then(|| out + 1));
        if took.is_err() {
            return false;
        }
        if !host.set_health(Health::FAILED_OUTLIER_CHECK, true, now) {
            self.ejected.fetch_sub(1, Relaxed);
            return false;
        }
        let own = &host.record().outlier;
        own.times.fetch_add(1, Relaxed);
        own.since.store(clock::millis(now), Relaxed);
        true
    }

    /// How long a host is left out that was so many times in a row.
    fn ejection(&self, times: u32) -> Duration {
        let longest = self.spec.max_ejection_time.max(self.spec.base_ejection_time);
        self.spec.base_ejection_time.checked_mul(times).map_or(longest, |time| time.min(longest))
    }

    pub(crate) fn ejected(&self) -> u32 {
        self.ejected.load(Relaxed)
    }

    /// The hosts that [`Self::record`] has left out since this was last asked.
    pub(crate) fn news(&self, hosts: &[Arc<Host>]) -> Vec<OutlierEvent> {
        // Most of the time there is none, and asking must not cost a store.
        if !self.news.load(Relaxed) || !self.news.swap(false, Acquire) {
            return Vec::new();
        }
        let untold = |host: &Arc<Host>| {
            let reason = host.record().outlier.untold.swap(0, Relaxed).checked_sub(1)?;
            let ejected = OutlierReason::ALL.get(usize::from(reason)).copied();
            Some(OutlierEvent { host: host.clone(), ejected })
        };
        hosts.iter().filter_map(untold).collect()
    }

    /// Lets hosts back in whose time is over, and compares what became of the others' requests. To
    /// be called each `interval`.
    pub(crate) fn sweep(&self, hosts: &[Arc<Host>], now: Instant) -> Vec<OutlierEvent> {
        let mut events = Vec::new();
        let millis = clock::millis(now);
        for host in hosts {
            let own = &host.record().outlier;
            let times = own.times.load(Relaxed);
            if !is_out(host) {
                own.times.store(times.saturating_sub(1), Relaxed);
                continue;
            }
            let out = Duration::from_millis(millis.saturating_sub(own.since.load(Relaxed)));
            if out >= self.ejection(times) && host.set_health(Health::FAILED_OUTLIER_CHECK, false, now) {
                for count in [&own.consecutive_5xx, &own.consecutive_gateway, &own.consecutive_local] {
                    count.store(0, Relaxed);
                }
                events.push(OutlierEvent { host: host.clone(), ejected: None });
            }
        }
        self.set_hosts(hosts);
        self.compare(hosts, now, &mut events);
        events
    }

    fn compare(&self, hosts: &[Arc<Host>], now: Instant, events: &mut Vec<OutlierEvent>) {
        let counted: Vec<_> = hosts
            .iter()
            .map(|host| {
                let own = &host.record().outlier;
                let (requests, successes) = (own.requests.swap(0, Relaxed), own.successes.swap(0, Relaxed));
                (host, requests, f64::from(successes.min(requests)) / f64::from(requests.max(1)))
            })
            .filter(|(host, requests, _)| *requests > 0 && !is_out(host))
            .collect();
        let mut eject = |host: &Arc<Host>, reason| {
            if !is_out(host) && self.eject(host, now) {
                events.push(OutlierEvent { host: host.clone(), ejected: Some(reason) });
            }
        };
        let spec = &self.spec;
        let with_volume =
            |volume: u32| counted.iter().filter(move |(_, requests, _)| *requests >= volume.max(1));
        if spec.success_rate_stdev_factor != 0 {
            let rates: Vec<f64> =
                with_volume(spec.success_rate_request_volume).map(|&(_, _, rate)| rate).collect();
            if !rates.is_empty() && rates.len() >= spec.success_rate_minimum_hosts as usize {
                let mean = rates.iter().sum::<f64>() / rates.len() as f64;
                let variance =
                    rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / rates.len() as f64;
                let least = mean - variance.sqrt() * f64::from(spec.success_rate_stdev_factor) / 1000.0;
                for (host, _, _) in
                    with_volume(spec.success_rate_request_volume).filter(|(_, _, rate)| *rate < least)
                {
                    eject(host, OutlierReason::SuccessRate);
                }
            }
        }
        if spec.failure_percentage_threshold != 0 {
            let volume = spec.failure_percentage_request_volume;
            if with_volume(volume).count() >= spec.failure_percentage_minimum_hosts as usize {
                let least = 1.0 - f64::from(spec.failure_percentage_threshold) / 100.0;
                for (host, _, _) in with_volume(volume).filter(|(_, _, rate)| *rate <= least) {
                    eject(host, OutlierReason::FailurePercentage);
                }
            }
        }
    }
}

fn is_out(host: &Host) -> bool {
    host.health().contains(Health::FAILED_OUTLIER_CHECK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::testing::hosts;

    fn outlier(spec: OutlierSpec, hosts: &[Arc<Host>]) -> Outlier {
        let outlier = Outlier::new(spec);
        outlier.set_hosts(hosts);
        outlier
    }

    fn half() -> OutlierSpec {
        OutlierSpec { max_ejection_percent: 50, ..OutlierSpec::default() }
    }

    #[test]
    fn failures_in_a_row_leave_a_host_out_and_a_success_starts_anew() {
        let hosts = hosts(&[1; 4]);
        let outlier = outlier(half(), &hosts);
        let now = Instant::now();
        let fail = |outcome, times| (0..times).for_each(|_| outlier.record(&hosts[0], outcome, now));
        fail(Outcome::Status(500), 4);
        fail(Outcome::Status(200), 1);
        fail(Outcome::Reset, 4);
        assert!(hosts[0].is_healthy());
        fail(Outcome::Status(503), 1);
        assert!(!hosts[0].is_healthy());
        assert!(hosts[1..].iter().all(|host| host.is_healthy()));
    }

    #[test]
    fn the_three_rules_count_different_failures() {
        let rules = [
            (OutlierSpec { consecutive_5xx: 1, ..none() }, [true, true, true, true, true, false]),
            (
                OutlierSpec { consecutive_gateway_failure: 1, ..none() },
                [false, true, true, true, true, false],
            ),
            (
                OutlierSpec { consecutive_local_origin_failure: 1, ..none() },
                [false, false, true, true, true, false],
            ),
        ];
        let outcomes = [
            Outcome::Status(500),
            Outcome::Status(503),
            Outcome::ConnectFailed,
            Outcome::Reset,
            Outcome::TimedOut,
            Outcome::Status(404),
        ];
        for (spec, expected) in rules {
            let hosts = hosts(&[1; 6]);
            let outlier = outlier(spec, &hosts);
            for (host, outcome) in hosts.iter().zip(outcomes) {
                outlier.record(host, outcome, Instant::now());
            }
            let out: Vec<_> = hosts.iter().map(|host| is_out(host)).collect();
            assert_eq!(out, expected, "{spec:?}");
        }
    }

    fn none() -> OutlierSpec {
        OutlierSpec {
            consecutive_5xx: 0,
            consecutive_local_origin_failure: 0,
            max_ejection_percent: 100,
            success_rate_stdev_factor: 0,
            ..OutlierSpec::default()
        }
    }

    #[test]
    fn no_more_are_left_out_than_allowed() {
        for (percent, expected) in [(0, 0), (10, 1), (50, 2), (100, 4)] {
            let hosts = hosts(&[1; 4]);
            let spec = OutlierSpec { max_ejection_percent: percent, ..OutlierSpec::default() };
            let outlier = outlier(spec, &hosts);
            for host in &hosts {
                (0..20).for_each(|_| outlier.record(host, Outcome::Reset, Instant::now()));
            }
            assert_eq!(hosts.iter().filter(|host| is_out(host)).count(), expected, "{percent}");
        }
    }

    #[test]
    fn a_host_comes_back_and_stays_out_longer_each_time() {
        let hosts = hosts(&[1; 2]);
        let outlier = outlier(half(), &hosts);
        let mut now = Instant::now();
        let mut times_out = Vec::new();
        for _ in 0..3 {
            (0..5).for_each(|_| outlier.record(&hosts[0], Outcome::Reset, now));
            assert!(is_out(&hosts[0]));
            let start = now;
            while is_out(&hosts[0]) {
                now += Duration::from_secs(10);
                outlier.sweep(&hosts, now);
            }
            times_out.push((now - start).as_secs());
        }
        assert_eq!(times_out, [30, 60, 90]);
        // Every sweep that finds it in makes the next time shorter again.
        (0..3).for_each(|_| drop(outlier.sweep(&hosts, now)));
        (0..5).for_each(|_| outlier.record(&hosts[0], Outcome::Reset, now));
        assert!(outlier.sweep(&hosts, now + Duration::from_secs(29)).is_empty());
        let events = outlier.sweep(&hosts, now + Duration::from_secs(30));
        assert!(events.len() == 1 && events[0].ejected.is_none());
        assert_eq!(outlier.ejection(1000), Duration::from_secs(300));
    }

    #[test]
    fn a_host_that_fails_far_more_than_the_others_is_left_out() {
        for (spec, reason) in [
            (OutlierSpec { success_rate_stdev_factor: 1900, ..none() }, OutlierReason::SuccessRate),
            (OutlierSpec { failure_percentage_threshold: 30, ..none() }, OutlierReason::FailurePercentage),
        ] {
            let hosts = hosts(&[1; 6]);
            let outlier = outlier(spec, &hosts);
            for (index, host) in hosts.iter().enumerate() {
                for n in 0..100 {
                    let failed = n % 2 == 0 && index == 2;
                    outlier.record(host, Outcome::Status(if failed { 500 } else { 200 }), Instant::now());
                }
            }
            let events = outlier.sweep(&hosts, Instant::now());
            assert_eq!(events.len(), 1, "{reason:?}");
            assert_eq!((events[0].host.id, events[0].ejected), (hosts[2].id, Some(reason)));
            // The next interval starts from nothing.
            hosts[2].set_health(Health::FAILED_OUTLIER_CHECK, false, Instant::now());
            assert!(outlier.sweep(&hosts, Instant::now()).is_empty());
        }
    }

    #[test]
    fn too_few_requests_say_nothing() {
        let hosts = hosts(&[1; 6]);
        let spec = OutlierSpec { success_rate_stdev_factor: 1900, failure_percentage_threshold: 1, ..none() };
        let outlier = outlier(spec, &hosts);
        (0..40).for_each(|_| outlier.record(&hosts[0], Outcome::Status(500), Instant::now()));
        assert!(outlier.sweep(&hosts, Instant::now()).is_empty());
    }
}
