//! Stepping over values of any type.

use smallvec::SmallVec;

use super::{HessianError, MAX_CLASSES, MAX_DEPTH, Reader, text::is_string};

/// What is still to be stepped over in an open container.
#[derive(Clone, Copy, Debug)]
enum Pending {
    /// This many values.
    Values(u32),
    /// Values up to the end mark.
    UntilEnd,
}

impl Reader<'_> {
    /// Steps over the next `count` values.
    ///
    /// # Errors
    /// If one of them is malformed or nested too deeply.
    pub fn skip(&mut self, count: u32) -> Result<(), HessianError> {
        let mut outer: SmallVec<[Pending; 16]> = SmallVec::new();
        let mut pending = Pending::Values(count);
        loop {
            match &mut pending {
                Pending::Values(0) => match outer.pop() {
                    Some(parent) => pending = parent,
                    None => return Ok(()),
                },
                Pending::UntilEnd if self.peek()? == b'Z' => {
                    self.at += 1;
                    pending = Pending::Values(0);
                }
                current => {
                    if let Pending::Values(left) = current {
                        *left -= 1;
                    }
                    if let Some(inner) = self.open()? {
                        if !matches!(pending, Pending::Values(0)) {
                            if outer.len() == MAX_DEPTH {
                                return Err(HessianError::TooDeep { at: self.at });
                            }
                            outer.push(pending);
                        }
                        pending = inner;
                    }
                }
            }
        }
    }

    /// Steps over one value, or into it if it contains others.
    fn open(&mut self) -> Result<Option<Pending>, HessianError> {
        while self.peek()? == b'C' {
            self.define_class()?;
        }
        let at = self.at;
        let tag = self.peek()?;
        if is_string(tag) {
            return self.skip_text().map(|()| None);
        }
        self.at += 1;
        let scalar = match tag {
            b'N' | b'T' | b'F' | 0x5b | 0x5c | 0x80..=0xbf | 0xd8..=0xef => 0,
            0x5d | 0xc0..=0xcf | 0xf0..=0xff => 1,
            0x5e | 0xd0..=0xd7 | 0x38..=0x3f => 2,
            b'I' | b'Y' | 0x4b | 0x5f => 4,
            b'L' | b'D' | 0x4a => 8,
            0x20..=0x2f => usize::from(tag - 0x20),
            0x34..=0x37 => usize::from(tag - 0x34) << 8 | usize::from(self.byte()?),
            b'A' | b'B' => return self.skip_binary(tag).map(|()| None),
            b'Q' => return self.count().map(|_| None),
            b'H' | b'W' => return Ok(Some(Pending::UntilEnd)),
            b'M' | b'U' => return self.skip_type().map(|()| Some(Pending::UntilEnd)),
            b'V' => {
                self.skip_type()?;
                return self.count().map(|len| Some(Pending::Values(len)));
            }
            b'X' => return self.count().map(|len| Some(Pending::Values(len))),
            0x70..=0x77 => {
                self.skip_type()?;
                return Ok(Some(Pending::Values(u32::from(tag - 0x70))));
            }
            0x78..=0x7f => return Ok(Some(Pending::Values(u32::from(tag - 0x78)))),
            b'O' => {
                let class = self.count()?;
                return self.fields_of(class, at).map(Some);
            }
            0x60..=0x6f => return self.fields_of(u32::from(tag - 0x60), at).map(Some),
            _ => return Err(HessianError::UnknownTag { at, tag }),
        };
        self.bytes(scalar).map(|_| None)
    }

    fn fields_of(&self, class: u32, at: usize) -> Result<Pending, HessianError> {
        let fields = self.classes.get(class as usize).copied();
        fields.map(Pending::Values).ok_or(HessianError::UnknownClass { at, class })
    }

    /// `'C' name count field-name*`: what later objects of the class leave out.
    fn define_class(&mut self) -> Result<(), HessianError> {
        let at = self.at;
        if self.classes.len() == MAX_CLASSES {
            return Err(HessianError::TooManyClasses { at });
        }
        self.at += 1;
        self.skip_name()?;
        let fields = self.count()?;
        for _ in 0..fields {
            self.skip_name()?;
        }
        self.classes.push(fields);
        Ok(())
    }

    fn skip_name(&mut self) -> Result<(), HessianError> {
        let (at, tag) = (self.at, self.peek()?);
        if !is_string(tag) {
            return Err(HessianError::NotAString { at, tag });
        }
        self.skip_text()
    }

    /// The type of a list or map: its name, or the number of a name seen before.
    pub(super) fn skip_type(&mut self) -> Result<(), HessianError> {
        if is_string(self.peek()?) {
            return self.skip_text();
        }
        self.count().map(|_| ())
    }

    fn skip_binary(&mut self, mut tag: u8) -> Result<(), HessianError> {
        loop {
            let len = match tag {
                0x20..=0x2f => usize::from(tag - 0x20),
                0x34..=0x37 => usize::from(tag - 0x34) << 8 | usize::from(self.byte()?),
                b'A' | b'B' => self.u16()?,
                _ => return Err(HessianError::UnknownTag { at: self.at - 1, tag }),
            };
            self.bytes(len)?;
            if tag != b'A' {
                return Ok(());
            }
            tag = self.byte()?;
        }
    }

    /// An int that is a length or a number: never negative, and no longer than the body, of which
    /// each thing counted takes at least a byte.
    fn count(&mut self) -> Result<u32, HessianError> {
        let at = self.at;
        let tag = self.byte()?;
        let value = match tag {
            0x80..=0xbf => i32::from(tag) - 0x90,
            0xc0..=0xcf => (i32::from(tag) - 0xc8) << 8 | i32::from(self.byte()?),
            0xd0..=0xd7 => {
                let [high, low] = self.array()?;
                (i32::from(tag) - 0xd4) << 16 | i32::from(high) << 8 | i32::from(low)
            }
            b'I' => self.array().map(i32::from_be_bytes)?,
            _ => return Err(HessianError::BadCount { at }),
        };
        u32::try_from(value)
            .ok()
            .filter(|&value| value as usize <= self.buf.len())
            .ok_or(HessianError::BadCount { at })
    }
}
