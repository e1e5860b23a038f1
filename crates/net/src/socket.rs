use std::{
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{linux::net::SocketAddrExt, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    task::Poll,
    time::Duration,
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
            io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need CAP_NET_BIND_SERVICE, and use_original_dst tproxy needs CAP_NET_ADMIN"
            }
            io::ErrorKind::AddrNotAvailable => "; no interface of this machine has it",
            _ => "",
        };
        Self { address: address.to_string(), source, hint }
    }
}

/// What a listening TCP socket is given before it is bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenOptions {
    /// Others may bind the same address, and the kernel shares connections out.
    pub reuse_port: bool,
    /// Takes connections to any address that `TPROXY` sends here (`IP_TRANSPARENT`).
    pub transparent: bool,
}

/// Binds a listener. An unspecified address takes both families on one socket where the kernel
/// can, so that IPv6 clients reach a listener on `0.0.0.0`, as in MOSN.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: &ListenOn, options: ListenOptions) -> Result<BoundListener, SocketError> {
    match address {
        ListenOn::Tcp(address) => {
            bind_tcp(*address, options).map(BoundListener::Tcp).map_err(|e| SocketError::new(address, e))
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

fn bind_tcp(address: SocketAddr, options: ListenOptions) -> io::Result<std::net::TcpListener> {
    if address.ip().is_unspecified() {
        let both = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
        match listen(both, options, true) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {}
            done => return done,
        }
    }
    listen(address, options, false)
}

fn listen(address: SocketAddr, options: ListenOptions, both: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!both)?;
    }
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if options.transparent {
        if address.is_ipv6() {
            socket.set_ip_transparent_v6(true)?;
        }
        if address.is_ipv4() || both {
            socket.set_ip_transparent_v4(true)?;
        }
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

/// Whether packets to `ip` stay on this machine. Sends none.
#[must_use]
pub fn is_local(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // The system answers from the address that it sends to, if it has it.
    let own = || {
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect((ip, 9))?;
        io::Result::Ok(socket.local_addr()?.ip() == ip)
    };
    ip.is_loopback() || ip.is_unspecified() || own().unwrap_or(false)
}

/// What a socket is given before it connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectOptions {
    /// `SO_MARK`; 0 = none.
    pub mark: u32,
    /// The local address; `None` = the system's choice.
    pub bind: Option<IpAddr>,
}

impl ConnectOptions {
    pub(crate) fn apply(&self, socket: &Socket) -> io::Result<()> {
        if self.mark != 0 {
            socket.set_mark(self.mark)?;
        }
        self.bind.map_or(Ok(()), |local| socket.bind(&SocketAddr::new(local, 0).into()))
    }
}

/// Connects to `address`.
///
/// # Errors
/// The socket's.
pub async fn connect_tcp(address: SocketAddr, options: ConnectOptions) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    options.apply(&socket2::SockRef::from(&socket))?;
    socket.connect(address).await
}

/// How long one address of a name has before the next is tried beside it (RFC 8305 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Connects to the first of a name's addresses that answers, the families in turn: whoever has a
/// broken IPv6 is not kept waiting for it (RFC 8305).
///
/// # Errors
/// That of the first address, if none answers; `NotFound` if there is none.
pub async fn connect_any(addresses: &[SocketAddr], options: ConnectOptions) -> io::Result<TcpStream> {
    let mut waiting = alternate(addresses).into_iter();
    let Some(first) = waiting.next() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    if addresses.len() == 1 {
        return connect_tcp(first, options).await;
    }
    let mut running = vec![Box::pin(connect_tcp(first, options))];
    let mut failed = None;
    let mut next = Box::pin(tokio::time::sleep(NEXT_ADDRESS));
    poll_fn(|cx| {
        loop {
            let mut at = 0;
            while at < running.len() {
                match running[at].as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                    Poll::Ready(Err(error)) => {
                        failed.get_or_insert(error);
                        drop(running.swap_remove(at));
                    }
                    Poll::Pending => at += 1,
                }
            }
            if !running.is_empty() && next.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match waiting.next() {
                Some(address) => running.push(Box::pin(connect_tcp(address, options))),
                None if running.is_empty() => {
                    return Poll::Ready(Err(failed.take().unwrap_or_else(|| io::ErrorKind::NotFound.into())));
                }
                None => return Poll::Pending,
            }
            next.as_mut().reset(tokio::time::Instant::now() + NEXT_ADDRESS);
        }
    })
    .await
}

/// Addresses of the two families in turn, beginning with the first one's.
fn alternate(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut one, mut other): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv4() == first_is_v4);
    let (mut one, mut other) = (one.drain(..), other.drain(..));
    let mut mixed = Vec::with_capacity(addresses.len());
    while mixed.len() < addresses.len() {
        mixed.extend(one.next());
        mixed.extend(other.next());
    }
    mixed
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

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn the_families_of_a_name_take_turns() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let expected = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(alternate(&given), expected);
        assert!(alternate(&[]).is_empty());
    }

    #[test]
    fn own_addresses_are_told_from_others() {
        for ip in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1"] {
            assert!(is_local(ip.parse().expect("an address")), "{ip}");
        }
        // Of documentation (RFC 5737).
        assert!(!is_local("192.0.2.1".parse().expect("an address")));
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_keep_the_next_one_waiting() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let open = listener.local_addr().expect("an address");
        let refusing = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let closed = refusing.local_addr().expect("an address");
        drop(refusing);
        let start = std::time::Instant::now();
        let stream =
            connect_any(&[closed, closed, open], ConnectOptions::default()).await.expect("one is open");
        assert_eq!(stream.peer_addr().expect("a peer"), open);
        assert!(start.elapsed() < NEXT_ADDRESS);
        let error =
            connect_any(&[closed, closed], ConnectOptions::default()).await.expect_err("none is open");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let none = connect_any(&[], ConnectOptions::default()).await.expect_err("there is none");
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }
}
