use super::archive::Piece;
use super::{EffectiveConfig, RouterPieces};
use crate::model::{ListenerSpec, Name};
use crate::mosn::{
    Cluster, ClusterManager, FilterChain, Listener, MosnConfig, RouterConfiguration, VirtualHost,
};
use crate::tree::{NodeId, Tree};

/// Gathers the configuration in effect while a file is being loaded.
#[derive(Default)]
pub(crate) struct Builder {
    config: EffectiveConfig,
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
    pub(crate) fn base(&mut self, mut file: MosnConfig) {
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

    pub(crate) fn cluster(&mut self, name: &Name, source: &Source<'_, '_, Cluster>) {
        let piece = self.config.archive.add(|out| source.write(out));
        self.config.clusters.push((name.clone(), piece));
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
        let piece = self.config.archive.add(|out| Source::Typed(&listener).write(out));
        replace_or_push(&mut self.config.listeners, &spec.name, piece);
    }

    /// A virtual host, for [`Builder::router`].
    pub(crate) fn virtual_host(&mut self, source: &Source<'_, '_, VirtualHost>) -> HostPiece {
        HostPiece(self.config.archive.add(|out| source.write(out)))
    }

    pub(crate) fn router(&mut self, name: &Name, table: &RouterConfiguration, hosts: Vec<HostPiece>) {
        let table = RouterConfiguration {
            virtual_hosts: Vec::new(),
            // The folder's virtual hosts are shown in place.
            router_configs: String::new(),
            ..table.clone()
        };
        let router = RouterPieces {
            name: name.clone(),
            table: self.config.archive.add(|out| Source::Typed(&table).write(out)),
            virtual_hosts: hosts.into_iter().map(|HostPiece(piece)| piece).collect(),
        };
        match self.config.routers.iter_mut().find(|earlier| earlier.name == *name) {
            Some(earlier) => *earlier = router,
            None => self.config.routers.push(router),
        }
    }

    pub(crate) fn finish(mut self) -> EffectiveConfig {
        self.config.archive.finish();
        self.config
    }
}

/// A virtual host that was kept.
pub(crate) struct HostPiece(Piece);

fn replace_or_push(list: &mut Vec<(Name, Piece)>, name: &Name, piece: Piece) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some((_, earlier)) => *earlier = piece,
        None => list.push((name.clone(), piece)),
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
