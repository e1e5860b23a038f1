//! Big-endian fields of a buffer, as total functions: a decoder checks a header's length once and
//! then reads its fields; an offset that is nonetheless outside reads as 0 and writes nowhere.

pub(crate) fn u16_at(buf: &[u8], at: usize) -> u16 {
    array_at(buf, at).map_or(0, u16::from_be_bytes)
}

pub(crate) fn u32_at(buf: &[u8], at: usize) -> u32 {
    array_at(buf, at).map_or(0, u32::from_be_bytes)
}

pub(crate) fn i32_at(buf: &[u8], at: usize) -> i32 {
    array_at(buf, at).map_or(0, i32::from_be_bytes)
}

pub(crate) fn u64_at(buf: &[u8], at: usize) -> u64 {
    array_at(buf, at).map_or(0, u64::from_be_bytes)
}

pub(crate) fn byte_at(buf: &[u8], at: usize) -> u8 {
    buf.get(at).copied().unwrap_or_default()
}

/// Overwrites the bytes from `at` on; whether they were all there.
pub(crate) fn put_at(buf: &mut [u8], at: usize, bytes: &[u8]) -> bool {
    match at.checked_add(bytes.len()).and_then(|end| buf.get_mut(at..end)) {
        Some(slot) => {
            slot.copy_from_slice(bytes);
            true
        }
        None => false,
    }
}

fn array_at<const N: usize>(buf: &[u8], at: usize) -> Option<[u8; N]> {
    buf.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_big_endian_and_end_with_the_buffer() {
        let mut buf = *b"\x01\x02\x03\x04\x05\x06\x07\x08\xff";
        assert_eq!(u16_at(&buf, 1), 0x0203);
        assert_eq!(u32_at(&buf, 5), 0x0607_08ff);
        assert_eq!(u64_at(&buf, 1), 0x0203_0405_0607_08ff);
        assert_eq!(i32_at(b"\xff\xff\xff\xfe", 0), -2);
        assert_eq!(u32_at(&buf, 6), 0);
        assert_eq!(u16_at(&buf, usize::MAX), 0);
        assert!(put_at(&mut buf, 7, b"ab"));
        assert_eq!(&buf[6..], b"\x07ab");
        assert!(!put_at(&mut buf, 8, b"cd"));
        assert!(!put_at(&mut buf, usize::MAX, b"cd"));
        assert_eq!(&buf[6..], b"\x07ab");
    }
}
