//! The mosn binary.
fn main() {}
