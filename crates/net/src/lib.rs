//! Sockets, listeners and the bytes under a connection.
