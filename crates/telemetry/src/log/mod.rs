//! Where lines go: outputs with a writer thread each, rotation, and the error log behind `tracing`.

mod file;
mod handle;
mod line;
mod mill;
mod panic;
mod sink;
mod subscriber;
mod syslog;
#[cfg(test)]
mod tests;

pub use handle::{LineLog, LogError, LogHandle, UnknownLog, init};
pub use panic::install_panic_hook;
pub(crate) use sink::Sink;
pub use subscriber::{ErrorLog, STARTUP};
