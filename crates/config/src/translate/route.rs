use std::sync::Arc;

use mosn_core::Protocol;

use super::Names;
use super::header::{check_name, lists, mutations};
use super::router::filter_config;
use crate::document::At;
use crate::features::Feature;
use crate::model::{
    ActionSpec, ClusterChoiceSpec, DirectResponseSpec, ForwardSpec, HashPolicySpec, HeaderMatchSpec,
    HostRewriteSpec, Name, PathMatchSpec, PathRewriteSpec, RedirectSpec, RetrySpec, RouteMatchSpec,
    RouteSpec, ValueMatchSpec, WeightedClusterSpec,
};
use crate::mosn::{DirectResponse, HashPolicy, Redirect, RetryPolicy, RouteAction, Router, RouterMatch};
use crate::problem::Severity;
use crate::value::Metadata;

pub(super) fn route(at: &At<'_>, router: &Router, names: &mut Names) -> RouteSpec {
    let matches = route_match(&at.key("match"), &router.matches, names);
    let action = match (&router.direct_response, &router.redirect) {
        (Some(direct), _) => direct_response(&at.key("direct_response"), direct),
        (None, Some(to)) => redirect(&at.key("redirect"), to, names),
        (None, None) => forward(&at.key("route"), &router.route, names),
    };
    RouteSpec {
        name: None,
        matches,
        action,
        headers: mutations(&at.key("route"), &lists!(router.route), names),
        filter_config: filter_config(router.per_filter_config.as_ref()),
    }
}

fn route_match(at: &At<'_>, matches: &RouterMatch, names: &mut Names) -> RouteMatchSpec {
    let path = if !matches.prefix.is_empty() {
        PathMatchSpec::Prefix(names.share(&matches.prefix))
    } else if !matches.path.is_empty() {
        PathMatchSpec::Exact(names.share(&matches.path))
    } else if !matches.regex.is_empty() {
        pattern(&at.key("regex"), &matches.regex, names);
        PathMatchSpec::Regex(names.share(&matches.regex))
    } else {
        PathMatchSpec::Any
    };
    let by_path = path != PathMatchSpec::Any;
    for (key, given, feature) in [
        ("variables", !matches.variables.is_empty(), Feature::VariableMatch),
        ("dsl_expressions", !matches.dsl_expressions.is_empty(), Feature::DslMatch),
    ] {
        if given && by_path {
            at.key(key).warning("has no effect beside prefix, path or regex");
        } else if given {
            at.key(key).needs(feature);
        }
    }
    let mut spec = RouteMatchSpec { path, headers: Vec::new(), method: None };
    if !by_path
        && let [only] = matches.headers.as_slice()
        && only.name == "service"
        && !only.value.is_empty()
    {
        // RPC routes write `service: ".*"` for any service, with or without `regex`.
        let value = match only.value.as_str() {
            ".*" => ValueMatchSpec::NonEmpty,
            value => ValueMatchSpec::Exact(names.share(value)),
        };
        spec.headers.push(HeaderMatchSpec { name: names.share("service"), value });
        return spec;
    }
    for (index, header) in matches.headers.iter().enumerate() {
        let at_headers = at.key("headers");
        let at = at_headers.index(index);
        check_name(&at.key("name"), &header.name);
        if by_path && header.name.eq_ignore_ascii_case("method") {
            match &spec.method {
                Some(method) if *method != header.value => {
                    at.error(format!("the method cannot be both {method:?} and {:?}", header.value));
                }
                _ => spec.method = Some(header.value.clone()),
            }
            continue;
        }
        let value = if header.regex {
            pattern(&at.key("value"), &header.value, names);
            ValueMatchSpec::Regex(names.share(&header.value))
        } else {
            ValueMatchSpec::Exact(names.share(&header.value))
        };
        spec.headers.push(HeaderMatchSpec { name: names.share(&header.name), value });
    }
    spec
}

fn pattern(at: &At<'_>, text: &str, names: &mut Names) {
    if let Err(reason) = names.check_pattern(text) {
        at.error(reason);
    }
}

