//! The quick-start: what `mosn` does when it is told nothing.

use std::process::ExitCode;

pub(crate) fn run() -> ExitCode {
    ExitCode::FAILURE
}
