//! Changing routes, clusters and hosts while the process runs: one way for everybody who does.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mosn_admin::DebugApi;
use mosn_config::{
    DumpError, EffectiveConfig, HostEdit, Loaded, NewCluster, NewRouter, NewVirtualHost, Problem, Problems,
    RouteEdit, WriteBack,
    model::{Discovery, Name},
};
use mosn_proxy::Routers;
use mosn_router::{BuildError, Router};
use mosn_telemetry::Registry;
use mosn_upstream::{ClusterError, Clusters};

use crate::{
    aftermath::{Aftermath, Effective},
    process::{StartError, build_shared},
    worker::Shared,
};

/// Changes what the process routes by and to. Clones change the same.
///
/// Every change is checked as a whole before anything of it is published, and is then published at
/// once: a request sees the state before it or the state after it, and keeps what it began with.
/// Workers never wait; changes wait for each other. Objects are MOSN's JSON, as in the configuration
/// file; what they say that deserves a warning is returned, and logged. The configuration in effect
/// follows, and its files if they are written back.
#[derive(Clone, Debug)]
pub struct Updates(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clusters: Clusters,
    routers: Arc<Routers>,
    registry: Registry,
    /// Held while a change is made. Readers take a copy of the pointer.
    effective: Effective,
    aftermath: Aftermath,
}

/// Why a change was refused; then nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// What was given is wrong.
    #[error(transparent)]
    Invalid(#[from] Problems),
    /// A route table cannot be built of it.
    #[error("{}", crate::process::lines(.0))]
    Router(Vec<BuildError>),
    /// A cluster cannot be built of it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// There is no route table of this name.
    #[error("there is no router `{router}`: add it as a whole first")]
    UnknownRouter {
        /// The name.
        router: Name,
    },
    /// A route table that has routes was to be replaced by one without.
    #[error("router `{router}` would be left without a virtual host: remove it if that is meant")]
    EmptyRouter {
        /// Its name.
        router: Name,
    },
    /// A listener has the route table in its own filter.
    #[error(
        "router `{router}` stands in a listener's connection_manager filter, which would bring it back: \
         remove it there"
    )]
    RouterOfListener {
        /// Its name.
        router: Name,
    },
    /// The route table has no virtual host of this name.
    #[error("router `{router}` has no virtual host `{virtual_host}`")]
    UnknownVirtualHost {
        /// The route table's name.
        router: Name,
        /// The virtual host's name.
        virtual_host: Name,
    },
    /// No virtual host of the route table takes requests to this domain.
    #[error("router `{router}` has no virtual host for the domain `{domain}`")]
    UnknownDomain {
        /// The route table's name.
        router: Name,
        /// The domain.
        domain: Name,
    },
    /// A virtual host without a name cannot be found again.
    #[error("a virtual host needs a name to be added or replaced by")]
    UnnamedVirtualHost,
}

/// Stands where a file's name would in problems.
const ORIGIN: &str = "update";

type Done = Result<Vec<Problem>, UpdateError>;

impl Updates {
    pub(crate) fn new(shared: &Shared, effective: EffectiveConfig, write_back: Option<WriteBack>) -> Self {
        let effective = Arc::new(Mutex::new(Arc::new(effective)));
        Self(Arc::new(Inner {
            clusters: shared.clusters.clone(),
            routers: Arc::clone(&shared.routers),
            registry: shared.registry.clone(),
            aftermath: Aftermath::new(Arc::clone(&effective), write_back),
            effective,
        }))
    }

    /// The routes and clusters of a configuration without a process around them, to see what changes
    /// make of them and cost.
    ///
    /// # Errors
    /// If they cannot be built.
    pub fn without_process(loaded: Loaded) -> Result<Self, StartError> {
        let Loaded { mut model, effective, .. } = loaded;
        Ok(Self::new(&build_shared(&mut model)?, effective, None))
    }

    /// The clusters as they are now, and as they change.
    #[must_use]
    pub fn clusters(&self) -> &Clusters {
        &self.0.clusters
    }

    /// The route table of this name as it is now.
    #[must_use]
    pub fn router(&self, name: &str) -> Option<Arc<Router>> {
        self.0.routers.get(name)
    }

    /// The configuration as it is now.
    #[must_use]
    pub fn effective(&self) -> Arc<EffectiveConfig> {
        Arc::clone(&self.state())
    }

    /// See [`EffectiveConfig::dump_with_hosts`].
    ///
    /// # Errors
    /// As there.
    pub fn dump(&self, query: &str) -> Result<String, DumpError> {
        self.effective().dump_with_hosts(query, &|cluster| {
            let cluster = self.0.clusters.get(cluster);
            cluster.map_or_else(Vec::new, |cluster| cluster.hosts().iter().map(|host| host.spec()).collect())
        })
    }

