use serde::{Deserialize, Serialize};

use super::{HeaderValueOption, RetryPolicy, unset};
use crate::value::{GoDuration, Metadata, NoEffect};

/// Forwarding (`route`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RouteAction {
    /// The cluster.
    #[serde(skip_serializing_if = "unset")]
    pub cluster_name: String,
    /// The variable that holds the cluster's name; used without `cluster_name` and
    /// `weighted_clusters`.
    #[serde(skip_serializing_if = "unset")]
    pub cluster_variable: String,
    /// The header that holds the cluster's name; used without any of the other three.
    #[serde(skip_serializing_if = "unset")]
    pub cluster_header: String,
    /// What the upstream speaks. Default, and `Auto`: what the client speaks.
    #[serde(skip_serializing_if = "unset")]
    pub upstream_protocol: String,
    /// Clusters by weight, instead of `cluster_name`.
    #[serde(skip_serializing_if = "unset")]
    pub weighted_clusters: Vec<WeightedCluster>,
    /// What consistent hashing hashes.
    #[serde(skip_serializing_if = "unset")]
    pub hash_policy: Vec<HashPolicy>,
    /// Which hosts may take the request (subset balancing).
    #[serde(skip_serializing_if = "unset")]
    pub metadata_match: Metadata,
    /// Limit of the whole request. Default 60s.
    pub timeout: GoDuration,
    /// When to try again.
    #[serde(skip_serializing_if = "unset")]
    pub retry_policy: Option<RetryPolicy>,
    /// `DEFAULT` or `HIGH`: which of the cluster's `circuit_breakers` count. Default `DEFAULT`. Not a
    /// key of MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub priority: String,
    /// Bytes of a request's body that are kept for another try. Default 64 KiB. Not a key of MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub per_request_buffer_limit_bytes: Option<u32>,
    /// Replaces the matched prefix or path.
    #[serde(skip_serializing_if = "unset")]
    pub prefix_rewrite: String,
    /// Replaces what a pattern matches in the path; not with `prefix_rewrite`.
    #[serde(skip_serializing_if = "unset")]
    pub regex_rewrite: Option<RegexRewrite>,
    /// The host that the upstream sees.
    #[serde(skip_serializing_if = "unset")]
    pub host_rewrite: String,
    /// The host is the chosen host's name, on a `STRICT_DNS` cluster. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub auto_host_rewrite: bool,
    /// The host is this header's value.
    #[serde(skip_serializing_if = "unset")]
    pub auto_host_rewrite_header: String,
    /// Added to requests that took the route.
    #[serde(skip_serializing_if = "unset")]
    pub request_headers_to_add: Vec<HeaderValueOption>,
    /// Removed from them.
    #[serde(skip_serializing_if = "unset")]
    pub request_headers_to_remove: Vec<String>,
    /// Added to their replies.
    #[serde(skip_serializing_if = "unset")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Removed from their replies.
    #[serde(skip_serializing_if = "unset")]
    pub response_headers_to_remove: Vec<String>,
}

/// One of several clusters (`weighted_clusters[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct WeightedCluster {
    /// The cluster.
    #[serde(skip_serializing_if = "unset")]
    pub cluster: ClusterWeight,
}

/// A cluster and its weight.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ClusterWeight {
    /// The cluster's name.
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    /// Its share of the sum of all weights, which must be above 0.
    #[serde(skip_serializing_if = "unset")]
    pub weight: u32,
    /// Overrides the route's.
    #[serde(skip_serializing_if = "unset")]
    pub metadata_match: Metadata,
}

/// What consistent hashing hashes (`hash_policy[]`); a cookie beats a header beats the source.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct HashPolicy {
    /// A header.
    #[serde(skip_serializing_if = "unset")]
    pub header: Option<HeaderHashPolicy>,
    /// A cookie.
    #[serde(skip_serializing_if = "unset")]
    pub cookie: Option<CookieHashPolicy>,
    /// The client's address.
    #[serde(skip_serializing_if = "unset")]
    pub source_ip: Option<SourceIpHashPolicy>,
    /// A query parameter. Ours.
    #[serde(skip_serializing_if = "unset")]
    pub query_parameter: Option<QueryHashPolicy>,
    /// Whether the policies after it count only where the request does not have it. Default
    /// false. Ours.
    #[serde(skip_serializing_if = "unset")]
    pub terminal: bool,
}

/// Hashes a query parameter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct QueryHashPolicy {
    /// The parameter.
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
}

/// Hashes a header.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct HeaderHashPolicy {
    /// The header.
    #[serde(skip_serializing_if = "unset")]
    pub key: String,
}

/// Hashes a cookie.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CookieHashPolicy {
    /// The cookie.
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    /// Path of a cookie that is made where the client has none.
    #[serde(skip_serializing_if = "unset")]
    pub path: String,
    /// Its life. Default 0: none is made.
    pub ttl: GoDuration,
}

/// Hashes the client's address.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SourceIpHashPolicy {}

/// A rewrite by pattern (`regex_rewrite`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RegexRewrite {
    /// What is replaced.
    pub pattern: RegexPattern,
    /// By what; `$1` and `${name}` are groups.
    #[serde(skip_serializing_if = "unset")]
    pub substitution: String,
}

/// A pattern.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RegexPattern {
    /// The regular expression (RE2), at least two characters.
    #[serde(skip_serializing_if = "unset")]
    pub regex: String,
    /// Does nothing in MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub google_re2: Option<NoEffect>,
}

/// A redirect (`redirect`); each part defaults to the request's, the query stays.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. Default 301.
    #[serde(skip_serializing_if = "unset")]
    pub response_code: i64,
    /// The new path.
    #[serde(skip_serializing_if = "unset")]
    pub path_redirect: String,
    /// The new host.
    #[serde(skip_serializing_if = "unset")]
    pub host_redirect: String,
    /// The new scheme.
    #[serde(skip_serializing_if = "unset")]
    pub scheme_redirect: String,
}

/// A reply of the proxy's own (`direct_response`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct DirectResponse {
    /// The status, 200 to 599.
    #[serde(skip_serializing_if = "unset")]
    pub status: i64,
    /// The body.
    #[serde(skip_serializing_if = "unset")]
    pub body: String,
}
