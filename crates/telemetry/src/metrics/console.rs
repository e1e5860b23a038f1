//! Metrics as the admin API shows them (observability reference 1.2 and 1.4).

use std::collections::BTreeMap;

use super::{Registry, registry::Snapshot, sets::Value};

impl Registry {
    /// `{"<type>":{"<labels>":{"<metric>":"<integer>"}}}`, indented by tabs, keys sorted, every value
    /// a string; of histograms the sample's minimum and maximum.
    ///
    /// With a `key` (`upstream.cluster.c1.host.127.0.0.1:80`) only that set, or, where there is no
    /// such set, the text `no metrics key: <key>`.
    #[must_use]
    pub fn stats_json(&self, key: Option<&str>) -> String {
        let snapshots = self.snapshot(key);
        if let (Some(key), true) = (key, snapshots.is_empty()) {
            return format!("no metrics key: {key}");
        }
        let mut types: BTreeMap<&str, BTreeMap<String, BTreeMap<String, i64>>> = BTreeMap::new();
        for snapshot in &snapshots {
            types.entry(snapshot.kind).or_default().insert(snapshot.label_text(), lines(snapshot).collect());
        }

        let mut out = String::new();
        object(&mut out, 0, types.iter(), |out, sets| {
            object(out, 1, sets.iter(), |out, metrics| {
                object(out, 2, metrics.iter(), |out, value| out.push_str(&format!("\"{value}\"")));
            });
        });
        out
    }

    /// `<metric>:<integer>` lines of the set of the whole process.
    #[must_use]
    pub fn stats_glob(&self) -> String {
        let mut out = String::new();
        for snapshot in self.snapshot(Some("downstream.proxy.global")) {
            for (key, value) in lines(&snapshot) {
                out.push_str(&format!("{key}:{value}\n"));
            }
        }
        out
    }
}

/// The integers that a set shows as.
fn lines(snapshot: &Snapshot) -> impl Iterator<Item = (String, i64)> + '_ {
    snapshot.metrics.iter().flat_map(|(key, value)| match value {
        Value::Counter(value) | Value::Gauge(value) => vec![((*key).to_owned(), *value)],
        Value::Histogram(histogram) => vec![
            (format!("{key}_min"), saturating(histogram.min())),
            (format!("{key}_max"), saturating(histogram.max())),
        ],
    })
}

fn saturating(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn object<K: AsRef<str>, V>(
    out: &mut String,
    depth: usize,
    members: impl Iterator<Item = (K, V)>,
    mut write: impl FnMut(&mut String, V),
) {
    out.push('{');
    let mut empty = true;
    for (key, value) in members {
        out.push_str(if empty { "\n" } else { ",\n" });
        empty = false;
        out.extend(std::iter::repeat_n('\t', depth + 1));
        write_json_string(key.as_ref(), out);
        out.push_str(": ");
        write(out, value);
    }
    if !empty {
        out.push('\n');
        out.extend(std::iter::repeat_n('\t', depth));
    }
    out.push('}');
}

/// A JSON string as Go's encoder writes it: `<`, `>`, `&` and the JavaScript line ends are escaped.
fn write_json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use mosn_config::model::MetricsFilter;

    use super::*;

    fn only(keys: &[&str]) -> Registry {
        let all = Registry::new(&MetricsFilter::default());
        let _shard = all.upstream_cluster("c");
        let excluded = ["downstream.proxy.global", "upstream.cluster.c"]
            .into_iter()
            .flat_map(|set| all.snapshot(Some(set)))
            .flat_map(|snapshot| snapshot.metrics.into_iter().map(|(key, _)| key))
            .filter(|key| !keys.contains(key))
            .map(str::to_owned)
            .collect();
        Registry::new(&MetricsFilter { exclusion_keys: excluded, ..MetricsFilter::default() })
    }

    #[test]
    fn stats_are_three_levels_of_sorted_strings() {
        let registry = only(&["request_total", "request_time", "request_duration_time"]);
        let listener = registry.downstream_listener("a<b");
        listener.request_total.inc();
        listener.request_time.record(30);
        listener.request_time.record(20);
        registry.declare_cluster("c1");
        assert_eq!(
            registry.stats_json(None),
            "{\n\
             \t\"downstream\": {\n\
             \t\t\"listener.a\\u003cb\": {\n\
             \t\t\t\"request_time_max\": \"30\",\n\
             \t\t\t\"request_time_min\": \"20\",\n\
             \t\t\t\"request_total\": \"1\"\n\
             \t\t},\n\
             \t\t\"proxy.global\": {\n\
             \t\t\t\"request_time_max\": \"0\",\n\
             \t\t\t\"request_time_min\": \"0\",\n\
             \t\t\t\"request_total\": \"0\"\n\
             \t\t}\n\
             \t},\n\
             \t\"upstream\": {\n\
             \t\t\"cluster.c1\": {\n\
             \t\t\t\"request_duration_time_max\": \"0\",\n\
             \t\t\t\"request_duration_time_min\": \"0\",\n\
             \t\t\t\"request_total\": \"0\"\n\
             \t\t}\n\
             \t}\n\
             }"
        );
    }

    #[test]
    fn one_set_can_be_asked_for_and_a_missing_one_is_named() {
        let registry = only(&["request_total"]);
        let _host = registry.upstream_host("c1", "127.0.0.1:80");
        registry.declare_cluster("c1");
        assert_eq!(
            registry.stats_json(Some("upstream.cluster.c1.host.127.0.0.1:80")),
            "{\n\t\"upstream\": {\n\t\t\"cluster.c1.host.127.0.0.1:80\": {\n\
             \t\t\t\"request_total\": \"0\"\n\t\t}\n\t}\n}"
        );
        assert_eq!(registry.stats_json(Some("zzz")), "no metrics key: zzz");
        assert_eq!(registry.stats_json(Some("")), "no metrics key: ");
    }

    #[test]
    fn rejecting_everything_leaves_an_empty_object() {
        let registry = Registry::new(&MetricsFilter { reject_all: true, ..MetricsFilter::default() });
        assert_eq!(registry.stats_json(None), "{}");
        assert_eq!(registry.stats_glob(), "");
    }

    #[test]
    fn the_global_set_is_lines() {
        let registry = only(&["connection_active", "process_time"]);
        let shard = registry.downstream_global();
        shard.connection_active.dec();
        shard.process_time.record(5);
        assert_eq!(registry.stats_glob(), "connection_active:-1\nprocess_time_min:5\nprocess_time_max:5\n");
    }
}
