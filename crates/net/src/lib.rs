//! What lies under a connection: sockets, the bytes that go in and out, and what the connections
//! of one worker share in a turn of its loop (clock, timers, scratch buffers).
//!
//! Everything here belongs to one thread. A worker is one thread with one single-threaded runtime,
//! and a connection never leaves the worker that it was given to.

pub mod clock;
mod detached;
mod io;
mod knock;
pub mod scratch;
mod socket;
pub mod timer;

pub use detached::Detached;
pub use io::{Io, Meter, Transport};
pub use knock::Knocks;
pub use socket::{
    BoundListener, ConnectOptions, ListenOn, ListenOptions, SocketError, bind, connect_any, connect_tcp,
    connect_unix, is_local,
};
