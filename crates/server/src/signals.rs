//! The signals an operator sends (configuration reference 10).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Finish what is under way, then stop (`SIGTERM`).
    Drain,
    /// Stop (`SIGINT`, `SIGQUIT`).
    Stop,
    /// Open every log file anew (`SIGUSR1`).
    ReopenLogs,
    /// Hand over to a successor (`SIGHUP`).
    Upgrade,
}

/// Listens for them from now on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user1: Signal,
    hangup: Signal,
    /// Taken only so that it does not end the process, which is what it does by default.
    user2: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            hangup: signal(SignalKind::hangup())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Asked {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Asked::Drain,
                _ = self.interrupt.recv() => return Asked::Stop,
                _ = self.quit.recv() => return Asked::Stop,
                _ = self.user1.recv() => return Asked::ReopenLogs,
                _ = self.hangup.recv() => return Asked::Upgrade,
                _ = self.user2.recv() => {}
            }
        }
    }
}
