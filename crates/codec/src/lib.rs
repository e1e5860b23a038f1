//! Sans-I/O codecs and protocol detection.

pub mod detect;
pub mod dns;
pub mod hessian;
pub mod http1;
pub mod http2;
pub mod rpc;
