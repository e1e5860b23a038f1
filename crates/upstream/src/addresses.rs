use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use mosn_config::model::Name;

use crate::{Cluster, ClusterMap, Health, Host};

/// Which hosts of which clusters have an address. Kept only from the moment on that somebody asks:
/// most processes check nobody's health.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Option<HashMap<Name, Vec<Weak<Host>>, ahash::RandomState>>);

impl Addresses {
    /// The hosts of an address; `clusters` are those that there are if this is the first question.
    pub(crate) fn hosts(
        &mut self,
        address: &str,
        clusters: impl FnOnce() -> Arc<ClusterMap>,
    ) -> Vec<Arc<Host>> {
        if self.0.is_none() {
            self.0 = Some(HashMap::default());
            clusters().iter().for_each(|cluster| self.add(cluster));
        }
        let hosts = self.0.as_ref().and_then(|addresses| addresses.get(address));
        hosts.into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    /// Takes in a cluster's hosts. Those that are new to it begin with what is known of their
    /// address elsewhere.
    pub(crate) fn add(&mut self, cluster: &Cluster) {
        let Some(addresses) = &mut self.0 else { return };
        for host in cluster.hosts() {
            let same = addresses.entry(host.address_text.clone()).or_default();
            let known: Vec<_> = same.iter().filter_map(Weak::upgrade).collect();
            if known.iter().any(|other| other.id == host.id) {
                // The object may be another than the one it was known by.
                same.retain(|other| other.upgrade().is_some_and(|other| other.id != host.id));
            } else if known.iter().any(|other| other.health().contains(Health::FAILED_ACTIVE_CHECK)) {
                host.set_health(Health::FAILED_ACTIVE_CHECK, true, std::time::Instant::now());
            }
            same.push(Arc::downgrade(host));
        }
    }

    /// Drops those of a cluster's hosts that it no longer has.
    pub(crate) fn remove_retired(&mut self, cluster: &Cluster) {
        let Some(addresses) = &mut self.0 else { return };
        for host in cluster.hosts().iter().filter(|host| host.is_retired()) {
            if let Some(same) = addresses.get_mut(&host.address_text) {
                same.retain(|other| other.upgrade().is_some_and(|other| other.id != host.id));
                if same.is_empty() {
                    addresses.remove(&host.address_text);
                }
            }
        }
    }
}
