//! Reading a file, and the files it refers to, into the model.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::document::{At, Document, Findings, syntax_problem};
use crate::effective::{Builder, EffectiveConfig, Folder, Source, Text};
use crate::model::{Config, Name, VirtualHostSpec};
use crate::mosn::{Cluster, ClusterManager, Listener, MosnConfig, RouterConfiguration, VirtualHost};
use crate::paths::Paths;
use crate::problem::{Problem, Problems, Severity};
use crate::translate::{self, Domains, Names, Users};
use crate::tree::{Kind, NodeId, Tree, parse_json, yaml_to_json};

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON: no comments, no byte order mark, nothing after the value.
    Json,
    /// YAML, which is read as the JSON that it stands for.
    Yaml,
}

impl Format {
    /// That of a file: YAML if its name ends in exactly `.yaml` or `.yml`, otherwise JSON.
    #[must_use]
    pub fn of_path(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Json,
        }
    }
}

/// How a configuration is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Unknown keys are errors instead of warnings.
    pub strict: bool,
}

/// A configuration that can be run.
#[derive(Debug)]
pub struct Loaded {
    /// What the process runs on.
    pub model: Config,
    /// What its author may want to know.
    pub warnings: Vec<Problem>,
    /// The configuration in effect, to be dumped.
    pub effective: EffectiveConfig,
    /// Where the process keeps its files.
    pub paths: Paths,
}

/// Reads, checks and translates the file at `path`, and those in the folders it names.
///
/// # Errors
/// Everything that is wrong with it, or that the file cannot be read.
pub fn load(path: &Path, options: Options) -> Result<Loaded, Problems> {
    let text = read(path).map_err(|problem| Problems(vec![problem]))?;
    parse(&text, Format::of_path(path), path, options)
}

/// Checks and translates a text as if it had been read from the file `base`, which need not exist.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, format: Format, base: &Path, options: Options) -> Result<Loaded, Problems> {
    let findings = Findings::new(options.strict);
    let loaded = with_tree(text, format, base, &findings, |tree| translate(tree, base, &findings)).flatten();
    let failed = findings.has_errors();
    let problems = findings.into_problems(base);
    match loaded {
        Some((build, paths)) if !failed => {
            Ok(Loaded { model: build.model, warnings: problems, effective: build.effective.finish(), paths })
        }
        _ => Err(Problems(problems)),
    }
}

pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    let problem = |message| Problem::of_file(path, Severity::Error, message);
    let bytes = std::fs::read(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1;
        problem(format!("is not UTF-8: line {line} has a byte that belongs to no character"))
    })
}

