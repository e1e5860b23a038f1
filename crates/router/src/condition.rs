//! What a route asks of a request beside its path.

use std::borrow::Cow;

use http::Method;
use mosn_config::model::Name;
use regex::bytes::Regex;

use crate::Subject;

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

/// A header, by the name that the configuration wrote. What HTTP/2 sends as pseudo-headers can be
/// matched like headers, whichever version the request came in.
#[derive(Debug, PartialEq, Eq, Hash, Clone)]
pub(crate) struct Field {
    name: Name,
    pseudo: Option<Pseudo>,
}

#[derive(Debug, PartialEq, Eq, Hash, Clone, Copy)]
enum Pseudo {
    Authority,
    Method,
    Path,
    Scheme,
}

#[derive(Debug)]
pub(crate) enum ValueCondition {
    Exact(Name),
    Regex(Box<Regex>),
    NonEmpty,
}

impl Conditions {
    pub(crate) fn hold<S: Subject + ?Sized>(&self, subject: &S) -> bool {
        self.method.as_ref().is_none_or(|method| method.as_str().as_bytes() == subject.method())
            && self.headers.iter().all(|condition| condition.holds(subject))
    }
}

impl HeaderCondition {
    fn holds<S: Subject + ?Sized>(&self, subject: &S) -> bool {
        self.field.get(subject).is_some_and(|value| match &self.value {
            ValueCondition::Exact(expected) => *value == *expected.as_bytes(),
            ValueCondition::Regex(regex) => regex.is_match(&value),
            ValueCondition::NonEmpty => !value.is_empty(),
        })
    }
}

impl Field {
    pub(crate) fn new(name: Name) -> Self {
        Self { pseudo: Pseudo::of(&name), name }
    }

    /// The first value, as in MOSN.
    pub(crate) fn get<'a, S: Subject + ?Sized>(&self, subject: &'a S) -> Option<Cow<'a, [u8]>> {
        let pseudo: &[u8] = match self.pseudo {
            None => b"",
            Some(Pseudo::Authority) => subject.authority(),
            Some(Pseudo::Method) => subject.method(),
            Some(Pseudo::Path) => subject.path(),
            Some(Pseudo::Scheme) => subject.scheme(),
        };
        // RPC requests have none of these, and may have a header of the name.
        if pseudo.is_empty() { subject.header(&self.name) } else { Some(Cow::Borrowed(pseudo)) }
    }
}

impl Pseudo {
    fn of(name: &str) -> Option<Self> {
        let all = [
            ("host", Self::Authority),
            (":authority", Self::Authority),
            (":method", Self::Method),
            (":path", Self::Path),
            (":scheme", Self::Scheme),
        ];
        all.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, pseudo)| pseudo)
    }
}
