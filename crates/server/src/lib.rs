//! The process: workers, listeners, signals, graceful stop.
