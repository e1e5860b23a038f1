//! A proxy with everything around it: routes, metrics, an access log, and time.

use std::{cell::RefCell, future::Future, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use mosn_config::model::{
    AccessLogSpec, ActionSpec, ClusterChoiceSpec, ForwardSpec, HeaderMutationsSpec, HttpLimits, LogOutput,
    MirrorPolicySpec, MirrorSpec, PathMatchSpec, RouteMatchSpec, RouteSpec, RouterSpec, ServerSpec,
    VirtualHostSpec,
};
use mosn_core::{BodyLength, Frame, Headers, Protocol, RequestHead, ResponseHead, Scheme};
use mosn_router::Router;
use mosn_stream::Service;
use mosn_telemetry::{DownstreamMetrics, LogHandle};

use super::{
    client::{Client, Got},
    upstream::{Event, Plan, Sent, Upstream},
};
use crate::{Proxy, ProxySettings, RouterLookup};

/// Runs a test on a worker of its own, whose clock jumps to the next timer when nothing else is left.
/// A thread of its own, too: a worker's timers are its thread's, and must not see another clock.
pub(super) fn play<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| play_here(test()));
        if let Err(panic) = worker.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn play_here(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        tokio::task::spawn_local(mosn_net::timer::drive());
        // No request that a test makes may take longer than this.
        tokio::time::timeout(Duration::from_secs(3600), test).await.expect("the test hangs");
    });
}

pub(super) struct World {
    pub(super) proxy: Proxy<Upstream>,
    pub(super) upstream: Rc<Upstream>,
    pub(super) downstream: Arc<DownstreamMetrics>,
    logs: LogHandle,
    log: tempfile::NamedTempFile,
}

/// What a request met with.
pub(super) struct Outcome {
    pub(super) got: Rc<RefCell<Got>>,
    /// Its line in the access log: status, flags, word, bytes received, bytes sent.
    pub(super) line: String,
    pub(super) took: Duration,
}

impl Outcome {
    pub(super) fn status(&self) -> u16 {
        self.got.borrow().status()
    }

    pub(super) fn millis(&self) -> u64 {
        self.took.as_millis() as u64
    }
}

impl World {
    /// All requests go to the cluster, which does as `plans` say, one after the other.
    pub(super) fn forwarding(plans: Vec<Plan>) -> Self {
        Self::with(forward(|_| {}), HttpLimits::default(), plans)
    }

    pub(super) fn with(action: ActionSpec, limits: HttpLimits, plans: Vec<Plan>) -> Self {
        Self::routed(any(action), limits, plans)
    }

    /// Copies all requests like this to an upstream that does as `mirrored` say.
    pub(super) fn mirroring(spec: MirrorSpec, plans: Vec<Plan>, mirrored: Vec<Plan>) -> Self {
        let action = forward(|spec| {
            spec.timeout = Some(Duration::from_secs(2));
            spec.mirrors = vec![MirrorPolicySpec { cluster: "m".into(), per_million: 1_000_000 }];
        });
        let mut world = Self::with(action, HttpLimits::default(), plans);
        world.proxy.settings.mirror = Some(spec);
        world.upstream.mirror.replace(Some(Rc::new(Upstream::new(mirrored))));
        world
    }

    /// The upstream that copies go to.
    pub(super) fn mirror(&self) -> Rc<Upstream> {
        self.upstream.mirror.borrow().clone().expect("a mirror")
    }

    pub(super) fn routed(route: RouteSpec, limits: HttpLimits, plans: Vec<Plan>) -> Self {
        let router = router_of(route);
        let log = tempfile::NamedTempFile::new().expect("a file");
        let (logs, _) = LogHandle::new(&ServerSpec { log_path: LogOutput::Stderr, ..ServerSpec::default() })
            .expect("a log");
        let format = "%response_code% %upstream_transport_failure_reason% %response_code_details% \
                      %bytes_received% %bytes_sent%";
        let access_log = logs
            .access_log(&AccessLogSpec {
                output: LogOutput::File(log.path().to_owned()),
                format: Some(format.to_owned()),
            })
            .expect("an access log");
        let upstream = Rc::new(Upstream::new(plans));
        let downstream = Arc::<DownstreamMetrics>::default();
        let settings = ProxySettings {
            limits: Rc::new(limits),
            rpc: Rc::default(),
            router: RouterLookup::inline(router),
            metrics: [Arc::clone(&downstream), Arc::default()],
            mirror: None,
            access_logs: vec![Rc::new(access_log.writer())],
        };
        Self { proxy: Proxy::new(settings, Rc::clone(&upstream)), upstream, downstream, logs, log }
    }

    /// Carries one request through, and holds the engine to what is true of every request.
    pub(super) async fn run(&self, client: Client, head: RequestHead) -> Outcome {
        let begun = tokio::time::Instant::now();
        let lines = self.lines().len();
        let got = self.run_partly(client, head, usize::MAX).await.0;
        let took = begun.elapsed();
        let mut lines = self.lines().split_off(lines);
        assert_eq!(lines.len(), 1, "one line for each request: {lines:?}");
        self.assert_all_given_back();
        Outcome { got, line: lines.remove(0), took }
    }

