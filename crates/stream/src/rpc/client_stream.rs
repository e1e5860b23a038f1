//! One call with a task of its own, on its way to an upstream.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use mosn_codec::rpc::HeaderScope;
use mosn_config::model::PoolMode;
use mosn_core::{Failure, Frame, FrameHeaders, RequestHead, Reset, ResponseHead};

use super::{
    call::{OwnedFrame, frame_of, length},
    upstream::{StreamSlot, Upstream, unwritable},
};
use crate::{ClientStream, Reply};

/// One call on a shared connection.
#[derive(Debug)]
pub struct RpcClientStream {
    upstream: Rc<Upstream>,
    mode: PoolMode,
    reused: bool,
    one_way: bool,
    /// A call whose content is not all here.
    unsent: Option<(Box<FrameHeaders>, Rc<OwnedFrame>, BytesMut)>,
    /// A call that is all here, and for which the upstream has no room yet.
    held_back: Option<(Box<FrameHeaders>, Rc<OwnedFrame>, Bytes)>,
    waits: Option<(u64, Rc<StreamSlot>)>,
    /// How a call ended that was sent before.
    answered: Option<Result<Rc<OwnedFrame>, Failure>>,
}

impl RpcClientStream {
    /// On a connection that is open.
    #[must_use]
    pub(crate) fn new(upstream: Rc<Upstream>, mode: PoolMode) -> Self {
        let reused = upstream.requests() > 0;
        if mode == PoolMode::PingPong {
            upstream.set_lent(true);
        }
        Self {
            upstream,
            mode,
            reused,
            one_way: false,
            unsent: None,
            held_back: None,
            waits: None,
            answered: None,
        }
    }

    /// A call that was sent, and has ended.
    pub(super) fn answered(upstream: Rc<Upstream>, answer: Result<Rc<OwnedFrame>, Failure>) -> Self {
        // Whatever its connection is shared by, nobody has to wait for this call.
        let mut stream = Self::new(upstream, PoolMode::Multiplex);
        stream.answered = Some(answer);
        stream
    }

    /// Sends it as soon as the upstream has room; what needs no reply is not worth waiting.
    fn send_in_time(
        &mut self,
        headers: &FrameHeaders,
        frame: &Rc<OwnedFrame>,
        body: Bytes,
    ) -> Result<(), Reset> {
        if !self.upstream.is_congested() {
            return self.send_call(headers, frame, &body);
        }
        if self.one_way {
            return Err(Reset(Failure::Overflow));
        }
        self.held_back = Some((Box::new(headers.clone()), Rc::clone(frame), body));
        Ok(())
    }

    fn send_call(&mut self, headers: &FrameHeaders, frame: &OwnedFrame, body: &Bytes) -> Result<(), Reset> {
        if !self.upstream.is_open() {
            // Nothing was sent: another connection will do.
            return Err(Reset(Failure::UpstreamRefused));
        }
        if let Some(client) = frame.client.as_ref().filter(|_| self.mode == PoolMode::Binding) {
            self.upstream.bind(client);
        }
        let slot = (!self.one_way).then(Rc::<StreamSlot>::default);
        let sent = self.upstream.send(slot.clone(), |id, out| frame.write(headers, body, id, out));
        let id = sent.map_err(|error| Reset(unwritable(&error)))?;
        self.waits = slot.map(|slot| (id, slot));
        Ok(())
    }
}

impl ClientStream for RpcClientStream {
    fn connection_id(&self) -> u64 {
        self.upstream.facts().connection_id
    }

    fn is_reused(&self) -> bool {
        self.reused
    }

    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
        _keep: bool,
        first: Option<Frame>,
    ) -> Result<(), Reset> {
        if self.answered.is_some() {
            return Ok(());
        }
        self.one_way = head.one_way;
        let Some((headers, frame)) = frame_of(&head.headers, self.upstream.facts().protocol) else {
            // Nothing turns another protocol's request into a frame.
            return Err(Reset(Failure::LocalReset));
        };
        match first {
            _ if head.body.is_empty() => self.send_in_time(headers, &frame, Bytes::new()),
            Some(Frame::Data { data, end: true }) => self.send_in_time(headers, &frame, data),
            first => {
                self.unsent = Some((Box::new(headers.clone()), frame, BytesMut::new()));
                first.map_or(Ok(()), |first| self.send(cx, first))
            }
        }
    }

    fn send(&mut self, _cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset> {
        let Some((headers, call, mut body)) = self.unsent.take() else { return Ok(()) };
        let last = frame.is_last();
        if let Frame::Data { data, .. } = frame {
            body.extend_from_slice(&data);
        }
        if last {
            return self.send_in_time(&headers, &call, body.freeze());
        }
        self.unsent = Some((headers, call, body));
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        self.upstream.poll_room(cx).map(Ok)
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Reset>> {
        if self.held_back.is_some() {
            ready!(self.upstream.poll_room(cx));
        }
        if let Some((headers, frame, body)) = self.held_back.take() {
            self.send_call(&headers, &frame, &body)?;
        }
        let answer = match (self.answered.take(), &self.waits) {
            (Some(answer), _) => answer,
            (None, Some((_, slot))) => ready!(slot.poll(cx)),
            (None, None) => return Poll::Pending,
        };
        self.waits = None;
        let frame = answer.map_err(Reset)?;
        let status = frame.protocol.http_status(frame.view.status).unwrap_or(200);
        let body = frame.body();
        let head = ResponseHead {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
            headers: frame.headers(HeaderScope::All).unwrap_or_else(|_| frame.bare()),
            body: length(&body),
        };
        let first = (!body.is_empty()).then_some(Frame::Data { data: body, end: true });
        Poll::Ready(Ok(Reply::Head(head, first)))
    }

    fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        Poll::Ready(Ok(Frame::END))
    }
}

impl Drop for RpcClientStream {
    fn drop(&mut self) {
        if let Some((id, _)) = self.waits.take() {
            if self.mode == PoolMode::PingPong {
                // The reply may still come, and nobody else must take it for theirs.
                self.upstream.leave();
            }
            self.upstream.forget(id);
        }
        if self.mode == PoolMode::PingPong {
            self.upstream.set_lent(false);
        }
    }
}
