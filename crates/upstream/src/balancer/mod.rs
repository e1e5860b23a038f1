//! Choosing one of a cluster's hosts.

mod alias;
mod least;
mod maglev;
mod peak_ewma;
mod random;
mod request_round_robin;
mod ring;
mod round_robin;
mod schedule;
pub(crate) mod slow_start;
#[cfg(test)]
pub(crate) mod testing;
mod weighted;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use mosn_config::model::{BalancerKind, BalancingSpec, Name, SlowStartSpec};

pub(crate) use self::ring::spread;
use self::{
    least::Least,
    maglev::Maglev,
    peak_ewma::PeakEwma,
    random::Random,
    ring::Ring,
    round_robin::RoundRobin,
    weighted::{WeightedRandom, WeightedRoundRobin},
};
use crate::{Host, HostId, observe::Averages};

/// What is known of the request when a host is chosen.
#[derive(Debug, Default)]
pub struct ChooseContext<'a> {
    /// Of what the route's hash policy names, for consistent-hash balancers.
    pub hash: Option<u64>,
    /// Hosts that were already tried for this request. Another one is chosen if there is one.
    pub previous: &'a [HostId],
    /// Labels that the host must have, for subset balancing.
    pub metadata: Option<&'a BTreeMap<Name, Name>>,
    /// Where the request says that it goes, for clusters that ask it.
    pub destination: Option<&'a str>,
    /// Where balancers that go on from their last choice keep it; `None` at first. To be kept from
    /// one try of a request to the next.
    pub position: Option<u32>,
    /// The time, if it is known; balancers that need it and are not told read the clock.
    pub now: Option<Instant>,
}

/// How a balancer may choose this time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    /// Takes unhealthy hosts as well.
    pub(crate) panic: bool,
    pub(crate) slow_start: Option<&'a SlowStartSpec>,
    pub(crate) averages: Option<&'a Averages>,
    /// Requests in flight to all of the cluster's hosts, if they are counted.
    pub(crate) requests: Option<u32>,
}

#[derive(Debug)]
pub(crate) enum Balancer {
    RoundRobin(RoundRobin),
    Random(Random),
    WeightedRoundRobin(WeightedRoundRobin),
    WeightedRandom(WeightedRandom),
    Least(Least),
    PeakEwma(PeakEwma),
    Maglev(Box<Maglev>),
    Ring(Box<Ring>),
    RequestRoundRobin,
    /// Who asks knows; see [`Cluster::destination`](crate::Cluster::destination).
    OriginalDst,
}

impl Balancer {
    pub(crate) fn new(kind: BalancerKind, spec: &BalancingSpec, hosts: &[Arc<Host>]) -> Self {
        match kind {
            BalancerKind::RoundRobin => Self::RoundRobin(RoundRobin::new(hosts.len())),
            BalancerKind::Random => Self::Random(Random::new(hosts.len())),
            BalancerKind::WeightedRoundRobin => Self::WeightedRoundRobin(WeightedRoundRobin::new(
                hosts,
                fastrand::usize(0..hosts.len().max(1)),
            )),
            BalancerKind::WeightedRandom => Self::WeightedRandom(WeightedRandom::new(hosts)),
            BalancerKind::LeastRequest => Self::Least(Least::new(spec, hosts, Host::active_requests)),
            BalancerKind::LeastConnection => Self::Least(Least::new(spec, hosts, Host::active_connections)),
            BalancerKind::PeakEwma => Self::PeakEwma(PeakEwma::new(spec, hosts)),
            BalancerKind::Maglev => Self::Maglev(Box::new(Maglev::new(spec, hosts))),
            BalancerKind::RingHash => Self::Ring(Box::new(Ring::new(spec, hosts))),
            BalancerKind::RequestRoundRobin => Self::RequestRoundRobin,
            BalancerKind::OriginalDst => Self::OriginalDst,
        }
    }

    /// A host that the terms allow, another than those of `cx.previous` if there is one.
    pub(crate) fn choose<'a>(
        &self,
        hosts: &'a [Arc<Host>],
        cx: &mut ChooseContext<'_>,
        terms: Terms<'_>,
    ) -> Option<&'a Arc<Host>> {
        let first = self.pick(hosts, cx, terms)?;
        if cx.previous.is_empty() || !cx.previous.contains(&first.id) {
            return Some(first);
        }
        // Asking again keeps the balancer's shares among the others: the neighbour of a host that
        // fails must not get all of its retries.
        for _ in 0..4 {
            let host = self.pick(hosts, cx, terms)?;
            if !cx.previous.contains(&host.id) {
                return Some(host);
            }
        }
        let (before, after) = hosts.split_at(fastrand::usize(0..hosts.len()));
        let mut others = after.iter().chain(before);
        Some(others.find(|host| terms.take(host) && !cx.previous.contains(&host.id)).unwrap_or(first))
    }

    fn pick<'a>(
        &self,
        hosts: &'a [Arc<Host>],
        cx: &mut ChooseContext<'_>,
        terms: Terms<'_>,
    ) -> Option<&'a Arc<Host>> {
        if let [only] = hosts
            && !matches!(self, Self::OriginalDst)
        {
            return terms.take(only).then_some(only);
        }
        match self {
            Self::RoundRobin(balancer) => balancer.pick(hosts, terms),
            Self::Random(balancer) => balancer.pick(hosts, terms),
            Self::WeightedRoundRobin(balancer) => balancer.pick(hosts, cx, terms),
            Self::WeightedRandom(balancer) => balancer.pick(hosts, cx, terms),
            Self::Least(balancer) => balancer.pick(hosts, cx, terms),
            Self::PeakEwma(balancer) => balancer.pick(hosts, cx, terms),
            Self::Maglev(balancer) => balancer.pick(hosts, cx, terms),
            Self::Ring(balancer) => balancer.pick(hosts, cx, terms),
            Self::RequestRoundRobin => request_round_robin::pick(hosts, cx, terms),
            Self::OriginalDst => None,
        }
    }
}

impl Terms<'_> {
    /// Whether health allows the host.
    pub(crate) fn take(&self, host: &Host) -> bool {
        self.panic || host.is_healthy()
    }

    /// The requests in flight from which on a host gets no more by hash, where it may have `percent`
    /// percent of the average; `None` = no bound.
    fn most_requests(&self, hosts: &[Arc<Host>], percent: u32) -> Option<u32> {
        if percent == 0 {
            return None;
        }
        let counted = || hosts.iter().map(|host| host.active_requests()).sum();
        let total = u64::from(self.requests.unwrap_or_else(counted)) + 1;
        let most = (total * u64::from(percent)).div_ceil(hosts.len().max(1) as u64 * 100);
        Some(u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// Whether slow start allows the host this time: as often as the part of its weight that it has
    /// by now.
    fn slow_start_takes(&self, host: &Host, cx: &mut ChooseContext<'_>) -> bool {
        let Some(spec) = self.slow_start else { return true };
        let now = *cx.now.get_or_insert_with(Instant::now);
        let part = slow_start::part(spec, host, now);
        part >= 1.0 || fastrand::f64() < part
    }
}

/// The hosts from `start` on, once around.
fn around(hosts: &[Arc<Host>], start: usize) -> impl Iterator<Item = (usize, &Arc<Host>)> {
    let (before, after) = hosts.split_at(start.min(hosts.len()));
    (before.len()..).zip(after).chain((0..).zip(before))
}

#[cfg(test)]
mod tests;
