use std::{borrow::Cow, collections::BTreeMap, ops::Deref, sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use mosn_config::model::{HashPolicySpec, MirrorPolicySpec, Name, Priority};
use mosn_core::Protocol;
use mosn_telemetry::Variable;

use crate::{Redirect, Retry, Subject, condition, rewrite::Rewrite};

/// What a route does.
#[derive(Debug)]
pub enum Action {
    /// Sends the request to a cluster.
    Forward(Box<Forward>),
    /// Answers by itself.
    DirectResponse(Box<DirectResponse>),
    /// Sends the client elsewhere.
    Redirect(Box<Redirect>),
    /// Matches, but does nothing: answered like no route.
    None,
}

/// A reply that the proxy gives by itself.
#[derive(Clone, Debug)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: StatusCode,
    /// May be empty.
    pub body: Bytes,
}

/// How a request is forwarded.
#[derive(Debug)]
pub struct Forward {
    /// What many routes have alike; its fields read like this one's own.
    pub(crate) policy: Arc<ForwardPolicy>,
    pub(crate) cluster: Cluster,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) rewrite: Option<Box<Rewrite>>,
}

/// What a [`Forward`] shares with others: of 100,000 routes few differ in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardPolicy {
    /// For the whole request, all tries included; [`Duration::MAX`] = no limit. See
    /// [`timeouts`](crate::timeouts()) for what the request has to say about it.
    pub timeout: Duration,
    /// For one try; `None` = no limit of its own.
    pub per_try_timeout: Option<Duration>,
    /// When to try again.
    pub retry: Retry,
    /// Bytes of a request's body that are kept for another try or for a copy.
    pub buffer_limit: usize,
    /// Which of the cluster's limits a request counts against.
    pub priority: Priority,
    /// Where copies of requests go.
    pub mirrors: Box<[MirrorPolicySpec]>,
    /// What to speak to the upstream; `None` = what the client speaks.
    pub upstream_protocol: Option<Protocol>,
    /// What consistent-hash balancers hash.
    pub hash_policy: Option<Box<HashPolicySpec>>,
}

impl Deref for Forward {
    type Target = ForwardPolicy;

    fn deref(&self) -> &ForwardPolicy {
        &self.policy
    }
}

/// Labels that a host must have, by key.
pub type Metadata = Arc<BTreeMap<Name, Name>>;

/// Which cluster.
#[derive(Debug)]
pub(crate) enum Cluster {
    Named(Name),
    Weighted(Weighted),
    Variable(Box<Variable>),
    Header(Name),
}

/// Clusters by weight.
#[derive(Debug)]
pub(crate) struct Weighted {
    /// With the sum of all weights up to and including this one; the last is above 0.
    entries: Box<[(u32, WeightedCluster)]>,
}

#[derive(Debug)]
pub(crate) struct WeightedCluster {
    pub(crate) name: Name,
    pub(crate) metadata: Option<Metadata>,
}

/// The cluster that was chosen for a request.
#[derive(Clone, Debug)]
pub struct ClusterPick<'a> {
    /// Its name; not necessarily of a cluster that exists.
    pub name: Cow<'a, Name>,
    /// Which of its hosts may take the request; `None` = any.
    pub metadata: Option<Cow<'a, Metadata>>,
}

