//! The socket under an HTTP/2 connection, written to once a turn.
//!
//! `h2` writes and flushes frame by frame. Here its writes only collect, and leave together in one
//! system call when the connection's task has done everything it can for now: with many streams on
//! a connection one call carries many replies.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use mosn_net::{Io, scratch, timer::Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::Meter;

/// Bytes that may collect before the writer is held back.
const HIGH_WATER: usize = 128 * 1024;
/// A connection that we end is read on for so long and so far, so that the peer gets to read our
/// last frames before its own bytes make the system reset the connection.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// What `h2` reads and writes.
pub(super) struct Socket(Rc<Shared>);

/// The other end of a [`Socket`]: whoever drives the connection flushes through it.
pub(super) struct Flush(Rc<Shared>);

struct Shared {
    io: RefCell<Io>,
    output: RefCell<Vec<u8>>,
    /// How much of the output has been written.
    written: Cell<usize>,
    meter: Option<Meter>,
}

impl Socket {
    /// Over an open connection, whose incoming frames are counted if there is a meter.
    pub(super) fn new(io: Io, meter: Option<Meter>) -> (Self, Flush) {
        let (io, output) = (RefCell::new(io), RefCell::default());
        let shared = Rc::new(Shared { io, output, written: Cell::new(0), meter });
        (Self(Rc::clone(&shared)), Flush(shared))
    }
}

impl Shared {
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut output = self.output.borrow_mut();
        let mut io = self.io.borrow_mut();
        while self.written.get() < output.len() {
            match ready!(io.poll_write(cx, &[IoSlice::new(&output[self.written.get()..])]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => self.written.set(self.written.get() + more),
            }
        }
        self.written.set(0);
        if output.capacity() > 0 {
            scratch::give_back(std::mem::take(&mut output));
        }
        Poll::Ready(Ok(()))
    }

    fn append(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.output.borrow().len() - self.written.get() >= HIGH_WATER {
            ready!(self.poll_flush(cx))?;
        }
        let mut output = self.output.borrow_mut();
        if output.capacity() == 0 {
            *output = scratch::borrow();
        }
        let before = output.len();
        for slice in slices {
            output.extend_from_slice(slice);
        }
        Poll::Ready(Ok(output.len() - before))
    }
}

impl Flush {
    /// Writes what has collected. Ready when nothing is left.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    /// Ends our side, and reads on for a moment.
    pub(super) async fn linger(self) {
        let mut timer = Timer::after(LINGER);
        let mut left = LINGER_BYTES;
        let mut closed = false;
        std::future::poll_fn(|cx| {
            if timer.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if !closed {
                if ready!(self.0.poll_flush(cx)).is_err() {
                    return Poll::Ready(());
                }
                if ready!(self.0.io.borrow_mut().poll_close(cx)).is_err() {
                    return Poll::Ready(());
                }
                closed = true;
            }
            while left > 0 {
                match ready!(scratch::with_read(|buffer| self.0.io.borrow_mut().poll_read(cx, buffer))) {
                    Ok(0) | Err(_) => return Poll::Ready(()),
                    Ok(read) => left = left.saturating_sub(read),
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.meter.as_ref().is_some_and(Meter::is_tripped) {
            // Nothing more is read, nor answered: whoever drives the connection ends it.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(AsyncRead::poll_read(Pin::new(&mut *self.0.io.borrow_mut()), cx, buffer))?;
        if let Some(meter) = &self.0.meter {
            meter.scan(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.append(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.append(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written leaves at the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_flush(cx))?;
        self.0.io.borrow_mut().poll_close(cx)
    }
}
