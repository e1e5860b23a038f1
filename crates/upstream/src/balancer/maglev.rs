use std::{hash::Hasher, sync::Arc};

use mosn_config::model::BalancingSpec;
use siphasher::sip::SipHasher24;

use super::{ChooseContext, RoundRobin, Terms, around};
use crate::Host;

/// By hash through a table that gives every host nearly the same number of slots, and keeps most
/// of them where they are when a host comes or goes. The table is the same as MOSN's, so that a mixed
/// fleet agrees.
#[derive(Debug)]
pub(crate) struct Maglev {
    table: Table,
    /// Where there is nothing to hash.
    otherwise: RoundRobin,
    bound: u32,
}

/// The host of each slot, in as few bytes as their number allows.
#[derive(Debug)]
enum Table {
    Small(Box<[u8]>),
    Medium(Box<[u16]>),
    Large(Box<[u32]>),
}

const SLOTS: usize = 65_537;
const MANY_SLOTS: usize = 655_373;

/// From so many hosts on there are many slots.
const MANY_HOSTS: usize = 30_000;

impl Maglev {
    pub(crate) fn new(spec: &BalancingSpec, hosts: &[Arc<Host>]) -> Self {
        let slots = if hosts.len() < MANY_HOSTS { SLOTS } else { MANY_SLOTS };
        // More hosts than slots: there is no table, as in MOSN.
        let hosts = if hosts.len() < MANY_SLOTS { hosts } else { &[] };
        let table = match hosts.len() {
            ..=0xff => Table::Small(fill(hosts, slots, |host| host as u8)),
            0x100..=0xffff => Table::Medium(fill(hosts, slots, |host| host as u16)),
            _ => Table::Large(fill(hosts, slots, |host| host)),
        };
        Self { table, otherwise: RoundRobin::new(hosts.len()), bound: spec.hash_balance_percent }
    }

    fn slot(&self, hash: u64) -> Option<usize> {
        fn get<T: Copy>(table: &[T], hash: u64) -> Option<T> {
            table.get(hash.checked_rem(table.len() as u64)? as usize).copied()
        }
        match &self.table {
            Table::Small(table) => get(table, hash).map(usize::from),
            Table::Medium(table) => get(table, hash).map(usize::from),
            Table::Large(table) => get(table, hash).map(|host| host as usize),
        }
    }

    /// The slot's host, or the next one that will do; from the second time on in a request the one
    /// after the last.
    pub(crate) fn pick<'a>(
        &self,
        hosts: &'a [Arc<Host>],
        cx: &mut ChooseContext<'_>,
        terms: Terms<'_>,
    ) -> Option<&'a Arc<Host>> {
        let start = match (cx.position, cx.hash.and_then(|hash| self.slot(hash))) {
            (Some(last), _) => (last as usize + 1) % hosts.len().max(1),
            (None, Some(index)) => index,
            (None, None) => return self.otherwise.pick(hosts, terms),
        };
        let most = terms.most_requests(hosts, self.bound);
        let mut candidates = around(hosts, start).filter(|(_, host)| terms.take(host));
        let first = candidates.next()?;
        let (index, host) = match most {
            Some(most) if first.1.active_requests() >= most => {
                candidates.find(|(_, host)| host.active_requests() < most).unwrap_or(first)
            }
            _ => first,
        };
        cx.position = Some(index as u32);
        Some(host)
    }
}

