//! Copies of requests for other clusters.
//!
//! A copy cannot slow or fail the request it is made from: it is made of what is kept for another try
//! anyway, sent by a task of its own, whose time is limited, and nobody looks at the reply. Where too
//! many are in flight, it is not made.

use std::{
    cell::Cell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use mosn_config::model::{MirrorSpec, Priority, RpcSpec};
use mosn_core::{Failure, Frame, Protocol, RequestHead};
use mosn_net::{
    clock::{self, Moment},
    timer::Timer,
};
use mosn_router::Forward;
use mosn_stream::{ClientStream, Reply};
use mosn_upstream::Outcome;

use crate::{
    Acquired, Choice, Upstreams,
    context::Proxy,
    exchange::since,
    upstreams::{Acquiring, HostRef, NotAcquired, outcome},
};

/// Copies that a listener has in flight on one worker, at most.
const MOST: u32 = 256;

/// How long a copy of a request without a time limit may take.
const LONGEST: Duration = Duration::from_secs(60);

/// What is copied, once its body is complete.
pub(crate) struct Mirror<U: Upstreams> {
    head: RequestHead,
    protocol: Protocol,
    /// The client's connection, by its id.
    client: u64,
    /// With how many copies each gets.
    targets: Vec<(Rc<U::Cluster>, u32)>,
    limit: Duration,
}

impl<U: Upstreams> Mirror<U> {
    /// Draws which clusters get a copy; `None` = no one does. `prepare` makes the route's changes to
    /// the copy.
    #[cold]
    pub(crate) fn draw(
        proxy: &Proxy<U>,
        spec: MirrorSpec,
        forward: &Forward,
        head: &RequestHead,
        (protocol, client): (Protocol, u64),
        limit: Option<Duration>,
        prepare: impl FnOnce(&mut RequestHead),
    ) -> Option<Box<Self>> {
        let drawn = forward.mirrors.iter().filter(|policy| fastrand::u32(..1_000_000) < policy.per_million);
        let targets: Vec<_> = drawn
            .filter_map(|policy| proxy.upstreams.cluster(&policy.cluster))
            .map(|cluster| {
                let hosts = spec.broadcast.then(|| proxy.upstreams.healthy_hosts(&cluster));
                (cluster, hosts.unwrap_or(spec.copies))
            })
            .collect();
        // The other side of a tunnel would be nobody.
        if targets.is_empty() || head.upgrade.is_some() {
            return None;
        }
        let mut head = head.clone();
        prepare(&mut head);
        head.expects_continue = false;
        Some(Box::new(Self { head, protocol, client, targets, limit: limit.unwrap_or(LONGEST) }))
    }

    /// Sends all copies with this body.
    pub(crate) fn send(self, proxy: &Proxy<U>, body: &[Frame]) {
        for (cluster, copies) in self.targets {
            let room = copies.min(MOST.saturating_sub(proxy.copies.get()));
            for metrics in &proxy.settings.metrics {
                metrics.request_mirror.add(room.into());
                metrics.request_mirror_dropped.add((copies - room).into());
            }
            for _ in 0..room {
                let copy = Copy {
                    upstreams: Rc::clone(&proxy.upstreams),
                    cluster: Rc::clone(&cluster),
                    protocol: self.protocol,
                    rpc: proxy.settings.rpc(self.protocol),
                    client: self.client,
                    head: self.head.clone(),
                    body: Vec::from(body).into_iter(),
                    limit: self.limit,
                    _in_flight: InFlight::new(&proxy.copies),
                };
                tokio::task::spawn_local(copy.carry_through());
            }
        }
    }

    /// There will be no body to send.
    pub(crate) fn give_up(self, proxy: &Proxy<U>) {
        let copies = self.targets.iter().map(|(_, copies)| u64::from(*copies)).sum();
        for metrics in &proxy.settings.metrics {
            metrics.request_mirror_dropped.add(copies);
        }
    }
}

/// A copy's place in its worker's count.
struct InFlight(Rc<Cell<u32>>);

impl InFlight {
    fn new(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One copy on its way.
struct Copy<U: Upstreams> {
    upstreams: Rc<U>,
    cluster: Rc<U::Cluster>,
    protocol: Protocol,
    rpc: RpcSpec,
    client: u64,
    head: RequestHead,
    body: std::vec::IntoIter<Frame>,
    limit: Duration,
    _in_flight: InFlight,
}

impl<U: Upstreams> Copy<U> {
    async fn carry_through(mut self) {
        let mut limit = Timer::after(self.limit);
        // The cluster's metrics have what there is to know.
        let Ok(Acquired { stream, attempt, host }) = self.acquire(&mut limit).await else {
            return;
        };
        let mut sending = Sending {
            try_: Some((attempt, host, clock::moment())),
            upstreams: Rc::clone(&self.upstreams),
            cluster: Rc::clone(&self.cluster),
            stream,
            sent: false,
            replied: None,
        };
        sending.begin();
        let failure = poll_fn(|cx| match sending.poll(cx, &mut self.head, &mut self.body) {
            Poll::Ready(done) => Poll::Ready(done.err()),
            Poll::Pending => limit.poll(cx).map(|()| Some(Failure::GlobalTimeout)),
        })
        .await;
        sending.end(failure);
    }

    async fn acquire(&self, limit: &mut Timer) -> Result<Acquired<U>, NotAcquired> {
        let choice = Choice {
            metadata: None,
            hash: None,
            destination: None,
            host: None,
            position: &Cell::new(None),
            tried: &[],
            fresh: false,
            rpc: self.rpc,
            client: self.client,
            priority: Priority::Default,
        };
        match self.upstreams.acquire(&self.cluster, self.protocol, choice) {
            Acquiring::Done(done) => done,
            Acquiring::Connecting { mut acquired, .. } => {
                poll_fn(|cx| match acquired.as_mut().poll(cx) {
                    Poll::Pending => {
                        limit.poll(cx).map(|()| Err(NotAcquired { why: Failure::GlobalTimeout, host: None }))
                    }
                    done => done,
                })
                .await
            }
        }
    }
}

/// A copy that has a stream. Dropped before its end, it gives back what it holds.
struct Sending<U: Upstreams> {
    try_: Option<(U::Attempt, HostRef, Moment)>,
    upstreams: Rc<U>,
    cluster: Rc<U::Cluster>,
    stream: U::Stream,
    sent: bool,
    /// The reply's status, and how long it took.
    replied: Option<(u16, Duration)>,
}

impl<U: Upstreams> Sending<U> {
    fn begin(&self) {
        if let Some((_, host, _)) = &self.try_ {
            for metrics in [self.upstreams.metrics(&self.cluster), &host.metrics] {
                metrics.request_total.inc();
                metrics.request_active.inc();
            }
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
        body: &mut std::vec::IntoIter<Frame>,
    ) -> Poll<Result<(), Failure>> {
        if !self.sent {
            self.sent = true;
            self.stream.send_head(cx, head, false, body.next()).map_err(|reset| reset.0)?;
        }
        while !body.as_slice().is_empty() {
            match self.stream.poll_ready(cx) {
                Poll::Ready(ready) => ready.map_err(|reset| reset.0)?,
                Poll::Pending => break,
            }
            if let Some(frame) = body.next() {
                self.stream.send(cx, frame).map_err(|reset| reset.0)?;
            }
        }
        if head.one_way && body.as_slice().is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.replied.is_none() {
            match self.stream.poll_reply(cx) {
                Poll::Ready(Ok(Reply::Interim(..))) => {}
                Poll::Ready(Ok(Reply::Head(reply, first))) => {
                    let took = self.try_.as_ref().map_or(Duration::ZERO, |(_, _, start)| since(*start));
                    self.replied = Some((reply.status.as_u16(), took));
                    if reply.body.is_empty() || first.is_some_and(|first| first.is_last()) {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(reset)) => return Poll::Ready(Err(reset.0)),
                Poll::Pending => return Poll::Pending,
            }
        }
        loop {
            match self.stream.poll_recv(cx) {
                Poll::Ready(Ok(frame)) if frame.is_last() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(reset)) => return Poll::Ready(Err(reset.0)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn end(&mut self, failure: Option<Failure>) {
        let Some((attempt, host, start)) = self.try_.take() else {
            return;
        };
        for metrics in [self.upstreams.metrics(&self.cluster), &host.metrics] {
            metrics.request_active.dec();
            match self.replied {
                Some((..500, _)) => metrics.response_success.inc(),
                _ => metrics.response_failed.inc(),
            }
        }
        let (how, took) = match (failure, self.replied) {
            (Some(why), _) => (outcome(why), since(start)),
            (None, Some((status, took))) => (Outcome::Status(status), took),
            (None, None) => (Outcome::Unknown, Duration::ZERO),
        };
        self.upstreams.finish(attempt, how, took);
    }
}

impl<U: Upstreams> Drop for Sending<U> {
    fn drop(&mut self) {
        self.end(Some(Failure::Drain));
    }
}
