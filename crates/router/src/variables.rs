use mosn_core::{Headers, RequestHead, RequestInfo};
use mosn_telemetry::Variable;

use crate::Metadata;

/// The request's variables. The proxy implements it over what it knows of the request.
pub trait Variables {
    /// Appends the variable's value to `out`; `false` if it has none. `message` is the head that is
    /// being matched or changed, as it is by now, for variables such as `request_header_x`.
    fn lookup(&self, variable: &Variable, message: Message<'_>, out: &mut Vec<u8>) -> bool;

    /// See [`Subject::info`](crate::Subject::info).
    fn info(&self) -> Option<&RequestInfo> {
        None
    }

    /// See [`Subject::labels`](crate::Subject::labels).
    fn labels(&self) -> Option<&Metadata> {
        None
    }
}

/// The message that is being matched or changed.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// The request, on its way upstream.
    Request(&'a RequestHead),
    /// The reply's header, on its way downstream.
    Response(&'a Headers),
}

/// No variable has a value.
#[derive(Clone, Copy, Debug)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn lookup(&self, _: &Variable, _: Message<'_>, _: &mut Vec<u8>) -> bool {
        false
    }
}

impl<V: Variables + ?Sized> Variables for &V {
    fn lookup(&self, variable: &Variable, message: Message<'_>, out: &mut Vec<u8>) -> bool {
        (**self).lookup(variable, message, out)
    }

    fn info(&self) -> Option<&RequestInfo> {
        (**self).info()
    }

    fn labels(&self) -> Option<&Metadata> {
        (**self).labels()
    }
}
