//! Response flags: why a reply is not simply the upstream's.

/// A set of response flags, with MOSN's bit values: they reach access logs as
/// `upstream_transport_failure_reason` (`0x` and the bits in hexadecimal).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags(u32);

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// No host of the cluster can be used.
    pub const NO_HEALTHY_UPSTREAM: Self = Self(0x2);
    /// The request or one of its tries timed out.
    pub const UPSTREAM_REQUEST_TIMEOUT: Self = Self(0x4);
    /// The proxy gave the upstream stream up.
    pub const UPSTREAM_LOCAL_RESET: Self = Self(0x8);
    /// The upstream reset the stream.
    pub const UPSTREAM_REMOTE_RESET: Self = Self(0x10);
    /// Connecting to the upstream failed or timed out.
    pub const UPSTREAM_CONNECTION_FAILURE: Self = Self(0x20);
    /// An established upstream connection was lost.
    pub const UPSTREAM_CONNECTION_TERMINATION: Self = Self(0x40);
    /// A circuit breaker refused the request.
    pub const UPSTREAM_OVERFLOW: Self = Self(0x80);
    /// No route, or a route to a cluster that does not exist.
    pub const NO_ROUTE_FOUND: Self = Self(0x100);
    /// A filter delayed the request.
    pub const DELAY_INJECTED: Self = Self(0x200);
    /// A filter injected a fault.
    pub const FAULT_INJECTED: Self = Self(0x400);
    /// A filter limited the rate.
    pub const RATE_LIMITED: Self = Self(0x800);
    /// The request body was larger than allowed.
    pub const REQ_ENTITY_TOO_LARGE: Self = Self(0x1000);
    /// The downstream stream was ended by the proxy itself.
    pub const DOWNSTREAM_TERMINATE: Self = Self(0x2000);

    /// The flags that count a request as failed in the `request_failed` metric.
    pub const PROCESS_FAILED: Self = Self(0x3d0a);

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether no flag is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any flag of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds the flags of `other`.
    pub const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
