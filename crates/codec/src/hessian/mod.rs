//! As much hessian2 as it takes to find the strings of a Dubbo call: strings and string maps are
//! read, every other value is stepped over.
//!
//! The reader never follows a reference and never builds a value, so its work is one pass over the
//! bytes; nesting is held in a list of bounded length, not on the stack.

mod skip;
mod text;

use std::borrow::Cow;

pub use text::write_string;

/// Containers that may be open at once while a value is stepped over. A container that is the last
/// value of its parent does not count, so a linked list of any length is one deep.
pub const MAX_DEPTH: usize = 512;

/// Class definitions that one body may contain.
pub const MAX_CLASSES: usize = 4096;

/// Why hessian2 bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HessianError {
    /// The bytes end within a value.
    #[error("hessian2 value at byte {at} runs past the end")]
    Truncated {
        /// Offset in the body.
        at: usize,
    },
    /// A byte that starts no value.
    #[error("hessian2 has no value that starts with {tag:#04x} (byte {at})")]
    UnknownTag {
        /// Offset in the body.
        at: usize,
        /// The byte.
        tag: u8,
    },
    /// Some other value where a string must be.
    #[error("hessian2 value at byte {at} starts with {tag:#04x}: a string was expected")]
    NotAString {
        /// Offset in the body.
        at: usize,
        /// Its first byte.
        tag: u8,
    },
    /// Some other value where a count or reference must be, or a negative one.
    #[error("hessian2 value at byte {at} is no valid count")]
    BadCount {
        /// Offset in the body.
        at: usize,
    },
    /// An object of a class that was not defined before.
    #[error("hessian2 object at byte {at} is of class {class}, which the body does not define")]
    UnknownClass {
        /// Offset in the body.
        at: usize,
        /// Number of the class.
        class: u32,
    },
    /// More nesting than [`MAX_DEPTH`].
    #[error("hessian2 values are nested deeper than {MAX_DEPTH} at byte {at}")]
    TooDeep {
        /// Offset in the body.
        at: usize,
    },
    /// More class definitions than [`MAX_CLASSES`].
    #[error("hessian2 body defines more than {MAX_CLASSES} classes at byte {at}")]
    TooManyClasses {
        /// Offset in the body.
        at: usize,
    },
}

/// Reads the values of one body, in order.
#[derive(Debug)]
pub struct Reader<'a> {
    buf: &'a [u8],
    at: usize,
    /// Number of fields of each class defined so far.
    classes: Vec<u32>,
}

impl<'a> Reader<'a> {
    /// At the first value of `body`.
    #[must_use]
    pub const fn new(body: &'a [u8]) -> Self {
        Self { buf: body, at: 0, classes: Vec::new() }
    }

    /// Offset of the next value.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Whether every byte was read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.at >= self.buf.len()
    }

    /// The next value, a string; `None` for null. The bytes are UTF-8 if the writer's were, and
    /// those on the wire unless the string came in chunks or has surrogates.
    ///
    /// # Errors
    /// If the value is no string, or cut off.
    pub fn string(&mut self) -> Result<Option<Cow<'a, [u8]>>, HessianError> {
        let at = self.at;
        match self.peek()? {
            b'N' => {
                self.at += 1;
                Ok(None)
            }
            tag if text::is_string(tag) => self.text().map(Some),
            tag => Err(HessianError::NotAString { at, tag }),
        }
    }

    /// The next value if it is a string; any other value is stepped over.
    ///
    /// # Errors
    /// If the value is malformed.
    pub fn string_or_skip(&mut self) -> Result<Option<Cow<'a, [u8]>>, HessianError> {
        if text::is_string(self.peek()?) {
            return self.text().map(Some);
        }
        self.skip(1)?;
        Ok(None)
    }

    /// Enters the next value if it is a map; any other value is stepped over.
    ///
    /// # Errors
    /// If the value is malformed.
    pub fn enter_map(&mut self) -> Result<bool, HessianError> {
        match self.peek()? {
            b'H' => {
                self.at += 1;
                Ok(true)
            }
            b'M' => {
                self.at += 1;
                self.skip_type()?;
                Ok(true)
            }
            _ => self.skip(1).map(|()| false),
        }
    }

    /// Whether the map that was entered ends here; if so it is left.
    ///
    /// # Errors
    /// If the body ends first.
    pub fn leave_map(&mut self) -> Result<bool, HessianError> {
        let ends = self.peek()? == b'Z';
        self.at += usize::from(ends);
        Ok(ends)
    }

    fn peek(&self) -> Result<u8, HessianError> {
        self.buf.get(self.at).copied().ok_or(HessianError::Truncated { at: self.at })
    }

    fn byte(&mut self) -> Result<u8, HessianError> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], HessianError> {
        let bytes = self.buf.get(self.at..).and_then(|rest| rest.get(..len));
        let bytes = bytes.ok_or(HessianError::Truncated { at: self.at })?;
        self.at += len;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HessianError> {
        let bytes = self.buf.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let bytes = bytes.ok_or(HessianError::Truncated { at: self.at })?;
        self.at += N;
        Ok(*bytes)
    }

    fn u16(&mut self) -> Result<usize, HessianError> {
        self.array().map(u16::from_be_bytes).map(usize::from)
    }
}

#[cfg(test)]
mod tests;
