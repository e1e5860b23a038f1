//! Active health checks: when to ask next, and what the answers mean. Asking is for others.

use std::time::Duration;

use mosn_config::model::{HealthCheckSpec, HttpProbeSpec};

/// The checks of one host. Survives changes of the host's settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckState {
    good: u32,
    bad: u32,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the host is healthy now.
    pub healthy: bool,
    /// Whether that is new.
    pub changed: bool,
}

impl CheckState {
    /// Takes an answer: good, or bad or missing. `healthy` says what the host counts as until now;
    /// where the verdict has changed, the caller sets the host's flag.
    pub fn answer(&mut self, good: bool, healthy: bool, spec: &HealthCheckSpec) -> Verdict {
        let (count, other, threshold) = match good {
            true => (&mut self.good, &mut self.bad, spec.healthy_threshold),
            false => (&mut self.bad, &mut self.good, spec.unhealthy_threshold),
        };
        *other = 0;
        if good == healthy {
            *count = 0;
            return Verdict { healthy, changed: false };
        }
        *count += 1;
        let changed = *count >= threshold.max(1);
        if changed {
            *count = 0;
        }
        Verdict { healthy: healthy != changed, changed }
    }
}

/// How long to wait before the first question.
#[must_use]
pub fn first_check(spec: &HealthCheckSpec) -> Duration {
    spec.initial_delay
}

/// How long to wait from an answer to the next question.
#[must_use]
pub fn next_check(spec: &HealthCheckSpec) -> Duration {
    spec.interval + spec.interval_jitter.mul_f64(fastrand::f64())
}

/// Whether a status is a good answer.
#[must_use]
pub fn good_status(spec: &HttpProbeSpec, status: u16) -> bool {
    if spec.codes.is_empty() {
        return status == 200;
    }
    spec.codes.iter().any(|&(first, last)| (first..=last).contains(&status))
}

/// The line that the event log has for each check, in MOSN's format, without a newline.
#[must_use]
pub fn event_log_line(unix_seconds: u64, address: &str, good: bool, verdict: Verdict) -> String {
    format!(
        "time:{unix_seconds},host:{address},health_status:{},current_result:{},status_changed:{}",
        u8::from(verdict.healthy),
        u8::from(good),
        u8::from(verdict.changed)
    )
}

#[cfg(test)]
mod tests {
    use mosn_config::model::ProbeSpec;

    use super::*;

    fn spec(healthy_threshold: u32, unhealthy_threshold: u32) -> HealthCheckSpec {
        HealthCheckSpec {
            probe: ProbeSpec::Tcp,
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(15),
            interval_jitter: Duration::from_millis(5),
            initial_delay: Duration::from_secs(1),
            healthy_threshold,
            unhealthy_threshold,
            service_name: "s".into(),
            event_log: "".into(),
            mark: 0,
            bind_address: None,
        }
    }

    /// What a host is after each of these answers, starting healthy.
    fn after(spec: &HealthCheckSpec, answers: &str) -> String {
        let (mut state, mut healthy) = (CheckState::default(), true);
        let verdicts = answers.chars().map(|answer| {
            let verdict = state.answer(answer == '+', healthy, spec);
            assert_eq!(verdict.changed, verdict.healthy != healthy);
            healthy = verdict.healthy;
            if healthy { 'h' } else { 'u' }
        });
        verdicts.collect()
    }

    #[test]
    fn answers_in_a_row_change_a_hosts_health() {
        assert_eq!(after(&spec(1, 1), "-+-"), "uhu");
        assert_eq!(after(&spec(2, 3), "--+--+---+-++"), "hhhhhhhhuuuuh");
        // A threshold of 0 would never be met.
        assert_eq!(after(&spec(0, 0), "-+"), "uh");
    }

    #[test]
    fn statuses_are_good_by_range_or_only_200() {
        let mut probe = HttpProbeSpec {
            port: 0,
            tls: false,
            method: "GET".into(),
            path: "/".into(),
            host: String::new(),
            codes: vec![],
        };
        assert!(good_status(&probe, 200) && !good_status(&probe, 204));
        probe.codes = vec![(200, 299), (401, 401)];
        assert!(good_status(&probe, 299) && good_status(&probe, 401) && !good_status(&probe, 300));
    }

    #[test]
    fn waits_have_jitter() {
        let spec = spec(1, 1);
        assert_eq!(first_check(&spec), spec.initial_delay);
        for _ in 0..100 {
            assert!((spec.interval..spec.interval + spec.interval_jitter).contains(&next_check(&spec)));
        }
    }

    #[test]
    fn the_event_log_is_mosns() {
        let verdict = Verdict { healthy: false, changed: true };
        let line = event_log_line(12, "10.0.0.1:80", false, verdict);
        assert_eq!(line, "time:12,host:10.0.0.1:80,health_status:0,current_result:0,status_changed:1");
    }
}
