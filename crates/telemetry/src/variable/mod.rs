//! What variables stand for while a request is under way.

mod eval;
mod query;
#[cfg(test)]
mod tests;
mod trace_id;

use mosn_core::{Headers, RequestHead, RequestInfo, Variable};

/// What is known of a request when a variable is asked for.
#[derive(Clone, Copy, Debug)]
pub struct LogContext<'a> {
    /// What the engine recorded.
    pub info: &'a RequestInfo,
    /// The request as it was, or is being, sent upstream; `None` where none could be read.
    pub request: Option<&'a RequestHead>,
    /// The reply's fields; `None` before there is a reply.
    pub response_headers: Option<&'a Headers>,
    /// Path and query as the client sent them; `None` where they were not rewritten.
    pub original_path: Option<&'a [u8]>,
    /// The trace id of the request's span; `None` without tracing. HTTP/1 requests then show a
    /// generated one.
    pub trace_id: Option<&'a [u8]>,
}

impl<'a> LogContext<'a> {
    /// A context that knows no more than `info`.
    #[must_use]
    pub const fn new(info: &'a RequestInfo) -> Self {
        Self { info, request: None, response_headers: None, original_path: None, trace_id: None }
    }
}

/// Whether [`LogContext::request`] is needed for a variable.
pub(crate) const fn is_of_request(variable: &Variable) -> bool {
    matches!(variable, Variable::RequestHeader(_) | Variable::Head(_) | Variable::Only(..))
}

/// Whether [`LogContext::response_headers`] is needed for it.
pub(crate) const fn is_of_response(variable: &Variable) -> bool {
    matches!(variable, Variable::ResponseHeader(_))
}

/// Whether its value may hold bytes that a client or an upstream chose.
pub(crate) const fn is_foreign(variable: &Variable) -> bool {
    is_of_request(variable) || is_of_response(variable) || matches!(variable, Variable::TraceId)
}
