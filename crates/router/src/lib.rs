//! Virtual hosts, route matching and actions.
