use std::borrow::Cow;

use crate::{Type, Value};

/// A fact that expressions know by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// `request.headers`.
    RequestHeaders,
    /// `request.path`: decoded, without the query.
    RequestPath,
    /// `request.url_path`: path and query.
    RequestUrlPath,
    /// `request.query_params`: the first value of each name, decoded.
    RequestQueryParams,
    /// `request.method`.
    RequestMethod,
    /// `request.host`.
    RequestHost,
    /// `request.size`: bytes of body so far.
    RequestSize,
    /// `request.total_size`: with header and trailers.
    RequestTotalSize,
    /// `request.time`: when it came.
    RequestTime,
    /// `response.headers`.
    ResponseHeaders,
    /// `response.code`.
    ResponseCode,
    /// `response.size`: bytes of body so far.
    ResponseSize,
    /// `response.total_size`: with header.
    ResponseTotalSize,
    /// `response.time`: now.
    ResponseTime,
    /// `response.duration`: how long the whole took.
    ResponseDuration,
    /// `origin.ip`, which is the address that the client connected to, as in MOSN.
    OriginIp,
    /// `destination.ip`: the chosen host's.
    DestinationIp,
    /// `destination.port`.
    DestinationPort,
    /// `context.protocol`: `http`, `h2`, or the protocol's name.
    ContextProtocol,
    /// `context.reporter.kind`: the first part of a cluster name `kind|port|subset|host`.
    ContextReporterKind,
    /// `destination.service.host`: the last part of it.
    DestinationServiceHost,
    /// `destination.service.name`: what comes before the first dot of that.
    DestinationServiceName,
    /// `destination.service.namespace`: what comes before the second.
    DestinationServiceNamespace,
    /// `ctx`.
    Context,
    /// One of Istio's other names, which only the header `x-istio-attributes` gives a value.
    Istio(&'static str),
}

/// The facts of one request.
pub trait Attributes {
    /// An attribute that is no map, of the type that its name has; `None` = it has no value.
    fn get(&self, attribute: Attribute) -> Option<Value<'_>>;

    /// What a map has under a key.
    fn entry(&self, map: Attribute, key: &str) -> Option<Cow<'_, [u8]>>;

    /// How many keys a map has; `None` = there is no such map.
    fn entries(&self, map: Attribute) -> Option<usize>;

    /// Changes the message, and says whether that was possible.
    fn change(&self, effect: Effect<'_>) -> bool {
        let _ = effect;
        false
    }
}

