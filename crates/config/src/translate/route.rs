use std::sync::Arc;
use std::time::Duration;

use mosn_core::{Protocol, is_authority};

use super::header::{check_name, lists, mutations};
use super::retry::retry;
use super::route_match::{pattern, route_match};
use super::router::filter_config;
use super::{Names, leads_to, variable};
use crate::document::At;
use crate::model::{
    ActionSpec, ClusterChoiceSpec, DirectResponseSpec, ForwardSpec, HashKeySpec, HashPolicySpec,
    HashSourceSpec, HeaderMutationsSpec, HostRewriteSpec, MirrorPolicySpec, Name, PathRewriteSpec,
    RedirectSpec, RetrySpec, RouteSpec, WeightedClusterSpec,
};
use crate::mosn::{DirectResponse, HashPolicy, Redirect, RequestMirrorPolicy, RouteAction, Router};
use crate::problem::Severity;
use crate::value::{GoDuration, Metadata};

pub(crate) fn route(at: &At<'_>, router: &Router, names: &mut Names) -> RouteSpec {
    let matches = route_match(&at.key("match"), &router.matches, names);
    let leaves_request = !matches.variables.is_empty() || !matches.expressions.is_empty();
    let mut action = match (&router.direct_response, &router.redirect) {
        (Some(direct), _) => direct_response(&at.key("direct_response"), direct),
        (None, Some(to)) => redirect(&at.key("redirect"), to, names),
        (None, None) => forward(&at.key("route"), &router.route, names),
    };
    let at_mirror = at.key("request_mirror_policies");
    match (&mut action, &router.request_mirror_policies) {
        (ActionSpec::Forward(forward), Some(policy)) => {
            forward.mirrors.extend(mirror(&at_mirror, policy, names));
        }
        (_, Some(_)) => at_mirror.warning("has no effect: the route forwards nothing"),
        _ => {}
    }
    beside(at, router);
    let mut headers = mutations(&at.key("route"), &lists!(router.route), names);
    if leaves_request {
        leave_request(&at.key("route"), &mut action, &mut headers);
    }
    RouteSpec {
        name: None,
        matches,
        action,
        headers,
        leaves_request,
        filter_config: filter_config(&at.key("per_filter_config"), router.per_filter_config.as_ref(), names),
    }
}

/// Of what a route could do, the first counts.
fn beside(at: &At<'_>, router: &Router) {
    let first = match (&router.direct_response, &router.redirect) {
        (Some(_), _) => "direct_response",
        (None, Some(_)) => "redirect",
        (None, None) => return,
    };
    if router.direct_response.is_some() && router.redirect.is_some() {
        at.key("redirect").warning(format!("has no effect beside {first}"));
    }
    let route = &router.route;
    if !route.cluster_name.is_empty() {
        at.key("route").key("cluster_name").warning(format!("has no effect beside {first}"));
    }
    if !route.weighted_clusters.is_empty() {
        at.key("route").key("weighted_clusters").warning(format!("has no effect beside {first}"));
    }
}

