//! The configuration: what an operator writes, checked, and what the data plane runs on.
//!
//! - [`model`] is what the process runs on. It is the wider of two dialects, so that MOSN's JSON
//!   and xDS can both translate into it.
//! - `mosn` is MOSN's own dialect: every key, its value formats, its JSON habits.

pub mod model;
