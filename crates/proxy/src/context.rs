use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use arc_swap::ArcSwap;
use mosn_config::model::{HttpLimits, MirrorSpec, Name, RpcSpec};
use mosn_core::{ConnectionInfo, Failure, Protocol, RequestHead};
use mosn_router::{Action, Router};
use mosn_stream::{
    ServerStream, Service,
    rpc::{Call, Verdict},
};
use mosn_telemetry::{AccessLogFormat, AccessLogWriter, DownstreamMetrics, LogContext};

use crate::{Upstreams, engine::Request, relay::Relays, report};

/// Route tables by name, for the whole process. Workers read, the control thread publishes.
#[derive(Debug, Default)]
pub struct Routers(ArcSwap<HashMap<Name, Arc<Router>>>);

impl Routers {
    /// The table of this name as it is now.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Router>> {
        self.0.load().get(name).cloned()
    }

    /// Publishes `router` under its name; the one before it.
    pub fn publish(&self, router: Router) -> Option<Arc<Router>> {
        let router = Arc::new(router);
        self.change(|tables| tables.insert(router.name().into(), Arc::clone(&router)))
    }

    /// Removes the table of this name; requests that ask for it find no route from now on.
    pub fn remove(&self, name: &str) -> Option<Arc<Router>> {
        self.change(|tables| tables.remove(name))
    }

    /// Publishes all of them at once, in place of all there were.
    pub fn publish_all(&self, routers: impl IntoIterator<Item = Router>) {
        let tables = routers.into_iter().map(|router| (router.name().into(), Arc::new(router))).collect();
        self.0.store(Arc::new(tables));
    }

    fn change(
        &self,
        change: impl Fn(&mut HashMap<Name, Arc<Router>>) -> Option<Arc<Router>>,
    ) -> Option<Arc<Router>> {
        let mut before = None;
        self.0.rcu(|tables| {
            let mut tables = HashMap::clone(tables);
            before = change(&mut tables);
            tables
        });
        before
    }
}

/// A route table as one worker holds it: requests count their use of it without touching what
/// other workers count.
#[derive(Debug)]
pub struct LocalRouter(Arc<Router>);

impl std::ops::Deref for LocalRouter {
    type Target = Router;

    fn deref(&self) -> &Router {
        &self.0
    }
}

/// Where one listener finds its routes.
#[derive(Debug)]
pub enum RouterLookup {
    /// Its own.
    Inline(Rc<LocalRouter>),
    /// Of this name among all.
    Named(Name, Arc<Routers>, RefCell<Option<Found>>),
}

/// What was found, and in which state of the tables.
#[derive(Debug)]
pub struct Found {
    tables: Arc<HashMap<Name, Arc<Router>>>,
    router: Option<Rc<LocalRouter>>,
}

impl RouterLookup {
    /// A table that may come and change at any time.
    #[must_use]
    pub fn named(name: Name, routers: Arc<Routers>) -> Self {
        Self::Named(name, routers, RefCell::new(None))
    }

    /// A table of its own.
    #[must_use]
    pub fn inline(router: Router) -> Self {
        Self::Inline(Rc::new(LocalRouter(Arc::new(router))))
    }

    fn get(&self) -> Option<Rc<LocalRouter>> {
        match self {
            Self::Inline(router) => Some(Rc::clone(router)),
            Self::Named(name, routers, found) => {
                let tables = routers.0.load();
                let mut found = found.borrow_mut();
                if let Some(found) = &*found
                    && Arc::ptr_eq(&found.tables, &tables)
                {
                    return found.router.clone();
                }
                let router = tables.get(name).map(|router| Rc::new(LocalRouter(Arc::clone(router))));
                *found = Some(Found { tables: Arc::clone(&tables), router: router.clone() });
                router
            }
        }
    }
}

