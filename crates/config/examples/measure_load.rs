//! Loads a configuration and says how long that took and what memory it needed:
//! `measure_load <file>`.

use std::process::ExitCode;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: measure_load <file>");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    match mosn_config::load(path.as_ref(), mosn_config::Options::default()) {
        Ok(loaded) => {
            let took = started.elapsed();
            for warning in &loaded.warnings {
                println!("{warning}");
            }
            println!(
                "{} clusters, {} routers, {:.3} s, {}",
                loaded.model.clusters.len(),
                loaded.model.routers.len(),
                took.as_secs_f64(),
                memory()
            );
            // What is resident once the allocator has given back what only loading needed.
            std::thread::sleep(std::time::Duration::from_millis(100));
            drop(std::hint::black_box(vec![0_u8; 1 << 16]));
            println!("then {}", memory());
            ExitCode::SUCCESS
        }
        Err(problems) => {
            println!("{problems}");
            ExitCode::FAILURE
        }
    }
}

/// Resident memory now and at most, as the kernel counts it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}
