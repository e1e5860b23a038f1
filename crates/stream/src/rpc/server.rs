//! The server side: one client's connection, whose calls come and go in any order.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use mosn_codec::rpc::{FrameKind, FrameView, HeaderScope, Limits, RpcProtocol, Side};
use mosn_config::model::RpcSpec;
use mosn_core::{Failure, Protocol};
use mosn_net::{Io, timer::Timer};

use super::{
    call::{Call, FirstTry, LongWay, OwnedFrame, Verdict},
    downstream::Downstream,
    server_stream::serve_call,
    upstream::Upstream,
    wire::{Broken, CONGESTED, Input, Patience, WRITE_TIMEOUT, Wire},
};
use crate::{DrainWatch, ServerContext, Service, linger::Linger};

/// Reads of one turn; then others have theirs. One read is 64 KiB at most, so that a client that
/// sends without a pause does not hold up the others for longer than those take.
const READS: u32 = 1;
/// How long a connection that should go, and has no call under way, may still bring one that was on
/// its way.
const GRACE: Duration = Duration::from_millis(100);

/// Serves the connection until it ends.
pub async fn serve<S: Service>(
    io: Io,
    protocol: &'static dyn RpcProtocol,
    cx: Rc<ServerContext>,
    service: Rc<S>,
) {
    let spec = cx.rpc(protocol.name());
    let limits = Limits { max_frame_bytes: spec.max_frame_bytes };
    let scope = protocol.header_scope(&cx.info.listener);
    let long_way = Box::new(Serves { service: Rc::clone(&service), protocol, scope });
    let client = Downstream::new(Wire::new(io), Rc::clone(&cx.info), long_way);
    let mut serving = Serving {
        calls: Calls { client: Rc::clone(&client), protocol, scope, service, blocked: None, fatal: false },
        input: Input::new(protocol, Side::Downstream, limits),
        watch: cx.drain.watch(),
        idle: cx.opening_limit().map(Timer::after),
        spec,
        cx,
        patience: Patience::new(WRITE_TIMEOUT),
        leaving: None,
        told: false,
    };
    poll_fn(|task| serving.poll(task)).await;
    let wire = client.wire();
    if !wire.is_broken() && (serving.calls.fatal || wire.waiting() > 0) {
        let mut linger = Linger::new();
        poll_fn(|task| wire.poll_linger(task, &mut linger)).await;
    }
    client.gone();
}

struct Serving<S> {
    calls: Calls<S>,
    input: Input,
    cx: Rc<ServerContext>,
    spec: RpcSpec,
    watch: DrainWatch,
    idle: Option<Timer>,
    patience: Patience,
    /// Runs while the connection should go and nothing is under way.
    leaving: Option<Timer>,
    /// The client was asked to send no more.
    told: bool,
}

/// What happens to the frames of a connection.
struct Calls<S> {
    client: Rc<Downstream>,
    protocol: &'static dyn RpcProtocol,
    scope: HeaderScope,
    service: Rc<S>,
    /// An upstream that reads more slowly than this client sends.
    blocked: Option<Rc<Upstream>>,
    /// A frame came after which the connection cannot go on.
    fatal: bool,
}

/// How calls that were passed on as they came go on as requests with tasks of their own.
struct Serves<S> {
    service: Rc<S>,
    protocol: &'static dyn RpcProtocol,
    scope: HeaderScope,
}

impl<S: Service> LongWay for Serves<S> {
    fn take(&self, client: &Rc<Downstream>, frame: Rc<OwnedFrame>, first: FirstTry) {
        match frame.headers(self.scope) {
            Ok(headers) => serve_call(client, &self.service, frame, headers, Some(first)),
            Err(error) => {
                self.service.refused(client.info(), Protocol::Rpc(self.protocol.name()), Failure::BadRequest);
                if let Some(seed) = self.protocol.reply_seed(&frame.bytes, &frame.view) {
                    let code = error.reply_code().unwrap_or(400);
                    client.wire().append(|out| self.protocol.local_reply(&seed, code, None, out));
                    client.wire().wake();
                }
            }
        }
    }
}

