//! MOSN's configuration file as typed structs: every key, with its meaning, unit and default.
//!
//! These mirror the file, not the running process: a value that was not given is the zero of its type,
//! as in MOSN, and what stands in for it is applied by the translation into [`crate::model`]. Written
//! back they give JSON in the shape that MOSN writes: keys that are not set are left out, except those
//! that MOSN always writes.

mod cluster;
mod extend;
mod filter;
mod listener;
mod metrics;
mod proxy;
mod retry;
mod root;
mod route;
mod router;
mod server;
mod stream_filter;
mod tls;
mod tracing;

pub use cluster::*;
pub use extend::*;
pub use filter::*;
pub use listener::*;
pub use metrics::*;
pub use proxy::*;
pub use retry::*;
pub use root::*;
pub use route::*;
pub use router::*;
pub use server::*;
pub use stream_filter::*;
pub use tls::*;
pub use tracing::*;

/// Whether a key has its zero value, and so is not written.
pub(crate) fn unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Writes an empty list as `null`, as MOSN writes one that was not given.
pub(crate) fn null_if_empty<T: serde::Serialize, S: serde::Serializer>(
    list: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if list.is_empty() { serializer.serialize_none() } else { serializer.collect_seq(list) }
}