    /// Adds a route table, or replaces the one of its name.
    ///
    /// # Errors
    /// If it is wrong, or has no virtual host where there was one.
    pub fn set_router(&self, json: &str) -> Done {
        let new = self.effective().new_router(Path::new(ORIGIN), json)?;
        self.put_router(&new)
    }

    /// The same for a route table that was made elsewhere.
    ///
    /// # Errors
    /// As for [`Self::set_router`].
    pub fn put_router(&self, new: &NewRouter) -> Done {
        let name = &new.spec.name;
        let router = Router::build(&new.spec).map_err(UpdateError::Router)?;
        let mut state = self.state();
        let before = self.0.routers.get(name);
        if router.virtual_hosts().next().is_none()
            && before.is_some_and(|before| before.virtual_hosts().next().is_some())
        {
            return Err(UpdateError::EmptyRouter { router: name.clone() });
        }
        let before = self.0.routers.publish(router);
        Arc::make_mut(&mut state).put_router(new);
        self.changed(before, format_args!("router {name}"), &new.warnings);
        Ok(new.warnings.clone())
    }

    /// Removes a route table. Listeners that name it answer 404 until there is one again.
    ///
    /// # Errors
    /// If there is none, or a listener has it in its own filter.
    pub fn remove_router(&self, name: &str) -> Result<(), UpdateError> {
        let mut state = self.state();
        if state.is_of_listener(name) {
            return Err(UpdateError::RouterOfListener { router: name.into() });
        }
        let Some(before) = self.0.routers.remove(name) else {
            return Err(UpdateError::UnknownRouter { router: name.into() });
        };
        Arc::make_mut(&mut state).remove_router(name);
        self.changed(Some(before), format_args!("router {name} removed"), &[]);
        Ok(())
    }

    /// Adds a virtual host to a route table, or replaces the one of its name.
    ///
    /// # Errors
    /// If there is no such route table, or the virtual host is wrong, has no name, or has a domain of
    /// another one.
    pub fn set_virtual_host(&self, router: &str, json: &str) -> Done {
        let mut state = self.state();
        let before = self.known_router(router)?;
        let new = state.new_virtual_host(Path::new(ORIGIN), json)?;
        if new.spec.name.is_empty() {
            return Err(UpdateError::UnnamedVirtualHost);
        }
        let count = before.virtual_hosts().count();
        let index = before.virtual_hosts().position(|host| host.name == new.spec.name).unwrap_or(count);
        self.put_virtual_host(&mut state, &before, index, new)
    }

