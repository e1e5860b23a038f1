//! The phases of a request, in order. The names are MOSN's.
//!
//! | phase | here |
//! |---|---|
//! | `MatchRoute` | [`Request::match_route`] |
//! | `ChooseHost` | [`Request::choose_host`] |
//! | `DownRecvHeader/Data/Trailer`, `WaitNotify`, `UpRecvHeader/Data/Trailer` | [`Request::exchange`] |
//! | `Oneway` | the same, which for a request without reply is over once the upstream has the request |
//! | `Retry` | [`Request::retry`] |
//! | `End` | [`Report`](crate::report::Report), when the request is dropped |

use std::{
    cell::Cell,
    future::poll_fn,
    net::IpAddr,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use mosn_config::model::{MirrorSpec, OriginalDstSpec, Priority};
use mosn_core::{BodyLength, Failure, Frame, Headers, Protocol, RequestHead, ResponseHead};
use mosn_net::timer::Timer;
use mosn_router::{
    Action, DirectResponse, Forward, Metadata, Redirect, Retry, RouteMatch, TimeoutOverrides, timeouts,
};
use mosn_stream::ServerStream;

use crate::{
    Acquired, Upstreams,
    context::Proxy,
    exchange::{Ended, Exchange, Limits, Replay},
    hedge::Answer,
    mirror::Mirror,
    report::Report,
    upstreams::{Acquiring, Choice, NotAcquired},
};

/// How long, and for how many bytes, a request that needs no upstream is read before it is answered.
const SWALLOW: Duration = Duration::from_millis(100);
const SWALLOW_BYTES: usize = 64 * 1024;

/// One request.
pub(crate) struct Request<'a, S: ServerStream, U: Upstreams> {
    pub(crate) proxy: &'a Proxy<U>,
    pub(crate) stream: &'a mut S,
    /// Everything that is said of the request when it is over.
    pub(crate) report: Box<Report<'a, U>>,
    /// Whether the reply's head has been sent: from then on a failure can only cut it short.
    pub(crate) replied: bool,
    /// Whether the route's changes to the head have been made.
    prepared: bool,
    /// Copies that wait for the request's body.
    pub(crate) mirror: Option<Box<Mirror<U>>>,
    /// A cookie that the hash policy made for the client.
    pub(crate) set_cookie: Option<String>,
}

/// How one try ended.
enum Try {
    Done,
    /// It failed, and may be repeated if the policy allows.
    Failed(Failure),
    /// Its time is up, but it goes on beside the next one.
    Overdue,
    /// The upstream answered with a status that the retry policy does not accept; there is another try.
    Unwanted,
    /// It answered so, and there is no further try, but an overdue one may do better.
    Outdone,
}

/// Where the next exchange is.
enum Chosen<U: Upstreams> {
    Host(Acquired<U>),
    /// At a host that was chosen before: an overdue try has answered.
    Answer(Answer<U::Stream>),
}

/// Where the request's tries go.
struct Target<'r, U: Upstreams> {
    cluster: Rc<U::Cluster>,
    protocol: Protocol,
    metadata: Option<&'r Metadata>,
    hash: Option<u64>,
    priority: Priority,
    /// See [`Choice::position`].
    position: Cell<Option<u32>>,
}

/// What the request may still spend.
struct Budget<U: Upstreams> {
    /// Retries so far.
    retries: u32,
    /// The place in the cluster's retry budget that the current try holds.
    token: Option<U::RetryToken>,
    /// One free try after an idle connection had been closed behind our back.
    fresh: bool,
    /// Runs over all tries.
    global: Option<Timer>,
    limits: Limits,
}

impl<'a, S: ServerStream, U: Upstreams> Request<'a, S, U> {
    pub(crate) fn new(proxy: &'a Proxy<U>, stream: &'a mut S, head: Box<RequestHead>) -> Self {
        let report =
            Report::new(proxy, stream.connection(), stream.protocol(), stream.id(), stream.began(), head);
        Self { proxy, stream, report, replied: false, prepared: false, mirror: None, set_cookie: None }
    }

