//! The configuration: MOSN's JSON and YAML, typed and checked, and the model that the process runs on.
//!
//! A file goes through four rooms. `tree` reads JSON or YAML into a compact tree that knows lines and
//! columns. `decode` turns parts of it into the typed structs of [`mosn`], in MOSN's dialect. `translate`
//! applies rules and defaults and makes the [`model`], which is wider than any one dialect and the only
//! thing that the rest of the workspace sees. [`load`] leads through them and gathers every
//! [`Problem`] on the way.

pub mod model;
pub mod mosn;
pub mod value;

mod decode;
mod document;
mod effective;
mod features;
mod hosts_file;
mod load;
mod paths;
mod problem;
mod translate;
mod tree;
mod write_back;

pub use effective::{DumpError, EffectiveConfig, HostEdit, NewCluster, NewRouter, NewVirtualHost, RouteEdit};
pub use hosts_file::hosts_file;
pub use load::{Format, Loaded, Options, load, parse};
pub use paths::Paths;
pub use problem::{Excerpt, Problem, Problems, Severity};
pub use write_back::{WriteBack, WriteBackError};
