use std::{io, net::SocketAddr};

/// Why the admin API, or a Prometheus sink, cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The admin address cannot be bound. MOSN's exit code for this is 2.
    #[error(
        "cannot listen on the admin address {address}: {source}; change `admin.address` or free the port"
    )]
    BindAdmin {
        /// What was configured.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A Prometheus sink's address cannot be bound. MOSN's exit code for this is 2, too.
    #[error(
        "cannot listen on the Prometheus address {address}: {source}; change the sink's `port` in \
         `metrics.sinks` or free it"
    )]
    BindPrometheus {
        /// What was configured.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The thread or its runtime could not be started.
    #[error("cannot start the admin thread: {0}")]
    Start(io::Error),
}
