//! What streams say: heads at once, bodies as far as the windows and the output have room.

use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use mosn_codec::http2::{
    ErrorCode, MAX_FRAME, MAX_STREAM, Reply, write_data, write_request, write_response, write_trailers,
};
use mosn_core::{Failure, Frame, RequestHead};

use super::{
    connection::{Connection, Side},
    stream::Ending,
};

impl Connection {
    /// Sends a reply's head, or an interim one.
    pub(super) fn send_reply(&mut self, key: usize, reply: Reply<'_>, end: bool) -> Result<(), Failure> {
        let stream = &mut self.streams[key];
        if let Some(why) = stream.reset {
            return Err(why);
        }
        write_response(self.output.buffer(), &mut self.encoder, stream.id, reply, end);
        if end {
            stream.outgoing.closed = true;
            self.everything_sent(key);
        }
        self.said();
        Ok(())
    }

    /// Opens a stream with a request's head, or has it wait until the peer has room for it. If it has
    /// to wait, `keep` = the head is copied, not taken.
    pub(super) fn send_request(
        &mut self,
        key: usize,
        head: &mut RequestHead,
        keep: bool,
        end: bool,
    ) -> Result<(), Failure> {
        let Side::Client(client) = &mut self.side else { return Err(Failure::LocalReset) };
        // Nothing was sent: the connection had gone, and another will do.
        if self.over.is_some() || client.gone_away || client.next > MAX_STREAM {
            return Err(Failure::UpstreamRefused);
        }
        if self.may_open() {
            self.open(key, head, end);
            return Ok(());
        }
        let head = if keep {
            head.clone()
        } else {
            RequestHead {
                method: head.method.clone(),
                authority: head.authority.clone(),
                path: head.path.clone(),
                headers: std::mem::take(&mut head.headers),
                upgrade: head.upgrade.clone(),
                ..*head
            }
        };
        let outgoing = &mut self.streams[key].outgoing;
        outgoing.unopened = Some(Box::new(head));
        outgoing.end = end.then_some(Ending::Plain);
        if let Side::Client(client) = &mut self.side {
            client.waiting.push_back(key);
        }
        Ok(())
    }

    fn may_open(&self) -> bool {
        let Side::Client(client) = &self.side else { return false };
        client.next <= MAX_STREAM && client.waiting.is_empty() && self.open_streams() < self.peer.max_streams
    }

    fn open(&mut self, key: usize, head: &RequestHead, end: bool) {
        let Side::Client(client) = &mut self.side else { return };
        let id = client.next;
        client.next += 2;
        let stream = &mut self.streams[key];
        stream.id = id;
        stream.outgoing.window = self.peer.initial_window;
        stream.outgoing.closed = end;
        write_request(self.output.buffer(), &mut self.encoder, id, head, end);
        self.opened(id, key);
        self.said();
    }

    /// Opens streams that have waited, as many as the peer has room for.
    pub(super) fn open_waiting(&mut self) {
        loop {
            let room = self.open_streams() < self.peer.max_streams;
            let Side::Client(client) = &mut self.side else { return };
            if !room || client.next > MAX_STREAM {
                return;
            }
            let Some(key) = client.waiting.pop_front() else { return };
            let Some(head) = self.streams.get_mut(key).and_then(|stream| stream.outgoing.unopened.take())
            else {
                continue;
            };
            let outgoing = &mut self.streams[key].outgoing;
            let end = outgoing.data.is_empty() && matches!(outgoing.end, Some(Ending::Plain));
            if end {
                outgoing.end = None;
            }
            self.open(key, &head, end);
            self.pump(key, usize::MAX);
            self.streams[key].wake();
        }
    }

    /// Sends a frame, or keeps what there is no room for.
    pub(super) fn send_frame(&mut self, key: usize, frame: Frame) -> Result<(), Failure> {
        let stream = &mut self.streams[key];
        if let Some(why) = stream.reset {
            return Err(why);
        }
        let outgoing = &mut stream.outgoing;
        if outgoing.closed || outgoing.end.is_some() {
            return Ok(());
        }
        match frame {
            Frame::Data { data, end } => {
                if data.is_empty() && !end {
                    return Ok(());
                }
                let length = data.len() as i64;
                let fits = length <= outgoing.window.min(self.send_window)
                    && data.len() <= self.output.room().min(MAX_FRAME);
                if stream.id != 0 && outgoing.data.is_empty() && fits {
                    // Nothing is kept, as mostly.
                    outgoing.window -= length;
                    self.send_window -= length;
                    outgoing.closed = end;
                    write_data(self.output.buffer(), stream.id, &data, end);
                    self.said();
                    if end {
                        self.everything_sent(key);
                    }
                    return Ok(());
                }
                if !data.is_empty() {
                    outgoing.data.push(data);
                }
                outgoing.end = end.then_some(Ending::Plain);
            }
            Frame::Trailers(trailers) => outgoing.end = Some(Ending::Trailers(trailers)),
        }
        self.pump(key, usize::MAX);
        Ok(())
    }

