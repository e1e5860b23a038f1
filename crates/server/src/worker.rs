//! One worker: a thread, its event loop, and everything that lives there.

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use mosn_config::model::{
    ChainMatch, DownstreamProtocols, FilterChainSpec, ListenerAddress, ListenerSpec, NetworkFilterSpec,
    RouterSource,
};
use mosn_core::{ConnectionInfo, Protocol, Redirected, Scheme};
use mosn_net::{BoundListener, Detached, Io, Meter, Transport, clock, timer};
use mosn_proxy::{Proxy, ProxySettings, RouterLookup, Routers};
use mosn_router::Router;
use mosn_stream::{Drain, Pools, ServerContext, rpc::RpcUse, serve_connection};
use mosn_telemetry::{AccessLog, AccessLogWriter, DownstreamMetrics, Registry};
use mosn_upstream::Clusters;
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use crate::{
    accept::{Seat, accept},
    chain::{self, Traits},
    redirect,
};

/// How often a worker hands over its access-log lines and looks through its idle connections.
const TICK: Duration = Duration::from_millis(200);
const SWEEP_TICKS: u32 = 5;
/// Hosts that a worker connects to ahead of the first RPC call, for each listener.
const WARM_HOSTS: usize = 16;

/// Ids of downstream connections, in the whole process.
static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// What all workers share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) clusters: Clusters,
    pub(crate) routers: Arc<Routers>,
    pub(crate) registry: Registry,
}

/// A listener as it was built on the control thread, for every worker to make its own of.
#[derive(Debug)]
pub(crate) struct SharedListener {
    pub(crate) spec: ListenerSpec,
    pub(crate) access_logs: Vec<AccessLog>,
}

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A listener exists. With a socket, this worker accepts on it by itself.
    Listen(Arc<SharedListener>, Option<BoundListener>),
    /// A connection of the listener of this index, in the order in which they came.
    Connection(usize, Detached),
    /// Stop accepting; answer when the last connection is gone.
    Drain(oneshot::Sender<()>),
}

/// A running worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) seat: Seat,
    pub(crate) thread: JoinHandle<()>,
}

/// Starts a worker.
pub(crate) fn start(index: usize, shared: Shared) -> io::Result<Worker> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let connections = Arc::new(AtomicUsize::new(0));
    let seat = Seat { sender, connections: Arc::clone(&connections) };
    let thread = std::thread::Builder::new().name(format!("mosn-worker-{index}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_unpark(clock::begin_turn)
            .max_blocking_threads(4)
            .build_local(tokio::runtime::LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                runtime.block_on(run(shared, receiver, connections));
                // Drops what is still under way, but waits for no look-up of a host name.
                runtime.shutdown_background();
            }
            Err(error) => tracing::error!("worker {index} has no event loop: {error}"),
        }
    })?;
    Ok(Worker { seat, thread })
}

async fn run(shared: Shared, mut commands: mpsc::UnboundedReceiver<Command>, connections: Arc<AtomicUsize>) {
    tokio::task::spawn_local(timer::drive());
    let local = Rc::new(Local {
        pools: Rc::new(Pools::new(shared.clusters.clone(), shared.registry.clone())),
        shared,
        connections,
        listeners: RefCell::default(),
        acceptors: RefCell::default(),
    });
    tokio::task::spawn_local(tick(Rc::clone(&local)));
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen(listener, socket) => local.listen(&listener, socket),
            Command::Connection(listener, accepted) => local.connection(listener, accepted.register()),
            Command::Drain(done) => {
                let local = Rc::clone(&local);
                tokio::task::spawn_local(async move {
                    local.drain().await;
                    local.flush_logs();
                    // Whoever waited may have given up.
                    let _ = done.send(());
                });
            }
        }
    }
    local.leave();
}

async fn tick(local: Rc<Local>) {
    let mut ticks = 0_u32;
    loop {
        tokio::time::sleep(TICK).await;
        local.flush_logs();
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(SWEEP_TICKS) {
            local.pools.sweep();
            local.refresh_routers();
        }
    }
}

/// What a worker has of its own.
struct Local {
    shared: Shared,
    pools: Rc<Pools>,
    connections: Arc<AtomicUsize>,
    listeners: RefCell<Vec<Rc<LocalListener>>>,
    acceptors: RefCell<Vec<AbortHandle>>,
}

/// A listener on this worker.
struct LocalListener {
    shared: Arc<SharedListener>,
    chains: Vec<Chain>,
    default: Option<Chain>,
    metrics: [Arc<DownstreamMetrics>; 2],
    meter: Rc<dyn Meter>,
    drain: Rc<Drain>,
    access_logs: Vec<Rc<AccessLogWriter>>,
}

