//! What a route asks of a request beside its path.

use std::{borrow::Cow, cell::Cell};

use http::Method;
use mosn_config::model::Name;
use mosn_expression::Expression;
use mosn_telemetry::Variable;
use regex::bytes::Regex;

use crate::{Subject, facts::Facts, path, query};

/// All must hold.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) method: Option<Method>,
    pub(crate) headers: Box<[HeaderCondition]>,
    pub(crate) query: Box<[QueryCondition]>,
    /// Groups, one of which must hold; empty = no condition.
    pub(crate) variables: Box<[Box<[VariableCondition]>]>,
    /// All of type [`Bool`](mosn_expression::Type::Bool).
    pub(crate) expressions: Box<[Expression]>,
    /// Not a condition, but kept here because few routes have it: see
    /// [`RouteSpec`](mosn_config::model::RouteSpec::leaves_request).
    pub(crate) leaves_request: bool,
}

/// A header that is absent matches only where it is absence that is asked for.
#[derive(Debug)]
pub(crate) struct HeaderCondition {
    pub(crate) field: Field,
    pub(crate) value: ValueCondition,
    pub(crate) invert: bool,
}

/// A query parameter that is absent never matches.
#[derive(Debug)]
pub(crate) struct QueryCondition {
    pub(crate) name: Name,
    pub(crate) value: ValueCondition,
}

/// A variable without a value counts as empty, as in MOSN.
#[derive(Debug)]
pub(crate) struct VariableCondition {
    pub(crate) variable: Variable,
    /// `None` = it never holds.
    pub(crate) value: Option<ValueCondition>,
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
    Present,
    Prefix(Name),
    Suffix(Name),
    Contains(Name),
    /// From the first to below the second.
    Range(i64, i64),
}

thread_local! {
    /// Where variables are written to, kept so that a match does not allocate.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Conditions {
    pub(crate) fn hold<S: Subject + ?Sized>(&self, subject: &S) -> bool {
        self.method.as_ref().is_none_or(|method| method.as_str().as_bytes() == subject.method())
            && self.headers.iter().all(|condition| condition.holds(subject))
            && (self.query.is_empty() || self.query_holds(subject))
            && (self.variables.is_empty() || self.variables_hold(subject))
            && self.expressions.iter().all(|expression| expression.holds(&Facts(subject)))
    }

    pub(crate) fn are_one_header(&self) -> bool {
        // Spelled out, so that whatever is added has to be thought about here.
        let Self { method, headers, query, variables, expressions, leaves_request: _ } = self;
        let others =
            method.is_some() || !query.is_empty() || !variables.is_empty() || !expressions.is_empty();
        headers.len() == 1 && !others
    }

    fn query_holds<S: Subject + ?Sized>(&self, subject: &S) -> bool {
        let query = path::split(subject.path()).1.unwrap_or_default();
        self.query.iter().all(|condition| {
            query::argument(query, &condition.name, |value| condition.value.takes(value)).unwrap_or(false)
        })
    }

    fn variables_hold<S: Subject + ?Sized>(&self, subject: &S) -> bool {
        let mut scratch = SCRATCH.take();
        let holds = self.variables.iter().any(|group| {
            group.iter().all(|condition| {
                scratch.clear();
                if !subject.variable(&condition.variable, &mut scratch) {
                    scratch.clear();
                }
                condition.value.as_ref().is_some_and(|value| value.takes(&scratch))
            })
        });
        SCRATCH.set(scratch);
        holds
    }
}

impl HeaderCondition {
    fn holds<S: Subject + ?Sized>(&self, subject: &S) -> bool {
        match self.field.get(subject) {
            Some(value) => self.value.takes(&value) != self.invert,
            None => self.invert && matches!(self.value, ValueCondition::Present),
        }
    }
}

impl ValueCondition {
    fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(expected) => *value == *expected.as_bytes(),
            Self::Regex(regex) => regex.is_match(value),
            Self::NonEmpty => !value.is_empty(),
            Self::Present => true,
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => value.ends_with(suffix.as_bytes()),
            Self::Contains(part) => memchr::memmem::find(value, part.as_bytes()).is_some(),
            Self::Range(start, end) => {
                let number = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                number.is_some_and(|number| (*start..*end).contains(&number))
            }
        }
    }
}

/// The first value of the header that a policy names, pseudo-headers included.
pub(crate) fn header<'a, S: Subject + ?Sized>(subject: &'a S, name: &str) -> Option<Cow<'a, [u8]>> {
    match Pseudo::of(name).map(|pseudo| pseudo.get(subject)).filter(|value| !value.is_empty()) {
        Some(value) => Some(Cow::Borrowed(value)),
        // RPC requests have none of these, and may have a header of the name.
        None => subject.header(name),
    }
}

impl Field {
    pub(crate) fn new(name: Name) -> Self {
        Self { pseudo: Pseudo::of(&name), name }
    }

    /// The first value, as in MOSN.
    pub(crate) fn get<'a, S: Subject + ?Sized>(&self, subject: &'a S) -> Option<Cow<'a, [u8]>> {
        match self.pseudo.map(|pseudo| pseudo.get(subject)).filter(|value| !value.is_empty()) {
            Some(value) => Some(Cow::Borrowed(value)),
            None => subject.header(&self.name),
        }
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

    fn get<S: Subject + ?Sized>(self, subject: &S) -> &[u8] {
        match self {
            Self::Authority => subject.authority(),
            Self::Method => subject.method(),
            Self::Path => subject.path(),
            Self::Scheme => subject.scheme(),
        }
    }
}
