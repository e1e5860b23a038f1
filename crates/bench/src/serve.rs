//! The echo server.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use mosn_codec::rpc::{FrameKind, FrameView, Side};
use mosn_net::{BoundListener, ListenOn, ListenOptions};
use slab::Slab;

use crate::{
    cli::{RunError, ServeArgs},
    dialect::{self, Dialect},
    poll::{Interest, Poller, Ready},
    socket::{Got, Output, Partial, READ_BUFFER, WRITE_TARGET, read},
};

const LISTENER: u64 = u64::MAX - 1;
/// How long to leave the listener alone when there are no descriptors left, and how often a server
/// that is to stop is looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// Unsent replies of one connection beyond which no more of its requests are read.
const MAX_UNSENT: usize = 4 * WRITE_TARGET;
/// Replies that may wait for their time; a connection that wants more is closed.
const MAX_DELAYED: usize = 1 << 20;

/// How to answer.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) dialect: &'static dyn Dialect,
    /// In place of the argument.
    pub(crate) payload: Option<BytesMut>,
    pub(crate) delay: Duration,
}

/// Serves until the process ends.
pub(crate) fn run(args: &ServeArgs) -> Result<(), RunError> {
    let dialect =
        dialect::by_name(&args.protocol).unwrap_or_else(|| unreachable!("the parser knows the names"));
    let payload = args.body.map(|len| dialect.payload(&vec![b'x'; len]));
    let answers = Answers { dialect, payload, delay: args.delay };
    crate::load::raise_descriptor_limit();

    let shared = args.threads > 1;
    let first = listen(args.listen, shared)?;
    let address = first.local_addr().map_err(RunError::io("cannot read the socket's address"))?;
    let mut listeners = vec![first];
    for _ in 1..args.threads {
        listeners.push(listen(address, shared)?);
    }
    println!("{} echo server listens on {address}", args.protocol);

    let servers: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let answers = answers.clone();
            thread::spawn(move || serve(listener, answers, &Arc::default()))
        })
        .collect();
    for server in servers {
        match server.join() {
            Ok(done) => done.map_err(RunError::io("the server stopped"))?,
            Err(_) => return Err(RunError::Thread("the server".into())),
        }
    }
    Ok(())
}

/// Starts an echo server for `protocol` on a free loopback port and a thread of its own; it lives as long
/// as the process.
///
/// # Errors
/// When there is no such protocol, no port, or no thread.
pub fn echo(protocol: &str) -> io::Result<SocketAddr> {
    let unknown =
        || io::Error::new(io::ErrorKind::InvalidInput, format!("no RPC protocol is called {protocol:?}"));
    let dialect = dialect::by_name(protocol).ok_or_else(unknown)?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let answers = Answers { dialect, payload: None, delay: Duration::ZERO };
    thread::Builder::new().name(format!("echo-{protocol}")).spawn(move || {
        if let Err(error) = serve(listener, answers, &Arc::default()) {
            eprintln!("mosn: the {} echo server stopped: {error}", dialect.protocol().name());
        }
    })?;
    Ok(address)
}

fn listen(address: SocketAddr, shared: bool) -> Result<TcpListener, RunError> {
    match mosn_net::bind(&ListenOn::Tcp(address), ListenOptions { reuse_port: shared, transparent: false })? {
        BoundListener::Tcp(listener) => Ok(listener),
        BoundListener::Unix(_) => unreachable!("a TCP address was asked for"),
    }
}

/// Serves on a nonblocking listener until told to stop.
pub(crate) fn serve(listener: TcpListener, answers: Answers, stop: &AtomicBool) -> io::Result<()> {
    let mut server = Server {
        poller: Poller::new()?,
        listener,
        resting: None,
        answers,
        peers: Slab::new(),
        served: 0,
        delayed: VecDeque::new(),
        buffer: vec![0; READ_BUFFER].into(),
    };
    server.poller.add(&server.listener, LISTENER, Interest::READ)?;
    while !stop.load(Ordering::Relaxed) {
        server.turn()?;
    }
    Ok(())
}

struct Server {
    poller: Poller,
    listener: TcpListener,
    /// Until when no connections are accepted.
    resting: Option<Instant>,
    answers: Answers,
    peers: Slab<Peer>,
    /// Connections so far.
    served: u64,
    /// Replies to come, in order: the delay is the same for all.
    delayed: VecDeque<Delayed>,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    /// Tells it from those that had its place before.
    serial: u64,
    partial: Partial,
    output: Output,
    interest: Interest,
}

#[derive(Debug)]
struct Delayed {
    due: Instant,
    place: usize,
    serial: u64,
    reply: BytesMut,
}

