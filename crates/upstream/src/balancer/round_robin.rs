use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use super::Terms;
use crate::Host;

/// One host after the other, whatever their weights. Starts anywhere, so that many proxies do not
/// all start with the first host.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    last: AtomicU32,
}

impl RoundRobin {
    pub(crate) fn new(hosts: usize) -> Self {
        Self { last: AtomicU32::new(fastrand::u32(0..hosts.max(1) as u32)) }
    }

    /// An unhealthy host costs a turn, which keeps the others' shares equal: were its turns given to
    /// its neighbour, that one would have two.
    pub(crate) fn pick<'a>(&self, hosts: &'a [Arc<Host>], terms: Terms<'_>) -> Option<&'a Arc<Host>> {
        let mut at = 0;
        for _ in hosts {
            at = self.last.fetch_add(1, Relaxed).wrapping_add(1) as usize % hosts.len();
            if terms.take(&hosts[at]) {
                return Some(&hosts[at]);
            }
        }
        // Other workers took turns meanwhile, so these may not have been all hosts.
        super::around(hosts, at).map(|(_, host)| host).find(|host| terms.take(host))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        Health,
        balancer::testing::{PLAIN, hosts},
    };

    #[test]
    fn every_host_has_its_turn() {
        let hosts = hosts(&[1, 2, 128]);
        let balancer = RoundRobin::new(3);
        let ids: Vec<_> = (0..6).map(|_| balancer.pick(&hosts, PLAIN).unwrap().id).collect();
        assert_eq!(ids[..3], ids[3..]);
        assert!(hosts.iter().all(|host| ids[..3].contains(&host.id)));
    }

    #[test]
    fn the_others_alternate_where_one_is_unhealthy() {
        let hosts = hosts(&[1; 3]);
        let balancer = RoundRobin::new(3);
        hosts[1].set_health(Health::FAILED_ACTIVE_CHECK, true, Instant::now());
        let ids: Vec<_> = (0..6).map(|_| balancer.pick(&hosts, PLAIN).unwrap().id).collect();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
