//! Hosts by labels: a route may ask for some, and gets the hosts that have them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use ahash::RandomState;
use hashbrown::HashTable;
use mosn_config::model::{ClusterSpec, LocalitySpec, Name, SubsetFallback, SubsetSpec};

use crate::{Host, priorities::Priorities};

/// The namespace of labels that subsets are made of.
const NAMESPACE: &str = "mosn.lb";

/// A cluster's subsets.
#[derive(Debug)]
pub(crate) struct Subsets {
    hasher: RandomState,
    selectors: Box<[Selector]>,
    fallback: Fallback,
    /// Outlives changes of the hosts.
    fallbacks: Arc<AtomicU64>,
}

/// The subsets by one set of keys.
#[derive(Debug)]
struct Selector {
    /// In order, each once.
    keys: Box<[Name]>,
    subsets: HashTable<Subset>,
}

#[derive(Debug)]
struct Subset {
    /// One for each key.
    values: Box<[Name]>,
    hosts: Priorities,
}

#[derive(Debug)]
enum Fallback {
    None,
    Any,
    Default(Box<Priorities>),
}

/// Where a request is to look for its host.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// Among all hosts: it asks for no labels.
    All,
    /// Here, and if none of these is healthy, where [`Subsets::fall_back`] says.
    Subset(&'a Priorities),
    /// Nowhere but where [`Subsets::fall_back`] says.
    Nothing,
}

impl Subsets {
    /// `None` where there are no selectors.
    pub(crate) fn new(
        spec: &ClusterSpec,
        localities: &[LocalitySpec],
        hosts: &Arc<[Arc<Host>]>,
        fallbacks: Arc<AtomicU64>,
    ) -> Option<Self> {
        let subset = spec.balancing.subset.as_deref()?;
        let hasher = RandomState::new();
        let keys: BTreeSet<Box<[Name]>> = subset
            .selectors
            .iter()
            // MOSN panics at an empty one.
            .filter(|keys| !keys.is_empty())
            .map(|keys| keys.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect())
            .collect();
        if keys.is_empty() {
            return None;
        }
        let selectors = keys.into_iter().map(|keys| {
            let mut members: HashMap<Box<[Name]>, Vec<Arc<Host>>> = HashMap::new();
            for host in hosts.iter() {
                let values: Option<Box<[Name]>> = keys.iter().map(|key| label(host, key).cloned()).collect();
                if let Some(values) = values {
                    members.entry(values).or_default().push(host.clone());
                }
            }
            let mut subsets = HashTable::with_capacity(members.len());
            for (values, members) in members {
                let subset = Subset { hosts: Priorities::new(spec, localities, members.into()), values };
                let hash = |subset: &Subset| hash(&hasher, subset.values.iter());
                subsets.insert_unique(hash(&subset), subset, hash);
            }
            Selector { keys, subsets }
        });
        let selectors = selectors.collect();
        let fallback = Self::fallback(spec, subset, localities, hosts);
        Some(Self { hasher, selectors, fallback, fallbacks })
    }

    fn fallback(
        spec: &ClusterSpec,
        subset: &SubsetSpec,
        localities: &[LocalitySpec],
        hosts: &Arc<[Arc<Host>]>,
    ) -> Fallback {
        match &subset.fallback {
            SubsetFallback::None => Fallback::None,
            SubsetFallback::Any => Fallback::Any,
            SubsetFallback::Default(labels) => {
                let has_all =
                    |host: &&Arc<Host>| labels.iter().all(|(key, value)| label(host, key) == Some(value));
                let members = hosts.iter().filter(has_all).cloned().collect();
                Fallback::Default(Box::new(Priorities::new(spec, localities, members)))
            }
        }
    }

    /// The hosts with exactly these labels: their keys must be a selector's.
    pub(crate) fn find(&self, labels: Option<&BTreeMap<Name, Name>>) -> Found<'_> {
        let Some(labels) = labels else { return Found::All };
        let selector = self
            .selectors
            .iter()
            .find(|selector| selector.keys.len() == labels.len() && selector.keys.iter().eq(labels.keys()));
        let subset = selector.and_then(|selector| {
            let same = |subset: &Subset| subset.values.iter().eq(labels.values());
            selector.subsets.find(hash(&self.hasher, labels.values()), same)
        });
        subset.map_or(Found::Nothing, |subset| Found::Subset(&subset.hosts))
    }

    /// Where a request goes for whose labels there was no host; `all` are all hosts.
    pub(crate) fn fall_back<'a>(&'a self, all: &'a Priorities) -> Option<&'a Priorities> {
        match &self.fallback {
            Fallback::None => None,
            Fallback::Any => Some(all),
            Fallback::Default(hosts) => Some(hosts),
        }
    }

    pub(crate) fn count_fallback(&self) {
        self.fallbacks.fetch_add(1, Relaxed);
    }

    /// How many subsets there are, and how often there was none for a request.
    pub(crate) fn numbers(&self) -> (usize, u64) {
        let subsets = self.selectors.iter().map(|selector| selector.subsets.len()).sum();
        (subsets, self.fallbacks.load(Relaxed))
    }
}

fn label<'a>(host: &'a Host, key: &Name) -> Option<&'a Name> {
    host.metadata.as_ref()?.get(NAMESPACE)?.get(key)
}

fn hash<'a>(hasher: &RandomState, values: impl Iterator<Item = &'a Name>) -> u64 {
    let mut hasher = hasher.build_hasher();
    values.for_each(|value| value.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests;
