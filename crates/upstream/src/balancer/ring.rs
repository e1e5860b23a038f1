use std::{hash::Hasher, sync::Arc};

use mosn_config::model::BalancingSpec;
use siphasher::sip::SipHasher24;

use super::{ChooseContext, RoundRobin, Terms};
use crate::Host;

/// By hash around a ring on which every host has points in proportion to its weight. A host that
/// comes or goes moves only the keys next to its own points.
#[derive(Debug)]
pub(crate) struct Ring {
    /// In order.
    points: Box<[(u64, u32)]>,
    /// Where there is nothing to hash.
    otherwise: RoundRobin,
    bound: u32,
}

impl Ring {
    pub(crate) fn new(spec: &BalancingSpec, hosts: &[Arc<Host>]) -> Self {
        let (fewest, most) = spec.ring_size;
        let lightest = hosts.iter().map(|host| host.weight).min().unwrap_or(1);
        let relative = |host: &Host| f64::from(host.weight) / f64::from(lightest);
        let total: f64 = hosts.iter().map(|host| relative(host)).sum();
        // Points of the lightest host. A power of two, so that they rarely change with the number of
        // hosts, which would move keys among the others.
        let mut points_each = (f64::from(fewest) / total).ceil().max(1.0) as u32;
        points_each = points_each.checked_next_power_of_two().unwrap_or(points_each);
        let mut scale = f64::from(points_each);
        while scale * total > f64::from(most) && scale > 1.0 {
            scale /= 2.0;
        }
        scale = scale.min(f64::from(most) / total);
        let mut points = Vec::new();
        for (index, host) in (0..).zip(hosts) {
            let own = (relative(host) * scale).round().max(1.0) as u64;
            points.extend((0..own).map(|number| (point(&host.address_text, number), index)));
        }
        points.sort_unstable();
        Self {
            points: points.into_boxed_slice(),
            otherwise: RoundRobin::new(hosts.len()),
            bound: spec.hash_balance_percent,
        }
    }

    /// The host of the first point from the key's on that will do.
    pub(crate) fn pick<'a>(
        &self,
        hosts: &'a [Arc<Host>],
        cx: &mut ChooseContext<'_>,
        terms: Terms<'_>,
    ) -> Option<&'a Arc<Host>> {
        let start = match (cx.position, cx.hash) {
            (Some(last), _) => last as usize + 1,
            // A hash need not be spread evenly: that of an address is the address.
            (None, Some(hash)) => {
                let key = spread(hash);
                self.points.partition_point(|&(point, _)| point < key)
            }
            (None, None) => return self.otherwise.pick(hosts, terms),
        };
        let last = cx.position.and_then(|last| self.points.get(last as usize)).map(|&(_, host)| host);
        let most = terms.most_requests(hosts, self.bound);
        let (before, after) = self.points.split_at(start.min(self.points.len()));
        let points = (before.len()..).zip(after).chain((0..).zip(before));
        let mut loaded = None;
        for (position, &(_, index)) in points {
            let host = &hosts[index as usize];
            if Some(index) == last || !terms.take(host) {
                continue;
            }
            if most.is_some_and(|most| host.active_requests() >= most) {
                loaded = loaded.or(Some((position, host)));
                continue;
            }
            cx.position = Some(position as u32);
            return Some(host);
        }
        // All that would do have their share already, or the last one is the only one left.
        let last = last.map(|index| &hosts[index as usize]).filter(|host| terms.take(host));
        loaded.map(|(_, host)| host).or(last)
    }
}

fn point(address: &str, number: u64) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(address.as_bytes());
    hasher.write(&number.to_le_bytes());
    hasher.finish()
}

