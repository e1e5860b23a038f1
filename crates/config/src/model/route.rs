use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mosn_core::Protocol;

use super::Name;

/// A route table.
#[derive(Clone, Debug, Default)]
pub struct RouterSpec {
    /// Unique.
    pub name: Name,
    /// Virtual hosts; no two share a domain.
    pub virtual_hosts: Vec<VirtualHostSpec>,
    /// Changes to every request and reply that took one of this table's routes.
    pub headers: HeaderMutationsSpec,
}

/// A set of domains and their routes.
#[derive(Clone, Debug, Default)]
pub struct VirtualHostSpec {
    /// For logs only.
    pub name: Name,
    /// Exact (`a.com`, `a.com:80`, `a.com:*`), suffix (`*.a.com`, `*-x.a.com`), prefix (`a.*`), or `*`.
    pub domains: Vec<Name>,
    /// In order; the first that matches wins.
    pub routes: Vec<RouteSpec>,
    /// Changes to requests and replies that took one of these routes.
    pub headers: HeaderMutationsSpec,
    /// Settings of stream filters, by filter name, unless the route has its own.
    pub filter_config: FilterConfigs,
}

/// Per-route settings of stream filters: JSON text by filter name.
pub type FilterConfigs = Option<Box<BTreeMap<String, Arc<str>>>>;

/// One route.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// For logs only.
    pub name: Option<Name>,
    /// What requests it takes.
    pub matches: RouteMatchSpec,
    /// What it does with them.
    pub action: ActionSpec,
    /// Changes to the request and the reply.
    pub headers: HeaderMutationsSpec,
    /// Settings of stream filters, by filter name.
    pub filter_config: FilterConfigs,
}

/// What requests a route takes: the path and every header must match.
#[derive(Clone, Debug)]
pub struct RouteMatchSpec {
    /// The path without the query.
    pub path: PathMatchSpec,
    /// All of them.
    pub headers: Vec<HeaderMatchSpec>,
    /// The method, exactly.
    pub method: Option<String>,
}

/// How a path is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatchSpec {
    /// Any, also none.
    Any,
    /// Starts with these bytes; case counts.
    Prefix(Name),
    /// Is this, without regard to case.
    Exact(Name),
    /// Contains a match of this regular expression.
    Regex(Name),
}

/// How a header is matched; a header that is absent never matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatchSpec {
    /// The header's name.
    pub name: Name,
    /// Its value.
    pub value: ValueMatchSpec,
}

/// How a value is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatchSpec {
    /// Is this.
    Exact(Name),
    /// Contains a match of this regular expression.
    Regex(Name),
    /// Is there and not empty.
    NonEmpty,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum ActionSpec {
    /// Sends the request to a cluster.
    Forward(Box<ForwardSpec>),
    /// Answers by itself.
    DirectResponse(Box<DirectResponseSpec>),
    /// Sends the client elsewhere.
    Redirect(Box<RedirectSpec>),
    /// Matches, but does nothing: answered like no route.
    None,
}

/// Forwarding.
#[derive(Clone, Debug, Default)]
pub struct ForwardSpec {
    /// Which cluster.
    pub cluster: ClusterChoiceSpec,
    /// What to speak to the upstream; `None` = what the client speaks.
    pub upstream_protocol: Option<Protocol>,
    /// For the whole request, all tries included; `None` = 60 s.
    pub timeout: Option<Duration>,
    /// For one try; `None` or not below `timeout` = no limit of its own.
    pub per_try_timeout: Option<Duration>,
    /// When to try again.
    pub retry: RetrySpec,
    /// How the path is rewritten.
    pub path_rewrite: Option<PathRewriteSpec>,
    /// How the host is rewritten.
    pub host_rewrite: Option<HostRewriteSpec>,
    /// Which hosts of the cluster may take the request (subset balancing).
    pub metadata_match: Option<Box<BTreeMap<Name, Name>>>,
    /// What consistent-hash balancers hash.
    pub hash_policy: Option<HashPolicySpec>,
}

/// How a route chooses the cluster.
#[derive(Clone, Debug)]
pub enum ClusterChoiceSpec {
    /// This one.
    Named(Name),
    /// One of these by weight; the weights' sum is above 0.
    Weighted(Vec<WeightedClusterSpec>),
    /// The one whose name this variable holds.
    Variable(Name),
}

impl Default for ClusterChoiceSpec {
    fn default() -> Self {
        Self::Named(Name::default())
    }
}

/// One of several weighted clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedClusterSpec {
    /// The cluster's name.
    pub name: Name,
    /// Its share of the sum of all weights.
    pub weight: u32,
    /// Overrides the route's.
    pub metadata_match: Option<Box<BTreeMap<Name, Name>>>,
}

/// When a request is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySpec {
    /// Also on 5xx replies, lost connections and per-try timeouts, not only when connecting failed.
    pub on_failure: bool,
    /// Instead of all 5xx, these statuses.
    pub status_codes: Vec<u16>,
    /// How often; MOSN never allows fewer than 3.
    pub max_retries: u32,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self { on_failure: false, status_codes: Vec::new(), max_retries: 3 }
    }
}

/// How a path is rewritten; the query stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewriteSpec {
    /// Replaces the matched prefix or path.
    Prefix(Name),
    /// Replaces every match of the pattern; `$1` and `${name}` stand for groups.
    Regex {
        /// The regular expression.
        pattern: Name,
        /// What its matches become.
        substitution: Name,
    },
}

/// How the host is rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRewriteSpec {
    /// To this.
    Literal(Name),
    /// To this request header's value, if it is there.
    Header(Name),
    /// To the chosen host's name, on clusters resolved by DNS.
    HostName,
}

/// What a consistent-hash balancer hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashPolicySpec {
    /// This header, as `name:value`.
    Header(Name),
    /// This cookie, as `name=value`.
    Cookie {
        /// The cookie's name.
        name: Name,
        /// Path of a cookie that is made when the client has none.
        path: Name,
        /// Its life; zero = none is made.
        ttl: Duration,
    },
    /// The client's address.
    SourceIp,
}

/// A reply that the proxy gives by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponseSpec {
    /// 200 to 599.
    pub status: u16,
    /// The body; may be empty.
    pub body: Arc<str>,
}

/// A redirect; each part defaults to the request's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedirectSpec {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// The new path; the query always stays.
    pub path: Option<Name>,
    /// The new host, perhaps with a port.
    pub host: Option<Name>,
    /// The new scheme, lower-case.
    pub scheme: Option<Name>,
}

/// Changes to header fields: at each level first the additions, then the removals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderMutationsSpec {
    /// `None` where nothing changes, which is the common case.
    pub inner: Option<Box<HeaderMutations>>,
}

/// See [`HeaderMutationsSpec`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderMutations {
    /// Added to the request.
    pub request_add: Vec<HeaderAddSpec>,
    /// Removed from the request.
    pub request_remove: Vec<Name>,
    /// Added to the reply.
    pub response_add: Vec<HeaderAddSpec>,
    /// Removed from the reply.
    pub response_remove: Vec<Name>,
}

/// A header that is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderAddSpec {
    /// Lower-case.
    pub name: Name,
    /// A literal, or exactly `%variable%` for that variable's value.
    pub value: Name,
    /// Joins `old,new` where the header exists and is not empty, instead of replacing it.
    pub append: bool,
}
