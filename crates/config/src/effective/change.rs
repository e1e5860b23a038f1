//! Changes to the configuration in effect: each object is checked on its own, then put in its place.

use std::path::Path;

use super::{EffectiveConfig, RouterTexts, Text, decode};
use crate::document::{Document, Findings};
use crate::load::{Build, Format, with_tree};
use crate::model::{ClusterSpec, HostSpec, Name, RouterSpec, VirtualHostSpec};
use crate::mosn::{Cluster, Host, MosnConfig, Router, RouterConfiguration, VirtualHost};
use crate::problem::{Problem, Problems, Severity};
use crate::translate::{self, Domains, Names};
use crate::tree::{Tree, parse_json};

/// A cluster that was checked.
#[derive(Debug)]
pub struct NewCluster {
    /// What it means.
    pub spec: ClusterSpec,
    /// What its author may want to know.
    pub warnings: Vec<Problem>,
    text: Text,
}

/// A route table that was checked.
#[derive(Debug)]
pub struct NewRouter {
    /// What it means.
    pub spec: RouterSpec,
    /// What its author may want to know.
    pub warnings: Vec<Problem>,
    table: Text,
    hosts: Vec<Text>,
}

/// A virtual host that was checked.
#[derive(Debug)]
pub struct NewVirtualHost {
    /// What it means.
    pub spec: VirtualHostSpec,
    /// What its author may want to know.
    pub warnings: Vec<Problem>,
    text: Text,
}

