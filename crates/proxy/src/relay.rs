//! The quick way for RPC: a call that is passed on as it came, and its reply likewise.
//!
//! It does what the phases in `engine.rs` do for a request that needs nothing but a route and a
//! host: no header that is changed differently each time, a connection that is open already. Whatever
//! asks for more is told to take the long way, which also answers what has no route or no host. A call that may be tried again goes
//! the quick way until its first try fails; the long way takes it on from there. What is reported at
//! the end is the same either way.

use std::{borrow::Cow, cell::Cell, fmt, rc::Rc, sync::Arc, time::Duration};

use mosn_codec::rpc::{FrameKind, HeaderError};
use mosn_config::model::PoolMode;
use mosn_core::{Failure, Protocol, RequestInfo, ResponseFlags};
use mosn_net::clock;
use mosn_router::{Action, NoVariables, Subject, TimeoutOverrides, timeouts};
use mosn_stream::rpc::{Call, Relay, RelayEnd, RelayObserver, RelayedCall, RpcUse, UpstreamFacts, Verdict};
use mosn_telemetry::{AccessLogWriter, DownstreamMetrics, LogContext, Variable};
use mosn_upstream::Host;

use crate::{Choice, ProxySettings, Upstreams, context::Proxy};

impl<U: Upstreams> Proxy<U> {
    pub(crate) fn relay_call(&self, call: &Call<'_>) -> Verdict {
        let subject = CallSubject { call, unreadable: Cell::new(None), asked_for_more: Cell::new(false) };
        let mut host = None;
        let relay = self.find_relay(call, &subject, &mut host);
        match (subject.unreadable.get(), relay) {
            (Some(error), _) => Verdict::Unreadable(error),
            (None, Some(relay)) if !subject.asked_for_more.get() => Verdict::Relay(relay),
            _ => Verdict::Serve(host),
        }
    }

    /// `host` becomes the one that was chosen where it has no connection for the call.
    fn find_relay(
        &self,
        call: &Call<'_>,
        subject: &CallSubject<'_>,
        host: &mut Option<Arc<Host>>,
    ) -> Option<Relay> {
        if self.logs_request || self.logs_response_headers {
            return None;
        }
        let router = self.router()?;
        let route = router.find(subject)?;
        let Action::Forward(forward) = &route.route.action else { return None };
        let protocol = Protocol::Rpc(call.protocol.name());
        let same_protocol = forward.upstream_protocol.is_none_or(|upstream| upstream == protocol);
        if !same_protocol || !forward.is_plain() || !route.changes_requests_alike() {
            return None;
        }
        let overrides = TimeoutOverrides { global: call.timeout(), per_try: None };
        let (global, per_try) = timeouts(forward, subject, overrides);
        let pick = forward.cluster(subject)?;
        let spec = self.settings.rpc(protocol);
        let again = forward.retries_after_sending()
            && call.view.kind == FrameKind::Request
            && call.frame.len() <= forward.buffer_limit;
        // What fails is taken on by the long way, which must come to the same cluster.
        if again && (forward.retry.hedge || !forward.has_fixed_cluster() || spec.pool == PoolMode::Binding) {
            return None;
        }
        // Nothing may be taken from the balancer for a call that will not go.
        if per_try.is_some() && !again || subject.asked_for_more.get() || subject.unreadable.get().is_some() {
            return None;
        }
        let headers = match route.changes_nothing() {
            true => None,
            false => {
                let mut head = call.head().map_err(|error| subject.unreadable.set(Some(error))).ok()?;
                route.mutate_request(&mut head, &NoVariables);
                Some(head.headers)
            }
        };
        let cluster = self.upstreams.cluster(&pick.name)?;
        let rpc = RpcUse { protocol: call.protocol, spec, client: call.connection.id };
        let hash = forward.hash(subject, call.connection.peer().map(|peer| peer.ip()));
        if hash.cookie.is_some() {
            return None;
        }
        let choice = Choice {
            metadata: pick.metadata.as_deref(),
            hash: hash.value,
            destination: None,
            host: None,
            position: &Cell::new(None),
            tried: &[],
            fresh: false,
            rpc: rpc.spec,
            client: rpc.client,
            priority: forward.priority,
        };
        let line = self.upstreams.line(&cluster, &rpc, choice).map_err(|chosen| *host = chosen).ok()?;
        let observer: Rc<dyn RelayObserver> = Rc::<Relays>::clone(&self.relays);
        Some(Relay {
            upstream: line.upstream,
            headers,
            timeout: global,
            again,
            per_try,
            observer,
            token: line.token,
            attempt: line.attempt,
        })
    }
}

/// What the header fields begin with that speak to the proxy itself. Every call is asked for some of them,
/// and hardly one has any.
const OURS: &str = "x-mosn-";

/// A call as routes see it.
struct CallSubject<'a> {
    call: &'a Call<'a>,
    /// Why header fields could not be read.
    unreadable: Cell<Option<HeaderError>>,
    /// The routes look at something that only the long way knows.
    asked_for_more: Cell<bool>,
}

