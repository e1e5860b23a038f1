use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use mosn_net::{Io, scratch, timer::Timer};

/// How long a peer has to read our last words.
const TIME: Duration = Duration::from_secs(1);
/// How much more of the peer's is read meanwhile.
const BYTES: usize = 256 * 1024;

/// Closes a connection so that the peer reads what was said last: ends our side, then reads on for a
/// moment. Closing while the peer's bytes are unread would make the system throw away what it has
/// not sent yet.
pub(crate) struct Linger {
    timer: Timer,
    left: usize,
    ended: bool,
}

impl Linger {
    pub(crate) fn new() -> Self {
        Self { timer: Timer::after(TIME), left: BYTES, ended: false }
    }

    /// Ready when the socket may be closed. `flushed`: whether all that is to be said has left.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, io: &mut Io, flushed: Poll<()>) -> Poll<()> {
        if self.timer.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        ready!(flushed);
        if !self.ended {
            if ready!(io.poll_close(cx)).is_err() {
                return Poll::Ready(());
            }
            self.ended = true;
        }
        while self.left > 0 {
            match ready!(scratch::with_read(|buffer| io.poll_read(cx, buffer))) {
                Ok(0) | Err(_) => break,
                Ok(read) => self.left = self.left.saturating_sub(read),
            }
        }
        Poll::Ready(())
    }
}
