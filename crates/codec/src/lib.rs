//! Sans-I/O codecs and protocol detection.

pub mod http1;
