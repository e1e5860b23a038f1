//! The frames of one read.

use std::iter::FusedIterator;

use super::{DecodeError, Decoded, FrameView, Limits, RpcProtocol, Side};

/// Iterates over the whole frames at the start of a buffer.
///
/// When it ends, [`Self::consumed`] bytes are to be taken off the buffer, which should then have
/// room for [`Self::wants`] bytes before the next read.
#[derive(Debug)]
pub struct Frames<'a> {
    protocol: &'a dyn RpcProtocol,
    buf: &'a [u8],
    from: Side,
    limits: Limits,
    consumed: usize,
    wants: usize,
    failed: bool,
}

impl<'a> Frames<'a> {
    /// The frames that `buf`, read from `from`, begins with.
    #[must_use]
    pub const fn new(protocol: &'a dyn RpcProtocol, buf: &'a [u8], from: Side, limits: Limits) -> Self {
        Self { protocol, buf, from, limits, consumed: 0, wants: 1, failed: false }
    }

    /// Bytes of the frames returned so far.
    #[must_use]
    pub const fn consumed(&self) -> usize {
        self.consumed
    }

    /// Bytes that the rest of the buffer must grow to before there can be another frame. Known
    /// once the iterator has ended.
    #[must_use]
    pub const fn wants(&self) -> usize {
        self.wants
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(&'a [u8], FrameView), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.buf.get(self.consumed..).filter(|rest| !rest.is_empty() && !self.failed)?;
        match self.protocol.decode(rest, self.from, &self.limits) {
            Ok(Decoded::Frame(view)) => match rest.split_at_checked(view.len as usize) {
                Some((frame, _)) if !frame.is_empty() => {
                    self.consumed += frame.len();
                    Some(Ok((frame, view)))
                }
                _ => {
                    self.failed = true;
                    let protocol = self.protocol.name();
                    Some(Err(DecodeError::BadLength {
                        protocol,
                        field: "frame",
                        len: view.len.into(),
                        frame: view.len,
                    }))
                }
            },
            Ok(Decoded::NeedMore { at_least }) => {
                self.wants = at_least;
                None
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl FusedIterator for Frames<'_> {}
