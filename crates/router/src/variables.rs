use mosn_core::{Headers, RequestHead};

/// The request's variables, by name. The proxy implements it over what it knows of the request.
pub trait Variables {
    /// Appends the value of the variable `name` to `out`; `false` if it has none. `message` is the
    /// head that is being changed, as it is by now, for variables such as `request_header_x`.
    fn lookup(&self, name: &str, message: Message<'_>, out: &mut Vec<u8>) -> bool;
}

/// The message that is being changed.
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
    fn lookup(&self, _: &str, _: Message<'_>, _: &mut Vec<u8>) -> bool {
        false
    }
}
