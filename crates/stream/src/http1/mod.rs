//! HTTP/1.1 and 1.0 (RFC 9112) as streams: one message at a time on a connection, each way.

mod client;
mod server;
mod wire;

pub use client::{ClientConnection, Http1ClientStream, Http1Pool};
pub use server::serve;
