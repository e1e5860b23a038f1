//! An HTTP/1 server whose replies are written by hand.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
    sync::Arc,
    thread,
};

use crate::{Fields, Head, Seen, SeenLog, Wire};

/// A server with a thread for each connection. Its port is taken for as long as the tests run.
#[derive(Clone, Debug)]
pub struct Origin {
    address: String,
    log: Arc<SeenLog>,
}

/// A request that waits for its reply.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Its head.
    pub head: Head,
    /// The connection, for whatever is not said with the functions here.
    pub wire: &'a mut Wire,
    /// Which connection of the origin it is, from 0.
    pub connection: usize,
    log: &'a SeenLog,
    seen: bool,
}

impl Origin {
    /// Serves each request with `serve`; an error ends the connection, whatever it is.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn new(serve: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let accepted =
            std::iter::from_fn(move || listener.accept().ok().map(|(stream, _)| Wire::tcp(stream)));
        Self::serving(address, accepted, serve)
    }

    /// The same at this address; `None` if it is taken.
    #[must_use]
    pub fn at(
        address: &str,
        serve: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        let address = listener.local_addr().ok()?.to_string();
        let accepted =
            std::iter::from_fn(move || listener.accept().ok().map(|(stream, _)| Wire::tcp(stream)));
        Some(Self::serving(address, accepted, serve))
    }

    /// The same on a unix socket.
    ///
    /// # Panics
    /// When it cannot be bound.
    #[must_use]
    pub fn unix(
        path: &Path,
        serve: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        let address = format!("unix:{}", path.display());
        let accepted =
            std::iter::from_fn(move || listener.accept().ok().map(|(stream, _)| Wire::unix(stream)));
        Self::serving(address, accepted, serve)
    }

    /// Answers every request, once its head has come, with these bytes, and closes if `close`.
    #[must_use]
    pub fn scripted(reply: impl AsRef<[u8]> + Send + Sync + 'static, close: bool) -> Self {
        Self::new(move |exchange| {
            exchange.read()?;
            exchange.wire.send(&reply)?;
            if close { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
        })
    }

    /// Answers every request with 200 and this body.
    #[must_use]
    pub fn saying(body: &str) -> Self {
        Self::scripted(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()), false)
    }

    fn serving(
        address: String,
        accepted: impl Iterator<Item = Wire> + Send + 'static,
        serve: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let log = Arc::new(SeenLog::default());
        let origin = Self { address, log: Arc::clone(&log) };
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for mut wire in accepted {
                let (log, serve) = (Arc::clone(&log), Arc::clone(&serve));
                let connection = log.connection();
                thread::spawn(move || {
                    while let Ok(Some(head)) = wire.head() {
                        let mut exchange =
                            Exchange { head, wire: &mut wire, connection, log: &log, seen: false };
                        let served = serve(&mut exchange);
                        exchange.record(Vec::new(), Fields::default(), false);
                        if served.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        origin
    }

    /// Its address, as a host of a cluster has it.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// What came.
    #[must_use]
    pub fn log(&self) -> &SeenLog {
        &self.log
    }
}

impl Exchange<'_> {
    /// Reads the body, and notes the request in the origin's log.
    ///
    /// # Errors
    /// When it is cut short.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        let trailers = self.wire.request_body(&self.head, &mut body);
        self.record(body.clone(), trailers.as_ref().cloned().unwrap_or_default(), trailers.is_ok());
        trailers.map(|_| body)
    }

    /// Notes the request in the origin's log, as one that was read to its end.
    pub fn note(&mut self, body: Vec<u8>, trailers: Fields) {
        self.record(body, trailers, true);
    }

    fn record(&mut self, body: Vec<u8>, trailers: Fields, whole: bool) {
        if std::mem::replace(&mut self.seen, true) {
            return;
        }
        self.log.push(Seen {
            connection: self.connection,
            method: self.head.method().into(),
            path: self.head.target().into(),
            authority: self.head.fields.get("host").unwrap_or_default().into(),
            fields: self.head.fields.clone(),
            body,
            trailers,
            whole,
        });
    }

    /// Answers with a status, fields and a body of known length.
    ///
    /// # Errors
    /// When the proxy is gone.
    pub fn reply(&mut self, status: u16, fields: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
        let mut out = format!("HTTP/1.1 {status} Said\r\n");
        for (name, value) in fields {
            out += &format!("{name}: {value}\r\n");
        }
        if !matches!(status, 204 | 304) {
            out += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut out = (out + "\r\n").into_bytes();
        if self.head.method() != "HEAD" {
            out.extend_from_slice(body);
        }
        self.wire.send(out)
    }
}
