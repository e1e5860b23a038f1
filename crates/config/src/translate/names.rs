use std::collections::HashSet;

use super::Users;
use crate::model::Name;
use mosn_expression::pattern::{self, PatternError};

/// Names and regular expressions that were seen before: names are shared, expressions checked once.
#[derive(Default)]
pub(crate) struct Names {
    names: HashSet<Name, ahash::RandomState>,
    clusters: HashSet<Name, ahash::RandomState>,
    good_patterns: HashSet<Name, ahash::RandomState>,
    /// The listeners that use the table which is being read, if any do.
    pub(crate) users: Option<Users>,
    /// Clusters come and go: that one is not there says nothing.
    live: bool,
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
        self.clusters.insert(name.clone())
    }

    pub(crate) fn is_cluster(&self, name: &str) -> bool {
        self.live || self.clusters.contains(name)
    }

    /// The cluster names, for a suggestion.
    pub(crate) fn cluster_names(&self) -> impl Iterator<Item = &str> {
        // Comparing with very many would take longer than reading the file did.
        self.clusters.iter().take(1000).map(|name| &**name)
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