/// Every host in turn takes the next free slot of its own order, until none is free.
fn fill<T: Copy + Default>(hosts: &[Arc<Host>], slots: usize, entry: impl Fn(u32) -> T) -> Box<[T]> {
    if hosts.is_empty() {
        return Box::default();
    }
    let mut orders: Vec<(u32, u32)> = hosts
        .iter()
        .map(|host| {
            let mut hasher = SipHasher24::new_with_keys(0xdead_beef_cafe_babe, 0);
            hasher.write(host.address_text.as_bytes());
            let hash = hasher.finish();
            let (offset, skip) = ((hash >> 32) % slots as u64, (hash & 0xffff_ffff) % (slots as u64 - 1) + 1);
            (offset as u32, skip as u32)
        })
        .collect();
    let mut table = vec![T::default(); slots];
    // As bits they stay in the first cache, which is most of what this costs.
    let mut taken = vec![0_u64; slots.div_ceil(64)];
    let mut free = slots;
    loop {
        for (host, (at, skip)) in (0..).zip(&mut orders) {
            let next = |at: u32| {
                let next = at + *skip;
                if next as usize >= slots { next - slots as u32 } else { next }
            };
            while taken[*at as usize / 64] >> (*at % 64) & 1 == 1 {
                *at = next(*at);
            }
            table[*at as usize] = entry(host);
            taken[*at as usize / 64] |= 1 << (*at % 64);
            *at = next(*at);
            free -= 1;
            if free == 0 {
                return table.into_boxed_slice();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        Health,
        balancer::testing::{PLAIN, host, hosts, index_of},
    };

    fn three() -> Vec<Arc<Host>> {
        (8081..=8083).map(|port| host(&format!("127.0.0.1:{port}"), 1)).collect()
    }

    fn of(hosts: &[Arc<Host>], hash: u64) -> usize {
        let balancer = Maglev::new(&BalancingSpec::default(), hosts);
        let cx = &mut ChooseContext { hash: Some(hash), ..ChooseContext::default() };
        index_of(hosts, balancer.pick(hosts, cx, PLAIN).unwrap())
    }

    /// MOSN's hash of a header or cookie.
    fn hash(text: &str) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(0xbeef_cafe_babe_dead, 0);
        hasher.write(text.as_bytes());
        hasher.finish()
    }

    #[test]
    fn requests_go_where_mosn_sends_them() {
        let hosts = three();
        assert_eq!(hash("x-user:alice"), 0x1acc_580c_88cc_969a);
        assert_eq!(hash("x-user:alice") % SLOTS as u64, 19_214);
        assert_eq!(hash("sid=abc"), 0x7d0a_cbfd_29ad_3366);
        let users = ["alice", "bob", "carol", "dave"].map(|user| of(&hosts, hash(&format!("x-user:{user}"))));
        assert_eq!(users, [2, 0, 0, 1]);
        assert_eq!(of(&hosts, 0), 1);
        assert_eq!(of(&hosts, hash("sid=abc")), 2);
        hosts[2].set_health(Health::FAILED_ACTIVE_CHECK, true, Instant::now());
        assert_eq!(of(&hosts, hash("sid=abc")), 0);
    }

    #[test]
    fn a_request_that_is_tried_again_goes_on_to_the_next_host() {
        let hosts = three();
        let balancer = Maglev::new(&BalancingSpec::default(), &hosts);
        let cx = &mut ChooseContext { hash: Some(hash("x-user:alice")), ..ChooseContext::default() };
        let tries = [(); 4].map(|()| index_of(&hosts, balancer.pick(&hosts, cx, PLAIN).unwrap()));
        assert_eq!(tries, [2, 0, 1, 2]);
    }

    #[test]
    fn every_host_has_nearly_the_same_number_of_slots() {
        for count in [2, 7, 100, 300] {
            let hosts = hosts(&vec![1; count]);
            let table = fill(&hosts, SLOTS, |host| host);
            let mut slots = vec![0; count];
            table.iter().for_each(|&host| slots[host as usize] += 1);
            let (least, most) = (slots.iter().min().unwrap(), slots.iter().max().unwrap());
            assert!(most - least <= 1, "{count}: {least} to {most}");
        }
    }

    #[test]
    fn few_keys_move_when_a_host_goes() {
        let all = hosts(&[1; 20]);
        let fewer: Vec<_> = all.iter().filter(|host| host.id != all[7].id).cloned().collect();
        let (before, after) = (fill(&all, SLOTS, |host| host), fill(&fewer, SLOTS, |host| host));
        let kept = before
            .iter()
            .zip(&after)
            .filter(|(old, new)| all[**old as usize].id == fewer[**new as usize].id)
            .count();
        // 1/20 must move.
        assert!(kept > SLOTS * 85 / 100, "{kept}");
    }

    #[test]
    fn only_the_keys_of_a_host_that_fails_move_and_they_come_back() {
        let hosts = hosts(&[1; 20]);
        let balancer = Maglev::new(&BalancingSpec::default(), &hosts);
        let of = |hash: u64| {
            let cx = &mut ChooseContext { hash: Some(hash), ..ChooseContext::default() };
            index_of(&hosts, balancer.pick(&hosts, cx, PLAIN).unwrap())
        };
        let all = || (0..SLOTS as u64).map(of).collect::<Vec<_>>();
        let before = all();
        hosts[7].set_health(Health::FAILED_ACTIVE_CHECK, true, Instant::now());
        for (&old, new) in before.iter().zip(all()) {
            assert!(if old == 7 { new != 7 } else { new == old });
        }
        hosts[7].set_health(Health::FAILED_ACTIVE_CHECK, false, Instant::now());
        assert_eq!(all(), before);
    }
}
