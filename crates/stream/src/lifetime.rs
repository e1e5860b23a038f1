use std::time::Duration;

/// How long an upstream connection lives; `None` = without that limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lifetime {
    /// Requests after which it takes no more.
    pub max_requests: Option<u32>,
    /// Age at which it takes no more.
    pub max_age: Option<Duration>,
    /// How long it is kept without any.
    pub idle_timeout: Option<Duration>,
}

impl Lifetime {
    /// Whether a connection that has carried so many requests is to take no more.
    pub(crate) fn is_over(&self, requests: u32, age: impl FnOnce() -> Duration) -> bool {
        self.max_requests.is_some_and(|max| requests >= max) || self.max_age.is_some_and(|max| age() >= max)
    }

    /// Whether a connection that has no requests is to be closed.
    pub(crate) fn has_idled(&self, idle: impl FnOnce() -> Duration) -> bool {
        self.idle_timeout.is_some_and(|timeout| idle() >= timeout)
    }
}
