//! Access logs: one line per request, in a format of `%variables%`.

mod format;
mod writer;

pub use format::{AccessLogFormat, DEFAULT_FORMAT, FormatError};
pub use writer::{AccessLog, AccessLogError, AccessLogWriter};
