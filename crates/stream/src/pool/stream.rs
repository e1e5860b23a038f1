//! A stream to a host, whatever it speaks.

use std::task::{Context, Poll};

use mosn_core::{Frame, RequestHead, Reset};
use mosn_upstream::RequestToken;

use crate::{ClientStream, Reply, http1::Http1ClientStream, http2::Http2ClientStream, rpc::RpcClientStream};

/// A stream to a host.
#[derive(Debug)]
pub struct UpstreamStream {
    pub(super) stream: Kind,
    pub(super) _request: RequestToken,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "lives inside its request, one at a time")]
pub(super) enum Kind {
    Http1(Http1ClientStream),
    Http2(Http2ClientStream),
    Rpc(RpcClientStream),
}

macro_rules! each_kind {
    ($self:ident, $stream:ident => $body:expr) => {
        match &$self.stream {
            Kind::Http1($stream) => $body,
            Kind::Http2($stream) => $body,
            Kind::Rpc($stream) => $body,
        }
    };
    (mut $self:ident, $stream:ident => $body:expr) => {
        match &mut $self.stream {
            Kind::Http1($stream) => $body,
            Kind::Http2($stream) => $body,
            Kind::Rpc($stream) => $body,
        }
    };
}

impl ClientStream for UpstreamStream {
    fn connection_id(&self) -> u64 {
        each_kind!(self, stream => stream.connection_id())
    }

    fn is_reused(&self) -> bool {
        each_kind!(self, stream => stream.is_reused())
    }

    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
        keep: bool,
        first: Option<Frame>,
    ) -> Result<(), Reset> {
        each_kind!(mut self, stream => stream.send_head(cx, head, keep, first))
    }

    fn send(&mut self, cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset> {
        each_kind!(mut self, stream => stream.send(cx, frame))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        each_kind!(mut self, stream => stream.poll_ready(cx))
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Reset>> {
        each_kind!(mut self, stream => stream.poll_reply(cx))
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        each_kind!(mut self, stream => stream.poll_recv(cx))
    }
}
