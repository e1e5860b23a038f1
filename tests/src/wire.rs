//! HTTP/1 byte by byte, for either side.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use crate::{Fields, PATIENCE, Reply, Request};

/// A connection that sends the bytes it is given and reads strictly.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A message's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Request line or status line.
    pub start: String,
    /// Its fields, spelled as they came.
    pub fields: Fields,
}

impl Head {
    fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }

    /// Of a request.
    #[must_use]
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// The request target.
    #[must_use]
    pub fn target(&self) -> &str {
        self.word(1)
    }

    /// Of a reply; 0 if it is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    fn is_chunked(&self) -> bool {
        self.fields.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }

    fn length(&self) -> Option<usize> {
        self.fields.get("content-length")?.parse().ok()
    }
}

impl Wire {
    /// Connects over TCP.
    ///
    /// # Panics
    /// When nobody accepts.
    #[must_use]
    #[track_caller]
    pub fn connect(address: impl ToSocketAddrs + std::fmt::Debug) -> Self {
        match TcpStream::connect(&address) {
            Ok(stream) => Self::tcp(stream),
            Err(error) => panic!("cannot connect to {address:?}: {error}"),
        }
    }

    /// Connects to a unix socket.
    ///
    /// # Panics
    /// When nobody accepts.
    #[must_use]
    #[track_caller]
    pub fn connect_unix(path: &Path) -> Self {
        match UnixStream::connect(path) {
            Ok(stream) => Self::unix(stream),
            Err(error) => panic!("cannot connect to {}: {error}", path.display()),
        }
    }

    /// On an open connection.
    #[must_use]
    pub fn tcp(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        Self::new(Socket::Tcp(stream))
    }

    /// On an open connection.
    #[must_use]
    pub fn unix(stream: UnixStream) -> Self {
        Self::new(Socket::Unix(stream))
    }

    fn new(socket: Socket) -> Self {
        let wire = Self { socket, buffer: Vec::new() };
        wire.patience(PATIENCE);
        wire
    }

    /// How long reading and writing may block from now on.
    pub fn patience(&self, patience: Duration) {
        let set = match &self.socket {
            Socket::Tcp(stream) => stream
                .set_read_timeout(Some(patience))
                .and_then(|()| stream.set_write_timeout(Some(patience))),
            Socket::Unix(stream) => stream
                .set_read_timeout(Some(patience))
                .and_then(|()| stream.set_write_timeout(Some(patience))),
        };
        set.expect("a socket option");
    }

    /// A second handle to the same connection, with nothing read yet.
    #[must_use]
    pub fn twin(&self) -> Self {
        let socket = match &self.socket {
            Socket::Tcp(stream) => stream.try_clone().map(Socket::Tcp),
            Socket::Unix(stream) => stream.try_clone().map(Socket::Unix),
        };
        Self { socket: socket.expect("another descriptor"), buffer: Vec::new() }
    }

    /// The port at this end.
    #[must_use]
    pub fn local_port(&self) -> u16 {
        match &self.socket {
            Socket::Tcp(stream) => stream.local_addr().map_or(0, |address| address.port()),
            Socket::Unix(_) => 0,
        }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the other side is gone, or takes nothing for too long.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.write_all(bytes.as_ref())
    }

    /// Ends this side; the other one may go on.
    pub fn finish(&self) {
        // A connection that is gone is finished.
        let _ = match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Closes with a reset instead of an orderly end.
    pub fn reset(self) {
        if let Socket::Tcp(stream) = &self.socket {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a socket option");
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn request(&mut self, request: &Request) -> io::Result<()> {
        let mut out =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.path, request.authority);
        for (name, value) in &request.fields.0 {
            out += &format!("{name}: {value}\r\n");
        }
        let Some(body) = &request.body else {
            return self.send(out + "\r\n");
        };
        if request.known_length {
            out += &format!("Content-Length: {}\r\n\r\n", body.len());
            self.send(out)?;
            return self.send(body);
        }
        self.send(out + "Transfer-Encoding: chunked\r\n\r\n")?;
        for chunk in body.chunks(10_000) {
            self.chunk(chunk)?;
        }
        self.last_chunk(&request.trailers)
    }

    /// Sends a chunk.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn chunk(&mut self, data: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\r\n");
        self.send(chunk)
    }

    /// Ends a chunked body.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn last_chunk(&mut self, trailers: &Fields) -> io::Result<()> {
        let mut end = String::from("0\r\n");
        for (name, value) in &trailers.0 {
            end += &format!("{name}: {value}\r\n");
        }
        self.send(end + "\r\n")
    }

