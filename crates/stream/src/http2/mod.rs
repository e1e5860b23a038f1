//! HTTP/2 (RFC 9113) as streams.
//!
//! A connection is one value, borrowed for the length of a call by its own task and by the streams on
//! it: all live on one worker. [`connection`] is what both sides have in common; `receive` takes
//! frames in, `send` puts them out. Whatever was said in a turn leaves in one write.

mod client;
mod connection;
mod meter;
mod output;
mod receive;
mod requests;
mod send;
mod server;
mod stream;

pub use client::{Http2ClientStream, Http2Connection, Http2Pool};
pub use server::serve;

/// The header fields of HTTP/2: their names in lower case.
fn lower_case(headers: &mosn_core::Headers) -> mosn_core::Headers {
    let mut lower = mosn_core::FieldList::default();
    for (name, value) in headers {
        lower.append(&name.to_ascii_lowercase(), value);
    }
    mosn_core::Headers::List(lower)
}
