use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{ChooseContext, RoundRobin, Terms, alias::Alias, schedule};
use crate::Host;

/// One host after the other, each as often as its weight says, as evenly as can be.
#[derive(Debug)]
pub(crate) struct WeightedRoundRobin {
    next: AtomicU64,
    order: Order,
    otherwise: RoundRobin,
}

/// MOSN asks a queue for each turn, under a lock. Weights that do not change give turns that repeat,
/// so they are worked out beforehand and a turn costs an addition.
#[derive(Debug)]
enum Order {
    /// A whole number of rounds; in each every host has as many turns as its weight.
    Short(Box<[u8]>),
    /// The same for more than 256 hosts.
    Long(Box<[u16]>),
    /// Where a round is too long to be kept: the sum of all weights up to and including each
    /// host's, walked through in steps of the golden ratio, which leave no part of it out for long.
    Spread(Box<[u64]>),
}

/// Turns that are kept at most.
const LONGEST: usize = 16_384;

/// Turns that are kept at least: rounds differ in the order of hosts that are due together.
const SHORTEST: usize = 120;

/// MOSN's weights; more would only make rounds longer.
const WEIGHTS: (u32, u32) = (1, 128);

impl WeightedRoundRobin {
    /// `skipped` turns are left out at the start, below the number of hosts, so that many proxies
    /// do not all start with the same host.
    pub(crate) fn new(hosts: &[Arc<Host>], skipped: usize) -> Self {
        let weights: Vec<u32> = hosts.iter().map(|host| host.weight.clamp(WEIGHTS.0, WEIGHTS.1)).collect();
        let divisor = weights.iter().fold(0, |divisor, &weight| greatest_common_divisor(divisor, weight));
        let round = weights.iter().map(|&weight| (weight / divisor.max(1)) as usize).sum::<usize>();
        let order = if round > LONGEST {
            let sums = weights.iter().scan(0_u64, |sum, &weight| {
                *sum += u64::from(weight);
                Some(*sum)
            });
            Order::Spread(sums.collect())
        } else {
            let kept = round * (SHORTEST / round.max(1)).max(1);
            let turns = schedule::turns(&weights).skip(skipped).take(kept);
            match hosts.len() {
                ..=256 => Order::Short(turns.map(|host| host as u8).collect()),
                _ => Order::Long(turns.map(|host| host as u16).collect()),
            }
        };
        let next = if matches!(order, Order::Spread(_)) { fastrand::u64(..) } else { 0 };
        Self { next: next.into(), order, otherwise: RoundRobin::new(hosts.len()) }
    }

    fn turn(&self) -> usize {
        let turn = self.next.fetch_add(1, Relaxed);
        match &self.order {
            Order::Short(turns) => turns[(turn % turns.len() as u64) as usize].into(),
            Order::Long(turns) => turns[(turn % turns.len() as u64) as usize].into(),
            Order::Spread(sums) => {
                let total = sums.last().copied().unwrap_or_default();
                let part = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let at = (u128::from(part) * u128::from(total)) >> 64;
                sums.partition_point(|&sum| u128::from(sum) <= at)
            }
        }
    }

    /// A host that cannot take its turn loses it, as in MOSN.
    pub(crate) fn pick<'a>(
        &self,
        hosts: &'a [Arc<Host>],
        cx: &mut ChooseContext<'_>,
        terms: Terms<'_>,
    ) -> Option<&'a Arc<Host>> {
        let mut slow = None;
        for _ in hosts {
            let host = &hosts[self.turn()];
            if !terms.take(host) {
                continue;
            }
            if terms.slow_start_takes(host, cx) {
                return Some(host);
            }
            slow = Some(host);
        }
        slow.or_else(|| self.otherwise.pick(hosts, terms))
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Any host, each as often as its weight says.
#[derive(Debug)]
pub(crate) struct WeightedRandom {
    alias: Alias,
    otherwise: RoundRobin,
}

impl WeightedRandom {
    pub(crate) fn new(hosts: &[Arc<Host>]) -> Self {
        Self { alias: Alias::new(hosts), otherwise: RoundRobin::new(hosts.len()) }
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
        let mut slow = None;
        // Drawing again keeps the others' shares.
        for _ in 0..16 {
            let host = &hosts[self.alias.draw()];
            if !terms.take(host) {
                continue;
            }
            if terms.slow_start_takes(host, cx) {
                return Some(host);
            }
            slow = Some(host);
        }
        slow.or_else(|| self.otherwise.pick(hosts, terms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::testing::{PLAIN, hosts, index_of};

    fn turns(weights: &[u32], skipped: usize, count: usize) -> Vec<usize> {
        let hosts = hosts(weights);
        let balancer = WeightedRoundRobin::new(&hosts, skipped);
        let next = || balancer.pick(&hosts, &mut ChooseContext::default(), PLAIN).unwrap();
        (0..count).map(|_| index_of(&hosts, next())).collect()
    }

    #[test]
    fn every_round_has_each_weight_exactly() {
        for skipped in 0..3 {
            let turns = turns(&[1, 2, 3], skipped, 600);
            for round in turns.chunks(6) {
                let counts = [0, 1, 2].map(|host| round.iter().filter(|&&turn| turn == host).count());
                assert_eq!(counts, [1, 2, 3], "{skipped}");
            }
        }
        assert_eq!(turns(&[1, 2, 3], 0, 12), [2, 1, 2, 0, 1, 2, 2, 1, 2, 2, 0, 1]);
    }

    #[test]
    fn weights_above_mosns_are_cut_and_common_factors_do_not_count() {
        let counts = |weights: &[u32], count| {
            let turns = turns(weights, 0, count);
            [0, 1].map(|host| turns.iter().filter(|&&turn| turn == host).count())
        };
        assert_eq!(counts(&[1000, 64], 300), [200, 100]);
        assert_eq!(counts(&[100, 100], 2), [1, 1]);
    }

    #[test]
    fn a_round_too_long_to_keep_is_still_shared_by_weight() {
        let weights: Vec<u32> = (0..2000).map(|n| n % 127 + 1).collect();
        let hosts = hosts(&weights);
        let balancer = WeightedRoundRobin::new(&hosts, 0);
        assert!(matches!(balancer.order, Order::Spread(_)));
        let total: u32 = weights.iter().sum();
        let mut counts = vec![0_u32; hosts.len()];
        for _ in 0..total * 10 {
            counts[balancer.turn()] += 1;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            assert!(count.abs_diff(weight * 10) <= 6, "{count} for {weight}");
        }
    }

    #[test]
    fn large_clusters_have_their_turns_kept_too() {
        let turns = turns(&[vec![1; 150], vec![2; 150]].concat(), 7, 900);
        for round in turns.chunks(450) {
            for host in 0..300 {
                let count = round.iter().filter(|&&turn| turn == host).count();
                assert_eq!(count, 1 + host / 150, "{host}");
            }
        }
    }
}
