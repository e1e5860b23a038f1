//! The part of its weight that a new or recovered host has by now.

use std::time::Instant;

use mosn_config::model::SlowStartSpec;

use crate::{Host, clock};

/// Above 0, at most 1.
pub(crate) fn part(spec: &SlowStartSpec, host: &Host, now: Instant) -> f64 {
    let window = spec.window.as_secs_f64();
    let passed = clock::millis(now).saturating_sub(host.fresh_since()) as f64 / 1000.0;
    let part = passed.max(1.0) / window;
    // Also where there is no window.
    if part >= 1.0 {
        return 1.0;
    }
    let part = if spec.aggression == 1.0 || spec.aggression <= 0.0 {
        part
    } else {
        part.powf(1.0 / spec.aggression)
    };
    part.max(spec.min_weight).min(1.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balancer::testing::hosts;

    #[test]
    fn the_part_grows_to_the_whole() {
        let host = &hosts(&[1])[0];
        let spec = SlowStartSpec { window: Duration::from_secs(20), aggression: 1.0, min_weight: 0.1 };
        let at =
            |spec: &SlowStartSpec, seconds| part(spec, host, Instant::now() + Duration::from_secs(seconds));
        assert_eq!(at(&spec, 0), 0.1);
        assert!((at(&spec, 5) - 0.25).abs() < 0.01);
        assert_eq!(at(&spec, 20), 1.0);
        let eager = SlowStartSpec { aggression: 2.0, ..spec };
        assert!((at(&eager, 5) - 0.5).abs() < 0.01);
        assert_eq!(at(&SlowStartSpec { window: Duration::ZERO, ..spec }, 0), 1.0);
    }
}
