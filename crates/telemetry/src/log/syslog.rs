//! Lines to a syslog daemon, as Go's `log/syslog` writes them.

use std::{
    io::{self, Write as _},
    net::{TcpStream, ToSocketAddrs as _, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    time::{Duration, Instant, SystemTime},
};

use jiff::{Timestamp, tz::TimeZone};
use mosn_config::model::SyslogTarget;

use crate::clock::{self, since_epoch};

/// Facility LOCAL0, severity ERR, for every line whatever its level (observability reference 3.1).
const PRIORITY: u32 = 16 * 8 + 3;

const TAG: &str = "mosn";

/// Where local daemons listen.
const LOCAL_PATHS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// How long a connect or a write may take, and how long after a failure the next is tried.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Syslog {
    target: Option<SyslogTarget>,
    connection: Option<Connection>,
    retry_at: Instant,
    host: String,
    pid: u32,
}

enum Connection {
    Datagram(UnixDatagram),
    Stream(UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Syslog {
    /// Connects when the first line comes, so that a daemon that is down stops no start.
    pub(super) fn new(target: Option<SyslogTarget>) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            target,
            connection: None,
            retry_at: Instant::now(),
            host: host.trim().to_owned(),
            pid: std::process::id(),
        }
    }

    /// Sends each line as one message. After an error, the lines that follow are lost until the daemon
    /// can be reached again.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.connection.is_none() {
            if Instant::now() < self.retry_at {
                return Err(io::ErrorKind::NotConnected.into());
            }
            self.retry_at = Instant::now() + PATIENCE;
            self.connection = Some(self.connect()?);
        }
        let header = self.header(SystemTime::now());
        let Some(connection) = &mut self.connection else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut message = Vec::new();
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            message.clear();
            message.extend_from_slice(header.as_bytes());
            message.extend_from_slice(line);
            if let Err(error) = connection.send(&message) {
                self.connection = None;
                return Err(error);
            }
        }
        Ok(())
    }

    fn header(&self, now: SystemTime) -> String {
        let (second, pid) = (since_epoch(now).as_secs(), self.pid);
        if self.target.is_none() {
            let stamp = clock::local(second).strftime("%b %e %H:%M:%S").to_string();
            return format!("<{PRIORITY}>{stamp} {TAG}[{pid}]: ");
        }
        let timestamp = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
        let zoned = timestamp.unwrap_or_default().to_zoned(TimeZone::system());
        format!("<{PRIORITY}>{} {} {TAG}[{pid}]: ", zoned.strftime("%Y-%m-%dT%H:%M:%S%:z"), self.host)
    }

    fn connect(&self) -> io::Result<Connection> {
        let Some(target) = &self.target else { return connect_local() };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in target.address.to_socket_addrs()? {
            let connected = if target.tcp {
                TcpStream::connect_timeout(&address, PATIENCE).and_then(|stream| {
                    stream.set_write_timeout(Some(PATIENCE))?;
                    Ok(Connection::Tcp(stream))
                })
            } else {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                UdpSocket::bind(any).and_then(|socket| {
                    socket.connect(address)?;
                    Ok(Connection::Udp(socket))
                })
            };
            match connected {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn connect_local() -> io::Result<Connection> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for path in LOCAL_PATHS {
        let datagram = UnixDatagram::unbound().and_then(|socket| {
            socket.connect(path)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(Connection::Datagram(socket))
        });
        let connected = datagram.or_else(|_| {
            let stream = UnixStream::connect(path)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Connection::Stream(stream))
        });
        match connected {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Connection {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagram(socket) => socket.send(message).map(|_| ()),
            Self::Stream(stream) => stream.write_all(message),
            Self::Udp(socket) => socket.send(message).map(|_| ()),
            Self::Tcp(stream) => stream.write_all(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        net::TcpListener,
    };

    use super::*;

    fn check(message: &str, text: &str) {
        let rest = message.strip_prefix("<131>").unwrap_or_else(|| panic!("{message}"));
        let (head, line) = rest.split_once(&format!(" mosn[{}]: ", std::process::id())).unwrap();
        assert_eq!(line, text);
        let (time, _host) = head.split_once(' ').unwrap();
        assert!(time.parse::<Timestamp>().is_ok(), "{time}");
    }

    #[test]
    fn each_line_is_a_datagram() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let mut syslog = Syslog::new(Some(SyslogTarget { address, tcp: false }));
        syslog.write(b"one\ntwo\n").unwrap();
        for text in ["one\n", "two\n"] {
            let mut buffer = [0; 512];
            let len = server.recv(&mut buffer).unwrap();
            check(std::str::from_utf8(&buffer[..len]).unwrap(), text);
        }
    }

    #[test]
    fn each_line_is_a_line_over_tcp() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let mut syslog = Syslog::new(Some(SyslogTarget { address, tcp: true }));
        syslog.write(b"one\ntwo\n").unwrap();
        let mut lines = BufReader::new(server.accept().unwrap().0).lines();
        check(&lines.next().unwrap().unwrap(), "one");
        check(&lines.next().unwrap().unwrap(), "two");
    }

    #[test]
    fn a_daemon_that_is_down_is_an_error_and_not_asked_again_at_once() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut syslog = Syslog::new(Some(SyslogTarget { address: closed, tcp: true }));
        assert_eq!(syslog.write(b"one\n").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(syslog.write(b"two\n").unwrap_err().kind(), io::ErrorKind::NotConnected);
    }
}