    /// Polls a request so often and then drops it; whether it had come to its end.
    pub(super) async fn run_partly(
        &self,
        mut client: Client,
        head: RequestHead,
        polls: usize,
    ) -> (Rc<RefCell<Got>>, bool) {
        let got = Rc::clone(&client.got);
        let mut polled = 0;
        let ended = {
            let mut request = std::pin::pin!(self.proxy.serve(&mut client, Box::new(head)));
            std::future::poll_fn(|cx| {
                if polled == polls {
                    return std::task::Poll::Ready(false);
                }
                polled += 1;
                request.as_mut().poll(cx).map(|()| true)
            })
            .await
        };
        (got, ended)
    }

    /// Nothing is in flight any more.
    pub(super) fn assert_all_given_back(&self) {
        assert_eq!(self.downstream.request_active.get(), 0, "downstream request_active");
        assert_eq!(self.upstream.metrics.request_active.get(), 0, "cluster request_active");
        assert_eq!(self.upstream.host_metrics.request_active.get(), 0, "host request_active");
        assert_eq!(self.upstream.live.get(), 0, "streams");
        assert_eq!(self.upstream.tokens.get(), 0, "retry tokens");
        assert_eq!(self.upstream.attempts.get(), 0, "attempts");
    }

    /// The access log's lines.
    pub(super) fn lines(&self) -> Vec<String> {
        for log in &self.proxy.settings.access_logs {
            log.flush();
        }
        self.logs.flush();
        let text = std::fs::read_to_string(self.log.path()).expect("the log");
        text.lines().map(str::to_owned).collect()
    }

    /// What the upstream of the try with this number, from 0, has got.
    pub(super) fn sent(&self, try_: usize) -> Rc<RefCell<Sent>> {
        Rc::clone(&self.upstream.sent.borrow()[try_])
    }

    pub(super) fn tries(&self) -> usize {
        self.upstream.sent.borrow().len()
    }
}

/// A table that sends all requests for `a.com` to the cluster, in HTTP/1.
pub(super) fn router() -> Router {
    router_of(any(forward(|spec| spec.upstream_protocol = Some(Protocol::Http1))))
}

fn router_of(route: RouteSpec) -> Router {
    let host = VirtualHostSpec {
        name: "v".into(),
        domains: vec!["a.com".into()],
        routes: vec![route],
        ..VirtualHostSpec::default()
    };
    let spec = RouterSpec { name: "r".into(), virtual_hosts: vec![host], ..RouterSpec::default() };
    Router::build(&spec).expect("a router")
}

/// A route that takes every request.
fn any(action: ActionSpec) -> RouteSpec {
    RouteSpec {
        name: None,
        matches: RouteMatchSpec {
            path: PathMatchSpec::Prefix("/".into()),
            headers: Vec::new(),
            ..RouteMatchSpec::default()
        },
        action,
        headers: HeaderMutationsSpec::default(),
        leaves_request: false,
        filter_config: None,
    }
}

/// Forwarding to the cluster, changed a little.
pub(super) fn forward(change: impl FnOnce(&mut ForwardSpec)) -> ActionSpec {
    let mut spec = ForwardSpec { cluster: ClusterChoiceSpec::Named("c".into()), ..ForwardSpec::default() };
    change(&mut spec);
    ActionSpec::Forward(Box::new(spec))
}

/// A GET without a body.
pub(super) fn get() -> RequestHead {
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        authority: Bytes::from_static(b"a.com"),
        path: Bytes::from_static(b"/p?q=1"),
        headers: Headers::default(),
        body: BodyLength::Empty,
        upgrade: None,
        expects_continue: false,
        one_way: false,
    }
}

/// A POST whose length is not known beforehand.
pub(super) fn post() -> RequestHead {
    RequestHead { method: Method::POST, body: BodyLength::Unknown, ..get() }
}

pub(super) fn data(text: &'static str) -> Frame {
    Frame::Data { data: Bytes::from_static(text.as_bytes()), end: false }
}

pub(super) fn last(text: &'static str) -> Frame {
    Frame::Data { data: Bytes::from_static(text.as_bytes()), end: true }
}

pub(super) fn bytes(length: usize, end: bool) -> Frame {
    Frame::Data { data: Bytes::from(vec![b'x'; length]), end }
}

pub(super) fn trailers() -> Frame {
    let mut trailers = Headers::default();
    trailers.append("x-sum", b"1");
    Frame::Trailers(Box::new(trailers))
}

/// A reply's head.
pub(super) fn head(status: u16, body: BodyLength) -> Event {
    Event::Head(response(status, body), None)
}

pub(super) fn response(status: u16, body: BodyLength) -> ResponseHead {
    ResponseHead {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: Headers::default(),
        body,
    }
}

/// An upstream that answers `status` without a body after so many ms.
pub(super) fn answers(host: u64, at: u64, status: u16) -> Plan {
    Plan::on(host, vec![(at, head(status, BodyLength::Empty))])
}
