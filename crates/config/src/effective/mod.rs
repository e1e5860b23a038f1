//! The configuration as it is in effect, kept small, and written out when somebody asks.

mod archive;
mod build;
mod query;

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::document::{Document, Findings};
use crate::model::Name;
use crate::mosn::{Cluster, Listener, MosnConfig, RouterConfiguration, TlsContext, VirtualHost};
use crate::tree::{Tree, parse_json};

use archive::{Archive, Piece, Reader};

pub(crate) use build::{Builder, HostPiece, Source};
pub use query::DumpError;

/// The configuration in effect, in MOSN's own shape.
///
/// Kept as compressed text, about a tenth of the file; the typed structs are made again one by one when it
/// is dumped. What the file leaves out is filled in as MOSN fills it in: names, resolved addresses, weights
/// and the like.
#[derive(Debug, Default)]
pub struct EffectiveConfig {
    archive: Archive,
    /// The file without listeners, routers, clusters and extensions.
    base: String,
    /// A JSON array; empty if there are none.
    extends: String,
    listeners: Vec<(Name, Piece)>,
    clusters: Vec<(Name, Piece)>,
    routers: Vec<RouterPieces>,
}

#[derive(Debug)]
struct RouterPieces {
    name: Name,
    /// The table without its virtual hosts.
    table: Piece,
    virtual_hosts: Vec<Piece>,
}

/// Whether private keys are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    Shown,
    Redacted,
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
        let mut dump =
            Dump { config: self, reader: self.archive.reader(), keys: Keys::Redacted, out: String::new() };
        match query::parse(query)? {
            query::What::All => dump.all(),
            query::What::Base => dump.base(),
            query::What::Routers => dump.routers_by_name(),
            query::What::Clusters => dump.by_name(&self.clusters, Dump::cluster),
            query::What::Listeners => dump.by_name(&self.listeners, Dump::listener),
            query::What::Router(name) => match self.routers.iter().find(|router| *router.name == *name) {
                Some(router) => dump.router(router),
                None => dump.push(&RouterConfiguration::default()),
            },
            query::What::Cluster(name) => match find(&self.clusters, &name) {
                Some(piece) => dump.cluster(piece),
                None => dump.push(&Cluster::default()),
            },
            query::What::Listener(name) => match find(&self.listeners, &name) {
                Some(piece) => dump.listener(piece),
                None => dump.out.push_str("{}"),
            },
        }
        Ok(dump.out)
    }

    /// A configuration file that is equivalent to the one that was loaded: JSON, with everything from the
    /// folders it refers to in place, and with private keys.
    #[must_use]
    pub fn to_file(&self) -> String {
        let mut dump =
            Dump { config: self, reader: self.archive.reader(), keys: Keys::Shown, out: String::new() };
        dump.file();
        dump.out
    }
}

fn find(list: &[(Name, Piece)], name: &str) -> Option<Piece> {
    list.iter().find(|(known, _)| **known == *name).map(|&(_, piece)| piece)
}

/// One answer while it is being written.
struct Dump<'c> {
    config: &'c EffectiveConfig,
    reader: Reader<'c>,
    keys: Keys,
    out: String,
}

impl Dump<'_> {
    fn all(&mut self) {
        self.out.push_str("{\"mosn_config\":");
        self.base();
        if !self.config.listeners.is_empty() {
            self.out.push_str(",\"listener\":");
            self.by_name(&self.config.listeners, Self::listener);
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
        self.redact(&mut base.cluster_manager.tls_context);
        base
    }

    fn file(&mut self) {
        let mut base = self.decoded_base();
        let server = base.servers.pop().unwrap_or_default();
        self.out.push_str("{\"servers\":[");
        self.push(&server);
        self.reopen();
        self.list("listeners", &self.config.listeners, Self::listener);
        self.out.push_str(",\"routers\":[");
        for (index, router) in self.config.routers.iter().enumerate() {
            self.comma(index);
            self.router(router);
        }
        self.out.push_str("]}],\"cluster_manager\":");
        self.push(&base.cluster_manager);
        self.reopen();
        self.list("clusters", &self.config.clusters, Self::cluster);
        self.out.push('}');
        if !self.config.extends.is_empty() {
            self.out.push_str(",\"extends\":");
            self.out.push_str(&self.config.extends);
        }
        let rest = serde_json::to_value(&base).unwrap_or_default();
        for (key, value) in rest.as_object().into_iter().flatten() {
            if key != "servers" && key != "cluster_manager" {
                let _ = write!(self.out, ",{key:?}:{value}");
            }
        }
        self.out.push('}');
    }

    /// Appends a list to the object that was just written.
    fn list(&mut self, key: &str, items: &[(Name, Piece)], write: fn(&mut Self, Piece)) {
        let comma = if self.out.ends_with('{') { "" } else { "," };
        let _ = write!(self.out, "{comma}\"{key}\":[");
        for (index, &(_, piece)) in items.iter().enumerate() {
            self.comma(index);
            write(self, piece);
        }
        self.out.push(']');
    }

    fn by_name(&mut self, items: &[(Name, Piece)], write: fn(&mut Self, Piece)) {
        self.out.push('{');
        for (index, (name, piece)) in items.iter().enumerate() {
            self.comma(index);
            self.push(&**name);
            self.out.push(':');
            write(self, *piece);
        }
        self.out.push('}');
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

    fn router(&mut self, router: &RouterPieces) {
        let table = decode::<RouterConfiguration>(self.reader.get(router.table));
        self.push(&table);
        if router.virtual_hosts.is_empty() {
            return;
        }
        self.reopen();
        let comma = if self.out.ends_with('{') { "" } else { "," };
        let _ = write!(self.out, "{comma}\"virtual_hosts\":[");
        for (index, &piece) in router.virtual_hosts.iter().enumerate() {
            self.comma(index);
            let host = decode::<VirtualHost>(self.reader.get(piece));
            self.push(&host);
        }
        self.out.push_str("]}");
    }

    fn cluster(&mut self, piece: Piece) {
        if let Some(mut cluster) = decode::<Cluster>(self.reader.get(piece)) {
            cluster.fill_in();
            self.redact(&mut cluster.tls_context);
            self.push(&cluster);
        }
    }

    fn listener(&mut self, piece: Piece) {
        if let Some(mut listener) = decode::<Listener>(self.reader.get(piece)) {
            for chain in &mut listener.filter_chains {
                for tls in chain.tls_context_set.iter_mut().chain(&mut chain.tls_context) {
                    self.redact(tls);
                }
            }
            self.push(&listener);
        }
    }

    fn redact(&self, tls: &mut TlsContext) {
        if self.keys == Keys::Redacted && !tls.private_key.is_empty() {
            tls.private_key = REDACTED.to_owned();
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

/// Decodes text that was decoded before, so that nothing in it can be wrong.
fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    let findings = Findings::default();
    let tree = parse_json(text).ok()?;
    Document::new(Path::new("").to_owned(), &tree, &findings).decode(Tree::ROOT)
}
