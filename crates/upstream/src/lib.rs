//! Clusters, hosts, balancers and breakers.
//!
//! [`Clusters`] is the process-wide store. The control plane changes it; workers read it with one
//! pointer load and never wait. A request takes its [`Cluster`] once and keeps it to its end, tries
//! included, however the cluster changes meanwhile.
//!
//! Nothing here does I/O: connections, name resolution and checks are made by others, who tell the
//! outcome.

mod address;
mod balancer;
mod breakers;
mod cluster;
mod clusters;
mod error;
mod host;

pub use address::HostAddress;
pub use balancer::ChooseContext;
pub use breakers::{ConnectionToken, Overflow, PendingToken, RequestToken, RetryToken};
pub use cluster::Cluster;
pub use clusters::{ClusterMap, Clusters};
pub use error::ClusterError;
pub use host::{Health, Host, HostId};
