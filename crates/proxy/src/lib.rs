//! The life of a request.
//!
//! [`Proxy`] is one listener's engine on one worker. It speaks heads, frames and resets, and never
//! names a protocol: what differs between protocols lies behind [`ServerStream`] and
//! [`ClientStream`].
//!
//! [`ServerStream`]: mosn_stream::ServerStream
//! [`ClientStream`]: mosn_stream::ClientStream
//!
//! The phases are in `engine.rs`, in the order in which a request goes through them.

mod context;
mod engine;
mod exchange;
mod hedge;
mod mirror;
mod relay;
mod report;
#[cfg(test)]
mod tests;
mod upstreams;

pub use context::{Found, LocalRouter, Proxy, ProxySettings, RouterLookup, Routers};
pub use upstreams::{Acquired, Acquiring, Choice, HostRef, NotAcquired, Upstreams};
