//! One thread of the generator.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    connection::{Connection, State},
    plan::Plan,
    schedule::{Schedule, nanos},
    tally::Tally,
};
use crate::{
    poll::{Interest, Poller, Ready},
    socket::{Got, READ_BUFFER, read},
};

/// How often time limits are looked at and lost connections are opened again.
const SWEEP: Duration = Duration::from_millis(100);

/// What a thread tells while it runs.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) replies: AtomicU64,
    pub(crate) errors: AtomicU64,
}

/// Sends over its connections until the run ends and every reply is there or given up.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) target: SocketAddr,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) progress: &'a Progress,
    /// End now.
    pub(crate) stop: &'a AtomicBool,
    /// The numbers of its requests start here.
    pub(crate) tag: u32,
}

impl Worker<'_> {
    pub(crate) fn run(self, streams: Vec<TcpStream>, start: Instant) -> io::Result<Tally> {
        let mut poller = Poller::new()?;
        let mut connections = Vec::with_capacity(streams.len());
        for (token, stream) in streams.into_iter().enumerate() {
            poller.add(&stream, token as u64, Interest::READ)?;
            connections.push(Connection::new(self.plan, token as u64, stream));
        }
        let clock = Clock { start };
        // A start in the future lets all threads begin together.
        while Instant::now() < start {
            poller.wait(Some(start))?;
        }
        Run {
            dirty: (0..connections.len()).collect(),
            is_dirty: vec![true; connections.len()],
            poller,
            connections,
            clock,
            tally: Tally::new(self.plan.window),
            buffer: vec![0; READ_BUFFER].into(),
            next_sweep: 0,
            worker: self,
        }
        .finish()
    }
}

/// Nanoseconds from the start of the run.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
}

impl Clock {
    fn now(self) -> u64 {
        nanos(self.start.elapsed())
    }

    fn at(self, time: u64) -> Instant {
        self.start + Duration::from_nanos(time)
    }
}

struct Run<'a> {
    worker: Worker<'a>,
    poller: Poller,
    connections: Vec<Connection>,
    clock: Clock,
    tally: Tally,
    buffer: Box<[u8]>,
    /// Connections that may have something to send, each once.
    dirty: Vec<usize>,
    is_dirty: Vec<bool>,
    next_sweep: u64,
}

impl Run<'_> {
    fn finish(mut self) -> io::Result<Tally> {
        let window = self.worker.plan.window;
        // What is due before the end goes out even if this thread is late.
        let mut last_call = self.worker.schedule.is_some();
        loop {
            let now = self.clock.now();
            self.release(now.min(window.to - 1));
            self.send(now < window.to || last_call);
            last_call &= now < window.to;
            if now >= self.next_sweep {
                self.sweep(now);
            }
            if now >= window.to && self.connections.iter().all(|connection| connection.in_flight() == 0) {
                break;
            }
            if self.worker.stop.load(Ordering::Relaxed) {
                // What is in flight is not waited for.
                self.tally.window.to = self.tally.window.to.min(now);
                break;
            }
            let mut wake = self.next_sweep;
            if now < window.to {
                let due = self.worker.schedule.map_or(u64::MAX, |schedule| schedule.next_at());
                wake = wake.min(window.to).min(due);
            }
            self.poller.wait(Some(self.clock.at(wake)))?;
            for at in 0..self.poller.count() {
                if let Some(ready) = self.poller.ready(at) {
                    self.advance(ready);
                }
            }
        }
        if let Some(schedule) = &self.worker.schedule {
            for connection in &self.connections {
                connection.count_unsent(schedule, &mut self.tally);
            }
        }
        Ok(self.tally)
    }

    fn mark(&mut self, at: usize) {
        if !std::mem::replace(&mut self.is_dirty[at], true) {
            self.dirty.push(at);
        }
    }

    /// Hands the requests that are due to their connections.
    fn release(&mut self, now: u64) {
        while let Some(at) = self.worker.schedule.as_mut().and_then(|schedule| schedule.take(now)) {
            self.connections[at].due += 1;
            self.mark(at);
        }
    }

    fn send(&mut self, may_start: bool) {
        while let Some(at) = self.dirty.pop() {
            self.is_dirty[at] = false;
            let now = self.clock.now();
            let connection = &mut self.connections[at];
            let Worker { plan, schedule, tag, .. } = &mut self.worker;
            let sent = connection.send(plan, schedule.as_ref(), &mut self.tally, now, may_start, tag);
            if sent.and_then(|()| connection.watch(&self.poller)).is_err() {
                self.tally.errors.closed += connection.lose().max(1);
            }
        }
        let Progress { replies, errors } = self.worker.progress;
        replies.store(self.tally.replies, Ordering::Relaxed);
        errors.store(self.tally.errors.total(), Ordering::Relaxed);
    }

    fn advance(&mut self, ready: Ready) {
        let at = ready.token as usize;
        let Some(connection) = self.connections.get_mut(at) else { return };
        if let State::Opening(_) = connection.state {
            if connection.opened().is_err() {
                self.tally.errors.connect += 1;
                return;
            }
        } else if ready.read
            && let Some(stream) = connection.stream()
        {
            let alive = match read(stream, &mut self.buffer) {
                Got::Bytes(len) => {
                    self.tally.bytes_received += len as u64;
                    let now = self.clock.now();
                    connection.take_in(self.worker.plan, &mut self.tally, &self.buffer[..len], now)
                }
                Got::Nothing => true,
                Got::End => false,
            };
            if !alive {
                let lost = connection.lose();
                // A target that closes while nothing is in flight does no harm.
                self.tally.errors.closed += lost;
            } else if matches!(connection.state, State::Draining(_)) && connection.in_flight() == 0 {
                connection.lose();
            }
        }
        self.mark(at);
    }

    /// Gives up on requests that take too long, and opens lost connections again.
    fn sweep(&mut self, now: u64) {
        self.next_sweep = now + nanos(SWEEP);
        let too_old = now.saturating_sub(self.worker.plan.timeout);
        for at in 0..self.connections.len() {
            let connection = &mut self.connections[at];
            let expired = connection.expire(too_old);
            if expired > 0 {
                self.tally.errors.timeout += expired;
                self.mark(at);
            }
            if matches!(self.connections[at].state, State::Lost) && now < self.worker.plan.window.to {
                let opening = connect(self.worker.target);
                let opened = opening.and_then(|stream| self.connections[at].reopen(&self.poller, stream));
                if opened.is_err() {
                    self.connections[at].lose();
                    self.tally.errors.connect += 1;
                }
            }
        }
    }
}

/// A socket that is being connected.
fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&target.into()) {
        Ok(()) => {}
        // EINPROGRESS
        Err(error) if error.raw_os_error() == Some(115) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}
