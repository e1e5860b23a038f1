//! One try: frames up, frames down, both at once, each only as fast as the other side takes them.

use std::task::{Context, Poll};

use http::StatusCode;
use mosn_core::{Failure, Frame, RequestHead, ResponseHead};
use mosn_net::{clock, timer::Timer};
use mosn_router::{Retry, RouteMatch};
use mosn_stream::{ClientStream, Reply, ServerStream};
use std::time::Duration;

use crate::{
    Upstreams,
    engine::{Request, exceeds},
    hedge::Answer,
};

/// Interim replies of one try. They are sent on whether the client reads or not, so their number
/// must have an end.
pub(crate) const MAX_INTERIM: u32 = 100;

/// How long a request may take; `None` = no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From the end of the request until the reply's head, over all tries.
    pub(crate) global: Option<Duration>,
    /// The same for one try.
    pub(crate) per_try: Option<Duration>,
}

/// What the client has sent so far, for another try or for a copy.
#[derive(Debug)]
pub(crate) struct Replay {
    frames: Vec<Frame>,
    bytes: usize,
    /// How many are kept at most.
    limit: usize,
    /// More came than is kept: there cannot be another try.
    overflowed: bool,
    /// The last frame has come.
    finished: bool,
}

impl Replay {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { frames: Vec::new(), bytes: 0, limit, overflowed: false, finished: false }
    }

    /// Whether the client has said all it has to say.
    pub(crate) fn is_finished(&self, head: &RequestHead) -> bool {
        self.finished || head.body.is_empty()
    }

    /// Whether everything that came is still here.
    pub(crate) fn is_complete(&self) -> bool {
        !self.overflowed
    }

    /// What is kept, in order.
    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    pub(crate) fn record(&mut self, frame: &Frame) {
        self.finished = frame.is_last();
        self.bytes += frame.len();
        if self.bytes > self.limit {
            self.overflowed = true;
            self.frames = Vec::new();
        } else if !self.overflowed {
            self.frames.push(frame.clone());
        }
    }
}

/// How an exchange ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client has the whole reply, or wants none and the upstream has the whole request.
    Done,
    /// The reply's status called for another try; nothing was sent to the client.
    Unwanted,
}

pub(crate) struct Exchange<'r, C> {
    client: C,
    replay: &'r mut Replay,
    /// How many of the kept frames this try has sent.
    replayed: usize,
    up: Up,
    down: Down,
    /// The reply's beginning, where it came before the exchange began.
    answer: Option<Box<(ResponseHead, Option<Frame>)>>,
    tunnel: bool,
    /// Interim replies so far.
    interim: u32,
    limits: Limits,
    global: Option<Timer>,
    per_try: Option<Timer>,
    idle: Option<Timer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Up {
    Head,
    Body,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    Head,
    Body,
    Flush,
}

impl<'r, C: ClientStream> Exchange<'r, C> {
    pub(crate) fn new(client: C, replay: &'r mut Replay, global: Option<Timer>, limits: Limits) -> Self {
        Self {
            client,
            replay,
            replayed: 0,
            up: Up::Head,
            down: Down::Head,
            answer: None,
            tunnel: false,
            interim: 0,
            limits,
            global,
            per_try: None,
            idle: None,
        }
    }

    /// What is left of a try that was overdue, and has answered.
    pub(crate) fn answered(answer: Answer<C>, replay: &'r mut Replay, limits: Limits) -> Self {
        Self { up: Up::Done, answer: Some(answer.reply), ..Self::new(answer.stream, replay, None, limits) }
    }

    /// Whether all that the upstream got can be sent to another one, too.
    pub(crate) fn may_be_repeated(&self) -> bool {
        !self.tunnel && self.replay.is_complete()
    }

    /// The stream, and the timer that runs over all tries.
    pub(crate) fn into_parts(self) -> (C, Option<Timer>) {
        (self.client, self.global)
    }

