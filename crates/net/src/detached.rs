use std::io;

use tokio::net::{TcpStream, UnixStream};

use crate::Transport;

/// A connection on its way from one event loop to another, part of neither.
#[derive(Debug)]
pub enum Detached {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix stream socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Detached {
    /// Takes it out of the calling thread's event loop.
    ///
    /// # Errors
    /// The system's.
    pub fn take(transport: Transport) -> io::Result<Self> {
        match transport {
            Transport::Tcp(stream) => stream.into_std().map(Self::Tcp),
            Transport::Unix(stream) => stream.into_std().map(Self::Unix),
            #[cfg(feature = "memory")]
            Transport::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes it part of the calling thread's event loop.
    ///
    /// # Errors
    /// The system's.
    pub fn register(self) -> io::Result<Transport> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Transport::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Transport::Unix),
        }
    }
}
