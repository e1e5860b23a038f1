use std::collections::BTreeSet;
use std::time::Duration;

use super::Names;
use super::route::positive;
use crate::document::At;
use crate::model::{
    BalancerKind, BalancingSpec, ClusterSpec, Name, OriginalDstSpec, SlowStartSpec, SubsetFallback,
    SubsetSpec,
};
use crate::mosn::{Cluster, EwmaConfig, LbSubsetConfig, SlowStart};
use crate::problem::Severity;

/// The load balancers by name; any other name is round robin, as in MOSN.
const BALANCERS: [(&str, BalancerKind); 11] = [
    ("LB_RANDOM", BalancerKind::Random),
    ("LB_ROUNDROBIN", BalancerKind::RoundRobin),
    ("LB_WEIGHTED_ROUNDROBIN", BalancerKind::WeightedRoundRobin),
    ("LB_ORIGINAL_DST", BalancerKind::OriginalDst),
    ("LB_LEAST_REQUEST", BalancerKind::LeastRequest),
    ("LB_MAGLEV", BalancerKind::Maglev),
    ("LB_REQUEST_ROUNDROBIN", BalancerKind::RequestRoundRobin),
    ("LB_LEAST_CONNECTION", BalancerKind::LeastConnection),
    ("LB_PEAK_EWMA", BalancerKind::PeakEwma),
    // Not in MOSN's JSON.
    ("LB_WEIGHTED_RANDOM", BalancerKind::WeightedRandom),
    ("LB_RING_HASH", BalancerKind::RingHash),
];

pub(super) fn kind(at: &At<'_>, name: &str) -> BalancerKind {
    match BALANCERS.iter().find(|(known, _)| *known == name) {
        Some(&(_, kind)) => kind,
        None => {
            if !name.is_empty() {
                let message = format!("unknown load balancer {name:?} counts as LB_ROUNDROBIN");
                at.unknown(Severity::Warning, message, name, BALANCERS.map(|(known, _)| known));
            }
            BalancerKind::RoundRobin
        }
    }
}

/// As `lb_type` says it.
pub(super) fn name(balancer: BalancerKind) -> &'static str {
    BALANCERS.iter().find(|(_, kind)| *kind == balancer).map_or("", |(name, _)| name)
}

fn by_share(balancer: BalancerKind) -> bool {
    use BalancerKind as B;
    matches!(
        balancer,
        B::WeightedRoundRobin | B::WeightedRandom | B::LeastRequest | B::LeastConnection | B::PeakEwma
    )
}

/// Labels by which hosts are to be found and which none of them has. Where there are no hosts yet, they
/// may come with them.
pub(super) fn subset_labels(at: &At<'_>, spec: &ClusterSpec) {
    let Some(subset) = &spec.balancing.subset else { return };
    let hosts = || spec.localities.iter().flat_map(|locality| &locality.hosts);
    let labelled = |label: &Name| {
        hosts()
            .filter_map(|host| host.metadata.as_ref()?.get("mosn.lb"))
            .any(|labels| labels.contains_key(label))
    };
    let labels: BTreeSet<&Name> = subset.selectors.iter().flatten().collect();
    for label in labels.into_iter().filter(|label| hosts().next().is_some() && !labelled(label)) {
        at.key("subset_selectors").warning(format!(
            "no host has the label {:?}, so that no subset by it has hosts: give hosts metadata such as \
             {{\"filter_metadata\": {{\"mosn.lb\": {{{:?}: ...}}}}}}",
            &**label, &**label
        ));
    }
}

