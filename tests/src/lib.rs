//! Harness of the black-box tests: the real binary, the servers behind it and the clients before it.
//!
//! A test writes down a [`Config`], starts it as a [`Mosn`], and speaks to it as a [`Client`] or, byte
//! by byte, over a [`Wire`]; what the proxy forwards arrives at an [`Origin`] or an [`Http2Origin`].
//! Everything runs on ports of its own and ends with the test, so that tests run side by side.
//!
//! Whatever a test waits for is a condition with a bound ([`until`]): nothing here sleeps and hopes.
//! What cannot happen unless the harness itself or the machine is broken panics.

mod client;
mod config;
mod dns;
mod echo;
mod http2;
mod message;
mod mosn;
mod origin;
mod ports;
mod wait;
mod wire;

pub use client::{Broken, Client};
pub use config::{Config, Listener, admin, direct, route, to};
pub use dns::NameServer;
pub use echo::{echo_http1, echo_http2, pattern};
pub use http2::{Http2Client, Http2Exchange, Http2Origin, Http2Reply, block_on, spawn};
pub use message::{Fields, Reply, Request, Seen, SeenLog};
pub use mosn::{Mosn, Output, run, send};
pub use origin::{Exchange, Origin};
pub use ports::{BlackHole, Refusing, free_port};
pub use rustix::process::Signal;
pub use wait::{PATIENCE, settled, until};
pub use wire::{Head, PREFACE, RawFrame, Wire};
