//! The stages of a process, in order, with MOSN's state numbers.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use mosn_admin::{AdminContext, AdminHandle, AdminServer, DebugApi, Features};
use mosn_config::{
    Loaded, WriteBack,
    model::{Config, ListenerAddress, ListenerSpec, NetworkFilterSpec, RouterSource, ServerSpec},
};
use mosn_net::{BoundListener, Detached, ListenOn, ListenOptions, SocketError, bind};
use mosn_proxy::Routers;
use mosn_router::{BuildError, Router};
use mosn_telemetry::{AccessLogError, LogError, LogHandle, ProcessState, Registry};
use mosn_upstream::{ClusterError, Clusters};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    accept::{accept, least_loaded},
    control::Control,
    hosts,
    signals::{Asked, Signals},
    updates::Updates,
    worker::{self, Command, Shared, SharedListener, Worker},
};

/// Settings that come from the command line.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// How long a graceful stop waits for requests in flight (`--drain-time-s`).
    pub drain_time: Duration,
    /// Whether `SIGINT` drains like `SIGTERM`, as a person at a terminal would expect, instead of
    /// stopping at once, as MOSN does.
    pub interrupt_drains: bool,
    /// As `mosn version` prints it.
    pub version: Arc<str>,
    /// The feature gates.
    pub features: Features,
    /// Whether the admin API also takes changes, as MOSN's debug builds do.
    pub debug_api: bool,
}

/// How a process ended that had started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was stopped.
    Stopped,
    /// It was stopped gracefully, and some requests took longer than the drain time.
    DrainTimeout,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The error log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A folder or file that the process needs.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Clusters.
    #[error("{}", lines(.0))]
    Clusters(Vec<ClusterError>),
    /// Route tables.
    #[error("{}", lines(.0))]
    Routers(Vec<BuildError>),
    /// A listener's access log.
    #[error("listener {listener}: {source}")]
    AccessLog {
        /// The listener's name.
        listener: Arc<str>,
        /// What is wrong.
        source: AccessLogError,
    },
    /// A listener's address.
    #[error("listener {listener}: {source}")]
    Bind {
        /// The listener's name.
        listener: Arc<str>,
        /// What is wrong.
        source: SocketError,
    },
    /// Threads, event loops or signals.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The admin API or a Prometheus port. Exit code 2, as in MOSN: listeners are up by then.
    #[error(transparent)]
    Admin(mosn_admin::AdminError),
    /// A listener on UDP.
    #[error("listener {0}: this build has no UDP listeners yet; use `network: tcp`")]
    Udp(Arc<str>),
}

impl StartError {
    /// MOSN's exit code for it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Admin(_) => 2,
            _ => 1,
        }
    }
}

pub(crate) fn lines<E: ToString>(errors: &[E]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Builds the clusters and route tables of a configuration, as a start would.
///
/// # Errors
/// One of them cannot be built.
pub fn check(mut model: Config) -> Result<(), StartError> {
    build_shared(&mut model)?;
    check_inline_routers(&model.listeners)
}

/// Runs the process from its configuration to its end; `ready` is called once traffic flows, with what
/// changes it from then on.
///
/// # Errors
/// When it cannot start; nothing is left running then.
pub fn run(
    loaded: Loaded,
    options: &ProcessOptions,
    ready: impl FnOnce(&Updates),
) -> Result<Exit, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let process = Process::start(loaded, options)?;
        ready(&process.updates);
        Ok(process.until_stopped().await)
    })
}

struct Process {
    options: ProcessOptions,
    state: Arc<AtomicU8>,
    logs: LogHandle,
    control: Control,
    workers: Vec<Worker>,
    acceptors: JoinSet<()>,
    signals: Signals,
    admin: AdminHandle,
    updates: Updates,
    pid_file: PathBuf,
}