fn direct_response(at: &At<'_>, direct: &DirectResponse) -> ActionSpec {
    let status = u16::try_from(direct.status).ok().filter(|status| (200..=599).contains(status));
    if status.is_none() {
        at.key("status").error(format!("expected a status from 200 to 599, found {}", direct.status));
    }
    ActionSpec::DirectResponse(Box::new(DirectResponseSpec {
        status: status.unwrap_or(500),
        body: Arc::from(direct.body.as_str()),
    }))
}

fn redirect(at: &At<'_>, to: &Redirect, names: &mut Names) -> ActionSpec {
    let status = match to.response_code {
        0 => 301,
        301 | 302 | 303 | 307 | 308 => to.response_code as u16,
        other => {
            at.key("response_code").error(format!("expected 301, 302, 303, 307 or 308, found {other}"));
            301
        }
    };
    let scheme = to.scheme_redirect.to_ascii_lowercase();
    let valid = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
    };
    if !scheme.is_empty() && !valid(&scheme) {
        at.key("scheme_redirect").error(format!("expected a scheme such as \"https\", found {scheme:?}"));
    }
    let mut part = |text: &str| (!text.is_empty()).then(|| names.share(text));
    ActionSpec::Redirect(Box::new(RedirectSpec {
        status,
        path: part(&to.path_redirect),
        host: part(&to.host_redirect),
        scheme: part(&scheme),
    }))
}

fn forward(at: &At<'_>, action: &RouteAction, names: &mut Names) -> ActionSpec {
    let Some(cluster) = cluster_choice(at, action, names) else { return ActionSpec::None };
    let timeout = positive(&at.key("timeout"), action.timeout);
    let (retry, per_try_timeout) = match &action.retry_policy {
        Some(policy) => retry(&at.key("retry_policy"), policy),
        None => (RetrySpec::default(), None),
    };
    ActionSpec::Forward(Box::new(ForwardSpec {
        cluster,
        upstream_protocol: upstream_protocol(&at.key("upstream_protocol"), &action.upstream_protocol),
        timeout,
        per_try_timeout,
        retry,
        path_rewrite: path_rewrite(at, action, names),
        host_rewrite: host_rewrite(at, action, names),
        metadata_match: metadata(&action.metadata_match, names),
        hash_policy: action.hash_policy.first().map(|policy| hash_policy(policy, names)),
    }))
}

fn cluster_choice(at: &At<'_>, action: &RouteAction, names: &mut Names) -> Option<ClusterChoiceSpec> {
    if !action.weighted_clusters.is_empty() {
        let at = at.key("weighted_clusters");
        let mut clusters = Vec::with_capacity(action.weighted_clusters.len());
        for (index, weighted) in action.weighted_clusters.iter().enumerate() {
            let at = at.index(index);
            let at = at.key("cluster");
            let cluster = &weighted.cluster;
            check_cluster(&at.key("name"), &cluster.name, names);
            clusters.push(WeightedClusterSpec {
                name: names.share(&cluster.name),
                weight: cluster.weight,
                metadata_match: metadata(&cluster.metadata_match, names),
            });
        }
        if clusters.iter().all(|cluster| cluster.weight == 0) {
            at.error("the sum of the weights is 0: no cluster would ever be chosen");
        }
        return Some(ClusterChoiceSpec::Weighted(clusters));
    }
    if !action.cluster_name.is_empty() {
        check_cluster(&at.key("cluster_name"), &action.cluster_name, names);
        return Some(ClusterChoiceSpec::Named(names.share(&action.cluster_name)));
    }
    if !action.cluster_variable.is_empty() {
        at.key("cluster_variable").needs(Feature::ClusterVariable);
        return Some(ClusterChoiceSpec::Variable(names.share(&action.cluster_variable)));
    }
    at.warning("names no cluster: requests that match are answered 404");
    None
}

fn check_cluster(at: &At<'_>, name: &str, names: &Names) {
    if !names.is_cluster(name) {
        at.unknown(
            Severity::Warning,
            format!("there is no cluster {name:?}: requests are answered 404 until there is"),
            name,
            names.cluster_names(),
        );
    }
}