/// The weight of the latest second in moving averages; `None` for the usual one.
pub(crate) fn ewma_alpha(at: &At<'_>, config: Option<&EwmaConfig>) -> Option<f64> {
    let config = config?;
    let inside = |value: f64| value > 0.0 && value < 1.0;
    if inside(config.alpha) {
        return Some(config.alpha);
    }
    if inside(config.target) {
        // Whole seconds, at least one.
        let seconds = (config.duration.as_nanos() / 1_000_000_000).max(1);
        return Some(1.0 - config.target.powf(1.0 / seconds as f64));
    }
    at.warning(
        "has no effect: expected `alpha` between 0 and 1, or `target` between 0 and 1 with `duration`",
    );
    None
}

pub(super) fn balancing(
    at: &At<'_>,
    cluster: &Cluster,
    balancer: BalancerKind,
    ewma_alpha: Option<f64>,
    names: &mut Names,
) -> BalancingSpec {
    let defaults = BalancingSpec::default();
    let given = cluster.lbconfig.as_ref();
    let at_lbconfig = at.key("lbconfig");
    let bias = |key: &str, value: Option<f64>, default: f64| match value {
        Some(value) if value < 0.0 => {
            at_lbconfig.key(key).error(format!("expected 0 or more, found {value}"));
            default
        }
        Some(value) => value,
        None => default,
    };
    BalancingSpec {
        choice_count: given.and_then(|given| given.choice_count).unwrap_or(defaults.choice_count),
        active_request_bias: bias(
            "active_request_bias",
            given.and_then(|given| given.active_request_bias),
            defaults.active_request_bias,
        ),
        client_error_bias: bias(
            "client_error_bias",
            given.and_then(|given| given.client_error_bias),
            defaults.client_error_bias,
        ),
        server_error_bias: bias(
            "server_error_bias",
            given.and_then(|given| given.server_error_bias),
            defaults.server_error_bias,
        ),
        panic_percent: panic_percent(
            &at_lbconfig.key("healthy_panic_threshold"),
            given.and_then(|given| given.healthy_panic_threshold),
        ),
        ewma_alpha: ewma_alpha.unwrap_or(defaults.ewma_alpha),
        slow_start: slow_start(&at.key("slow_start"), &cluster.slow_start, balancer),
        original_dst: original_dst(at, cluster, names),
        subset: subset(&at.key("lb_subset_config"), &cluster.lb_subset_config, names),
        ..defaults
    }
}

fn panic_percent(at: &At<'_>, given: Option<u8>) -> u8 {
    let percent = given.unwrap_or(0);
    if percent > 100 {
        at.error(format!("expected 0 to 100, found {percent}"));
    }
    percent.min(100)
}

fn original_dst(at: &At<'_>, cluster: &Cluster, names: &mut Names) -> Option<Box<OriginalDstSpec>> {
    if cluster.lb_type != "LB_ORIGINAL_DST" {
        return None;
    }
    let given = &cluster.original_dst_lb_config;
    let at = at.key("original_dst_lb_config");
    let header = given.use_header.then(|| {
        let header = if given.header_name.is_empty() { "host" } else { &given.header_name };
        super::header::check_name(&at.key("header_name"), header);
        names.share(&header.to_ascii_lowercase())
    });
    Some(Box::new(OriginalDstSpec { header, replace_local: given.replace_local }))
}

fn slow_start(at: &At<'_>, given: &SlowStart, balancer: BalancerKind) -> Option<SlowStartSpec> {
    if given.mode.is_empty() {
        return None;
    }
    if given.mode != "duration" {
        let message = format!("unknown mode {:?}: hosts get their share at once", given.mode);
        at.key("mode").unknown(Severity::Warning, message, &given.mode, ["duration"]);
        return None;
    }
    if !by_share(balancer) {
        at.warning(format!(
            "has no effect with {}; it takes LB_WEIGHTED_ROUNDROBIN, LB_WEIGHTED_RANDOM, LB_LEAST_REQUEST, \
             LB_LEAST_CONNECTION or LB_PEAK_EWMA",
            name(balancer)
        ));
    }
    let window =
        given.slow_start_duration.and_then(|window| positive(&at.key("slow_start_duration"), window));
    if window.is_none() {
        at.key("slow_start_duration").warning("has no effect: expected a duration above 0, such as \"30s\"");
    }
    let window = window.unwrap_or(Duration::ZERO);
    if given.min_weight_percent > 1.0 {
        at.key("min_weight_percent")
            .error(format!("expected a fraction up to 1, found {}", given.min_weight_percent));
    }
    Some(SlowStartSpec {
        window,
        aggression: if given.aggression > 0.0 { given.aggression } else { 1.0 },
        min_weight: if given.min_weight_percent > 0.0 { given.min_weight_percent.min(1.0) } else { 0.1 },
    })
}

