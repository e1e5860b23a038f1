//! What is said of a request: its facts while it lives; metrics and access log when it is over.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use mosn_core::{ConnectionInfo, Failure, Headers, Protocol, RequestHead, RequestInfo, ResponseFlags};
use mosn_net::clock::{self, Moment};
use mosn_router::{Message, Variables, WithVariables};
use mosn_stream::ClientStream;
use mosn_telemetry::{LogContext, UpstreamMetrics, Variable};
use mosn_upstream::{HostId, Outcome};

use crate::{
    Upstreams,
    context::Proxy,
    exchange::since,
    hedge::Overdue,
    upstreams::{HostRef, outcome},
};

/// Hosts a request remembers having been sent to.
const MAX_TRIED: usize = 8;

/// One request's facts. Dropping it, however the request came to its end, writes them down.
pub(crate) struct Report<'a, U: Upstreams> {
    proxy: &'a Proxy<U>,
    start: Moment,
    pub(crate) head: Box<RequestHead>,
    pub(crate) info: RequestInfo,
    /// Path and query as the client sent them, where they were rewritten.
    original_path: Option<Bytes>,
    /// Kept only where a log shows them.
    response_headers: Option<Headers>,
    cluster: Option<Rc<U::Cluster>>,
    pub(crate) try_: Option<UpstreamTry<U::Attempt>>,
    /// Its first try was made before it came here.
    resumed: bool,
    /// Tries before it that are still out.
    pub(crate) overdue: Vec<Overdue<U>>,
    /// The host of the current try.
    chosen: Option<HostId>,
    /// Those of the tries before it.
    pub(crate) tried: Vec<HostId>,
    /// Whether the last try was on a connection that had been used before.
    pub(crate) reused: bool,
    /// Whether the request came to an end of its own, rather than being dropped on its way.
    finished: bool,
    over: bool,
}

/// One try, as those see it who count what becomes of tries.
pub(crate) struct UpstreamTry<A> {
    host: Arc<UpstreamMetrics>,
    start: Moment,
    attempt: A,
    /// How it ended, as far as the host is concerned, and how long the host took.
    outcome: Outcome,
    took: Duration,
    /// The reply's head has come, and the metrics know.
    replied: bool,
}

impl<A> UpstreamTry<A> {
    pub(crate) fn failed(&mut self, why: Failure) {
        self.outcome = outcome(why);
        self.took = since(self.start);
    }
}

impl<'a, U: Upstreams> Report<'a, U> {
    pub(crate) fn new(
        proxy: &'a Proxy<U>,
        connection: &Rc<ConnectionInfo>,
        protocol: Protocol,
        id: u64,
        began: Option<Moment>,
        head: Box<RequestHead>,
    ) -> Box<Self> {
        let now = clock::moment();
        let start = began.unwrap_or(now);
        let age = now.since(start);
        for metrics in &proxy.settings.metrics {
            metrics.request_total.inc();
            metrics.request_active.inc();
        }
        Box::new(Self {
            proxy,
            start,
            head,
            info: RequestInfo::new(
                Rc::clone(connection),
                protocol,
                id,
                clock::now().into_std().checked_sub(age).unwrap_or_else(|| clock::now().into_std()),
                clock::wall().checked_sub(age).unwrap_or_else(clock::wall),
            ),
            resumed: began.is_some(),
            original_path: None,
            response_headers: None,
            cluster: None,
            try_: None,
            overdue: Vec::new(),
            chosen: None,
            tried: Vec::new(),
            reused: false,
            finished: false,
            over: false,
        })
    }

    /// How long ago the request came.
    pub(crate) fn age(&self) -> Duration {
        since(self.start)
    }

    /// The request has come to its end, good or bad.
    pub(crate) fn finished(&mut self) {
        self.finished = true;
    }

    /// The request with its variables, for what routes ask of it.
    pub(crate) fn subject(&self) -> WithVariables<'_, RequestVariables<'_>> {
        WithVariables(&self.head, self.variables())
    }

