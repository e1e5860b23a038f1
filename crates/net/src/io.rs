use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// What carries a connection's bytes. A closed set, so that nothing above is generic over it.
#[derive(Debug)]
pub enum Transport {
    /// TCP.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
    /// No socket at all: for tests, whose time may then be paused.
    #[cfg(feature = "memory")]
    Memory(tokio::io::DuplexStream),
}

impl Transport {
    /// Our address; `None` on unix sockets.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok().map(canonical),
            Self::Unix(_) => None,
            #[cfg(feature = "memory")]
            Self::Memory(_) => None,
        }
    }

    /// Where the connection was going before `REDIRECT` sent it here.
    ///
    /// # Errors
    /// The socket's, such as for a connection that nobody redirected; `Unsupported` on unix sockets.
    pub fn original_destination(&self) -> io::Result<SocketAddr> {
        let Self::Tcp(stream) = self else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let socket = socket2::SockRef::from(stream);
        let original = match canonical(stream.local_addr()?) {
            SocketAddr::V4(_) => socket.original_dst_v4()?,
            SocketAddr::V6(_) => socket.original_dst_v6()?,
        };
        original.as_socket().map(canonical).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

/// Counts the bytes of a connection, for metrics.
pub trait Meter {
    /// So many bytes were read.
    fn read(&self, bytes: u64);
    /// So many bytes were written.
    fn written(&self, bytes: u64);
}

/// One connection's bytes, in and out.
pub struct Io {
    transport: Transport,
    meter: Rc<dyn Meter>,
    /// Bytes that were read before whoever reads now took over.
    prefix: Bytes,
}

impl Io {
    /// Over an open socket.
    #[must_use]
    pub fn new(transport: Transport, meter: Rc<dyn Meter>) -> Self {
        Self { transport, meter, prefix: Bytes::new() }
    }

    /// Gives bytes back, to be read again before any others.
    pub fn unread(&mut self, bytes: Bytes) {
        self.prefix = if self.prefix.is_empty() { bytes } else { [&bytes[..], &self.prefix].concat().into() };
    }

    /// The peer's address; `None` on unix sockets.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match &self.transport {
            Transport::Tcp(stream) => stream.peer_addr().ok().map(canonical),
            Transport::Unix(_) => None,
            #[cfg(feature = "memory")]
            Transport::Memory(_) => None,
        }
    }

    /// Our address; `None` on unix sockets.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.transport.local_addr()
    }

    /// Completes when there is something to read, an error or the end included. Holds no buffer.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.prefix.is_empty() {
            return Poll::Ready(());
        }
        match &mut self.transport {
            Transport::Tcp(stream) => stream.poll_read_ready(cx).map(|_| ()),
            Transport::Unix(stream) => stream.poll_read_ready(cx).map(|_| ()),
            #[cfg(feature = "memory")]
            Transport::Memory(stream) => {
                let mut byte = [0];
                let mut buffer = ReadBuf::new(&mut byte);
                let read = ready!(Pin::new(stream).poll_read(cx, &mut buffer));
                if read.is_ok() {
                    self.prefix = Bytes::copy_from_slice(buffer.filled());
                }
                Poll::Ready(())
            }
        }
    }

    /// Whether an idle connection has been closed, or has spoken out of turn; no system call.
    pub fn has_event(&mut self) -> bool {
        self.poll_readable(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    /// Reads into `buffer`, which is not empty; 0 = the peer will send no more.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.prefix.is_empty() {
            let take = self.prefix.len().min(buffer.len());
            buffer[..take].copy_from_slice(&self.prefix[..take]);
            self.prefix.advance(take);
            return Poll::Ready(Ok(take));
        }
        let mut buffer = ReadBuf::new(buffer);
        ready!(self.poll_read_socket(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_read_socket(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Transport::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(feature = "memory")]
            Transport::Memory(stream) => Pin::new(stream).poll_read(cx, buffer),
        })?;
        self.meter.read((buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }

    /// Writes as much of `slices` as the socket takes, in one system call.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = ready!(match (&mut self.transport, slices) {
            (Transport::Tcp(stream), [one]) => Pin::new(stream).poll_write(cx, one),
            (Transport::Tcp(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
            (Transport::Unix(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
            #[cfg(feature = "memory")]
            (Transport::Memory(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
        })?;
        self.meter.written(written as u64);
        Poll::Ready(Ok(written))
    }

    /// Makes the coming close a reset, so that the peer cannot take what it got for complete.
    pub fn abort_on_close(&self) {
        let linger = Some(Duration::ZERO);
        // A socket that is gone already needs no reset.
        let _ = match &self.transport {
            Transport::Tcp(stream) => socket2::SockRef::from(stream).set_linger(linger),
            Transport::Unix(_) => Ok(()),
            #[cfg(feature = "memory")]
            Transport::Memory(_) => Ok(()),
        };
    }

    /// Ends our side: the peer reads the end once it has read everything.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "memory")]
            Transport::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.prefix.is_empty() {
            return this.poll_read_socket(cx, buffer);
        }
        let take = this.prefix.len().min(buffer.remaining());
        buffer.put_slice(&this.prefix[..take]);
        this.prefix.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self.get_mut(), cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write(self.get_mut(), cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_close(cx)
    }
}

impl std::fmt::Debug for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Io").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// An IPv4 peer of a dual-stack socket is shown as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
