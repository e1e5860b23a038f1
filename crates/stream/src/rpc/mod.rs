//! RPC protocols: connections that carry many calls at once, in any order.
//!
//! A call on a plain route never leaves the frame loop. The client's connection reads a batch of
//! frames; [`Service::relay`](crate::Service::relay) says for each where it goes; it is appended to
//! that upstream's output under an id of the upstream connection's own, and a place in the
//! connection's table remembers whose it is. When all ready connections have had their turn, each
//! upstream writes what has collected in one system call. Replies come back the same way: a batch is
//! read, each is appended to its client's output under the id that the client gave, and every
//! client that got something is written to once.
//!
//! A call that needs more (headers with variables, a connection that is not open yet) becomes a request with a
//! task of its own, like those of HTTP. So does one that may be sent again, and whose first try failed:
//! until then all that it costs is a copy of its frame.
//!
//! | file | |
//! |---|---|
//! | `server` | a client's connection |
//! | `downstream` | the same, as seen by those who have replies for it |
//! | `upstream` | a connection to a host: calls, replies, deadlines, signs of life |
//! | `pending` | who waits for which reply |
//! | `wire` | bytes in, frames out; output collected and written once a turn |
//! | `call` | a call, and what is decided about it |
//! | `server_stream`, `client_stream` | the long way |
//! | `pool` | the connections to one host |

mod call;
mod client_stream;
mod downstream;
mod pending;
mod pool;
mod server;
mod server_stream;
#[cfg(test)]
mod tests;
mod upstream;
mod wire;

pub use call::{Call, FirstTry, Relay, RelayEnd, RelayObserver, RelayedCall, UpstreamFacts, Verdict};
pub use client_stream::RpcClientStream;
pub use pool::RpcUse;
pub(crate) use pool::{Opening, RpcPool};
pub use server::serve;
pub use upstream::Upstream;