    /// Removes a route table's virtual host of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn remove_virtual_host(&self, router: &str, name: &str) -> Result<(), UpdateError> {
        let mut state = self.state();
        let before = self.known_router(router)?;
        let index = before.virtual_hosts().position(|host| *host.name == *name).ok_or_else(|| {
            UpdateError::UnknownVirtualHost { router: router.into(), virtual_host: name.into() }
        })?;
        let before = self.0.routers.publish(before.without_virtual_host(index));
        Arc::make_mut(&mut state).remove_virtual_host(router, index);
        self.changed(before, format_args!("virtual host {name} of router {router} removed"), &[]);
        Ok(())
    }

    /// Changes the routes of the virtual host that takes requests to `domain`, as a request would
    /// find it; an empty one is that of any domain.
    ///
    /// # Errors
    /// If there is no such route table or virtual host, or the route is wrong or not there.
    pub fn edit_routes(&self, router: &str, domain: &str, edit: RouteEdit<'_>) -> Done {
        let mut state = self.state();
        let before = self.known_router(router)?;
        let index = before
            .virtual_host_of(domain)
            .ok_or_else(|| UpdateError::UnknownDomain { router: router.into(), domain: domain.into() })?;
        let new = state.edit_routes(Path::new(ORIGIN), router, index, edit)?;
        self.put_virtual_host(&mut state, &before, index, new)
    }

    fn put_virtual_host(
        &self,
        state: &mut Arc<EffectiveConfig>,
        before: &Router,
        index: usize,
        new: NewVirtualHost,
    ) -> Done {
        let router = before.with_virtual_host(index, &new.spec).map_err(UpdateError::Router)?;
        let name = before.name();
        let gone = self.0.routers.publish(router);
        Arc::make_mut(state).put_virtual_host(name, index, &new);
        self.changed(gone, format_args!("virtual host {} of router {name}", new.spec.name), &new.warnings);
        Ok(new.warnings)
    }

    /// Adds a cluster, or replaces the one of its name and its hosts.
    ///
    /// # Errors
    /// If it is wrong.
    pub fn set_cluster(&self, json: &str) -> Done {
        let new = self.effective().new_cluster(Path::new(ORIGIN), json)?;
        self.put_cluster(&new)
    }

    /// The same for a cluster that was made elsewhere.
    ///
    /// # Errors
    /// As for [`Self::set_cluster`].
    pub fn put_cluster(&self, new: &NewCluster) -> Done {
        let mut state = self.state();
        let before = self.0.clusters.get(&new.spec.name);
        match &before {
            // Those that were found serve until others are.
            Some(before) if finds_hosts(before.discovery()) && finds_hosts(&new.spec.discovery) => {
                self.0.clusters.add_or_update_settings(new.spec.clone())?;
            }
            _ => self.0.clusters.add_or_update(new.spec.clone())?,
        }
        self.0.registry.declare_cluster(&new.spec.name);
        Arc::make_mut(&mut state).put_cluster(new);
        self.changed(before, format_args!("cluster {}", new.spec.name), &new.warnings);
        Ok(new.warnings.clone())
    }

    /// Adds a cluster, or replaces the settings of the one of its name and leaves its hosts alone.
    ///
    /// # Errors
    /// If it is wrong.
    pub fn set_cluster_settings(&self, json: &str) -> Done {
        let mut state = self.state();
        let new = state.new_cluster_settings(Path::new(ORIGIN), json)?;
        let before = self.0.clusters.get(&new.spec.name);
        self.0.clusters.add_or_update_settings(new.spec.clone())?;
        self.0.registry.declare_cluster(&new.spec.name);
        Arc::make_mut(&mut state).put_cluster(&new);
        self.changed(before, format_args!("settings of cluster {}", new.spec.name), &new.warnings);
        Ok(new.warnings)
    }

    /// Removes clusters. Routes that name them answer 404 until there are such clusters again.
    ///
    /// # Errors
    /// If one of them does not exist; then none has been removed.
    pub fn remove_clusters(&self, names: &[&str]) -> Result<(), UpdateError> {
        let mut state = self.state();
        let before: Vec<_> = names.iter().filter_map(|name| self.0.clusters.get(name)).collect();
        self.0.clusters.remove(names)?;
        Arc::make_mut(&mut state).remove_clusters(names);
        self.changed(before, format_args!("clusters {} removed", names.join(", ")), &[]);
        Ok(())
    }

    /// Changes a cluster's hosts. Those that stay keep their connections and what is known of them.
    ///
    /// # Errors
    /// If there is no such cluster, or a host is wrong.
    pub fn edit_hosts(&self, cluster: &str, edit: HostEdit<'_>) -> Done {
        let mut state = self.state();
        let new = state
            .edit_hosts(Path::new(ORIGIN), cluster, edit)
            .ok_or_else(|| ClusterError::Unknown { cluster: cluster.into() })??;
        let before = self.0.clusters.get(cluster);
        if finds_hosts(&new.spec.discovery) {
            // What is listed says where to look.
            self.0.clusters.add_or_update_settings(new.spec.clone())?;
        } else {
            self.0.clusters.update_localities(cluster, new.spec.localities.clone())?;
        }
        Arc::make_mut(&mut state).put_cluster(&new);
        self.changed(before, format_args!("hosts of cluster {cluster}"), &new.warnings);
        Ok(new.warnings)
    }

    /// Writes what is not yet written back; to be called at the end.
    pub(crate) fn finish(&self) {
        self.0.aftermath.finish();
    }

    fn state(&self) -> MutexGuard<'_, Arc<EffectiveConfig>> {
        // Whatever a change that panicked left, the next one finds a whole configuration.
        self.0.effective.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_router(&self, name: &str) -> Result<Arc<Router>, UpdateError> {
        self.router(name).ok_or_else(|| UpdateError::UnknownRouter { router: name.into() })
    }

    /// What `before` was may still be in use; it is not for a worker to free it.
    fn changed<T: Send + Sync + 'static>(
        &self,
        before: impl IntoIterator<Item = Arc<T>>,
        what: std::fmt::Arguments<'_>,
        warnings: &[Problem],
    ) {
        tracing::info!("[update] {what}");
        for warning in warnings {
            tracing::warn!("[update] {what}: {warning}");
        }
        self.0.aftermath.add(before);
    }
}

impl DebugApi for Updates {
    fn update_router(&self, config: &str) -> Result<(), String> {
        told(self.set_router(config))
    }

    fn update_cluster(&self, config: &str) -> Result<(), String> {
        told(self.set_cluster(config))
    }

    fn add_route(&self, router: &str, domain: &str, route: &str) -> Result<(), String> {
        told(self.edit_routes(router, domain, RouteEdit::Append(route)))
    }

    fn remove_routes(&self, router: &str, domain: &str) -> Result<(), String> {
        told(self.edit_routes(router, domain, RouteEdit::Clear))
    }
}

/// Whether a cluster's hosts are found, by DNS or in a file, and not listed.
fn finds_hosts(discovery: &Discovery) -> bool {
    *discovery != Discovery::Static
}

fn told(done: Done) -> Result<(), String> {
    done.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
