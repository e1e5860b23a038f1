//! Metrics, access logs, variables and the error log.