    /// Goes on as far as it can. `retry` is asked whether a reply should be dropped for another
    /// try; `policy` decides which of the overdue tries' replies will do.
    pub(crate) fn poll<S: ServerStream, U: Upstreams<Stream = C>>(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<'_, S, U>,
        route: RouteMatch<'_>,
        policy: &Retry,
        mut retry: impl FnMut(&mut Request<'_, S, U>, &ResponseHead) -> bool,
    ) -> Poll<Result<Ended, Failure>> {
        let (mut progress, mut reading) = self.poll_up(cx, request)?;
        if self.up == Up::Done && request.report.head.one_way {
            return Poll::Ready(Ok(Ended::Done));
        }
        if let Some(reply) = self.answer.take() {
            self.reply_head(cx, request, route, reply.0, reply.1)?;
            progress = true;
        }
        while self.down == Down::Head {
            match self.client.poll_reply(cx) {
                Poll::Ready(Ok(Reply::Interim(..))) if self.interim == MAX_INTERIM => {
                    return Poll::Ready(Err(Failure::UpstreamReset));
                }
                Poll::Ready(Ok(Reply::Interim(status, headers))) => {
                    self.interim += 1;
                    request.stream.send_interim(cx, status, &headers);
                }
                Poll::Ready(Ok(Reply::Head(head, first))) => {
                    request.report.upstream_replied(head.status);
                    if self.may_be_repeated() && retry(request, &head) {
                        return Poll::Ready(Ok(Ended::Unwanted));
                    }
                    self.reply_head(cx, request, route, head, first)?;
                    progress = true;
                    if self.tunnel {
                        // What the client sent ahead waits for no other event.
                        reading = self.poll_up(cx, request)?.1;
                    }
                }
                Poll::Ready(Err(reset)) => return Poll::Ready(Err(reset.0)),
                Poll::Pending => match request.report.poll_overdue(cx, policy, false) {
                    Poll::Ready(Ok(Answer { stream, reply })) => {
                        (self.client, self.up) = (stream, Up::Done);
                        self.reply_head(cx, request, route, reply.0, reply.1)?;
                        progress = true;
                    }
                    Poll::Ready(Err(_)) | Poll::Pending => break,
                },
            }
        }
        progress |= self.poll_down(cx, request)?;
        if self.down == Down::Flush && request.stream.poll_flushed(cx).map_err(|reset| reset.0)?.is_ready() {
            return Poll::Ready(Ok(Ended::Done));
        }
        // Whoever reads from the client learns of its end there; an open tunnel may end on one side.
        let ended = self.tunnel && self.up == Up::Done;
        if !(reading || ended)
            && let Poll::Ready(why) = request.stream.poll_gone(cx)
        {
            return Poll::Ready(Err(why));
        }
        self.poll_timers(cx, request, progress)
    }

    /// Sends the request on, as far as there is any and the upstream takes it. Returns whether
    /// there was anything, and whether more is awaited from the client.
    fn poll_up<S: ServerStream, U: Upstreams<Stream = C>>(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<'_, S, U>,
    ) -> Result<(bool, bool), Failure> {
        let (mut progress, mut reading) = (false, false);
        if self.up == Up::Head {
            self.tunnel = request.report.head.upgrade.is_some();
            let bodiless = request.report.head.body.is_empty();
            // A body that is here already leaves together with the head.
            let first = if bodiless || self.tunnel { None } else { self.next_frame(cx, request)? };
            let again = self.replay.is_complete() && !request.report.head.one_way;
            let keep = again || request.report.wants_request();
            let ends = first.as_ref().map_or(bodiless && !self.tunnel, Frame::is_last);
            self.client.send_head(cx, &mut request.report.head, keep, first).map_err(|reset| reset.0)?;
            self.up = Up::Body;
            if ends {
                self.request_sent(request);
            } else if self.tunnel {
                self.start_timers();
            }
        }
        // A tunnel opens with the reply; until then what the client sends belongs to nobody.
        while self.up == Up::Body && !(self.tunnel && self.down == Down::Head) {
            match self.client.poll_ready(cx) {
                Poll::Ready(ready) => ready.map_err(|reset| reset.0)?,
                Poll::Pending => break,
            }
            let Some(frame) = self.next_frame(cx, request)? else {
                reading = true;
                break;
            };
            progress = true;
            let last = frame.is_last();
            self.client.send(cx, frame).map_err(|reset| reset.0)?;
            if last {
                self.request_sent(request);
            }
        }
        Ok((progress, reading))
    }

    /// The next frame for the upstream: one that an earlier try has sent, or a new one.
    fn next_frame<S: ServerStream, U: Upstreams<Stream = C>>(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<'_, S, U>,
    ) -> Result<Option<Frame>, Failure> {
        if let Some(frame) = self.replay.frames.get(self.replayed) {
            self.replayed += 1;
            return Ok(Some(frame.clone()));
        }
        if self.replay.finished {
            return Ok(None);
        }
        match request.stream.poll_recv(cx) {
            Poll::Ready(Ok(frame)) => {
                let info = &mut request.report.info;
                info.bytes_received += frame.len() as u64;
                if !self.tunnel
                    && exceeds(info.bytes_received, request.proxy.settings.limits.max_request_body_size)
                {
                    return Err(Failure::PayloadTooLarge);
                }
                self.replay.record(&frame);
                self.replayed = self.replay.frames.len();
                if request.mirror.is_some() {
                    request.send_copies(self.replay);
                }
                Ok(Some(frame))
            }
            Poll::Ready(Err(reset)) => Err(reset.0),
            Poll::Pending => Ok(None),
        }
    }

    fn request_sent<S: ServerStream, U: Upstreams<Stream = C>>(&mut self, request: &mut Request<'_, S, U>) {
        self.up = Up::Done;
        request.report.request_sent();
        if self.down == Down::Head && !request.report.head.one_way {
            self.start_timers();
        }
    }

    fn start_timers(&mut self) {
        if self.global.is_none() {
            self.global = self.limits.global.map(Timer::after);
        }
        self.per_try = self.limits.per_try.map(Timer::after);
    }

    fn reply_head<S: ServerStream, U: Upstreams<Stream = C>>(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<'_, S, U>,
        route: RouteMatch<'_>,
        mut head: ResponseHead,
        first: Option<Frame>,
    ) -> Result<(), Failure> {
        (self.global, self.per_try) = (None, None);
        request.report.end_overdue();
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            self.tunnel = false;
        }
        if let Some(cookie) = request.set_cookie.take() {
            head.headers.append("Set-Cookie", cookie.as_bytes());
        }
        request.report.mutate_response(&mut head.headers, |headers, variables| {
            route.mutate_response(headers, variables);
        });
        request.report.replied(head.status, &head.headers);
        request.replied = true;
        let last = head.body.is_empty() || first.as_ref().is_some_and(Frame::is_last);
        request.report.info.bytes_sent += first.as_ref().map_or(0, Frame::len) as u64;
        self.down = if last { Down::Flush } else { Down::Body };
        request.stream.send_head(cx, head, first).map_err(|reset| reset.0)
    }

