use std::collections::{HashMap, HashSet};

use super::Users;
use crate::model::{BalancerKind, ClusterSpec, Name};
use mosn_expression::pattern::{self, PatternError};

/// Names and regular expressions that were seen before: names are shared, expressions checked once.
#[derive(Default)]
pub(crate) struct Names {
    names: HashSet<Name, ahash::RandomState>,
    /// Each with what is known of it once it was read.
    clusters: HashMap<Name, Option<ClusterFacts>, ahash::RandomState>,
    good_patterns: HashSet<Name, ahash::RandomState>,
    /// The listeners that use the table which is being read, if any do.
    pub(crate) users: Option<Users>,
    /// Clusters come and go: that one is not there says nothing.
    live: bool,
}

/// What matters of a cluster to the routes that lead to it.
pub(super) struct ClusterFacts {
    pub(super) balancer: BalancerKind,
    /// Sets of labels, each in order.
    pub(super) subsets: Vec<Vec<Name>>,
    /// What the first route to it makes its hosts speak.
    pub(super) spoken: Option<Language>,
}

/// What the hosts of a cluster have to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Http,
    /// Or another protocol whose connections take its frames.
    Rpc(&'static str),
}

impl Names {
    /// Those of an object that is checked on its own.
    pub(crate) fn live() -> Self {
        Self { live: true, ..Self::default() }
    }

    /// The one copy of `text`.
    pub(crate) fn share(&mut self, text: &str) -> Name {
        if let Some(name) = self.names.get(text) {
            return name.clone();
        }
        let name = Name::from(text);
        self.names.insert(name.clone());
        name
    }

    /// Takes note of a cluster; whether it is new.
    pub(crate) fn add_cluster(&mut self, name: &Name) -> bool {
        self.clusters.insert(name.clone(), None).is_none()
    }

    /// Takes note of what a cluster is like.
    pub(super) fn know(&mut self, spec: &ClusterSpec) {
        let subsets = spec.balancing.subset.as_ref().map(|subset| subset.selectors.clone());
        let facts =
            ClusterFacts { balancer: spec.balancer, subsets: subsets.unwrap_or_default(), spoken: None };
        self.clusters.insert(spec.name.clone(), Some(facts));
    }

    pub(super) fn cluster(&mut self, name: &str) -> Option<&mut ClusterFacts> {
        self.clusters.get_mut(name)?.as_mut()
    }

    pub(crate) fn is_cluster(&self, name: &str) -> bool {
        self.live || self.clusters.contains_key(name)
    }

    /// The cluster names, for a suggestion.
    pub(crate) fn cluster_names(&self) -> impl Iterator<Item = &str> {
        // Comparing with very many would take longer than reading the file did.
        self.clusters.keys().take(1000).map(|name| &**name)
    }

    /// Why a regular expression is none.
    pub(crate) fn check_pattern(&mut self, pattern: &str) -> Result<(), PatternError> {
        if !self.good_patterns.contains(pattern) {
            pattern::compile(pattern)?;
            let name = self.share(pattern);
            self.good_patterns.insert(name);
        }
        Ok(())
    }
}
