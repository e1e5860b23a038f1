//! A client in memory.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use http::StatusCode;
use mosn_core::{ConnectionInfo, Failure, Frame, Headers, Protocol, Reset, ResponseHead};
use mosn_stream::ServerStream;

use super::script::{Appetite, Script};

/// What a client has got.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) interims: Vec<u16>,
    pub(super) head: Option<ResponseHead>,
    pub(super) frames: Vec<Frame>,
    pub(super) reset: Option<Failure>,
    /// Frames of the request's body that the proxy took.
    pub(super) taken: usize,
}

impl Got {
    pub(super) fn status(&self) -> u16 {
        self.head.as_ref().map_or(0, |head| head.status.as_u16())
    }

    pub(super) fn body(&self) -> Vec<u8> {
        body(&self.frames)
    }

    /// Whether the reply has come to its end.
    pub(super) fn is_complete(&self) -> bool {
        let empty = self.head.as_ref().is_some_and(|head| head.body.is_empty());
        self.reset.is_none() && (empty || self.frames.last().is_some_and(Frame::is_last))
    }
}

/// The bytes of frames.
pub(super) fn body(frames: &[Frame]) -> Vec<u8> {
    let data = |frame: &Frame| match frame {
        Frame::Data { data, .. } => data.to_vec(),
        Frame::Trailers(_) => Vec::new(),
    };
    frames.iter().flat_map(data).collect()
}

/// A client's side of one request.
pub(super) struct Client {
    pub(super) info: Rc<ConnectionInfo>,
    up: Script<Result<Frame, Failure>>,
    gone: Script<Failure>,
    appetite: Appetite,
    pub(super) got: Rc<RefCell<Got>>,
}

impl Client {
    pub(super) fn new() -> Self {
        let info = ConnectionInfo {
            id: 1,
            listener: Arc::from("in"),
            listener_type: Arc::from("ingress"),
            local: None,
            remote: None,
            redirected: None,
        };
        Self {
            info: Rc::new(info),
            up: Script::new(Vec::new()),
            gone: Script::new(Vec::new()),
            appetite: Appetite::any(),
            got: Rc::default(),
        }
    }

    /// Sends these frames at these times.
    pub(super) fn sends(mut self, frames: Vec<(u64, Frame)>) -> Self {
        self.up = Script::new(frames.into_iter().map(|(at, frame)| (at, Ok(frame))).collect());
        self
    }

    /// Sends these frames, and then its stream fails.
    pub(super) fn sends_then_fails(mut self, frames: Vec<(u64, Frame)>, at: u64, why: Failure) -> Self {
        self = self.sends(frames);
        let mut events = std::mem::replace(&mut self.up, Script::new(Vec::new())).into_events();
        events.push((at, Err(why)));
        self.up = Script::new(events);
        self
    }

    /// Goes away when it has nothing to send.
    pub(super) fn leaves(mut self, at: u64) -> Self {
        self.gone = Script::new(vec![(at, Failure::ClientGone)]);
        self
    }

    /// Takes so many frames, and more only from a moment on.
    pub(super) fn takes(mut self, room: usize, opens_at: Option<u64>) -> Self {
        self.appetite = Appetite::of(room, opens_at);
        self
    }
}

impl ServerStream for Client {
    const CAN_CANCEL: bool = false;

    fn protocol(&self) -> Protocol {
        Protocol::Http1
    }

    fn id(&self) -> u64 {
        1
    }

    fn connection(&self) -> &Rc<ConnectionInfo> {
        &self.info
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        let polled = self.up.poll(cx);
        if let Poll::Ready(Ok(_)) = &polled {
            self.got.borrow_mut().taken += 1;
        }
        polled.map(|event| event.map_err(Reset))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        self.gone.poll(cx)
    }

    fn send_interim(&mut self, _cx: &mut Context<'_>, status: StatusCode, _headers: &Headers) {
        self.got.borrow_mut().interims.push(status.as_u16());
    }

    fn send_head(
        &mut self,
        _cx: &mut Context<'_>,
        head: ResponseHead,
        first: Option<Frame>,
    ) -> Result<(), Reset> {
        let mut got = self.got.borrow_mut();
        assert!(got.head.is_none(), "a second head");
        got.head = Some(head);
        if let Some(first) = first {
            self.appetite.take();
            got.frames.push(first);
        }
        Ok(())
    }

    fn send(&mut self, _cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset> {
        let mut got = self.got.borrow_mut();
        assert!(got.head.is_some(), "a frame before the head");
        assert!(!got.frames.last().is_some_and(Frame::is_last), "a frame after the last one");
        self.appetite.take();
        got.frames.push(frame);
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        self.appetite.poll(cx, false).map(Ok)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        self.appetite.poll(cx, true).map(Ok)
    }

    fn reset(&mut self, why: Failure) {
        self.got.borrow_mut().reset = Some(why);
    }
}
