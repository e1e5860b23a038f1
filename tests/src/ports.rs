use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use socket2::{Domain, Socket, Type};

/// Ports are taken from below the range that the system gives to outgoing connections, so that no
/// connection of another test can sit on one between our look at it and the proxy's bind.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

/// A port that nothing is bound to. Every call of a process gives another one; two processes start
/// at different places.
///
/// # Panics
/// When none is free.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    (0..COUNT)
        .find_map(|_| {
            let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Relaxed)) % COUNT;
            let port = u16::try_from(port).ok()?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok().map(|_| port)
        })
        .expect("a free port")
}

/// A port that refuses connections for as long as this lives: bound, but not listening.
#[derive(Debug)]
pub struct Refusing {
    address: SocketAddr,
    _socket: Socket,
}

impl Refusing {
    /// Takes a port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it takes something from the system")]
    pub fn new() -> Self {
        let socket = bound();
        Self { address: address(&socket), _socket: socket }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

/// A port that neither accepts nor refuses connections: its backlog is full.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    _socket: Socket,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    /// Takes a port and fills its backlog.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it takes something from the system")]
    pub fn new() -> Self {
        let socket = bound();
        socket.listen(0).expect("a listening socket");
        let address = address(&socket);
        let wait = std::time::Duration::from_millis(100);
        let queued = std::iter::from_fn(|| TcpStream::connect_timeout(&address, wait).ok()).collect();
        Self { address, _socket: socket, _queued: queued }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    socket
}

fn address(socket: &Socket) -> SocketAddr {
    socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address")
}
