//! The small languages in configurations: MOSN's expressions, as route rules (`dsl_expressions`) and filters
//! use them, regular expressions ([`pattern`]) and durations ([`GoDuration`]).
//!
//! An expression is written in Go's syntax with CEL's types and functions (filters reference 4).
//! [`Expression::compile`] reads it (`syntax`), finds the type of every part (`check`), and refuses what can
//! never be evaluated. Evaluating asks [`Attributes`] for facts of the request, borrows what it can, and
//! ends in a [`Value`] or an error; nothing in it runs longer than the expression is long.

mod attributes;
mod check;
mod duration;
mod error;
mod evaluate;
mod functions;
mod names;
mod nearest;
pub mod pattern;
mod strings;
mod syntax;
#[cfg(test)]
mod tests;
mod value;

pub use attributes::{Attribute, Attributes, Effect};
pub use check::Expression;
pub use duration::{DurationError, GoDuration};
pub use error::{CompileError, EvaluateError};
pub use nearest::nearest;
pub use value::{Map, Type, Value};
