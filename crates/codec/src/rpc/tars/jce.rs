//! JCE fields: a head of tag and type, then the value.

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use crate::rpc::{
    Span,
    wire::{byte_at, i32_at, u16_at, u32_at, u64_at},
};

/// Containers that may be open at once while a field is stepped over.
pub(super) const MAX_DEPTH: usize = 128;

pub(super) const BYTE: u8 = 0;
pub(super) const SHORT: u8 = 1;
pub(super) const INT: u8 = 2;
pub(super) const LONG: u8 = 3;
const FLOAT: u8 = 4;
const DOUBLE: u8 = 5;
pub(super) const STRING1: u8 = 6;
pub(super) const STRING4: u8 = 7;
pub(super) const MAP: u8 = 8;
const LIST: u8 = 9;
const STRUCT_BEGIN: u8 = 10;
const STRUCT_END: u8 = 11;
pub(super) const ZERO: u8 = 12;
pub(super) const SIMPLE_LIST: u8 = 13;

/// Why JCE bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JceError {
    /// The bytes end within a field.
    #[error("JCE field at byte {at} runs past the end of the packet")]
    Truncated {
        /// Offset in the packet.
        at: usize,
    },
    /// A field of another type than it must have.
    #[error("JCE field at byte {at} has type {kind}, which is not allowed there")]
    UnexpectedType {
        /// Offset in the packet.
        at: usize,
        /// The type on the wire.
        kind: u8,
    },
    /// A count that is negative, or more than the packet has bytes.
    #[error("JCE field at byte {at} is no valid count")]
    BadCount {
        /// Offset in the packet.
        at: usize,
    },
    /// More nesting than any packet has.
    #[error("JCE fields are nested deeper than {MAX_DEPTH} at byte {at}")]
    TooDeep {
        /// Offset in the packet.
        at: usize,
    },
}

/// The head of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) tag: u8,
    pub(super) kind: u8,
    /// Offset of the head in the packet.
    pub(super) at: usize,
    /// Whether the tag has a byte of its own.
    wide: bool,
}

impl Head {
    /// Offset of the value.
    pub(super) const fn end(self) -> usize {
        self.at + if self.wide { 2 } else { 1 }
    }
}

/// Reads the fields of a packet, in order.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    buf: &'a [u8],
    at: usize,
}