impl Process {
    fn start(loaded: Loaded, options: &ProcessOptions) -> Result<Self, StartError> {
        let state = Arc::new(AtomicU8::new(0));
        ProcessState::Initing.store(&state);
        let Loaded { mut model, paths, warnings, effective } = loaded;
        for folder in [&paths.logs, &paths.config_dir] {
            create_dir(folder)?;
        }
        let logs = mosn_telemetry::init(&model.server)?;
        mosn_telemetry::install_panic_hook(&logs);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let shared = build_shared(&mut model)?;
        check_inline_routers(&model.listeners)?;
        ProcessState::PreStart.store(&state);
        let signals = Signals::new()?;
        let control = Control::start(shared.clusters.clone(), shared.registry.clone(), logs.clone())?;
        let workers = start_workers(model.server.workers, &shared)?;
        ProcessState::Starting.store(&state);
        let mut acceptors = JoinSet::new();
        let mut count = 0;
        // Before they accept, every worker knows whom they hand connections to.
        model.listeners.sort_by_key(|listener| listener.original_dst.is_some());
        for spec in model.listeners {
            shared.registry.declare_listener(&spec.name);
            listen(spec, &mut count, &logs, &workers, &mut acceptors)?;
        }
        ProcessState::AfterStart.store(&state);
        let write_back = options.features.is_on("auto_config").then(|| WriteBack::new(paths.config_file));
        let updates = Updates::new(&shared, effective, write_back);
        let (dump, clusters) = (updates.clone(), shared.clusters.clone());
        let context = AdminContext {
            registry: shared.registry.clone(),
            logs: logs.clone(),
            version: Arc::clone(&options.version),
            state: Arc::clone(&state),
            features: options.features.clone(),
            dump: Arc::new(move |query| dump.dump(query)),
            hosts: Arc::new(move |cluster| hosts::pieces(&clusters, cluster)),
            debug: options.debug_api.then(|| Arc::new(updates.clone()) as Arc<dyn DebugApi>),
        };
        let admin = AdminServer::bind(model.server.admin, &model.server.prometheus, context)
            .and_then(AdminServer::run)
            .map_err(StartError::Admin)?;
        // Not before: a process that cannot listen must not hide the one that does.
        let pid_file = write_pid(&model.server)?;
        ProcessState::Running.store(&state);
        tracing::info!("running with {} workers", workers.len());
        let options = options.clone();
        Ok(Self { options, state, logs, control, workers, acceptors, signals, admin, updates, pid_file })
    }

    async fn until_stopped(mut self) -> Exit {
        let exit = loop {
            match self.signals.next().await {
                Asked::ReopenLogs => self.logs.reopen(),
                Asked::Upgrade => tracing::warn!("SIGHUP: this build has no hot upgrade yet; going on"),
                Asked::Stop if !self.options.interrupt_drains => break Exit::Stopped,
                Asked::Stop | Asked::Drain => break self.drain().await,
            }
        };
        ProcessState::Stopping.store(&self.state);
        // Gone already, or never written: nothing to remove then.
        let _ = std::fs::remove_file(&self.pid_file);
        self.admin.shutdown();
        self.updates.finish();
        ProcessState::Stopped.store(&self.state);
        tracing::info!("stopped");
        self.acceptors.shutdown().await;
        self.control.stop();
        for Worker { seat, thread } in self.workers {
            drop(seat);
            // Ends once it has handed over its log lines; it waits for nobody.
            let _ = thread.join();
        }
        self.logs.flush();
        exit
    }

    /// Stops accepting and waits for what is under way.
    async fn drain(&mut self) -> Exit {
        ProcessState::BeforeStop.store(&self.state);
        tracing::info!("draining for at most {:?}", self.options.drain_time);
        ProcessState::GracefulStopping.store(&self.state);
        self.acceptors.abort_all();
        while self.acceptors.join_next().await.is_some() {}
        let mut waiting = Vec::new();
        for worker in &self.workers {
            let (done, drained) = oneshot::channel();
            if worker.seat.sender.send(Command::Drain(done)).is_ok() {
                waiting.push(drained);
            }
        }
        let drained = async {
            for drained in waiting {
                // A worker that is gone has no connections.
                let _ = drained.await;
            }
        };
        let again = async { while !matches!(self.signals.next().await, Asked::Stop | Asked::Drain) {} };
        tokio::select! {
            () = drained => Exit::Stopped,
            () = tokio::time::sleep(self.options.drain_time) => {
                tracing::warn!("requests were still in flight after {:?}", self.options.drain_time);
                Exit::DrainTimeout
            }
            () = again => Exit::DrainTimeout,
        }
    }
}

fn create_dir(folder: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(folder).map_err(|source| StartError::File { path: folder.to_owned(), source })
}

fn write_pid(server: &ServerSpec) -> Result<PathBuf, StartError> {
    let path = &server.pid_file;
    if path.as_os_str().is_empty() {
        return Ok(PathBuf::new());
    }
    if let Some(folder) = path.parent() {
        create_dir(folder)?;
    }
    std::fs::write(path, format!("{}\n", std::process::id()))
        .map_err(|source| StartError::File { path: path.clone(), source })?;
    Ok(path.clone())
}