    /// Sends what a stream has kept, at most `limit` bytes of it; whether anything was sent. If more is
    /// left for which the stream has room, it gets in line.
    pub(super) fn pump(&mut self, key: usize, mut limit: usize) -> bool {
        let mut sent = false;
        while let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.id != 0) {
            let (id, outgoing) = (stream.id, &mut stream.outgoing);
            let Some(first) = outgoing.data.first_mut() else {
                if let Some(end) = outgoing.end.take() {
                    let out = self.output.buffer();
                    match end {
                        Ending::Plain => write_data(out, id, &[], true),
                        Ending::Trailers(trailers) => write_trailers(out, &mut self.encoder, id, &trailers),
                    }
                    outgoing.closed = true;
                    sent = true;
                    self.everything_sent(key);
                }
                break;
            };
            let window = outgoing.window.min(self.send_window).max(0) as usize;
            let length = first.len().min(window).min(self.output.room()).min(MAX_FRAME).min(limit);
            if length == 0 {
                if outgoing.window > 0 {
                    self.get_in_line(key);
                }
                break;
            }
            let rest = first.len() - length;
            let piece = if rest == 0 { outgoing.data.pop() } else { Some(first.slice(..length)) };
            if rest > 0
                && let Some(first) = outgoing.data.first_mut()
            {
                first.advance(length);
            }
            let last = outgoing.data.is_empty() && matches!(outgoing.end, Some(Ending::Plain));
            write_data(self.output.buffer(), id, &piece.unwrap_or_else(Bytes::new), last);
            outgoing.window -= length as i64;
            self.send_window -= length as i64;
            limit -= length;
            sent = true;
            if last {
                outgoing.end = None;
                outgoing.closed = true;
                self.everything_sent(key);
                break;
            }
            if outgoing.data.is_empty() {
                stream.wake();
            }
        }
        if sent {
            self.said();
        }
        sent
    }

    fn get_in_line(&mut self, key: usize) {
        if !std::mem::replace(&mut self.streams[key].in_line, true) {
            self.line.push_back(key);
        }
    }

    /// Lets those in line go on, one frame each in turn, as long as there is room. Whether anything was
    /// sent.
    pub(super) fn let_in(&mut self) -> bool {
        let mut sent = false;
        while self.send_window > 0 && self.output.room() > 0 {
            let Some(key) = self.line.pop_front() else { break };
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if !std::mem::take(&mut stream.in_line) {
                continue;
            }
            if stream.outgoing.data.is_empty() {
                stream.wake();
            } else {
                sent |= self.pump(key, MAX_FRAME);
            }
        }
        sent
    }

    /// Our last frame on a stream has been sent.
    fn everything_sent(&mut self, key: usize) {
        let stream = &self.streams[key];
        stream.wake();
        if stream.outgoing.stops_peer && !stream.incoming.closed {
            self.reset(key, ErrorCode::NO_ERROR, Failure::ClientGone);
        } else {
            self.close_if_over(key);
        }
    }

    /// Ready when another frame may be sent.
    pub(super) fn poll_ready(&mut self, key: usize, cx: &Context<'_>) -> Poll<Result<(), Failure>> {
        let room = self.send_window > 0 && self.output.room() > 0;
        let stream = &mut self.streams[key];
        if let Some(why) = stream.reset {
            return Poll::Ready(Err(why));
        }
        let outgoing = &stream.outgoing;
        let ready = outgoing.closed
            || outgoing.end.is_some()
            || (outgoing.data.is_empty() && (stream.id == 0 || (outgoing.window > 0 && room)));
        if ready {
            return Poll::Ready(Ok(()));
        }
        let waits_for_room = outgoing.data.is_empty() && outgoing.window > 0;
        stream.wait(cx);
        if waits_for_room {
            self.get_in_line(key);
        }
        Poll::Pending
    }

    /// Ready when everything that was said on the stream has been sent.
    pub(super) fn poll_sent(&mut self, key: usize, cx: &Context<'_>) -> Poll<Result<(), Failure>> {
        let stream = &mut self.streams[key];
        if let Some(why) = stream.reset {
            return Poll::Ready(Err(why));
        }
        if stream.outgoing.is_pending() {
            stream.wait(cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// The request that used a stream is over.
    pub(super) fn release(&mut self, key: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.used = false;
        let unused = stream.incoming.discard();
        let (replied, pending) =
            (stream.outgoing.closed || stream.outgoing.end.is_some(), stream.outgoing.is_pending());
        let (over, id) = (stream.is_over() || self.over.is_some(), stream.id);
        if over || id == 0 {
            self.remove(key);
        } else if matches!(self.side, Side::Client(_)) || !replied {
            self.reset(key, ErrorCode::CANCEL, Failure::ClientGone);
        } else if !self.streams[key].incoming.closed {
            // The client has its reply, and need not go on (RFC 9113 8.1).
            if pending {
                self.streams[key].outgoing.stops_peer = true;
            } else {
                self.reset(key, ErrorCode::NO_ERROR, Failure::ClientGone);
            }
        }
        self.give_back(None, unused);
    }
}