/// A change to a virtual host's routes. Routes are JSON texts.
#[derive(Clone, Copy, Debug)]
pub enum RouteEdit<'a> {
    /// One more, after the last.
    Append(&'a str),
    /// Another one in the place of this.
    Replace(usize, &'a str),
    /// One less.
    Remove(usize),
    /// None is left.
    Clear,
}

/// A change to a cluster's hosts. Hosts are JSON arrays.
#[derive(Clone, Copy, Debug)]
pub enum HostEdit<'a> {
    /// These, and no others.
    Replace(&'a str),
    /// These ahead of those that there are; one whose address there is already replaces that.
    Append(&'a str),
    /// Without those of these addresses.
    Remove(&'a [&'a str]),
}

impl NewCluster {
    /// A cluster from another dialect, and what a dump shows of it.
    #[must_use]
    pub fn shown_as(spec: ClusterSpec, shown: &Cluster) -> Self {
        Self { spec, warnings: Vec::new(), text: text_of(shown) }
    }
}

impl NewRouter {
    /// A route table from another dialect, and what a dump shows of it: as many virtual hosts, in the
    /// same order.
    #[must_use]
    pub fn shown_as(spec: RouterSpec, shown: &RouterConfiguration) -> Self {
        let table = RouterConfiguration { virtual_hosts: Vec::new(), ..shown.clone() };
        let hosts = shown.virtual_hosts.iter().map(text_of).collect();
        Self { spec, warnings: Vec::new(), table: text_of(&table), hosts }
    }
}

fn text_of(value: &impl serde::Serialize) -> Text {
    // The structs have string keys and finite numbers only, so this cannot fail.
    Text::new(&serde_json::to_string(value).unwrap_or_default())
}

/// Checks.
impl EffectiveConfig {
    /// Checks a cluster; `origin` stands where a file's name would in what is found wrong.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new_cluster(&self, origin: &Path, json: &str) -> Result<NewCluster, Problems> {
        let ((spec, text), warnings) = check(origin, json, |document| {
            let given = document.decode::<Cluster>(Tree::ROOT)?;
            let base: MosnConfig = decode(&self.base).unwrap_or_default();
            let shared = translate::Shared {
                tls: &base.cluster_manager.tls_context,
                own_pools: base.cluster_manager.cluster_pool_enable,
                // What is wrong with it was said at the start.
                ewma_alpha: translate::ewma_alpha(&document.at(Tree::ROOT), base.metrics.ewma.as_ref()),
            };
            let at = document.at(Tree::ROOT);
            let spec = translate::cluster(&at, &given, &shared, &mut Names::live())?;
            Some((spec, own(document)))
        })?;
        Ok(NewCluster { spec, warnings, text })
    }

    /// The same for a cluster that has the hosts which the one of its name has now.
    ///
    /// # Errors
    /// As for [`Self::new_cluster`].
    pub fn new_cluster_settings(&self, origin: &Path, json: &str) -> Result<NewCluster, Problems> {
        let new = self.new_cluster(origin, json)?;
        let Some(before) = self.clusters.get(&new.spec.name) else { return Ok(new) };
        let hosts = self.elements(before, "hosts").join(",");
        let text = self.with_array(&new.text, "hosts", &hosts);
        Ok(NewCluster { warnings: new.warnings, ..self.new_cluster(origin, &text)? })
    }

    /// Checks a cluster with a change to its hosts; `None` if there is no such cluster.
    ///
    /// # Errors
    /// Everything that is wrong with the hosts.
    pub fn edit_hosts(
        &self,
        origin: &Path,
        cluster: &str,
        edit: HostEdit<'_>,
    ) -> Option<Result<NewCluster, Problems>> {
        let before = self.clusters.get(cluster)?;
        Some(self.edited_hosts(before, edit, origin).and_then(|hosts| {
            let text = self.with_array(before, "hosts", &hosts.join(","));
            self.new_cluster(origin, &text)
        }))
    }

    fn edited_hosts(
        &self,
        before: &Text,
        edit: HostEdit<'_>,
        origin: &Path,
    ) -> Result<Vec<String>, Problems> {
        let (mut hosts, gone) = match edit {
            HostEdit::Replace(json) => return Ok(checked_hosts(origin, json)?.0),
            HostEdit::Append(json) => checked_hosts(origin, json)?,
            HostEdit::Remove(addresses) => {
                (Vec::new(), addresses.iter().map(|&address| address.into()).collect())
            }
        };
        hosts.extend(self.elements(before, "hosts").into_iter().filter(|host| {
            let address = decode::<Host>(host).map(|host| host.address).unwrap_or_default();
            !gone.iter().any(|gone: &Name| **gone == *address)
        }));
        Ok(hosts)
    }

    /// Checks a route table.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new_router(&self, origin: &Path, json: &str) -> Result<NewRouter, Problems> {
        let ((spec, config), warnings) = check(origin, json, |document| {
            let mut build = Build { names: Names::live(), ..Build::default() };
            build.only_router(document)?;
            Some((build.model.routers.pop()?, build.effective.finish()))
        })?;
        let mut reader = config.archive.reader();
        let mut own = |text| Text::new(reader.get(text));
        let Some(RouterTexts { table, hosts, .. }) = config.routers.first() else {
            return Ok(NewRouter { spec, warnings, table: Text::new("{}"), hosts: Vec::new() });
        };
        Ok(NewRouter { spec, warnings, table: own(table), hosts: hosts.iter().map(own).collect() })
    }

    /// Checks a virtual host. Whether its domains are free is for the router to say.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new_virtual_host(&self, origin: &Path, json: &str) -> Result<NewVirtualHost, Problems> {
        let ((spec, text), warnings) = check(origin, json, |document| {
            let given = document.decode::<VirtualHost>(Tree::ROOT)?;
            let (at, mut domains) = (document.at(Tree::ROOT), Domains::default());
            let spec = translate::virtual_host(&at, &given, &mut domains, &mut Names::live());
            Some((spec, own(document)))
        })?;
        Ok(NewVirtualHost { spec, warnings, text })
    }

    /// Checks a virtual host, of which there must be one at `index`, with a change to its routes.
    ///
    /// # Errors
    /// Everything that is wrong with the route, or that there is none at its index.
    pub fn edit_routes(
        &self,
        origin: &Path,
        router: &str,
        index: usize,
        edit: RouteEdit<'_>,
    ) -> Result<NewVirtualHost, Problems> {
        let Some(before) = self.router(router).and_then(|router| router.hosts.get(index)) else {
            return Err(problem(origin, format!("router {router:?} has no virtual host {index}")));
        };
        let mut routes = self.elements(before, "routers");
        let mut warnings = Vec::new();
        let mut checked = |json: &str| {
            let (text, found) = check(origin, json, |document| {
                let given = document.decode::<Router>(Tree::ROOT)?;
                translate::route(&document.at(Tree::ROOT), &given, &mut Names::live());
                Some(compact(document))
            })?;
            warnings = found;
            Ok(text)
        };
        let count = routes.len();
        let none = |index| {
            problem(origin, format!("there is no route {index}: the virtual host has {count}, from 0 on"))
        };
        match edit {
            RouteEdit::Append(json) => routes.push(checked(json)?),
            RouteEdit::Replace(index, json) => {
                *routes.get_mut(index).ok_or_else(|| none(index))? = checked(json)?;
            }
            RouteEdit::Remove(index) if index < count => drop(routes.remove(index)),
            RouteEdit::Remove(index) => return Err(none(index)),
            RouteEdit::Clear => routes.clear(),
        }
        let text = self.with_array(before, "routers", &routes.join(","));
        Ok(NewVirtualHost { warnings, ..self.new_virtual_host(origin, &text)? })
    }

    /// The elements of an array in an object.
    fn elements(&self, object: &Text, key: &str) -> Vec<String> {
        let mut reader = self.archive.reader();
        let Ok(tree) = parse_json(reader.get(object)) else { return Vec::new() };
        let array = tree.find(Tree::ROOT, key);
        let elements = array.into_iter().flat_map(|array| tree.elements(array));
        elements
            .map(|element| {
                let mut out = String::new();
                tree.write(element, &mut out);
                out
            })
            .collect()
    }

    /// An object with another array under a key; everything else stays as it was written.
    fn with_array(&self, object: &Text, key: &str, elements: &str) -> String {
        let mut reader = self.archive.reader();
        let mut out = String::new();
        if let Ok(tree) = parse_json(reader.get(object)) {
            tree.write_without(Tree::ROOT, &[key], &mut out);
        }
        out.pop();
        let comma = if out.ends_with('{') { "" } else { "," };
        out.push_str(&format!("{comma}\"{key}\":[{elements}]}}"));
        out
    }
}

