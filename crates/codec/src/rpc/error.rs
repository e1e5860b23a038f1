//! What can be wrong with a frame.

use crate::hessian::HessianError;

use super::{codes, tars::JceError};

/// Bytes that are no frame. Where the next frame would begin is unknown: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length field claims more than the limit.
    #[error(
        "{protocol}: the peer announces a frame of {len} bytes, more than max_frame_bytes ({max}) allows; \
         raise the limit if such frames are expected"
    )]
    FrameTooLarge {
        /// The protocol's name.
        protocol: &'static str,
        /// Bytes of the whole frame.
        len: u64,
        /// The limit.
        max: u32,
    },
    /// The first bytes do not belong to this protocol.
    #[error("{protocol}: no frame starts with {found:#06x}; check the listener's downstream_protocol")]
    BadMagic {
        /// The protocol's name.
        protocol: &'static str,
        /// What stands where the magic number should be.
        found: u16,
    },
    /// A frame of a type that the protocol does not define.
    #[error("{protocol}: unknown frame type {value}")]
    UnknownKind {
        /// The protocol's name.
        protocol: &'static str,
        /// The type on the wire.
        value: i64,
    },
    /// A length inside the frame that the frame cannot hold.
    #[error("{protocol}: the {field} of {len} bytes does not fit a frame of {frame} bytes")]
    BadLength {
        /// The protocol's name.
        protocol: &'static str,
        /// Which part of the frame.
        field: &'static str,
        /// Its claimed length.
        len: i64,
        /// Bytes of the whole frame.
        frame: u32,
    },
    /// A field without which the frame cannot be paired or told apart.
    #[error("{protocol}: the frame has no {field}")]
    MissingField {
        /// The protocol's name.
        protocol: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// Anything else that is wrong with a frame of this protocol.
    #[error("{protocol}: {reason} (byte {at})")]
    Malformed {
        /// The protocol's name.
        protocol: &'static str,
        /// Offset in the frame.
        at: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// Malformed JCE.
    #[error("tars: {0}")]
    Jce(#[from] JceError),
}

/// A frame whose boundaries are sound but whose header fields cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A name or value of the header block runs past its end.
    #[error("header block: a string of {len} bytes at byte {at} runs past the block's {block} bytes")]
    PairOverrun {
        /// Offset of the string in the block.
        at: u32,
        /// Its claimed length.
        len: u32,
        /// Bytes of the block.
        block: u32,
    },
    /// The header block ends within a length field, or after a name.
    #[error("header block: its {block} bytes end within a pair, at byte {at}")]
    PairTruncated {
        /// Offset at which a length field should stand.
        at: u32,
        /// Bytes of the block.
        block: u32,
    },
    /// The call's fields are not the hessian2 values they should be.
    #[error("dubbo body: {0}")]
    Hessian(#[from] HessianError),
    /// The parts of the frame that hold the fields are malformed.
    #[error("header fields: {0}")]
    Frame(#[from] DecodeError),
}

impl From<JceError> for HeaderError {
    fn from(error: JceError) -> Self {
        Self::Frame(DecodeError::Jce(error))
    }
}

impl HeaderError {
    /// The code to answer the caller with, or `None` where the connection is to be closed instead.
    ///
    /// A block that ends within a length field has always ended the connection; the caller of any
    /// other unreadable frame is told, so that one bad call does not fail its neighbours.
    #[must_use]
    pub const fn reply_code(self) -> Option<u16> {
        match self {
            Self::PairTruncated { .. } => None,
            Self::PairOverrun { .. } | Self::Hessian(_) | Self::Frame(_) => Some(codes::CODEC_EXCEPTION),
        }
    }
}

/// A changed frame that cannot be put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The header pairs need more than the 65535 bytes that the length field can say.
    #[error("header block of {len} bytes: the frame can carry at most 65535; remove or shorten headers")]
    HeadersTooLong {
        /// Bytes of the new block, counted up to the first pair that did not fit.
        len: u64,
    },
    /// The content needs more than the length field can say.
    #[error("content of {len} bytes: the frame can carry at most {max}")]
    BodyTooLong {
        /// Bytes of the new content.
        len: u64,
        /// What the frame can carry.
        max: u64,
    },
    /// The bytes are not the frame that the view describes.
    #[error("the frame's view does not fit its {len} bytes")]
    ViewMismatch {
        /// Bytes handed in.
        len: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_block_cut_inside_a_pair_costs_the_connection() {
        assert_eq!(HeaderError::PairTruncated { at: 4, block: 6 }.reply_code(), None);
        assert_eq!(HeaderError::PairOverrun { at: 4, len: 9, block: 6 }.reply_code(), Some(0));
    }

    #[test]
    fn a_too_large_frame_says_which_limit_to_raise() {
        let text =
            DecodeError::FrameTooLarge { protocol: "bolt", len: 70_000_000, max: 67_108_864 }.to_string();
        assert!(
            text.contains("bolt") && text.contains("70000000") && text.contains("max_frame_bytes"),
            "{text}"
        );
    }
}
