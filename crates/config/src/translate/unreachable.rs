//! Routes that come too late: everything they take is taken by one before them.

use std::collections::{BTreeSet, HashMap};

use mosn_core::Protocol;
use mosn_expression::pattern;

use super::Names;
use crate::document::At;
use crate::model::{PathMatchSpec, RouteMatchSpec, RouteSpec};

/// What the routes so far take whatever else a request has.
#[derive(Default)]
struct Taken<'r> {
    /// By the first route without any condition.
    all: Option<usize>,
    prefixes: HashMap<&'r str, usize, ahash::RandomState>,
    lengths: BTreeSet<usize>,
    /// In lower case.
    paths: HashMap<String, usize, ahash::RandomState>,
}

pub(super) fn check(at: &At<'_>, routes: &[RouteSpec], names: &Names) {
    let mut taken = Taken::default();
    let protocols = names.users.as_ref().map(|users| users.protocols.as_slice()).unwrap_or_default();
    let is_rpc = |protocol: &&Protocol| matches!(protocol, Protocol::Rpc(_));
    let calls = protocols.iter().filter(is_rpc).count();
    let (http_only, rpc_only) = (calls == 0, calls == protocols.len());
    let known = !protocols.is_empty();
    for (index, route) in routes.iter().enumerate() {
        if let Some(earlier) = taken.by(&route.matches, known && http_only) {
            at.index(index).key("match").warning(format!(
                "never matches: routers[{earlier}] before it takes all that it could take; move it ahead of that"
            ));
        } else if known && rpc_only && route.matches.path != PathMatchSpec::Any {
            at.index(index)
                .key("match")
                .warning("never matches: calls of RPC protocols have no path; match their headers");
        } else if is_unconditional(&route.matches) {
            taken.take(index, &route.matches.path);
        }
    }
}

fn is_unconditional(matches: &RouteMatchSpec) -> bool {
    matches.headers.is_empty()
        && matches.method.is_none()
        && matches.query.is_empty()
        && matches.variables.is_empty()
        && matches.expressions.is_empty()
}

impl<'r> Taken<'r> {
    fn take(&mut self, index: usize, path: &'r PathMatchSpec) {
        match path {
            PathMatchSpec::Any => self.all = Some(index),
            PathMatchSpec::Prefix(prefix) => {
                self.prefixes.insert(prefix, index);
                self.lengths.insert(prefix.len());
            }
            PathMatchSpec::Exact(text) => {
                self.paths.insert(text.to_lowercase(), index);
            }
            PathMatchSpec::Regex(_) => {}
        }
    }

    /// The route that takes all that these conditions could.
    fn by(&self, matches: &RouteMatchSpec, http_only: bool) -> Option<usize> {
        let every_path = self.prefixes.get("/").copied();
        self.all.or_else(|| match &matches.path {
            PathMatchSpec::Prefix(prefix) => self.by_prefix(prefix, |_| true),
            // Case does not count for it, but it does for prefixes.
            PathMatchSpec::Exact(text) => {
                let exactly = self.paths.get(&text.to_lowercase()).copied();
                exactly
                    .or_else(|| self.by_prefix(text, |prefix| prefix.to_lowercase() == prefix.to_uppercase()))
            }
            // A path that starts with no slash is the `*` of OPTIONS.
            PathMatchSpec::Regex(text) => {
                every_path.filter(|_| pattern::compile(text).is_ok_and(|pattern| !pattern.is_match(b"*")))
            }
            // Calls of RPC have no path.
            PathMatchSpec::Any => every_path.filter(|_| http_only),
        })
    }

    fn by_prefix(&self, text: &str, counts: impl Fn(&str) -> bool) -> Option<usize> {
        let starts = self.lengths.iter().filter_map(|&length| text.get(..length));
        starts.filter(|start| counts(start)).find_map(|start| self.prefixes.get(start).copied())
    }
}
