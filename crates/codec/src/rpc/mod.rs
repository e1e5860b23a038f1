//! RPC codecs: bytes in, frames out, without I/O.
//!
//! A protocol is one implementation of [`RpcProtocol`] and one entry in [`built_in`]. The stream
//! layer knows only the trait: it asks for the frames of a read ([`Frames`]), routes each by its
//! [`FrameView`] and the header fields it needs, and appends it to the peer's output under a new
//! id. Nothing is decoded that nobody asks for, and nothing is copied but the frame itself, once.

mod bolt;
pub mod codes;
mod dubbo;
mod error;
mod frame;
mod frames;
mod protocol;
mod tars;
#[cfg(test)]
pub(crate) mod testing;
mod thrift;
mod wire;

pub use bolt::{Bolt, Version as BoltVersion};
pub use dubbo::Dubbo;
pub use error::{DecodeError, EncodeError, HeaderError};
pub use frame::{Decoded, FrameKind, FrameTimeout, FrameView, Limits, Side, Span};
pub use frames::Frames;
pub use protocol::{Edit, HeaderScope, Pair, ReplySeed, RpcProtocol, Visit};
pub use tars::{JceError, Tars};
pub use thrift::DubboThrift;

pub use crate::detect::Detect;

/// `bolt`, version 1; takes version 2 frames on the same connection too.
pub static BOLT: Bolt = Bolt::V1;
/// `boltv2`; takes version 1 frames on the same connection too.
pub static BOLT_V2: Bolt = Bolt::V2;
/// `dubbo`.
pub static DUBBO: Dubbo = Dubbo;
/// `dubbo-thrift`.
pub static DUBBO_THRIFT: DubboThrift = DubboThrift;
/// `tars`.
pub static TARS: Tars = Tars;

static BUILT_IN: [&dyn RpcProtocol; 5] = [&BOLT, &BOLT_V2, &DUBBO, &DUBBO_THRIFT, &TARS];

/// The protocols that come with the proxy, in the order in which they are detected.
#[must_use]
pub fn built_in() -> &'static [&'static dyn RpcProtocol] {
    &BUILT_IN
}

/// The built-in protocol of this name; names are case-sensitive.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn RpcProtocol> {
    BUILT_IN.into_iter().find(|protocol| protocol.name() == name)
}
