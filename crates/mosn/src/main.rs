//! The `mosn` command.

mod allocator;
mod check;
mod cli;
mod demo;
mod start;
mod stop;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(cli::Command::QuickStart) => demo::run(),
        Ok(cli::Command::Start(args)) => start::run(&args),
        Ok(cli::Command::Check(args)) => check::run(&args),
        Ok(cli::Command::Stop(args)) => stop::run(&args),
        Ok(cli::Command::Bench(args)) => mosn_bench::run(&args),
        Ok(cli::Command::Version) => {
            println!("mosn version {}", version());
            ExitCode::SUCCESS
        }
        Ok(cli::Command::Reload) => {
            eprintln!("mosn reload does nothing, as in MOSN; send SIGUSR1 to reopen log files");
            ExitCode::SUCCESS
        }
        Err(shown) => shown.exit(),
    }
}

/// The version that this build speaks as.
fn version() -> &'static str {
    concat!("v1.6.0-rs.", env!("CARGO_PKG_VERSION"))
}
