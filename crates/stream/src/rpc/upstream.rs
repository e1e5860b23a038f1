//! One connection to an upstream, shared by the calls of many clients.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::BytesMut;
use mosn_codec::rpc::{EncodeError, FrameKind, FrameView, Limits, ReplySeed, RpcProtocol, Side};
use mosn_config::model::{KeepaliveSpec, RpcSpec};
use mosn_core::Failure;
use mosn_net::{
    Io,
    clock::{self, Moment},
    timer::{self, Timer},
};
use mosn_upstream::{Attempt, Outcome, RequestToken};

use super::{
    call::{FirstTry, OwnedFrame, Relay, RelayEnd, RelayObserver, RelayedCall, UpstreamFacts, frame_of},
    downstream::{Downstream, HeldBytes},
    pending::Pending,
    pool::RpcPool,
    wire::{Broken, CONGESTED, Input, Patience, WRITE_TIMEOUT, Wire},
};
use crate::Held;

/// Calls that may wait for their replies on one connection.
const MAX_PENDING: usize = 1 << 20;
/// Reads of one turn; then others have theirs.
const READS: u32 = 4;
/// How long clients wait with everything else for a peer that reads nothing.
const STALL: Duration = Duration::from_secs(1);
/// Signs of life missed in a row before the connection is given up.
const MAX_MISSED: u32 = 6;
/// What a call from an upstream is answered with where there is no client to take it: no processor.
const NOBODY_THERE: u16 = 404;

/// A connection to an upstream.
pub struct Upstream {
    facts: UpstreamFacts,
    wire: Wire,
    pending: RefCell<Pending<Waiting>>,
    state: Cell<State>,
    /// Its task is about to run anyway.
    scheduled: Cell<bool>,
    /// No call that waits has to be answered before then; at or before the true earliest time.
    earliest: Cell<Moment>,
    /// Who waits for room in the output.
    waiters: RefCell<Vec<Waker>>,
    /// It is congested, and nothing has left for a while.
    stalled: Cell<bool>,
    requests: Cell<u32>,
    opened: Moment,
    idle_since: Cell<Moment>,
    /// The one client whose calls it carries, where it is bound to one.
    bound: RefCell<Weak<Downstream>>,
    missed: Cell<u32>,
    /// The pool that lends it to one call at a time, where one does.
    lender: RefCell<Weak<RpcPool>>,
    /// A call has it that is not sent yet.
    lent: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Takes no more calls, and ends with its last one.
    Leaving,
    Closed,
}

/// Who waits for a reply.
enum Waiting {
    Relayed(Relayed),
    Stream(Rc<StreamSlot>),
    /// The connection itself waits for a sign of life.
    Beat(Moment),
}

/// A call that was passed on as it came.
struct Relayed {
    back: Rc<Downstream>,
    seed: ReplySeed,
    observer: Rc<dyn RelayObserver>,
    start: Moment,
    /// When this try has failed.
    deadline: Moment,
    received: u32,
    attempt: Attempt,
    token: RequestToken,
    kept: Option<Box<Kept>>,
}

/// What it takes to go on the long way.
struct Kept {
    frame: Rc<OwnedFrame>,
    /// When the call has failed.
    deadline: Moment,
    _held: HeldBytes,
}

/// Where the reply to a call with a task of its own is put.
#[derive(Debug, Default)]
pub(super) struct StreamSlot {
    answer: RefCell<Option<Result<Rc<OwnedFrame>, Failure>>>,
    waker: RefCell<Option<Waker>>,
}