/// What is still to be stepped over in an open container.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Fields(u64),
    UntilStructEnd,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(buf: &'a [u8], at: usize) -> Self {
        Self { buf, at }
    }

    pub(super) const fn position(&self) -> usize {
        self.at
    }

    /// The next field's head; `None` at the end.
    pub(super) fn head(&mut self) -> Result<Option<Head>, JceError> {
        let at = self.at;
        if at >= self.buf.len() {
            return Ok(None);
        }
        let head = byte_at(self.buf, at);
        self.at += 1;
        let wide = head >> 4 == 0x0f;
        let tag = if wide { byte_at(self.take(1)?, 0) } else { head >> 4 };
        Ok(Some(Head { tag, kind: head & 0x0f, at, wide }))
    }

    /// The value of an integer field.
    pub(super) fn int(&mut self, head: Head) -> Result<i64, JceError> {
        Ok(match head.kind {
            ZERO => 0,
            BYTE => (byte_at(self.take(1)?, 0) as i8).into(),
            SHORT => (u16_at(self.take(2)?, 0) as i16).into(),
            INT => i32_at(self.take(4)?, 0).into(),
            LONG => u64_at(self.take(8)?, 0) as i64,
            kind => return Err(JceError::UnexpectedType { at: head.at, kind }),
        })
    }

    /// The bytes of a string field.
    pub(super) fn string(&mut self, head: Head) -> Result<Span, JceError> {
        let len = match head.kind {
            STRING1 => usize::from(byte_at(self.take(1)?, 0)),
            STRING4 => u32_at(self.take(4)?, 0) as usize,
            kind => return Err(JceError::UnexpectedType { at: head.at, kind }),
        };
        self.span(len)
    }

    /// The bytes of a simple list, the form in which byte buffers travel.
    pub(super) fn buffer(&mut self, head: Head) -> Result<Span, JceError> {
        if head.kind != SIMPLE_LIST {
            return Err(JceError::UnexpectedType { at: head.at, kind: head.kind });
        }
        let element = self.inner_head()?;
        if element.kind != BYTE {
            return Err(JceError::UnexpectedType { at: element.at, kind: element.kind });
        }
        let len = self.count()?;
        self.span(len as usize)
    }

    /// How many pairs a map field has; they follow.
    pub(super) fn map(&mut self, head: Head) -> Result<u32, JceError> {
        if head.kind != MAP {
            return Err(JceError::UnexpectedType { at: head.at, kind: head.kind });
        }
        self.count()
    }

    /// The next field if it is a string; any other is stepped over.
    pub(super) fn string_or_skip(&mut self) -> Result<Option<Span>, JceError> {
        let head = self.inner_head()?;
        match head.kind {
            STRING1 | STRING4 => self.string(head).map(Some),
            _ => self.skip(head).map(|()| None),
        }
    }

    /// Steps over a field's value.
    pub(super) fn skip(&mut self, head: Head) -> Result<(), JceError> {
        let mut outer: SmallVec<[Pending; 8]> = SmallVec::new();
        let mut pending = self.open(head)?.unwrap_or(Pending::Fields(0));
        loop {
            let head = match &mut pending {
                Pending::Fields(0) => match outer.pop() {
                    Some(parent) => {
                        pending = parent;
                        continue;
                    }
                    None => return Ok(()),
                },
                Pending::Fields(left) => {
                    *left -= 1;
                    self.inner_head()?
                }
                Pending::UntilStructEnd => {
                    let head = self.inner_head()?;
                    if head.kind == STRUCT_END {
                        pending = Pending::Fields(0);
                        continue;
                    }
                    head
                }
            };
            if let Some(inner) = self.open(head)? {
                if !matches!(pending, Pending::Fields(0)) {
                    if outer.len() == MAX_DEPTH {
                        return Err(JceError::TooDeep { at: head.at });
                    }
                    outer.push(pending);
                }
                pending = inner;
            }
        }
    }

    /// Steps over a value that contains no fields, or to the first field of one that does.
    fn open(&mut self, head: Head) -> Result<Option<Pending>, JceError> {
        let len = match head.kind {
            ZERO => 0,
            BYTE => 1,
            SHORT => 2,
            INT | FLOAT => 4,
            LONG | DOUBLE => 8,
            STRING1 | STRING4 => return self.string(head).map(|_| None),
            SIMPLE_LIST => return self.buffer(head).map(|_| None),
            MAP => return self.count().map(|pairs| Some(Pending::Fields(u64::from(pairs) * 2))),
            LIST => return self.count().map(|len| Some(Pending::Fields(len.into()))),
            STRUCT_BEGIN => return Ok(Some(Pending::UntilStructEnd)),
            kind => return Err(JceError::UnexpectedType { at: head.at, kind }),
        };
        self.take(len).map(|_| None)
    }

    /// The head of a field that must follow.
    fn inner_head(&mut self) -> Result<Head, JceError> {
        self.head()?.ok_or(JceError::Truncated { at: self.at })
    }

    /// The number of elements of a container, each of which takes at least a byte.
    fn count(&mut self) -> Result<u32, JceError> {
        let head = self.inner_head()?;
        let count = self.int(head)?;
        u32::try_from(count)
            .ok()
            .filter(|&count| count as usize <= self.buf.len())
            .ok_or(JceError::BadCount { at: head.at })
    }

    fn span(&mut self, len: usize) -> Result<Span, JceError> {
        let start = self.at;
        self.take(len)?;
        Ok(Span::new(start as u32, len as u32))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], JceError> {
        let bytes = self.buf.get(self.at..).and_then(|rest| rest.get(..len));
        let bytes = bytes.ok_or(JceError::Truncated { at: self.at })?;
        self.at += len;
        Ok(bytes)
    }
}

