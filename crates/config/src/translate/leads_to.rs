//! What a route asks of the clusters that it leads to, and whether they can do it.

use std::collections::BTreeMap;

use mosn_codec::rpc;
use mosn_core::Protocol;

use super::balancing;
use super::names::{ClusterFacts, Language, Names};
use crate::document::At;
use crate::model::{BalancerKind, ClusterChoiceSpec, ForwardSpec, Name};

pub(super) fn check(at: &At<'_>, forward: &ForwardSpec, names: &mut Names) {
    let clients = names.users.as_ref().map(|users| users.protocols.clone()).unwrap_or_default();
    let language = language(at, forward, &clients);
    hashed(&at.key("hash_policy"), forward, names);
    match &forward.cluster {
        ClusterChoiceSpec::Named(name) => {
            spoken(&at.key("cluster_name"), name, language, names);
            labels(&at.key("metadata_match"), name, forward.metadata_match.as_deref(), names);
        }
        ClusterChoiceSpec::Weighted(clusters) => {
            for (index, cluster) in clusters.iter().enumerate() {
                let at_clusters = at.key("weighted_clusters");
                let at_entry = at_clusters.index(index);
                let at_cluster = at_entry.key("cluster");
                spoken(&at_cluster.key("name"), &cluster.name, language, names);
                match cluster.metadata_match.as_deref() {
                    own @ Some(_) => labels(&at_cluster.key("metadata_match"), &cluster.name, own, names),
                    None => {
                        labels(
                            &at.key("metadata_match"),
                            &cluster.name,
                            forward.metadata_match.as_deref(),
                            names,
                        );
                    }
                }
            }
        }
        ClusterChoiceSpec::Variable(_) | ClusterChoiceSpec::Header(_) => {}
    }
}

/// What the route makes its hosts speak, where that is clear; an error where no client's requests can be
/// passed on so.
fn language(at: &At<'_>, forward: &ForwardSpec, clients: &[Protocol]) -> Option<Language> {
    let of = |protocol: Protocol| match protocol {
        Protocol::Http1 | Protocol::Http2 => Language::Http,
        Protocol::Rpc(name) => Language::Rpc(name),
    };
    if let Some(upstream) = forward.upstream_protocol {
        let language = of(upstream);
        let able = |client: &Protocol| carries(language, of(*client));
        if !clients.is_empty() && !clients.iter().any(able) {
            let mut spoken: Vec<_> = clients.iter().map(|client| client.name()).collect();
            spoken.dedup();
            at.key("upstream_protocol").error(format!(
                "{} cannot be passed on as {}: every request would be answered with an error; the listeners of this \
                 table speak nothing that can",
                spoken.join(", "),
                upstream.name()
            ));
            return None;
        }
        return Some(language);
    }
    let (first, others) = clients.split_first()?;
    others.iter().all(|other| carries(of(*first), of(*other))).then(|| of(*first))
}

fn carries(upstream: Language, client: Language) -> bool {
    match (upstream, client) {
        (Language::Http, Language::Http) => true,
        (Language::Rpc(upstream), Language::Rpc(client)) => {
            rpc::by_name(upstream).is_some_and(|upstream| upstream.carries(client))
        }
        _ => false,
    }
}

fn spoken(at: &At<'_>, cluster: &str, language: Option<Language>, names: &mut Names) {
    let (Some(language), Some(facts)) = (language, names.cluster(cluster)) else { return };
    let earlier = *facts.spoken.get_or_insert(language);
    if !carries(earlier, language) {
        let word = |language| match language {
            Language::Http => "HTTP",
            Language::Rpc(name) => name,
        };
        at.warning(format!(
            "the hosts of cluster {cluster:?} are spoken to in {} here, and in {} by a route before: is one \
             upstream_protocol missing?",
            word(language),
            word(earlier)
        ));
    }
}

fn hashed(at: &At<'_>, forward: &ForwardSpec, names: &mut Names) {
    if forward.hash_policy.is_none() {
        return;
    }
    let clusters: Vec<&Name> = match &forward.cluster {
        ClusterChoiceSpec::Named(name) => vec![name],
        ClusterChoiceSpec::Weighted(clusters) => clusters.iter().map(|cluster| &cluster.name).collect(),
        ClusterChoiceSpec::Variable(_) | ClusterChoiceSpec::Header(_) => return,
    };
    let balancers: Option<Vec<_>> =
        clusters.iter().map(|name| names.cluster(name).map(|facts| facts.balancer)).collect();
    let by_hash = |kind: &BalancerKind| matches!(kind, BalancerKind::Maglev | BalancerKind::RingHash);
    if let Some(balancers) = balancers
        && !balancers.iter().any(by_hash)
        && let (Some(cluster), Some(&balancer)) = (clusters.first(), balancers.first())
    {
        at.warning(format!(
            "has no effect: cluster {:?} has {}, which goes by no hash; LB_MAGLEV and LB_RING_HASH do",
            &***cluster,
            balancing::name(balancer)
        ));
    }
}

fn labels(at: &At<'_>, cluster: &str, asked: Option<&BTreeMap<Name, Name>>, names: &mut Names) {
    let (Some(asked), Some(ClusterFacts { subsets, .. })) = (asked, names.cluster(cluster)) else { return };
    if subsets.is_empty() {
        at.warning(format!(
            "has no effect: cluster {cluster:?} has no lb_subset_config.subset_selectors, so that any host may take \
             the request"
        ));
    } else if !subsets.iter().any(|keys| keys.iter().eq(asked.keys())) {
        at.warning(format!(
            "finds no subset: cluster {cluster:?} has none by exactly these labels, and its fall_back_policy decides"
        ));
    }
}
