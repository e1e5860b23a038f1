//! Header compression (RFC 7541).
//!
//! A field travels through here as one piece of text, `name: value` and CRLF, which is what HTTP/1
//! has: the tables store fields so, and a decoded block is ready to be forwarded either way.

mod decode;
mod encode;
mod huffman;
mod integer;
mod name;
mod statics;

pub use decode::{DecodeError, Decoder, Field};
pub use encode::Encoder;
pub use name::Known;

/// What an entry costs a table beyond its name and value (RFC 7541 4.1).
const ENTRY_OVERHEAD: usize = 32;
/// How large a table may be unless SETTINGS say otherwise (RFC 9113 6.5.2).
pub const DEFAULT_TABLE_SIZE: usize = 4096;
