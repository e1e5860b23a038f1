//! Accepting connections and handing each to the worker that has the fewest.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use mosn_net::{BoundListener, Transport};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::mpsc::UnboundedSender,
};

use crate::worker::Command;

/// How long accepting pauses when the process has run out of file descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// A worker, as whoever accepts sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) sender: UnboundedSender<Command>,
    /// Connections that the worker has or is about to get.
    pub(crate) connections: Arc<AtomicUsize>,
}

/// The worker with the fewest connections; among equals the first, so that light traffic shares
/// one worker's pools.
pub(crate) fn least_loaded(seats: &[Seat]) -> Option<&Seat> {
    seats.iter().min_by_key(|seat| seat.connections.load(Relaxed))
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    fn new(listener: BoundListener) -> io::Result<Self> {
        match listener {
            BoundListener::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
            BoundListener::Unix(listener) => UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    async fn accept(&self) -> io::Result<Transport> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Transport::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Transport::Unix(stream)),
        }
    }
}

/// Accepts for ever, and gives every connection to `give`. Ends when it is dropped.
pub(crate) async fn accept(listener: BoundListener, name: Arc<str>, mut give: impl FnMut(Transport)) {
    let listening = match Listening::new(listener) {
        Ok(listening) => listening,
        Err(error) => {
            tracing::error!(alert = "listener.accept", "listener {name} cannot be watched: {error}");
            return;
        }
    };
    loop {
        match listening.accept().await {
            Ok(transport) => give(transport),
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::error!(alert = "listener.accept", "listener {name} cannot accept: {error}");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
        }
    }
}

/// Whether the connection failed before we had it, which is no concern of ours.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lowest_worker() {
        let seats: Vec<Seat> = [2, 1, 1]
            .into_iter()
            .map(|load| Seat {
                sender: tokio::sync::mpsc::unbounded_channel().0,
                connections: Arc::new(AtomicUsize::new(load)),
            })
            .collect();
        let chosen = least_loaded(&seats).unwrap();
        assert!(Arc::ptr_eq(&chosen.connections, &seats[1].connections));
    }
}