/// The finalizer of MurmurHash3, a bijection.
pub(crate) fn spread(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::Ordering::Relaxed, time::Instant};

    use super::*;
    use crate::{
        Health,
        balancer::testing::{PLAIN, hosts, index_of},
    };

    fn ring(hosts: &[Arc<Host>]) -> Ring {
        Ring::new(&BalancingSpec { ring_size: (8192, 8_388_608), ..BalancingSpec::default() }, hosts)
    }

    fn of<'a>(ring: &Ring, hosts: &'a [Arc<Host>], hash: u64) -> &'a Arc<Host> {
        let cx = &mut ChooseContext { hash: Some(hash), ..ChooseContext::default() };
        ring.pick(hosts, cx, PLAIN).unwrap()
    }

    #[test]
    fn hosts_have_keys_by_weight() {
        let hosts = hosts(&[1, 2, 5]);
        let ring = ring(&hosts);
        let mut counts = [0; 3];
        // As close together as the addresses of one network.
        (0..40_000).for_each(|hash| counts[index_of(&hosts, of(&ring, &hosts, hash))] += 1);
        for (count, weight) in counts.iter().zip([1, 2, 5]) {
            let share = 5000 * weight;
            assert!((share * 85 / 100..share * 115 / 100).contains(count), "{counts:?}");
        }
    }

    #[test]
    fn only_the_keys_of_a_host_that_fails_or_goes_move() {
        let all = hosts(&[1; 10]);
        let keys: Vec<u64> = (0..5000).map(|key| key * 7919).collect();
        let before: Vec<_> = keys.iter().map(|&key| of(&ring(&all), &all, key).id).take(500).collect();
        let fewer: Vec<_> = all.iter().filter(|host| host.id != all[3].id).cloned().collect();
        let (smaller, same) = (ring(&fewer), ring(&all));
        all[3].set_health(Health::FAILED_ACTIVE_CHECK, true, Instant::now());
        for (&key, &old) in keys.iter().zip(&before) {
            let (gone, failed) = (of(&smaller, &fewer, key).id, of(&same, &all, key).id);
            assert!(failed != all[3].id && (old == all[3].id || (gone == old && failed == old)));
            assert_eq!(gone, failed);
        }
    }

    #[test]
    fn a_busy_host_passes_its_keys_on() {
        let hosts = hosts(&[1; 4]);
        let spec = BalancingSpec { hash_balance_percent: 125, ..BalancingSpec::default() };
        let ring = Ring::new(&spec, &hosts);
        let owner = of(&ring, &hosts, 42);
        owner.requests().store(10, Relaxed);
        assert_ne!(of(&ring, &hosts, 42).id, owner.id);
        owner.requests().store(0, Relaxed);
        assert_eq!(of(&ring, &hosts, 42).id, owner.id);
    }

    #[test]
    fn the_load_of_one_hot_key_stays_bounded() {
        let hosts = hosts(&[1; 4]);
        let spec = BalancingSpec { hash_balance_percent: 125, ..BalancingSpec::default() };
        let ring = Ring::new(&spec, &hosts);
        for _ in 0..100 {
            of(&ring, &hosts, 42).requests().fetch_add(1, Relaxed);
        }
        let most = hosts.iter().map(|host| host.active_requests()).max().unwrap();
        assert!(most <= 32, "{most}");
    }

    #[test]
    fn the_ring_is_as_large_as_asked_for() {
        for ((fewest, most), weights, expected) in [
            ((1024, 2000), &[1, 1][..], 1024),
            ((1, 2000), &[1, 99], 100),
            ((1, 10), &[1, 99], 11),
            ((1000, 2000), &[1, 2], 1536),
            ((10, 10), &[1; 100], 100),
        ] {
            let spec = BalancingSpec { ring_size: (fewest, most), ..BalancingSpec::default() };
            assert_eq!(Ring::new(&spec, &hosts(weights)).points.len(), expected, "{weights:?}");
        }
    }

    #[test]
    fn a_weight_that_grows_takes_keys_only_for_its_own_host() {
        let (before, after) = (hosts(&[1; 8]), hosts(&[1, 1, 1, 2, 1, 1, 1, 1]));
        // As many points for each of weight 1 both times.
        let spec = |size| BalancingSpec { ring_size: (size, 8_388_608), ..BalancingSpec::default() };
        let (old, new) = (Ring::new(&spec(8 * 512), &before), Ring::new(&spec(9 * 512), &after));
        let mut moved = 0;
        for key in 0..5000 {
            let (was, is) =
                (index_of(&before, of(&old, &before, key)), index_of(&after, of(&new, &after, key)));
            if was != is {
                assert_eq!(is, 3);
                moved += 1;
            }
        }
        // From 1/8 to 2/9 of all.
        assert!((300..700).contains(&moved), "{moved}");
    }
}
