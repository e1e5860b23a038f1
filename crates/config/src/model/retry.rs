use std::time::Duration;

/// When a request is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySpec {
    /// MOSN's `retry_on`: also on 5xx replies, lost connections and per-try timeouts, not only when the
    /// upstream cannot have seen the request.
    pub on_failure: bool,
    /// If there are any, exactly what to try again for, whatever `on_failure` says.
    pub conditions: Vec<RetryCondition>,
    /// With `on_failure`, instead of all 5xx; or those of [`RetryCondition::StatusCodes`].
    pub status_codes: Vec<u16>,
    /// How often.
    pub max_retries: u32,
    /// The pause before each; `None` = MOSN's 10 ms.
    pub back_off: Option<BackOffSpec>,
    /// When one try's time is up, another is made without ending it; the first that answers wins.
    pub hedge: bool,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self {
            on_failure: false,
            conditions: Vec::new(),
            status_codes: Vec::new(),
            max_retries: 3,
            back_off: None,
            hedge: false,
        }
    }
}

/// One reason to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCondition {
    /// A 5xx, or no reply at all: no connection, a lost one, a reset, or the try's time was up.
    ServerError,
    /// A 502, 503 or 504, or no reply at all.
    GatewayError,
    /// No reply at all.
    Reset,
    /// No connection could be made.
    ConnectFailure,
    /// The upstream refused the stream unprocessed.
    RefusedStream,
    /// One of the policy's status codes.
    StatusCodes,
    /// A 409.
    Conflict,
    /// A gRPC reply without a body, of this `grpc-status`.
    Grpc(u8),
}

impl RetryCondition {
    /// All of them by the names that configurations use, which are Envoy's.
    pub const NAMES: [(&'static str, Self); 12] = [
        ("5xx", Self::ServerError),
        ("gateway-error", Self::GatewayError),
        ("reset", Self::Reset),
        ("connect-failure", Self::ConnectFailure),
        ("refused-stream", Self::RefusedStream),
        ("retriable-status-codes", Self::StatusCodes),
        ("retriable-4xx", Self::Conflict),
        ("cancelled", Self::Grpc(1)),
        ("deadline-exceeded", Self::Grpc(4)),
        ("resource-exhausted", Self::Grpc(8)),
        ("internal", Self::Grpc(13)),
        ("unavailable", Self::Grpc(14)),
    ];

    /// The condition of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, condition)| condition)
    }
}

/// A pause that grows: any time up to `base` before the first retry, up to twice as much before each
/// further one, never more than `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOffSpec {
    /// Above 0.
    pub base: Duration,
    /// Not below `base`.
    pub max: Duration,
}
