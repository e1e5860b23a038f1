//! What the process runs on, whichever dialect it was written in.
//!
//! Plain data, already checked by the dialect that made it: durations are durations, addresses are
//! resolved, names of things that must exist were looked up. Regular expressions are still text;
//! [the router](../../mosn_router/index.html) compiles them and reports the ones it cannot.

mod cluster;
mod listener;
mod retry;
mod route;

use std::sync::Arc;
use std::time::Duration;
use std::{net::SocketAddr, path::PathBuf};

pub use cluster::*;
pub use listener::*;
pub use retry::*;
pub use route::*;

/// A whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The process as a whole.
    pub server: ServerSpec,
    /// Listeners in file order; names are unique.
    pub listeners: Vec<ListenerSpec>,
    /// Route tables in file order; names are unique.
    pub routers: Vec<RouterSpec>,
    /// Clusters in file order; names are unique.
    pub clusters: Vec<ClusterSpec>,
}

/// Settings of the process.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// How many workers; `None` = one per core available to the process, cgroup quota included.
    pub workers: Option<usize>,
    /// Where the error log goes.
    pub log_path: LogOutput,
    /// The least severe level that is written.
    pub log_level: LogLevel,
    /// How log files are rotated.
    pub log_roller: LogRoller,
    /// Time for connection transfer in a hot upgrade. Not the drain of a graceful stop, which is
    /// the command line's `--drain-time-s`.
    pub graceful_timeout: Duration,
    /// The admin API's address; `None` = no admin API.
    pub admin: Option<SocketAddr>,
    /// Prometheus sinks.
    pub prometheus: Vec<PrometheusSpec>,
    /// Which metrics are not kept.
    pub metrics_filter: MetricsFilter,
    /// The pid file.
    pub pid_file: PathBuf,
    /// Whether a running predecessor is left alone instead of taken over from.
    pub disable_upgrade: bool,
}

impl Default for ServerSpec {
    fn default() -> Self {
        Self {
            workers: None,
            log_path: LogOutput::Stderr,
            log_level: LogLevel::Info,
            log_roller: LogRoller::default(),
            graceful_timeout: Duration::from_secs(30),
            admin: None,
            prometheus: Vec::new(),
            metrics_filter: MetricsFilter::default(),
            pid_file: PathBuf::new(),
            disable_upgrade: false,
        }
    }
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
    /// A syslog server, `syslog[+udp|+tcp]://host[:port]`; `None` = the local one.
    Syslog(Option<SyslogTarget>),
}

/// A syslog server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SyslogTarget {
    /// `host:port`.
    pub address: String,
    /// Over TCP instead of UDP.
    pub tcp: bool,
}

/// Levels of the error log, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LogLevel {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Rotation of log files (`global_log_roller`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRoller {
    /// At multiples of this many hours (1 to 24) in local time.
    Time {
        /// Period in hours.
        hours: u32,
        /// How many suffixes `.1`, `.2`... are tried when the rotated name is taken.
        keep: u32,
    },
    /// When a file has grown past a size.
    Size {
        /// In MB of 1024 x 1024 bytes.
        megabytes: u64,
        /// Days after which rotated files are removed.
        age_days: u32,
        /// How many rotated files are kept.
        keep: u32,
        /// Whether rotated files are gzipped.
        compress: bool,
    },
}

impl Default for LogRoller {
    fn default() -> Self {
        Self::Time { hours: 24, keep: 10 }
    }
}

/// A Prometheus sink: its own port, beside the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusSpec {
    /// Where it listens.
    pub address: SocketAddr,
    /// The path, starting with `/`.
    pub endpoint: String,
    /// Percentiles to export of each histogram, 0 to 100.
    pub percentiles: Vec<u8>,
    /// Whether `process_*` metrics are left out.
    pub disable_collect_process: bool,
}

/// Which metrics are dropped (`metrics.stats_matcher`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsFilter {
    /// All of them.
    pub reject_all: bool,
    /// Sets that carry one of these label keys.
    pub exclusion_labels: Vec<String>,
    /// Metrics of these names.
    pub exclusion_keys: Vec<String>,
}

/// A name shared by many.
pub type Name = Arc<str>;
