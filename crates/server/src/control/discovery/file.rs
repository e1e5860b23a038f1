//! Hosts from a file.

use std::{os::unix::fs::MetadataExt as _, path::Path, pin::Pin, rc::Rc};

use mosn_config::{hosts_file, model::HostsFileSpec};
use mosn_upstream::{HostFeed, HostSource};

/// Looks at the file again and again: that works on every file system, and for files that are
/// replaced, as configuration maps are.
pub(super) struct HostsFile {
    spec: HostsFileSpec,
}

impl HostsFile {
    pub(super) fn new(spec: HostsFileSpec) -> Self {
        Self { spec }
    }
}

/// What tells one version of a file from another without reading it; `None` = there is none.
type Version = Option<(u64, u64, u64, i64, i64)>;

fn version(path: &Path) -> Version {
    let data = std::fs::metadata(path).ok()?;
    Some((data.dev(), data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
}

impl HostSource for HostsFile {
    fn follow(self: Box<Self>, feed: Rc<HostFeed>) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let HostsFileSpec { path, refresh } = &self.spec;
            // `Some(None)` = it was looked for and not there. The first look is not the start's: it
            // may have changed since.
            let mut seen: Option<Version> = None;
            loop {
                let now = version(path);
                // A writer may still be at it when its time is this very tick of the clock; an
                // unfinished file is wrong, and read again when it is finished.
                if seen != Some(now) {
                    seen = Some(now);
                    read(path, &feed);
                }
                tokio::time::sleep(*refresh).await;
            }
        })
    }
}

fn read(path: &Path, feed: &HostFeed) {
    let cluster = feed.cluster();
    match hosts_file(path) {
        Ok(hosts) => {
            let count = hosts.len();
            match feed.put(hosts) {
                Ok(true) => tracing::info!("{} gives cluster {cluster} {count} hosts", path.display()),
                Ok(false) => {}
                Err(error) => tracing::error!(
                    alert = "cluster.config",
                    "{}: {error}; cluster {cluster} keeps its hosts",
                    path.display()
                ),
            }
        }
        Err(problems) => tracing::error!(
            alert = "cluster.config",
            "cluster {cluster} keeps its hosts: {}",
            problems.to_string().trim_end()
        ),
    }
}
