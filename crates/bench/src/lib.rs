//! `mosn bench`: an RPC load generator and an echo server for every protocol of `mosn_codec::rpc`.
//!
//! It measures; it is no part of the proxy. Both programs are plain epoll loops, one for each thread, that
//! handle all frames of a read as one batch and answer it with one write, so that on a small machine
//! most of the CPU time is left to what is being measured. In reading order:
//!
//! - `cli`: options and their limits;
//! - `dialect`: what a call of each protocol looks like, which a codec cannot say: a proxy never starts one;
//! - `poll`: epoll and a timer that is exact to microseconds;
//! - `serve`: the echo server;
//! - `load`: the generator: `schedule` says when a request is due, `slots` pairs replies with requests,
//!   `connection` and `worker` move bytes, `tally` counts;
//! - `report`: the table and the JSON file.

mod cli;
mod dialect;
mod load;
mod poll;
mod report;
mod serve;
mod socket;

use std::process::ExitCode;

pub use cli::Args;
pub use serve::echo;

/// Does what the command line says. Exit codes: 0 all well, 1 there were errors among the requests or no
/// reply at all, 2 it could not run.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let done = match &args.command {
        cli::Command::Serve(args) => serve::run(args).map(|()| ExitCode::SUCCESS),
        cli::Command::Load(args) => load::run(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("mosn bench: {error}");
        ExitCode::from(2)
    })
}
