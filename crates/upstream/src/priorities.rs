//! Which hosts come first: priorities, and localities within them.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use mosn_config::model::{BalancingSpec, ClusterSpec, LocalitySpec};

use crate::{
    ChooseContext, Host,
    balancer::{Balancer, Terms, spread},
    host::health_changes,
};

/// A set of hosts, ready to choose from.
#[derive(Debug)]
pub(crate) struct Priorities {
    hosts: Arc<[Arc<Host>]>,
    /// By priority, most preferred first; of one priority several if localities have weights.
    groups: Box<[Group]>,
    /// `None` where the first group takes everything.
    shares: Option<ArcSwap<Shares>>,
    panic_percent: u64,
    overprovisioning_percent: u64,
}

/// Hosts that one balancer chooses from.
#[derive(Debug)]
struct Group {
    priority: u32,
    /// Its share of its priority; above 0.
    weight: u32,
    hosts: Arc<[Arc<Host>]>,
    balancer: Balancer,
}

/// How much each group takes, as of some state of the hosts' health.
#[derive(Debug)]
struct Shares {
    /// See [`health_changes`].
    as_of: u64,
    /// The sum of all shares up to and including each group's, and whether it ignores health.
    groups: Box<[(u64, bool)]>,
}

impl Priorities {
    /// `hosts` may be some of a cluster's; `localities` are all of it.
    pub(crate) fn new(spec: &ClusterSpec, localities: &[LocalitySpec], hosts: Arc<[Arc<Host>]>) -> Self {
        let weighted = spec.balancing.locality_weighted;
        let place = |host: &Host| {
            let priority = localities.get(usize::from(host.locality)).map_or(0, |locality| locality.priority);
            (priority, if weighted { host.locality } else { 0 })
        };
        let first = hosts.first().map_or((0, 0), |host| place(host));
        let groups: Box<[Group]> = if hosts.iter().all(|host| place(host) == first) {
            [Group::new(spec, first.0, 1, hosts.clone())].into()
        } else {
            let mut members: BTreeMap<(u32, u16), Vec<Arc<Host>>> = BTreeMap::new();
            for host in hosts.iter() {
                members.entry(place(host)).or_default().push(host.clone());
            }
            let groups = members.into_iter().map(|((priority, locality), members)| {
                let weight = localities.get(usize::from(locality)).map_or(0, |locality| locality.weight);
                let weight = if weighted && weight > 0 { weight } else { members.len() as u32 };
                Group::new(spec, priority, weight, members.into())
            });
            groups.collect()
        };
        let BalancingSpec { panic_percent, overprovisioning_percent, .. } = spec.balancing;
        let mut priorities = Self {
            shares: None,
            panic_percent: panic_percent.into(),
            overprovisioning_percent: overprovisioning_percent.max(100).into(),
            hosts,
            groups,
        };
        if priorities.groups.len() > 1 || panic_percent > 0 {
            priorities.shares = Some(ArcSwap::from_pointee(priorities.shares()));
        }
        priorities
    }

