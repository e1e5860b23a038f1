//! The process: what is started in which order, where connections go, and how everything ends.
//!
//! One control thread publishes (route tables, clusters, listeners) and handles signals; N workers,
//! each a thread with a single-threaded runtime, carry the traffic. A connection lives on one worker
//! from its acceptance to its end.

mod accept;
mod aftermath;
mod chain;
mod control;
mod hosts;
mod process;
mod redirect;
mod signals;
mod updates;
mod worker;

pub use process::{Exit, ProcessOptions, StartError, check, run};
pub use updates::{UpdateError, Updates};