struct Chain {
    matches: ChainMatch,
    protocols: Rc<DownstreamProtocols>,
    limits: Rc<mosn_config::model::HttpLimits>,
    rpc: Rc<[(&'static str, mosn_config::model::RpcSpec)]>,
    proxy: Rc<Proxy<Pools>>,
}

impl Local {
    fn listen(self: &Rc<Self>, shared: &Arc<SharedListener>, socket: Option<BoundListener>) {
        if let (ListenerAddress::Tcp(address), true) = (&shared.spec.address, shared.spec.bind) {
            self.pools.listens_on(*address);
        }
        let index = self.listeners.borrow().len();
        let listener = Rc::new(LocalListener::new(self, shared));
        self.listeners.borrow_mut().push(Rc::clone(&listener));
        let pools = Rc::clone(&self.pools);
        tokio::task::spawn_local(async move {
            // By then the process has started, and whatever it connects to within itself is there.
            tokio::time::sleep(TICK).await;
            listener.warm_up(&pools);
        });
        if let Some(socket) = socket {
            let local = Rc::clone(self);
            let accepting = accept(socket, Arc::clone(&shared.spec.name), move |transport| {
                local.connections.fetch_add(1, Relaxed);
                local.connection(index, Ok(transport));
            });
            self.acceptors.borrow_mut().push(tokio::task::spawn_local(accepting).abort_handle());
        }
    }

    fn connection(&self, listener: usize, transport: io::Result<Transport>) {
        let seated = Seated(Arc::clone(&self.connections));
        let Some(listener) = self.listeners.borrow().get(listener).map(Rc::clone) else {
            return;
        };
        match transport {
            Ok(transport) => {
                let destination = listener.destination(&transport);
                let listener = self.hand_over(listener, destination);
                let io = Io::new(transport, Rc::clone(&listener.meter));
                tokio::task::spawn_local(serve(listener, io, destination, seated));
            }
            Err(error) => tracing::error!("a connection of {} is lost: {error}", listener.shared.spec.name),
        }
    }

    /// The listener that a connection to this destination is for.
    fn hand_over(
        &self,
        accepted_by: Rc<LocalListener>,
        destination: Option<SocketAddr>,
    ) -> Rc<LocalListener> {
        let listeners = self.listeners.borrow();
        let specs = listeners.iter().map(|listener| &listener.shared.spec);
        let to_local = accepted_by.shared.spec.original_dst.is_some_and(|how| how.fallback_to_local);
        let found = destination.and_then(|destination| redirect::hand_over(specs, destination, to_local));
        found.map_or(accepted_by, |index| Rc::clone(&listeners[index]))
    }

    async fn drain(&self) {
        for acceptor in self.acceptors.take() {
            acceptor.abort();
        }
        let drains: Vec<_> =
            self.listeners.borrow().iter().map(|listener| Rc::clone(&listener.drain)).collect();
        for drain in &drains {
            drain.begin();
        }
        for drain in drains {
            std::future::poll_fn(|cx| drain.poll_empty(cx)).await;
        }
    }

    /// What is still under way when the event loop ends is ours to answer for.
    fn leave(&self) {
        for listener in &*self.listeners.borrow() {
            for chain in listener.chains.iter().chain(&listener.default) {
                chain.proxy.leave();
            }
        }
        self.flush_logs();
    }

    fn refresh_routers(&self) {
        for listener in &*self.listeners.borrow() {
            listener.chains.iter().chain(&listener.default).for_each(|chain| chain.proxy.refresh());
        }
    }

    fn flush_logs(&self) {
        for listener in &*self.listeners.borrow() {
            for log in &listener.access_logs {
                log.flush();
            }
        }
    }
}

/// A connection's place in its worker's count.
struct Seated(Arc<AtomicUsize>);

impl Drop for Seated {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl LocalListener {
    fn new(local: &Local, shared: &Arc<SharedListener>) -> Self {
        let registry = &local.shared.registry;
        let metrics = [registry.downstream_global(), registry.downstream_listener(&shared.spec.name)];
        let access_logs: Vec<_> = shared.access_logs.iter().map(|log| Rc::new(log.writer())).collect();
        let chain = |spec: &FilterChainSpec| Chain::new(local, spec, &metrics, &access_logs);
        Self {
            chains: shared.spec.filter_chains.iter().filter_map(chain).collect(),
            default: shared.spec.default_filter_chain.as_ref().and_then(chain),
            meter: Rc::new(ListenerMeter(metrics.clone())),
            drain: Rc::default(),
            shared: Arc::clone(shared),
            access_logs,
            metrics,
        }
    }

    /// Where a connection was going that was redirected here, if this listener is for such.
    fn destination(&self, transport: &Transport) -> Option<SocketAddr> {
        let spec = &self.shared.spec;
        spec.original_dst.and_then(|how| redirect::destination(transport, how, &spec.name))
    }

    /// Opens connections for the calls that its RPC clients are going to make.
    fn warm_up(&self, pools: &Pools) {
        let mut left = WARM_HOSTS;
        for chain in self.chains.iter().chain(&self.default) {
            let DownstreamProtocols::One(Protocol::Rpc(name)) = *chain.protocols else { continue };
            let Some(protocol) = mosn_codec::rpc::by_name(name) else { continue };
            let spec = chain.rpc.iter().find(|(known, _)| *known == name).map(|(_, spec)| *spec);
            let rpc = RpcUse { protocol, spec: spec.unwrap_or_default(), client: 0 };
            for cluster in chain.proxy.clusters() {
                left -= pools.warm_up_rpc(&cluster, &rpc, left);
            }
        }
    }

    fn chain(&self, io: &Io, destination: Option<SocketAddr>) -> Option<&Chain> {
        // The common case: one chain that takes everything.
        if let [chain] = &self.chains[..]
            && chain.matches == ChainMatch::default()
        {
            return Some(chain);
        }
        let traits = Traits {
            destination: destination.or_else(|| io.local_addr()),
            source: io.peer_addr(),
            transport: "raw_buffer",
            ..Traits::default()
        };
        chain::choose(self.chains.iter().map(|chain| &chain.matches), &traits)
            .map(|index| &self.chains[index])
            .or(self.default.as_ref())
    }
}

impl Chain {
    /// `None` for a router that cannot be built, which the control thread has refused before.
    fn new(
        local: &Local,
        spec: &FilterChainSpec,
        metrics: &[Arc<DownstreamMetrics>; 2],
        access_logs: &[Rc<AccessLogWriter>],
    ) -> Option<Self> {
        let NetworkFilterSpec::Proxy(proxy) = &spec.filter;
        let router = match &proxy.router {
            RouterSource::Named(name) => {
                RouterLookup::named(Arc::clone(name), Arc::clone(&local.shared.routers))
            }
            RouterSource::Inline(router) => RouterLookup::inline(Router::build(router).ok()?),
        };
        let limits = Rc::new(proxy.http.clone());
        let rpc: Rc<[_]> = proxy.rpc.clone().into();
        let settings = ProxySettings {
            limits: Rc::clone(&limits),
            rpc: Rc::clone(&rpc),
            router,
            metrics: metrics.clone(),
            mirror: proxy.mirror,
            access_logs: access_logs.to_vec(),
        };
        Some(Self {
            matches: spec.matches.clone(),
            protocols: Rc::new(proxy.downstream.clone()),
            limits,
            rpc,
            proxy: Rc::new(Proxy::new(settings, Rc::clone(&local.pools))),
        })
    }
}

/// `destination` is where the connection was going before it was redirected.
async fn serve(listener: Rc<LocalListener>, io: Io, destination: Option<SocketAddr>, seated: Seated) {
    let Some(chain) = listener.chain(&io, destination) else {
        return;
    };
    let spec = &listener.shared.spec;
    let open = OpenConnection::new(&listener.metrics);
    let cx = Rc::new(ServerContext {
        info: Rc::new(ConnectionInfo {
            id: NEXT_CONNECTION.fetch_add(1, Relaxed),
            listener: Arc::clone(&spec.name),
            listener_type: Arc::clone(&spec.kind),
            local: io.local_addr(),
            remote: destination.or_else(|| io.peer_addr()),
            redirected: destination.map(|destination| Redirected {
                destination: destination.to_string().into(),
                peer: io.peer_addr(),
            }),
        }),
        scheme: Scheme::Http,
        limits: Rc::clone(&chain.limits),
        rpc: Rc::clone(&chain.rpc),
        idle_timeout: spec.idle_timeout,
        drain: Rc::clone(&listener.drain),
    });
    let (protocols, proxy) = (Rc::clone(&chain.protocols), Rc::clone(&chain.proxy));
    serve_connection(io, &protocols, cx, proxy).await;
    // Whoever has seen the connection counted as gone finds its place on the worker free.
    drop(seated);
    drop(open);
}

/// Counts a connection while it is open.
struct OpenConnection([Arc<DownstreamMetrics>; 2]);

impl OpenConnection {
    fn new(metrics: &[Arc<DownstreamMetrics>; 2]) -> Self {
        for metrics in metrics {
            metrics.connection_total.inc();
            metrics.connection_active.inc();
        }
        Self(metrics.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        for metrics in &self.0 {
            metrics.connection_active.dec();
            metrics.connection_destroy.inc();
        }
    }
}

/// Counts the bytes of a listener's connections.
struct ListenerMeter([Arc<DownstreamMetrics>; 2]);

impl Meter for ListenerMeter {
    fn read(&self, bytes: u64) {
        self.0.iter().for_each(|metrics| metrics.bytes_read_total.add(bytes));
    }

    fn written(&self, bytes: u64) {
        self.0.iter().for_each(|metrics| metrics.bytes_write_total.add(bytes));
    }
}
