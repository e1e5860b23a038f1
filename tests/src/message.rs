use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::until;

/// Header fields or trailers in order; names compare without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The first value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every value of this name, in order.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.0.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: &str, value: &str) {
        self.0.push((name.into(), value.into()));
    }

    pub(crate) fn of_map(map: &http::HeaderMap) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self(map.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
    }

    pub(crate) fn to_map(&self) -> http::HeaderMap {
        let mut map = http::HeaderMap::new();
        for (name, value) in &self.0 {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a field name");
            map.append(name, value.parse().expect("a field value"));
        }
        map
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Fields {
    fn from(fields: [(&str, &str); N]) -> Self {
        Self(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }
}

/// A request as a test sends it, in any protocol.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The host.
    pub authority: String,
    /// Fields, without those that frame the message.
    pub fields: Fields,
    /// The body.
    pub body: Option<Vec<u8>>,
    /// Whether the body's length is said beforehand. Trailers exclude it.
    pub known_length: bool,
    /// Trailers.
    pub trailers: Fields,
}

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            authority: "test".into(),
            fields: Fields::default(),
            body: None,
            known_length: true,
            trailers: Fields::default(),
        }
    }

    /// `GET`.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// `POST` with a body of known length.
    #[must_use]
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..Self::new("POST", path) }
    }

    /// With another host.
    #[must_use]
    pub fn to(mut self, authority: &str) -> Self {
        self.authority = authority.into();
        self
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push(name, value);
        self
    }

    /// Without saying the body's length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.known_length = false;
        self
    }

    /// With a trailer; the body's length is not said then.
    #[must_use]
    pub fn with_trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push(name, value);
        self.known_length = false;
        self
    }
}

/// A reply, as far as it came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status; 0 if not even that came.
    pub status: u16,
    /// Fields of the head.
    pub fields: Fields,
    /// The body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Fields,
    /// Interim replies that came before it.
    pub interim: Vec<(u16, Fields)>,
}

impl Reply {
    /// The first value of the field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]).into_owned();
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("fields", &self.fields.0)
            .field("body", &format_args!("{} bytes {shown:?}", self.body.len()))
            .field("trailers", &self.trailers.0)
            .field("interim", &self.interim)
            .finish()
    }
}

/// A request as an origin saw it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// The method.
    pub method: String,
    /// The request target, or path and query.
    pub path: String,
    /// `Host` or `:authority`.
    pub authority: String,
    /// Fields of the head, spelled as they came.
    pub fields: Fields,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Fields,
    /// Whether it was read to its end.
    pub whole: bool,
}

impl Seen {
    /// The first value of the field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }
}

/// What an origin saw.
#[derive(Debug, Default)]
pub struct SeenLog {
    requests: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
}

impl SeenLog {
    pub(crate) fn connection(&self) -> usize {
        self.connections.fetch_add(1, Relaxed)
    }

    pub(crate) fn push(&self, seen: Seen) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    /// Every request so far, complete or not.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last request, as soon as there are `count`.
    #[must_use]
    #[track_caller]
    pub fn nth(&self, count: usize) -> Seen {
        until("a request at the origin", || self.requests().get(count - 1).cloned())
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }
}
