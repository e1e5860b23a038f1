//! The result, for eyes and for scripts.

use std::{collections::BTreeMap, fmt, fs, io, net::SocketAddr, path::Path};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    cli::{LoadArgs, grouped},
    load::{Errors, Tally},
};

/// What a run found. As JSON these are the fields of the result file (docs/bench.md).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) protocol: String,
    pub(crate) target: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) outstanding: usize,
    pub(crate) threads: usize,
    pub(crate) body_bytes: usize,
    /// Requests per second that were asked for; null: closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) warmup_s: f64,
    /// Seconds measured.
    pub(crate) duration_s: f64,
    /// Good replies of the whole run, warm-up and end included.
    pub(crate) replies: u64,
    /// Good replies per second while measuring.
    pub(crate) replies_per_second: f64,
    /// Requests that were due and never sent: the target did not keep up with the rate.
    pub(crate) unsent: u64,
    /// Connections that the target asked to end.
    pub(crate) goaways: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// CPU time of the generator for each good reply.
    pub(crate) own_cpu_us_per_reply: f64,
    pub(crate) latency_us: Latency,
    pub(crate) errors: ErrorCounts,
    /// How often each status of a failed reply was seen.
    pub(crate) statuses: BTreeMap<i32, u64>,
}

/// Microseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) stdev: f64,
    pub(crate) p50: f64,
    pub(crate) p75: f64,
    pub(crate) p90: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
}

/// Failed requests.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ErrorCounts {
    pub(crate) total: u64,
    #[serde(flatten)]
    pub(crate) kinds: Errors,
}

impl Latency {
    fn of(nanos: &Histogram<u64>) -> Self {
        let us = |nanos: f64| (nanos / 10.0).round() / 100.0;
        let at = |quantile| us(nanos.value_at_quantile(quantile) as f64);
        Self {
            count: nanos.len(),
            min: us(nanos.min() as f64),
            mean: us(nanos.mean()),
            stdev: us(nanos.stdev()),
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: us(nanos.max() as f64),
        }
    }
}

impl Report {
    pub(crate) fn new(
        args: &LoadArgs,
        target: SocketAddr,
        threads: usize,
        tally: &Tally,
        cpu_seconds: f64,
    ) -> Self {
        let measured = tally.window.to.saturating_sub(tally.window.from) as f64 / 1e9;
        Self {
            protocol: args.protocol.clone(),
            target,
            connections: args.connections,
            outstanding: args.outstanding,
            threads,
            body_bytes: args.body,
            rate: args.rate,
            warmup_s: args.warmup.as_secs_f64(),
            duration_s: measured,
            replies: tally.replies,
            replies_per_second: if measured > 0.0 { tally.in_window as f64 / measured } else { 0.0 },
            unsent: tally.unsent,
            goaways: tally.goaways,
            bytes_sent: tally.bytes_sent,
            bytes_received: tally.bytes_received,
            own_cpu_us_per_reply: cpu_seconds * 1e6 / tally.replies.max(1) as f64,
            latency_us: Latency::of(&tally.latency),
            errors: ErrorCounts { total: tally.errors.total(), kinds: tally.errors },
            statuses: tally.statuses.clone(),
        }
    }