    /// Sends the reply on, as far as there is any and the client takes it.
    fn poll_down<S: ServerStream, U: Upstreams<Stream = C>>(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut Request<'_, S, U>,
    ) -> Result<bool, Failure> {
        let mut progress = false;
        while self.down == Down::Body {
            match request.stream.poll_ready(cx) {
                Poll::Ready(ready) => ready.map_err(|reset| reset.0)?,
                Poll::Pending => break,
            }
            match self.client.poll_recv(cx) {
                Poll::Ready(Ok(frame)) => {
                    progress = true;
                    request.report.info.bytes_sent += frame.len() as u64;
                    if frame.is_last() {
                        self.down = Down::Flush;
                    }
                    request.stream.send(cx, frame).map_err(|reset| reset.0)?;
                }
                Poll::Ready(Err(reset)) => return Err(reset.0),
                Poll::Pending => break,
            }
        }
        Ok(progress)
    }

    fn poll_timers<S: ServerStream, U: Upstreams<Stream = C>>(
        &mut self,
        cx: &mut Context<'_>,
        request: &Request<'_, S, U>,
        progress: bool,
    ) -> Poll<Result<Ended, Failure>> {
        let fired = |timer: &mut Option<Timer>, cx: &mut Context<'_>| {
            timer.as_mut().is_some_and(|timer| timer.poll(cx).is_ready())
        };
        if fired(&mut self.global, cx) {
            return Poll::Ready(Err(Failure::GlobalTimeout));
        }
        if fired(&mut self.per_try, cx) {
            return Poll::Ready(Err(Failure::PerTryTimeout));
        }
        let limit = request.proxy.settings.limits.body_idle_timeout;
        if !limit.is_zero() && (self.up != Up::Done || self.down != Down::Head) {
            if progress {
                self.idle = None;
            }
            self.idle.get_or_insert_with(|| Timer::after(limit));
            if fired(&mut self.idle, cx) {
                return Poll::Ready(Err(Failure::BodyIdleTimeout));
            }
        }
        Poll::Pending
    }
}

/// Keeps the clock's reading in one place for the phases' durations.
pub(crate) fn since(start: clock::Moment) -> Duration {
    clock::moment().since(start)
}
