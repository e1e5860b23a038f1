use std::sync::Arc;

use super::{RoundRobin, Terms};
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

    pub(crate) fn pick<'a>(&self, hosts: &'a [Arc<Host>], terms: Terms<'_>) -> Option<&'a Arc<Host>> {
        if hosts.is_empty() {
            return None;
        }
        let host = &hosts[fastrand::usize(0..hosts.len())];
        if terms.take(host) { Some(host) } else { self.otherwise.pick(hosts, terms) }
    }
}
