//! The process's place in its life, with the numbers that MOSN's admin API answers.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where the process is between its start and its end (observability reference 1.5).
///
/// Kept as a number in an [`AtomicU8`] that the server writes and the admin API reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ProcessState {
    /// Before anything happened.
    #[default]
    Nil = 0,
    /// The command line was understood.
    ParamsParsed = 1,
    /// The configuration is read and the logs are opened.
    Initing = 2,
    /// Everything is built, nothing listens.
    PreStart = 3,
    /// Listeners are being bound.
    Starting = 4,
    /// Listeners are bound.
    AfterStart = 5,
    /// Traffic flows.
    Running = 6,
    /// A stop was asked for.
    BeforeStop = 7,
    /// Listeners no longer accept; requests in flight are waited for.
    GracefulStopping = 8,
    /// Connections are being closed.
    Stopping = 9,
    /// Connections are closed.
    AfterStop = 10,
    /// The process is about to exit.
    Stopped = 11,
    /// A successor was forked.
    StartingNewServer = 12,
    /// A successor takes connections over.
    Upgrading = 13,
}

impl ProcessState {
    const ALL: [Self; 14] = [
        Self::Nil,
        Self::ParamsParsed,
        Self::Initing,
        Self::PreStart,
        Self::Starting,
        Self::AfterStart,
        Self::Running,
        Self::BeforeStop,
        Self::GracefulStopping,
        Self::Stopping,
        Self::AfterStop,
        Self::Stopped,
        Self::StartingNewServer,
        Self::Upgrading,
    ];

    /// The state of this number; [`Self::Nil`] for a number that is none.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Reads the state out of its cell.
    #[must_use]
    pub fn load(cell: &AtomicU8) -> Self {
        Self::from_number(cell.load(Ordering::Acquire))
    }

    /// Puts the state into its cell.
    pub fn store(self, cell: &AtomicU8) {
        cell.store(self.number(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_mosns_and_come_back() {
        for (number, state) in (0_u8..).zip(ProcessState::ALL) {
            assert_eq!(state.number(), number);
            assert_eq!(ProcessState::from_number(number), state);
        }
        assert_eq!(ProcessState::Running.number(), 6);
        assert_eq!(ProcessState::from_number(200), ProcessState::Nil);
    }
}