/// Changes. What is put in was checked by this configuration.
impl EffectiveConfig {
    /// Adds a cluster, or replaces the one of its name.
    pub fn put_cluster(&mut self, new: &NewCluster) {
        self.clusters.insert(new.spec.name.clone(), new.text.clone());
    }

    /// Removes clusters.
    pub fn remove_clusters(&mut self, names: &[&str]) {
        match names {
            [name] => drop(self.clusters.shift_remove(*name)),
            names => self.clusters.retain(|name, _| !names.contains(&&**name)),
        }
    }

    /// Adds a route table, or replaces the one of its name. It stays in the folder that that one is in.
    pub fn put_router(&mut self, new: &NewRouter) {
        let mut router = RouterTexts {
            name: new.spec.name.clone(),
            table: new.table.clone(),
            hosts: new.hosts.clone(),
            folder: None,
            of_listener: false,
            written: true,
        };
        match self.router_mut(&new.spec.name) {
            Some(before) => {
                (router.folder, router.of_listener) = (before.folder.take(), before.of_listener);
                *before = router;
            }
            None => self.routers.push(router),
        }
    }

    /// Removes a route table.
    pub fn remove_router(&mut self, name: &str) {
        self.routers.retain(|router| *router.name != *name);
    }

    /// Whether a listener has a route table in its `connection_manager` filter, and would bring it back.
    #[must_use]
    pub fn is_of_listener(&self, name: &str) -> bool {
        self.router(name).is_some_and(|router| router.of_listener)
    }

    /// Replaces a route table's virtual host, or adds one after the last.
    pub fn put_virtual_host(&mut self, router: &str, index: usize, new: &NewVirtualHost) {
        let Some(router) = self.router_mut(router) else { return };
        router.written = true;
        match router.hosts.get_mut(index) {
            Some(text) => *text = new.text.clone(),
            None => router.hosts.push(new.text.clone()),
        }
    }

    /// Removes a route table's virtual host.
    pub fn remove_virtual_host(&mut self, router: &str, index: usize) {
        let Some(router) = self.router_mut(router) else { return };
        router.written = true;
        if index < router.hosts.len() {
            router.hosts.remove(index);
        }
    }
}

/// Parses a text and has it checked.
fn check<R>(
    origin: &Path,
    json: &str,
    then: impl FnOnce(&Document<'_, '_>) -> Option<R>,
) -> Result<(R, Vec<Problem>), Problems> {
    let findings = Findings::default();
    let checked = with_tree(json, Format::Json, origin, &findings, |tree| {
        then(&Document::new(origin.to_owned(), tree, &findings))
    });
    let failed = findings.has_errors();
    let problems = findings.into_problems(origin);
    match checked.flatten() {
        Some(checked) if !failed => Ok((checked, problems)),
        _ => Err(Problems(problems)),
    }
}

/// The hosts of an array and their addresses.
fn checked_hosts(origin: &Path, json: &str) -> Result<(Vec<String>, Vec<Name>), Problems> {
    let (hosts, _) = check(origin, json, |document| {
        let given = document.decode::<Vec<Host>>(Tree::ROOT)?;
        let at = document.at(Tree::ROOT);
        let specs: Vec<HostSpec> = given
            .iter()
            .enumerate()
            .map(|(index, host)| translate::host(&at.index(index), host, &mut Names::live()))
            .collect();
        let texts = document.tree.elements(Tree::ROOT).map(|node| {
            let mut out = String::new();
            document.tree.write(node, &mut out);
            out
        });
        Some((texts.collect(), specs.into_iter().map(|host| host.address).collect()))
    })?;
    Ok(hosts)
}

fn problem(origin: &Path, message: String) -> Problems {
    Problems(vec![Problem::of_file(origin, Severity::Error, message)])
}

fn compact(document: &Document<'_, '_>) -> String {
    let mut out = String::new();
    document.tree.write(Tree::ROOT, &mut out);
    out
}

fn own(document: &Document<'_, '_>) -> Text {
    Text::new(&compact(document))
}
