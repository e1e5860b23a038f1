//! `mosn check`.

use std::{path::Path, process::ExitCode};

use mosn_config::{Loaded, Options, Problems};

use crate::cli::CheckArgs;

pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    match load(&args.config.config, args.strict) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                println!("{}: {warning:#}", warning.severity);
            }
            let model = loaded.model;
            let file = args.config.config.display();
            let summary = format!(
                "{file}: ok, {} ({}, {}, {})",
                counted(loaded.warnings.len(), "warning"),
                counted(model.listeners.len(), "listener"),
                counted(model.routers.len(), "route table"),
                counted(model.clusters.len(), "cluster")
            );
            if let Err(error) = mosn_server::check(model) {
                println!("{file}: {error}");
                return ExitCode::FAILURE;
            }
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            println!("{problems}");
            println!("{}: {}", args.config.config.display(), counted(problems.0.len(), "problem"));
            ExitCode::FAILURE
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// Loads a configuration, and builds what can be built of it without starting anything.
pub(crate) fn load(path: &Path, strict: bool) -> Result<Loaded, Problems> {
    mosn_config::load(path, Options { strict })
}
