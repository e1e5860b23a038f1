use serde::{Deserialize, Serialize};

use super::{MetricsSink, null_if_empty, unset};
use crate::value::{ByteSize, GoDuration, NoEffect};

/// Metrics (`metrics`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Metrics {
    /// Where they go: `prometheus`.
    #[serde(serialize_with = "null_if_empty")]
    pub sinks: Vec<MetricsSink>,
    /// Which are not kept.
    pub stats_matcher: StatsMatcher,
    /// Name of the shared-memory zone; needs `shm_size` too.
    pub shm_zone: String,
    /// Size of the zone, in quotes.
    pub shm_size: ByteSize,
    /// Flushes once more at exit. Sinks here are asked, never flushed; does nothing.
    pub flush_mosn: bool,
    /// Leaves out what did not change. Does nothing here.
    pub lazy_flush: bool,
    /// How histograms sample.
    pub sample: MetricsSample,
    /// Weight of the past in moving averages.
    #[serde(skip_serializing_if = "unset")]
    pub ewma: Option<EwmaConfig>,
    /// A key that MOSN's samples carry; does nothing.
    #[serde(skip_serializing_if = "unset")]
    pub flush_interval: Option<NoEffect>,
}

/// Which metrics are not kept (`stats_matcher`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct StatsMatcher {
    /// None of them are. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub reject_all: bool,
    /// Those with one of these labels are not.
    #[serde(skip_serializing_if = "unset")]
    pub exclusion_labels: Vec<String>,
    /// Those of these names are not.
    #[serde(skip_serializing_if = "unset")]
    pub exclusion_keys: Vec<String>,
}

/// How histograms sample (`sample`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct MetricsSample {
    /// `UNIFORM` (default) or `EXP_DECAY`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Values kept. Default 100.
    pub size: i64,
    /// `EXP_DECAY`: weight of the new. Default 0.5.
    pub exp_decay_alpha: f64,
}

/// Moving averages (`ewma`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct EwmaConfig {
    /// Weight of the new, between 0 and 1.
    #[serde(skip_serializing_if = "unset")]
    pub alpha: f64,
    /// Or: what is left of a value after `duration`, between 0 and 1.
    #[serde(skip_serializing_if = "unset")]
    pub target: f64,
    /// See `target`.
    #[serde(skip_serializing_if = "unset")]
    pub duration: GoDuration,
}

/// The `prometheus` sink.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct PrometheusConfig {
    /// Port; required.
    #[serde(skip_serializing_if = "unset")]
    pub port: i64,
    /// Path. Default `/metrics`.
    #[serde(skip_serializing_if = "unset")]
    pub endpoint: String,
    /// Pushing is not supported, in MOSN neither.
    #[serde(skip_serializing_if = "unset")]
    pub export_url: String,
    /// Leaves `process_*` out. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub disable_collect_process: bool,
    /// Leaves `go_*` out; there are none here.
    #[serde(skip_serializing_if = "unset")]
    pub disable_collect_go: bool,
    /// Percentiles of histograms, 0 to 100.
    #[serde(skip_serializing_if = "unset")]
    pub percentiles: Vec<i64>,
}
