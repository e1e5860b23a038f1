//! Connecting to a host: looking its name up, pauses after failures, counts of open connections.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use mosn_config::model::Name;
use mosn_core::Failure;
use mosn_net::{
    ConnectOptions, Io, Meter, Transport, clock, connect_any, connect_tcp, connect_unix, is_local,
    timer::Timer,
};
use mosn_telemetry::UpstreamMetrics;
use mosn_upstream::{Cluster, ConnectionToken, Host, HostAddress};
use tokio::time::Instant;

use crate::Held;

/// How long a resolved name is used (upstream reference 2).
const RESOLVED: Duration = Duration::from_secs(15);
/// How much longer it is used when it cannot be resolved again.
const RESOLVED_BEFORE: Duration = Duration::from_millis(7500);

/// From so many failed connects in a row on, a host is left alone for a while: 10 ms at first, twice
/// as long after each further one, up to 640 ms.
const PATIENCE: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const DOUBLINGS: u32 = 6;

/// Makes this worker's connections to one host of a cluster.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) host: Arc<Host>,
    /// This worker's shards of the host's metrics and the cluster's.
    pub(super) metrics: [Arc<UpstreamMetrics>; 2],
    resolved: RefCell<Option<Resolved>>,
    /// Where it must not lead, if requests choose where it leads.
    own: Option<Rc<RefCell<Vec<SocketAddr>>>>,
    pause: Cell<Option<Pause>>,
}

/// The addresses of a host's name.
#[derive(Debug)]
struct Resolved {
    until: Instant,
    addresses: Rc<[SocketAddr]>,
    /// Somebody asks anew.
    renewing: bool,
}

/// Connects to a host have failed.
#[derive(Clone, Copy, Debug)]
struct Pause {
    failures: u32,
    until: Instant,
    /// How the last one failed, and so whoever asks meanwhile.
    why: Failure,
}

impl Connector {
    pub(super) fn new(
        host: Arc<Host>,
        metrics: [Arc<UpstreamMetrics>; 2],
        own: Option<Rc<RefCell<Vec<SocketAddr>>>>,
    ) -> Rc<Self> {
        Rc::new(Self { host, metrics, resolved: RefCell::default(), own, pause: Cell::new(None) })
    }

    /// Whether connects have failed, and the next must wait.
    pub(super) fn is_paused(&self) -> bool {
        self.pause.get().is_some_and(|pause| clock::now() < pause.until)
    }

    pub(super) async fn connect(self: &Rc<Self>, cluster: &Cluster) -> Result<Io, Failure> {
        if let Some(pause) = self.pause.get().filter(|_| self.is_paused()) {
            return Err(pause.why);
        }
        let mut timer = Timer::after(cluster.connect_timeout);
        let options = ConnectOptions { mark: cluster.mark, bind: cluster.bind_address };
        let mut connect = pin!(self.dial(options));
        let connected = poll_fn(|cx| match connect.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done.map_err(|error| {
                tracing::warn!(
                    alert = "mosn.proxy.upstream_conn_failed",
                    "cannot connect to {} of cluster {}: {error}",
                    self.host.address_text,
                    cluster.name
                );
                Failure::ConnectFailed
            })),
            Poll::Pending => timer.poll(cx).map(|()| Err(Failure::ConnectTimeout)),
        })
        .await;
        match connected {
            Ok(transport) => {
                self.pause.set(None);
                for metrics in &self.metrics {
                    metrics.connection_total.inc();
                    metrics.connection_active.inc();
                }
                let meter = Rc::new(ClusterMeter(Arc::clone(&self.metrics[1])));
                Ok(Io::new(transport, meter))
            }
            Err(why) => {
                for metrics in &self.metrics {
                    metrics.connection_con_fail.inc();
                }
                self.pause.set(Some(Pause::after(self.pause.get(), why)));
                Err(why)
            }
        }
    }

    async fn dial(self: &Rc<Self>, options: ConnectOptions) -> io::Result<Transport> {
        match &self.host.address {
            HostAddress::Ip(address) => {
                self.check_own(&[*address])?;
                connect_tcp(*address, options).await.map(Transport::Tcp)
            }
            HostAddress::Unix(path) => connect_unix(path).await.map(Transport::Unix),
            HostAddress::Name { host, port } => {
                let addresses = self.addresses(host, *port).await?;
                self.check_own(&addresses)?;
                connect_any(&addresses, options).await.map(Transport::Tcp)
            }
        }
    }

    fn check_own(&self, addresses: &[SocketAddr]) -> io::Result<()> {
        let Some(own) = &self.own else { return Ok(()) };
        let leads_here = |address: &SocketAddr| own.borrow().iter().any(|own| is_own(*own, *address));
        match addresses.iter().find(|address| leads_here(address)) {
            None => Ok(()),
            Some(address) => Err(io::Error::other(format!(
                "{address} is a listener of this process, to which the request would come back for ever"
            ))),
        }
    }

    /// The addresses of a name. Those that are out of date are used once more while somebody asks
    /// anew: a slow or broken resolver must not hold up requests to a host that is known.
    async fn addresses(self: &Rc<Self>, name: &Name, port: u16) -> io::Result<Rc<[SocketAddr]>> {
        if let Some(resolved) = &mut *self.resolved.borrow_mut() {
            if clock::now() >= resolved.until && !std::mem::replace(&mut resolved.renewing, true) {
                let (connector, name) = (Rc::clone(self), Arc::clone(name));
                // An error leaves what there is.
                tokio::task::spawn_local(async move { connector.resolve(&name, port).await.ok() });
            }
            return Ok(Rc::clone(&resolved.addresses));
        }
        self.resolve(name, port).await
    }

    async fn resolve(&self, name: &str, port: u16) -> io::Result<Rc<[SocketAddr]>> {
        let found = tokio::net::lookup_host((name, port)).await.map(Iterator::collect::<Vec<_>>);
        let mut resolved = self.resolved.borrow_mut();
        match found
            .and_then(|found| if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) })
        {
            Ok(found) => {
                let addresses: Rc<[SocketAddr]> = found.into();
                let until = clock::now() + RESOLVED;
                *resolved = Some(Resolved { until, addresses: Rc::clone(&addresses), renewing: false });
                Ok(addresses)
            }
            Err(error) => {
                if let Some(resolved) = &mut *resolved {
                    resolved.until = clock::now() + RESOLVED_BEFORE;
                    resolved.renewing = false;
                }
                Err(error)
            }
        }
    }

    /// Counts an open connection, until what it returns is dropped.
    pub(super) fn count_open(&self, token: ConnectionToken) -> Box<dyn Held> {
        Box::new(OpenConnection { metrics: self.metrics.clone(), remote: Cell::new(false), _token: token })
    }
}

