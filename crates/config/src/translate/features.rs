use crate::document::At;
use crate::features::Feature;
use crate::mosn::{ExtensionConfig, Metrics, MosnConfig, TypedConfig as _};

/// What the file asks of the process as a whole, apart from its server and clusters.
pub(crate) fn whole_file(at: &At<'_>, config: &MosnConfig) {
    for (key, given) in
        [("dynamic_resources", &config.dynamic_resources), ("static_resources", &config.static_resources)]
    {
        if given.as_ref().is_some_and(|value| !value.is_null()) {
            at.key(key).needs(Feature::Xds);
        }
    }
    if config.tracing.enable && !config.tracing.driver.is_empty() {
        at.key("tracing").needs(Feature::Tracing);
    }
    if config.cluster_manager.tls_context.status {
        let at = at.key("cluster_manager");
        at.key("tls_context").needs(Feature::Tls);
    }
    if !config.wasm_global_plugins.is_empty() {
        at.key("wasm_global_plugins").needs(Feature::WasmPlugins);
    }
    if config.pprof.debug {
        at.key("pprof").warning("has no effect: there is no Go profiler here");
    }
    metrics(&at.key("metrics"), &config.metrics);
    codecs(at, config);
    extends(&at.key("extends"), config);
}

fn metrics(at: &At<'_>, metrics: &Metrics) {
    if !metrics.shm_zone.is_empty() && metrics.shm_size.0 > 0 {
        at.key("shm_zone").needs(Feature::SharedMemory);
    }
    if metrics.sample != Default::default() {
        at.key("sample").warning("has no effect: histograms are not sampled");
    }
    for (key, given) in [("flush_mosn", metrics.flush_mosn), ("lazy_flush", metrics.lazy_flush)] {
        if given {
            at.key(key).warning("has no effect: sinks are asked for metrics, not sent them");
        }
    }
}

/// A codec that cannot be loaded does not stop the start: connections of its protocol are refused,
/// which leaves no gap in what the configuration protects.
fn codecs(at: &At<'_>, config: &MosnConfig) {
    let at = at.key("third_part_codec");
    let at = at.key("codecs");
    for (index, codec) in config.third_part_codec.codecs.iter().enumerate() {
        if codec.enable {
            let what = if codec.kind == "wasm" { "Wasm codecs" } else { "Go plugins" };
            at.index(index).warning(format!(
                "{what} cannot be loaded: connections of this codec's protocol are refused"
            ));
        }
    }
}

fn extends(at: &At<'_>, config: &MosnConfig) {
    for (index, extend) in config.extends.iter().enumerate() {
        let at = at.index(index);
        match &extend.config {
            ExtensionConfig::TunnelAgent(agent) if agent.enable => {
                at.needs(Feature::Extension("tunnel_agent"));
            }
            ExtensionConfig::DubboRegistry(registry) if registry.enable => {
                at.needs(Feature::Extension("dubbo_registry"));
            }
            _ if extend.kind == "transcoder_plugin" => {
                at.warning("has no effect: Go plugins cannot be loaded");
            }
            _ if extend.kind == "holmes" => {
                at.warning("has no effect: there is no Go run-time to profile");
            }
            _ if !ExtensionConfig::TYPES.contains(&extend.kind.as_str()) => {
                at.key("type").unknown(
                    crate::Severity::Warning,
                    format!("there is no extension of type {:?}; it is kept, but does nothing", extend.kind),
                    &extend.kind,
                    ExtensionConfig::TYPES.iter().copied(),
                );
            }
            _ => {}
        }
    }
}
