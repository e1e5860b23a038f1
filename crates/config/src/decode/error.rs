use std::fmt;

use serde::de::{Expected, Unexpected};

use crate::tree::NodeId;

/// Why a node is not what it should be.
#[derive(Debug)]
pub(crate) struct DecodeError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    node: Option<NodeId>,
    message: String,
}

impl DecodeError {
    pub(super) fn at(node: NodeId, message: String) -> Self {
        Self(Box::new(Inner { node: Some(node), message }))
    }

    /// Says where, unless something deeper did.
    pub(super) fn or_at(mut self, node: NodeId) -> Self {
        self.0.node.get_or_insert(node);
        self
    }

    pub(super) fn node(&self) -> Option<NodeId> {
        self.0.node
    }

    pub(super) fn into_message(self) -> String {
        self.0.message
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(Box::new(Inner { node: None, message: message.to_string() }))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {}", Found(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

/// A value as JSON writes it.
struct Found<'u>(Unexpected<'u>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Bool(value) => write!(f, "{value}"),
            Unexpected::Unsigned(value) => write!(f, "{value}"),
            Unexpected::Signed(value) => write!(f, "{value}"),
            Unexpected::Float(value) => write!(f, "{value:?}"),
            Unexpected::Str(value) => write!(f, "{value:?}"),
            Unexpected::Unit | Unexpected::Option => f.write_str("null"),
            Unexpected::Seq => f.write_str("an array"),
            Unexpected::Map => f.write_str("an object"),
            other => other.fmt(f),
        }
    }
}
