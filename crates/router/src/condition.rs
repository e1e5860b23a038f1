//! What a route asks of a request beside its path.

use http::Method;
use mosn_config::model::Name;
use mosn_core::RequestHead;
use regex::bytes::Regex;

/// All must hold.
#[derive(Debug)]
pub(crate) struct Conditions {
    pub(crate) method: Option<Method>,
    pub(crate) headers: Box<[HeaderCondition]>,
}

/// A header that is absent never matches.
#[derive(Debug)]
pub(crate) struct HeaderCondition {
    pub(crate) field: Field,
    pub(crate) value: ValueCondition,
}

/// Where the value is taken from. What HTTP/2 sends as pseudo-headers can be matched like headers,
/// whichever version the request came in.
#[derive(Debug, PartialEq, Eq, Hash, Clone)]
pub(crate) enum Field {
    Authority,
    Method,
    Path,
    Scheme,
    Header(Name),
}

#[derive(Debug)]
pub(crate) enum ValueCondition {
    Exact(Name),
    Regex(Box<Regex>),
    NonEmpty,
}

impl Conditions {
    pub(crate) fn hold(&self, head: &RequestHead) -> bool {
        self.method.as_ref().is_none_or(|method| *method == head.method)
            && self.headers.iter().all(|condition| condition.holds(head))
    }
}

impl HeaderCondition {
    fn holds(&self, head: &RequestHead) -> bool {
        self.field.get(head).is_some_and(|value| match &self.value {
            ValueCondition::Exact(expected) => value == expected.as_bytes(),
            ValueCondition::Regex(regex) => regex.is_match(value),
            ValueCondition::NonEmpty => !value.is_empty(),
        })
    }
}

impl Field {
    /// `name` in lower case.
    pub(crate) fn new(name: Name) -> Self {
        match &*name {
            "host" | ":authority" => Self::Authority,
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":scheme" => Self::Scheme,
            _ => Self::Header(name),
        }
    }

    /// The first value, as in MOSN.
    pub(crate) fn get<'a>(&self, head: &'a RequestHead) -> Option<&'a [u8]> {
        match self {
            Self::Authority => Some(&head.authority[..]).filter(|authority| !authority.is_empty()),
            Self::Method => Some(head.method.as_str().as_bytes()),
            Self::Path => Some(&head.path),
            Self::Scheme => Some(head.scheme.as_str().as_bytes()),
            Self::Header(name) => head.headers.get(name),
        }
    }
}
