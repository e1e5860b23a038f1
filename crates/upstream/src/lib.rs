//! Clusters, hosts, balancers and breakers.
//!
//! [`Clusters`] is the process-wide store. The control plane changes it; workers read it with one
//! pointer load and never wait. A request takes its [`Cluster`] once and keeps it to its end, tries
//! included, however the cluster changes meanwhile.
//!
//! Nothing here does I/O: connections, name resolution and checks are made by others, who tell the
//! outcome.

mod address;
mod addresses;
mod balancer;
mod breakers;
mod check;
mod clock;
mod cluster;
mod clusters;
mod discovery;
mod error;
mod host;
mod observe;
mod outlier;
mod priorities;
mod room;
mod subset;
mod watch;

pub use address::HostAddress;
pub use balancer::ChooseContext;
pub use breakers::{ConnectionToken, Overflow, PendingToken, RequestToken, RetryToken};
pub use check::{CheckState, Verdict, event_log_line, first_check, good_status, next_check};
pub use cluster::Cluster;
pub use clusters::{ClusterMap, Clusters};
pub use discovery::{HostFeed, HostSource};
pub use error::ClusterError;
pub use host::{Health, Host, HostId};
pub use observe::{Attempt, Outcome};
pub use outlier::{OutlierEvent, OutlierReason};
pub use room::Seat;
pub use watch::{ClusterChange, ClusterWatch};