    pub(crate) fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }

    pub(crate) fn choose(&self, cx: &mut ChooseContext<'_>, terms: Terms<'_>) -> Option<&Arc<Host>> {
        let Some(shares) = &self.shares else {
            let group = &self.groups[0];
            return group.balancer.choose(&group.hosts, cx, terms);
        };
        let mut current = shares.load();
        if current.as_of != health_changes() {
            shares.store(Arc::new(self.shares()));
            current = shares.load();
        }
        let total = current.groups.last().map_or(0, |group| group.0);
        if total == 0 {
            return None;
        }
        // The same key goes to the same group.
        let drawn = cx.hash.map_or_else(|| fastrand::u64(..), spread) % total;
        let first = current.groups.partition_point(|group| group.0 <= drawn);
        let previous = cx.previous;
        let chosen = self.choose_in(first, &current, cx, terms);
        if chosen.is_some_and(|host| !previous.contains(&host.id)) {
            return chosen;
        }
        // All hosts of that group were tried, or have just become unhealthy.
        let others = (0..self.groups.len()).filter(|&at| at != first && current.takes(at));
        let mut other = others.filter_map(|at| self.choose_in(at, &current, cx, terms));
        other.find(|host| !previous.contains(&host.id)).or(chosen)
    }

    fn choose_in(
        &self,
        at: usize,
        shares: &Shares,
        cx: &mut ChooseContext<'_>,
        terms: Terms<'_>,
    ) -> Option<&Arc<Host>> {
        let group = &self.groups[at];
        group.balancer.choose(&group.hosts, cx, Terms { panic: shares.groups[at].1, ..terms })
    }

    /// How the groups share the load while the hosts' health is what it is: each priority takes what
    /// its healthy hosts can, with some to spare, of what those before it left.
    fn shares(&self) -> Shares {
        // Read before the hosts' health: a change meanwhile makes this out of date, not wrong.
        let as_of = health_changes();
        let mut levels: Vec<Level> = Vec::new();
        for group in &self.groups {
            let healthy = group.hosts.iter().filter(|host| host.is_healthy()).count() as u64;
            let total = group.hosts.len() as u64;
            match levels.last_mut().filter(|level| level.priority == group.priority) {
                Some(level) => {
                    level.healthy += healthy;
                    level.total += total;
                }
                None => levels.push(Level { priority: group.priority, healthy, total, load: 0 }),
            }
        }
        let whole = levels.iter().map(|level| self.percent(level.healthy, level.total)).sum::<u64>().min(100);
        if whole == 0 {
            // There is nothing to prefer: all go to the first priority that has hosts, in panic or
            // nowhere.
            if let Some(level) = levels.iter_mut().find(|level| level.total > 0) {
                level.load = if self.panic_percent > 0 { 100 } else { 0 };
            }
        } else {
            let mut left = 100;
            for level in &mut levels {
                let own = self.percent(level.healthy, level.total) * 100;
                level.load = own.div_euclid(whole).min(left);
                left -= level.load;
            }
            // What rounding left.
            if let Some(level) = levels.iter_mut().find(|level| level.load > 0) {
                level.load += left;
            }
        }
        let mut sum = 0;
        let groups = self.groups.iter().map(|group| {
            let level = levels.iter().find(|level| level.priority == group.priority);
            let (load, panic) = level.map_or((0, false), |level| {
                let few = level.healthy * 100 < level.total * self.panic_percent;
                (level.load, few && whole < 100)
            });
            let peers = self.groups.iter().filter(|peer| peer.priority == group.priority);
            let all: u64 = peers.map(|peer| self.effective_weight(peer, panic)).sum();
            // In millionths of a percent.
            sum += load * self.effective_weight(group, panic) * 1_000_000 / all.max(1);
            (sum, panic)
        });
        Shares { as_of, groups: groups.collect() }
    }

    /// How much of its load a set of hosts can take, in percent.
    fn percent(&self, healthy: u64, total: u64) -> u64 {
        (healthy * self.overprovisioning_percent).checked_div(total).unwrap_or(0).min(100)
    }

    fn effective_weight(&self, group: &Group, panic: bool) -> u64 {
        let healthy = group.hosts.iter().filter(|host| host.is_healthy()).count() as u64;
        let percent = if panic { 100 } else { self.percent(healthy, group.hosts.len() as u64) };
        u64::from(group.weight) * percent
    }
}

impl Shares {
    /// Whether a group has a share.
    fn takes(&self, at: usize) -> bool {
        let before = at.checked_sub(1).map_or(0, |before| self.groups[before].0);
        self.groups[at].0 > before
    }
}

struct Level {
    priority: u32,
    healthy: u64,
    total: u64,
    /// Percent of the whole load.
    load: u64,
}

