//! The real binary between real peers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod back_pressure;
mod balancing;
mod bench;
mod checks;
mod connection_limits;
mod discovery;
mod examples;
mod failures;
mod fixture;
mod forward;
mod health;
mod lifecycle;
mod limits;
mod live;
mod mirrors;
mod observability;
mod outage;
mod pools;
mod protocol;
mod quick_start;
mod redirect;
mod retries;
mod routing;
mod rpc_examples;
mod strictness;
mod wrong;

use mosn_tests::{Config, Mosn};

/// The binary of this build.
const MOSN: &str = env!("CARGO_BIN_EXE_mosn");

/// Runs a configuration.
#[track_caller]
fn start(config: &Config) -> Mosn {
    config.start(MOSN)
}
