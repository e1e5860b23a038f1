//! Clusters whose hosts come from elsewhere. A registry is one more [`HostSource`].

mod file;
mod resolver;
mod strict_dns;

use std::{collections::HashMap, rc::Rc, sync::Arc};

use mosn_config::model::Discovery;
use mosn_upstream::{Cluster, ClusterChange, Clusters, HostFeed, HostSource};
use tokio::task::JoinHandle;

use self::{file::HostsFile, strict_dns::StrictDns};

/// Runs the sources of all clusters.
pub(super) struct Sources {
    clusters: Clusters,
    running: HashMap<Arc<str>, Running>,
}

/// A source, which ends when this is dropped.
struct Running {
    discovery: Discovery,
    feed: Rc<HostFeed>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sources {
    pub(super) fn new(clusters: Clusters) -> Self {
        Self { clusters, running: HashMap::new() }
    }

    /// Starts and ends sources as clusters come, change and go.
    pub(super) fn follow(&mut self, change: &ClusterChange) {
        let Some(cluster) = &change.after else {
            if let Some(before) = &change.before {
                self.running.remove(&before.name);
            }
            return;
        };
        if let Some(running) = self.running.get(&cluster.name)
            && running.discovery == *cluster.discovery()
        {
            return running.feed.insist(cluster);
        }
        self.running.remove(&cluster.name);
        if let Some(source) = source(cluster) {
            let feed = Rc::new(HostFeed::new(self.clusters.clone(), Arc::clone(&cluster.name)));
            let task = tokio::task::spawn_local(source.follow(Rc::clone(&feed)));
            let discovery = cluster.discovery().clone();
            self.running.insert(Arc::clone(&cluster.name), Running { discovery, feed, task });
        }
    }
}

/// `None` = its hosts are what it was given.
fn source(cluster: &Cluster) -> Option<Box<dyn HostSource>> {
    match cluster.discovery() {
        Discovery::Static => None,
        Discovery::StrictDns(spec) => Some(Box::new(StrictDns::new((**spec).clone()))),
        Discovery::File(spec) => Some(Box::new(HostsFile::new((**spec).clone()))),
    }
}
