//! What becomes of requests, where a balancer or outlier detection wants to know.

mod averages;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use mosn_config::model::{BalancerKind, ClusterSpec};

pub(crate) use self::averages::Averages;
use self::averages::HostAverages;
use crate::{
    Host, clock,
    outlier::{HostOutlier, Outlier},
};

/// How a request to a host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this status; of RPC protocols, with the HTTP status that theirs stands for.
    Status(u16),
    /// No connection could be made, in time or at all.
    ConnectFailed,
    /// The connection or the stream was lost or reset by the host.
    Reset,
    /// The time of the try or of the whole request was up.
    TimedOut,
    /// For a reason that says nothing about the host: the client went away, say.
    Unknown,
}

/// What is kept of one host for all that want to know.
#[derive(Debug, Default)]
pub(crate) struct HostRecord {
    pub(crate) averages: HostAverages,
    pub(crate) outlier: HostOutlier,
}

/// What a cluster wants to know of its requests. Outlives changes of its hosts.
#[derive(Debug)]
pub(crate) struct Observer {
    requests: AtomicU32,
    pub(crate) averages: Option<Averages>,
    pub(crate) outlier: Option<Outlier>,
}

/// A request that is under way to a host. Dropping it ends it without a word about the host;
/// [`Self::finish`] tells how it ended.
#[derive(Debug, Default)]
#[must_use]
pub struct Attempt(Option<(Arc<Observer>, Arc<Host>)>);

impl Observer {
    /// `None` where nobody wants to know.
    pub(crate) fn new(spec: &ClusterSpec) -> Option<Arc<Self>> {
        let averages = (spec.balancer == BalancerKind::PeakEwma).then(|| {
            let most = spec.connect_timeout + spec.idle_timeout.unwrap_or_default();
            let most = if most.is_zero() { Duration::from_secs(10) } else { most };
            Averages::new(spec.balancing.ewma_alpha, most)
        });
        let outlier = spec.health.outlier.as_deref().map(|spec| Outlier::new(*spec));
        let counts = match spec.balancer {
            BalancerKind::LeastRequest | BalancerKind::PeakEwma => true,
            BalancerKind::Maglev | BalancerKind::RingHash => spec.balancing.hash_balance_percent > 0,
            _ => false,
        };
        (counts || outlier.is_some())
            .then(|| Arc::new(Self { requests: AtomicU32::new(0), averages, outlier }))
    }

    /// Whether the same observer does for both.
    pub(crate) fn same(one: &ClusterSpec, other: &ClusterSpec) -> bool {
        one.balancer == other.balancer
            && one.health.outlier == other.health.outlier
            && one.balancing.ewma_alpha == other.balancing.ewma_alpha
            && one.balancing.hash_balance_percent == other.balancing.hash_balance_percent
            && (one.connect_timeout, one.idle_timeout) == (other.connect_timeout, other.idle_timeout)
    }

    /// Requests in flight to all of the cluster's hosts.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    pub(crate) fn begin(self: &Arc<Self>, host: &Arc<Host>) -> Attempt {
        self.requests.fetch_add(1, Relaxed);
        host.requests().fetch_add(1, Relaxed);
        Attempt(Some((self.clone(), host.clone())))
    }
}

impl Attempt {
    /// Nobody wants to know.
    pub(crate) fn unseen() -> Self {
        Self(None)
    }

    /// Tells how the request ended, and how long the host took.
    pub fn finish(self, outcome: Outcome, took: Duration, now: Instant) {
        let Some((observer, host)) = &self.0 else { return };
        if outcome == Outcome::Unknown {
            return;
        }
        if let Some(averages) = &observer.averages {
            averages.record(host, outcome, took, clock::millis(now));
        }
        if let Some(outlier) = &observer.outlier {
            outlier.record(host, outcome, now);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some((observer, host)) = &self.0 {
            observer.requests.fetch_sub(1, Relaxed);
            host.requests().fetch_sub(1, Relaxed);
        }
    }
}