/// What a [`Proxy`] is made of.
pub struct ProxySettings {
    /// Limits on downstream connections.
    pub limits: Rc<HttpLimits>,
    /// How RPC protocols are spoken, where it is not the default.
    pub rpc: Rc<[(&'static str, RpcSpec)]>,
    /// Where requests go.
    pub router: RouterLookup,
    /// This worker's shards of the process's metrics and of the listener's.
    pub metrics: [Arc<DownstreamMetrics>; 2],
    /// How requests are copied where routes say so; `None` = not at all.
    pub mirror: Option<MirrorSpec>,
    /// One line each per request.
    pub access_logs: Vec<Rc<AccessLogWriter>>,
}

impl ProxySettings {
    /// How this protocol is spoken.
    pub(crate) fn rpc(&self, protocol: Protocol) -> RpcSpec {
        let known = self.rpc.iter().find(|(name, _)| Protocol::Rpc(name) == protocol);
        known.map(|(_, spec)| *spec).unwrap_or_default()
    }
}

/// One listener's engine on one worker.
pub struct Proxy<U> {
    pub(crate) settings: ProxySettings,
    pub(crate) upstreams: Rc<U>,
    /// What the access logs show, and must therefore be kept until the end.
    pub(crate) logs_request: bool,
    pub(crate) logs_response_headers: bool,
    /// Who is told of RPC calls that were passed on as they came.
    pub(crate) relays: Rc<Relays>,
    leaving: Cell<bool>,
    /// Copies of requests in flight.
    pub(crate) copies: Rc<Cell<u32>>,
}

impl<U> std::fmt::Debug for Proxy<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("router", &self.settings.router).finish_non_exhaustive()
    }
}

impl<U: Upstreams> Proxy<U> {
    /// An engine.
    #[must_use]
    pub fn new(settings: ProxySettings, upstreams: Rc<U>) -> Self {
        let any =
            |needs: fn(&AccessLogFormat) -> bool| settings.access_logs.iter().any(|log| needs(log.format()));
        Self {
            logs_request: any(AccessLogFormat::needs_request),
            logs_response_headers: any(AccessLogFormat::needs_response_headers),
            relays: Rc::new(Relays::new(&settings)),
            settings,
            upstreams,
            leaving: Cell::new(false),
            copies: Rc::default(),
        }
    }

    /// The worker is about to end: a request that is dropped from now on was not given up by its client.
    pub fn leave(&self) {
        self.leaving.set(true);
    }

    /// Why a request is dropped before its end.
    pub(crate) fn why_dropped(&self) -> Failure {
        if self.leaving.get() { Failure::Drain } else { Failure::ClientGone }
    }

    /// The clusters that its routes name, as they are now.
    #[must_use]
    pub fn clusters(&self) -> Vec<Name> {
        let Some(router) = self.router() else { return Vec::new() };
        let routes = router.virtual_hosts().flat_map(|host| host.routes());
        let forwards = routes.filter_map(|route| match &route.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        });
        let mut seen = HashSet::new();
        let names = forwards.flat_map(|forward| forward.cluster_names());
        names.filter(|name| seen.insert(Arc::clone(name))).cloned().collect()
    }

    pub(crate) fn router(&self) -> Option<Rc<LocalRouter>> {
        self.settings.router.get()
    }

    /// Lets go of a route table that is no longer in force, though no request comes to notice.
    pub fn refresh(&self) {
        self.settings.router.get();
    }

    pub(crate) fn log(&self, cx: &LogContext<'_>) {
        for log in &self.settings.access_logs {
            log.write(cx);
        }
    }
}

impl<U: Upstreams> Service for Proxy<U> {
    async fn serve<S: ServerStream>(&self, stream: &mut S, head: Box<RequestHead>) {
        let mut request = Request::new(self, stream, head);
        request.run().await;
    }

    fn relay(&self, call: &Call<'_>) -> Verdict {
        self.relay_call(call)
    }

    fn refused(&self, connection: &Rc<ConnectionInfo>, protocol: Protocol, why: Failure) {
        report::refused(self, connection, protocol, why);
    }

    fn flooded(&self, _connection: &Rc<ConnectionInfo>) {
        for metrics in &self.settings.metrics {
            metrics.connection_flood_closed.inc();
        }
    }
}