impl Forward {
    /// Chooses the cluster. To be asked once per request: weighted clusters are drawn anew each
    /// time. `None` if a variable or a header chooses and has no value.
    pub fn cluster<S: Subject + ?Sized>(&self, subject: &S) -> Option<ClusterPick<'_>> {
        let mut metadata = self.metadata.as_ref();
        let name = match &self.cluster {
            Cluster::Named(name) => Cow::Borrowed(name),
            Cluster::Weighted(weighted) => {
                let chosen = weighted.pick(fastrand::u32(0..weighted.total()));
                metadata = chosen.metadata.as_ref().or(metadata);
                Cow::Borrowed(&chosen.name)
            }
            Cluster::Variable(variable) => {
                let mut value = Vec::new();
                if !subject.variable(variable, &mut value) {
                    return None;
                }
                Cow::Owned(named(&value)?)
            }
            Cluster::Header(header) => Cow::Owned(named(&condition::header(subject, header)?)?),
        };
        Some(ClusterPick { name, metadata: merged(metadata, subject.labels()) })
    }

    /// Whether a request can be passed on as it came: nothing is rewritten or copied.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        // Spelled out, so that whatever is added has to be thought about here.
        let Self { policy, cluster: _, metadata: _, rewrite } = self;
        let ForwardPolicy {
            timeout: _,
            per_try_timeout: _,
            retry: _,
            upstream_protocol: _,
            hash_policy: _,
            buffer_limit: _,
            priority: _,
            mirrors,
        } = &**policy;
        rewrite.is_none() && mirrors.is_empty()
    }

    /// Whether a request that an upstream may have got is ever sent again.
    #[must_use]
    pub fn retries_after_sending(&self) -> bool {
        self.retry.max_retries > 0 && self.retry.after_sending()
    }

    /// Whether a request finds the same cluster each time it is asked for.
    #[must_use]
    pub const fn has_fixed_cluster(&self) -> bool {
        !matches!(self.cluster, Cluster::Weighted(_))
    }

    /// Every cluster it may choose by name, for checks; none if a variable or a header
    /// chooses.
    pub fn cluster_names(&self) -> impl Iterator<Item = &Name> {
        let (one, many) = match &self.cluster {
            Cluster::Named(name) => (Some(name), &[][..]),
            Cluster::Weighted(weighted) => (None, &weighted.entries[..]),
            Cluster::Variable(_) | Cluster::Header(_) => (None, &[][..]),
        };
        one.into_iter().chain(many.iter().map(|(_, cluster)| &cluster.name))
    }
}

fn named(value: &[u8]) -> Option<Name> {
    str::from_utf8(value).ok().filter(|name| !name.is_empty()).map(Name::from)
}

/// The route's labels and, over them, the request's own.
fn merged<'a>(route: Option<&'a Metadata>, request: Option<&Metadata>) -> Option<Cow<'a, Metadata>> {
    match (route, request) {
        (route, None) => route.map(Cow::Borrowed),
        (None, Some(request)) => Some(Cow::Owned(Arc::clone(request))),
        (Some(route), Some(request)) => {
            let mut all = BTreeMap::clone(route);
            all.extend(request.iter().map(|(key, value)| (key.clone(), value.clone())));
            Some(Cow::Owned(Arc::new(all)))
        }
    }
}

impl Weighted {
    /// `Err` with the sum if it is 0 or does not fit.
    pub(crate) fn new(clusters: impl Iterator<Item = (u32, WeightedCluster)>) -> Result<Self, u64> {
        let mut sum = 0_u64;
        let entries = clusters
            .map(|(weight, cluster)| {
                sum += u64::from(weight);
                (u32::try_from(sum).unwrap_or(0), cluster)
            })
            .collect();
        if sum == 0 || sum > u64::from(u32::MAX) { Err(sum) } else { Ok(Self { entries }) }
    }

    fn total(&self) -> u32 {
        self.entries.last().map_or(1, |&(sum, _)| sum)
    }

    /// The entry whose share `drawn` falls in: entry i has `[sum before i, sum including i)`, so
    /// that a weight of 0 is never chosen.
    fn pick(&self, drawn: u32) -> &WeightedCluster {
        let at = self.entries.partition_point(|&(sum, _)| sum <= drawn);
        &self.entries[at.min(self.entries.len() - 1)].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighted(weights: &[u32]) -> Result<Weighted, u64> {
        Weighted::new(weights.iter().enumerate().map(|(index, &weight)| {
            (weight, WeightedCluster { name: index.to_string().into(), metadata: None })
        }))
    }

    #[test]
    fn every_weight_gets_exactly_its_share() {
        let weighted = weighted(&[0, 3, 0, 1, 2, 0]).unwrap();
        let mut counts = [0; 6];
        for drawn in 0..weighted.total() {
            counts[weighted.pick(drawn).name.parse::<usize>().unwrap()] += 1;
        }
        assert_eq!(counts, [0, 3, 0, 1, 2, 0]);
    }

    #[test]
    fn weights_without_a_usable_sum_are_refused() {
        assert_eq!(weighted(&[0, 0]).unwrap_err(), 0);
        assert_eq!(weighted(&[]).unwrap_err(), 0);
        assert_eq!(weighted(&[u32::MAX, 1]).unwrap_err(), 1 << 32);
    }
}
