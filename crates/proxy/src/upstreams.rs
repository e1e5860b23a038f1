use std::{pin::Pin, rc::Rc, sync::Arc};

use mosn_core::{Failure, Protocol};
use mosn_router::Metadata;
use mosn_stream::{ClientStream, HostPool, LocalCluster, Open, OpenError, Pools, UpstreamStream};
use mosn_telemetry::UpstreamMetrics;
use mosn_upstream::{ChooseContext, HostId, RetryToken};

/// Where requests are sent: the pools of this worker, or in-memory peers in tests.
pub trait Upstreams: 'static {
    /// A cluster as this worker sees it. A request keeps the one it began with.
    type Cluster;
    /// A stream to one of its hosts.
    type Stream: ClientStream;
    /// What holds a retry's place in the cluster's retry budget.
    type RetryToken;

    /// The cluster of this name.
    fn cluster(&self, name: &str) -> Option<Rc<Self::Cluster>>;

    /// The cluster's metrics.
    fn metrics<'a>(&self, cluster: &'a Self::Cluster) -> &'a UpstreamMetrics;

    /// Chooses a host of the cluster and opens a stream to it. `tried` are the hosts that this
    /// request was sent to before; another one is preferred.
    fn acquire(
        &self,
        cluster: &Rc<Self::Cluster>,
        protocol: Protocol,
        choice: Choice<'_>,
    ) -> Acquiring<Self::Stream>;

    /// A place in the cluster's retry budget; `None` = it is used up.
    fn retry(&self, cluster: &Rc<Self::Cluster>) -> Option<Self::RetryToken>;
}

/// What the choice of a host depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'a> {
    /// Labels that a host must have.
    pub metadata: Option<&'a Metadata>,
    /// What consistent-hash balancers go by.
    pub hash: Option<u64>,
    /// Hosts that were tried before.
    pub tried: &'a [HostId],
    /// Whether only a new connection will do: an idle one had been closed behind our back.
    pub fresh: bool,
}

/// A stream that is there, or on its way.
pub enum Acquiring<T> {
    /// It is there, or cannot be had.
    Done(Result<Acquired<T>, NotAcquired>),
    /// A connection is being made. Dropping it gives up.
    Connecting(Pin<Box<dyn Future<Output = Result<Acquired<T>, NotAcquired>>>>),
}

impl<T> std::fmt::Debug for Acquiring<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Done(Ok(_)) => "Acquired",
            Self::Done(Err(_)) => "NotAcquired",
            Self::Connecting(_) => "Connecting",
        })
    }
}

/// A stream to a host.
#[derive(Debug)]
pub struct Acquired<T> {
    /// The stream.
    pub stream: T,
    /// The host.
    pub host: HostRef,
}

/// A host that a request was sent to, as far as the engine and the logs care.
#[derive(Clone, Debug)]
pub struct HostRef {
    /// Unique in the process.
    pub id: HostId,
    /// As configured.
    pub address: Arc<str>,
    /// As configured; `None` if it was not.
    pub hostname: Option<Arc<str>>,
    /// Its metrics.
    pub metrics: Arc<UpstreamMetrics>,
}

/// Why there is no stream.
#[derive(Debug)]
pub struct NotAcquired {
    /// Why.
    pub why: Failure,
    /// The host that was chosen, if it got so far.
    pub host: Option<HostRef>,
}

impl Upstreams for Pools {
    type Cluster = LocalCluster;
    type Stream = UpstreamStream;
    type RetryToken = RetryToken;

    fn cluster(&self, name: &str) -> Option<Rc<LocalCluster>> {
        Self::cluster(self, name)
    }

    fn metrics<'a>(&self, cluster: &'a LocalCluster) -> &'a UpstreamMetrics {
        cluster.metrics()
    }

    fn acquire(
        &self,
        cluster: &Rc<LocalCluster>,
        protocol: Protocol,
        choice: Choice<'_>,
    ) -> Acquiring<UpstreamStream> {
        let mut cx = ChooseContext {
            hash: choice.hash,
            previous: choice.tried,
            metadata: choice.metadata.map(|labels| &**labels),
            ..ChooseContext::default()
        };
        match self.open(cluster, protocol, &mut cx, choice.fresh) {
            Open::Done(done) => Acquiring::Done(acquired(done)),
            Open::Connecting(connecting) => {
                Acquiring::Connecting(Box::pin(async { acquired(connecting.await) }))
            }
        }
    }

    fn retry(&self, cluster: &Rc<LocalCluster>) -> Option<RetryToken> {
        cluster.cluster().try_acquire_retry().ok()
    }
}

fn acquired(
    opened: Result<(UpstreamStream, Rc<HostPool>), OpenError>,
) -> Result<Acquired<UpstreamStream>, NotAcquired> {
    match opened {
        Ok((stream, pool)) => Ok(Acquired { stream, host: host_ref(&pool) }),
        Err(error) => Err(NotAcquired { why: error.why, host: error.host.as_deref().map(host_ref) }),
    }
}

fn host_ref(pool: &HostPool) -> HostRef {
    let host = pool.host();
    HostRef {
        id: host.id,
        address: Arc::clone(&host.address_text),
        hostname: host.hostname.clone(),
        metrics: Arc::clone(pool.metrics()),
    }
}
