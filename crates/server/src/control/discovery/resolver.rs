//! Asking name servers.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use mosn_codec::dns::{self, Answer, AnswerError, Family};
use mosn_config::model::DnsResolverSpec;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
};

/// Bytes of a datagram; servers send no more than we say that we take.
const DATAGRAM: usize = 4096;

/// Servers and suffixes that are used at most.
const MOST: usize = 32;

/// Whom to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
}

/// What a name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// At least one.
    pub(super) addresses: Vec<IpAddr>,
    /// Seconds for which they hold.
    pub(super) ttl: u32,
}

impl Resolver {
    /// Reads the file anew each time: it is small, and may change.
    pub(super) fn new(spec: &DnsResolverSpec) -> Result<Self, String> {
        let resolver = match spec {
            DnsResolverSpec::Servers { servers, search, ndots, timeout } => Self {
                servers: servers.clone(),
                search: search.iter().map(ToString::to_string).collect(),
                ndots: *ndots as usize,
                timeout: *timeout,
            },
            DnsResolverSpec::File { path, port } => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
                Self::parse(&text, *port)
            }
        };
        if resolver.servers.is_empty() { Err("there is no name server".to_owned()) } else { Ok(resolver) }
    }

    /// A file like `/etc/resolv.conf`.
    fn parse(text: &str, port: u16) -> Self {
        let mut found = Self { servers: vec![], search: vec![], ndots: 1, timeout: Duration::from_secs(5) };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A scope (`fe80::1%eth0`) is none of an address.
                    let address = words.next().and_then(|word| word.parse().ok());
                    found.servers.extend(address.map(|ip| SocketAddr::new(ip, port)));
                }
                Some("domain" | "search") => found.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    for option in words {
                        match option.split_once(':').map(|(key, value)| (key, value.parse::<u64>())) {
                            Some(("ndots", Ok(dots))) => found.ndots = dots.min(15) as usize,
                            Some(("timeout", Ok(seconds))) => {
                                found.timeout = Duration::from_secs(seconds.clamp(1, 30));
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        found.servers.truncate(MOST);
        found.search.truncate(MOST);
        found
    }

    /// The names to try, in order.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let searched = self.search.iter().map(|suffix| format!("{name}.{}", suffix.trim_matches('.')));
        let mut candidates: Vec<_> = searched.collect();
        let place = if dots >= self.ndots { 0 } else { candidates.len() };
        candidates.insert(place, name.to_owned());
        candidates
    }

    /// The addresses of a name. A server that does not answer is followed by the next one; a name
    /// that has none by the next candidate.
    pub(super) async fn resolve(&self, name: &str, family: Family) -> Result<Found, String> {
        let candidates = self.candidates(name);
        let mut reason = String::new();
        for server in &self.servers {
            for candidate in &candidates {
                let asked = tokio::time::timeout(self.timeout, ask(*server, candidate, family)).await;
                match asked {
                    Err(_) => {
                        reason = format!("{server} does not answer within {:?}", self.timeout);
                        break;
                    }
                    Ok(Err(AskError::Socket(error))) => {
                        reason = format!("{server}: {error}");
                        break;
                    }
                    Ok(Err(AskError::Answer(error))) => reason = format!("{server}: {candidate}: {error}"),
                    Ok(Ok(Answer { addresses, ttl, .. })) if !addresses.is_empty() => {
                        return Ok(Found { addresses, ttl });
                    }
                    Ok(Ok(_)) => reason = format!("{server}: {candidate} has no address"),
                }
            }
        }
        Err(reason)
    }
}

#[derive(Debug)]
enum AskError {
    Socket(io::Error),
    Answer(AnswerError),
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// Over UDP, and over TCP what does not fit. The id and the port are random, so that an answer cannot
/// be forged by guessing one of them.
async fn ask(server: SocketAddr, name: &str, family: Family) -> Result<Answer, AskError> {
    let id = fastrand::u16(..);
    let query = dns::query(id, name, family)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is no name"))?;
    let local: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0)).await?;
    // Only the server's datagrams are received from now on.
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut datagram = [0; DATAGRAM];
    loop {
        let length = socket.recv(&mut datagram).await?;
        match dns::answer(&datagram[..length], id, name, family) {
            Err(AnswerError::NotOurs) => {}
            Ok(answer) if answer.truncated => return ask_at_length(server, id, &query, name, family).await,
            answer => return answer.map_err(AskError::Answer),
        }
    }
}

