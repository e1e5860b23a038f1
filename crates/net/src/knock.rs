use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::ConnectOptions;

/// Many questions at once whether somebody listens at an address.
///
/// A knock costs what the kernel takes for half a connection. The last packet of the handshake is held
/// back and a reset sent instead, so that whoever listens never sees the connection and none is left in
/// TIME_WAIT. No event loop hears of the sockets: who knocks looks from time to time what became
/// of all of them, with one system call.
#[derive(Debug)]
pub struct Knocks<T>(Vec<Knock<T>>);

#[derive(Debug)]
struct Knock<T> {
    socket: Socket,
    until: Instant,
    of: T,
}

impl<T> Default for Knocks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Knocks<T> {
    /// Whether nothing is awaited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Knocks at `address` and awaits an answer until `until`; `of` says whose it is.
    pub fn begin(
        &mut self,
        address: SocketAddr,
        options: ConnectOptions,
        until: Instant,
        of: T,
    ) -> Result<(), (T, io::Error)> {
        match knock(address, options) {
            Ok(socket) => {
                self.0.push(Knock { socket, until, of });
                Ok(())
            }
            Err(error) => Err((of, error)),
        }
    }

    /// Those that are decided by `now`: `Ok` where somebody listens, [`io::ErrorKind::TimedOut`] where there was no
    /// answer in time.
    pub fn decided(&mut self, now: Instant) -> Vec<(T, io::Result<()>)> {
        let mut polled: Vec<_> =
            self.0.iter().map(|knock| PollFd::new(&knock.socket, PollFlags::OUT)).collect();
        let failed = poll(&mut polled, Some(&Timespec::default())).err();
        let events: Vec<_> = polled.iter().map(PollFd::revents).collect();
        let mut decided = Vec::new();
        let mut at = events.len();
        while at > 0 {
            at -= 1;
            let knock = &self.0[at];
            let answer = if events[at].intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
                Err(why(&knock.socket))
            } else if events[at].contains(PollFlags::OUT) {
                Ok(())
            } else if now >= knock.until {
                Err(failed.map_or_else(|| io::ErrorKind::TimedOut.into(), io::Error::from))
            } else {
                continue;
            };
            decided.push((self.0.swap_remove(at).of, answer));
        }
        decided
    }
}

fn knock(address: SocketAddr, options: ConnectOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Must come before the connect.
    socket.set_tcp_quickack(false)?;
    socket.set_linger(Some(Duration::ZERO))?;
    options.apply(&socket)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => Ok(socket),
    }
}

fn why(socket: &Socket) -> io::Error {
    match socket.take_error() {
        Ok(Some(error)) | Err(error) => error,
        Ok(None) => io::ErrorKind::ConnectionReset.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// The answers, once there are any.
    fn answers(knocks: &mut Knocks<&'static str>) -> Vec<(&'static str, Result<(), io::ErrorKind>)> {
        loop {
            let decided = knocks.decided(Instant::now());
            if !decided.is_empty() {
                return decided.into_iter().map(|(of, answer)| (of, answer.map_err(|e| e.kind()))).collect();
            }
            std::thread::yield_now();
        }
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn who_listens_is_found_and_sees_nothing_of_it() {
        let (listener, address) = listener();
        listener.set_nonblocking(true).expect("a socket");
        let mut knocks = Knocks::default();
        knocks.begin(address, ConnectOptions::default(), later(), "a").expect("a socket");
        assert_eq!(answers(&mut knocks), [("a", Ok(()))]);
        assert!(knocks.is_empty());
        // Whoever comes next is the first to be accepted.
        let mut next = std::net::TcpStream::connect(address).expect("a connection");
        listener.set_nonblocking(false).expect("a socket");
        let (mut accepted, peer) = listener.accept().expect("a connection");
        assert_eq!(peer, next.local_addr().expect("an address"));
        io::Write::write_all(&mut next, b"x").expect("room");
        io::Read::read_exact(&mut accepted, &mut [0]).expect("a byte");
    }

    #[test]
    fn where_nobody_listens_it_is_refused() {
        let (listener, address) = listener();
        drop(listener);
        let mut knocks = Knocks::default();
        knocks.begin(address, ConnectOptions::default(), later(), "a").expect("a socket");
        assert_eq!(answers(&mut knocks), [("a", Err(io::ErrorKind::ConnectionRefused))]);
    }

    #[test]
    fn no_answer_is_waited_for_only_so_long() {
        // A queue of connections that is full lets nobody in.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a port");
        socket.listen(0).expect("a listener");
        let address = socket.local_addr().expect("an address").as_socket().expect("an IP address");
        let _first = std::net::TcpStream::connect(address).expect("room for one");
        let mut knocks = Knocks::default();
        let until = later();
        knocks.begin(address, ConnectOptions::default(), until, "a").expect("a socket");
        assert!(knocks.decided(until - Duration::from_millis(1)).is_empty());
        let late = knocks.decided(until);
        assert!(
            matches!(&late[..], [("a", Err(error))] if error.kind() == io::ErrorKind::TimedOut),
            "{late:?}"
        );
    }
}
