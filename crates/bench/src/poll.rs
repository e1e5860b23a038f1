//! epoll, and a timer that is exact to microseconds: epoll's own timeout counts milliseconds.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};

/// Events taken at once; what is left over comes next time.
const BATCH: usize = 256;
const TIMER: u64 = u64::MAX;

/// Waits for sockets and for a moment.
pub(crate) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer goes off.
    armed: Option<Instant>,
    events: Vec<Event>,
}

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    pub(crate) const READ: Self = Self { read: true, write: false };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// A socket that is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    /// Whether a read finds bytes, the end, or an error; else there is only room to write.
    pub(crate) read: bool,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        // Told of once for each time that it goes off: it need not be read.
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, armed: None, events: Vec::with_capacity(BATCH) })
    }

    /// Watches a socket; `token` is any number but the largest.
    pub(crate) fn add(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), interest.flags())?)
    }

    /// Watches it for something else.
    pub(crate) fn change(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(token), interest.flags())?)
    }

    /// Waits until a socket is ready, or until `wake`. What is ready is then in [`Self::ready`].
    pub(crate) fn wait(&mut self, wake: Option<Instant>) -> io::Result<()> {
        self.events.clear();
        let timeout = match wake.map(|wake| wake.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => Some(Timespec::default()),
            Some(after) => {
                self.arm(wake, after)?;
                None
            }
            None => None,
        };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if self.events.iter().any(|event| event.data.u64() == TIMER) {
            self.armed = None;
        }
        Ok(())
    }

    fn arm(&mut self, wake: Option<Instant>, after: Duration) -> io::Result<()> {
        if self.armed != wake {
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once(after))?;
            self.armed = wake;
        }
        Ok(())
    }

    /// How many sockets are ready.
    pub(crate) fn count(&self) -> usize {
        self.events.len()
    }

    /// One of the sockets that are ready; `None` for the timer.
    pub(crate) fn ready(&self, at: usize) -> Option<Ready> {
        let event = self.events.get(at)?;
        let (flags, token) = (event.flags, event.data.u64());
        let read = flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP);
        (token != TIMER).then_some(Ready { token, read })
    }
}

fn once(after: Duration) -> Itimerspec {
    let value = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: after.subsec_nanos().into() };
    Itimerspec { it_interval: Timespec::default(), it_value: value }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_timer_wakes_after_less_than_a_millisecond_and_not_early() {
        let mut poller = Poller::new().unwrap();
        for _ in 0..3 {
            let wake = Instant::now() + Duration::from_micros(300);
            while Instant::now() < wake {
                poller.wait(Some(wake)).unwrap();
            }
            assert!((0..poller.count()).all(|at| poller.ready(at).is_none()));
        }
        poller.wait(Some(Instant::now())).unwrap();
        assert_eq!(poller.count(), 0, "it went off and stays on");
    }

    #[test]
    fn a_socket_is_reported_under_its_token_for_what_it_is_watched_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&ours, 7, Interest::READ).unwrap();
        theirs.write_all(b"x").unwrap();
        poller.wait(None).unwrap();
        let ready = poller.ready(0).unwrap();
        assert_eq!((ready.token, ready.read), (7, true));
        poller.change(&ours, 7, Interest { read: false, write: true }).unwrap();
        poller.wait(None).unwrap();
        let ready = poller.ready(0).unwrap();
        assert_eq!((ready.token, ready.read), (7, false));
        assert_eq!(poller.count(), 1);
    }
}
