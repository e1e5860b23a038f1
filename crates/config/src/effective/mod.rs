//! The configuration as it is in effect, kept small, and written out when somebody asks.

mod archive;
mod build;
mod change;
mod file;
mod query;
mod skeleton;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::Serialize;

use crate::document::{Document, Findings};
use crate::model::{HostSpec, Name};
use crate::mosn::{Cluster, Host, Listener, MosnConfig, RouterConfiguration, TlsContext, VirtualHost};
use crate::tree::{Tree, parse_json};
use crate::value::Metadata;

use archive::{Archive, Reader};

pub(crate) use archive::Text;
pub(crate) use build::{Builder, Source};
pub use change::{HostEdit, NewCluster, NewRouter, NewVirtualHost, RouteEdit};
pub(crate) use file::FolderState;
pub use query::DumpError;

/// The configuration in effect, in MOSN's own shape.
///
/// Kept as compressed text, about a tenth of the file; the typed structs are made again one by one when it
/// is dumped. What the file leaves out is filled in as MOSN fills it in: names, resolved addresses, weights
/// and the like.
///
/// A copy shares the texts with its original.
#[derive(Clone, Debug, Default)]
pub struct EffectiveConfig {
    archive: Arc<Archive>,
    /// The file without listeners, routers, clusters and extensions, as MOSN writes it.
    base: String,
    /// The file as it was written, without routers and clusters (see [`skeleton`]).
    file: String,
    /// A JSON array; empty if there are none.
    extends: String,
    listeners: Vec<(Name, Text)>,
    clusters: IndexMap<Name, Text, ahash::RandomState>,
    clusters_folder: Option<Arc<Folder>>,
    routers: Vec<RouterTexts>,
}

#[derive(Clone, Debug)]
struct RouterTexts {
    name: Name,
    /// The table without its virtual hosts.
    table: Text,
    hosts: Vec<Text>,
    /// Where its virtual hosts are kept, if not in the file.
    folder: Option<Arc<Folder>>,
    /// A listener has it in its `connection_manager` filter.
    of_listener: bool,
    /// It is written with the other tables: it was there, or it has changed since a listener gave it.
    written: bool,
}

/// A folder with one object in each file, as it was when it was read.
#[derive(Debug)]
pub(crate) struct Folder {
    /// As the file says.
    pub(crate) path: String,
    /// The texts of its files, by their names.
    pub(crate) files: Vec<(String, Text)>,
}

const REDACTED: &str = "***REDACTED***";

impl EffectiveConfig {
    /// What `config_dump` answers: JSON for the given query string, private keys redacted.
    ///
    /// Without a query all of it, by kind and name; `mosnconfig` the file without listeners, routers,
    /// clusters and extensions; `allrouters`, `allclusters`, `alllisteners` the objects of one kind by name;
    /// `router=N`, `cluster=N`, `listener=N` one object, empty if there is none of that name.
    ///
    /// # Errors
    /// The query has a parameter that is none of these, or several.
    pub fn dump(&self, query: &str) -> Result<String, DumpError> {
        self.dump_with_hosts(query, &|_| Vec::new())
    }

    /// The same with the hosts that `hosts_now` knows of clusters, by name, that have a `hosts_file`.
    ///
    /// # Errors
    /// As for [`Self::dump`].
    pub fn dump_with_hosts(&self, query: &str, hosts_now: &HostsNow<'_>) -> Result<String, DumpError> {
        let mut dump = Dump { config: self, hosts_now, reader: self.archive.reader(), out: String::new() };
        match query::parse(query)? {
            query::What::All => dump.all(),
            query::What::Base => dump.base(),
            query::What::Routers => dump.routers_by_name(),
            query::What::Clusters => dump.by_name(&self.clusters, Dump::cluster),
            query::What::Listeners => dump.listeners_by_name(),
            query::What::Router(name) => match self.router(&name) {
                Some(router) => dump.router(router),
                None => dump.push(&RouterConfiguration::default()),
            },
            query::What::Cluster(name) => match self.clusters.get(&*name) {
                Some(text) => dump.cluster(text),
                None => dump.push(&Cluster::default()),
            },
            query::What::Listener(name) => match self.listeners.iter().find(|(known, _)| **known == *name) {
                Some((_, text)) => dump.listener(text),
                None => dump.out.push_str("{}"),
            },
        }
        Ok(dump.out)
    }

    fn router(&self, name: &str) -> Option<&RouterTexts> {
        self.routers.iter().find(|router| *router.name == *name)
    }

    fn router_mut(&mut self, name: &str) -> Option<&mut RouterTexts> {
        self.routers.iter_mut().find(|router| *router.name == *name)
    }
}

