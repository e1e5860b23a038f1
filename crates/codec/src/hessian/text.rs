//! Strings. Their lengths count UTF-16 units, so finding the end of one means looking at it.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::{HessianError, Reader};

/// Units of a chunk that fits the two-byte length every reader accepts.
const CHUNK_UNITS: usize = 0x8000;

/// Whether a string starts with this byte.
pub(super) const fn is_string(tag: u8) -> bool {
    matches!(tag, 0x00..=0x1f | 0x30..=0x33 | b'R' | b'S')
}

impl<'a> Reader<'a> {
    /// The string that starts here. The caller has checked that one does.
    pub(super) fn text(&mut self) -> Result<Cow<'a, [u8]>, HessianError> {
        let (first, mut last) = self.text_chunk()?;
        let mut text = Cow::Borrowed(first);
        while !last {
            let at = self.at;
            let tag = self.peek()?;
            if !is_string(tag) {
                return Err(HessianError::NotAString { at, tag });
            }
            let (chunk, is_last) = self.text_chunk()?;
            text.to_mut().extend_from_slice(chunk);
            last = is_last;
        }
        Ok(join_surrogates(text))
    }

    /// Steps over the string that starts here.
    pub(super) fn skip_text(&mut self) -> Result<(), HessianError> {
        while !self.text_chunk()?.1 {
            let (at, tag) = (self.at, self.peek()?);
            if !is_string(tag) {
                return Err(HessianError::NotAString { at, tag });
            }
        }
        Ok(())
    }

    /// One chunk, and whether it is the last.
    fn text_chunk(&mut self) -> Result<(&'a [u8], bool), HessianError> {
        let tag = self.byte()?;
        let units = match tag {
            0x00..=0x1f => usize::from(tag),
            0x30..=0x33 => usize::from(tag - 0x30) << 8 | usize::from(self.byte()?),
            _ => self.u16()?,
        };
        Ok((self.units(units)?, tag != b'R'))
    }

    /// The bytes of this many UTF-16 units.
    fn units(&mut self, units: usize) -> Result<&'a [u8], HessianError> {
        let rest = self.buf.get(self.at..).unwrap_or_default();
        let cut = HessianError::Truncated { at: self.at };
        let ascii = rest.get(..units).ok_or(cut)?;
        if ascii.is_ascii() {
            self.at += units;
            return Ok(ascii);
        }
        let (mut left, mut len) = (units, 0);
        while left > 0 {
            // A four-byte sequence is a surrogate pair. Java writes the halves as three bytes each,
            // and counts the same.
            let (bytes, units) = match rest.get(len).ok_or(cut)? {
                0xf0.. => (4, 2),
                0xe0.. => (3, 1),
                0xc0.. => (2, 1),
                _ => (1, 1),
            };
            len += bytes;
            left = left.saturating_sub(units);
        }
        self.bytes(len)
    }
}

/// Turns each character that was written as two surrogates into UTF-8.
fn join_surrogates(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let pair = |bytes: &[u8]| match *bytes {
        [0xed, a @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, c @ 0xb0..=0xbf, d @ 0x80..=0xbf, ..] => {
            let bits = |byte: u8, mask: u8| u32::from(byte & mask);
            let high = bits(a, 0x0f) << 6 | bits(b, 0x3f);
            let low = bits(c, 0x0f) << 6 | bits(d, 0x3f);
            char::from_u32(0x1_0000 + (high << 10) + low)
        }
        _ => None,
    };
    if text.is_ascii() || !text.windows(6).any(|bytes| pair(bytes).is_some()) {
        return text;
    }
    let mut joined = Vec::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some((&first, behind)) = rest.split_first() {
        if let Some(char) = pair(rest) {
            joined.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[6..];
        } else {
            joined.push(first);
            rest = behind;
        }
    }
    Cow::Owned(joined)
}

/// Appends `text` as a string, in chunks if it is long. Bytes that are not UTF-8 are replaced.
pub fn write_string(text: &[u8], out: &mut BytesMut) {
    let text = String::from_utf8_lossy(text);
    let mut rest: &str = &text;
    loop {
        let (chunk, units) = split_units(rest);
        rest = &rest[chunk.len()..];
        match units {
            _ if !rest.is_empty() => {
                out.put_u8(b'R');
                out.put_u16(units);
            }
            0..=0x1f => out.put_u8(units as u8),
            0x20..=0x3ff => out.put_u16(0x3000 | units),
            _ => {
                out.put_u8(b'S');
                out.put_u16(units);
            }
        }
        write_units(chunk, out);
        if rest.is_empty() {
            return;
        }
    }
}

/// The longest start of `text` that one chunk can carry, and its length in UTF-16 units.
fn split_units(text: &str) -> (&str, u16) {
    let mut units = 0;
    for (at, char) in text.char_indices() {
        if units + char.len_utf16() > CHUNK_UNITS {
            return (&text[..at], units as u16);
        }
        units += char.len_utf16();
    }
    (text, units as u16)
}

fn write_units(text: &str, out: &mut BytesMut) {
    let mut halves = [0; 2];
    for char in text.chars() {
        if char.len_utf16() == 1 {
            out.put_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        for &mut half in char.encode_utf16(&mut halves) {
            out.put_slice(&[
                0xe0 | (half >> 12) as u8,
                0x80 | (half >> 6 & 0x3f) as u8,
                0x80 | (half & 0x3f) as u8,
            ]);
        }
    }
}
