//! Choosing one of a cluster's hosts.

mod random;
mod round_robin;

use std::{collections::BTreeMap, sync::Arc};

use mosn_config::model::{BalancerKind, Name};

use self::{random::Random, round_robin::RoundRobin};
use crate::{Host, HostId};

/// What is known of the request when a host is chosen.
#[derive(Debug, Default)]
pub struct ChooseContext<'a> {
    /// Of what the route's hash policy names, for consistent-hash balancers.
    pub hash: Option<u64>,
    /// Hosts that were already tried for this request. Another one is chosen if there is one.
    pub previous: &'a [HostId],
    /// Labels that the host must have, for subset balancing.
    pub metadata: Option<&'a BTreeMap<Name, Name>>,
    /// Where balancers that go on from their last choice keep it; `None` at first.
    pub position: Option<u32>,
}

#[derive(Debug)]
pub(crate) enum Balancer {
    RoundRobin(RoundRobin),
    Random(Random),
}

impl Balancer {
    pub(crate) fn new(kind: BalancerKind, hosts: &[Arc<Host>]) -> Self {
        match kind {
            BalancerKind::RoundRobin => Self::RoundRobin(RoundRobin::new(hosts.len())),
            BalancerKind::Random => Self::Random(Random::new(hosts.len())),
        }
    }

    /// A healthy host, another than those of `cx.previous` if there is one.
    pub(crate) fn choose<'a>(
        &self,
        hosts: &'a [Arc<Host>],
        cx: &mut ChooseContext<'_>,
    ) -> Option<&'a Arc<Host>> {
        let first = self.pick(hosts, cx)?;
        if cx.previous.is_empty() || !cx.previous.contains(&first.id) {
            return Some(first);
        }
        // Asking again keeps the balancer's shares among the others: the neighbour of a host that
        // fails must not get all of its retries.
        for _ in 0..4 {
            let host = self.pick(hosts, cx)?;
            if !cx.previous.contains(&host.id) {
                return Some(host);
            }
        }
        let start = fastrand::usize(0..hosts.len());
        let (before, after) = hosts.split_at(start);
        let other =
            after.iter().chain(before).find(|host| host.is_healthy() && !cx.previous.contains(&host.id));
        Some(other.unwrap_or(first))
    }

    fn pick<'a>(&self, hosts: &'a [Arc<Host>], _: &mut ChooseContext<'_>) -> Option<&'a Arc<Host>> {
        match self {
            Self::RoundRobin(balancer) => balancer.pick(hosts),
            Self::Random(balancer) => balancer.pick(hosts),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use mosn_config::model::HostSpec;

    use super::*;

    /// Hosts `10.0.0.1:80`, `10.0.0.2:80`... with these weights.
    pub(crate) fn hosts(weights: &[u32]) -> Vec<Arc<Host>> {
        let host = |(index, &weight): (usize, &u32)| {
            let spec = HostSpec {
                address: format!("10.0.{}.{}:80", (index + 1) / 256, (index + 1) % 256).into(),
                hostname: "".into(),
                weight,
                metadata: None,
                tls_disable: false,
            };
            Host::new(&spec, 0, None).unwrap()
        };
        weights.iter().enumerate().map(host).collect()
    }

    /// How often each host is chosen in `times` choices.
    pub(crate) fn counts(balancer: &Balancer, hosts: &[Arc<Host>], times: usize) -> Vec<usize> {
        let mut counts = vec![0; hosts.len()];
        for _ in 0..times {
            let chosen = balancer.choose(hosts, &mut ChooseContext::default()).unwrap();
            counts[hosts.iter().position(|host| Arc::ptr_eq(host, chosen)).unwrap()] += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};
    use crate::Health;

    const KINDS: [BalancerKind; 2] = [BalancerKind::RoundRobin, BalancerKind::Random];

    #[test]
    fn unhealthy_hosts_are_never_chosen_and_without_a_healthy_one_there_is_none() {
        for kind in KINDS {
            let hosts = hosts(&[1; 3]);
            let balancer = Balancer::new(kind, &hosts);
            hosts[1].set_health(Health::FAILED_ACTIVE_CHECK, true);
            let counts = counts(&balancer, &hosts, 600);
            assert!(counts[0] > 200 && counts[1] == 0 && counts[2] > 200, "{kind:?} {counts:?}");
            for host in &hosts {
                host.set_health(Health::FAILED_OUTLIER_CHECK, true);
            }
            assert!(balancer.choose(&hosts, &mut ChooseContext::default()).is_none(), "{kind:?}");
        }
    }

    #[test]
    fn a_retry_goes_to_another_host_while_there_is_one() {
        for kind in KINDS {
            let hosts = hosts(&[1; 3]);
            let balancer = Balancer::new(kind, &hosts);
            let previous = [hosts[0].id, hosts[2].id];
            for _ in 0..50 {
                let mut cx = ChooseContext { previous: &previous, ..ChooseContext::default() };
                assert_eq!(balancer.choose(&hosts, &mut cx).unwrap().id, hosts[1].id, "{kind:?}");
            }
            hosts[1].set_health(Health::FAILED_ACTIVE_CHECK, true);
            let mut cx = ChooseContext { previous: &previous, ..ChooseContext::default() };
            assert!(previous.contains(&balancer.choose(&hosts, &mut cx).unwrap().id), "{kind:?}");
        }
    }

    #[test]
    fn retries_of_one_host_spread_over_the_others() {
        for kind in KINDS {
            let hosts = hosts(&[1; 4]);
            let balancer = Balancer::new(kind, &hosts);
            let previous = [hosts[0].id];
            let mut counts = [0; 4];
            for _ in 0..900 {
                let mut cx = ChooseContext { previous: &previous, ..ChooseContext::default() };
                let chosen = balancer.choose(&hosts, &mut cx).unwrap();
                counts[hosts.iter().position(|host| host.id == chosen.id).unwrap()] += 1;
            }
            assert!(counts[0] == 0 && counts[1..].iter().all(|&count| count > 150), "{kind:?} {counts:?}");
        }
    }

    #[test]
    fn no_hosts_no_choice() {
        for kind in KINDS {
            assert!(Balancer::new(kind, &[]).choose(&[], &mut ChooseContext::default()).is_none());
        }
    }
}
