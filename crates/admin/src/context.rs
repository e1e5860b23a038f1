use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicU8},
};

use mosn_config::DumpError;
use mosn_telemetry::{LogHandle, Registry};

/// What the admin API answers from. Cloning is cheap.
#[derive(Clone)]
pub struct AdminContext {
    /// The metrics.
    pub registry: Registry,
    /// The logs.
    pub logs: LogHandle,
    /// What `/api/v1/version` says.
    pub version: Arc<str>,
    /// The number of a [`mosn_telemetry::ProcessState`], which the server keeps up to date.
    pub state: Arc<AtomicU8>,
    /// The feature gates.
    pub features: Features,
    /// Shows the configuration in force.
    pub dump: Dump,
    /// Shows clusters' hosts as they are now.
    pub hosts: Hosts,
    /// Carries out what `/debug/...` asks for; `None` = there are no such paths.
    pub debug: Option<Arc<dyn DebugApi>>,
}

impl fmt::Debug for AdminContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminContext").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Renders what of the configuration in force a query string asks for, as JSON: called on the admin
/// thread, once per request. See [`EffectiveConfig::dump`](mosn_config::EffectiveConfig::dump).
pub type Dump = Arc<dyn Fn(&str) -> Result<String, DumpError> + Send + Sync>;

/// Renders the hosts of all clusters, or of the one of the name given, as JSON; `None` = there is none of
/// this name. Called on the admin thread, once per request; the pieces are taken as the client reads them.
pub type Hosts = Arc<dyn Fn(Option<&str>) -> Option<Pieces> + Send + Sync>;

/// A text that is made bit by bit, because it may be long.
pub type Pieces = Box<dyn Iterator<Item = String> + Send>;

/// Changes that MOSN's debug builds take (observability reference 1.6). Objects are JSON texts; an error
/// is what the client is told. Called on a thread that may take its time.
pub trait DebugApi: Send + Sync {
    /// Adds or replaces a route table.
    ///
    /// # Errors
    /// Why not.
    fn update_router(&self, config: &str) -> Result<(), String>;

    /// Adds or replaces a cluster with its hosts.
    ///
    /// # Errors
    /// Why not.
    fn update_cluster(&self, config: &str) -> Result<(), String>;

    /// Appends a route to the virtual host of a domain.
    ///
    /// # Errors
    /// Why not.
    fn add_route(&self, router: &str, domain: &str, route: &str) -> Result<(), String>;

    /// Removes all routes of the virtual host of a domain.
    ///
    /// # Errors
    /// Why not.
    fn remove_routes(&self, router: &str, domain: &str) -> Result<(), String>;
}

/// Feature gates by name. [`Self::default`] has MOSN's four, all off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features(BTreeMap<String, bool>);

impl Default for Features {
    fn default() -> Self {
        let names = ["auto_config", "XdsMtlsEnable", "PayLoadLimitEnable", "MultiTenantMode"];
        Self(names.map(|name| (name.to_owned(), false)).into())
    }
}

impl Features {
    /// Switches a gate; `false`, and nothing changed, if there is none of this name.
    pub fn set(&mut self, name: &str, on: bool) -> bool {
        self.0.get_mut(name).map(|gate| *gate = on).is_some()
    }

    /// Whether the gate is on; an unknown one is not.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.0.get(name).copied().unwrap_or(false)
    }

    pub(crate) fn all(&self) -> &BTreeMap<String, bool> {
        &self.0
    }
}
