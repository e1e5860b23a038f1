use std::path::Path;

use serde_json::{Map, Value, json};

use crate::Mosn;

/// What an access log of the tests says of a request.
const ACCESS_LOG: &str = "%response_code% %upstream_transport_failure_reason% %response_code_details% \
                          %x-mosn-method% %x-mosn-path% %upstream_local_address% %bytes_received% %bytes_sent%";

/// A configuration. Ports are given when it starts.
#[derive(Clone, Debug)]
pub struct Config {
    listeners: Vec<Listener>,
    clusters: Vec<Value>,
    workers: usize,
    top: Map<String, Value>,
    flags: Vec<String>,
}

/// A listener with a route table of its own.
#[derive(Clone, Debug)]
pub struct Listener {
    name: String,
    protocol: String,
    virtual_hosts: Vec<Value>,
    extend: Value,
    more: Map<String, Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// Nothing but one worker.
    #[must_use]
    pub fn new() -> Self {
        Self { listeners: vec![], clusters: vec![], workers: 1, top: Map::new(), flags: vec![] }
    }

    /// With a listener.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// With a cluster that chooses among its hosts in turns.
    #[must_use]
    pub fn cluster(self, name: &str, hosts: &[&str]) -> Self {
        self.cluster_with(name, hosts, &json!({}))
    }

    /// With a cluster that has more keys.
    #[must_use]
    pub fn cluster_with(mut self, name: &str, hosts: &[&str], more: &Value) -> Self {
        let hosts: Vec<Value> = hosts.iter().map(|address| json!({ "address": address })).collect();
        let mut cluster =
            json!({ "name": name, "type": "SIMPLE", "lb_type": "LB_ROUNDROBIN", "hosts": hosts });
        merge(&mut cluster, more);
        self.clusters.push(cluster);
        self
    }

    /// With this many workers.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// With a key at the top.
    #[must_use]
    pub fn top(mut self, key: &str, value: Value) -> Self {
        self.top.insert(key.into(), value);
        self
    }

    /// With a flag on the command line.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// As JSON; ports that are 0 are given when it starts.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = json!({
            "disable_upgrade": true,
            "servers": [{
                "mosn_server_name": "test",
                "default_log_level": "INFO",
                "processor": self.workers,
                "listeners": self.listeners.iter().map(Listener::document).collect::<Vec<_>>(),
                "routers": self.listeners.iter().map(Listener::router).collect::<Vec<_>>(),
            }],
            "cluster_manager": { "clusters": self.clusters },
        });
        merge(&mut document, &Value::Object(self.top.clone()));
        document
    }

    /// Runs it with the binary at `program`.
    #[must_use]
    #[track_caller]
    pub fn start(&self, program: impl AsRef<Path>) -> Mosn {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        Mosn::start(program.as_ref(), &self.document(), &flags)
    }
}

impl Listener {
    /// A listener of this name for `Http1`, `Http2` or `Auto`.
    #[must_use]
    pub fn new(name: &str, protocol: &str) -> Self {
        Self {
            name: name.into(),
            protocol: protocol.into(),
            virtual_hosts: vec![],
            extend: json!({}),
            more: Map::new(),
        }
    }

    /// With routes for every host.
    #[must_use]
    pub fn routes(self, routes: impl IntoIterator<Item = Value>) -> Self {
        self.virtual_host(&["*"], routes)
    }

    /// With routes for these domains.
    #[must_use]
    pub fn virtual_host(mut self, domains: &[&str], routes: impl IntoIterator<Item = Value>) -> Self {
        let name = format!("host{}", self.virtual_hosts.len());
        let routes: Vec<Value> = routes.into_iter().collect();
        self.virtual_hosts.push(json!({ "name": name, "domains": domains, "routers": routes }));
        self
    }

    /// With more keys of its last virtual host.
    #[must_use]
    pub fn virtual_host_with(mut self, more: &Value) -> Self {
        if let Some(last) = self.virtual_hosts.last_mut() {
            merge(last, more);
        }
        self
    }

    /// With settings of its protocol (`extend_config`).
    #[must_use]
    pub fn extend(mut self, settings: Value) -> Self {
        self.extend = settings;
        self
    }

    /// With more keys.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.more.insert(key.into(), value);
        self
    }

    fn document(&self) -> Value {
        let proxy = json!({
            "downstream_protocol": self.protocol,
            "router_config_name": self.name,
            "extend_config": self.extend,
        });
        let mut listener = json!({
            "name": self.name,
            "address": "127.0.0.1:0",
            "bind_port": true,
            "access_logs": [{ "log_format": ACCESS_LOG }],
            "filter_chains": [{ "filters": [{ "type": "proxy", "config": proxy }] }],
        });
        merge(&mut listener, &Value::Object(self.more.clone()));
        listener
    }

    fn router(&self) -> Value {
        json!({ "router_config_name": self.name, "virtual_hosts": self.virtual_hosts })
    }
}

/// A route: what it takes, and whatever else it has.
#[must_use]
pub fn route(matches: &Value, more: &Value) -> Value {
    let mut route = json!({ "match": matches });
    merge(&mut route, more);
    route
}

/// A route that takes everything below `prefix` to a cluster; `more` are further keys of its action.
#[must_use]
pub fn to(prefix: &str, cluster: &str, more: &Value) -> Value {
    let mut action = json!({ "cluster_name": cluster });
    merge(&mut action, more);
    json!({ "match": { "prefix": prefix }, "route": action })
}

/// A route that answers everything below `prefix` with 200 and this body.
#[must_use]
pub fn direct(prefix: &str, body: &str) -> Value {
    json!({ "match": { "prefix": prefix }, "direct_response": { "status": 200, "body": body } })
}

/// The admin API, as the value of the key `admin`.
#[must_use]
pub fn admin() -> Value {
    json!({ "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } } })
}

/// Lays `more` over `value`, object by object.
fn merge(value: &mut Value, more: &Value) {
    match (value, more) {
        (Value::Object(value), Value::Object(more)) => {
            for (key, more) in more {
                merge(value.entry(key.clone()).or_insert(Value::Null), more);
            }
        }
        (value, more) => *value = more.clone(),
    }
}