/// Reads a text and hands its tree on; `None` if it is not a document.
pub(crate) fn with_tree<R>(
    text: &str,
    format: Format,
    file: &Path,
    findings: &Findings,
    then: impl FnOnce(&Tree<'_>) -> R,
) -> Option<R> {
    let refuse = |error| {
        findings.add(Severity::Error, || syntax_problem(file, error));
    };
    match format {
        Format::Json => parse_json(text).map_err(refuse).ok().map(|tree| then(&tree)),
        Format::Yaml => {
            let (json, places) = yaml_to_json(text).map_err(refuse).ok()?;
            let tree = parse_json(&json).map_err(refuse).ok()?.with_places(places);
            Some(then(&tree))
        }
    }
}

/// What is made of a file on the way through it.
#[derive(Default)]
pub(crate) struct Build {
    pub(crate) model: Config,
    pub(crate) names: Names,
    pub(crate) effective: Builder,
    /// Who uses which route table.
    pub(crate) users: HashMap<String, Users>,
}

fn translate(tree: &Tree<'_>, base: &Path, findings: &Findings) -> Option<(Build, Paths)> {
    let document = Document::new(base.to_owned(), tree, findings);
    let large = LargeArrays::hide(&document);
    let shell: MosnConfig = document.decode(Tree::ROOT)?;
    let at = document.at(Tree::ROOT);
    let paths = Paths::derive(base, &shell.uds_dir);
    let mut build = Build::default();

    translate::whole_file(&at, &shell);
    let [server] = shell.servers.as_slice() else {
        at.key("servers").error(format!("expected exactly one server, found {}", shell.servers.len()));
        return None;
    };
    let at_servers = at.key("servers");
    let at_server = at_servers.index(0);
    build.model.server = translate::server(&at, &shell, &at_server, server, &paths);
    let at_metrics = at.key("metrics");
    let shared = translate::Shared {
        tls: &shell.cluster_manager.tls_context,
        own_pools: shell.cluster_manager.cluster_pool_enable,
        ewma_alpha: translate::ewma_alpha(&at_metrics.key("ewma"), shell.metrics.ewma.as_ref()),
    };
    build.clusters(&document, &at.key("cluster_manager"), &shell.cluster_manager, large.clusters, &shared);
    let at_listeners = at_server.key("listeners");
    build.users = translate::users(&server.listeners);
    build.inline_routers(&document, &at_listeners, &server.listeners);
    build.routers(&document, &at_server.key("routers"), &server.routers, &large.routers);
    build.listeners(&at_listeners, &server.listeners, &paths);
    build.effective.base(tree, shell);
    Some((build, paths))
}

/// The arrays that can be long: their elements are decoded, translated and dropped one by one.
struct LargeArrays {
    clusters: Option<NodeId>,
    /// Each of the server's route tables, and its virtual hosts.
    routers: Vec<(NodeId, Option<NodeId>)>,
}

impl LargeArrays {
    fn hide(document: &Document<'_, '_>) -> Self {
        let tree = document.tree;
        let clusters = hide(document, document.find(Tree::ROOT, &["cluster_manager", "clusters"]));
        let server =
            document.find(Tree::ROOT, &["servers"]).and_then(|servers| tree.elements(servers).next());
        let tables = server.and_then(|server| document.find(server, &["routers"]));
        let tables = tables.into_iter().flat_map(|tables| tree.elements(tables));
        let routers =
            tables.map(|table| (table, hide(document, tree.find(table, "virtual_hosts")))).collect();
        Self { clusters, routers }
    }
}

fn hide(document: &Document<'_, '_>, array: Option<NodeId>) -> Option<NodeId> {
    let array = array.filter(|&array| document.tree.kind(array) == Kind::Array)?;
    document.decoder.hide(array);
    Some(array)
}

impl Build {
    fn clusters(
        &mut self,
        document: &Document<'_, '_>,
        at: &At<'_>,
        manager: &ClusterManager,
        hidden: Option<NodeId>,
        shared: &translate::Shared<'_>,
    ) {
        if !manager.clusters_configs.is_empty() {
            let at = at.key("clusters_configs");
            if has_elements(document, hidden) || !manager.clusters.is_empty() {
                at.error("there can only be one of clusters and clusters_configs");
                return;
            }
            let mut files = Vec::new();
            each_file(&at, Path::new(&manager.clusters_configs), document.findings, |at, document| {
                if let Some(given) = document.decode::<Cluster>(Tree::ROOT)
                    && let Some(text) =
                        self.cluster(at, &given, &Source::Node(document.tree, Tree::ROOT), shared)
                {
                    files.push((file_name(document), text));
                }
            });
            self.effective.clusters_folder(Folder { path: manager.clusters_configs.clone(), files });
            return;
        }
        for node in hidden.into_iter().flat_map(|array| document.tree.elements(array)) {
            if let Some(given) = document.decode::<Cluster>(node) {
                self.cluster(&document.at(node), &given, &Source::Node(document.tree, node), shared);
            }
        }
        let at = at.key("clusters");
        for (index, given) in manager.clusters.iter().enumerate() {
            self.cluster(&at.index(index), given, &Source::Typed(given), shared);
        }
    }

    fn cluster(
        &mut self,
        at: &At<'_>,
        given: &Cluster,
        source: &Source<'_, '_, Cluster>,
        shared: &translate::Shared<'_>,
    ) -> Option<Text> {
        let spec = translate::cluster(at, given, shared, &mut self.names)?;
        let text = self.effective.cluster(&spec.name, source);
        self.model.clusters.push(spec);
        Some(text)
    }

    /// The route tables that listeners carry, in an older place for them.
    fn inline_routers(&mut self, document: &Document<'_, '_>, at: &At<'_>, listeners: &[Listener]) {
        for (index, listener) in listeners.iter().enumerate() {
            let at = at.index(index);
            for (chain, filter, table) in translate::inline_tables(listener) {
                let at = at.key("filter_chains");
                let at = at.index(chain);
                let at = at.key("filters");
                let at = at.index(filter);
                self.router(document, &at.key("config"), table, None, None);
            }
        }
    }

    fn routers(
        &mut self,
        document: &Document<'_, '_>,
        at: &At<'_>,
        tables: &[RouterConfiguration],
        nodes: &[(NodeId, Option<NodeId>)],
    ) {
        for (index, table) in tables.iter().enumerate() {
            let at = at.index(index);
            if table.router_config_name.is_empty() {
                at.warning("has no name, so nothing can use it");
            } else {
                let (node, hosts) = nodes.get(index).copied().unzip();
                self.router(document, &at, table, node, hosts.flatten());
            }
        }
    }

    /// The route table that a document consists of.
    pub(crate) fn only_router(&mut self, document: &Document<'_, '_>) -> Option<()> {
        let hosts = hide(document, document.tree.find(Tree::ROOT, "virtual_hosts"));
        let table: RouterConfiguration = document.decode(Tree::ROOT)?;
        let at = document.at(Tree::ROOT);
        if table.router_config_name.is_empty() {
            at.key("router_config_name").error("a route table needs a name");
        }
        if !table.router_configs.is_empty() {
            at.key("router_configs").error("a change names no folder; give virtual_hosts");
            return None;
        }
        self.router(document, &at, &table, Some(Tree::ROOT), hosts);
        Some(())
    }

    fn router(
        &mut self,
        document: &Document<'_, '_>,
        at: &At<'_>,
        table: &RouterConfiguration,
        node: Option<NodeId>,
        hidden: Option<NodeId>,
    ) {
        let mut hosts = Hosts::default();
        let mut folder = None;
        self.names.users = self.users.get(&table.router_config_name).cloned();
        if !table.router_configs.is_empty() {
            let at = at.key("router_configs");
            if has_elements(document, hidden) || !table.virtual_hosts.is_empty() {
                at.error("there can only be one of virtual_hosts and router_configs");
                return;
            }
            let mut files = Vec::new();
            each_file(&at, Path::new(&table.router_configs), document.findings, |at, document| {
                if let Some(given) = document.decode::<VirtualHost>(Tree::ROOT) {
                    let source = Source::Node(document.tree, Tree::ROOT);
                    let text = self.virtual_host(at, &given, &source, &mut hosts);
                    files.push((file_name(document), text));
                }
            });
            folder = Some(Folder { path: table.router_configs.clone(), files });
        }
        for node in hidden.into_iter().flat_map(|array| document.tree.elements(array)) {
            if let Some(given) = document.decode::<VirtualHost>(node) {
                self.virtual_host(&document.at(node), &given, &Source::Node(document.tree, node), &mut hosts);
            }
        }
        let at_hosts = at.key("virtual_hosts");
        for (index, given) in table.virtual_hosts.iter().enumerate() {
            self.virtual_host(&at_hosts.index(index), given, &Source::Typed(given), &mut hosts);
        }
        let given = has_elements(document, hidden) || !table.virtual_hosts.is_empty();
        if !given && hosts.specs.is_empty() {
            at_hosts.warning("no virtual host: every request is answered 404");
        }
        let spec = translate::table(at, table, hosts.specs, &mut self.names);
        let source = match node {
            Some(node) => Source::Node(document.tree, node),
            None => Source::Typed(table),
        };
        self.effective.router(&spec.name, &source, hosts.texts, folder, node.is_none());
        match self.model.routers.iter_mut().find(|other| other.name == spec.name) {
            Some(earlier) => {
                at.warning(format!("replaces the earlier router {:?}", &*spec.name));
                *earlier = spec;
            }
            None => self.model.routers.push(spec),
        }
    }

    fn virtual_host(
        &mut self,
        at: &At<'_>,
        given: &VirtualHost,
        source: &Source<'_, '_, VirtualHost>,
        hosts: &mut Hosts,
    ) -> Text {
        hosts.specs.push(translate::virtual_host(at, given, &mut hosts.domains, &mut self.names));
        let text = self.effective.virtual_host(source);
        hosts.texts.push(text.clone());
        text
    }

    fn listeners(&mut self, at: &At<'_>, listeners: &[Listener], paths: &Paths) {
        let routers: HashSet<Name> = self.model.routers.iter().map(|table| table.name.clone()).collect();
        let context = translate::ListenerContext { routers: &routers, paths };
        let specs = translate::listeners(at, listeners, &context, &mut self.names);
        for (index, spec) in specs {
            if let Some(given) = listeners.get(index) {
                self.effective.listener(given, &spec);
            }
            self.model.listeners.push(spec);
        }
    }
}

/// The virtual hosts of one table so far.
#[derive(Default)]
struct Hosts {
    specs: Vec<VirtualHostSpec>,
    texts: Vec<Text>,
    domains: Domains,
}

fn has_elements(document: &Document<'_, '_>, array: Option<NodeId>) -> bool {
    array.is_some_and(|array| document.tree.elements(array).next().is_some())
}

fn file_name(document: &Document<'_, '_>) -> String {
    document.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads each `.json` file of a folder, in the order of their names; empty ones are skipped.
fn each_file(
    at: &At<'_>,
    folder: &Path,
    findings: &Findings,
    mut then: impl FnMut(&At<'_>, &Document<'_, '_>),
) {
    let listing = std::fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<PathBuf>, _>>()
    });
    let mut files = match listing {
        Ok(files) => files,
        Err(error) => return at.error(format!("the folder {folder:?} cannot be read: {error}")),
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    for file in files {
        let text = match read(&file) {
            Ok(text) => text,
            Err(problem) => {
                findings.add(Severity::Error, || problem);
                continue;
            }
        };
        if text.is_empty() {
            continue;
        }
        with_tree(&text, Format::Json, &file, findings, |tree| {
            let document = Document::new(file.clone(), tree, findings);
            then(&document.at(Tree::ROOT), &document);
        });
    }
}
