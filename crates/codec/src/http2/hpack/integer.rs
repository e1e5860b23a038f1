//! Integers with a prefix (RFC 7541 5.1).

/// An integer that ends too late, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadInteger;

/// The integer that begins in the lowest `prefix` bits of the first byte, and what follows it.
/// Nothing that fits a frame needs more than 28 bits beyond the prefix.
pub(super) fn read(bytes: &[u8], prefix: u32) -> Result<(usize, &[u8]), BadInteger> {
    let (&first, mut rest) = bytes.split_first().ok_or(BadInteger)?;
    let mask = (1_usize << prefix) - 1;
    let mut value = usize::from(first) & mask;
    if value < mask {
        return Ok((value, rest));
    }
    for shift in [0, 7, 14, 21] {
        let (&byte, more) = rest.split_first().ok_or(BadInteger)?;
        rest = more;
        value += usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value, rest));
        }
    }
    Err(BadInteger)
}

/// Appends `value`, the first byte with `pattern` above its `prefix` bits.
pub(super) fn write(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut left = value - mask;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_appendix_c_1() {
        for (value, prefix, bytes) in [(10, 5, &[0x0a][..]), (1337, 5, &[0x1f, 0x9a, 0x0a]), (42, 8, &[0x2a])]
        {
            let mut out = Vec::new();
            write(&mut out, 0, prefix, value);
            assert_eq!(out, bytes);
            assert_eq!(read(bytes, prefix), Ok((value, &[][..])));
        }
    }

    #[test]
    fn every_integer_reads_back_and_none_has_an_open_end() {
        for value in (0..70_000).chain([1 << 20, (1 << 28) - 1]) {
            for prefix in 4..=8 {
                let mut out = Vec::new();
                write(&mut out, 0, prefix, value);
                assert_eq!(read(&out, prefix), Ok((value, &[][..])));
                assert_eq!(read(&out[..out.len() - 1], prefix), Err(BadInteger));
            }
        }
        assert_eq!(read(&[0xff; 6], 7), Err(BadInteger));
        assert_eq!(read(&[0xff, 0x80, 0x80, 0x80, 0x80, 0], 7), Err(BadInteger));
    }
}
