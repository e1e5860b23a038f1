use std::{cell::Cell, future::Future, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use mosn_config::model::{Discovery, OriginalDstSpec, Priority, RpcSpec};
use mosn_core::{Failure, Protocol};
use mosn_net::clock;
use mosn_router::Metadata;
use mosn_stream::{
    ClientStream, HostPool, Line, LocalCluster, Open, OpenError, Pools, Terms, UpstreamStream,
    rpc::{FirstTry, RpcUse},
};
use mosn_telemetry::UpstreamMetrics;
use mosn_upstream::{Attempt, ChooseContext, Host, HostId, Outcome, RetryToken};

/// Where requests are sent: the pools of this worker, or in-memory peers in tests.
pub trait Upstreams: Sized + 'static {
    /// A cluster as this worker sees it. A request keeps the one it began with.
    type Cluster;
    /// A stream to one of its hosts.
    type Stream: ClientStream;
    /// A try under way, for balancers and outlier detection. Dropped, it says nothing of the host.
    type Attempt;
    /// What holds a retry's place in the cluster's retry budget.
    type RetryToken;

    /// The cluster of this name.
    fn cluster(&self, name: &str) -> Option<Rc<Self::Cluster>>;

    /// The cluster's metrics.
    fn metrics<'a>(&self, cluster: &'a Self::Cluster) -> &'a UpstreamMetrics;

    /// Whether its hosts are found by name.
    fn found_by_name(&self, cluster: &Self::Cluster) -> bool;

    /// How many of its hosts are healthy.
    fn healthy_hosts(&self, cluster: &Self::Cluster) -> u32;

    /// Chooses a host of the cluster and opens a stream to it. What comes of a try that gets no stream
    /// is told by this itself.
    fn acquire(&self, cluster: &Rc<Self::Cluster>, protocol: Protocol, choice: Choice<'_>)
    -> Acquiring<Self>;

    /// A try that was made before, with what is to become of it.
    fn resume(&self, _cluster: &Rc<Self::Cluster>, _first: FirstTry) -> Option<Acquired<Self>> {
        None
    }

    /// A try is over: how, and how long the host took for it.
    fn finish(&self, attempt: Self::Attempt, outcome: Outcome, took: Duration);

    /// Where an RPC call can be passed on as it came: a connection that is open already.
    ///
    /// # Errors
    /// When there is none: the host that was chosen, if the call should go there nevertheless.
    fn line(
        &self,
        _cluster: &Rc<Self::Cluster>,
        _rpc: &RpcUse,
        _choice: Choice<'_>,
    ) -> Result<Line, Option<Arc<Host>>> {
        Err(None)
    }

    /// How it is known where requests to this cluster go, if that is not for the cluster to say.
    fn original_dst<'a>(&self, _cluster: &'a Self::Cluster) -> Option<&'a OriginalDstSpec> {
        None
    }

    /// A place in the cluster's retry budget; `None` = it is used up.
    fn retry(&self, cluster: &Rc<Self::Cluster>, priority: Priority) -> Option<Self::RetryToken>;
}

/// What the choice of a host depends on.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Labels that a host must have.
    pub metadata: Option<&'a Metadata>,
    /// What consistent-hash balancers go by.
    pub hash: Option<u64>,
    /// Where balancers that go on from their last choice keep it, from one try to the next.
    pub position: &'a Cell<Option<u32>>,
    /// Where the request goes by itself, if the cluster leaves it to that.
    pub destination: Option<&'a str>,
    /// The host, where it was chosen already.
    pub host: Option<&'a Arc<Host>>,
    /// Hosts that were tried before; another one is preferred.
    pub tried: &'a [HostId],
    /// Whether only a new connection will do: an idle one had been closed behind our back.
    pub fresh: bool,
    /// How RPC is spoken.
    pub rpc: RpcSpec,
    /// The client's connection, by its id.
    pub client: u64,
    /// Which of the cluster's limits the request counts against.
    pub priority: Priority,
}

/// A stream that is there, or on its way.
pub enum Acquiring<U: Upstreams> {
    /// It is there, or cannot be had.
    Done(Result<Acquired<U>, NotAcquired>),
    /// A connection is being made, or awaited. Dropping it gives up.
    Connecting {
        /// Whether it waits at present, because the host has as many connections as it may.
        waits: Rc<Cell<bool>>,
        /// Ready when the stream is there, or cannot be had.
        acquired: Pin<Box<dyn Future<Output = Result<Acquired<U>, NotAcquired>>>>,
    },
}

impl<U: Upstreams> std::fmt::Debug for Acquiring<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Done(Ok(_)) => "Acquired",
            Self::Done(Err(_)) => "NotAcquired",
            Self::Connecting { .. } => "Connecting",
        })
    }
}

/// A stream to a host.
pub struct Acquired<U: Upstreams> {
    /// The stream.
    pub stream: U::Stream,
    /// The try that began with the choice of the host.
    pub attempt: U::Attempt,
    /// The host.
    pub host: HostRef,
}

