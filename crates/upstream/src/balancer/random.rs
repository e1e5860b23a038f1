use std::sync::Arc;

use super::RoundRobin;
use crate::Host;

/// Any host, all alike; where that is an unhealthy one, the next healthy one in turn.
#[derive(Debug)]
pub(crate) struct Random {
    otherwise: RoundRobin,
}

impl Random {
    pub(crate) fn new(hosts: usize) -> Self {
        Self { otherwise: RoundRobin::new(hosts) }
    }

    pub(crate) fn pick<'a>(&self, hosts: &'a [Arc<Host>]) -> Option<&'a Arc<Host>> {
        if hosts.is_empty() {
            return None;
        }
        let host = &hosts[fastrand::usize(0..hosts.len())];
        if host.is_healthy() { Some(host) } else { self.otherwise.pick(hosts) }
    }
}