    /// Carries the request through to its end.
    pub(crate) async fn run(&mut self) {
        if let Err(why) = self.match_route().await {
            self.fail(why).await;
        }
        self.give_up_copies();
        self.report.finished();
    }

    /// Finds what to do with the request, and does it.
    async fn match_route(&mut self) -> Result<(), Failure> {
        self.admit()?;
        let router = self.proxy.router().ok_or(Failure::NoRoute)?;
        let route = router.find(&self.report.subject()).ok_or(Failure::NoRoute)?;
        match &route.route.action {
            Action::DirectResponse(direct) => self.direct_response(route, direct).await,
            Action::Redirect(redirect) => self.redirect(route, redirect).await,
            Action::Forward(forward) => self.forward(route, forward).await,
            Action::None => Err(Failure::NoRoute),
        }
    }

    /// What is refused whatever the routes say.
    fn admit(&self) -> Result<(), Failure> {
        let (head, limits) = (&self.report.head, &self.proxy.settings.limits);
        if head.method == Method::CONNECT && head.upgrade.is_none() {
            return Err(Failure::NotImplemented);
        }
        match head.body {
            BodyLength::Known(length) if exceeds(length, limits.max_request_body_size) => {
                Err(Failure::PayloadTooLarge)
            }
            _ => Ok(()),
        }
    }

    /// Sends the request to a host of the route's cluster, again if it must.
    async fn forward(&mut self, route: RouteMatch<'_>, forward: &Forward) -> Result<(), Failure> {
        let pick = forward.cluster(&self.report.subject()).ok_or(Failure::NoCluster)?;
        let cluster = self.proxy.upstreams.cluster(&pick.name).ok_or(Failure::NoCluster)?;
        self.report.cluster(&cluster, &pick.name);
        let mut hash = None;
        if forward.hash_policy.is_some() {
            let hashed = forward.hash(&self.report.subject(), self.client_address());
            self.set_cookie = hashed.cookie.map(|cookie| cookie.set_cookie());
            hash = hashed.value;
        }
        let target = Target {
            cluster,
            protocol: forward.upstream_protocol.unwrap_or(self.stream.protocol()),
            metadata: pick.metadata.as_deref(),
            hash,
            priority: forward.priority,
            position: Cell::new(None),
        };
        if is_rpc(target.protocol) != is_rpc(self.stream.protocol()) {
            // Nothing turns one into the other, and a call's fields may be no HTTP header's at all.
            return Err(Failure::LocalReset);
        }
        let overrides = TimeoutOverrides { global: self.stream.timeout(), per_try: None };
        let (global, per_try) = timeouts(forward, &*self.report.head, overrides);
        let mut budget =
            Budget { retries: 0, token: None, fresh: true, global: None, limits: Limits { global, per_try } };
        if self.stream.timeout().is_some() {
            // The caller has begun to wait, wherever its call is.
            budget.global = global.map(|limit| Timer::after(limit.saturating_sub(self.report.age())));
        }
        let mut replay = Replay::new(forward.buffer_limit);
        if let Some(spec) = self.proxy.settings.mirror
            && !forward.mirrors.is_empty()
            && let Some(mirror) = self.draw_mirror(spec, route, forward, target.protocol, global)
        {
            if spec.broadcast {
                return self.broadcast(route, mirror, replay).await;
            }
            self.mirror = Some(mirror);
            self.send_copies(&replay);
        }
        let mut fresh = false;
        let mut answer = None;
        loop {
            let sent = replay.is_finished(&self.report.head);
            let chosen = match answer.take() {
                Some(answer) => Ok(Chosen::Answer(answer)),
                None => self.choose_host(&target, fresh, &forward.retry, sent, &mut budget).await,
            };
            let exchange = match chosen {
                Ok(Chosen::Host(Acquired { stream, attempt, host })) => {
                    self.report.acquired(target.protocol, &stream, attempt, &host);
                    self.prepare(route, forward);
                    if forward.rewrites_to_hostname()
                        && self.proxy.upstreams.found_by_name(&target.cluster)
                        && let Some(hostname) = &host.hostname
                    {
                        forward.rewrite_to_hostname(&mut self.report.head, hostname);
                    }
                    Ok(Exchange::new(stream, &mut replay, budget.global.take(), budget.limits))
                }
                Ok(Chosen::Answer(answer)) => Ok(Exchange::answered(answer, &mut replay, budget.limits)),
                Err(not) => {
                    self.report.not_acquired(not.host.as_ref(), not.why);
                    Err(not.why)
                }
            };
            let outcome = match exchange {
                Ok(exchange) => self.exchange(route, forward, &target.cluster, exchange, &mut budget).await,
                Err(why) => Try::Failed(why),
            };
            fresh = false;
            match outcome {
                Try::Done => return Ok(()),
                Try::Unwanted => {}
                // The connection had been closed while it idled: this try does not count.
                Try::Failed(Failure::UpstreamClosed | Failure::UpstreamTerminated)
                    if self.may_refresh(&mut budget, &replay) =>
                {
                    self.report.try_excused();
                    fresh = true;
                    continue;
                }
                Try::Overdue if self.grant(forward, &target.cluster, &mut budget) => {
                    self.report.hedged();
                    continue;
                }
                Try::Overdue | Try::Outdone => {
                    answer = Some(self.outwait(Failure::PerTryTimeout, &forward.retry, &mut budget).await?);
                    continue;
                }
                Try::Failed(why) => {
                    let wanted = !self.replied
                        && !self.report.head.one_way
                        && forward.retry.after(why)
                        && replay.is_complete();
                    if !wanted || !self.grant(forward, &target.cluster, &mut budget) {
                        answer = Some(self.outwait(why, &forward.retry, &mut budget).await?);
                        continue;
                    }
                    // What could not be sent anywhere has no limit yet, and may be retried often.
                    if budget.global.is_none() && replay.is_finished(&self.report.head) {
                        budget.global = budget.limits.global.map(Timer::after);
                    }
                }
            }
            answer = self.retry(&forward.retry, &mut budget).await?;
        }
    }

