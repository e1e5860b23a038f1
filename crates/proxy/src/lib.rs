//! The life of a request: phases, retries, timeouts.