impl Subject for CallSubject<'_> {
    fn authority(&self) -> &[u8] {
        b""
    }

    /// What the long way calls it.
    fn method(&self) -> &[u8] {
        b"POST"
    }

    fn path(&self) -> &[u8] {
        b""
    }

    fn scheme(&self) -> &[u8] {
        b"http"
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if name.starts_with(OURS) && !self.call.may_have(OURS) {
            return None;
        }
        self.call.header(name).unwrap_or_else(|error| {
            self.unreadable.set(Some(error));
            None
        })
    }

    fn headers_size(&self) -> (usize, usize) {
        self.asked_for_more.set(true);
        (0, 0)
    }

    fn info(&self) -> Option<&RequestInfo> {
        self.asked_for_more.set(true);
        None
    }

    fn variable(&self, _: &Variable, _: &mut Vec<u8>) -> bool {
        self.asked_for_more.set(true);
        false
    }
}

/// Reports the relayed calls of one listener on one worker.
pub(crate) struct Relays {
    metrics: [Arc<DownstreamMetrics>; 2],
    access_logs: Vec<Rc<AccessLogWriter>>,
}

impl fmt::Debug for Relays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Relays")
    }
}

impl Relays {
    pub(crate) fn new(settings: &ProxySettings) -> Self {
        Self { metrics: settings.metrics.clone(), access_logs: settings.access_logs.clone() }
    }

    fn log(&self, call: &RelayedCall<'_>, end: RelayEnd, took: Duration) {
        let upstream = call.upstream;
        let mut info = RequestInfo::new(
            Rc::clone(call.connection),
            Protocol::Rpc(upstream.protocol.name()),
            call.id,
            clock::now().into_std().checked_sub(took).unwrap_or_else(|| clock::now().into_std()),
            clock::wall().checked_sub(took).unwrap_or_else(clock::wall),
        );
        info.upstream_protocol = Some(info.protocol);
        info.cluster = Some(Arc::clone(&upstream.cluster));
        info.upstream_address = Some(Arc::clone(&upstream.host.address_text));
        info.upstream_hostname = upstream.host.hostname.clone();
        info.upstream_connection_id = Some(upstream.connection_id);
        info.tries = 1;
        info.bytes_received = call.received.into();
        info.request_received = Some(Duration::ZERO);
        info.finished = Some(took);
        match end {
            RelayEnd::OneWay => {}
            RelayEnd::Reply { status, sent } => {
                info.response_received = Some(took);
                info.response_code = status;
                info.bytes_sent = sent.into();
            }
            RelayEnd::Failed(why) => {
                let row = why.row();
                info.response_code = row.status;
                info.flags.insert(row.flag);
                info.details = row.word;
            }
        }
        let cx = LogContext::new(&info);
        self.access_logs.iter().for_each(|log| log.write(&cx));
    }
}

impl RelayObserver for Relays {
    fn began(&self, upstream: &UpstreamFacts) {
        for metrics in &self.metrics {
            metrics.request_total.inc();
            metrics.request_active.inc();
        }
        for metrics in &upstream.metrics {
            metrics.request_total.inc();
            metrics.request_active.inc();
        }
    }

    fn handed_over(&self, upstream: &UpstreamFacts) {
        for metrics in &self.metrics {
            metrics.request_total.dec();
            metrics.request_active.dec();
        }
        for metrics in &upstream.metrics {
            metrics.request_total.dec();
            metrics.request_active.dec();
        }
    }

    fn ended(&self, call: &RelayedCall<'_>, end: RelayEnd) {
        let took = clock::moment().since(call.start);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let (status, why) = match end {
            RelayEnd::OneWay => (0, None),
            RelayEnd::Reply { status, .. } => (status, None),
            RelayEnd::Failed(why) => (why.row().status, Some(why)),
        };
        let failed = why.is_some_and(|why| why.row().flag.intersects(ResponseFlags::PROCESS_FAILED));
        for metrics in &self.metrics {
            metrics.request_active.dec();
            metrics.request_time.record(nanos);
            metrics.request_time_total.add(nanos);
            metrics.process_time.record(0);
            metrics.status(status);
            if failed {
                metrics.request_failed.inc();
            }
            if why == Some(Failure::ClientGone) {
                metrics.request_reset.inc();
            }
        }
        for metrics in &call.upstream.metrics {
            metrics.request_active.dec();
            match why {
                None if status < 500 => metrics.response_success.inc(),
                _ => metrics.response_failed.inc(),
            }
            match why {
                None => {
                    metrics.request_duration_time.record(nanos);
                    metrics.request_duration_time_total.add(nanos);
                }
                Some(Failure::GlobalTimeout) => metrics.request_timeout.inc(),
                Some(Failure::UpstreamTerminated) => metrics.request_failure_eject.inc(),
                Some(_) => {}
            }
        }
        if !self.access_logs.is_empty() {
            self.log(call, end, took);
        }
    }
}
