use std::sync::Arc;

use mosn_config::model::BalancingSpec;

use super::{ChooseContext, RoundRobin, Terms, alias::Alias};
use crate::Host;

/// Hosts that are compared at most: with more the result hardly changes, and every request pays for it.
const MAX_CHOICES: u32 = 64;

/// Of some hosts that are drawn by weight, the one with the least to do for its weight.
///
/// MOSN ignores health here where weights are equal, and takes turns by a queue under a lock where
/// they are not. Drawing by weight and comparing what is in flight per weight comes to the same
/// shares: by weight while nothing is in flight, and towards equal load per weight under load.
#[derive(Debug)]
pub(crate) struct Least {
    load: fn(&Host) -> u32,
    choices: u32,
    bias: f64,
    draw: Alias,
    otherwise: RoundRobin,
}

impl Least {
    /// `load` is what is compared: requests or connections.
    pub(crate) fn new(spec: &BalancingSpec, hosts: &[Arc<Host>], load: fn(&Host) -> u32) -> Self {
        Self {
            load,
            choices: spec.choice_count.min(MAX_CHOICES),
            bias: spec.active_request_bias,
            draw: Alias::new(hosts),
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
        let mut best: Option<(f64, &Arc<Host>)> = None;
        let mut left = self.choices;
        // Hosts that may not be taken are drawn again, but not for ever.
        for _ in 0..self.choices.saturating_mul(2) {
            if left == 0 {
                break;
            }
            let host = &hosts[self.draw.draw()];
            if !terms.take(host) || !terms.slow_start_takes(host, cx) {
                continue;
            }
            left -= 1;
            let load = self.weighed(host);
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, host));
            }
        }
        best.map(|(_, host)| host).or_else(|| self.otherwise.pick(hosts, terms))
    }

    /// 0 while there is nothing in flight, so that weights alone decide then.
    fn weighed(&self, host: &Host) -> f64 {
        let load = f64::from((self.load)(host));
        let load = if self.bias == 1.0 { load } else { (load + 1.0).powf(self.bias) - 1.0 };
        load / f64::from(host.weight)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::balancer::testing::{PLAIN, hosts, index_of};

    fn balancer(spec: &BalancingSpec, hosts: &[Arc<Host>]) -> Least {
        Least::new(spec, hosts, Host::active_requests)
    }

    #[test]
    fn the_less_busy_of_two_takes_three_quarters() {
        let hosts = hosts(&[1, 1]);
        hosts[0].requests().store(5, Relaxed);
        let balancer = balancer(&BalancingSpec::default(), &hosts);
        let busy = (0..4000)
            .filter(|_| {
                let chosen = balancer.pick(&hosts, &mut ChooseContext::default(), PLAIN).unwrap();
                index_of(&hosts, chosen) == 0
            })
            .count();
        // Only where both draws are the busy one.
        assert!((850..1150).contains(&busy), "{busy}");
    }

    #[test]
    fn load_settles_in_proportion_to_weight() {
        let hosts = hosts(&[1, 3]);
        let balancer = balancer(&BalancingSpec::default(), &hosts);
        for _ in 0..400 {
            let chosen = balancer.pick(&hosts, &mut ChooseContext::default(), PLAIN).unwrap();
            chosen.requests().fetch_add(1, Relaxed);
        }
        let light = hosts[0].active_requests();
        assert!((90..=110).contains(&light), "{light}");
    }

    #[test]
    fn a_choice_among_very_many_ends() {
        let hosts = hosts(&[1, 1, 1]);
        hosts[0].requests().store(5, Relaxed);
        hosts[2].requests().store(5, Relaxed);
        let spec = BalancingSpec { choice_count: u32::MAX, ..BalancingSpec::default() };
        let balancer = balancer(&spec, &hosts);
        let chosen = balancer.pick(&hosts, &mut ChooseContext::default(), PLAIN).unwrap();
        assert_eq!(index_of(&hosts, chosen), 1);
    }

    #[test]
    fn without_bias_load_does_not_count() {
        let hosts = hosts(&[1, 1]);
        hosts[0].requests().store(500, Relaxed);
        let spec = BalancingSpec { active_request_bias: 0.0, ..BalancingSpec::default() };
        let balancer = balancer(&spec, &hosts);
        let busy = (0..2000)
            .filter(|_| {
                balancer.pick(&hosts, &mut ChooseContext::default(), PLAIN).unwrap().id == hosts[0].id
            })
            .count();
        assert!((880..1120).contains(&busy), "{busy}");
    }
}
