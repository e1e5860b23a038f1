//! The header block: `u32 length, name, u32 length, value`, repeated.

use bytes::{BufMut, BytesMut};

use crate::rpc::{EncodeError, HeaderError, Pair, wire::u32_at};

/// The length that stands for "no string here".
const NULL: u32 = u32::MAX;

/// The pairs of a block in order, as slices of it.
///
/// Java peers write a null as the length -1. A null value drops its pair, and the string after a
/// null name is taken for a name: the reader starts over behind every null.
#[derive(Debug)]
pub(super) struct Pairs<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Pairs<'a> {
    pub(super) const fn new(block: &'a [u8]) -> Self {
        Self { block, at: 0 }
    }

    /// The next string; `None` for a null.
    fn string(&mut self) -> Result<Option<&'a [u8]>, HeaderError> {
        let (at, block) = (self.at as u32, self.block.len() as u32);
        if self.block.len() - self.at < 4 {
            return Err(HeaderError::PairTruncated { at, block });
        }
        let len = u32_at(self.block, self.at);
        self.at += 4;
        if len == NULL {
            return Ok(None);
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        match rest.get(..len as usize) {
            Some(string) => {
                self.at += string.len();
                Ok(Some(string))
            }
            None => Err(HeaderError::PairOverrun { at, len, block }),
        }
    }

    fn pair(&mut self) -> Result<Option<Pair<'a>>, HeaderError> {
        while self.at < self.block.len() {
            if let Some(name) = self.string()?
                && let Some(value) = self.string()?
            {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.pair().transpose();
        if matches!(pair, Some(Err(_))) {
            self.at = self.block.len();
        }
        pair
    }
}

/// Appends a block of these pairs and returns its length.
pub(super) fn write(pairs: &[Pair<'_>], out: &mut BytesMut) -> Result<u16, EncodeError> {
    let mut len = 0_u64;
    for &(name, value) in pairs {
        len += 8 + name.len() as u64 + value.len() as u64;
        if len > u64::from(u16::MAX) {
            return Err(EncodeError::HeadersTooLong { len });
        }
        for string in [name, value] {
            out.put_u32(string.len() as u32);
            out.put_slice(string);
        }
    }
    Ok(len as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(block: &[u8]) -> Result<Vec<Pair<'_>>, HeaderError> {
        Pairs::new(block).collect()
    }

    #[test]
    fn pairs_come_in_order_with_duplicates_and_empty_strings() {
        let block = b"\0\0\0\x01a\0\0\0\x01b\0\0\0\0\0\0\0\0\0\0\0\x01a\0\0\0\x01c";
        assert_eq!(read(block).unwrap(), [(&b"a"[..], &b"b"[..]), (b"", b""), (b"a", b"c")]);
        assert!(read(b"").unwrap().is_empty());
    }

    #[test]
    fn a_null_value_drops_its_pair_and_a_null_name_makes_a_name_of_its_value() {
        let null_value = b"\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x01b\0\0\0\x01c";
        assert_eq!(read(null_value).unwrap(), [(&b"b"[..], &b"c"[..])]);
        let null_name = b"\xff\xff\xff\xff\0\0\0\x01b\0\0\0\x01c";
        assert_eq!(read(null_name).unwrap(), [(&b"b"[..], &b"c"[..])]);
    }

    #[test]
    fn a_string_past_the_end_is_an_overrun_and_a_cut_length_a_truncation() {
        let overrun = b"\0\0\0\x01a\0\0\0\x09b";
        assert_eq!(read(overrun), Err(HeaderError::PairOverrun { at: 5, len: 9, block: 10 }));
        let cut = b"\0\0\0\x01a\0\0";
        assert_eq!(read(cut), Err(HeaderError::PairTruncated { at: 5, block: 7 }));
        let no_value = b"\0\0\0\x01a";
        assert_eq!(read(no_value), Err(HeaderError::PairTruncated { at: 5, block: 5 }));
        let huge = b"\x7f\xff\xff\xffa";
        assert_eq!(read(huge), Err(HeaderError::PairOverrun { at: 0, len: 0x7fff_ffff, block: 5 }));
    }

    #[test]
    fn a_fault_ends_the_pairs() {
        let mut pairs = Pairs::new(b"\0\0\0\x09a");
        assert!(matches!(pairs.next(), Some(Err(_))));
        assert!(pairs.next().is_none());
    }

    #[test]
    fn a_block_of_65535_bytes_is_written_and_one_more_byte_refused() {
        let fits = vec![b'v'; 65535 - 9];
        let mut out = BytesMut::new();
        assert_eq!(write(&[(b"k", &fits)], &mut out), Ok(65535));
        assert_eq!(out.len(), 65535);
        let over = vec![b'v'; 65535 - 8];
        assert_eq!(write(&[(b"k", &over)], &mut out), Err(EncodeError::HeadersTooLong { len: 65536 }));
    }
}
