//! From the typed file to the model: rules, defaults, old forms, and features that are not built.

mod balancing;
mod cluster;
mod discovery;
mod features;
mod header;
mod health;
mod leads_to;
mod listener;
mod names;
mod proxy;
mod retry;
mod route;
mod route_match;
mod router;
mod server;
mod unreachable;
mod users;
mod variable;

pub(crate) use balancing::ewma_alpha;
pub(crate) use cluster::{Shared, cluster, host};
pub(crate) use features::whole_file;
pub(crate) use listener::{ListenerContext, inline_tables, listeners};
pub(crate) use names::Names;
pub(crate) use route::route;
pub(crate) use router::{Domains, table, virtual_host};
pub(crate) use server::server;
pub(crate) use users::{Users, users};