fn subset(at: &At<'_>, given: &LbSubsetConfig, names: &mut Names) -> Option<Box<SubsetSpec>> {
    if given.subset_selectors.is_empty() {
        return None;
    }
    let mut selectors = Vec::with_capacity(given.subset_selectors.len());
    for (index, keys) in given.subset_selectors.iter().enumerate() {
        if keys.is_empty() {
            let at = at.key("subset_selectors");
            at.index(index).error("a selector needs at least one label");
            continue;
        }
        let mut keys: Vec<_> = keys.iter().map(|key| names.share(key)).collect();
        keys.sort();
        keys.dedup();
        if !selectors.contains(&keys) {
            selectors.push(keys);
        }
    }
    let fallback = match given.fall_back_policy {
        0 => SubsetFallback::None,
        1 => SubsetFallback::Any,
        2 => {
            let labels = given.default_subset.iter();
            SubsetFallback::Default(
                labels.map(|(key, value)| (names.share(key), names.share(value))).collect(),
            )
        }
        other => {
            at.key("fall_back_policy").error(format!(
                "expected 0 (no host), 1 (any host) or 2 (the default subset), found {other}"
            ));
            SubsetFallback::None
        }
    };
    Some(Box::new(SubsetSpec { selectors, fallback }))
}

#[cfg(test)]
mod tests {
    use super::super::cluster::tests::translated;
    use super::*;

    #[test]
    fn balancers_go_by_name_and_settings() {
        let spec = translated(
            r#"{"name":"a","lb_type":"LB_LEAST_REQUEST","lbconfig":{"choice_count":0,"active_request_bias":0.5},
            "slow_start":{"mode":"duration","slow_start_duration":"10s","min_weight_percent":0.2}}"#,
        );
        assert_eq!(spec.balancer, BalancerKind::LeastRequest);
        assert_eq!(spec.balancing.choice_count, 0);
        assert_eq!((spec.balancing.active_request_bias, spec.balancing.client_error_bias), (0.5, 1.0));
        assert_eq!(spec.balancing.ewma_alpha, 0.25);
        assert_eq!(
            spec.balancing.slow_start,
            Some(SlowStartSpec { window: Duration::from_secs(10), aggression: 1.0, min_weight: 0.2 })
        );
        assert_eq!(translated(r#"{"name":"a","lb_type":"LB_MAGLEV"}"#).balancer, BalancerKind::Maglev);
        assert_eq!(translated(r#"{"name":"a","lb_type":"x"}"#).balancer, BalancerKind::RoundRobin);
    }

    #[test]
    fn subsets_are_sorted_and_told_apart() {
        let spec = translated(
            r#"{"name":"a","lb_subset_config":{"fall_back_policy":2,"default_subset":{"zone":"a"},
            "subset_selectors":[["b","a","a"],["a","b"],["c"]]}}"#,
        );
        let subset = spec.balancing.subset.unwrap();
        let selectors: Vec<Vec<&str>> =
            subset.selectors.iter().map(|keys| keys.iter().map(|key| &**key).collect()).collect();
        assert_eq!(selectors, [vec!["a", "b"], vec!["c"]]);
        assert_eq!(subset.fallback, SubsetFallback::Default([("zone".into(), "a".into())].into()));
    }
}
