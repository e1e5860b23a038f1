use std::sync::Arc;

use super::archive::{Archive, Text};
use super::{EffectiveConfig, Folder, RouterTexts, skeleton};
use crate::model::{ListenerSpec, Name};
use crate::mosn::{
    Cluster, ClusterManager, FilterChain, Listener, MosnConfig, RouterConfiguration, VirtualHost,
};
use crate::tree::{NodeId, Tree};

/// Gathers the configuration in effect while a file is being loaded.
#[derive(Default)]
pub(crate) struct Builder {
    config: EffectiveConfig,
    archive: Archive,
}

/// Where an object comes from.
pub(crate) enum Source<'s, 't, T> {
    /// The file.
    Node(&'s Tree<'t>, NodeId),
    /// A struct, where the file has it in pieces.
    Typed(&'s T),
}

impl<T: serde::Serialize> Source<'_, '_, T> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Node(tree, node) => tree.write(*node, out),
            // The structs have string keys and finite numbers only, so this cannot fail.
            Self::Typed(value) => out.push_str(&serde_json::to_string(value).unwrap_or_default()),
        }
    }
}

impl Builder {
    /// The file without what is kept object by object.
    pub(crate) fn base(&mut self, tree: &Tree<'_>, mut file: MosnConfig) {
        self.config.file = skeleton::of(tree, file.cluster_manager.clusters_configs.is_empty());
        for server in &mut file.servers {
            server.listeners = Vec::new();
            server.routers = Vec::new();
        }
        let extends = std::mem::take(&mut file.extends);
        if !extends.is_empty() {
            self.config.extends = serde_json::to_string(&extends).unwrap_or_default();
        }
        file.cluster_manager = ClusterManager {
            tls_context: file.cluster_manager.tls_context,
            cluster_pool_enable: file.cluster_manager.cluster_pool_enable,
            ..ClusterManager::default()
        };
        self.config.base = serde_json::to_string(&file).unwrap_or_default();
    }

    /// A cluster, as it stands in the file or in a folder.
    pub(crate) fn cluster(&mut self, name: &Name, source: &Source<'_, '_, Cluster>) -> Text {
        let text = self.archive.add(|out| source.write(out));
        self.config.clusters.insert(name.clone(), text.clone());
        text
    }

    pub(crate) fn clusters_folder(&mut self, folder: Folder) {
        self.config.clusters_folder = Some(Arc::new(folder));
    }

    /// A listener with what was worked out of it: its name and its resolved address.
    pub(crate) fn listener(&mut self, given: &Listener, spec: &ListenerSpec) {
        let mut listener = given.clone();
        listener.name = spec.name.to_string();
        if !given.address.starts_with(':') {
            listener.address = spec.address.to_string();
        }
        listener.network = match given.network.to_ascii_lowercase() {
            none if none.is_empty() => "tcp".to_owned(),
            network => network,
        };
        for chain in &mut listener.filter_chains {
            chain.fill_in();
        }
        let text = self.archive.add(|out| Source::Typed(&listener).write(out));
        replace_or_push(&mut self.config.listeners, &spec.name, text);
    }

    /// A virtual host, for [`Builder::router`].
    pub(crate) fn virtual_host(&mut self, source: &Source<'_, '_, VirtualHost>) -> Text {
        self.archive.add(|out| source.write(out))
    }

    /// A route table: `source` is it with or without its virtual hosts, `hosts` are those.
    pub(crate) fn router(
        &mut self,
        name: &Name,
        source: &Source<'_, '_, RouterConfiguration>,
        hosts: Vec<Text>,
        folder: Option<Folder>,
        of_listener: bool,
    ) {
        let table = self.archive.add(|out| match source {
            // The folder's virtual hosts are shown in place.
            Source::Node(tree, node) => {
                tree.write_without(*node, &["virtual_hosts", "router_configs"], out);
            }
            Source::Typed(table) => {
                let table = RouterConfiguration {
                    virtual_hosts: Vec::new(),
                    router_configs: String::new(),
                    ..(*table).clone()
                };
                Source::Typed(&table).write(out);
            }
        });
        let folder = folder.map(Arc::new);
        let mut router =
            RouterTexts { name: name.clone(), table, hosts, folder, of_listener, written: !of_listener };
        match self.config.router_mut(name) {
            Some(earlier) => {
                router.of_listener |= earlier.of_listener;
                *earlier = router;
            }
            None => self.config.routers.push(router),
        }
    }

    pub(crate) fn finish(mut self) -> EffectiveConfig {
        self.archive.finish();
        self.config.archive = Arc::new(self.archive);
        self.config.clusters.shrink_to_fit();
        self.config
    }
}

fn replace_or_push(list: &mut Vec<(Name, Text)>, name: &Name, text: Text) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some((_, earlier)) => *earlier = text,
        None => list.push((name.clone(), text)),
    }
}

impl FilterChain {
    /// As MOSN shows it: TLS contexts always as a set, which is never empty.
    fn fill_in(&mut self) {
        let single = self.tls_context.take();
        if self.tls_context_set.is_empty() {
            self.tls_context_set.push(single.unwrap_or_default());
        }
    }
}

impl Cluster {
    /// Fills in what MOSN fills in for a cluster of the file.
    pub(super) fn fill_in(&mut self) {
        if self.max_request_per_conn == 0 {
            self.max_request_per_conn = 1024;
        }
        if self.conn_buffer_limit_bytes == 0 {
            self.conn_buffer_limit_bytes = 16384;
        }
        for host in &mut self.hosts {
            host.weight = host.weight.clamp(1, 128);
        }
    }
}
