//! `mosn start`.

use std::{process::ExitCode, time::Duration};

use mosn_admin::Features;
use mosn_config::{Loaded, model::LogLevel};
use mosn_server::{Exit, ProcessOptions};

use crate::allocator;
use crate::{check, cli::StartArgs, version};

pub(crate) fn run(args: &StartArgs) -> ExitCode {
    let features = match features(&args.feature_gates) {
        Ok(features) => features,
        Err(error) => return failed(&error),
    };
    let mut loaded = match check::load(&args.config.config, false) {
        Ok(loaded) => loaded,
        Err(problems) => return failed(&problems),
    };
    cap_level(&mut loaded, args.log_level.as_deref());
    let options = ProcessOptions {
        drain_time: Duration::from_secs(args.drain_time_s),
        interrupt_drains: false,
        version: version().into(),
        features,
        debug_api: args.debug_api,
    };
    serve(loaded, &options, || {})
}

/// Runs the process and turns its end into an exit code.
pub(crate) fn serve(loaded: Loaded, options: &ProcessOptions, ready: impl FnOnce()) -> ExitCode {
    match mosn_server::run(loaded, options, |_| {
        allocator::give_back();
        ready();
    }) {
        Ok(Exit::Stopped) => ExitCode::SUCCESS,
        Ok(Exit::DrainTimeout) => ExitCode::from(4),
        Err(error) => {
            eprintln!("mosn: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{}", error.to_string().trim_end());
    ExitCode::FAILURE
}

/// `name=bool[,name=bool]` (configuration reference 9).
fn features(list: &str) -> Result<Features, String> {
    let mut features = Features::default();
    for gate in list.split(',').map(str::trim).filter(|gate| !gate.is_empty()) {
        let (name, value) =
            gate.split_once('=').ok_or(format!("feature gate {gate}: expected name=true or name=false"))?;
        let on = match value.trim() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            other => return Err(format!("feature gate {name}: {other} is neither true nor false")),
        };
        if !features.set(name.trim(), on) {
            return Err(format!("there is no feature gate {}", name.trim()));
        }
        if on && name.trim() != "auto_config" {
            return Err(format!(
                "feature gate {}: understood, but this build has no such feature yet",
                name.trim()
            ));
        }
    }
    Ok(features)
}

/// `--log-level` bounds what the configuration asks for; unknown words are ignored, as in MOSN.
fn cap_level(loaded: &mut Loaded, cap: Option<&str>) {
    let cap = match cap {
        Some("trace") => LogLevel::Trace,
        Some("debug") => LogLevel::Debug,
        Some("info") => LogLevel::Info,
        Some("warning") => LogLevel::Warn,
        Some("error") => LogLevel::Error,
        Some("critical" | "off") => LogLevel::Fatal,
        _ => return,
    };
    let level = &mut loaded.model.server.log_level;
    *level = (*level).min(cap);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_gates_are_checked_by_name_and_value() {
        assert!(!features("auto_config=false,MultiTenantMode=0").unwrap().is_on("auto_config"));
        assert!(features(" auto_config = t ").unwrap().is_on("auto_config"));
        assert!(features("MultiTenantMode=true").unwrap_err().contains("no such feature yet"));
        assert_eq!(features("nosuch=true").unwrap_err(), "there is no feature gate nosuch");
        assert!(features("auto_config").is_err());
        assert!(features("auto_config=maybe").is_err());
    }
}
