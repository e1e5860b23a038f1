//! Metrics under MOSN's names.
//!
//! Each worker owns a *shard* of every metrics set it touches and is the only one that writes to it,
//! so that counting is a plain load and store: no lock and no read-modify-write. Whoever reads sums
//! the shards, and may see a request counted in one counter and not yet in the next.

mod console;
mod counter;
mod float;
mod histogram;
mod process;
mod prometheus;
mod registry;
mod sets;

pub use counter::Counter;
pub use histogram::Histogram;
pub use prometheus::PROMETHEUS_CONTENT_TYPE;
pub use registry::Registry;
pub use sets::{DownstreamMetrics, HealthCheckMetrics, OutlierMetrics, UpstreamMetrics};