fn upstream_protocol(at: &At<'_>, name: &str) -> Option<Protocol> {
    match name {
        "" | "Auto" => None,
        name => super::proxy::protocol(at, name),
    }
}

fn retry(at: &At<'_>, policy: &RetryPolicy) -> (RetrySpec, Option<std::time::Duration>) {
    let mut status_codes = Vec::with_capacity(policy.status_codes.len());
    for (index, &code) in policy.status_codes.iter().enumerate() {
        match u16::try_from(code).ok().filter(|code| (100..=599).contains(code)) {
            Some(code) => status_codes.push(code),
            None => {
                let at = at.key("status_codes");
                at.index(index).error(format!("expected a status from 100 to 599, found {code}"));
            }
        }
    }
    let spec =
        RetrySpec { on_failure: policy.retry_on, status_codes, max_retries: policy.num_retries.max(3) };
    (spec, positive(&at.key("retry_timeout"), policy.retry_timeout))
}

fn path_rewrite(at: &At<'_>, action: &RouteAction, names: &mut Names) -> Option<PathRewriteSpec> {
    if !action.prefix_rewrite.is_empty() {
        if action.regex_rewrite.is_some() {
            at.key("regex_rewrite").warning("has no effect beside prefix_rewrite");
        }
        return Some(PathRewriteSpec::Prefix(names.share(&action.prefix_rewrite)));
    }
    let rewrite = action.regex_rewrite.as_ref()?;
    let at = at.key("regex_rewrite");
    let at = at.key("pattern");
    let text = &rewrite.pattern.regex;
    if text.chars().count() < 2 {
        at.key("regex").warning("has no effect: the pattern needs at least two characters");
        return None;
    }
    pattern(&at.key("regex"), text, names);
    Some(PathRewriteSpec::Regex {
        pattern: names.share(text),
        substitution: names.share(&rewrite.substitution),
    })
}

fn host_rewrite(at: &At<'_>, action: &RouteAction, names: &mut Names) -> Option<HostRewriteSpec> {
    if !action.host_rewrite.is_empty() {
        if !action.host_rewrite.bytes().all(|b| b.is_ascii_graphic()) {
            at.key("host_rewrite").error(format!("expected a host, found {:?}", action.host_rewrite));
        }
        return Some(HostRewriteSpec::Literal(names.share(&action.host_rewrite)));
    }
    if !action.auto_host_rewrite_header.is_empty() {
        check_name(&at.key("auto_host_rewrite_header"), &action.auto_host_rewrite_header);
        let name = action.auto_host_rewrite_header.to_ascii_lowercase();
        return Some(HostRewriteSpec::Header(names.share(&name)));
    }
    action.auto_host_rewrite.then_some(HostRewriteSpec::HostName)
}

fn hash_policy(policy: &HashPolicy, names: &mut Names) -> HashPolicySpec {
    match (&policy.cookie, &policy.header) {
        (Some(cookie), _) => HashPolicySpec::Cookie {
            name: names.share(&cookie.name),
            path: names.share(&cookie.path),
            ttl: cookie.ttl.positive().unwrap_or_default(),
        },
        (None, Some(header)) => HashPolicySpec::Header(names.share(&header.key)),
        (None, None) => HashPolicySpec::SourceIp,
    }
}

type Labels = std::collections::BTreeMap<Name, Name>;

fn metadata(labels: &Metadata, names: &mut Names) -> Option<Box<Labels>> {
    if labels.0.is_empty() {
        return None;
    }
    let shared = labels.0.iter().map(|(key, value)| (names.share(key), names.share(value)));
    Some(Box::new(shared.collect()))
}

/// A limit that is not set when 0; below 0 it makes no sense, and is not set either.
pub(super) fn positive(at: &At<'_>, duration: crate::value::GoDuration) -> Option<std::time::Duration> {
    if duration.as_nanos() < 0 {
        at.warning(format!("{duration} is negative and counts as not set"));
    }
    duration.positive()
}
