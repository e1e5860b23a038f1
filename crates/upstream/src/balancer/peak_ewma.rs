use std::{sync::Arc, time::Instant};

use mosn_config::model::BalancingSpec;

use super::{ChooseContext, RoundRobin, Terms};
use crate::{Host, clock, observe::Averages};

/// Of some hosts that are drawn, the one with the lowest score: the time its requests take, times
/// what it has in flight, over how well it does, over its weight.
#[derive(Debug)]
pub(crate) struct PeakEwma {
    choices: u32,
    request_bias: f64,
    client_error_bias: f64,
    server_error_bias: f64,
    otherwise: RoundRobin,
}

/// However badly a host does, it is not taken for worse than this.
const LEAST_SUCCESS: f64 = 0.1;

impl PeakEwma {
    pub(crate) fn new(spec: &BalancingSpec, hosts: &[Arc<Host>]) -> Self {
        Self {
            choices: spec.choice_count,
            request_bias: spec.active_request_bias,
            client_error_bias: spec.client_error_bias,
            server_error_bias: spec.server_error_bias,
            otherwise: RoundRobin::new(hosts.len()),
        }
    }

    pub(crate) fn pick<'a>(
        &self,
        hosts: &'a [Arc<Host>],
        cx: &mut ChooseContext<'_>,
        terms: Terms<'_>,
    ) -> Option<&'a Arc<Host>> {
        if hosts.is_empty() {
            return None;
        }
        let now = clock::millis(*cx.now.get_or_insert_with(Instant::now));
        let start = fastrand::usize(0..hosts.len());
        let mut best: Option<(f64, &Arc<Host>)> = None;
        let mut ask = |host: &'a Arc<Host>| {
            if terms.take(host) && terms.slow_start_takes(host, cx) {
                let score = self.score(host, terms.averages, now);
                if best.is_none_or(|(least, _)| score < least) {
                    best = Some((score, host));
                }
            }
        };
        if hosts.len() <= self.choices as usize {
            super::around(hosts, start).for_each(|(_, host)| ask(host));
        } else {
            (0..self.choices).for_each(|_| ask(&hosts[fastrand::usize(0..hosts.len())]));
        }
        best.map(|(_, host)| host).or_else(|| self.otherwise.pick(hosts, terms))
    }

    fn score(&self, host: &Host, averages: Option<&Averages>, now: u64) -> f64 {
        let load = power(f64::from(host.active_requests()) + 1.0, self.request_bias);
        let weight = f64::from(host.weight);
        let Some(averages) = averages else { return load / weight };
        let seen = averages.of(host, now);
        let rate = |errors: f64| 1.0 - errors / (seen.requests + 1.0);
        let success = power(rate(seen.client_errors), self.client_error_bias)
            * power(rate(seen.server_errors), self.server_error_bias);
        seen.nanos * load / success.max(LEAST_SUCCESS) / weight
    }
}

/// Most biases are 1.
fn power(base: f64, exponent: f64) -> f64 {
    if exponent == 1.0 { base } else { base.powf(exponent) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        Outcome,
        balancer::testing::{PLAIN, hosts},
    };

    #[test]
    fn the_fast_and_the_sound_are_preferred() {
        let spec = BalancingSpec { choice_count: 3, ..BalancingSpec::default() };
        let start = Instant::now() + Duration::from_secs(1);
        for (slow, failing) in [(true, false), (false, true)] {
            let hosts = hosts(&[1, 1, 1]);
            let averages = Averages::new(spec.ewma_alpha, Duration::from_secs(10));
            for second in 0..20 {
                for (index, host) in hosts.iter().enumerate() {
                    let took = if slow && index != 1 { 50 } else { 5 };
                    let status = if failing && index != 1 { 500 } else { 200 };
                    let now = clock::millis(start + Duration::from_secs(second));
                    averages.record(host, Outcome::Status(status), Duration::from_millis(took), now);
                }
            }
            let terms = Terms { averages: Some(&averages), ..PLAIN };
            let balancer = PeakEwma::new(&spec, &hosts);
            for _ in 0..20 {
                let now = Some(start + Duration::from_secs(20));
                let cx = &mut ChooseContext { now, ..ChooseContext::default() };
                assert_eq!(balancer.pick(&hosts, cx, terms).unwrap().id, hosts[1].id, "{slow} {failing}");
            }
        }
    }
}
