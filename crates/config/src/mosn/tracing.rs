//! Tracing: a driver, and settings whose shape the driver decides.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::filter::Settings;
use super::{TypedConfig, unset};
use crate::value::NoEffect;

/// Tracing (`tracing`); on with both `enable` and `driver`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tracing {
    /// Whether to trace. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub enable: bool,
    /// Older name of `driver`; does nothing.
    #[serde(skip_serializing_if = "unset")]
    pub tracer: Option<NoEffect>,
    /// `SOFATracer`, `Zipkin`, `jaeger`, `otel`, `SkyWalking` or `PluginDriver`; case counts.
    #[serde(skip_serializing_if = "unset")]
    pub driver: String,
    /// The driver's own settings.
    #[serde(skip_serializing_if = "TypedConfig::is_none")]
    pub config: TracingConfig,
}

/// Settings of tracing drivers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TracingConfig {
    /// Not given.
    #[default]
    None,
    /// `SOFATracer`.
    SofaTracer(SofaTracerConfig),
    /// `Zipkin`.
    Zipkin(Box<ZipkinConfig>),
    /// `jaeger`.
    Jaeger(JaegerConfig),
    /// `otel`.
    Otel(Box<OtelConfig>),
    /// `SkyWalking`.
    SkyWalking(Box<SkyWalkingConfig>),
    /// `PluginDriver`.
    Plugin(Box<PluginDriverConfig>),
    /// Any other.
    Other(Value),
}

impl TypedConfig for TracingConfig {
    const TYPES: &'static [&'static str] =
        &["SOFATracer", "Zipkin", "jaeger", "otel", "SkyWalking", "PluginDriver"];

    fn decode<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error> {
        Ok(match kind {
            "SOFATracer" => Self::SofaTracer(Deserialize::deserialize(settings)?),
            "Zipkin" => Self::Zipkin(Deserialize::deserialize(settings)?),
            "jaeger" => Self::Jaeger(Deserialize::deserialize(settings)?),
            "otel" => Self::Otel(Deserialize::deserialize(settings)?),
            "SkyWalking" => Self::SkyWalking(Deserialize::deserialize(settings)?),
            "PluginDriver" => Self::Plugin(Deserialize::deserialize(settings)?),
            _ => Self::Other(Value::deserialize(settings)?),
        })
    }

    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl<'de> Deserialize<'de> for Tracing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TracingVisitor;

        impl<'de> Visitor<'de> for TracingVisitor {
            type Value = Tracing;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tracing")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tracing, A::Error> {
                let mut tracing = Tracing::default();
                let mut settings = Settings::<TracingConfig>::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "enable" => tracing.enable = map.next_value()?,
                        "tracer" => tracing.tracer = map.next_value()?,
                        "driver" => settings.kind = map.next_value()?,
                        "config" => settings.read(&mut map)?,
                        _ => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                (tracing.driver, tracing.config) = settings.finish()?;
                Ok(tracing)
            }
        }

        deserializer.deserialize_struct("Tracing", &["enable", "tracer", "driver", "config"], TracingVisitor)
    }
}

/// Settings of `SOFATracer`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SofaTracerConfig {
    /// The folder of the digests. Default `$HOME/logs/tracelog/mosn`.
    #[serde(skip_serializing_if = "unset")]
    pub log_path: String,
}

/// Settings of `Zipkin`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ZipkinConfig {
    /// This process's name. Default `mosn`.
    #[serde(skip_serializing_if = "unset")]
    pub service_name: String,
    /// `http` or `kafka`.
    #[serde(skip_serializing_if = "unset")]
    pub reporter: String,
    /// The share of requests that is traced, 0 to 1. Default 0.
    #[serde(skip_serializing_if = "unset")]
    pub sample_rate: f64,
    /// Where spans go: one URL for `http`, brokers for `kafka`.
    #[serde(skip_serializing_if = "unset")]
    pub addresses: Vec<String>,
    /// Settings of the `http` reporter.
    #[serde(skip_serializing_if = "unset")]
    pub http: Option<ZipkinHttpConfig>,
    /// Settings of the `kafka` reporter.
    #[serde(skip_serializing_if = "unset")]
    pub kafka: Option<ZipkinKafkaConfig>,
}

/// Settings of Zipkin's `http` reporter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ZipkinHttpConfig {
    /// Limit of a report, in seconds.
    #[serde(skip_serializing_if = "unset")]
    pub timeout: i64,
    /// Spans in a report.
    #[serde(skip_serializing_if = "unset")]
    pub batch_size: i64,
    /// Time between reports, in seconds.
    #[serde(skip_serializing_if = "unset")]
    pub batch_interval: i64,
}

/// Settings of Zipkin's `kafka` reporter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ZipkinKafkaConfig {
    /// The topic.
    #[serde(skip_serializing_if = "unset")]
    pub topic: String,
}

/// Settings of `jaeger`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct JaegerConfig {
    /// The agent, as `host:port`. Default: the environment's `TRACE`, or `0.0.0.0:6831`.
    #[serde(skip_serializing_if = "unset")]
    pub agent_host: String,
    /// This process's name. Default: from the environment's `APP_ID`.
    #[serde(skip_serializing_if = "unset")]
    pub service_name: String,
}

/// Settings of `otel`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct OtelConfig {
    /// This process's name. Default: from the environment's `COMP_NAME`.
    #[serde(skip_serializing_if = "unset")]
    pub service_name: String,
    /// `console` (default), `http` or `grpc`.
    #[serde(skip_serializing_if = "unset")]
    pub report_method: String,
    /// Where spans go.
    #[serde(skip_serializing_if = "unset")]
    pub endpoint: String,
    /// Attributes of this process.
    #[serde(skip_serializing_if = "unset")]
    pub config_map: BTreeMap<String, String>,
}

/// Settings of `SkyWalking`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SkyWalkingConfig {
    /// `log` (default) or `gRPC`.
    #[serde(skip_serializing_if = "unset")]
    pub reporter: String,
    /// Where `gRPC` reports to, as `host:port`.
    #[serde(skip_serializing_if = "unset")]
    pub backend_service: String,
    /// This process's name. Default `mosn`.
    #[serde(skip_serializing_if = "unset")]
    pub service_name: String,
    /// Spans that may wait.
    #[serde(skip_serializing_if = "unset")]
    pub max_send_queue_size: i64,
    /// The token that reports carry.
    #[serde(skip_serializing_if = "unset")]
    pub authentication: String,
    /// TLS to `backend_service`.
    #[serde(skip_serializing_if = "unset")]
    pub tls: Option<SkyWalkingTls>,
}

/// TLS to SkyWalking.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SkyWalkingTls {
    /// The trusted authority's PEM file.
    #[serde(skip_serializing_if = "unset")]
    pub cert_file: String,
    /// The name to verify instead of the host's.
    #[serde(skip_serializing_if = "unset")]
    pub server_name_override: String,
}

/// Settings of `PluginDriver`: a Go plugin, which cannot be loaded here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct PluginDriverConfig {
    /// The `.so` file.
    #[serde(skip_serializing_if = "unset")]
    pub sopath: String,
    /// The function that makes the driver. Default `TracerBuilder`.
    #[serde(skip_serializing_if = "unset")]
    pub factory_method: String,
    /// What the function is given.
    #[serde(skip_serializing_if = "unset")]
    pub builder: Option<Value>,
}
