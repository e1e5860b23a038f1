//! What an operator can see of the process: metrics, access logs, the error log, and the variables
//! that all of them (and header values) are written in.
//!
//! - [`metrics`]: per-worker counters that are summed when somebody reads them.
//! - [`Variable`] and [`LogContext`]: named facts of one request.
//! - [`AccessLogFormat`], [`AccessLog`], [`AccessLogWriter`]: one line per request.
//! - [`init`] and [`LogHandle`]: the error log behind `tracing`, in MOSN's line format.
//!
//! Nothing here blocks or locks on the request path: workers hand full buffers to writer threads over
//! bounded queues, and what does not fit is counted and dropped.

mod access_log;
mod clock;
mod escape;
#[cfg(test)]
mod fixture;
mod log;
pub mod metrics;
mod state;
mod text;
mod variable;

pub use access_log::{
    AccessLog, AccessLogError, AccessLogFormat, AccessLogWriter, DEFAULT_FORMAT, FormatError,
};
pub use log::{ErrorLog, LineLog, LogError, LogHandle, STARTUP, UnknownLog, init, install_panic_hook};
pub use metrics::{
    Counter, DownstreamMetrics, HealthCheckMetrics, Histogram, OutlierMetrics, Registry, UpstreamMetrics,
};
pub use mosn_core::Variable;
pub use state::ProcessState;
pub use text::write_duration;
pub use variable::LogContext;
