use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::{linux::net::SocketAddrExt, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A socket that listens, not yet part of any runtime.
#[derive(Debug)]
pub enum BoundListener {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A unix stream socket.
    Unix(std::os::unix::net::UnixListener),
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{hint}")]
pub struct SocketError {
    /// The address.
    pub address: String,
    /// The system's reason.
    #[source]
    pub source: io::Error,
    hint: &'static str,
}

impl SocketError {
    fn new(address: impl ToString, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => "; another process holds it, `ss -lntp` shows which",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
            io::ErrorKind::AddrNotAvailable => "; no interface of this machine has it",
            _ => "",
        };
        Self { address: address.to_string(), source, hint }
    }
}

/// Binds a TCP listener. An unspecified address takes both families on one socket where the kernel
/// can, so that IPv6 clients reach a listener on `0.0.0.0`, as in MOSN.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: &ListenOn, reuse_port: bool) -> Result<BoundListener, SocketError> {
    match address {
        ListenOn::Tcp(address) => {
            bind_tcp(*address, reuse_port).map(BoundListener::Tcp).map_err(|e| SocketError::new(address, e))
        }
        ListenOn::Unix(path) => {
            bind_unix(path).map(BoundListener::Unix).map_err(|e| SocketError::new(path.display(), e))
        }
    }
}

/// Where to listen.
#[derive(Clone, Debug)]
pub enum ListenOn {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix stream socket; `@name` is abstract.
    Unix(PathBuf),
}

fn bind_tcp(address: SocketAddr, reuse_port: bool) -> io::Result<std::net::TcpListener> {
    if address.ip().is_unspecified() {
        let both = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
        match listen(both, reuse_port, true) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {}
            done => return done,
        }
    }
    listen(address, reuse_port, false)
}

fn listen(address: SocketAddr, reuse_port: bool, both: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!both)?;
    }
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let listener = match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            std::os::unix::net::UnixListener::bind_addr(&address)?
        }
        None => {
            // A socket file that nobody listens on any more is in the way of the next bind.
            if std::os::unix::net::UnixStream::connect(path).is_err() {
                let _ = std::fs::remove_file(path);
            }
            std::os::unix::net::UnixListener::bind(path)?
        }
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to `address`; `mark` is the socket's `SO_MARK`, 0 = none.
///
/// # Errors
/// The socket's.
pub async fn connect_tcp(address: SocketAddr, mark: u32) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    if mark != 0 {
        socket2::SockRef::from(&socket).set_mark(mark)?;
    }
    socket.connect(address).await
}

/// Connects to a unix socket; `@name` is abstract.
///
/// # Errors
/// The socket's.
pub async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        }
        None => UnixStream::connect(path).await,
    }
}