/// MOSN sends requests of routes by variable or expression on as they are (proxy reference 3.3). To
/// change them now would change traffic.
fn leave_request(at: &At<'_>, action: &mut ActionSpec, headers: &mut HeaderMutationsSpec) {
    let mut ignored = Vec::new();
    if let ActionSpec::Forward(forward) = action {
        ignored.extend(forward.path_rewrite.take().map(|rewrite| match rewrite {
            PathRewriteSpec::Prefix(_) => "prefix_rewrite",
            PathRewriteSpec::Regex { .. } => "regex_rewrite",
        }));
        ignored.extend(forward.host_rewrite.take().map(|rewrite| match rewrite {
            HostRewriteSpec::Literal(_) => "host_rewrite",
            HostRewriteSpec::Header(_) => "auto_host_rewrite_header",
            HostRewriteSpec::HostName => "auto_host_rewrite",
        }));
    }
    if let Some(headers) = &mut headers.inner {
        let lists = [
            ("request_headers_to_add", std::mem::take(&mut headers.request_add).is_empty()),
            ("request_headers_to_remove", std::mem::take(&mut headers.request_remove).is_empty()),
        ];
        ignored.extend(lists.into_iter().filter(|(_, empty)| !empty).map(|(key, _)| key));
    }
    for key in ignored {
        at.key(key).warning("has no effect on a route that matches by variables or expressions");
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
    if !to.host_redirect.is_empty() {
        check_host(&at.key("host_redirect"), &to.host_redirect);
    }
    if to.path_redirect.is_empty() && to.host_redirect.is_empty() && scheme.is_empty() {
        at.warning("leads to the same address again: give path_redirect, host_redirect or scheme_redirect");
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
    let limit = timeout.unwrap_or(Duration::from_secs(60));
    if per_try_timeout.is_some_and(|per_try| per_try >= limit) {
        let at = at.key("retry_policy");
        at.key("retry_timeout").warning(format!("limits nothing: the whole request has {limit:?} (timeout)"));
    }
    let forward = ForwardSpec {
        cluster,
        upstream_protocol: upstream_protocol(&at.key("upstream_protocol"), &action.upstream_protocol),
        timeout,
        per_try_timeout,
        retry,
        buffer_limit: match action.per_request_buffer_limit_bytes {
            Some(limit) => limit as usize,
            None => ForwardSpec::default().buffer_limit,
        },
        mirrors: Vec::new(),
        priority: super::cluster::priority(&at.key("priority"), &action.priority),
        path_rewrite: path_rewrite(at, action, names),
        host_rewrite: host_rewrite(at, action, names),
        metadata_match: metadata(&action.metadata_match, names),
        hash_policy: hash_policy(&at.key("hash_policy"), &action.hash_policy, names),
    };
    leads_to::check(at, &forward, names);
    ActionSpec::Forward(Box::new(forward))
}

fn cluster_choice(at: &At<'_>, action: &RouteAction, names: &mut Names) -> Option<ClusterChoiceSpec> {
    only_first(
        at,
        &[
            ("weighted_clusters", !action.weighted_clusters.is_empty()),
            ("cluster_name", !action.cluster_name.is_empty()),
            ("cluster_variable", !action.cluster_variable.is_empty()),
            ("cluster_header", !action.cluster_header.is_empty()),
        ],
    );
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
        match clusters.iter().map(|cluster| u64::from(cluster.weight)).sum() {
            0 => at.error("the sum of the weights is 0: no cluster would ever be chosen"),
            sum if sum > u64::from(u32::MAX) => {
                at.error(format!("expected weights with a sum of at most {}, found {sum}", u32::MAX));
            }
            _ => {}
        }
        return Some(ClusterChoiceSpec::Weighted(clusters));
    }
    if !action.cluster_name.is_empty() {
        check_cluster(&at.key("cluster_name"), &action.cluster_name, names);
        return Some(ClusterChoiceSpec::Named(names.share(&action.cluster_name)));
    }
    if !action.cluster_variable.is_empty() {
        variable::cluster(&at.key("cluster_variable"), &action.cluster_variable, names);
        return Some(ClusterChoiceSpec::Variable(names.share(&action.cluster_variable)));
    }
    if !action.cluster_header.is_empty() {
        check_name(&at.key("cluster_header"), &action.cluster_header);
        return Some(ClusterChoiceSpec::Header(names.share(&action.cluster_header)));
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

fn mirror(at: &At<'_>, policy: &RequestMirrorPolicy, names: &mut Names) -> Option<MirrorPolicySpec> {
    if policy.percent > 100 {
        at.key("percent").error(format!("expected 0 to 100, found {}", policy.percent));
        return None;
    }
    let at_cluster = at.key("cluster");
    if policy.cluster.is_empty() {
        at_cluster.error("a cluster is required");
    } else if !names.is_cluster(&policy.cluster) {
        at_cluster.unknown(
            Severity::Warning,
            format!("there is no cluster {:?}: nothing is copied until there is", policy.cluster),
            &policy.cluster,
            names.cluster_names(),
        );
    }
    let cluster = names.share(&policy.cluster);
    if policy.percent == 0 {
        at.key("percent").warning("is 0: nothing is copied");
    } else if names.users.as_ref().is_some_and(|users| !users.stream_filters.contains("mirror")) {
        at.warning("has no effect: no listener that uses this table has the stream filter \"mirror\"");
    }
    (policy.percent > 0).then(|| MirrorPolicySpec { cluster, per_million: policy.percent * 10_000 })
}

fn upstream_protocol(at: &At<'_>, name: &str) -> Option<Protocol> {
    match name {
        "" | "Auto" => None,
        name => super::proxy::protocol(at, name),
    }
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
        check_host(&at.key("host_rewrite"), &action.host_rewrite);
        return Some(HostRewriteSpec::Literal(names.share(&action.host_rewrite)));
    }
    if !action.auto_host_rewrite_header.is_empty() {
        check_name(&at.key("auto_host_rewrite_header"), &action.auto_host_rewrite_header);
        let name = action.auto_host_rewrite_header.to_ascii_lowercase();
        return Some(HostRewriteSpec::Header(names.share(&name)));
    }
    action.auto_host_rewrite.then_some(HostRewriteSpec::HostName)
}

fn check_host(at: &At<'_>, host: &str) {
    if !is_authority(host.as_bytes()) {
        at.error(format!("expected a host, perhaps with a port, found {host:?}"));
    }
}

/// MOSN hashes to 0 what a request does not have, and reads the first policy only.
fn hash_policy(at: &At<'_>, policies: &[HashPolicy], names: &mut Names) -> Option<HashPolicySpec> {
    let keys: Vec<_> = policies
        .iter()
        .enumerate()
        .map(|(index, policy)| HashKeySpec {
            source: hash_source(&at.index(index), policy, names),
            terminal: policy.terminal,
        })
        .collect();
    let always = keys.iter().position(|key| key.terminal && key.source == HashSourceSpec::SourceIp);
    if let Some(always) = always.filter(|&always| always + 1 < keys.len()) {
        let message = "has no effect: every client has the address that the terminal policy before it names";
        at.index(always + 1).warning(message);
    }
    // Where the client has no address (a socket file), one host for all would be no balance.
    let by_address = keys.iter().all(|key| key.source == HashSourceSpec::SourceIp);
    let otherwise = (!by_address).then_some(0);
    (!keys.is_empty()).then_some(HashPolicySpec { keys, otherwise })
}

fn hash_source(at: &At<'_>, policy: &HashPolicy, names: &mut Names) -> HashSourceSpec {
    only_first(
        at,
        &[
            ("cookie", policy.cookie.is_some()),
            ("header", policy.header.is_some()),
            ("query_parameter", policy.query_parameter.is_some()),
            ("source_ip", policy.source_ip.is_some()),
        ],
    );
    if let Some(cookie) = &policy.cookie {
        let at = at.key("cookie");
        let path_ok = cookie.path.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b';');
        check_name(&at.key("name"), &cookie.name);
        if !path_ok {
            at.key("path").error(format!("expected a path such as \"/\", found {:?}", cookie.path));
        }
        return HashSourceSpec::Cookie {
            name: names.share(&cookie.name),
            path: names.share(&cookie.path),
            ttl: positive(&at.key("ttl"), cookie.ttl),
        };
    }
    if let Some(header) = &policy.header {
        check_name(&at.key("header").key("key"), &header.key);
        return HashSourceSpec::Header(names.share(&header.key));
    }
    match &policy.query_parameter {
        Some(parameter) => {
            if parameter.name.is_empty() {
                at.key("query_parameter").key("name").error("expected the name of a query parameter");
            }
            HashSourceSpec::QueryParameter(names.share(&parameter.name))
        }
        None => HashSourceSpec::SourceIp,
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

/// Of keys of which one counts, says which of those that are given do not.
pub(super) fn only_first(at: &At<'_>, keys: &[(&str, bool)]) {
    let mut given = keys.iter().filter(|(_, given)| *given).map(|(key, _)| key);
    if let Some(first) = given.next() {
        for key in given {
            at.key(key).warning(format!("has no effect beside {first}"));
        }
    }
}

/// A time that must be above 0 if it is given.
pub(super) fn or_default(at: &At<'_>, given: Option<GoDuration>, default: Duration) -> Duration {
    let Some(given) = given else { return default };
    given.positive().unwrap_or_else(|| {
        at.warning(format!("expected a duration above 0, found {given}: the default, {default:?}, counts"));
        default
    })
}

/// A limit that is not set when 0; below 0 it makes no sense, and is not set either.
pub(super) fn positive(at: &At<'_>, duration: GoDuration) -> Option<Duration> {
    if duration.as_nanos() < 0 {
        at.warning(format!("{duration} is negative and counts as not set"));
    }
    duration.positive()
}
