use std::net::SocketAddr;

use crate::document::At;
use crate::model::{LogLevel, LogOutput, MetricsFilter, PrometheusSpec, ServerSpec};
use crate::mosn::{Admin, MetricsSink, MosnConfig, PrometheusConfig, Server, SinkConfig, TypedConfig as _};
use crate::paths::Paths;
use crate::problem::Severity;
use crate::value::{Processor, log_output, log_roller, socket_address};

/// Settings of the process; `server` is the one in `config`, and stands at `at_server`.
pub(crate) fn server(
    at: &At<'_>,
    config: &MosnConfig,
    at_server: &At<'_>,
    server: &Server,
    paths: &Paths,
) -> ServerSpec {
    let log_roller = log_roller(&server.global_log_roller).unwrap_or_else(|reason| {
        at_server.key("global_log_roller").error(reason);
        Default::default()
    });
    let at_metrics = at.key("metrics");
    let matcher = &config.metrics.stats_matcher;
    if server.use_netpoll_mode {
        at_server.key("use_netpoll_mode").warning("has no effect: there is one event loop");
    }
    ServerSpec {
        workers: match server.processor {
            Processor::Count(count) => Some(count),
            Processor::Default | Processor::Auto(_) => None,
        },
        log_path: match server.default_log_path.as_str() {
            "" => LogOutput::File(paths.error_log()),
            path => log_output(path),
        },
        log_level: log_level(&at_server.key("default_log_level"), &server.default_log_level),
        log_roller,
        graceful_timeout: super::route::positive(&at_server.key("graceful_timeout"), server.graceful_timeout)
            .unwrap_or(std::time::Duration::from_secs(30)),
        admin: config.admin.as_ref().and_then(|given| admin(&at.key("admin"), given)),
        prometheus: prometheus(&at_metrics.key("sinks"), &config.metrics.sinks),
        metrics_filter: MetricsFilter {
            reject_all: matcher.reject_all,
            exclusion_labels: matcher.exclusion_labels.clone(),
            exclusion_keys: matcher.exclusion_keys.clone(),
        },
        pid_file: match config.pid.as_str() {
            "" => paths.pid_file(),
            path => path.into(),
        },
        disable_upgrade: config.disable_upgrade || config.close_graceful,
    }
}

fn log_level(at: &At<'_>, text: &str) -> LogLevel {
    match text {
        "TRACE" => LogLevel::Trace,
        "DEBUG" => LogLevel::Debug,
        "" | "INFO" => LogLevel::Info,
        "WARN" => LogLevel::Warn,
        "ERROR" => LogLevel::Error,
        "FATAL" => LogLevel::Fatal,
        other => {
            at.unknown(
                Severity::Warning,
                format!("unknown level {other:?} counts as INFO"),
                other,
                ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"],
            );
            LogLevel::Info
        }
    }
}

fn admin(at: &At<'_>, admin: &Admin) -> Option<SocketAddr> {
    let at = at.key("address");
    let Some(address) = &admin.address else {
        at.warning(
            "the admin API has no address: it listens on a port of the system's choice, on all interfaces",
        );
        return socket_address(":0").ok();
    };
    let at = at.key("socket_address");
    let socket = &address.socket_address;
    if u16::try_from(socket.port_value).is_err() {
        at.key("port_value").error(format!("expected a port from 0 to 65535, found {}", socket.port_value));
        return None;
    }
    let host = match socket.address.as_str() {
        v6 if v6.contains(':') && !v6.starts_with('[') => format!("[{v6}]"),
        host => host.to_owned(),
    };
    match socket_address(&format!("{host}:{}", socket.port_value)) {
        Ok(address) => Some(address),
        Err(reason) => {
            at.key("address").error(reason);
            None
        }
    }
}

fn prometheus(at: &At<'_>, sinks: &[MetricsSink]) -> Vec<PrometheusSpec> {
    let mut specs = Vec::new();
    for (index, sink) in sinks.iter().enumerate() {
        let at = at.index(index);
        match &sink.config {
            SinkConfig::Prometheus(config) => specs.extend(prometheus_sink(&at.key("config"), config)),
            SinkConfig::None if sink.kind == "prometheus" => {
                at.key("config").error("the prometheus sink needs a port");
            }
            _ => at.key("type").unknown(
                Severity::Error,
                format!("there is no metrics sink of type {:?}", sink.kind),
                &sink.kind,
                SinkConfig::TYPES.iter().copied(),
            ),
        }
    }
    specs
}

fn prometheus_sink(at: &At<'_>, config: &PrometheusConfig) -> Option<PrometheusSpec> {
    let endpoint = match config.endpoint.as_str() {
        "" => "/metrics",
        endpoint => endpoint,
    };
    if !endpoint.starts_with('/') {
        at.key("endpoint").error(format!("expected a path that starts with `/`, found {endpoint:?}"));
    }
    if !config.export_url.is_empty() {
        at.key("export_url").error("metrics cannot be pushed");
    }
    let mut percentiles = Vec::with_capacity(config.percentiles.len());
    for (index, &percentile) in config.percentiles.iter().enumerate() {
        match u8::try_from(percentile).ok().filter(|&percentile| percentile <= 100) {
            Some(percentile) => percentiles.push(percentile),
            None => {
                let at = at.key("percentiles");
                at.index(index).error(format!("expected 0 to 100, found {percentile}"));
            }
        }
    }
    match u16::try_from(config.port).ok().filter(|&port| port > 0) {
        Some(port) => Some(PrometheusSpec {
            address: SocketAddr::from(([0, 0, 0, 0], port)),
            endpoint: endpoint.to_owned(),
            percentiles,
            disable_collect_process: config.disable_collect_process,
        }),
        None => {
            at.key("port").error(format!("expected a port from 1 to 65535, found {}", config.port));
            None
        }
    }
}
