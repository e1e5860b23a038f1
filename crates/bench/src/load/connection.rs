//! One connection of the generator.

use std::{io, net::TcpStream};

use mosn_codec::rpc::{FrameKind, Side};

use super::{
    plan::Plan,
    schedule::Schedule,
    slots::{Slot, Slots},
    tally::Tally,
};
use crate::{
    cli::Expect,
    poll::{Interest, Poller},
    socket::{Output, Partial, WRITE_TARGET},
};

/// A connection, its requests in flight, and how far it is in the schedule.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) state: State,
    token: u64,
    partial: Partial,
    output: Output,
    slots: Slots,
    /// Requests that it should have sent by now (open loop), and those that it sent.
    pub(crate) due: u64,
    started: u64,
    interest: Interest,
}

#[derive(Debug)]
pub(crate) enum State {
    Open(TcpStream),
    /// The target asked for no more requests: the last replies are awaited.
    Draining(TcpStream),
    /// Being opened again.
    Opening(TcpStream),
    /// To be opened again.
    Lost,
}

impl Connection {
    pub(crate) fn new(plan: &Plan, token: u64, stream: TcpStream) -> Self {
        Self {
            state: State::Open(stream),
            token,
            partial: Partial::default(),
            output: Output::default(),
            slots: Slots::new(plan.outstanding, plan.dialect.protocol().id_bits()),
            due: 0,
            started: 0,
            interest: Interest::READ,
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.slots.in_flight()
    }

    pub(crate) fn stream(&mut self) -> Option<&mut TcpStream> {
        match &mut self.state {
            State::Open(stream) | State::Draining(stream) | State::Opening(stream) => Some(stream),
            State::Lost => None,
        }
    }

    /// Handles what was read at `now`; `false` if the connection is of no use any more.
    pub(crate) fn take_in(&mut self, plan: &Plan, tally: &mut Tally, bytes: &[u8], now: u64) -> bool {
        let Self { partial, slots, output, .. } = self;
        let protocol = plan.dialect.protocol();
        let mut goaway = false;
        let done = partial.take_in(protocol, Side::Upstream, bytes, |frame, view| match view.kind {
            FrameKind::Response => match slots.end(view.id) {
                None => tally.errors.unknown_id += 1,
                Some(_) if view.status != plan.dialect.ok_status() => tally.failed(view.status),
                Some(slot) if is_expected(plan, &slot, plan.dialect.result(frame, view)) => {
                    tally.reply(slot.due, now);
                }
                Some(_) => tally.errors.body += 1,
            },
            FrameKind::Heartbeat => {
                protocol.heartbeat_reply(frame, view, &mut output.bytes);
            }
            FrameKind::HeartbeatReply => {}
            FrameKind::GoAway => goaway = true,
            FrameKind::Request | FrameKind::OneWay => tally.errors.malformed += 1,
        });
        if goaway {
            tally.goaways += 1;
            self.state = match std::mem::replace(&mut self.state, State::Lost) {
                State::Open(stream) => State::Draining(stream),
                other => other,
            };
        }
        if done.is_err() {
            tally.errors.malformed += 1;
        }
        done.is_ok()
    }

    /// Sends what there is, new requests if they may be started, all of it in one write where the socket
    /// takes it.
    pub(crate) fn send(
        &mut self,
        plan: &Plan,
        schedule: Option<&Schedule>,
        tally: &mut Tally,
        now: u64,
        may_start: bool,
        tag: &mut u32,
    ) -> io::Result<()> {
        loop {
            if let State::Open(_) = self.state
                && may_start
            {
                self.put_requests(plan, schedule, now, tag);
            }
            let before = self.output.len();
            if before == 0 {
                return Ok(());
            }
            let (State::Open(stream) | State::Draining(stream)) = &mut self.state else { return Ok(()) };
            let written = self.output.flush(stream)?;
            tally.bytes_sent += written as u64;
            if written < before || before < WRITE_TARGET {
                return Ok(());
            }
        }
    }

    fn put_requests(&mut self, plan: &Plan, schedule: Option<&Schedule>, now: u64, tag: &mut u32) {
        while self.output.len() < WRITE_TARGET && self.slots.has_room() {
            let due = match schedule {
                Some(schedule) if self.started < self.due => {
                    schedule.due_on(self.token as usize, self.started)
                }
                Some(_) => return,
                None => now,
            };
            *tag = tag.wrapping_add(1);
            let Some(id) = self.slots.begin(now, due, *tag) else { return };
            self.started += 1;
            plan.put_request(id, *tag, &mut self.output.bytes);
        }
    }

    /// Watches for writability while there is something to write.
    pub(crate) fn watch(&mut self, poller: &Poller) -> io::Result<()> {
        let write = !self.output.is_empty() || matches!(self.state, State::Opening(_));
        let interest = Interest { read: true, write };
        let (token, changed) = (self.token, interest != self.interest);
        match self.stream() {
            Some(stream) if changed => poller.change(&*stream, token, interest)?,
            _ => return Ok(()),
        }
        self.interest = interest;
        Ok(())
    }

    /// Gives the connection up with all that is in flight on it; returns how many requests that is.
    pub(crate) fn lose(&mut self) -> u64 {
        self.state = State::Lost;
        self.partial.clear();
        self.output.clear();
        self.slots.expire(u64::MAX)
    }

    /// Gives up on requests that were sent before this time.
    pub(crate) fn expire(&mut self, sent_before: u64) -> u64 {
        self.slots.expire(sent_before)
    }

    /// Goes on with a new socket, which is not connected yet.
    pub(crate) fn reopen(&mut self, poller: &Poller, stream: TcpStream) -> io::Result<()> {
        self.interest = Interest { read: true, write: true };
        poller.add(&stream, self.token, self.interest)?;
        self.state = State::Opening(stream);
        Ok(())
    }

    /// The socket that was being opened can be written to, or has failed.
    pub(crate) fn opened(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Opening(stream) => {
                if let Some(error) = stream.take_error()? {
                    return Err(error);
                }
                self.state = State::Open(stream);
            }
            other => self.state = other,
        }
        Ok(())
    }

    /// Tells of the requests that were due and are not sent.
    pub(crate) fn count_unsent(&self, schedule: &Schedule, tally: &mut Tally) {
        for number in self.started..self.due {
            tally.unsent(schedule.due_on(self.token as usize, number));
        }
    }
}

fn is_expected(plan: &Plan, slot: &Slot, found: Option<&[u8]>) -> bool {
    match (plan.expect, found) {
        (Expect::Any, _) => true,
        (_, None) => false,
        (Expect::Bytes(_), Some(found)) => found.len() == plan.expected_len,
        (Expect::Echo, Some(found)) => plan.is_echo(slot.tag, found),
    }
}