impl Server {
    fn turn(&mut self) -> io::Result<()> {
        let wake = self.delayed.front().map_or_else(|| Instant::now() + PAUSE, |first| first.due);
        self.poller.wait(Some(wake))?;
        for at in 0..self.poller.count() {
            match self.poller.ready(at) {
                Some(Ready { token: LISTENER, .. }) => self.accept()?,
                Some(ready) => self.advance(ready),
                None => {}
            }
        }
        if self.resting.is_some_and(|until| until <= Instant::now()) {
            self.resting = None;
            self.poller.change(&self.listener, LISTENER, Interest::READ)?;
        }
        self.send_delayed();
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if matches!(error.raw_os_error(), Some(23 | 24)) => {
                    // Out of descriptors: those who wait in the queue must wait longer.
                    self.resting = Some(Instant::now() + PAUSE);
                    return self.poller.change(&self.listener, LISTENER, Interest::default());
                }
                Err(_) => return Ok(()),
            };
            stream.set_nonblocking(true)?;
            self.served += 1;
            let entry = self.peers.vacant_entry();
            self.poller.add(&stream, entry.key() as u64, Interest::READ)?;
            entry.insert(Peer {
                stream,
                serial: self.served,
                partial: Partial::default(),
                output: Output::default(),
                interest: Interest::READ,
            });
        }
    }

    fn advance(&mut self, ready: Ready) {
        let place = ready.token as usize;
        let Some(peer) = self.peers.get_mut(place) else { return };
        let mut alive = true;
        if ready.read && peer.output.len() < MAX_UNSENT {
            alive = match read(&mut peer.stream, &mut self.buffer) {
                Got::Bytes(len) => answer(peer, place, &self.answers, &self.buffer[..len], &mut self.delayed),
                Got::Nothing => true,
                Got::End => false,
            };
        }
        self.flush(place, alive);
    }

    /// Writes what there is, and watches for what is next.
    fn flush(&mut self, place: usize, alive: bool) {
        let Some(peer) = self.peers.get_mut(place) else { return };
        if alive && peer.output.flush(&mut peer.stream).is_ok() {
            let interest = Interest { read: peer.output.len() < MAX_UNSENT, write: !peer.output.is_empty() };
            if interest == peer.interest {
                return;
            }
            peer.interest = interest;
            if self.poller.change(&peer.stream, place as u64, interest).is_ok() {
                return;
            }
        }
        self.peers.remove(place);
    }

    fn send_delayed(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.delayed.front()
            && first.due <= now
        {
            let Some(Delayed { place, serial, reply, .. }) = self.delayed.pop_front() else { return };
            let Some(peer) = self.peers.get_mut(place).filter(|peer| peer.serial == serial) else { continue };
            peer.output.bytes.extend_from_slice(&reply);
            // One write for all that this connection gets now.
            if self.delayed.front().is_none_or(|next| next.due > now || next.serial != serial) {
                self.flush(place, true);
            }
        }
    }
}

/// Answers the frames that `bytes` complete; `false` if they are none.
fn answer(
    peer: &mut Peer,
    place: usize,
    answers: &Answers,
    bytes: &[u8],
    delayed: &mut VecDeque<Delayed>,
) -> bool {
    let Peer { partial, output, serial, .. } = peer;
    let due = (!answers.delay.is_zero()).then(|| Instant::now() + answers.delay);
    let protocol = answers.dialect.protocol();
    let done = partial.take_in(protocol, Side::Downstream, bytes, |frame, view| match (view.kind, due) {
        (FrameKind::Request, None) => answers.put(frame, view, &mut output.bytes),
        (FrameKind::Request, Some(due)) => {
            let mut reply = BytesMut::new();
            answers.put(frame, view, &mut reply);
            delayed.push_back(Delayed { due, place, serial: *serial, reply });
        }
        (FrameKind::Heartbeat, _) => {
            protocol.heartbeat_reply(frame, view, &mut output.bytes);
        }
        (FrameKind::OneWay | FrameKind::Response | FrameKind::HeartbeatReply | FrameKind::GoAway, _) => {}
    });
    if delayed.len() > MAX_DELAYED {
        eprintln!("mosn bench: closed a connection: more than {MAX_DELAYED} replies wait for their time");
        return false;
    }
    done.inspect_err(|error| eprintln!("mosn bench: closed a connection: {error}")).is_ok()
}

impl Answers {
    fn put(&self, request: &[u8], view: &FrameView, out: &mut BytesMut) {
        let payload = match &self.payload {
            Some(payload) => payload,
            None => self.dialect.argument(request, view),
        };
        self.dialect.put_reply(request, view, payload, out);
    }
}
