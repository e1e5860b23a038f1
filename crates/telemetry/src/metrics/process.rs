//! `process_*`: what the operating system knows of this process.

use super::float::write_float;

/// Appends the process metrics that Prometheus' client libraries agree on. What `/proc` does not
/// answer is left out.
pub(crate) fn write_process_metrics(out: &mut String) {
    let mut metric = |name: &str, kind: &str, help: &str, value: f64| {
        out.push_str(&format!("# HELP process_{name} {help}\n# TYPE process_{name} {kind}\nprocess_{name} "));
        write_float(value, out);
        out.push('\n');
    };
    if let Some(stat) = Stat::read() {
        metric("cpu_seconds_total", "counter", "User and system CPU time, in seconds.", stat.cpu_seconds);
        metric("resident_memory_bytes", "gauge", "Resident memory, in bytes.", stat.resident_bytes);
        if let Some(start) = stat.start_seconds {
            metric("start_time_seconds", "gauge", "Start time, in seconds since the epoch.", start);
        }
        metric("virtual_memory_bytes", "gauge", "Virtual memory, in bytes.", stat.virtual_bytes);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory being read.
        let open = entries.count().saturating_sub(1);
        metric("open_fds", "gauge", "Open file descriptors.", open as f64);
    }
    if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        metric("max_fds", "gauge", "Most file descriptors that may be open.", limit as f64);
    }
}

struct Stat {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    start_seconds: Option<f64>,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name, in parentheses, may hold anything; after its end come plain numbers, of which the
        // first is field 3 of proc_pid_stat(5).
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let tick = rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / tick,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * rustix::param::page_size() as f64,
            start_seconds: boot_time().and_then(|boot| Some(boot + field(22)? / tick)),
        })
    }
}

fn boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operating_systems_numbers_are_plausible() {
        let mut text = String::new();
        write_process_metrics(&mut text);
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("process_{name} "))).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("resident_memory_bytes") > 100_000.0);
        assert!(value("virtual_memory_bytes") >= value("resident_memory_bytes"));
        assert!((3.0..=value("max_fds")).contains(&value("open_fds")));
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let age = now - value("start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
