//! Reading a file, and the files it refers to, into the model.

use std::path::{Path, PathBuf};

use crate::document::{At, Document, Findings, syntax_problem};
use crate::model::{Config, Name, RouterSpec};
use crate::mosn::{Cluster, ClusterManager, MosnConfig, RouterConfiguration, VirtualHost};
use crate::paths::Paths;
use crate::problem::{Problem, Problems, Severity};
use crate::translate::{self, Domains, Names};
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
        Some((model, paths)) if !failed => Ok(Loaded { model, warnings: problems, paths }),
        _ => Err(Problems(problems)),
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    let problem = |message| Problem {
        file: path.to_owned(),
        path: String::new(),
        line: 0,
        column: 0,
        severity: Severity::Error,
        message,
        suggestion: None,
    };
    let bytes = std::fs::read(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1;
        problem(format!("is not UTF-8: line {line} has a byte that belongs to no character"))
    })
}

/// Reads a text and hands its tree on; `None` if it is not a document.
fn with_tree<R>(
    text: &str,
    format: Format,
    file: &Path,
    findings: &Findings,
    then: impl FnOnce(&Tree<'_>) -> R,
) -> Option<R> {
    let refuse = |error| {
        findings.add(syntax_problem(file.to_owned(), error));
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

fn translate(tree: &Tree<'_>, base: &Path, findings: &Findings) -> Option<(Config, Paths)> {
    let document = Document::new(base.to_owned(), tree, findings);
    let large = LargeArrays::hide(&document);
    let shell: MosnConfig = document.decode(Tree::ROOT)?;
    let at = document.at(Tree::ROOT);
    let paths = Paths::derive(base, &shell.uds_dir);
    let mut names = Names::default();

    translate::whole_file(&at, &shell);
    let [server] = shell.servers.as_slice() else {
        at.key("servers").error(format!("expected exactly one server, found {}", shell.servers.len()));
        return None;
    };
    let at_servers = at.key("servers");
    let at_server = at_servers.index(0);
    let mut model =
        Config { server: translate::server(&at, &shell, &at_server, server, &paths), ..Config::default() };

    clusters(
        &document,
        &at.key("cluster_manager"),
        &shell.cluster_manager,
        large.clusters,
        &mut names,
        &mut model,
    );

    let at_listeners = at_server.key("listeners");
    for (index, listener) in server.listeners.iter().enumerate() {
        let at = at_listeners.index(index);
        for (chain, filter, table) in translate::inline_tables(listener) {
            let at = at.key("filter_chains");
            let at = at.index(chain);
            let at = at.key("filters");
            let at = at.index(filter);
            router(&document, &at.key("config"), table, None, &mut names, &mut model.routers);
        }
    }
    let at_routers = at_server.key("routers");
    for (index, table) in server.routers.iter().enumerate() {
        if table.router_config_name.is_empty() {
            at_routers.index(index).warning("has no name, so nothing can use it");
            continue;
        }
        let hidden = large.virtual_hosts.get(index).copied().flatten();
        router(&document, &at_routers.index(index), table, hidden, &mut names, &mut model.routers);
    }

    let known: std::collections::HashSet<Name> =
        model.routers.iter().map(|table| table.name.clone()).collect();
    model.listeners = translate::listeners(
        &at_listeners,
        &server.listeners,
        &|name| known.contains(name),
        &paths,
        &mut names,
    );
    Some((model, paths))
}

/// The arrays that can be long: their elements are decoded, translated and dropped one by one.
struct LargeArrays {
    clusters: Option<NodeId>,
    /// Of each of the server's route tables.
    virtual_hosts: Vec<Option<NodeId>>,
}

impl LargeArrays {
    fn hide(document: &Document<'_, '_>) -> Self {
        let tree = document.tree;
        let hide = |array: Option<NodeId>| {
            let array = array.filter(|&array| tree.kind(array) == Kind::Array)?;
            document.decoder.hide(array);
            Some(array)
        };
        let clusters = hide(document.find(Tree::ROOT, &["cluster_manager", "clusters"]));
        let server =
            document.find(Tree::ROOT, &["servers"]).and_then(|servers| tree.elements(servers).next());
        let tables = server.and_then(|server| document.find(server, &["routers"]));
        let tables = tables.into_iter().flat_map(|tables| tree.elements(tables));
        let virtual_hosts = tables.map(|table| hide(document.find(table, &["virtual_hosts"]))).collect();
        Self { clusters, virtual_hosts }
    }
}

fn clusters(
    document: &Document<'_, '_>,
    at: &At<'_>,
    manager: &ClusterManager,
    hidden: Option<NodeId>,
    names: &mut Names,
    model: &mut Config,
) {
    let shared = translate::Shared { tls: &manager.tls_context, own_pools: manager.cluster_pool_enable };
    let given = hidden.is_some_and(|array| document.tree.elements(array).next().is_some())
        || !manager.clusters.is_empty();
    if !manager.clusters_configs.is_empty() {
        let at = at.key("clusters_configs");
        if given {
            at.error("there can only be one of clusters and clusters_configs");
            return;
        }
        each_file(&at, Path::new(&manager.clusters_configs), document.findings, |at, document| {
            if let Some(given) = document.decode::<Cluster>(Tree::ROOT) {
                model.clusters.extend(translate::cluster(at, &given, &shared, names));
            }
        });
        return;
    }
    for node in hidden.into_iter().flat_map(|array| document.tree.elements(array)) {
        if let Some(given) = document.decode::<Cluster>(node) {
            model.clusters.extend(translate::cluster(&document.at(node), &given, &shared, names));
        }
    }
    let at = at.key("clusters");
    for (index, given) in manager.clusters.iter().enumerate() {
        model.clusters.extend(translate::cluster(&at.index(index), given, &shared, names));
    }
}

fn router(
    document: &Document<'_, '_>,
    at: &At<'_>,
    table: &RouterConfiguration,
    hidden: Option<NodeId>,
    names: &mut Names,
    routers: &mut Vec<RouterSpec>,
) {
    let mut spec = translate::table(at, table, names);
    let mut domains = Domains::default();
    let given = hidden.is_some_and(|array| document.tree.elements(array).next().is_some())
        || !table.virtual_hosts.is_empty();
    if !table.router_configs.is_empty() {
        let at = at.key("router_configs");
        if given {
            at.error("there can only be one of virtual_hosts and router_configs");
            return;
        }
        each_file(&at, Path::new(&table.router_configs), document.findings, |at, document| {
            if let Some(host) = document.decode::<VirtualHost>(Tree::ROOT) {
                spec.virtual_hosts.push(translate::virtual_host(at, &host, &mut domains, names));
            }
        });
    }
    for node in hidden.into_iter().flat_map(|array| document.tree.elements(array)) {
        if let Some(host) = document.decode::<VirtualHost>(node) {
            spec.virtual_hosts.push(translate::virtual_host(&document.at(node), &host, &mut domains, names));
        }
    }
    let at_hosts = at.key("virtual_hosts");
    for (index, host) in table.virtual_hosts.iter().enumerate() {
        spec.virtual_hosts.push(translate::virtual_host(&at_hosts.index(index), host, &mut domains, names));
    }
    if spec.virtual_hosts.is_empty() {
        at_hosts.warning("no virtual host: every request is answered 404");
    }
    match routers.iter_mut().find(|other| other.name == spec.name) {
        Some(earlier) => {
            at.warning(format!("replaces the earlier router {:?}", &*spec.name));
            *earlier = spec;
        }
        None => routers.push(spec),
    }
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
                findings.add(problem);
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
