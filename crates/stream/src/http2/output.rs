//! What a connection has to say, put together and written once a turn.

use std::{
    io::IoSlice,
    task::{Context, Poll},
};

use mosn_net::{Io, scratch};

/// Bytes that may wait for the socket: no DATA is added above them, and nothing is read that could
/// ask for an answer.
const HIGH_WATER: usize = 128 * 1024;

/// Frames on their way to the socket. Holds no memory while there are none.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    written: usize,
    /// The socket takes no more: what is said is said in vain.
    broken: bool,
}

impl Output {
    /// To append frames to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = scratch::borrow();
        }
        &mut self.bytes
    }

    /// How many bytes of DATA may be added.
    pub(super) const fn room(&self) -> usize {
        HIGH_WATER.saturating_sub(self.bytes.len() - self.written)
    }

    /// Writes as much as the socket takes. Ready when nothing is left.
    pub(super) fn poll_flush(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<()> {
        while self.written < self.bytes.len() && !self.broken {
            match io.poll_write(cx, &[IoSlice::new(&self.bytes[self.written..])]) {
                Poll::Ready(Ok(more @ 1..)) => self.written += more,
                // How the connection ended shows when it is read.
                Poll::Ready(_) => self.broken = true,
                Poll::Pending => return Poll::Pending,
            }
        }
        self.written = 0;
        if self.bytes.capacity() > 0 {
            scratch::give_back(std::mem::take(&mut self.bytes));
        }
        Poll::Ready(())
    }
}
