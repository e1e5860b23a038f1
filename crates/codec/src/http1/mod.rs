//! HTTP/1.0 and 1.1 on the wire (RFC 9112): heads and bodies out of bytes, heads into bytes.
//!
//! The grammar of start lines and fields is `httparse`'s; what makes a message acceptable, how long
//! its body is and which fields end with this connection is decided here, strictly: a message that
//! two recipients could read in two ways is refused.

mod body;
mod fields;
mod request;
mod response;
mod write;

pub(crate) use fields::valid_host;

pub use body::{BodyDecoder, BodyError, Decoded};
pub use request::{HeadLimits, RequestError, RequestMeta, Version, parse_request};
pub use response::{ResponseError, ResponseMeta, parse_response};
pub use write::{
    ReplyFraming, chunk_head, write_continue, write_informational, write_request_head, write_response_head,
    write_trailers,
};

/// The most header fields a head may have, whatever is configured.
pub const MAX_FIELDS: usize = 256;
