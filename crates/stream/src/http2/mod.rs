//! HTTP/2 (RFC 9113) as streams, on the `h2` crate.
//!
//! `h2` speaks the protocol: framing, header compression, flow control, stream states. Here is
//! what it leaves to its user: back-pressure from one side to the other, when a connection is
//! full, when it floods us, and when it goes.

mod client;
mod meter;
mod server;
mod socket;
mod upgrade;

pub use client::{Http2ClientStream, Http2Connection, Http2Pool};
use mosn_core::Failure;
pub use server::serve;

/// Bytes of DATA that one stream keeps waiting for its window or the socket.
const SEND_BUFFER: usize = 64 * 1024;

/// What an error on a stream to an upstream means for the request.
fn upstream_failure(error: &h2::Error) -> Failure {
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => Failure::UpstreamRefused,
        Some(h2::Reason::CANCEL) if error.is_reset() && error.is_remote() => Failure::UpstreamCancelled,
        // The upstream did not begin what lies above the last stream id of its GOAWAY.
        _ if error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR) => {
            Failure::UpstreamRefused
        }
        _ if error.is_io() || error.is_go_away() => Failure::UpstreamTerminated,
        _ => Failure::UpstreamReset,
    }
}
