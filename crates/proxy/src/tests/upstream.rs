//! Upstreams in memory: one cluster, whose tries go as they are told.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::StatusCode;
use mosn_config::model::{OriginalDstSpec, Priority};
use mosn_core::{Failure, Frame, Headers, Protocol, RequestHead, Reset, ResponseHead};
use mosn_stream::{ClientStream, Reply};
use mosn_telemetry::UpstreamMetrics;
use mosn_upstream::{Cluster, HostId, Outcome, Overflow, RequestToken, RetryToken};

use super::script::{Appetite, Script};
use crate::{Acquired, Acquiring, Choice, HostRef, NotAcquired, Upstreams};

/// What an upstream does on one stream.
pub(super) enum Event {
    Interim(u16),
    Head(ResponseHead, Option<Frame>),
    Frame(Frame),
    Reset(Failure),
}

/// How one try goes.
pub(super) struct Plan {
    /// ms until there is a stream, or it is clear that there will be none.
    connects: u64,
    /// That time goes by because the host has as many connections as it may.
    waits: bool,
    host: u64,
    reused: bool,
    refuses: Option<Failure>,
    events: Vec<(u64, Event)>,
    appetite: Appetite,
    send_fails: Option<Failure>,
}

impl Plan {
    /// A stream on which these things happen, in ms after it began.
    pub(super) fn on(host: u64, events: Vec<(u64, Event)>) -> Self {
        Self {
            connects: 0,
            waits: false,
            host,
            reused: false,
            refuses: None,
            events,
            appetite: Appetite::any(),
            send_fails: None,
        }
    }

    /// No stream.
    pub(super) fn refused(host: u64, why: Failure) -> Self {
        Self { refuses: Some(why), ..Self::on(host, Vec::new()) }
    }

    pub(super) fn after(self, connects: u64) -> Self {
        Self { connects, ..self }
    }

    pub(super) fn waits(self) -> Self {
        Self { waits: true, ..self }
    }

    pub(super) fn reused(self) -> Self {
        Self { reused: true, ..self }
    }

    pub(super) fn takes(self, room: usize, opens_at: Option<u64>) -> Self {
        Self { appetite: Appetite::of(room, opens_at), ..self }
    }

    /// Writing the head fails.
    pub(super) fn send_fails(self, why: Failure) -> Self {
        Self { send_fails: Some(why), ..self }
    }
}

/// What one try's upstream has got.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) head: Option<RequestHead>,
    pub(super) frames: Vec<Frame>,
    /// Frames of the reply that the proxy took.
    pub(super) taken: usize,
    /// What the choice of the host was told.
    pub(super) tried: Vec<HostId>,
    pub(super) fresh: bool,
    pub(super) hash: Option<u64>,
    pub(super) destination: Option<String>,
    pub(super) position: Option<u32>,
}

/// A cluster as a request has it.
pub(super) struct Named {
    metrics: Arc<UpstreamMetrics>,
    original_dst: Option<OriginalDstSpec>,
    /// Where its requests go, if it is not the one cluster.
    other: Option<Rc<Upstream>>,
}

/// The one cluster, `c`, and perhaps another.
pub(super) struct Upstream {
    /// `m`, which copies go to.
    pub(super) mirror: RefCell<Option<Rc<Upstream>>>,
    /// Whether requests say where they go.
    pub(super) original_dst: Option<OriginalDstSpec>,
    /// Counts what is in flight as a real one does.
    pub(super) breakers: RefCell<Option<Arc<Cluster>>>,
    /// What comes once the plans are used up.
    pub(super) otherwise: Cell<Option<fn() -> Plan>>,
    plans: RefCell<VecDeque<Plan>>,
    pub(super) sent: RefCell<Vec<Rc<RefCell<Sent>>>>,
    pub(super) metrics: Arc<UpstreamMetrics>,
    pub(super) host_metrics: Arc<UpstreamMetrics>,
    /// Retries that the cluster still allows.
    pub(super) retries: Cell<u32>,
    /// Streams and connects under way.
    pub(super) live: Rc<Cell<usize>>,
    pub(super) tokens: Rc<Cell<usize>>,
    /// Attempts that nobody has ended.
    pub(super) attempts: Rc<Cell<usize>>,
    /// What was told of each host, and how many ms it took.
    pub(super) outcomes: RefCell<Vec<(u64, Outcome, u64)>>,
}

/// Counts itself.
pub(super) struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Upstream {
    pub(super) fn new(plans: Vec<Plan>) -> Self {
        Self {
            mirror: RefCell::default(),
            original_dst: None,
            breakers: RefCell::default(),
            otherwise: Cell::default(),
            plans: RefCell::new(plans.into()),
            sent: RefCell::default(),
            metrics: Arc::default(),
            host_metrics: Arc::default(),
            retries: Cell::new(u32::MAX),
            live: Rc::default(),
            tokens: Rc::default(),
            attempts: Rc::default(),
            outcomes: RefCell::default(),
        }
    }

    fn open(&self, choice: Choice<'_>) -> Acquiring<Self> {
        let live = Counted::new(&self.live);
        let plan = self.plans.borrow_mut().pop_front();
        let Some(plan) = plan.or_else(|| self.otherwise.get().map(|plan| plan())) else {
            return Acquiring::Done(Err(NotAcquired { why: Failure::NoHealthyHost, host: None }));
        };
        let sent = Rc::new(RefCell::new(Sent {
            tried: choice.tried.to_vec(),
            fresh: choice.fresh,
            hash: choice.hash,
            destination: choice.destination.map(Into::into),
            position: choice.position.get(),
            ..Sent::default()
        }));
        self.sent.borrow_mut().push(Rc::clone(&sent));
        choice.position.set(Some(choice.position.get().unwrap_or(0) + 1));
        let attempt = (plan.host, Counted::new(&self.attempts));
        let host = HostRef {
            id: HostId(plan.host),
            address: Arc::from(format!("10.0.0.{}:80", plan.host)),
            hostname: None,
            metrics: Arc::clone(&self.host_metrics),
        };
        let request =
            self.breakers.borrow().as_ref().map(|cluster| cluster.try_acquire_request(choice.priority));
        let connects = plan.connects;
        let acquired = match plan.refuses {
            Some(why) => Err(NotAcquired { why, host: Some(host) }),
            None => {
                let stream = Peer {
                    events: Script::new(plan.events),
                    appetite: plan.appetite,
                    reused: plan.reused,
                    send_fails: plan.send_fails,
                    sent,
                    _live: live,
                    _request: request,
                };
                Ok(Acquired { stream, attempt, host })
            }
        };
        if connects == 0 {
            return Acquiring::Done(acquired);
        }
        let waits = Rc::new(Cell::new(plan.waits));
        let acquired = Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(connects)).await;
            acquired
        });
        Acquiring::Connecting { waits, acquired }
    }
}

