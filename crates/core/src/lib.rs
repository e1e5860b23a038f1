//! The vocabulary every other crate speaks: message heads and header fields, what is known of a
//! request while it lives and the names of such facts, and the one table of the ways a request can end.
//!
//! Nothing here does I/O, reads a clock or knows a protocol by name.

mod failure;
mod flags;
mod headers;
mod info;
mod message;
mod variable;

pub use failure::{Failure, FailureRow};
pub use flags::ResponseFlags;
pub use headers::{FieldList, FieldRanges, FrameHeaders, Headers, HeadersIter};
pub use info::{ConnectionInfo, Redirected, RequestInfo};
pub use message::{BodyLength, Frame, Protocol, RequestHead, Reset, ResponseHead, Scheme, is_authority};
pub use variable::{HeadPart, Variable};