impl Group {
    fn new(spec: &ClusterSpec, priority: u32, weight: u32, hosts: Arc<[Arc<Host>]>) -> Self {
        let balancer = Balancer::new(spec.balancer, &spec.balancing, &hosts);
        Self { priority, weight, hosts, balancer }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use mosn_config::model::{BalancerKind, HostSpec};

    use super::*;
    use crate::{
        Health,
        balancer::testing::{PLAIN, fits},
    };

    /// Localities with (priority, weight, hosts).
    fn priorities(balancing: BalancingSpec, localities: &[(u32, u32, usize)]) -> Priorities {
        let mut hosts = Vec::new();
        for (index, &(_, _, count)) in localities.iter().enumerate() {
            for n in 0..count {
                let spec = HostSpec {
                    address: format!("10.0.{index}.{n}:80").into(),
                    hostname: "".into(),
                    weight: 1,
                    metadata: None,
                    tls_disable: false,
                };
                hosts.push(Host::new(&spec, index as u16, None).unwrap());
            }
        }
        let localities: Vec<_> = localities
            .iter()
            .map(|&(priority, weight, _)| LocalitySpec { priority, weight, ..LocalitySpec::default() })
            .collect();
        let spec = ClusterSpec { balancing, balancer: BalancerKind::Random, ..ClusterSpec::default() };
        Priorities::new(&spec, &localities, hosts.into())
    }

    /// Makes the first hosts of a locality unhealthy.
    fn fail(priorities: &Priorities, locality: u16, count: usize) {
        let hosts = priorities.hosts().iter().filter(|host| host.locality == locality);
        hosts.take(count).for_each(|host| {
            host.set_health(Health::FAILED_ACTIVE_CHECK, true, Instant::now());
        });
    }

    fn by_locality(priorities: &Priorities, localities: usize) -> Vec<usize> {
        let mut counts = vec![0; localities];
        for _ in 0..10_000 {
            let cx = &mut ChooseContext::default();
            counts[usize::from(priorities.choose(cx, PLAIN).unwrap().locality)] += 1;
        }
        counts
    }

    #[test]
    fn the_next_priority_takes_what_the_first_cannot() {
        let priorities = priorities(BalancingSpec::default(), &[(0, 0, 10), (1, 0, 10)]);
        assert_eq!(by_locality(&priorities, 2), [10_000, 0]);
        // 8 of 10 are as good as all, with 140 percent provisioned.
        fail(&priorities, 0, 2);
        assert_eq!(by_locality(&priorities, 2), [10_000, 0]);
        // 5 of 10 take 70 percent.
        fail(&priorities, 0, 5);
        assert!(fits(&by_locality(&priorities, 2), &[70.0, 30.0]));
        fail(&priorities, 0, 10);
        assert_eq!(by_locality(&priorities, 2), [0, 10_000]);
    }

    #[test]
    fn priorities_that_are_not_whole_together_share_by_what_they_have() {
        let priorities = priorities(BalancingSpec::default(), &[(0, 0, 10), (3, 0, 10)]);
        fail(&priorities, 0, 8);
        fail(&priorities, 1, 8);
        // 28 percent each, of 56.
        assert!(fits(&by_locality(&priorities, 2), &[1.0, 1.0]));
    }

    #[test]
    fn without_a_threshold_there_is_no_panic() {
        let priorities = priorities(BalancingSpec::default(), &[(0, 0, 4), (1, 0, 4)]);
        fail(&priorities, 0, 4);
        fail(&priorities, 1, 4);
        assert!(priorities.choose(&mut ChooseContext::default(), PLAIN).is_none());
    }

    #[test]
    fn too_few_healthy_hosts_are_panic() {
        let balancing = BalancingSpec { panic_percent: 50, ..BalancingSpec::default() };
        let priorities = priorities(balancing, &[(0, 0, 10)]);
        let distinct = |priorities: &Priorities| {
            let mut ids: Vec<_> = (0..2000)
                .map(|_| priorities.choose(&mut ChooseContext::default(), PLAIN).unwrap().id)
                .collect();
            ids.sort();
            ids.dedup();
            ids.len()
        };
        fail(&priorities, 0, 5);
        assert_eq!(distinct(&priorities), 5);
        fail(&priorities, 0, 6);
        assert_eq!(distinct(&priorities), 10);
        fail(&priorities, 0, 10);
        assert_eq!(distinct(&priorities), 10);
    }

    #[test]
    fn localities_share_by_weight_and_health() {
        let balancing = BalancingSpec { locality_weighted: true, ..BalancingSpec::default() };
        let priorities = priorities(balancing, &[(0, 1, 10), (0, 3, 10), (1, 9, 10)]);
        assert!(fits(&by_locality(&priorities, 3), &[1.0, 3.0, 0.0]));
        // Half of its hosts are worth 70 percent of its weight, and the priority is still whole.
        fail(&priorities, 1, 5);
        assert!(fits(&by_locality(&priorities, 3), &[1.0, 2.1, 0.0]));
    }

    #[test]
    fn a_retry_leaves_a_locality_whose_hosts_were_all_tried() {
        let balancing = BalancingSpec { locality_weighted: true, ..BalancingSpec::default() };
        let priorities = priorities(balancing, &[(0, 99, 2), (0, 1, 1), (1, 1, 1)]);
        let previous: Vec<_> = priorities.hosts()[..2].iter().map(|host| host.id).collect();
        for _ in 0..50 {
            let cx = &mut ChooseContext { previous: &previous, ..ChooseContext::default() };
            assert_eq!(priorities.choose(cx, PLAIN).unwrap().locality, 1);
        }
    }

    #[test]
    fn a_key_stays_with_its_priority() {
        let priorities = priorities(BalancingSpec::default(), &[(0, 0, 10), (1, 0, 10)]);
        fail(&priorities, 0, 5);
        for hash in 0..50 {
            let locality = |_| {
                let cx = &mut ChooseContext { hash: Some(hash), ..ChooseContext::default() };
                priorities.choose(cx, PLAIN).unwrap().locality
            };
            let first = locality(0);
            assert!((0..5).map(locality).all(|other| other == first));
        }
    }
}