impl StreamSlot {
    fn put(&self, answer: Result<Rc<OwnedFrame>, Failure>) {
        *self.answer.borrow_mut() = Some(answer);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Rc<OwnedFrame>, Failure>> {
        match self.answer.borrow_mut().take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                *self.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Waiting {
    fn deadline(&self) -> Moment {
        match self {
            Self::Relayed(call) => call.deadline,
            // Its own task looks after its time.
            Self::Stream(_) => Moment::NEVER,
            Self::Beat(deadline) => *deadline,
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("facts", &self.facts)
            .field("state", &self.state.get())
            .field("pending", &self.pending.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Takes over an open connection and drives it on a task of its own; `held` is dropped when it
    /// ends.
    pub(crate) fn open(
        io: Io,
        facts: UpstreamFacts,
        spec: &RpcSpec,
        keepalive: KeepaliveSpec,
        held: Box<dyn Held>,
    ) -> Rc<Self> {
        let limits = Limits { max_frame_bytes: spec.max_frame_bytes };
        let input = Input::new(facts.protocol, Side::Upstream, limits);
        let beats = Beats::new(facts.protocol, keepalive);
        let upstream = Rc::new(Self {
            facts,
            wire: Wire::new(io),
            pending: RefCell::new(Pending::new()),
            state: Cell::new(State::Open),
            scheduled: Cell::new(true),
            earliest: Cell::new(Moment::NEVER),
            waiters: RefCell::default(),
            stalled: Cell::new(false),
            requests: Cell::new(0),
            opened: clock::moment(),
            idle_since: Cell::new(clock::moment()),
            bound: RefCell::default(),
            missed: Cell::new(0),
            lender: RefCell::default(),
            lent: Cell::new(false),
        });
        let mut driver = Driver {
            upstream: Rc::clone(&upstream),
            input,
            beats,
            alarm: None,
            stall: Patience::new(STALL),
            patience: Patience::new(WRITE_TIMEOUT),
            touched: Vec::new(),
        };
        tokio::task::spawn_local(async move {
            let by_peer = poll_fn(|cx| driver.poll(cx)).await;
            if by_peer {
                held.ended_by_peer();
            }
            driver.upstream.close(by_peer, Failure::UpstreamTerminated);
        });
        upstream
    }

    /// What it knows of where it leads.
    #[must_use]
    pub const fn facts(&self) -> &UpstreamFacts {
        &self.facts
    }

    /// Whether it takes another call.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state.get() == State::Open && !self.wire.is_broken() && self.pending.borrow().len() < MAX_PENDING
    }

    /// Whether no call waits on it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.borrow().is_empty()
    }

    /// Whether it waits for no call, neither one that was sent nor one that will be.
    pub(super) fn is_free(&self) -> bool {
        self.is_idle() && !self.lent.get()
    }

    /// From now on it is this pool's, which lends it to one call at a time.
    pub(super) fn lent_by(&self, pool: &Rc<RpcPool>) {
        *self.lender.borrow_mut() = Rc::downgrade(pool);
    }

    /// A call with a task of its own has it, or has done with it.
    pub(super) fn set_lent(&self, lent: bool) {
        self.lent.set(lent);
        if !lent {
            self.became_idle();
        }
    }

    /// Whether it is over.
    pub(super) fn is_closed(&self) -> bool {
        self.state.get() == State::Closed
    }

    /// Since when it has been idle, as far as it is.
    pub(super) fn idle_since(&self) -> Moment {
        self.idle_since.get()
    }

    /// For how long it has been open.
    pub(super) fn age(&self) -> Duration {
        clock::moment().since(self.opened)
    }

    /// How many calls it has carried.
    pub(super) fn requests(&self) -> u32 {
        self.requests.get()
    }

    /// Whether the peer reads more slowly than it is written to.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.wire.waiting() > CONGESTED
    }

    /// Whether it has been congested for so long that calls should not hold up others of their client.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.get()
    }

    /// Ready when a client should wait no longer: there is room, or it has something else to do.
    pub(super) fn poll_unblocked(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_stalled() { Poll::Ready(()) } else { self.poll_room(cx) }
    }

    /// Ready when there is room for more output, or no use in waiting for it.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_congested() || self.state.get() == State::Closed {
            return Poll::Ready(());
        }
        self.waiters.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    /// Binds it to one client: each ends with the other, and calls pass both ways.
    pub(super) fn bind(self: &Rc<Self>, client: &Rc<Downstream>) {
        client.knows(self);
        *self.bound.borrow_mut() = Rc::downgrade(client);
        if client.is_ended() {
            // It has told its upstreams already.
            self.leave();
        }
    }

    /// Whether it is bound to this client.
    pub(super) fn is_bound_to(&self, client: &Rc<Downstream>) -> bool {
        std::ptr::eq(self.bound.borrow().as_ptr(), Rc::as_ptr(client))
    }

    /// Takes no more calls; it ends once those under way are over.
    pub(super) fn leave(&self) {
        if self.state.get() == State::Open {
            self.state.set(State::Leaving);
            self.wire.wake();
        }
    }

    /// Lets its task run, so that what was appended leaves at the end of this turn.
    fn schedule(&self) {
        if !self.scheduled.replace(true) {
            self.wire.wake();
        }
    }

    fn next_id(&self) -> impl Fn(u64) -> u64 + use<> {
        let protocol = self.facts.protocol;
        move |last| protocol.next_id(last)
    }

    #[cfg(test)]
    pub(super) fn start_ids_after(&self, last: u64) {
        self.pending.borrow_mut().start_after(last);
    }

    fn count(&self) {
        self.requests.set(self.requests.get().saturating_add(1));
    }

    /// Passes a call on as it came, but for what the route changes in its header fields.
    pub(super) fn relay(
        self: &Rc<Self>,
        back: &Rc<Downstream>,
        frame: &[u8],
        view: &FrameView,
        relay: Relay,
    ) {
        self.count();
        let Relay { headers, timeout, again, per_try, observer, token, attempt, .. } = relay;
        observer.began(&self.facts);
        let protocol = self.facts.protocol;
        let changed = headers.as_ref().and_then(|headers| frame_of(headers, protocol));
        let write = |id, out: &mut BytesMut| match &changed {
            None => {
                protocol.append(frame, view, id, out);
                Ok(())
            }
            Some((headers, frame)) => frame.write(headers, &frame.body(), id, out),
        };
        let Some(seed) = protocol.reply_seed(frame, view) else {
            let id = self.pending.borrow_mut().skip(self.next_id());
            let end = match self.wire.append(|out| write(id, out)) {
                Ok(()) => RelayEnd::OneWay,
                Err(error) => RelayEnd::Failed(unwritable(&error)),
            };
            self.schedule();
            let start = clock::moment();
            observer.ended(&self.called(back, start, view.id, view.body.len), end);
            attempt.finish(Outcome::Unknown, Duration::ZERO, clock::now().into_std());
            return;
        };
        let start = clock::moment();
        let after = |timeout: Option<Duration>| timeout.map_or(Moment::NEVER, |timeout| start.after(timeout));
        let kept = again.then(|| {
            let frame = match &changed {
                Some((_, frame)) => Rc::clone(frame),
                None => Rc::new(OwnedFrame::copy(protocol, frame, view)),
            };
            let held = HeldBytes::new(back, frame.bytes.len());
            Box::new(Kept { frame, deadline: after(timeout), _held: held })
        });
        let deadline = after(per_try).min(after(timeout));
        let call = Relayed {
            back: Rc::clone(back),
            seed,
            observer,
            start,
            deadline,
            received: view.body.len,
            attempt,
            token,
            kept,
        };
        back.call_began();
        let id = self.pending.borrow_mut().insert(self.next_id(), Waiting::Relayed(call));
        if let Err(error) = self.wire.append(|out| write(id, out)) {
            let call = self.pending.borrow_mut().take(id);
            if let Some(Waiting::Relayed(call)) = call {
                self.fail(call, unwritable(&error));
                // The turn that read the call writes the answer.
            }
            return self.became_idle();
        }
        if deadline < self.earliest.get() {
            self.earliest.set(deadline);
        }
        self.schedule();
    }

    /// Sends a frame that `write` appends under the id it is given. `Err` = it cannot be written.
    pub(super) fn send<E>(
        &self,
        slot: Option<Rc<StreamSlot>>,
        write: impl FnOnce(u64, &mut BytesMut) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.count();
        let next = self.next_id();
        let id = match slot {
            Some(slot) => self.pending.borrow_mut().insert(next, Waiting::Stream(slot)),
            None => self.pending.borrow_mut().skip(next),
        };
        let written = self.wire.append(|out| write(id, out));
        if let Err(error) = written {
            self.forget(id);
            return Err(error);
        }
        self.schedule();
        Ok(id)
    }

    /// Nobody waits for the reply to `id` any more.
    pub(super) fn forget(&self, id: u64) {
        let forgotten = self.pending.borrow_mut().take(id);
        if forgotten.is_some() {
            self.became_idle();
        }
    }

    fn became_idle(&self) {
        if self.is_idle() {
            self.idle_since.set(clock::moment());
            match self.state.get() {
                State::Open if self.is_free() => self.give_back(),
                State::Leaving => self.wire.wake(),
                State::Open | State::Closed => {}
            }
        }
    }

    fn give_back(&self) {
        let lender = self.lender.borrow().upgrade();
        if let Some(pool) = lender {
            pool.returned(self);
        }
    }

    /// A reply that nobody waits for may still come: whoever reads one after the other must not take it
    /// for theirs, nor wait behind it.
    fn leave_if_lent(&self) {
        if self.lender.borrow().strong_count() > 0 {
            self.leave();
        }
    }

    /// Passes a frame of its own bytes to the upstream: the answer to a call that the upstream made.
    pub(super) fn pass(&self, frame: &[u8]) {
        self.wire.append(|out| out.extend_from_slice(frame));
        self.schedule();
    }

    /// The client has gone: its calls are over, whatever becomes of them.
    pub(super) fn cancel(&self, client: &Rc<Downstream>) {
        let calls = self.pending.borrow_mut().take_where(
            |_, waiting| matches!(waiting, Waiting::Relayed(call) if Rc::ptr_eq(&call.back, client)),
        );
        if !calls.is_empty() {
            self.leave_if_lent();
        }
        for waiting in calls {
            if let Waiting::Relayed(call) = waiting {
                self.over(call, RelayEnd::Failed(Failure::ClientGone));
            }
        }
        self.became_idle();
        if self.is_bound_to(client) {
            self.leave();
        }
    }

    fn called<'a>(
        &'a self,
        back: &'a Rc<Downstream>,
        start: Moment,
        id: u64,
        received: u32,
    ) -> RelayedCall<'a> {
        RelayedCall { connection: back.info(), upstream: &self.facts, start, id, received }
    }

    /// Tells everybody who wants to know, and gives everything back.
    fn over(&self, call: Relayed, end: RelayEnd) {
        let took = clock::moment().since(call.start);
        let outcome = match end {
            RelayEnd::Reply { status, .. } => Outcome::Status(status),
            RelayEnd::Failed(Failure::ClientGone) | RelayEnd::OneWay => Outcome::Unknown,
            RelayEnd::Failed(Failure::GlobalTimeout) => Outcome::TimedOut,
            RelayEnd::Failed(_) => Outcome::Reset,
        };
        call.attempt.finish(outcome, took, clock::now().into_std());
        call.observer.ended(&self.called(&call.back, call.start, call.seed.id, call.received), end);
        call.back.call_over();
    }

    /// The call goes on the long way, if it may.
    fn hand_over(
        self: &Rc<Self>,
        mut call: Relayed,
        answer: impl FnOnce() -> Result<Rc<OwnedFrame>, Failure>,
    ) -> Result<(), Relayed> {
        let Some(kept) = call.kept.take().filter(|_| !call.back.is_ended()) else { return Err(call) };
        call.observer.handed_over(&self.facts);
        let Relayed { back, start, token, attempt, .. } = call;
        let first = FirstTry { upstream: Rc::clone(self), answer: answer(), start, token, attempt };
        back.hand_over(kept.frame, first);
        Ok(())
    }

    /// The try failed: the call goes on the long way, or is answered by ourselves. Whoever calls this
    /// flushes the client's connection.
    fn fail(self: &Rc<Self>, call: Relayed, why: Failure) {
        let call = match why {
            Failure::GlobalTimeout | Failure::Drain => call,
            why => match self.hand_over(call, || Err(why)) {
                Ok(()) => return,
                Err(call) => call,
            },
        };
        let back = Rc::clone(&call.back);
        back.wire().append(|out| self.facts.protocol.local_reply(&call.seed, why.row().status, None, out));
        self.over(call, RelayEnd::Failed(why));
    }

    /// Fails everything that waits. The connection is over.
    fn close(self: &Rc<Self>, by_peer: bool, why: Failure) {
        self.state.set(State::Closed);
        self.wire.hang_up();
        let waiting = self.pending.borrow_mut().take_where(|_, _| true);
        let mut active = false;
        let mut touched = Vec::new();
        for waiting in waiting {
            match waiting {
                Waiting::Relayed(call) => {
                    active = true;
                    touch(&mut touched, &call.back);
                    self.fail(call, why);
                }
                Waiting::Stream(slot) => {
                    active = true;
                    slot.put(Err(why));
                }
                Waiting::Beat(_) => {}
            }
        }
        flush(&mut touched);
        if active {
            for metrics in &self.facts.metrics {
                match by_peer {
                    true => metrics.connection_remote_close_with_active_request.inc(),
                    false => metrics.connection_local_close_with_active_request.inc(),
                }
            }
        }
        self.waiters.take().into_iter().for_each(Waker::wake);
        if let Some(client) = self.bound.borrow().upgrade() {
            client.end();
        }
    }
}