impl<U: Upstreams> std::fmt::Debug for Acquired<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acquired").field("host", &self.host).finish_non_exhaustive()
    }
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
    type Attempt = Attempt;
    type RetryToken = RetryToken;

    fn cluster(&self, name: &str) -> Option<Rc<LocalCluster>> {
        Self::cluster(self, name)
    }

    fn metrics<'a>(&self, cluster: &'a LocalCluster) -> &'a UpstreamMetrics {
        cluster.metrics()
    }

    fn found_by_name(&self, cluster: &LocalCluster) -> bool {
        matches!(cluster.cluster().discovery(), Discovery::StrictDns(_))
    }

    fn healthy_hosts(&self, cluster: &LocalCluster) -> u32 {
        cluster.cluster().hosts().iter().map(|host| u32::from(host.is_healthy())).sum()
    }

    fn acquire(&self, cluster: &Rc<LocalCluster>, protocol: Protocol, choice: Choice<'_>) -> Acquiring<Self> {
        let mut cx = ChooseContext {
            hash: choice.hash,
            previous: choice.tried,
            metadata: choice.metadata.map(|labels| &**labels),
            destination: choice.destination,
            position: choice.position.get(),
            now: None,
        };
        let Choice { host, fresh, rpc, client, priority, .. } = choice;
        let terms = Terms { host, fresh, rpc, client, priority };
        let open = self.open(cluster, protocol, &mut cx, terms);
        choice.position.set(cx.position);
        match open {
            Open::Done(Ok((stream, pool))) => {
                let attempt = cluster.cluster().begin(pool.host());
                Acquiring::Done(Ok(Acquired { stream, attempt, host: host_ref(&pool) }))
            }
            Open::Done(Err(error)) => Acquiring::Done(Err(not_acquired(&error))),
            Open::Connecting { host: pool, waits, opened } => {
                // Whoever connects to a host is one of its requests already.
                let attempt = cluster.cluster().begin(pool.host());
                let began = clock::now();
                let acquired = Box::pin(async move {
                    match opened.await {
                        Ok((stream, pool)) => Ok(Acquired { stream, attempt, host: host_ref(&pool) }),
                        Err(error) => {
                            let now = clock::now();
                            attempt.finish(outcome(error.why), now.duration_since(began), now.into_std());
                            Err(not_acquired(&error))
                        }
                    }
                });
                Acquiring::Connecting { waits, acquired }
            }
        }
    }

    fn resume(&self, cluster: &Rc<LocalCluster>, first: FirstTry) -> Option<Acquired<Self>> {
        let (stream, pool, attempt) = Self::resume(self, cluster, first);
        Some(Acquired { stream, attempt, host: host_ref(&pool) })
    }

    fn finish(&self, attempt: Attempt, outcome: Outcome, took: Duration) {
        if attempt.is_seen() {
            attempt.finish(outcome, took, clock::now().into_std());
        }
    }

    fn line(
        &self,
        cluster: &Rc<LocalCluster>,
        rpc: &RpcUse,
        choice: Choice<'_>,
    ) -> Result<Line, Option<Arc<Host>>> {
        let mut cx = ChooseContext {
            hash: choice.hash,
            metadata: choice.metadata.map(|labels| &**labels),
            destination: choice.destination,
            ..ChooseContext::default()
        };
        Self::line(self, cluster, rpc, &mut cx, choice.priority)
    }

    fn original_dst<'a>(&self, cluster: &'a LocalCluster) -> Option<&'a OriginalDstSpec> {
        cluster.cluster().original_dst()
    }

    fn retry(&self, cluster: &Rc<LocalCluster>, priority: Priority) -> Option<RetryToken> {
        cluster.cluster().try_acquire_retry(priority).ok()
    }
}

/// What a failure says of the host.
pub(crate) const fn outcome(why: Failure) -> Outcome {
    use Failure as F;
    match why {
        F::ConnectFailed | F::ConnectTimeout => Outcome::ConnectFailed,
        F::UpstreamClosed
        | F::UpstreamTerminated
        | F::UpstreamReset
        | F::UpstreamRefused
        | F::UpstreamCancelled => Outcome::Reset,
        F::GlobalTimeout | F::PerTryTimeout => Outcome::TimedOut,
        // The client's doing, ours, or nobody knows whose.
        F::NoRoute
        | F::NoCluster
        | F::NoHealthyHost
        | F::LocalReset
        | F::Overflow
        | F::ClientGone
        | F::Drain
        | F::BadRequest
        | F::HeaderTimeout
        | F::BodyIdleTimeout
        | F::UriTooLong
        | F::HeaderTooLarge
        | F::PayloadTooLarge
        | F::NotImplemented => Outcome::Unknown,
    }
}

fn not_acquired(error: &OpenError) -> NotAcquired {
    NotAcquired { why: error.why, host: error.host.as_deref().map(host_ref) }
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
