//! Metrics in Prometheus' text format (observability reference 2.5).

use std::{collections::BTreeMap, sync::Arc};

use mosn_config::model::PrometheusSpec;

use super::{Registry, float::write_float, process::write_process_metrics, sets::Value};

/// `Content-Type` of what [`Registry::prometheus`] returns.
pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All samples of one name.
struct Family {
    kind: &'static str,
    samples: Vec<(Arc<str>, f64)>,
}

impl Registry {
    /// What a scrape gets: `process_*` of the operating system unless `spec` leaves them out, then
    /// every metric as `<type>_<key>`, families sorted by name and each in one piece.
    ///
    /// Histograms are gauges of their sample: `_min`, `_max` and one series per percentile of `spec`.
    #[must_use]
    pub fn prometheus(&self, spec: &PrometheusSpec) -> String {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut add = |name: String, kind: &'static str, labels: &Arc<str>, value: f64| {
            let family = families.entry(name).or_insert_with(|| Family { kind, samples: Vec::new() });
            family.samples.push((Arc::clone(labels), value));
        };
        for snapshot in self.snapshot(None) {
            let labels: Arc<str> = label_text(&snapshot.labels).into();
            for (key, value) in &snapshot.metrics {
                let name = sanitized(snapshot.kind, key);
                match value {
                    Value::Counter(value) => add(name, "counter", &labels, *value as f64),
                    Value::Gauge(value) => add(name, "gauge", &labels, *value as f64),
                    Value::Histogram(histogram) => {
                        add(format!("{name}_min"), "gauge", &labels, histogram.min() as f64);
                        add(format!("{name}_max"), "gauge", &labels, histogram.max() as f64);
                        for &percent in &spec.percentiles {
                            let labels = format!("{labels},percentile=\"P{percent}\"").into();
                            add(name.clone(), "gauge", &labels, histogram.percentile(percent));
                        }
                    }
                }
            }
        }

        let mut out = String::new();
        if !spec.disable_collect_process {
            write_process_metrics(&mut out);
        }
        for (name, family) in &families {
            out.push_str(&format!("# TYPE {name} {}\n", family.kind));
            for (labels, value) in &family.samples {
                out.push_str(&format!("{name}{{{labels}}} "));
                write_float(*value, &mut out);
                out.push('\n');
            }
        }
        out
    }
}

/// `<type>_<key>`, with `_` for every character that a metric's name may not have.
fn sanitized(kind: &str, key: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    format!("{kind}_{key}").chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// `k1="v1",k2="v2"`; unlike Go MOSN's, values are escaped.
fn label_text(labels: &[(&'static str, Arc<str>)]) -> String {
    let mut text = String::new();
    for (key, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(key);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                _ => text.push(c),
            }
        }
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests {
    use mosn_config::model::MetricsFilter;

    use super::*;

    fn spec(percentiles: &[u8]) -> PrometheusSpec {
        PrometheusSpec {
            address: ([127, 0, 0, 1], 0).into(),
            endpoint: "/metrics".into(),
            percentiles: percentiles.to_vec(),
            disable_collect_process: true,
        }
    }

    #[test]
    fn counters_are_floats_under_one_type_line_per_family() {
        let registry = Registry::new(&MetricsFilter::default());
        registry.downstream_global().request_total.inc();
        registry.downstream_listener("l").request_total.add(1_234_567);
        registry.declare_cluster("c");
        let text = registry.prometheus(&spec(&[]));
        assert!(
            text.contains(
                "# TYPE downstream_request_total counter\n\
                 downstream_request_total{proxy=\"global\"} 1.0\n\
                 downstream_request_total{listener=\"l\"} 1.234567e+06\n"
            ),
            "{text}"
        );
        assert!(text.contains("# TYPE upstream_lb_subsets_created gauge\n"));
        assert!(text.contains("# TYPE downstream_connection_active counter\n"));
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            assert_eq!(text.matches(&format!("{line}\n")).count(), 1, "{line}");
        }
    }

    #[test]
    fn histograms_are_gauges_of_their_sample() {
        let registry = Registry::new(&MetricsFilter::default());
        let shard = registry.downstream_global();
        (1..=4).for_each(|value| shard.request_time.record(value * 10));
        let text = registry.prometheus(&spec(&[50, 99]));
        for expected in [
            "# TYPE downstream_request_time_min gauge\ndownstream_request_time_min{proxy=\"global\"} 10.0\n",
            "downstream_request_time_max{proxy=\"global\"} 40.0\n",
            "# TYPE downstream_request_time gauge\n\
             downstream_request_time{proxy=\"global\",percentile=\"P50\"} 25.0\n\
             downstream_request_time{proxy=\"global\",percentile=\"P99\"} 40.0\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn label_values_cannot_break_out_of_their_quotes() {
        let registry = Registry::new(&MetricsFilter::default());
        registry.declare_listener("a\"} 1\n\\");
        let text = registry.prometheus(&spec(&[]));
        assert!(text.contains("downstream_request_total{listener=\"a\\\"} 1\\n\\\\\"} 0.0\n"), "{text}");
    }

    #[test]
    fn names_keep_only_what_prometheus_allows() {
        assert_eq!(sanitized("a.b", "c-d:e_1é"), "a_b_c_d:e_1_");
    }
}
