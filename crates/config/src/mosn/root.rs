use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ClusterManager, Extend, Metrics, Server, Tracing, null_if_empty, unset};
use crate::value::NoEffect;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct MosnConfig {
    /// The server; exactly one.
    #[serde(skip_serializing_if = "unset")]
    pub servers: Vec<Server>,
    /// Clusters.
    pub cluster_manager: ClusterManager,
    /// Does not look for a running predecessor to take over from. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub disable_upgrade: bool,
    /// Older name of `disable_upgrade`.
    #[serde(skip_serializing_if = "unset")]
    pub close_graceful: bool,
    /// Takes the running predecessor's configuration over in a hot upgrade; both sides must set it.
    /// Default false.
    #[serde(skip_serializing_if = "unset")]
    pub inherit_old_mosnconfig: bool,
    /// Tracing.
    pub tracing: Tracing,
    /// Metrics.
    pub metrics: Metrics,
    /// xDS bootstrap: where configuration comes from.
    #[serde(skip_serializing_if = "unset")]
    pub dynamic_resources: Option<Value>,
    /// xDS bootstrap: resources that do not change.
    #[serde(skip_serializing_if = "unset")]
    pub static_resources: Option<Value>,
    /// xDS bootstrap: what this process says it is.
    #[serde(skip_serializing_if = "unset")]
    pub node: Option<Value>,
    /// The admin API; none without it.
    #[serde(skip_serializing_if = "unset")]
    pub admin: Option<Admin>,
    /// Go's profiler.
    pub pprof: Pprof,
    /// The pid file. Default `<logs>/mosn.pid`.
    #[serde(skip_serializing_if = "unset")]
    pub pid: String,
    /// Where the sockets of a hot upgrade are. Default: the folder of the configuration file.
    #[serde(skip_serializing_if = "unset")]
    pub uds_dir: String,
    /// Plugins that run as processes of their own.
    pub plugin: Plugin,
    /// Codecs that are loaded at start.
    pub third_part_codec: ThirdPartCodec,
    /// Extensions that run at start.
    #[serde(skip_serializing_if = "unset")]
    pub extends: Vec<Extend>,
    /// Wasm plugins that filters and codecs refer to by name.
    #[serde(skip_serializing_if = "unset")]
    pub wasm_global_plugins: Vec<WasmGlobalPlugin>,
    /// An Envoy key that MOSN's samples carry; does nothing.
    #[serde(skip_serializing_if = "unset")]
    pub layered_runtime: Option<NoEffect>,
    /// Belongs to a listener; here it does nothing.
    #[serde(skip_serializing_if = "unset")]
    pub stream_filters: Option<NoEffect>,
    /// A key that MOSN's samples carry; does nothing.
    #[serde(rename = "User")]
    #[serde(skip_serializing_if = "unset")]
    pub user: Option<NoEffect>,
}

/// The admin API (`admin`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Admin {
    /// Where it listens.
    #[serde(skip_serializing_if = "unset")]
    pub address: Option<AdminAddress>,
    /// An Envoy key; does nothing.
    #[serde(skip_serializing_if = "unset")]
    pub access_log_path: Option<NoEffect>,
}

/// The admin API's address, in Envoy's shape.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct AdminAddress {
    /// IP address and port.
    pub socket_address: SocketAddress,
}

/// An address in Envoy's shape.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SocketAddress {
    /// IP address or name. Empty: any.
    pub address: String,
    /// Port, 0 to 65535. Default 0: any free one.
    pub port_value: u32,
}

/// Go's profiler (`pprof`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Pprof {
    /// Whether it is on. Default false.
    pub debug: bool,
    /// Its port. Default 9090.
    pub port_value: i64,
    /// Its address. Default `0.0.0.0`.
    pub endpoint: String,
}

/// Out-of-process plugins (`plugin`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Plugin {
    /// Where they log. Default `<logs>`.
    pub log_base: String,
}

/// Codecs that are loaded at start (`third_part_codec`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ThirdPartCodec {
    /// The codecs.
    #[serde(serialize_with = "null_if_empty")]
    pub codecs: Vec<ThirdPartCodecItem>,
}

/// One codec.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ThirdPartCodecItem {
    /// Whether it is loaded. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub enable: bool,
    /// `go-plugin` or `wasm`.
    #[serde(rename = "type")]
    #[serde(skip_serializing_if = "unset")]
    pub kind: String,
    /// The file that holds it.
    #[serde(skip_serializing_if = "unset")]
    pub path: String,
    /// The function that makes it. Default `LoadCodec`.
    #[serde(skip_serializing_if = "unset")]
    pub loader_func_name: String,
    /// Its own settings; for `wasm`: `from_wasm_plugin`, `vm_config`, `instance_num`, `protocol`,
    /// `root_id`, `pool_mode`, `disable_worker_pool`, `plugin_generate_id`.
    #[serde(skip_serializing_if = "unset")]
    pub config: Option<Map<String, Value>>,
}

/// A Wasm plugin (`wasm_global_plugins[]`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct WasmGlobalPlugin {
    /// Its name.
    #[serde(skip_serializing_if = "unset")]
    pub plugin_name: String,
    /// Its module and engine.
    #[serde(skip_serializing_if = "unset")]
    pub vm_config: Option<WasmVmConfig>,
    /// How many instances; 0 or less: one per core.
    #[serde(skip_serializing_if = "unset")]
    pub instance_num: i64,
}

/// Where a Wasm module comes from and what runs it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct WasmVmConfig {
    /// `wazero` or `wasmer`.
    #[serde(skip_serializing_if = "unset")]
    pub engine: String,
    /// A file.
    #[serde(skip_serializing_if = "unset")]
    pub path: String,
    /// A URL, if there is no file.
    #[serde(skip_serializing_if = "unset")]
    pub url: String,
    /// The module's MD5, in hexadecimal.
    #[serde(skip_serializing_if = "unset")]
    pub md5: String,
    /// CPU limit in cores.
    #[serde(skip_serializing_if = "unset")]
    pub cpu: i64,
    /// Memory limit in bytes.
    #[serde(skip_serializing_if = "unset")]
    pub mem: i64,
}
