//! The value formats of MOSN's configuration, each with what it accepts and how it is written back.

mod address;
mod metadata;
mod no_effect;
mod processor;
mod roller;
mod size;

pub use metadata::Metadata;
pub use mosn_expression::GoDuration;
pub use no_effect::NoEffect;
pub use processor::Processor;
pub use size::ByteSize;

pub(crate) use address::{listener_address, socket_address};
pub(crate) use roller::{log_output, log_roller};
