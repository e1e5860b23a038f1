//! `mosn check`.

use std::{path::Path, process::ExitCode};

use mosn_config::{Loaded, Options, Problems};

use crate::cli::CheckArgs;

pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    match load(&args.config.config, args.strict) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                println!("{}: {warning}", warning.severity);
            }
            let model = &loaded.model;
            println!(
                "{}: ok, {} ({} listeners, {} route tables, {} clusters)",
                args.config.config.display(),
                warnings(loaded.warnings.len()),
                model.listeners.len(),
                model.routers.len(),
                model.clusters.len()
            );
            ExitCode::SUCCESS
        }
        Err(problems) => {
            println!("{problems}");
            println!("{}: {} problems", args.config.config.display(), problems.0.len());
            ExitCode::FAILURE
        }
    }
}

fn warnings(count: usize) -> String {
    match count {
        0 => "no warnings".into(),
        1 => "1 warning".into(),
        count => format!("{count} warnings"),
    }
}

/// Loads a configuration, and builds what can be built of it without starting anything.
pub(crate) fn load(path: &Path, strict: bool) -> Result<Loaded, Problems> {
    mosn_config::load(path, Options { strict })
}
