use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::filter::Settings;
use super::{TlsContext, TypedConfig, unset};
use crate::value::GoDuration;

/// An extension that runs at start (`extends[]`).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Extend {
    /// Its type; unknown ones are kept, but do nothing.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its settings.
    pub config: ExtensionConfig,
}

/// Settings of extensions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ExtensionConfig {
    /// Not given.
    #[default]
    None,
    /// `tunnel_agent`.
    TunnelAgent(Box<TunnelAgentConfig>),
    /// `dubbo_registry`.
    DubboRegistry(DubboRegistryConfig),
    /// Any other: `holmes` (Go's run-time profiler), `transcoder_plugin` (Go plugins), and those that are
    /// unknown.
    Other(Value),
}

impl TypedConfig for ExtensionConfig {
    const TYPES: &'static [&'static str] = &["tunnel_agent", "holmes", "transcoder_plugin", "dubbo_registry"];

    fn decode<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error> {
        Ok(match kind {
            "tunnel_agent" => Self::TunnelAgent(Deserialize::deserialize(settings)?),
            "dubbo_registry" => Self::DubboRegistry(Deserialize::deserialize(settings)?),
            _ => Self::Other(Value::deserialize(settings)?),
        })
    }

    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl<'de> Deserialize<'de> for Extend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ExtendVisitor;

        impl<'de> Visitor<'de> for ExtendVisitor {
            type Value = Extend;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an extension")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Extend, A::Error> {
                let mut settings = Settings::<ExtensionConfig>::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "type" => settings.kind = map.next_value()?,
                        "config" => settings.read(&mut map)?,
                        _ => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                let (kind, config) = settings.finish()?;
                Ok(Extend { kind, config })
            }
        }

        deserializer.deserialize_struct("Extend", &["type", "config"], ExtendVisitor)
    }
}

/// The `tunnel_agent` extension: dials out and serves what comes in on that connection.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct TunnelAgentConfig {
    /// Whether it runs. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub enable: bool,
    /// Connections to each server.
    #[serde(skip_serializing_if = "unset")]
    pub connection_num: i64,
    /// The cluster at the server that this process becomes a host of.
    #[serde(skip_serializing_if = "unset")]
    pub cluster: String,
    /// The listener that serves the connections.
    #[serde(skip_serializing_if = "unset")]
    pub hosting_listener: String,
    /// Servers, as `host:port`.
    #[serde(skip_serializing_if = "unset")]
    pub server_list: Vec<String>,
    /// A way of finding servers.
    #[serde(skip_serializing_if = "unset")]
    pub dynamic_server_list_config: DynamicServerListConfig,
    /// How often to try again; 0: for ever.
    #[serde(skip_serializing_if = "unset")]
    pub connect_retry_times: i64,
    /// Time until the first retry; doubles. Default 3s.
    #[serde(skip_serializing_if = "unset")]
    pub reconnect_base_duration: GoDuration,
    /// Limit of a connect. Default 15s.
    #[serde(skip_serializing_if = "unset")]
    pub connect_timeout_duration: GoDuration,
    /// How this process proves itself.
    #[serde(skip_serializing_if = "unset")]
    pub credential_policy: String,
    /// Limit of a graceful close. Default 15s.
    #[serde(skip_serializing_if = "unset")]
    pub graceful_close_max_wait_duration: GoDuration,
    /// TLS to the servers.
    #[serde(skip_serializing_if = "unset")]
    pub tls_context: Option<TlsContext>,
}

/// A way of finding servers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct DynamicServerListConfig {
    /// Its name.
    #[serde(skip_serializing_if = "unset")]
    pub dynamic_server_lister: String,
}

/// The `dubbo_registry` extension.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct DubboRegistryConfig {
    /// Whether it runs. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub enable: bool,
    /// Port that services are reached at, 1 to 65534.
    #[serde(skip_serializing_if = "unset")]
    pub server_port: i64,
    /// Port of its API. Default 22222.
    #[serde(skip_serializing_if = "unset")]
    pub api_port: i64,
    /// Where it logs.
    #[serde(skip_serializing_if = "unset")]
    pub log_path: String,
}
