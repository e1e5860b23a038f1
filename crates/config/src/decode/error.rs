use std::fmt;

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

    fn invalid_type(found: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {found}"))
    }
}