/// The clusters and route tables of a configuration, which are taken out of it.
pub(crate) fn build_shared(model: &mut Config) -> Result<Shared, StartError> {
    let shared = Shared {
        clusters: Clusters::new(),
        routers: Arc::new(Routers::default()),
        registry: Registry::new(&model.server.metrics_filter),
    };
    for cluster in &model.clusters {
        shared.registry.declare_cluster(&cluster.name);
    }
    shared.clusters.set_all(std::mem::take(&mut model.clusters)).map_err(StartError::Clusters)?;
    shared.routers.publish_all(build_routers(&std::mem::take(&mut model.routers))?);
    Ok(shared)
}

fn build_routers(specs: &[mosn_config::model::RouterSpec]) -> Result<Vec<Router>, StartError> {
    let (mut routers, mut errors) = (Vec::with_capacity(specs.len()), Vec::new());
    for spec in specs {
        match Router::build(spec) {
            Ok(router) => routers.push(router),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(routers) } else { Err(StartError::Routers(errors)) }
}

/// Every worker builds these for itself; that must not fail there.
fn check_inline_routers(listeners: &[ListenerSpec]) -> Result<(), StartError> {
    for chain in listeners
        .iter()
        .flat_map(|listener| listener.filter_chains.iter().chain(&listener.default_filter_chain))
    {
        let NetworkFilterSpec::Proxy(proxy) = &chain.filter;
        if let RouterSource::Inline(router) = &proxy.router {
            build_routers(std::slice::from_ref(router))?;
        }
    }
    Ok(())
}

fn start_workers(count: Option<usize>, shared: &Shared) -> Result<Vec<Worker>, StartError> {
    let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = gomaxprocs().or(count).unwrap_or_else(available).max(1);
    (0..count).map(|index| worker::start(index, shared.clone()).map_err(StartError::System)).collect()
}

/// Go's own variable wins over `processor`, as in MOSN: deployments set it.
fn gomaxprocs() -> Option<usize> {
    std::env::var("GOMAXPROCS").ok()?.parse().ok().filter(|count| *count > 0)
}

/// Binds a listener and makes it known to every worker.
fn listen(
    spec: ListenerSpec,
    count: &mut usize,
    logs: &LogHandle,
    workers: &[Worker],
    acceptors: &mut JoinSet<()>,
) -> Result<(), StartError> {
    let name = Arc::clone(&spec.name);
    let access_logs = spec
        .access_logs
        .iter()
        .map(|log| logs.access_log(log))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| StartError::AccessLog { listener: Arc::clone(&name), source })?;
    let on = match &spec.address {
        ListenerAddress::Tcp(address) => ListenOn::Tcp(*address),
        ListenerAddress::Unix(path) => ListenOn::Unix(path.clone()),
        ListenerAddress::Udp(_) => return Err(StartError::Udp(name)),
    };
    let transparent = spec.original_dst.is_some_and(|how| how.transparent);
    let bound = |reuse_port| {
        bind(&on, ListenOptions { reuse_port, transparent })
            .map_err(|source| StartError::Bind { listener: Arc::clone(&name), source })
    };
    let per_worker = spec.reuse_port && matches!(spec.address, ListenerAddress::Tcp(_));
    let mut sockets: Vec<Option<BoundListener>> = Vec::new();
    let mut shared_socket = None;
    if spec.bind {
        if per_worker || workers.len() == 1 {
            for _ in workers {
                sockets.push(Some(bound(per_worker)?));
            }
        } else {
            shared_socket = Some(bound(false)?);
        }
    }
    let index = *count;
    *count += 1;
    let (address, bound_here) = (spec.address.to_string(), spec.bind);
    let listener = Arc::new(SharedListener { spec, access_logs });
    for (at, worker) in workers.iter().enumerate() {
        let socket = sockets.get_mut(at).and_then(Option::take);
        // A worker ends only after this process has stopped using it.
        let _ = worker.seat.sender.send(Command::Listen(Arc::clone(&listener), socket));
    }
    tracing::info!("listener {name} {} {address}", if bound_here { "on" } else { "for connections to" });
    if let Some(socket) = shared_socket {
        let seats: Vec<_> = workers.iter().map(|worker| worker.seat.clone()).collect();
        acceptors.spawn(accept(socket, name, move |transport| {
            if let (Some(seat), Ok(accepted)) = (least_loaded(&seats), Detached::take(transport)) {
                seat.connections.fetch_add(1, Relaxed);
                // A worker ends only after this process has stopped using it.
                let _ = seat.sender.send(Command::Connection(index, accepted));
            }
        }));
    }
    Ok(())
}