/// Whether a connection to `address` arrives at a listener on `own`.
fn is_own(own: SocketAddr, address: SocketAddr) -> bool {
    let ip = match address.ip().to_canonical() {
        // The system connects to itself.
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let own_ip = own.ip();
    own.port() == address.port() && (own_ip == ip || (own_ip.is_unspecified() && is_local(ip)))
}

impl Pause {
    /// After another failure.
    fn after(before: Option<Self>, why: Failure) -> Self {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let pause = match failures.checked_sub(PATIENCE) {
            Some(more) => FIRST_PAUSE * 2_u32.pow(more.min(DOUBLINGS)),
            None => Duration::ZERO,
        };
        Self { failures, until: clock::now() + pause, why }
    }
}

/// Counts an open connection; dropped when it closes.
#[derive(Debug)]
struct OpenConnection {
    metrics: [Arc<UpstreamMetrics>; 2],
    /// Whether the peer has ended it.
    remote: Cell<bool>,
    _token: ConnectionToken,
}

impl Held for OpenConnection {
    fn ended_by_peer(&self) {
        self.remote.set(true);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        for metrics in &self.metrics {
            metrics.connection_active.dec();
            metrics.connection_close.inc();
            if self.remote.get() {
                metrics.connection_remote_close.inc();
            } else {
                metrics.connection_local_close.inc();
            }
        }
    }
}

/// Counts the bytes of a cluster's connections.
struct ClusterMeter(Arc<UpstreamMetrics>);

impl Meter for ClusterMeter {
    fn read(&self, bytes: u64) {
        self.0.connection_bytes_read_total.add(bytes);
    }

    fn written(&self, bytes: u64) {
        self.0.connection_bytes_write.add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::is_own;

    #[test]
    fn a_listener_is_reached_by_its_address_or_by_any_of_this_machine() {
        for (own, address, reached) in [
            ("10.0.0.1:80", "10.0.0.1:80", true),
            ("10.0.0.1:80", "10.0.0.1:81", false),
            ("10.0.0.1:80", "10.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", true),
            ("[::]:80", "[::ffff:127.0.0.1]:80", true),
            ("0.0.0.0:80", "192.0.2.1:80", false),
            ("0.0.0.0:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "[::ffff:0.0.0.0]:80", true),
            ("[::1]:80", "[::]:80", true),
            ("10.0.0.1:80", "0.0.0.0:80", false),
        ] {
            let (own, to) = (own.parse().expect("an address"), address.parse().expect("an address"));
            assert_eq!(is_own(own, to), reached, "{own} {address}");
        }
    }
}
