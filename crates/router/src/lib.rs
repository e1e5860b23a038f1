//! Virtual hosts, route matching and actions.
//!
//! A [`Router`] is built once from its spec and never changes: an update builds another. For each
//! request the proxy asks it for a [`RouteMatch`], changes the head as the route wants
//! ([`RouteMatch::mutate_request`], [`Forward::rewrite`]) and carries out the route's [`Action`].
//!
//! Finding a route does not allocate and does not scan: domains, exact paths, prefixes and exact
//! header values are indexed, and the index answers what a scan in configuration order would.

mod action;
mod authority;
mod build;
mod condition;
mod domains;
mod error;
mod facts;
mod fold;
mod hash;
mod hosts;
mod index;
mod mutation;
mod path;
mod query;
mod redirect;
mod retry;
mod rewrite;
mod route;
mod router;
mod sieve;
mod subject;
mod timeouts;
mod update;
mod variables;

pub use action::{Action, ClusterPick, DirectResponse, Forward, ForwardPolicy, Metadata};
pub use error::{BuildError, Place, Problem};
pub use hash::{Hash, NewCookie};
pub use redirect::Redirect;
pub use retry::Retry;
pub use route::{Route, VirtualHost};
pub use router::{RouteMatch, Router};
pub use subject::{Subject, WithVariables};
pub use timeouts::{TimeoutOverrides, timeouts};
pub use variables::{Message, NoVariables, Variables};