    pub(crate) fn variables(&self) -> RequestVariables<'_> {
        RequestVariables {
            info: &self.info,
            request: Some(&self.head),
            original_path: self.original_path.as_deref(),
        }
    }

    /// Whether the request's head must outlive its being sent.
    pub(crate) fn wants_request(&self) -> bool {
        self.proxy.logs_request
    }

    pub(crate) fn mutate_request(&mut self, mutate: impl FnOnce(&mut RequestHead, &dyn Variables)) {
        let before = self.head.path.clone();
        let variables = RequestVariables { info: &self.info, request: None, original_path: None };
        mutate(&mut self.head, &variables);
        if before != self.head.path {
            self.original_path = Some(before);
        }
    }

    pub(crate) fn mutate_response(
        &self,
        headers: &mut Headers,
        mutate: impl FnOnce(&mut Headers, &dyn Variables),
    ) {
        mutate(headers, &self.variables());
    }

    pub(crate) fn cluster(&mut self, cluster: &Rc<U::Cluster>, name: &Arc<str>) {
        self.cluster = Some(Rc::clone(cluster));
        self.info.cluster = Some(Arc::clone(name));
    }

    /// A try begins.
    pub(crate) fn acquired(
        &mut self,
        protocol: Protocol,
        stream: &U::Stream,
        attempt: U::Attempt,
        host: &HostRef,
    ) {
        self.end_try();
        self.reused = stream.is_reused();
        self.info.tries += 1;
        self.info.upstream_protocol = Some(protocol);
        self.info.upstream_connection_id = Some(stream.connection_id());
        self.chose(host);
        self.each_upstream(Some(&host.metrics), |metrics| {
            metrics.request_total.inc();
            metrics.request_active.inc();
        });
        self.try_ = Some(UpstreamTry {
            host: Arc::clone(&host.metrics),
            start: if std::mem::take(&mut self.resumed) { self.start } else { clock::moment() },
            attempt,
            outcome: Outcome::Unknown,
            took: Duration::ZERO,
            replied: false,
        });
    }

    /// A try ended before it began.
    pub(crate) fn not_acquired(&mut self, host: Option<&HostRef>, why: Failure) {
        self.end_try();
        if let Some(host) = host {
            self.chose(host);
        }
        let host = host.map(|host| &host.metrics);
        match why {
            Failure::Overflow => self.each_upstream(host, |metrics| metrics.request_pending_overflow.inc()),
            Failure::ConnectTimeout => self.each_upstream(host, |metrics| metrics.request_timeout.inc()),
            _ => {}
        }
    }

    fn chose(&mut self, host: &HostRef) {
        self.info.upstream_address = Some(Arc::clone(&host.address));
        self.info.upstream_hostname = host.hostname.clone();
        self.chosen = Some(host.id);
    }

    pub(crate) fn request_sent(&mut self) {
        self.info.request_received = Some(since(self.start));
    }

    pub(crate) fn upstream_replied(&mut self, status: StatusCode) {
        if let Some(mut try_) = self.try_.take() {
            self.try_replied(&mut try_, status);
            self.try_ = Some(try_);
        }
    }

    /// One of the tries has its reply's head.
    pub(crate) fn try_replied(&mut self, try_: &mut UpstreamTry<U::Attempt>, status: StatusCode) {
        self.info.response_received = Some(since(self.start));
        try_.took = since(try_.start);
        try_.outcome = Outcome::Status(status.as_u16());
        try_.replied = true;
        let nanos = nanos(try_.took);
        self.each_upstream(Some(&try_.host), |metrics| {
            metrics.request_active.dec();
            metrics.request_duration_time.record(nanos);
            metrics.request_duration_time_total.add(nanos);
            if status.is_server_error() {
                metrics.response_failed.inc();
            } else {
                metrics.response_success.inc();
            }
        });
    }

    /// The current try has failed, perhaps in the middle of its reply.
    pub(crate) fn try_failed(&mut self, why: Failure) {
        if let Some(try_) = &mut self.try_ {
            try_.failed(why);
        }
    }

    /// The reply's head is about to be sent.
    pub(crate) fn replied(&mut self, status: StatusCode, headers: &Headers) {
        self.info.response_code = status.as_u16();
        if self.proxy.logs_response_headers {
            self.response_headers = Some(headers.clone());
        }
    }

    pub(crate) fn retried(&mut self) {
        self.end_try();
        if let Some(host) = self.chosen.take()
            && self.tried.len() < MAX_TRIED
        {
            self.tried.push(host);
        }
        self.each_upstream(None, |metrics| metrics.request_retry.inc());
    }

    /// The retry that was just granted is made while an earlier try is still out.
    pub(crate) fn hedged(&mut self) {
        self.info.hedges += 1;
        self.each_upstream(None, |metrics| metrics.request_hedge.inc());
    }

    pub(crate) fn retry_overflow(&mut self) {
        self.info.flags.insert(ResponseFlags::UPSTREAM_OVERFLOW);
        self.each_upstream(None, |metrics| metrics.request_retry_overflow.inc());
    }

    pub(crate) fn failed(&mut self, why: Failure) {
        let row = why.row();
        self.info.flags.insert(row.flag);
        self.info.details = row.word;
        let host = self.try_.as_ref().map(|try_| Arc::clone(&try_.host));
        let host = host.as_ref();
        match why {
            Failure::GlobalTimeout | Failure::PerTryTimeout => {
                self.each_upstream(host, |metrics| metrics.request_timeout.inc());
            }
            Failure::UpstreamReset | Failure::UpstreamRefused | Failure::UpstreamCancelled => {
                self.each_upstream(host, |metrics| metrics.request_remote_reset.inc());
            }
            Failure::UpstreamClosed | Failure::UpstreamTerminated | Failure::ConnectFailed => {
                self.each_upstream(host, |metrics| metrics.request_failure_eject.inc());
            }
            Failure::LocalReset => self.each_upstream(host, |metrics| metrics.request_local_reset.inc()),
            Failure::ClientGone => {
                for metrics in &self.proxy.settings.metrics {
                    metrics.request_reset.inc();
                }
                self.info.response_code = 0;
            }
            Failure::PayloadTooLarge | Failure::BadRequest => {
                for metrics in &self.proxy.settings.metrics {
                    metrics.request_invalid(why);
                }
            }
            _ => {}
        }
        // No reply, no status.
        if self.info.response_code == 0 && !self.head.one_way {
            self.info.response_code = row.status;
        }
    }

    /// The host cannot be blamed for how the current try ended.
    pub(crate) fn try_excused(&mut self) {
        if let Some(try_) = &mut self.try_ {
            try_.outcome = Outcome::Unknown;
        }
    }

    /// The current try, if there is one, is over.
    pub(crate) fn end_try(&mut self) {
        if let Some(ended) = self.try_.take() {
            // Nobody will ever know what became of a one-way request.
            let failed = !self.head.one_way || self.info.request_received.is_none();
            self.end_of(ended, failed);
        }
    }

    /// The current try, if there is one, is given up for another that answered first; it may have failed
    /// before.
    pub(crate) fn cancel_try(&mut self) {
        if let Some(cancelled) = self.try_.take() {
            let failed = cancelled.outcome != Outcome::Unknown;
            self.end_of(cancelled, failed);
        }
    }

    /// A try is over; without a reply it has `failed`, or was cancelled.
    pub(crate) fn end_of(&self, ended: UpstreamTry<U::Attempt>, failed: bool) {
        if !ended.replied {
            self.each_upstream(Some(&ended.host), |metrics| {
                metrics.request_active.dec();
                if failed {
                    metrics.response_failed.inc();
                }
            });
        }
        self.proxy.upstreams.finish(ended.attempt, ended.outcome, ended.took);
    }

    fn each_upstream(&self, host: Option<&Arc<UpstreamMetrics>>, mut each: impl FnMut(&UpstreamMetrics)) {
        if let Some(cluster) = &self.cluster {
            each(self.proxy.upstreams.metrics(cluster));
        }
        if let Some(host) = host {
            each(host);
        }
    }

    /// `End`: everything is written down and given back.
    fn end(&mut self) {
        self.end_try();
        self.end_overdue();
        // Cancelled, not failed: the connection went away under the request.
        if !self.finished {
            self.failed(self.proxy.why_dropped());
        }
        let finished = since(self.start);
        self.info.finished = Some(finished);
        let (total, process) = (nanos(finished), nanos(self.info.process_time()));
        for metrics in &self.proxy.settings.metrics {
            metrics.request_active.dec();
            metrics.request_time.record(total);
            metrics.request_time_total.add(total);
            metrics.process_time.record(process);
            metrics.process_time_total.add(process);
            metrics.status(self.info.response_code);
            if self.info.flags.intersects(ResponseFlags::PROCESS_FAILED) {
                metrics.request_failed.inc();
            }
        }
        if !self.proxy.settings.access_logs.is_empty() {
            self.proxy.log(&LogContext {
                request: Some(&self.head),
                response_headers: self.response_headers.as_ref(),
                original_path: self.original_path.as_deref(),
                ..LogContext::new(&self.info)
            });
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<U: Upstreams> Drop for Report<'_, U> {
    fn drop(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            self.end();
        }
    }
}