    #[cold]
    fn draw_mirror(
        &self,
        spec: MirrorSpec,
        route: RouteMatch<'_>,
        forward: &Forward,
        protocol: Protocol,
        limit: Option<Duration>,
    ) -> Option<Box<Mirror<U>>> {
        let kind = (protocol, self.stream.connection().id);
        Mirror::draw(self.proxy, spec, forward, &self.report.head, kind, limit, |copy| {
            route.mutate_request(copy, &self.report.variables());
            forward.rewrite(copy);
        })
    }

    /// Sends the copies once the request has come whole, or gives them up if it is too long.
    #[cold]
    pub(crate) fn send_copies(&mut self, replay: &Replay) {
        if !replay.is_complete() {
            self.give_up_copies();
        } else if replay.is_finished(&self.report.head)
            && let Some(mirror) = self.mirror.take()
        {
            mirror.send(self.proxy, replay.frames());
        }
    }

    fn give_up_copies(&mut self) {
        if let Some(mirror) = self.mirror.take() {
            mirror.give_up(self.proxy);
        }
    }

    /// The request is for the copies' clusters only: takes it whole, and answers for them.
    async fn broadcast(
        &mut self,
        route: RouteMatch<'_>,
        mirror: Box<Mirror<U>>,
        mut replay: Replay,
    ) -> Result<(), Failure> {
        self.mirror = Some(mirror);
        let limit = self.proxy.settings.limits.body_idle_timeout;
        let mut idle = Timer::after(limit);
        let (stream, report) = (&mut *self.stream, &mut self.report);
        poll_fn(|cx| {
            while !replay.is_finished(&report.head) {
                match stream.poll_recv(cx) {
                    Poll::Ready(frame) => {
                        let frame = frame.map_err(|reset| reset.0)?;
                        report.info.bytes_received += frame.len() as u64;
                        replay.record(&frame);
                        idle = Timer::after(limit);
                    }
                    Poll::Pending if limit.is_zero() => return Poll::Pending,
                    Poll::Pending => return idle.poll(cx).map(|()| Err(Failure::BodyIdleTimeout)),
                }
                if !replay.is_complete() {
                    return Poll::Ready(Err(Failure::PayloadTooLarge));
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        self.send_copies(&replay);
        self.local_reply(StatusCode::OK, Headers::default(), Bytes::new(), Some(route)).await
    }

    /// Gets a stream to one of the cluster's hosts. Where that takes time, the client may give up,
    /// the time that earlier tries have left may run out, and one that is overdue may answer. To wait
    /// until others are done is part of the request's time, to connect is not. `sent` tells whether the
    /// client has sent the whole request.
    async fn choose_host(
        &mut self,
        target: &Target<'_, U>,
        fresh: bool,
        policy: &Retry,
        sent: bool,
        budget: &mut Budget<U>,
    ) -> Result<Chosen<U>, NotAcquired> {
        let first = self.stream.first_try();
        if let Some(made) = first.and_then(|first| self.proxy.upstreams.resume(&target.cluster, first)) {
            return Ok(Chosen::Host(made));
        }
        let &Target { protocol, metadata, hash, ref position, .. } = target;
        let original = self.proxy.upstreams.original_dst(&target.cluster);
        let destination = original.and_then(|original| self.destination(original));
        let choice = Choice {
            metadata,
            hash,
            destination,
            host: self.stream.host().filter(|_| self.report.info.tries == 0 && budget.retries == 0),
            position,
            tried: &self.report.tried,
            fresh,
            rpc: self.proxy.settings.rpc(protocol),
            client: self.stream.connection().id,
            priority: target.priority,
        };
        let (waits, mut acquired) = match self.proxy.upstreams.acquire(&target.cluster, protocol, choice) {
            Acquiring::Done(done) => return done.map(Chosen::Host),
            Acquiring::Connecting { waits, acquired } => (waits, acquired),
        };
        let (stream, report) = (&mut *self.stream, &mut self.report);
        let begun = budget.global.is_some();
        let done = poll_fn(|cx| match acquired.as_mut().poll(cx) {
            Poll::Pending => match report.poll_overdue(cx, policy, false) {
                Poll::Ready(Ok(answer)) => Poll::Ready(Ok(Chosen::Answer(answer))),
                Poll::Ready(Err(_)) | Poll::Pending => {
                    if waits.get() && budget.global.is_none() {
                        budget.global = budget.limits.global.map(Timer::after);
                    }
                    let given_up = poll_given_up(cx, stream, &mut budget.global);
                    given_up.map(|why| Err(NotAcquired { why, host: None }))
                }
            },
            Poll::Ready(done) => Poll::Ready(done.map(Chosen::Host)),
        })
        .await;
        if !begun && !sent {
            // It runs from the end of the request.
            budget.global = None;
        }
        done
    }

    /// Where the request says that it goes, or else its connection was going.
    fn destination(&self, original: &OriginalDstSpec) -> Option<&str> {
        let head = &self.report.head;
        let header = original.header.as_deref().and_then(|name| match name {
            "host" => Some(&head.authority[..]).filter(|host| !host.is_empty()),
            name => head.headers.get(name),
        });
        match header {
            Some(value) => std::str::from_utf8(value).ok(),
            None => Some(&self.report.info.connection.redirected.as_ref()?.destination),
        }
    }

    fn client_address(&self) -> Option<IpAddr> {
        Some(self.stream.connection().peer()?.ip())
    }

    /// Changes the head as the route wants it; once, however many tries there are.
    fn prepare(&mut self, route: RouteMatch<'_>, forward: &Forward) {
        if !std::mem::replace(&mut self.prepared, true) {
            self.report.mutate_request(|head, variables| {
                route.mutate_request(head, variables);
                forward.rewrite(head);
            });
        }
    }

    /// One try: the request goes up as it arrives, the reply comes down as it arrives.
    async fn exchange(
        &mut self,
        route: RouteMatch<'_>,
        forward: &Forward,
        cluster: &Rc<U::Cluster>,
        mut exchange: Exchange<'_, U::Stream>,
        budget: &mut Budget<U>,
    ) -> Try {
        let policy = &forward.retry;
        let mut granted = false;
        let ended = poll_fn(|cx| {
            exchange.poll(cx, self, route, policy, |request, reply| {
                granted = policy.wants(reply) && request.grant(forward, cluster, budget);
                granted || (policy.wants(reply) && !request.report.overdue.is_empty())
            })
        })
        .await;
        let may_be_repeated = exchange.may_be_repeated();
        let (stream, global) = exchange.into_parts();
        budget.global = global;
        match ended {
            Ok(Ended::Done) => Try::Done,
            Ok(Ended::Unwanted) if granted => Try::Unwanted,
            Ok(Ended::Unwanted) => {
                self.report.end_try();
                Try::Outdone
            }
            Err(Failure::PerTryTimeout) if policy.hedge && may_be_repeated => {
                self.report.set_aside(stream, budget.token.take());
                Try::Overdue
            }
            Err(why) => {
                self.report.try_failed(why);
                Try::Failed(why)
            }
        }
    }

    /// A request that an idle connection swallowed as the upstream closed it goes out once more on
    /// a new one, if doing it twice does no harm (RFC 9110 9.2.2).
    fn may_refresh(&self, budget: &mut Budget<U>, replay: &Replay) -> bool {
        !self.replied
            && !self.report.head.one_way
            && self.report.head.method.is_idempotent()
            && replay.is_complete()
            && self.report.reused
            && std::mem::take(&mut budget.fresh)
    }

    /// Takes one retry out of the request's budget and of the cluster's.
    fn grant(&mut self, forward: &Forward, cluster: &Rc<U::Cluster>, budget: &mut Budget<U>) -> bool {
        if budget.retries >= forward.retry.max_retries {
            return false;
        }
        budget.token = None;
        budget.token = self.proxy.upstreams.retry(cluster, forward.priority);
        if budget.token.is_none() {
            self.report.retry_overflow();
            return false;
        }
        budget.retries += 1;
        self.report.retried();
        true
    }

    /// Pauses before the next try, unless the client gives up or the time runs out. A try that is
    /// overdue may answer meanwhile.
    async fn retry(
        &mut self,
        policy: &Retry,
        budget: &mut Budget<U>,
    ) -> Result<Option<Answer<U::Stream>>, Failure> {
        let mut pause = Timer::after(policy.pause(budget.retries));
        let (stream, report) = (&mut *self.stream, &mut self.report);
        poll_fn(|cx| match pause.poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(None)),
            Poll::Pending => match report.poll_overdue(cx, policy, false) {
                Poll::Ready(Ok(answer)) => Poll::Ready(Ok(Some(answer))),
                Poll::Ready(Err(_)) | Poll::Pending => poll_given_up(cx, stream, &mut budget.global).map(Err),
            },
        })
        .await
    }

    /// There is no further try: the request ends with `why`, unless some are overdue. Then it is theirs.
    async fn outwait(
        &mut self,
        why: Failure,
        policy: &Retry,
        budget: &mut Budget<U>,
    ) -> Result<Answer<U::Stream>, Failure> {
        if self.report.overdue.is_empty() {
            return Err(why);
        }
        let (stream, report) = (&mut *self.stream, &mut self.report);
        poll_fn(|cx| match report.poll_overdue(cx, policy, true) {
            Poll::Pending => poll_given_up(cx, stream, &mut budget.global).map(Err),
            answered => answered,
        })
        .await
    }

    /// Reads what is left of a small request that is answered without it, so that the client has said
    /// what it had to say before it hears the answer, and an HTTP/1 connection can go on.
    async fn swallow_body(&mut self) {
        let head = &self.report.head;
        if head.body.is_empty() || head.expects_continue || head.upgrade.is_some() {
            return;
        }
        let mut patience = Timer::after(SWALLOW);
        let mut left = SWALLOW_BYTES;
        let (stream, received) = (&mut *self.stream, &mut self.report.info.bytes_received);
        poll_fn(|cx| {
            while left > 0 {
                match stream.poll_recv(cx) {
                    Poll::Ready(Ok(frame)) => {
                        *received += frame.len() as u64;
                        left = left.saturating_sub(frame.len());
                        if frame.is_last() {
                            return Poll::Ready(());
                        }
                    }
                    // Whoever is gone shows when the answer is sent.
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return patience.poll(cx),
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    async fn direct_response(
        &mut self,
        route: RouteMatch<'_>,
        direct: &DirectResponse,
    ) -> Result<(), Failure> {
        self.swallow_body().await;
        let mut headers = Headers::default();
        if !direct.body.is_empty() {
            headers.append("Content-Type", b"text/plain; charset=utf-8");
        }
        self.local_reply(direct.status, headers, direct.body.clone(), Some(route)).await
    }

    async fn redirect(&mut self, route: RouteMatch<'_>, redirect: &Redirect) -> Result<(), Failure> {
        self.swallow_body().await;
        let mut headers = Headers::default();
        headers.append("Location", &redirect.location(&self.report.head));
        self.local_reply(redirect.status, headers, Bytes::new(), Some(route)).await
    }

    /// Answers for a failure, or, where the client has part of a reply, makes sure that it cannot
    /// take it for the whole.
    async fn fail(&mut self, why: Failure) {
        self.report.failed(why);
        if self.report.head.one_way {
            return;
        }
        let cancelled = why == Failure::UpstreamCancelled && S::CAN_CANCEL;
        if self.replied || cancelled || why == Failure::ClientGone {
            self.stream.reset(why);
            return;
        }
        let status = StatusCode::from_u16(why.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.local_reply(status, Headers::default(), Bytes::new(), None).await.is_err() {
            self.stream.reset(why);
        }
    }

    /// Sends a reply of our own.
    async fn local_reply(
        &mut self,
        status: StatusCode,
        mut headers: Headers,
        body: Bytes,
        route: Option<RouteMatch<'_>>,
    ) -> Result<(), Failure> {
        if self.report.head.one_way {
            return Ok(());
        }
        if let Some(route) = route {
            self.report.mutate_response(&mut headers, |headers, variables| {
                route.mutate_response(headers, variables);
            });
        }
        let mut first = None;
        let mut length = BodyLength::Empty;
        if !body.is_empty() && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            if self.report.head.method == Method::HEAD {
                // What a GET would have got (RFC 9110 8.6).
                headers.set("Content-Length", HeaderValue::from(body.len()).as_bytes());
            } else {
                length = BodyLength::Known(body.len() as u64);
                self.report.info.bytes_sent += body.len() as u64;
                first = Some(Frame::Data { data: body, end: true });
            }
        }
        self.report.replied(status, &headers);
        self.replied = true;
        let mut head = Some(ResponseHead { status, headers, body: length });
        let limit = self.proxy.settings.limits.body_idle_timeout;
        let mut idle = None;
        let stream = &mut *self.stream;
        poll_fn(|cx| {
            if let Some(head) = head.take()
                && let Err(reset) = stream.send_head(cx, head, first.take())
            {
                return Poll::Ready(Err(reset.0));
            }
            if let Poll::Ready(flushed) = stream.poll_flushed(cx) {
                return Poll::Ready(flushed.map_err(|reset| reset.0));
            }
            if limit.is_zero() {
                return Poll::Pending;
            }
            let idle = idle.get_or_insert_with(|| Timer::after(limit));
            idle.poll(cx).map(|()| Err(Failure::BodyIdleTimeout))
        })
        .await
    }
}

/// Ready when there is no use in going on: the client has gone, or the request's time is up.
fn poll_given_up<S: ServerStream>(
    cx: &mut Context<'_>,
    stream: &mut S,
    global: &mut Option<Timer>,
) -> Poll<Failure> {
    if let Poll::Ready(why) = stream.poll_gone(cx) {
        return Poll::Ready(why);
    }
    match global {
        Some(timer) => timer.poll(cx).map(|()| Failure::GlobalTimeout),
        None => Poll::Pending,
    }
}

const fn is_rpc(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Rpc(_))
}

/// Whether a body is larger than allowed; a limit of 0 allows any.
pub(crate) const fn exceeds(length: u64, limit: u64) -> bool {
    limit != 0 && length > limit
}