/// Appends an integer field in the smallest type that holds it.
pub(super) fn put_int(tag: u8, value: i32, out: &mut BytesMut) {
    debug_assert!(tag < 15, "a packet's own fields have one-byte heads");
    let head = tag << 4;
    if value == 0 {
        out.put_u8(head | ZERO);
    } else if let Ok(value) = i8::try_from(value) {
        out.put_u8(head | BYTE);
        out.put_i8(value);
    } else if let Ok(value) = i16::try_from(value) {
        out.put_u8(head | SHORT);
        out.put_i16(value);
    } else {
        out.put_u8(head | INT);
        out.put_i32(value);
    }
}

/// Appends a string field.
pub(super) fn put_string(tag: u8, value: &[u8], out: &mut BytesMut) {
    if let Ok(len) = u8::try_from(value.len()) {
        out.put_u8(tag << 4 | STRING1);
        out.put_u8(len);
    } else {
        out.put_u8(tag << 4 | STRING4);
        out.put_u32(value.len() as u32);
    }
    out.put_slice(value);
}

/// Appends a field of raw bytes.
pub(super) fn put_buffer(tag: u8, value: &[u8], out: &mut BytesMut) {
    out.put_slice(&[tag << 4 | SIMPLE_LIST, BYTE]);
    put_int(0, value.len() as i32, out);
    out.put_slice(value);
}

/// Appends a map field.
pub(super) fn put_map(tag: u8, pairs: &[(&[u8], &[u8])], out: &mut BytesMut) {
    out.put_u8(tag << 4 | MAP);
    put_int(0, pairs.len() as i32, out);
    for (key, value) in pairs {
        put_string(0, key, out);
        put_string(1, value, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip_all(buf: &[u8]) -> Result<usize, JceError> {
        let mut reader = Reader::new(buf, 0);
        let mut fields = 0;
        while let Some(head) = reader.head()? {
            reader.skip(head)?;
            fields += 1;
        }
        Ok(fields)
    }

    #[test]
    fn integers_take_the_smallest_type_and_read_back() {
        for (value, len) in [(0, 1), (1, 2), (-128, 2), (128, 3), (-32768, 3), (32768, 5), (i32::MIN, 5)] {
            let mut out = BytesMut::new();
            put_int(4, value, &mut out);
            assert_eq!(out.len(), len, "{value}");
            let mut reader = Reader::new(&out, 0);
            let head = reader.head().unwrap().unwrap();
            assert_eq!((head.tag, reader.int(head).unwrap()), (4, value.into()));
        }
    }

    #[test]
    fn every_type_is_stepped_over() {
        let fields = [
            &b"\x00\x01"[..],
            b"\x11\0\x01",
            b"\x22\0\0\0\x01",
            b"\x33\0\0\0\0\0\0\0\x01",
            b"\x44\0\0\0\0",
            b"\x55\0\0\0\0\0\0\0\0",
            b"\x66\x01a",
            b"\x77\0\0\0\x01a",
            b"\x88\x00\x01\x06\x01k\x16\x01v",
            b"\x99\x00\x02\x00\x01\x0c",
            b"\xaa\x00\x01\x1a\x0b\x0b",
            b"\xbc",
            b"\xcd\x00\x00\x02ab",
            b"\xf0\x20\x07",
        ];
        assert_eq!(skip_all(&fields.concat()), Ok(fields.len()));
    }

    #[test]
    fn a_field_cut_anywhere_is_truncated() {
        let whole = b"\x88\x00\x01\x06\x01k\x1a\x00\x01\x0b";
        assert_eq!(skip_all(whole), Ok(1));
        for cut in 1..whole.len() {
            assert!(matches!(skip_all(&whole[..cut]), Err(JceError::Truncated { .. })), "{cut}");
        }
    }

    #[test]
    fn nesting_is_limited_and_counts_are_bounded_by_the_packet() {
        assert_eq!(skip_all(&[0x0a; 1000]), Err(JceError::TooDeep { at: MAX_DEPTH + 1 }));
        assert_eq!(skip_all(b"\x09\x02\x7f\xff\xff\xff\0"), Err(JceError::BadCount { at: 1 }));
        assert_eq!(skip_all(b"\x09\x00\xff\0"), Err(JceError::BadCount { at: 1 }));
        assert!(matches!(skip_all(b"\x0e"), Err(JceError::UnexpectedType { kind: 14, .. })));
    }
}