    /// The next head; `None` at the end of the connection.
    ///
    /// # Errors
    /// When it is cut short or no head.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        if self.buffer.is_empty() && self.more()? == 0 {
            return Ok(None);
        }
        let start = self.line()?;
        let fields = self.fields()?;
        Ok(Some(Head { start, fields }))
    }

    /// The body of a request with this head, and its trailers.
    ///
    /// # Errors
    /// When it is cut short; what came of it is in `body`.
    pub fn request_body(&mut self, head: &Head, body: &mut Vec<u8>) -> io::Result<Fields> {
        if head.is_chunked() {
            return self.chunks(body);
        }
        self.counted(head.length().unwrap_or(0), body)?;
        Ok(Fields::default())
    }

    /// A final reply with the interim ones before it. `method` is that of the request.
    ///
    /// # Errors
    /// When it is cut short; what came of it is in `reply`.
    pub fn reply(&mut self, method: &str, reply: &mut Reply) -> io::Result<()> {
        let head = loop {
            let head = self.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match head.status() {
                0 => return Err(io::Error::other(format!("no status line: {:?}", head.start))),
                101 | 200.. => break head,
                interim => reply.interim.push((interim, head.fields)),
            }
        };
        reply.status = head.status();
        reply.fields = head.fields.clone();
        if method == "HEAD" || matches!(reply.status, 101 | 204 | 304) {
            return Ok(());
        }
        if head.is_chunked() {
            reply.trailers = self.chunks(&mut reply.body)?;
        } else if let Some(length) = head.length() {
            self.counted(length, &mut reply.body)?;
        } else {
            reply.body = self.rest()?;
        }
        Ok(())
    }

    /// Everything until the other side ends the connection.
    ///
    /// # Errors
    /// When it is reset, or the other side stays silent for too long.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Whether the other side has ended the connection, in order or not, having sent no more.
    ///
    /// # Panics
    /// When it sends something, or keeps the connection for too long.
    #[track_caller]
    pub fn closes(&mut self) {
        match self.rest() {
            Ok(rest) => assert!(rest.is_empty(), "unexpected {:?}", String::from_utf8_lossy(&rest)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
        }
    }

    /// At most `length` bytes that are there or come first.
    ///
    /// # Errors
    /// When the connection ends or stays silent.
    pub fn some(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() && self.more()? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = length.min(self.buffer.len());
        Ok(self.buffer.drain(..length).collect())
    }

    /// Exactly `length` bytes.
    ///
    /// # Errors
    /// When the connection ends before, or stays silent.
    pub fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut taken = Vec::new();
        self.counted(length, &mut taken)?;
        Ok(taken)
    }

    /// A line without its end.
    ///
    /// # Errors
    /// When the connection ends before, or the line has no proper end.
    pub fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            if self.more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        let line = line.strip_suffix(b"\r\n").ok_or_else(|| io::Error::other("a line without CR"))?;
        Ok(line.iter().map(|byte| char::from(*byte)).collect())
    }

    fn fields(&mut self) -> io::Result<Fields> {
        let mut fields = Fields::default();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| io::Error::other(format!("no field: {line:?}")))?;
            fields.push(name, value.trim());
        }
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<Fields> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| io::Error::other(format!("no chunk size: {line:?}")))?;
            if size == 0 {
                return self.fields();
            }
            self.counted(size, body)?;
            if self.take(2)? != b"\r\n" {
                return Err(io::Error::other("a chunk without its end"));
            }
        }
    }

    fn counted(&mut self, length: usize, body: &mut Vec<u8>) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let some = self.some(left)?;
            left -= some.len();
            body.extend_from_slice(&some);
        }
        Ok(())
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut piece = [0; 64 * 1024];
        let read = match &mut self.socket {
            Socket::Tcp(stream) => stream.read(&mut piece),
            Socket::Unix(stream) => stream.read(&mut piece),
        }?;
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(read)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A frame of HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Its type: 0 DATA, 1 HEADERS, 3 RST_STREAM, 4 SETTINGS, 6 PING, 7 GOAWAY, 8 WINDOW_UPDATE.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// What a client of HTTP/2 sends first: the preface, and empty settings.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

impl RawFrame {
    /// A frame.
    #[must_use]
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// `GET /` for the host `test`, which ends its stream.
    #[must_use]
    pub fn get(stream: u32) -> Self {
        Self::new(1, 5, stream, *b"\x82\x86\x84\x41\x04test")
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = (self.payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

impl Wire {
    /// The next frame of HTTP/2.
    ///
    /// # Errors
    /// When the connection ends before, or stays silent.
    pub fn frame(&mut self) -> io::Result<RawFrame> {
        let head = self.take(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Ok(RawFrame { kind: head[3], flags: head[4], stream, payload: self.take(length)? })
    }

    /// The next frame of this type on this stream; others are passed over.
    ///
    /// # Errors
    /// When the connection ends before, or stays silent.
    pub fn frame_of(&mut self, kind: u8, stream: u32) -> io::Result<RawFrame> {
        loop {
            let frame = self.frame()?;
            if (frame.kind, frame.stream) == (kind, stream) {
                return Ok(frame);
            }
        }
    }
}
