//! The admin HTTP API: what the process is, does and counts, and the few things about it that can be
//! changed while it runs. MOSN's paths, bodies and statuses.
//!
//! It has a thread and a runtime of its own, so that asking never waits for traffic and traffic never
//! waits for an answer. It only reads what others publish: metrics, logs, the state, a dump of the
//! configuration. What the debug paths change, others carry out. Prometheus sinks are served here too, on ports of their own.
//!
//! # Safety of an open port
//! There is no authentication, as in MOSN, and `/api/v1/env` shows environment variables. Therefore:
//! - Nothing is bound but the address that was configured; Go MOSN binds all interfaces when
//!   `admin` is configured without one. Configure a loopback address.
//! - A web page that a user of the machine visits can neither read nor change anything: a request
//!   whose `Host` is a name other than `localhost` is answered 403 (DNS rebinding), as is one that
//!   would change something and comes from another origin. No CORS header is ever sent.
//! - Headers are limited to 32 KiB, bodies to 64 KiB, connections to 256 and to five minutes.

mod api;
mod context;
mod error;
mod guard;
mod prometheus;
mod reply;
mod server;

pub use context::{AdminContext, DebugApi, Dump, Features, Hosts, Pieces};
pub use error::AdminError;
pub use server::{AdminHandle, AdminServer};