/// What a client sent that never became a request.
pub(crate) fn refused<U: Upstreams>(
    proxy: &Proxy<U>,
    connection: &Rc<ConnectionInfo>,
    protocol: Protocol,
    why: Failure,
) {
    let row = why.row();
    let mut info =
        RequestInfo::new(Rc::clone(connection), protocol, 0, clock::now().into_std(), clock::wall());
    info.response_code = row.status;
    info.flags.insert(row.flag);
    info.details = row.word;
    for metrics in &proxy.settings.metrics {
        metrics.request_total.inc();
        metrics.request_invalid(why);
        metrics.status(row.status);
    }
    proxy.log(&LogContext::new(&info));
}

pub(crate) struct RequestVariables<'a> {
    info: &'a RequestInfo,
    /// For those of a reply that tell of its request.
    request: Option<&'a RequestHead>,
    original_path: Option<&'a [u8]>,
}

impl Variables for RequestVariables<'_> {
    fn info(&self) -> Option<&RequestInfo> {
        Some(self.info)
    }

    fn lookup(&self, variable: &Variable, message: Message<'_>, out: &mut Vec<u8>) -> bool {
        // As in MOSN, what is no text has no value as a header or a name.
        if !variable.is_text() {
            return false;
        }
        let mut cx = LogContext {
            request: self.request,
            original_path: self.original_path,
            ..LogContext::new(self.info)
        };
        match message {
            Message::Request(head) => cx.request = Some(head),
            Message::Response(headers) => cx.response_headers = Some(headers),
        }
        cx.write(variable, out)
    }
}
