//! Filters: a type, and settings whose shape the type decides.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{
    DslConfig, FaultConfig, GrpcConfig, GzipConfig, MirrorConfig, PayloadLimitConfig, PrometheusConfig,
    ProxyConfig, RouterConfiguration, StreamProxyConfig, TranscoderConfig, unset,
};

/// A filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter<C> {
    /// Its type (`type`).
    pub kind: String,
    /// Its settings (`config`).
    pub config: C,
    /// The Go plugin it comes from (`go_plugin_config`); none can be loaded here.
    pub go_plugin_config: Option<GoPluginConfig>,
}

/// A network filter (`filter_chains[].filters[]`).
pub type NetworkFilter = Filter<NetworkConfig>;
/// A stream filter (`stream_filters[]`).
pub type StreamFilter = Filter<StreamConfig>;
/// A listener filter (`listener_filters[]`).
pub type ListenerFilter = Filter<ListenerFilterConfig>;
/// Where metrics go (`metrics.sinks[]`).
pub type MetricsSink = Filter<SinkConfig>;

/// A Go plugin (`go_plugin_config`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct GoPluginConfig {
    /// The `.so` file.
    #[serde(skip_serializing_if = "unset")]
    pub so_path: String,
    /// The function that makes the filter. Default `CreateFilterFactory`.
    #[serde(skip_serializing_if = "unset")]
    pub factory_method: String,
}

/// Settings whose shape depends on the type they stand beside.
pub trait TypedConfig: Default + Serialize + Sized {
    /// Types whose settings are known; all that MOSN has registered.
    const TYPES: &'static [&'static str];

    /// Decodes the settings of type `kind`.
    ///
    /// # Errors
    /// The settings have the wrong shape.
    fn decode<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error>;

    /// Whether there are none.
    fn is_none(&self) -> bool;
}

/// Settings of network filters.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(untagged)]
pub enum NetworkConfig {
    /// Not given.
    #[default]
    None,
    /// `proxy`.
    Proxy(Box<ProxyConfig>),
    /// `tcp_proxy` and `udp_proxy`.
    StreamProxy(Box<StreamProxyConfig>),
    /// `grpc`.
    Grpc(Box<GrpcConfig>),
    /// `connection_manager`: a route table, in an older place.
    ConnectionManager(Box<RouterConfiguration>),
    /// Any other.
    Other(Value),
}

impl TypedConfig for NetworkConfig {
    const TYPES: &'static [&'static str] =
        &["proxy", "tcp_proxy", "udp_proxy", "grpc", "tunnel", "connection_manager"];

    fn decode<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error> {
        Ok(match kind {
            "proxy" => Self::Proxy(Deserialize::deserialize(settings)?),
            "tcp_proxy" | "udp_proxy" => Self::StreamProxy(Deserialize::deserialize(settings)?),
            "grpc" => Self::Grpc(Deserialize::deserialize(settings)?),
            "connection_manager" => Self::ConnectionManager(Deserialize::deserialize(settings)?),
            _ => Self::Other(Value::deserialize(settings)?),
        })
    }

    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Settings of stream filters.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(untagged)]
pub enum StreamConfig {
    /// Not given.
    #[default]
    None,
    /// `fault`.
    Fault(Box<FaultConfig>),
    /// `gzip`.
    Gzip(Box<GzipConfig>),
    /// `payload_limit`.
    PayloadLimit(Box<PayloadLimitConfig>),
    /// `dsl`.
    Dsl(Box<DslConfig>),
    /// `transcoder`.
    Transcoder(Box<TranscoderConfig>),
    /// `mirror`.
    Mirror(MirrorConfig),
    /// Any other.
    Other(Value),
}

impl TypedConfig for StreamConfig {
    const TYPES: &'static [&'static str] = &[
        "fault",
        "payload_limit",
        "gzip",
        "fault_tolerance",
        "dsl",
        "mirror",
        "dubbo_stream",
        "grpc_metric",
        "ip_access",
        "transcoder",
        "proxywasm",
        "seata",
        "header_to_metadata",
        "flowControlFilter",
        "jwt_authn",
        "mixer",
        "istio.stats",
    ];

    fn decode<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error> {
        Ok(match kind {
            "fault" => Self::Fault(Deserialize::deserialize(settings)?),
            "gzip" => Self::Gzip(Deserialize::deserialize(settings)?),
            "payload_limit" => Self::PayloadLimit(Deserialize::deserialize(settings)?),
            "dsl" => Self::Dsl(Deserialize::deserialize(settings)?),
            "transcoder" => Self::Transcoder(Deserialize::deserialize(settings)?),
            "mirror" => Self::Mirror(Deserialize::deserialize(settings)?),
            _ => Self::Other(Value::deserialize(settings)?),
        })
    }

    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Settings of listener filters.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ListenerFilterConfig {
    /// Not given.
    #[default]
    None,
    /// `original_dst`.
    OriginalDst(OriginalDstConfig),
    /// Any other.
    Other(Value),
}