/// What a call fails with that cannot be written with its header fields changed.
pub(super) fn unwritable(error: &EncodeError) -> Failure {
    tracing::error!("cannot write a changed call: {error}");
    Failure::LocalReset
}

/// Notes a client that has something to read, to be flushed once when all has been said.
fn touch(touched: &mut Vec<Rc<Downstream>>, client: &Rc<Downstream>) {
    if client.touch() {
        touched.push(Rc::clone(client));
    }
}

fn flush(touched: &mut Vec<Rc<Downstream>>) {
    for client in touched.drain(..) {
        client.flush_touched();
    }
}

/// Drives one connection.
struct Driver {
    upstream: Rc<Upstream>,
    input: Input,
    beats: Option<Beats>,
    /// Goes off when the earliest call may be late.
    alarm: Option<(Moment, Timer)>,
    stall: Patience,
    patience: Patience,
    touched: Vec<Rc<Downstream>>,
}

/// Calls that are under way when the worker ends get their answers, too.
impl Drop for Driver {
    fn drop(&mut self) {
        if !self.upstream.is_closed() {
            self.upstream.close(false, Failure::Drain);
        }
    }
}

impl Driver {
    /// Ready when the connection is over: whether the peer ended it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let upstream = Rc::clone(&self.upstream);
        upstream.wire.set_owner(cx);
        upstream.scheduled.set(false);
        let ended = self.read(cx);
        self.expire(cx);
        flush(&mut self.touched);
        if ended {
            return Poll::Ready(true);
        }
        if self.poll_beats(cx).is_ready() {
            return Poll::Ready(false);
        }
        upstream.wire.flush();
        if upstream.wire.is_broken() {
            return Poll::Ready(true);
        }
        if upstream.wire.waiting() <= CONGESTED / 2 {
            upstream.stalled.set(false);
            upstream.waiters.take().into_iter().for_each(Waker::wake);
        }
        if self.poll_patience(cx).is_ready() {
            return Poll::Ready(false);
        }
        if upstream.state.get() == State::Leaving && upstream.only_beats() && upstream.wire.waiting() == 0 {
            return Poll::Ready(false);
        }
        Poll::Pending
    }

    /// Whether the connection is over.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..READS {
            let Self { upstream, input, touched, beats, .. } = self;
            let read =
                input.poll_frames(cx, &upstream.wire, |frame, view| upstream.frame(frame, view, touched));
            match read {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) => return true,
                Poll::Ready(Ok(_)) => {
                    if let Some(beats) = beats {
                        beats.heard = clock::moment();
                    }
                }
                Poll::Ready(Err(broken)) => {
                    if let Broken::Frame(error) = broken {
                        tracing::error!(
                            alert = "mosn.proxy.codec_error",
                            "closing a connection to {} of cluster {}: {error}",
                            upstream.facts.host.address_text,
                            upstream.facts.cluster
                        );
                    }
                    return true;
                }
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    /// Answers the calls whose time is up.
    fn expire(&mut self, cx: &mut Context<'_>) {
        loop {
            let earliest = self.upstream.earliest.get();
            if earliest == Moment::NEVER {
                self.alarm = None;
                return;
            }
            let now = clock::moment();
            if earliest <= now {
                self.upstream.expire(now, &mut self.touched);
                continue;
            }
            if self.alarm.as_ref().is_none_or(|(at, _)| *at != earliest) {
                self.alarm = Some((earliest, Timer::after(earliest.since(now))));
            }
            if let Some((_, timer)) = &mut self.alarm
                && timer.poll(cx).is_pending()
            {
                return;
            }
            // The timer has seen a later time than this turn's clock.
            self.upstream.expire(earliest, &mut self.touched);
        }
    }

    /// Ready when the peer has read nothing for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let upstream = &self.upstream;
        if upstream.is_congested()
            && !upstream.stalled.get()
            && self.stall.poll(cx, &upstream.wire).is_ready()
        {
            upstream.stalled.set(true);
            upstream.waiters.take().into_iter().for_each(Waker::wake);
        }
        ready!(self.patience.poll(cx, &upstream.wire));
        tracing::warn!(
            "closing a connection to {} of cluster {}: it takes nothing of what there is for it",
            upstream.facts.host.address_text,
            upstream.facts.cluster
        );
        Poll::Ready(())
    }

    /// Ready when the peer gives no sign of life.
    fn poll_beats(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(beats) = &mut self.beats else { return Poll::Pending };
        while beats.timer.poll(cx).is_ready() {
            beats.timer = Timer::after(beats.interval);
            if self.upstream.missed.get() >= MAX_MISSED {
                return Poll::Ready(());
            }
            let silent = clock::moment().since(beats.heard) + timer::RESOLUTION >= beats.interval;
            if beats.always || silent {
                self.upstream.beat(beats.timeout);
            }
        }
        if self.upstream.missed.get() >= MAX_MISSED { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Upstream {
    fn only_beats(&self) -> bool {
        self.pending.borrow().iter().all(|waiting| matches!(waiting, Waiting::Beat(_)))
    }

    fn beat(&self, timeout: Duration) {
        let deadline = clock::moment().after(timeout);
        let mut pending = self.pending.borrow_mut();
        let id = pending.insert(self.next_id(), Waiting::Beat(deadline));
        if !self.wire.append(|out| self.facts.protocol.heartbeat(id, out)) {
            pending.take(id);
            return;
        }
        if deadline < self.earliest.get() {
            self.earliest.set(deadline);
            self.schedule();
        }
    }

    fn expire(self: &Rc<Self>, now: Moment, touched: &mut Vec<Rc<Downstream>>) {
        let mut next = Moment::NEVER;
        let late = self.pending.borrow_mut().take_where(|_, waiting| {
            let deadline = waiting.deadline();
            if deadline <= now {
                return true;
            }
            next = next.min(deadline);
            false
        });
        self.earliest.set(next);
        let mut calls = false;
        for waiting in late {
            match waiting {
                Waiting::Relayed(call) => {
                    calls = true;
                    touch(touched, &call.back);
                    let why = match &call.kept {
                        Some(kept) if now < kept.deadline => Failure::PerTryTimeout,
                        _ => Failure::GlobalTimeout,
                    };
                    self.fail(call, why);
                }
                Waiting::Beat(_) => self.missed.set(self.missed.get() + 1),
                Waiting::Stream(_) => {}
            }
        }
        if calls {
            self.leave_if_lent();
            self.became_idle();
        } else if self.is_free() {
            self.give_back();
        }
    }

    fn frame(self: &Rc<Self>, frame: &[u8], view: &FrameView, touched: &mut Vec<Rc<Downstream>>) {
        match view.kind {
            FrameKind::Response | FrameKind::HeartbeatReply => self.reply(frame, view, touched),
            // A peer that reads no answers gets no more of them.
            FrameKind::Heartbeat if self.is_congested() => {}
            FrameKind::Heartbeat => {
                self.wire.append(|out| self.facts.protocol.heartbeat_reply(frame, view, out));
            }
            FrameKind::GoAway => self.leave(),
            FrameKind::Request | FrameKind::OneWay => self.pushed(frame, view, touched),
        }
    }

    fn reply(self: &Rc<Self>, frame: &[u8], view: &FrameView, touched: &mut Vec<Rc<Downstream>>) {
        let waiting = self.pending.borrow_mut().take(view.id);
        match waiting {
            Some(Waiting::Relayed(call)) => {
                let protocol = self.facts.protocol;
                let status = protocol.http_status(view.status).unwrap_or(200);
                let call = if status >= 400 {
                    self.hand_over(call, || Ok(Rc::new(OwnedFrame::copy(protocol, frame, view))))
                } else {
                    Err(call)
                };
                let Err(call) = call else { return self.became_idle() };
                call.back.wire().append(|out| protocol.append(frame, view, call.seed.id, out));
                touch(touched, &call.back);
                self.over(call, RelayEnd::Reply { status, sent: view.body.len });
            }
            Some(Waiting::Stream(slot)) => {
                slot.put(Ok(Rc::new(OwnedFrame::copy(self.facts.protocol, frame, view))));
            }
            Some(Waiting::Beat(_)) => {
                self.missed.set(0);
                // Its own signs of life keep no connection that nobody uses.
                if self.is_free() {
                    self.give_back();
                }
                return;
            }
            None => {
                for metrics in &self.facts.metrics {
                    metrics.response_dropped.inc();
                }
                return;
            }
        }
        self.became_idle();
    }

    /// The upstream calls: its client answers, if there is one that it is bound to.
    fn pushed(&self, frame: &[u8], view: &FrameView, touched: &mut Vec<Rc<Downstream>>) {
        if let Some(client) = self.bound.borrow().upgrade() {
            client.wire().append(|out| out.extend_from_slice(frame));
            touch(touched, &client);
            return;
        }
        tracing::debug!(
            "{} calls its clients, which only a binding pool can pass on",
            self.facts.host.address_text
        );
        if !self.is_congested()
            && let Some(seed) = self.facts.protocol.reply_seed(frame, view)
        {
            self.wire.append(|out| self.facts.protocol.local_reply(&seed, NOBODY_THERE, None, out));
        }
    }
}

/// When to ask for a sign of life.
struct Beats {
    interval: Duration,
    timeout: Duration,
    /// Whether or not anything is heard.
    always: bool,
    heard: Moment,
    timer: Timer,
}

impl Beats {
    fn new(protocol: &'static dyn RpcProtocol, keepalive: KeepaliveSpec) -> Option<Self> {
        let always = keepalive.interval.is_some();
        if !always && !protocol.beats_when_idle() {
            return None;
        }
        let interval = keepalive.interval.unwrap_or(keepalive.silence);
        let timer = Timer::after(interval);
        Some(Self { interval, timeout: keepalive.timeout, always, heard: clock::moment(), timer })
    }
}
