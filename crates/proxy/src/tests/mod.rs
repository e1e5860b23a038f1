//! The engine between peers that live in memory, with the clock in the test's hand.

mod bodies;
mod client;
mod destinations;
mod dropping;
mod failures;
mod gone;
mod hedging;
mod local;
mod mirrors;
mod one_way;
mod outcomes;
mod retries;
mod rpc;
mod script;
mod timeouts;
mod tunnels;
mod upstream;
mod wire;
mod world;