    /// Writes the result file.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |count: usize, one: &str| {
            format!("{} {one}{}", grouped(count), if count == 1 { "" } else { "s" })
        };
        writeln!(
            out,
            "{} to {}: {} x {} in flight, {} each, {:.1} s, {}",
            self.protocol,
            self.target,
            many(self.connections, "connection"),
            grouped(self.outstanding),
            many(self.body_bytes, "byte"),
            self.duration_s,
            match self.rate {
                Some(rate) => format!("{} requests/s (latency from when each was due)", grouped(rate)),
                None => "as many as it takes (closed loop)".into(),
            }
        )?;
        let Latency { min, mean, stdev, p50, p75, p90, p95, p99, p99_9, p99_99, max, .. } = self.latency_us;
        let us = |us: f64| grouped(if us < 100.0 { format!("{us:.1}") } else { format!("{us:.0}") });
        writeln!(
            out,
            "  replies     {}/s, {} in all, {:.2} us CPU of the generator for each",
            grouped(self.replies_per_second.round()),
            grouped(self.replies),
            self.own_cpu_us_per_reply
        )?;
        let rows = [
            ("p50", p50),
            ("p75", p75),
            ("p90", p90),
            ("p95", p95),
            ("p99", p99),
            ("p99.9", p99_9),
            ("p99.99", p99_99),
        ];
        let rows: Vec<_> =
            rows.into_iter().chain([("max", max)]).map(|(name, value)| (name, us(value))).collect();
        write!(out, "  latency us")?;
        for (name, value) in &rows {
            write!(out, " {name:>width$}", width = value.len().max(name.len()) + 1)?;
        }
        write!(out, "\n            ")?;
        for (name, value) in &rows {
            write!(out, " {value:>width$}", width = value.len().max(name.len()) + 1)?;
        }
        writeln!(
            out,
            "\n              min {}, mean {}, standard deviation {}",
            us(min),
            us(mean),
            us(stdev)
        )?;
        if self.unsent > 0 {
            writeln!(
                out,
                "  unsent      {} requests were due and found no room: the target does not keep up",
                grouped(self.unsent)
            )?;
        }
        if self.goaways > 0 {
            writeln!(out, "  goaway      {}", many(self.goaways as usize, "connection"))?;
        }
        write!(out, "  errors      ")?;
        if self.errors.total == 0 {
            return writeln!(out, "none");
        }
        let kinds = self.errors.kinds.kinds().into_iter().filter(|(_, count)| *count > 0);
        let kinds: Vec<_> = kinds.map(|(name, count)| format!("{} {name}", grouped(count))).collect();
        write!(out, "{}", kinds.join(", "))?;
        for (status, count) in &self.statuses {
            write!(out, "; status {status}: {}", grouped(count))?;
        }
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;
    use crate::load::Window;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: crate::Args,
    }

    fn report(tally: &Tally) -> Report {
        let words = "bench load bolt --target a:1 -c 8 -n 32".split(' ');
        match Cli::try_parse_from(words).unwrap().args.command {
            crate::cli::Command::Load(args) => {
                Report::new(&args, ([127, 0, 0, 1], 1).into(), 1, tally, 0.002)
            }
            other => panic!("{other:?}"),
        }
    }

    fn tally() -> Tally {
        let mut tally = Tally::new(Window { from: 0, to: 2_000_000_000 });
        for number in 1..=1000 {
            tally.reply(0, number * 1000);
        }
        tally
    }

    #[test]
    fn every_field_of_the_result_file_is_on_the_page() {
        let page = include_str!("../../../docs/bench.md");
        let (_, fields) = page.split_once("## Result file").unwrap();
        let mut names = Vec::new();
        let mut open = vec![serde_json::to_value(report(&tally())).unwrap()];
        while let Some(Value::Object(object)) = open.pop() {
            names.extend(object.keys().cloned());
            open.extend(object.into_iter().map(|(_, value)| value).filter(Value::is_object));
        }
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            assert!(fields.contains(&format!("`{name}`")), "docs/bench.md does not tell of {name}");
        }
    }

    #[test]
    fn rates_and_percentiles_are_of_the_time_measured() {
        let report = report(&tally());
        assert!((report.replies_per_second - 500.0).abs() < 0.01 && report.own_cpu_us_per_reply == 2.0);
        let Latency { count, min, p50, p99, max, .. } = report.latency_us;
        assert_eq!((count, min.round()), (1000, 1.0));
        for (found, expected) in [(p50, 500.0), (p99, 990.0), (max, 1000.0)] {
            assert!((found - expected).abs() <= 1.0, "{found} is not about {expected}");
        }
    }

    #[test]
    fn the_table_names_errors_only_when_there_are_any() {
        let mut tally = tally();
        assert!(report(&tally).to_string().ends_with("  errors      none\n"));
        tally.failed(6);
        tally.errors.timeout = 1234;
        let text = report(&tally).to_string();
        assert!(text.ends_with("  errors      1,234 timeout, 1 status; status 6: 1\n"), "{text}");
    }
}