/// The hosts that the cluster of a name has now; none if there is no such cluster any more.
type HostsNow<'a> = dyn Fn(&str) -> Vec<HostSpec> + 'a;

/// One answer while it is being written.
struct Dump<'c> {
    config: &'c EffectiveConfig,
    hosts_now: &'c HostsNow<'c>,
    reader: Reader<'c>,
    out: String,
}

impl Dump<'_> {
    fn all(&mut self) {
        self.out.push_str("{\"mosn_config\":");
        self.base();
        if !self.config.listeners.is_empty() {
            self.out.push_str(",\"listener\":");
            self.listeners_by_name();
        }
        if !self.config.clusters.is_empty() {
            self.out.push_str(",\"cluster\":");
            self.by_name(&self.config.clusters, Self::cluster);
        }
        if !self.config.routers.is_empty() {
            self.out.push_str(",\"routers\":");
            self.routers_by_name();
        }
        if !self.config.extends.is_empty() {
            self.out.push_str(",\"extends\":");
            self.out.push_str(&self.config.extends);
        }
        self.out.push('}');
    }

    fn base(&mut self) {
        let base = self.decoded_base();
        self.push(&base);
    }

    fn decoded_base(&self) -> MosnConfig {
        let mut base: MosnConfig = decode(&self.config.base).unwrap_or_default();
        redact(&mut base.cluster_manager.tls_context);
        base
    }

    fn by_name<'a>(
        &mut self,
        items: impl IntoIterator<Item = (&'a Name, &'a Text)>,
        write: fn(&mut Self, &Text),
    ) {
        self.out.push('{');
        for (index, (name, text)) in items.into_iter().enumerate() {
            self.comma(index);
            self.push(&**name);
            self.out.push(':');
            write(self, text);
        }
        self.out.push('}');
    }

    fn listeners_by_name(&mut self) {
        let config = self.config;
        self.by_name(config.listeners.iter().map(|(name, text)| (name, text)), Self::listener);
    }

    fn routers_by_name(&mut self) {
        self.out.push('{');
        for (index, router) in self.config.routers.iter().enumerate() {
            self.comma(index);
            self.push(&*router.name);
            self.out.push(':');
            self.router(router);
        }
        self.out.push('}');
    }

    fn router(&mut self, router: &RouterTexts) {
        let table = decode::<RouterConfiguration>(self.reader.get(&router.table));
        self.push(&table);
        if router.hosts.is_empty() {
            return;
        }
        self.reopen();
        let comma = if self.out.ends_with('{') { "" } else { "," };
        let _ = write!(self.out, "{comma}\"virtual_hosts\":[");
        for (index, text) in router.hosts.iter().enumerate() {
            self.comma(index);
            let host = decode::<VirtualHost>(self.reader.get(text));
            self.push(&host);
        }
        self.out.push_str("]}");
    }

    fn cluster(&mut self, text: &Text) {
        if let Some(mut cluster) = decode::<Cluster>(self.reader.get(text)) {
            cluster.fill_in();
            if !cluster.hosts_file.is_empty() {
                cluster.hosts = (self.hosts_now)(&cluster.name).iter().map(as_written).collect();
            }
            redact(&mut cluster.tls_context);
            self.push(&cluster);
        }
    }

    fn listener(&mut self, text: &Text) {
        if let Some(mut listener) = decode::<Listener>(self.reader.get(text)) {
            for chain in &mut listener.filter_chains {
                for tls in chain.tls_context_set.iter_mut().chain(&mut chain.tls_context) {
                    redact(tls);
                }
            }
            self.push(&listener);
        }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) {
        // The structs have string keys and finite numbers only, so this cannot fail.
        self.out.push_str(&serde_json::to_string(value).unwrap_or_default());
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.out.push(',');
        }
    }

    /// Takes the last `}` back, so that the object can go on.
    fn reopen(&mut self) {
        if self.out.ends_with('}') {
            self.out.pop();
        }
    }
}

/// A host as a file would have it.
fn as_written(host: &HostSpec) -> Host {
    let labels = host.metadata.iter().flat_map(|metadata| metadata.values()).flatten();
    Host {
        address: host.address.to_string(),
        hostname: host.hostname.to_string(),
        weight: host.weight,
        metadata: Metadata(labels.map(|(key, value)| (key.to_string(), value.to_string())).collect()),
        tls_disable: host.tls_disable,
    }
}

fn redact(tls: &mut TlsContext) {
    if !tls.private_key.is_empty() {
        tls.private_key = REDACTED.to_owned();
    }
}

/// Decodes text that was decoded before, so that nothing in it can be wrong.
fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    let findings = Findings::default();
    let tree = parse_json(text).ok()?;
    Document::new(Path::new("").to_owned(), &tree, &findings).decode(Tree::ROOT)
}
