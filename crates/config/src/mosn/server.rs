use serde::{Deserialize, Serialize};

use super::{Listener, RouterConfiguration, unset};
use crate::value::{GoDuration, Processor};

/// The server (`servers[0]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Server {
    /// A name, for MOSN's own use.
    #[serde(skip_serializing_if = "unset")]
    pub mosn_server_name: String,
    /// Where the error log goes: a file, `stdout`, `stderr`, `syslog`, `syslog://host:port`,
    /// `syslog+udp://...` or `syslog+tcp://...`. Default `<logs>/mosn.log`.
    #[serde(skip_serializing_if = "unset")]
    pub default_log_path: String,
    /// `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR` or `FATAL`, upper-case. Default `INFO`, also for anything
    /// else.
    #[serde(skip_serializing_if = "unset")]
    pub default_log_level: String,
    /// How all log files are rotated: `time=<hours>` (at most 24) and `keep=<count>`, or `size=<MB>`
    /// (1000), `age=<days>` (7), `keep=<count>` (10), `compress=on|off`. Default: every 24 hours.
    #[serde(skip_serializing_if = "unset")]
    pub global_log_roller: String,
    /// Chooses an event loop in MOSN; there is only one here. Does nothing.
    #[serde(skip_serializing_if = "unset")]
    pub use_netpoll_mode: bool,
    /// Time for connection transfer in a hot upgrade. Default 30s.
    pub graceful_timeout: GoDuration,
    /// Workers: a number, or `"auto"`. Default: one per core that the process may use.
    #[serde(skip_serializing_if = "unset")]
    pub processor: Processor,
    /// Listeners.
    #[serde(skip_serializing_if = "unset")]
    pub listeners: Vec<Listener>,
    /// Route tables.
    #[serde(skip_serializing_if = "unset")]
    pub routers: Vec<RouterConfiguration>,
}
