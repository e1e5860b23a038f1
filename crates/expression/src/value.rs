use std::{borrow::Cow, fmt, net::IpAddr};

use jiff::Timestamp;

use crate::{Attribute, names};

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// 64 bits, signed.
    Int,
    /// 64 bits, floating.
    Double,
    /// Text; a request's may hold any bytes.
    String,
    /// A moment.
    Timestamp,
    /// A length of time, in nanoseconds.
    Duration,
    /// Texts by name.
    Map,
    /// Texts in order: the result of `split`.
    List,
    /// An IP address.
    Ip,
    /// An e-mail address.
    Email,
    /// A URI.
    Uri,
    /// A DNS name.
    DnsName,
    /// What functions that change the request take.
    Context,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "a truth value",
            Self::Int => "an integer",
            Self::Double => "a floating number",
            Self::String => "a text",
            Self::Timestamp => "a timestamp",
            Self::Duration => "a duration",
            Self::Map => "a map",
            Self::List => "a list",
            Self::Ip => "an IP address",
            Self::Email => "an e-mail address",
            Self::Uri => "a URI",
            Self::DnsName => "a DNS name",
            Self::Context => "the context",
        })
    }
}

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// See [`Type::Bool`].
    Bool(bool),
    /// See [`Type::Int`].
    Int(i64),
    /// See [`Type::Double`].
    Double(f64),
    /// See [`Type::String`].
    String(Cow<'a, [u8]>),
    /// See [`Type::Timestamp`].
    Timestamp(Timestamp),
    /// See [`Type::Duration`].
    Duration(i64),
    /// See [`Type::Map`].
    Map(Map),
    /// See [`Type::List`].
    List(Vec<Vec<u8>>),
    /// See [`Type::Ip`]; `None` = a text that is no address was taken for one, as in Go.
    Ip(Option<IpAddr>),
    /// See [`Type::Email`]: what stands before and behind the `@`.
    Email(String, String),
    /// See [`Type::Uri`].
    Uri(String),
    /// See [`Type::DnsName`].
    DnsName(String),
    /// See [`Type::Context`].
    Context,
}

/// A map of texts. What is in it is asked of the [`Attributes`](crate::Attributes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// Without entries.
    Empty,
    /// This attribute.
    Attribute(Attribute),
}

impl<'a> Value<'a> {
    /// What an attribute without a value counts as.
    pub(crate) fn zero(kind: Type) -> Self {
        match kind {
            Type::Bool => Self::Bool(false),
            Type::Int => Self::Int(0),
            Type::Double => Self::Double(0.0),
            Type::String => Self::String(Cow::Borrowed(b"")),
            Type::Timestamp => Self::Timestamp(Timestamp::UNIX_EPOCH),
            Type::Duration => Self::Duration(0),
            Type::Map => Self::Map(Map::Empty),
            Type::List => Self::List(Vec::new()),
            Type::Ip => Self::Ip(None),
            Type::Email => Self::Email(String::new(), String::new()),
            Type::Uri => Self::Uri(String::new()),
            Type::DnsName => Self::DnsName(String::new()),
            Type::Context => Self::Context,
        }
    }

    /// As a text; `None` if it is none.
    #[must_use]
    pub fn as_text(&self) -> Option<&[u8]> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether both are the same thing, however they were written.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(a), Self::Ip(b)) => a.map(|ip| ip.to_canonical()) == b.map(|ip| ip.to_canonical()),
            (Self::Email(local, domain), Self::Email(other_local, other_domain)) => {
                local == other_local && names::same_name(domain, other_domain)
            }
            (Self::DnsName(a), Self::DnsName(b)) => names::same_name(a, b),
            (Self::Uri(a), Self::Uri(b)) => names::same_uri(a, b),
            (a, b) => a == b,
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text.as_bytes()))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text.into_bytes()))
    }
}
