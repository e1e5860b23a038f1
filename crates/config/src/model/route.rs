use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mosn_core::Protocol;

use super::{Name, Priority, RetrySpec};

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
    /// Whether no level, neither this route nor its virtual host nor its table, changes the
    /// request's headers; replies are changed all the same.
    pub leaves_request: bool,
    /// Settings of stream filters, by filter name.
    pub filter_config: FilterConfigs,
}

/// What requests a route takes: all of it must match.
#[derive(Clone, Debug, Default)]
pub struct RouteMatchSpec {
    /// The path without the query.
    pub path: PathMatchSpec,
    /// All of them.
    pub headers: Vec<HeaderMatchSpec>,
    /// The method, exactly.
    pub method: Option<String>,
    /// All of them.
    pub query: Vec<QueryMatchSpec>,
    /// Groups, of which one must hold; empty = no condition.
    pub variables: Vec<Vec<VariableMatchSpec>>,
    /// Conditions in MOSN's expression language, all of which must hold.
    pub expressions: Vec<Name>,
}

/// How a path is matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathMatchSpec {
    /// Any, also none.
    #[default]
    Any,
    /// Starts with these bytes; case counts.
    Prefix(Name),
    /// Is this, without regard to case.
    Exact(Name),
    /// Contains a match of this regular expression.
    Regex(Name),
}

/// How a header is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatchSpec {
    /// The header's name.
    pub name: Name,
    /// Its value.
    pub value: ValueMatchSpec,
    /// Takes what `value` does not. A header that is absent never matches, but for
    /// [`ValueMatchSpec::Present`], which then asks for its absence.
    pub invert: bool,
}

/// How a query parameter is matched; one that is absent never matches. Of several with one name,
/// the first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatchSpec {
    /// The parameter's name, decoded.
    pub name: Name,
    /// Its decoded value.
    pub value: ValueMatchSpec,
}

/// How a variable is matched; one that has no value counts as empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableMatchSpec {
    /// The variable's name.
    pub name: Name,
    /// Its value; `None` = the condition never holds.
    pub value: Option<ValueMatchSpec>,
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
    /// Is there.
    Present,
    /// Starts with this.
    Prefix(Name),
    /// Ends with this.
    Suffix(Name),
    /// Has this in it.
    Contains(Name),
    /// Is a whole number in decimal, not below the first and below the second.
    Range(i64, i64),
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
#[derive(Clone, Debug)]
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
    /// Bytes of a request's body that are kept for another try or for a copy; a longer one is sent once.
    pub buffer_limit: usize,
    /// Where copies of requests go.
    pub mirrors: Vec<MirrorPolicySpec>,
    /// How the path is rewritten.
    pub path_rewrite: Option<PathRewriteSpec>,
    /// How the host is rewritten.
    pub host_rewrite: Option<HostRewriteSpec>,
    /// Which of the cluster's limits the request counts against.
    pub priority: Priority,
    /// Which hosts of the cluster may take the request (subset balancing).
    pub metadata_match: Option<Box<BTreeMap<Name, Name>>>,
    /// What consistent-hash balancers hash.
    pub hash_policy: Option<HashPolicySpec>,
}

impl Default for ForwardSpec {
    fn default() -> Self {
        Self {
            cluster: ClusterChoiceSpec::default(),
            upstream_protocol: None,
            timeout: None,
            per_try_timeout: None,
            retry: RetrySpec::default(),
            buffer_limit: 64 * 1024,
            mirrors: Vec::new(),
            path_rewrite: None,
            host_rewrite: None,
            priority: Priority::Default,
            metadata_match: None,
            hash_policy: None,
        }
    }
}

/// Where copies of a route's requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorPolicySpec {
    /// The cluster.
    pub cluster: Name,
    /// How many of a million requests, drawn one by one.
    pub per_million: u32,
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
    /// The one whose name this header holds.
    Header(Name),
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

/// What a consistent-hash balancer hashes: all keys that the request has, up to the first terminal
/// one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashPolicySpec {
    /// In order.
    pub keys: Vec<HashKeySpec>,
    /// The hash of a request that has none of them; `None` = none, and any host will do.
    pub otherwise: Option<u64>,
}

/// One of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashKeySpec {
    /// What is hashed.
    pub source: HashSourceSpec,
    /// Whether the keys after it count only where the request does not have it.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashSourceSpec {
    /// This header, as `name:value`.
    Header(Name),
    /// This cookie, as `name=value`.
    Cookie {
        /// The cookie's name.
        name: Name,
        /// Path of a cookie that is made when the client has none; may be empty.
        path: Name,
        /// Its life, zero = until the browser closes; `None` = none is made.
        ttl: Option<Duration>,
    },
    /// The client's address.
    SourceIp,
    /// This query parameter's decoded value.
    QueryParameter(Name),
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

impl HeaderAddSpec {
    /// Fields that frame a message or belong to a connection. Only the codecs write them.
    pub const FRAMING: [&'static str; 7] = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
}