/// A change to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// The request's path becomes this.
    RewriteUrl(&'a [u8]),
    /// A request header gets this value.
    SetRequestHeader(&'a [u8], &'a [u8]),
    /// A request header goes.
    RemoveRequestHeader(&'a [u8]),
    /// A reply's header gets this value.
    SetResponseHeader(&'a [u8], &'a [u8]),
    /// A reply's header goes.
    RemoveResponseHeader(&'a [u8]),
}

/// The attribute of this name, and its type.
pub(crate) fn named(name: &str) -> Option<(Attribute, Type)> {
    use Attribute as A;
    use Type as T;
    Some(match name {
        "request.headers" => (A::RequestHeaders, T::Map),
        "request.path" => (A::RequestPath, T::String),
        "request.url_path" => (A::RequestUrlPath, T::String),
        "request.query_params" => (A::RequestQueryParams, T::Map),
        "request.method" => (A::RequestMethod, T::String),
        "request.host" => (A::RequestHost, T::String),
        "request.size" => (A::RequestSize, T::Int),
        "request.total_size" => (A::RequestTotalSize, T::Int),
        "request.time" => (A::RequestTime, T::Timestamp),
        "response.headers" => (A::ResponseHeaders, T::Map),
        "response.code" => (A::ResponseCode, T::Int),
        "response.size" => (A::ResponseSize, T::Int),
        "response.total_size" => (A::ResponseTotalSize, T::Int),
        "response.time" => (A::ResponseTime, T::Timestamp),
        "response.duration" => (A::ResponseDuration, T::Duration),
        "origin.ip" => (A::OriginIp, T::Ip),
        "destination.ip" => (A::DestinationIp, T::Ip),
        "destination.port" => (A::DestinationPort, T::Int),
        "context.protocol" => (A::ContextProtocol, T::String),
        "context.reporter.kind" => (A::ContextReporterKind, T::String),
        "destination.service.host" => (A::DestinationServiceHost, T::String),
        "destination.service.name" => (A::DestinationServiceName, T::String),
        "destination.service.namespace" => (A::DestinationServiceNamespace, T::String),
        "ctx" => (A::Context, T::Context),
        _ => {
            let &(name, kind) = ISTIO.iter().find(|(known, _)| *known == name)?;
            (A::Istio(name), kind)
        }
    })
}

/// Every name, for a suggestion and for telling a prefix of a name from none.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OURS.iter().copied().chain(ISTIO.iter().map(|&(name, _)| name))
}

const OURS: &[&str] = &[
    "request.headers",
    "request.path",
    "request.url_path",
    "request.query_params",
    "request.method",
    "request.host",
    "request.size",
    "request.total_size",
    "request.time",
    "response.headers",
    "response.code",
    "response.size",
    "response.total_size",
    "response.time",
    "response.duration",
    "origin.ip",
    "destination.ip",
    "destination.port",
    "context.protocol",
    "context.reporter.kind",
    "destination.service.host",
    "destination.service.name",
    "destination.service.namespace",
    "ctx",
];

/// The rest of Istio's manifest, so that expressions written for it compile.
const ISTIO: &[(&str, Type)] = &[
    ("origin.uid", Type::String),
    ("origin.user", Type::String),
    ("request.id", Type::String),
    ("request.reason", Type::String),
    ("request.referer", Type::String),
    ("request.scheme", Type::String),
    ("request.useragent", Type::String),
    ("response.grpc_status", Type::String),
    ("response.grpc_message", Type::String),
    ("source.uid", Type::String),
    ("source.user", Type::String),
    ("source.principal", Type::String),
    ("destination.uid", Type::String),
    ("destination.principal", Type::String),
    ("connection.event", Type::String),
    ("connection.id", Type::String),
    ("connection.received.bytes", Type::Int),
    ("connection.received.bytes_total", Type::Int),
    ("connection.sent.bytes", Type::Int),
    ("connection.sent.bytes_total", Type::Int),
    ("connection.duration", Type::Duration),
    ("connection.mtls", Type::Bool),
    ("connection.requested_server_name", Type::String),
    ("context.proxy_error_code", Type::String),
    ("context.timestamp", Type::Timestamp),
    ("context.time", Type::Timestamp),
    ("context.reporter.local", Type::Bool),
    ("context.reporter.uid", Type::String),
    ("context.proxy_version", Type::String),
    ("api.service", Type::String),
    ("api.version", Type::String),
    ("api.operation", Type::String),
    ("api.protocol", Type::String),
    ("request.auth.principal", Type::String),
    ("request.auth.audiences", Type::String),
    ("request.auth.presenter", Type::String),
    ("request.auth.claims", Type::Map),
    ("request.auth.raw_claims", Type::String),
    ("request.api_key", Type::String),
    ("rbac.permissive.response_code", Type::String),
    ("rbac.permissive.effective_policy_id", Type::String),
    ("check.error_code", Type::Int),
    ("check.error_message", Type::String),
    ("check.cache_hit", Type::Bool),
    ("quota.cache_hit", Type::Bool),
    ("source.ip", Type::Ip),
    ("source.labels", Type::Map),
    ("source.metadata", Type::Map),
    ("source.name", Type::String),
    ("source.namespace", Type::String),
    ("source.owner", Type::String),
    ("source.serviceAccount", Type::String),
    ("source.services", Type::String),
    ("source.workload.uid", Type::String),
    ("source.workload.name", Type::String),
    ("source.workload.namespace", Type::String),
    ("destination.labels", Type::Map),
    ("destination.metadata", Type::Map),
    ("destination.owner", Type::String),
    ("destination.name", Type::String),
    ("destination.container.name", Type::String),
    ("destination.namespace", Type::String),
    ("destination.service.uid", Type::String),
    ("destination.serviceAccount", Type::String),
    ("destination.workload.uid", Type::String),
    ("destination.workload.name", Type::String),
    ("destination.workload.namespace", Type::String),
];
