use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{DirectResponse, Redirect, RouteAction, unset};
use crate::value::{Metadata, NoEffect};

/// A route table (`servers[0].routers[]`, or the settings of a `connection_manager` filter).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RouterConfiguration {
    /// The name that a `proxy` filter refers to.
    #[serde(skip_serializing_if = "unset")]
    pub router_config_name: String,
    /// Virtual hosts; no two share a domain.
    #[serde(skip_serializing_if = "unset")]
    pub virtual_hosts: Vec<VirtualHost>,
    /// A folder with one virtual host in each `.json` file, instead of `virtual_hosts`.
    #[serde(skip_serializing_if = "unset")]
    pub router_configs: String,
    /// Added to requests that took one of the table's routes.
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

/// A virtual host (`virtual_hosts[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct VirtualHost {
    /// For logs, and for its file's name.
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    /// `a.com`, `a.com:80`, `a.com:*`, `*.a.com`, `a.*`, or `*`.
    #[serde(skip_serializing_if = "unset")]
    pub domains: Vec<String>,
    /// Routes, tried in order.
    #[serde(skip_serializing_if = "unset")]
    pub routers: Vec<Router>,
    /// Does nothing in MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub require_tls: Option<NoEffect>,
    /// Added to requests that took one of the host's routes.
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
    /// Settings of stream filters by type.
    #[serde(skip_serializing_if = "unset")]
    pub per_filter_config: Option<Map<String, Value>>,
}

/// A route (`routers[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Router {
    /// What it takes.
    #[serde(rename = "match")]
    pub matches: RouterMatch,
    /// Forwards to a cluster.
    pub route: RouteAction,
    /// Sends the client elsewhere, if there is no `direct_response`.
    #[serde(skip_serializing_if = "unset")]
    pub redirect: Option<Redirect>,
    /// Answers by itself.
    #[serde(skip_serializing_if = "unset")]
    pub direct_response: Option<DirectResponse>,
    /// Labels of the route.
    #[serde(skip_serializing_if = "unset")]
    pub metadata: Metadata,
    /// Settings of stream filters by type.
    #[serde(skip_serializing_if = "unset")]
    pub per_filter_config: Option<Map<String, Value>>,
    /// Where copies of requests go; needs the `mirror` stream filter.
    #[serde(skip_serializing_if = "unset")]
    pub request_mirror_policies: Option<RequestMirrorPolicy>,
}

/// What a route takes (`match`): the first of `prefix`, `path`, `regex`, `variables` and
/// `dsl_expressions` that is set decides; without any, only the headers count.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RouterMatch {
    /// The path starts with this; case counts.
    #[serde(skip_serializing_if = "unset")]
    pub prefix: String,
    /// The path is this; case does not count.
    #[serde(skip_serializing_if = "unset")]
    pub path: String,
    /// The path contains a match of this regular expression (RE2).
    #[serde(skip_serializing_if = "unset")]
    pub regex: String,
    /// All of them match.
    #[serde(skip_serializing_if = "unset")]
    pub headers: Vec<HeaderMatcher>,
    /// All of them match. Ours.
    #[serde(skip_serializing_if = "unset")]
    pub query_parameters: Vec<QueryMatcher>,
    /// Conditions on variables.
    #[serde(skip_serializing_if = "unset")]
    pub variables: Vec<VariableMatcher>,
    /// Conditions in MOSN's expression language, all of which hold.
    #[serde(skip_serializing_if = "unset")]
    pub dsl_expressions: Vec<DslExpression>,
}

/// A condition on a header (`match.headers[]`). `method` is the request's method.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct HeaderMatcher {
    /// The header.
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    /// Its value. `service` alone with `.*` takes any value that is not empty.
    #[serde(skip_serializing_if = "unset")]
    pub value: String,
    /// Whether `value` is a regular expression. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub regex: bool,
    /// Whether it only has to be there, with any value. This and what follows is ours.
    #[serde(skip_serializing_if = "unset")]
    pub present_match: bool,
    /// What its value starts with, instead of `value`.
    #[serde(skip_serializing_if = "unset")]
    pub prefix_match: String,
    /// What its value ends with, instead of `value`.
    #[serde(skip_serializing_if = "unset")]
    pub suffix_match: String,
    /// What its value contains, instead of `value`.
    #[serde(skip_serializing_if = "unset")]
    pub contains_match: String,
    /// The whole numbers that its value is one of, instead of `value`.
    #[serde(skip_serializing_if = "unset")]
    pub range_match: Option<RangeMatch>,
    /// Takes what would not match. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub invert_match: bool,
}

/// Whole numbers (`range_match`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RangeMatch {
    /// The first.
    pub start: i64,
    /// The one after the last.
    pub end: i64,
}

/// A condition on a query parameter (`match.query_parameters[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct QueryMatcher {
    /// The parameter.
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    /// Its decoded value.
    #[serde(skip_serializing_if = "unset")]
    pub value: String,
    /// Whether `value` is a regular expression. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub regex: bool,
    /// Whether it only has to be there, with any value. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub present_match: bool,
}

/// A condition on a variable (`match.variables[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct VariableMatcher {
    /// The variable.
    #[serde(skip_serializing_if = "unset")]
    pub name: String,
    /// Its value.
    #[serde(skip_serializing_if = "unset")]
    pub value: String,
    /// Or a regular expression, which wins over `value`.
    #[serde(skip_serializing_if = "unset")]
    pub regex: String,
    /// How it joins the next one: `and` (default) or `or`.
    #[serde(skip_serializing_if = "unset")]
    pub model: String,
}

/// A condition in the expression language (`match.dsl_expressions[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct DslExpression {
    /// The expression.
    #[serde(skip_serializing_if = "unset")]
    pub expression: String,
}

/// Where copies of requests go (`request_mirror_policies`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RequestMirrorPolicy {
    /// The cluster.
    #[serde(skip_serializing_if = "unset")]
    pub cluster: String,
    /// The share of requests, 0 to 100.
    #[serde(skip_serializing_if = "unset")]
    pub percent: u32,
    /// Does nothing in MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub trace_sampled: Option<NoEffect>,
}

/// A header to add (`*_headers_to_add[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct HeaderValueOption {
    /// The header.
    #[serde(skip_serializing_if = "unset")]
    pub header: HeaderValue,
    /// Joins `old,new` where the header exists, instead of replacing it. Default true.
    #[serde(skip_serializing_if = "unset")]
    pub append: Option<bool>,
}

/// A header's name and value.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct HeaderValue {
    /// The name.
    #[serde(skip_serializing_if = "unset")]
    pub key: String,
    /// A literal, or exactly `%variable%`.
    #[serde(skip_serializing_if = "unset")]
    pub value: String,
}
