//! How hosts come to clusters from elsewhere.

use std::{cell::RefCell, collections::HashSet, fmt, pin::Pin};

use mosn_config::model::{HostSpec, Name};

use crate::{Cluster, ClusterError, Clusters};

/// A registry, as far as one cluster is concerned: something that knows its hosts, now and later.
///
/// It runs on the control thread, as a future that is dropped when the cluster goes, or gets its
/// hosts from elsewhere; so it must not block, and need not watch for its end.
pub trait HostSource {
    /// Feeds the cluster until dropped. What is wrong is logged and tried again: the cluster keeps
    /// the hosts that it was last given.
    fn follow(self: Box<Self>, feed: std::rc::Rc<HostFeed>) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// Where a [`HostSource`] puts the hosts of its cluster.
pub struct HostFeed {
    clusters: Clusters,
    cluster: Name,
    /// What was put last.
    last: RefCell<Option<Vec<HostSpec>>>,
}

impl HostFeed {
    /// For the cluster of this name.
    #[must_use]
    pub fn new(clusters: Clusters, cluster: Name) -> Self {
        Self { clusters, cluster, last: RefCell::default() }
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &Name {
        &self.cluster
    }

    /// Replaces the cluster's hosts; whether they differ from those of the last time.
    ///
    /// # Errors
    /// If an address is not valid, or the cluster has just gone; then nothing has changed.
    pub fn put(&self, mut hosts: Vec<HostSpec>) -> Result<bool, ClusterError> {
        let mut seen = HashSet::new();
        hosts.retain(|host| seen.insert(host.address.clone()));
        if self.last.borrow().as_ref() == Some(&hosts) {
            return Ok(false);
        }
        self.clusters.update_hosts(&self.cluster, hosts.clone())?;
        self.last.replace(Some(hosts));
        Ok(true)
    }

    /// Puts the hosts of the last time again, where somebody else has put others.
    pub fn insist(&self, cluster: &Cluster) {
        let Some(last) = self.last.borrow().clone() else { return };
        let now = cluster.localities();
        if !now.iter().flat_map(|locality| &locality.hosts).eq(&last) {
            // It was valid before; a cluster that has just gone needs no hosts.
            let _ = self.clusters.update_hosts(&self.cluster, last);
        }
    }
}

impl fmt::Debug for HostFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostFeed").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mosn_config::model::ClusterSpec;

    use super::*;

    fn host(address: &str) -> HostSpec {
        HostSpec {
            address: address.into(),
            hostname: "".into(),
            weight: 1,
            metadata: None,
            tls_disable: false,
        }
    }

    fn addresses(clusters: &Clusters) -> Vec<String> {
        clusters.get("c").unwrap().hosts().iter().map(|host| host.address_text.to_string()).collect()
    }

    #[test]
    fn a_feed_puts_what_changed_and_insists_on_it() {
        let clusters = Clusters::new();
        clusters.add_or_update(ClusterSpec { name: "c".into(), ..ClusterSpec::default() }).unwrap();
        let feed = HostFeed::new(clusters.clone(), "c".into());
        assert_eq!(feed.put(vec![host("1.1.1.1:1"), host("1.1.1.1:1"), host("1.1.1.1:2")]), Ok(true));
        assert_eq!(addresses(&clusters), ["1.1.1.1:1", "1.1.1.1:2"]);
        let version = clusters.version();
        assert_eq!(feed.put(vec![host("1.1.1.1:1"), host("1.1.1.1:2")]), Ok(false));
        feed.insist(&clusters.get("c").unwrap());
        assert_eq!(clusters.version(), version);

        assert!(feed.put(vec![host("nowhere")]).is_err());
        assert_eq!(addresses(&clusters), ["1.1.1.1:1", "1.1.1.1:2"]);
        clusters.update_hosts("c", vec![host("9.9.9.9:9")]).unwrap();
        feed.insist(&clusters.get("c").unwrap());
        assert_eq!(addresses(&clusters), ["1.1.1.1:1", "1.1.1.1:2"]);
        clusters.remove(&["c"]).unwrap();
        assert!(feed.put(vec![]).is_err());
    }
}
