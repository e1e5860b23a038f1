//! The CRC32 that may follow a version 2 frame: over everything before it, zlib's polynomial.

use crate::rpc::wire::{put_at, u32_at};

use super::layout::CHECKSUM_LEN;

/// Changes a frame that ends with a checksum and seals it again.
///
/// A frame that arrived broken leaves broken: the proxy must not vouch for bytes that were damaged
/// before it saw them.
pub(super) fn resealed(frame: &mut [u8], change: impl FnOnce(&mut [u8]) -> bool) -> bool {
    let sound = is_sound(frame);
    if !change(frame) {
        return false;
    }
    seal(frame, sound);
    true
}

/// Whether a frame's last four bytes are the checksum of those before them.
pub(super) fn is_sound(frame: &[u8]) -> bool {
    match frame.split_last_chunk::<{ CHECKSUM_LEN as usize }>() {
        Some((covered, checksum)) => crc32fast::hash(covered) == u32::from_be_bytes(*checksum),
        None => false,
    }
}

/// Writes the checksum into a frame's last four bytes, or one that is surely wrong.
pub(super) fn seal(frame: &mut [u8], sound: bool) {
    let Some(at) = frame.len().checked_sub(CHECKSUM_LEN as usize) else { return };
    let checksum = crc32fast::hash(&frame[..at]);
    let _room = put_at(frame, at, &if sound { checksum } else { !checksum }.to_be_bytes());
    debug_assert_eq!(u32_at(frame, at) == checksum, sound);
}