impl Upstreams for Upstream {
    type Cluster = Named;
    type Stream = Peer;
    type Attempt = (u64, Counted);
    type RetryToken = (Counted, Option<RetryToken>);

    fn cluster(&self, name: &str) -> Option<Rc<Self::Cluster>> {
        let named = |upstream: &Self, other| Named {
            metrics: Arc::clone(&upstream.metrics),
            original_dst: upstream.original_dst.clone(),
            other,
        };
        match (name, &*self.mirror.borrow()) {
            ("c", _) => Some(Rc::new(named(self, None))),
            ("m", Some(mirror)) => Some(Rc::new(named(mirror, Some(Rc::clone(mirror))))),
            _ => None,
        }
    }

    fn metrics<'a>(&self, cluster: &'a Self::Cluster) -> &'a UpstreamMetrics {
        &cluster.metrics
    }

    fn original_dst<'a>(&self, cluster: &'a Self::Cluster) -> Option<&'a OriginalDstSpec> {
        cluster.original_dst.as_ref()
    }

    fn found_by_name(&self, _cluster: &Self::Cluster) -> bool {
        true
    }

    fn healthy_hosts(&self, _cluster: &Self::Cluster) -> u32 {
        2
    }

    fn acquire(
        &self,
        cluster: &Rc<Self::Cluster>,
        _protocol: Protocol,
        choice: Choice<'_>,
    ) -> Acquiring<Self> {
        match &cluster.other {
            Some(other) => other.open(choice),
            None => self.open(choice),
        }
    }

    fn finish(&self, (host, _): (u64, Counted), outcome: Outcome, took: Duration) {
        self.outcomes.borrow_mut().push((host, outcome, took.as_millis() as u64));
    }

    fn retry(&self, _cluster: &Rc<Self::Cluster>, priority: Priority) -> Option<Self::RetryToken> {
        let token = match &*self.breakers.borrow() {
            Some(cluster) => Some(cluster.try_acquire_retry(priority).ok()?),
            None => None,
        };
        self.retries.set(self.retries.get().checked_sub(1)?);
        Some((Counted::new(&self.tokens), token))
    }
}

/// One stream to the upstream.
pub(super) struct Peer {
    events: Script<Event>,
    appetite: Appetite,
    reused: bool,
    send_fails: Option<Failure>,
    sent: Rc<RefCell<Sent>>,
    _live: Counted,
    _request: Option<Result<RequestToken, Overflow>>,
}

impl ClientStream for Peer {
    fn connection_id(&self) -> u64 {
        1
    }

    fn is_reused(&self) -> bool {
        self.reused
    }

    fn send_head(
        &mut self,
        _cx: &mut Context<'_>,
        head: &mut RequestHead,
        keep: bool,
        first: Option<Frame>,
    ) -> Result<(), Reset> {
        if let Some(why) = self.send_fails {
            return Err(Reset(why));
        }
        let mut sent = self.sent.borrow_mut();
        assert!(sent.head.is_none(), "a second head");
        sent.head = Some(head.clone());
        if !keep {
            head.headers = Headers::default();
        }
        if let Some(first) = first {
            self.appetite.take();
            sent.frames.push(first);
        }
        Ok(())
    }

    fn send(&mut self, _cx: &mut Context<'_>, frame: Frame) -> Result<(), Reset> {
        let mut sent = self.sent.borrow_mut();
        assert!(sent.head.is_some(), "a frame before the head");
        assert!(!sent.frames.last().is_some_and(Frame::is_last), "a frame after the last one");
        self.appetite.take();
        sent.frames.push(frame);
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        self.appetite.poll(cx, false).map(Ok)
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, Reset>> {
        if let Some(Event::Frame(_)) = self.events.peek() {
            panic!("asked for a head where a frame comes");
        }
        self.events.poll(cx).map(|event| match event {
            Event::Interim(status) => {
                Ok(Reply::Interim(StatusCode::from_u16(status).expect("a status"), Headers::default()))
            }
            Event::Head(head, first) => {
                self.sent.borrow_mut().taken += usize::from(first.is_some());
                Ok(Reply::Head(head, first))
            }
            Event::Reset(why) => Err(Reset(why)),
            Event::Frame(_) => unreachable!("seen above"),
        })
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Reset>> {
        self.events.poll(cx).map(|event| match event {
            Event::Frame(frame) => {
                self.sent.borrow_mut().taken += 1;
                Ok(frame)
            }
            Event::Reset(why) => Err(Reset(why)),
            Event::Interim(_) | Event::Head(..) => panic!("asked for a frame where a head comes"),
        })
    }
}