/// The `original_dst` listener filter; counts only with the listener's `use_original_dst`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct OriginalDstConfig {
    /// `redirect` (default) or `tproxy`.
    #[serde(rename = "type", skip_serializing_if = "unset")]
    pub kind: String,
    /// Falls back to a listener on 127.0.0.1 instead of one on 0.0.0.0. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub fallback_to_local: bool,
}

impl TypedConfig for ListenerFilterConfig {
    const TYPES: &'static [&'static str] = &["original_dst"];

    fn decode<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error> {
        Ok(match kind {
            "original_dst" => Self::OriginalDst(Deserialize::deserialize(settings)?),
            _ => Self::Other(Value::deserialize(settings)?),
        })
    }

    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Settings of metrics sinks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SinkConfig {
    /// Not given.
    #[default]
    None,
    /// `prometheus`.
    Prometheus(PrometheusConfig),
    /// Any other.
    Other(Value),
}

impl TypedConfig for SinkConfig {
    const TYPES: &'static [&'static str] = &["prometheus"];

    fn decode<'de, D: Deserializer<'de>>(kind: &str, settings: D) -> Result<Self, D::Error> {
        Ok(match kind {
            "prometheus" => Self::Prometheus(Deserialize::deserialize(settings)?),
            _ => Self::Other(Value::deserialize(settings)?),
        })
    }

    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl<C: TypedConfig> Serialize for Filter<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a, C> {
            #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
            kind: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            config: Option<&'a C>,
            go_plugin_config: Option<&'a GoPluginConfig>,
        }

        let config = (!self.config.is_none()).then_some(&self.config);
        Written { kind: &self.kind, config, go_plugin_config: self.go_plugin_config.as_ref() }
            .serialize(serializer)
    }
}

impl<'de, C: TypedConfig> Deserialize<'de> for Filter<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(
            "Filter",
            &["type", "config", "go_plugin_config"],
            FilterVisitor(PhantomData),
        )
    }
}

struct FilterVisitor<C>(PhantomData<C>);

impl<'de, C: TypedConfig> Visitor<'de> for FilterVisitor<C> {
    type Value = Filter<C>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a filter")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filter<C>, A::Error> {
        let mut settings = Settings::<C>::default();
        let mut go_plugin_config = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "type" => settings.kind = map.next_value()?,
                "config" => settings.read(&mut map)?,
                "go_plugin_config" => go_plugin_config = map.next_value()?,
                _ => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
        }
        let (kind, config) = settings.finish()?;
        Ok(Filter { kind, config, go_plugin_config })
    }
}

/// A type and its settings, in whichever order they come: a tree gives them in the struct's order,
/// other sources in that of the text.
#[derive(Default)]
pub(super) struct Settings<C> {
    pub(super) kind: String,
    config: C,
    early: Option<Value>,
}

impl<C: TypedConfig> Settings<C> {
    pub(super) fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        if self.kind.is_empty() {
            self.early = map.next_value()?;
        } else {
            self.config = map.next_value_seed(Seed::<C>(&self.kind, PhantomData))?;
        }
        Ok(())
    }

    pub(super) fn finish<E: serde::de::Error>(self) -> Result<(String, C), E> {
        let config = match self.early {
            Some(value) => C::decode(&self.kind, value).map_err(E::custom)?,
            None => self.config,
        };
        Ok((self.kind, config))
    }
}

struct Seed<'k, C>(&'k str, PhantomData<C>);

impl<'de, C: TypedConfig> DeserializeSeed<'de> for Seed<'_, C> {
    type Value = C;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<C, D::Error> {
        struct Optional<'k, C>(&'k str, PhantomData<C>);

        impl<'de, C: TypedConfig> Visitor<'de> for Optional<'_, C> {
            type Value = C;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings")
            }

            fn visit_none<E: serde::de::Error>(self) -> Result<C, E> {
                Ok(C::default())
            }

            fn visit_some<D: Deserializer<'de>>(self, settings: D) -> Result<C, D::Error> {
                C::decode(self.0, settings)
            }
        }

        deserializer.deserialize_option(Optional(self.0, PhantomData))
    }
}
