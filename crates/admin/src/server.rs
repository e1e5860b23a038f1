use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use mosn_config::model::PrometheusSpec;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{AdminContext, AdminError, api, prometheus};

/// Most connections at once, of each address.
const MAX_CONNECTIONS: usize = 256;

/// Most bytes of a request's head.
const MAX_HEAD: usize = 32 * 1024;

/// Longest wait for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest life of a connection, so that clients that forget theirs cannot use them all up.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);

/// How long an answer may take to leave once its connection's life is over.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// The admin API and the Prometheus sinks, bound but not yet answering.
#[derive(Debug)]
pub struct AdminServer {
    services: Vec<Service>,
}

#[derive(Debug)]
struct Service {
    listener: TcpListener,
    router: Router,
}

/// The admin thread at work. Dropping it leaves the thread running until the process ends.
#[derive(Debug)]
pub struct AdminHandle {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl AdminServer {
    /// Binds the admin address, if there is one, and each sink's. A sink on the very address of the
    /// admin API is served by it.
    ///
    /// # Errors
    /// If an address cannot be bound; nothing is bound then.
    pub fn bind(
        admin: Option<SocketAddr>,
        sinks: &[PrometheusSpec],
        context: AdminContext,
    ) -> Result<Self, AdminError> {
        let mut services = Vec::new();
        let (shared, own): (Vec<_>, Vec<_>) =
            sinks.iter().cloned().partition(|sink| sink.address.port() != 0 && admin == Some(sink.address));
        if let Some(address) = admin {
            let listener = bind(address).map_err(|source| AdminError::BindAdmin { address, source })?;
            let default_sink = PrometheusSpec {
                address,
                endpoint: "/metrics".into(),
                percentiles: sinks.first().map(|sink| sink.percentiles.clone()).unwrap_or_default(),
                disable_collect_process: sinks.first().is_some_and(|sink| sink.disable_collect_process),
            };
            services.push(Service { listener, router: api::router(context.clone(), default_sink, shared) });
        }
        for sink in own {
            let address = sink.address;
            let listener = bind(address).map_err(|source| AdminError::BindPrometheus { address, source })?;
            services.push(Service { listener, router: prometheus::sink(context.registry.clone(), sink) });
        }
        Ok(Self { services })
    }

    /// The addresses bound: the admin API's, if it has one, then the sinks' in order.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.services.iter().filter_map(|service| service.listener.local_addr().ok()).collect()
    }

    /// Starts the thread that answers.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be made.
    pub fn run(self) -> Result<AdminHandle, AdminError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Start)?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("mosn-admin".into())
            .spawn(move || runtime.block_on(serve(self.services, stopped)))
            .map_err(AdminError::Start)?;
        Ok(AdminHandle { stop, thread })
    }
}

impl AdminHandle {
    /// Closes the sockets and every connection at once, and waits for the thread to end. To be called
    /// last in a graceful stop: the state can be asked for until then.
    pub fn shutdown(self) {
        let _ = self.stop.send(true);
        // A panic of the thread was logged when it happened.
        let _ = self.thread.join();
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(services: Vec<Service>, mut stopped: watch::Receiver<bool>) {
    for service in services {
        match tokio::net::TcpListener::from_std(service.listener) {
            Ok(listener) => {
                tokio::spawn(accept(listener, service.router));
            }
            Err(error) => {
                tracing::error!(alert = "mosn.admin.admin_failed", "[admin api] cannot listen: {error}");
            }
        }
    }
    // The sender lives in the handle; without one, nobody can ask for an end any more.
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn accept(listener: tokio::net::TcpListener, router: Router) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    converse(stream, router).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely; trying again at once would only spin.
                tracing::error!(alert = "mosn.admin.admin_failed", "[admin api] cannot accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection, to its end.
async fn converse(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // An error here is the client's: bad bytes, or gone.
    if timeout(CONNECTION_LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_ANSWER, connection).await;
    }
}
