use mosn_config::model::{FilterConfigs, Name};
use regex::bytes::Regex;

use crate::{
    Action, Subject,
    condition::Conditions,
    fold,
    index::Index,
    mutation::Mutations,
    sieve::{Mesh, Sieve},
};

/// A set of domains and their routes.
#[derive(Debug)]
pub struct VirtualHost {
    /// For logs only; not necessarily unique.
    pub name: Name,
    /// As given.
    pub(crate) domains: Box<[Name]>,
    pub(crate) routes: Box<[Route]>,
    pub(crate) finder: Finder,
    pub(crate) mutations: Option<Box<Mutations>>,
    pub(crate) filter_config: FilterConfigs,
}

/// How the first route that matches is found.
#[derive(Debug)]
pub(crate) enum Finder {
    Sieve(Sieve),
    Index(Box<Index>),
}

/// Below this many routes a sieve costs less than an index, in memory and mostly in time.
const FEWEST_INDEXED: usize = 17;

/// One route: what requests it takes and what it does with them.
#[derive(Debug)]
pub struct Route {
    /// For logs only.
    pub name: Option<Name>,
    /// What is done with the request.
    pub action: Action,
    pub(crate) path: PathRule,
    pub(crate) conditions: Option<Box<Conditions>>,
    pub(crate) mutations: Option<Box<Mutations>>,
    pub(crate) filter_config: FilterConfigs,
}

#[derive(Debug)]
pub(crate) enum PathRule {
    /// Also where there is no path.
    Any,
    /// Case counts.
    Prefix(Name),
    /// Case does not count.
    Exact(Name),
    /// A match anywhere within.
    Regex(Box<Regex>),
}

impl VirtualHost {
    /// Its routes, in configuration order.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The first route that takes the request; `path` is the canonical one.
    pub(crate) fn find<S: Subject + ?Sized>(&self, path: &[u8], subject: &S) -> Option<&Route> {
        match &self.finder {
            Finder::Index(index) => index.find(&self.routes, path, subject),
            Finder::Sieve(sieve) => {
                let ascii = path.is_ascii();
                let candidates =
                    sieve.iter().zip(&self.routes).filter(|(mesh, _)| mesh.lets_through(path, ascii));
                candidates.map(|(_, route)| route).find(|route| route.matches(path, subject))
            }
        }
    }

    /// The same, by asking all.
    #[cfg(test)]
    pub(crate) fn find_linear<S: Subject + ?Sized>(&self, path: &[u8], subject: &S) -> Option<&Route> {
        self.routes.iter().find(|route| route.matches(path, subject))
    }
}

impl Finder {
    pub(crate) fn of(routes: &[Route]) -> Self {
        if routes.len() < FEWEST_INDEXED {
            Self::Sieve(routes.iter().map(Mesh::of).collect())
        } else {
            Self::Index(Box::new(Index::of(routes)))
        }
    }
}

impl Route {
    /// `path` is the canonical one.
    pub(crate) fn matches<S: Subject + ?Sized>(&self, path: &[u8], subject: &S) -> bool {
        self.path.matches(path) && self.conditions_hold(subject)
    }

    /// Whether all that it asks for is the value of one header.
    pub(crate) fn asks_one_header(&self) -> bool {
        let one = |conditions: &Conditions| conditions.are_one_header();
        matches!(self.path, PathRule::Any) && self.conditions.as_deref().is_some_and(one)
    }

    pub(crate) fn leaves_request(&self) -> bool {
        self.conditions.as_ref().is_some_and(|conditions| conditions.leaves_request)
    }

    pub(crate) fn conditions_hold<S: Subject + ?Sized>(&self, subject: &S) -> bool {
        self.conditions.as_ref().is_none_or(|conditions| conditions.hold(subject))
    }
}

impl PathRule {
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            _ if path.is_empty() => false,
            Self::Prefix(prefix) => path.starts_with(prefix.as_bytes()),
            Self::Exact(text) => fold::eq(path, text),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}
