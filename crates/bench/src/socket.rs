//! Nonblocking TCP: what a read or write that cannot go on comes to, and partial frames.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use bytes::BytesMut;
use mosn_codec::rpc::{DecodeError, FrameView, Frames, Limits, RpcProtocol, Side};

/// Bytes of one read.
pub(crate) const READ_BUFFER: usize = 256 * 1024;
/// Output that is put together before it is written.
pub(crate) const WRITE_TARGET: usize = 256 * 1024;

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes(usize),
    Nothing,
    /// The peer is gone.
    End,
}

pub(crate) fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Got {
    match stream.read(buffer) {
        Ok(0) => Got::End,
        Ok(len) => Got::Bytes(len),
        Err(error) if is_pause(&error) => Got::Nothing,
        Err(_) => Got::End,
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Bytes on their way out.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) bytes: BytesMut,
    /// How many of them are out.
    written: usize,
}

impl Output {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }

    /// Writes what the socket takes; returns how much that was.
    pub(crate) fn flush(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        if self.is_empty() {
            return Ok(0);
        }
        match stream.write(&self.bytes[self.written..]) {
            Ok(len) => {
                self.written += len;
                if self.is_empty() {
                    self.clear();
                }
                Ok(len)
            }
            Err(error) if is_pause(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// The bytes of a frame that is not all here.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    bytes: Vec<u8>,
    /// How many there must be before it is worth looking again.
    wants: usize,
}

impl Partial {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Shows every frame that these bytes complete or contain.
    pub(crate) fn take_in(
        &mut self,
        protocol: &'static dyn RpcProtocol,
        from: Side,
        bytes: &[u8],
        mut show: impl FnMut(&[u8], &FrameView),
    ) -> Result<(), DecodeError> {
        if !self.bytes.is_empty() {
            self.bytes.extend_from_slice(bytes);
            if self.bytes.len() < self.wants {
                return Ok(());
            }
        }
        let fresh = self.bytes.is_empty();
        let all = if fresh { bytes } else { &self.bytes };
        let mut frames = Frames::new(protocol, all, from, Limits::default());
        for frame in &mut frames {
            let (frame, view) = frame?;
            show(frame, &view);
        }
        let used = frames.consumed();
        self.wants = frames.wants();
        if fresh {
            self.bytes.extend_from_slice(&bytes[used..]);
        } else {
            self.bytes.drain(..used);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mosn_codec::rpc::BOLT;

    use super::*;

    #[test]
    fn frames_are_found_wherever_reads_cut_them() {
        let mut stream = BytesMut::new();
        for id in 1..=5 {
            assert!(BOLT.heartbeat(id, &mut stream));
        }
        for size in 1..=stream.len() {
            let (mut partial, mut ids) = (Partial::default(), Vec::new());
            for piece in stream.chunks(size) {
                partial.take_in(&BOLT, Side::Downstream, piece, |_, view| ids.push(view.id)).unwrap();
            }
            assert_eq!(ids, [1, 2, 3, 4, 5], "in pieces of {size}");
        }
    }
}