async fn ask_at_length(
    server: SocketAddr,
    id: u16,
    query: &[u8],
    name: &str,
    family: Family,
) -> Result<Answer, AskError> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = (query.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    dns::answer(&message, id, name, family).map_err(AskError::Answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_whom_to_ask_and_how() {
        let found = Resolver::parse(
            "# a comment\nnameserver 10.0.0.1\nnameserver ::1 ; second\nnameserver x\ndomain a.b\n\
             search c.d e.f\noptions ndots:99 timeout:0 rotate attempts:3\n",
            54,
        );
        let expected = Resolver {
            servers: vec!["10.0.0.1:54".parse().expect("an address"), "[::1]:54".parse().expect("one")],
            search: vec!["c.d".into(), "e.f".into()],
            ndots: 15,
            timeout: Duration::from_secs(1),
        };
        assert_eq!(found, expected);
        let bare = Resolver::parse("", 53);
        assert_eq!((bare.ndots, bare.timeout, bare.servers.len()), (1, Duration::from_secs(5), 0));
    }

    #[test]
    fn names_with_enough_dots_are_tried_as_they_are_first() {
        let resolver = Resolver {
            servers: vec![],
            search: vec!["x.".into(), "y".into()],
            ndots: 2,
            timeout: Duration::ZERO,
        };
        assert_eq!(resolver.candidates("a.b"), ["a.b.x", "a.b.y", "a.b"]);
        assert_eq!(resolver.candidates("a.b.c"), ["a.b.c", "a.b.c.x", "a.b.c.y"]);
        assert_eq!(resolver.candidates("a."), ["a."]);
    }

    /// The bytes that follow the question of a query.
    const OPT: usize = 11;

    /// An answer of one address to this query; over UDP cut off if `truncated`.
    fn reply(query: &[u8], address: [u8; 4], truncated: bool) -> Vec<u8> {
        let mut reply = query[..query.len() - OPT].to_vec();
        reply[2] = if truncated { 0x83 } else { 0x81 };
        reply[3] = 0x80;
        reply[7] = u8::from(!truncated);
        reply[11] = 0;
        if !truncated {
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            reply.extend_from_slice(&address);
        }
        reply
    }

    fn asking(servers: &[SocketAddr]) -> Resolver {
        Resolver { servers: servers.to_vec(), search: vec![], ndots: 0, timeout: Duration::from_millis(500) }
    }

    #[tokio::test]
    async fn a_server_that_is_silent_is_followed_by_the_next_and_forged_answers_are_passed_over() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let resolver = asking(&[silent.local_addr().expect("one"), server.local_addr().expect("one")]);
        tokio::spawn(async move {
            let mut query = [0; 512];
            let (length, from) = server.recv_from(&mut query).await.expect("a query");
            let mut forged = reply(&query[..length], [6, 6, 6, 6], false);
            forged[0] ^= 1;
            server.send_to(&forged, from).await.expect("a socket");
            let reply = reply(&query[..length], [10, 0, 0, 7], false);
            server.send_to(&reply, from).await.expect("a socket");
        });
        let found = resolver.resolve("a.b", Family::V4).await.expect("an answer");
        assert_eq!(found, Found { addresses: vec![[10, 0, 0, 7].into()], ttl: 60 });
    }

    #[tokio::test]
    async fn what_does_not_fit_a_datagram_comes_over_tcp() {
        let long = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = long.local_addr().expect("an address");
        let short = UdpSocket::bind(address).await.expect("the same port");
        tokio::spawn(async move {
            let mut query = [0; 512];
            let (length, from) = short.recv_from(&mut query).await.expect("a query");
            short.send_to(&reply(&query[..length], [0; 4], true), from).await.expect("a socket");
            let (mut stream, _) = long.accept().await.expect("a connection");
            let length = stream.read_u16().await.expect("a length");
            let mut query = vec![0; length.into()];
            stream.read_exact(&mut query).await.expect("a query");
            let reply = reply(&query, [10, 0, 0, 8], false);
            stream.write_u16(reply.len() as u16).await.expect("a socket");
            stream.write_all(&reply).await.expect("a socket");
        });
        let found = asking(&[address]).resolve("a.b", Family::V4).await.expect("an answer");
        assert_eq!(found.addresses, [IpAddr::from([10, 0, 0, 8])]);
    }

    #[tokio::test]
    async fn nobody_to_ask_is_an_error() {
        let file = DnsResolverSpec::File { path: "/nowhere/resolv.conf".into(), port: 53 };
        assert!(Resolver::new(&file).expect_err("no file").contains("cannot be read"));
        let closed = UdpSocket::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        assert!(asking(&[closed]).resolve("a.b", Family::V4).await.is_err());
        assert!(asking(&[closed]).resolve("a..b", Family::V4).await.is_err());
    }
}
