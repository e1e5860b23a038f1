//! `mosn stop`.

use std::{
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::{check, cli::StopArgs};

const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Always succeeds, as in MOSN: scripts rely on it. What went wrong is said on standard error.
pub(crate) fn run(args: &StopArgs) -> ExitCode {
    match stop(args) {
        Ok(pid) => println!("stopped {pid}"),
        Err(error) => eprintln!("mosn stop: {error}"),
    }
    ExitCode::SUCCESS
}

fn stop(args: &StopArgs) -> Result<i32, String> {
    let loaded = check::load(&args.config.config, false).map_err(|problems| problems.to_string())?;
    let path = &loaded.model.server.pid_file;
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let number: i32 = text.trim().parse().map_err(|_| format!("{} holds no process id", path.display()))?;
    let pid = Pid::from_raw(number).filter(|_| number > 1).ok_or(format!("{number} is no process id"))?;
    kill_process(pid, Signal::INT).map_err(|error| format!("process {number}: {error}"))?;
    let start = Instant::now();
    while test_kill_process(pid).is_ok() {
        if start.elapsed() > PATIENCE {
            return Err(format!("process {number} is still there after {PATIENCE:?}"));
        }
        sleep(LOOK_AGAIN);
    }
    Ok(number)
}