impl<S: Service> Serving<S> {
    /// Ready when the connection is over.
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let client = Rc::clone(&self.calls.client);
        client.wire().set_owner(task);
        client.set_waits(false);
        let over = self.read(task);
        client.flush();
        if over || client.is_ended() {
            return Poll::Ready(());
        }
        if self.patience.poll(task, client.wire()).is_ready() {
            tracing::warn!("closing connection {}: the client does not read", self.cx.info.id);
            return Poll::Ready(());
        }
        if self.watch.poll(task).is_ready() {
            return self.poll_leaving(task);
        }
        self.poll_idle(task)
    }

    /// Whether the connection is over.
    fn read(&mut self, task: &mut Context<'_>) -> bool {
        for _ in 0..READS {
            if self.poll_room(task).is_pending() {
                return false;
            }
            let Self { input, calls, .. } = self;
            let client = Rc::clone(&calls.client);
            let read = input.poll_frames(task, client.wire(), |frame, view| calls.frame(frame, view));
            match read {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) => return true,
                Poll::Ready(Ok(_)) => {
                    self.idle = None;
                    if self.calls.fatal {
                        return true;
                    }
                }
                Poll::Ready(Err(broken)) => {
                    if let Broken::Frame(error) = broken {
                        tracing::error!(
                            alert = "mosn.proxy.codec_error",
                            "closing connection {} on {}: {error}",
                            self.cx.info.id,
                            self.cx.info.listener
                        );
                        self.calls.refused();
                        self.calls.fatal = true;
                    }
                    return true;
                }
            }
        }
        task.waker().wake_by_ref();
        false
    }

    /// Ready when more calls may be read.
    fn poll_room(&mut self, task: &Context<'_>) -> Poll<()> {
        let client = &self.calls.client;
        if let Some(upstream) = &self.calls.blocked {
            ready!(upstream.poll_unblocked(task));
            self.calls.blocked = None;
        }
        if client.wire().waiting() > CONGESTED {
            // What is left after this waits for the socket, which wakes us; flushed only later, all
            // of it might leave at once, and nobody would.
            client.wire().flush();
        }
        if !client.has_room() {
            client.set_waits(true);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The listener drains: ready when nothing is under way and nothing more came.
    fn poll_leaving(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let client = &self.calls.client;
        if !std::mem::replace(&mut self.told, true) && self.spec.goaway {
            client.wire().append(|out| self.calls.protocol.goaway(1, out));
            client.wire().flush();
        }
        if client.calls() > 0 || client.wire().waiting() > 0 || self.input.is_partial() {
            self.leaving = None;
            client.set_waits(true);
            return Poll::Pending;
        }
        self.leaving.get_or_insert_with(|| Timer::after(GRACE)).poll(task)
    }

    fn poll_idle(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.cx.idle_timeout else {
            return match &mut self.idle {
                Some(opening) => opening.poll(task),
                None => Poll::Pending,
            };
        };
        if self.calls.client.calls() > 0 {
            // Its last reply is heard of, and the silence begins.
            self.calls.client.set_waits(true);
            self.idle = None;
            return Poll::Pending;
        }
        self.idle.get_or_insert_with(|| Timer::after(limit)).poll(task)
    }
}

impl<S: Service> Calls<S> {
    fn frame(&mut self, frame: &[u8], view: &FrameView) {
        if self.fatal {
            return;
        }
        match view.kind {
            FrameKind::Request | FrameKind::OneWay => self.call(frame, view),
            FrameKind::Heartbeat => {
                self.client.wire().append(|out| self.protocol.heartbeat_reply(frame, view, out));
            }
            FrameKind::Response => self.blocked = self.client.answered(frame).filter(|to| to.is_congested()),
            // The client leaves, which shows when it closes; or lives, which shows anyway.
            FrameKind::GoAway | FrameKind::HeartbeatReply => {}
        }
    }

    fn call(&mut self, frame: &[u8], view: &FrameView) {
        let call =
            Call { connection: self.client.info(), protocol: self.protocol, frame, view, scope: self.scope };
        match self.service.relay(&call) {
            Verdict::Relay(relay) => {
                let upstream = Rc::clone(&relay.upstream);
                self.client.knows(&upstream);
                upstream.relay(&self.client, frame, view, relay);
                if upstream.is_congested() {
                    self.blocked = Some(upstream);
                }
            }
            Verdict::Serve(host) => {
                let mut owned = OwnedFrame::copy(self.protocol, frame, view);
                owned.client = Some(Rc::clone(&self.client));
                owned.host = host;
                let owned = Rc::new(owned);
                match owned.headers(self.scope) {
                    Ok(headers) => serve_call(&self.client, &self.service, owned, headers, None),
                    Err(error) => self.unreadable(frame, view, error.reply_code()),
                }
            }
            Verdict::Unreadable(error) => self.unreadable(frame, view, error.reply_code()),
        }
    }

    /// `code` is what the caller is told; without one the connection ends.
    fn unreadable(&mut self, frame: &[u8], view: &FrameView, code: Option<u16>) {
        self.refused();
        match (code, self.protocol.reply_seed(frame, view)) {
            (Some(code), Some(seed)) => {
                self.client.wire().append(|out| self.protocol.local_reply(&seed, code, None, out));
            }
            (Some(_), None) => {}
            (None, _) => self.fatal = true,
        }
    }

    fn refused(&self) {
        let protocol = Protocol::Rpc(self.protocol.name());
        self.service.refused(self.client.info(), protocol, Failure::BadRequest);
    }
}
