//! The one table of the ways a request can end other than by the upstream's own reply.

use crate::ResponseFlags;

/// Why a request did not get, or could not be given, the upstream's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No virtual host or route matched, or the router does not exist.
    NoRoute,
    /// The route names a cluster that does not exist.
    NoCluster,
    /// The cluster has no host that can be used.
    NoHealthyHost,
    /// The upstream refused or could not be reached.
    ConnectFailed,
    /// The upstream did not accept the connection within `connect_timeout`.
    ConnectTimeout,
    /// The upstream connection was closed cleanly before a reply began (HTTP/1).
    UpstreamClosed,
    /// The upstream connection was lost while a request was in flight.
    UpstreamTerminated,
    /// The upstream reset the stream, or sent bytes that are no valid reply.
    UpstreamReset,
    /// The upstream refused the stream before processing it (HTTP/2 `REFUSED_STREAM`, GOAWAY).
    UpstreamRefused,
    /// The upstream gave the stream up before it answered, as it does when its own deadline is over
    /// (HTTP/2 `CANCEL`). A client whose protocol can carry it gets a reset, too.
    UpstreamCancelled,
    /// The request could not be written upstream.
    LocalReset,
    /// The request's whole time was up.
    GlobalTimeout,
    /// One try's time was up.
    PerTryTimeout,
    /// A circuit breaker is open.
    Overflow,
    /// The client went away, or reset its stream.
    ClientGone,
    /// The process ended before the request did.
    Drain,
    /// The client's bytes are no valid request.
    BadRequest,
    /// The request's header did not arrive in time.
    HeaderTimeout,
    /// The request's or the reply's body stalled for longer than the body idle timeout.
    BodyIdleTimeout,
    /// The request target is longer than allowed.
    UriTooLong,
    /// The header is larger, or has more fields, than allowed.
    HeaderTooLarge,
    /// The body is larger than allowed.
    PayloadTooLarge,
    /// The request asks for something that this route's upstream protocol cannot carry.
    NotImplemented,
}

/// One row of the failure table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureRow {
    /// Status of the local reply, and what the access log shows as `response_code`.
    pub status: u16,
    /// The response flag to set; [`ResponseFlags::NONE`] where MOSN sets none.
    pub flag: ResponseFlags,
    /// The word for it in logs and in `response_code_details`.
    pub word: &'static str,
}

impl Failure {
    /// Every failure, in the table's order.
    pub const ALL: [Self; 23] = [
        Self::NoRoute,
        Self::NoCluster,
        Self::NoHealthyHost,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::UpstreamClosed,
        Self::UpstreamTerminated,
        Self::UpstreamReset,
        Self::UpstreamRefused,
        Self::UpstreamCancelled,
        Self::LocalReset,
        Self::GlobalTimeout,
        Self::PerTryTimeout,
        Self::Overflow,
        Self::ClientGone,
        Self::Drain,
        Self::BadRequest,
        Self::HeaderTimeout,
        Self::BodyIdleTimeout,
        Self::UriTooLong,
        Self::HeaderTooLarge,
        Self::PayloadTooLarge,
        Self::NotImplemented,
    ];

    /// The failure's row: status, flag, log word. Statuses and flags of upstream failures are
    /// MOSN's (proxy reference 1.5 and 1.7); those of the client's own faults are RFC 9110's.
    #[must_use]
    pub const fn row(self) -> FailureRow {
        use ResponseFlags as F;
        let (status, flag, word) = match self {
            Self::NoRoute => (404, F::NO_ROUTE_FOUND, "no_route"),
            Self::NoCluster => (404, F::NO_ROUTE_FOUND, "no_cluster"),
            Self::NoHealthyHost => (502, F::NO_HEALTHY_UPSTREAM, "no_healthy_upstream"),
            Self::ConnectFailed => (502, F::UPSTREAM_CONNECTION_FAILURE, "connect_failed"),
            Self::ConnectTimeout => (502, F::UPSTREAM_CONNECTION_FAILURE, "connect_timeout"),
            Self::UpstreamClosed => (502, F::UPSTREAM_CONNECTION_TERMINATION, "upstream_closed"),
            Self::UpstreamTerminated => (500, F::UPSTREAM_CONNECTION_TERMINATION, "upstream_terminated"),
            Self::UpstreamReset => (502, F::UPSTREAM_REMOTE_RESET, "upstream_reset"),
            Self::UpstreamRefused => (502, F::UPSTREAM_REMOTE_RESET, "upstream_refused"),
            Self::UpstreamCancelled => (502, F::UPSTREAM_REMOTE_RESET, "upstream_cancelled"),
            Self::LocalReset => (502, F::UPSTREAM_LOCAL_RESET, "local_reset"),
            Self::GlobalTimeout => (504, F::UPSTREAM_REQUEST_TIMEOUT, "global_timeout"),
            Self::PerTryTimeout => (504, F::UPSTREAM_REQUEST_TIMEOUT, "per_try_timeout"),
            Self::Overflow => (503, F::UPSTREAM_OVERFLOW, "overflow"),
            Self::ClientGone => (504, F::NONE, "client_gone"),
            Self::Drain => (503, F::NONE, "drain"),
            Self::BadRequest => (400, F::NONE, "bad_request"),
            Self::HeaderTimeout => (408, F::NONE, "header_timeout"),
            Self::BodyIdleTimeout => (408, F::NONE, "body_idle_timeout"),
            Self::UriTooLong => (414, F::NONE, "uri_too_long"),
            Self::HeaderTooLarge => (431, F::NONE, "header_too_large"),
            Self::PayloadTooLarge => (413, F::REQ_ENTITY_TOO_LARGE, "payload_too_large"),
            Self::NotImplemented => (501, F::NONE, "not_implemented"),
        };
        FailureRow { status, flag, word }
    }

    /// Whether the upstream cannot have seen the request, so that trying again is always safe.
    #[must_use]
    pub const fn never_reached_upstream(self) -> bool {
        matches!(self, Self::ConnectFailed | Self::ConnectTimeout | Self::UpstreamRefused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_status_and_a_word_of_its_own() {
        let mut words = std::collections::HashSet::new();
        for failure in Failure::ALL {
            let row = failure.row();
            assert!((400..=504).contains(&row.status), "{failure:?}");
            assert!(words.insert(row.word), "{failure:?} shares its word");
        }
    }

    #[test]
    fn the_architecture_page_lists_every_failure_as_the_table_has_it() {
        let page = include_str!("../../../docs/architecture.md");
        for failure in Failure::ALL {
            let FailureRow { status, word, flag } = failure.row();
            let flag = if flag.is_empty() { "none".into() } else { format!("{:#x}", flag.bits()) };
            let row = page.lines().find(|line| line.starts_with(&format!("| `{word}` |"))).expect(word);
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert!(cells[2].starts_with(&status.to_string()), "{row}");
            assert_eq!(cells[3], flag, "{row}");
        }
    }
}
