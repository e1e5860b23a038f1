use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use mosn_config::model::{AccessLogSpec, LogLevel, LogOutput, ServerSpec};
use mosn_core::Protocol;
use tracing::{Dispatch, debug, dispatcher::with_default, error, info, trace, warn};

use super::{LogError, LogHandle, STARTUP, UnknownLog};
use crate::{AccessLogError, AccessLogWriter, FormatError, LogContext, fixture};

struct Logs {
    dir: tempfile::TempDir,
    handle: LogHandle,
    dispatch: Dispatch,
}

impl Logs {
    fn new(level: LogLevel) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spec = ServerSpec {
            log_path: LogOutput::File(dir.path().join("logs/mosn.log")),
            log_level: level,
            ..ServerSpec::default()
        };
        let (handle, subscriber) = LogHandle::new(&spec).unwrap();
        Self { dir, handle, dispatch: Dispatch::new(subscriber) }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("logs/mosn.log")
    }

    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn log(&self, log: impl FnOnce()) {
        with_default(&self.dispatch, log);
    }

    /// As the admin API does. Where no subscriber is installed for the process, `tracing` looks for
    /// the calling thread's.
    fn set_level(&self, level: LogLevel) {
        with_default(&self.dispatch, || self.handle.set_level(&self.name(), level).unwrap());
    }

    /// The lines so far, without their time, which is checked.
    fn lines(&self) -> Vec<String> {
        self.handle.flush();
        let text = fs::read_to_string(self.path()).unwrap();
        text.lines()
            .map(|line| {
                let (time, rest) = line.split_once(" [").unwrap();
                let (second, millis) = time.split_once(',').unwrap();
                assert!(jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", second).is_ok(), "{line}");
                assert_eq!(millis.parse::<u32>().unwrap().to_string(), millis);
                format!("[{rest}")
            })
            .collect()
    }

    fn access_log(&self, name: &str) -> (PathBuf, AccessLogWriter) {
        let path = self.dir.path().join(name);
        let format = Some("%response_code%".into());
        let spec = AccessLogSpec { output: LogOutput::File(path.clone()), format };
        (path, self.handle.access_log(&spec).unwrap().writer())
    }
}

#[test]
fn lines_have_mosns_form() {
    let logs = Logs::new(LogLevel::Info);
    logs.log(|| {
        info!("started");
        error!(alert = "mosn.proxy.codec_error", "bad frame");
        warn!(alert = "mosn.proxy.codec_error", "an alert key shows on errors only");
        error!(
            alert = "mosn.proxy.upstream_conn_failed",
            connection_id = 12_u64,
            trace_id = "0a0b",
            cluster = "c1",
            tries = 3,
            "cannot connect"
        );
        error!(fatal = true, "cannot go on");
    });
    assert_eq!(
        logs.lines(),
        [
            "[INFO] started",
            "[ERROR] [mosn.proxy.codec_error] bad frame",
            "[WARN] an alert key shows on errors only",
            "[ERROR] [mosn.proxy.upstream_conn_failed] [12,-,0a0b] cannot connect cluster=c1 tries=3",
            "[FATAL] cannot go on",
        ]
    );
    assert_eq!(fs::metadata(logs.path()).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn what_peers_sent_cannot_forge_a_line_or_grow_it_without_bound() {
    let logs = Logs::new(LogLevel::Info);
    logs.log(|| {
        warn!(value = "a\r\n2024-01-01 00:00:00,0 [ERROR] forged", "bad\x1b header");
        warn!("{}", "ä".repeat(20_000));
    });
    let lines = logs.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], "[WARN] bad\\x1b header value=a\\x0d\\x0a2024-01-01 00:00:00,0 [ERROR] forged");
    assert!(lines[1].ends_with("...") && lines[1].len() < 17_000, "{}", lines[1].len());
}

#[test]
fn the_level_decides_and_can_be_changed() {
    let logs = Logs::new(LogLevel::Warn);
    let all = || {
        logs.log(|| {
            error!("error");
            warn!("warn");
            info!("info");
            debug!("debug");
            trace!("trace");
        });
    };
    all();
    logs.set_level(LogLevel::Debug);
    all();
    logs.set_level(LogLevel::Fatal);
    all();
    assert_eq!(
        logs.lines(),
        ["[ERROR] error", "[WARN] warn", "[ERROR] error", "[WARN] warn", "[INFO] info", "[DEBUG] debug"]
    );
    assert_eq!(logs.handle.levels(), [(String::new(), LogLevel::Info), (logs.name(), LogLevel::Fatal)]);
    assert_eq!(
        logs.handle.set_level("/no/such.log", LogLevel::Info),
        Err(UnknownLog { path: "/no/such.log".into() })
    );
}

#[test]
fn other_crates_are_heard_from_warnings_up_unless_everything_is_asked_for() {
    let logs = Logs::new(LogLevel::Debug);
    let foreign = || {
        logs.log(|| {
            warn!(target: "h2::client", "warn");
            debug!(target: "h2::client", "debug");
        });
    };
    foreign();
    logs.set_level(LogLevel::Trace);
    foreign();
    assert_eq!(logs.lines(), ["[WARN] warn", "[WARN] warn", "[DEBUG] debug"]);
}

#[test]
fn start_up_messages_do_not_reach_the_main_log() {
    let logs = Logs::new(LogLevel::Info);
    logs.log(|| {
        info!(target: STARTUP, "mosn is starting (from a test)");
        info!("main");
    });
    assert_eq!(logs.lines(), ["[INFO] main"]);
}

#[test]
fn logs_are_switched_off_and_on_by_path() {
    let logs = Logs::new(LogLevel::Info);
    let (path, access) = logs.access_log("access.log");
    let info = fixture::info(Protocol::Http1);
    let write = || {
        access.write(&LogContext::new(&info));
        access.flush();
        logs.log(|| info!("line"));
    };
    for name in [path.to_str().unwrap(), &logs.name()] {
        write();
        logs.handle.set_enabled(name, false).unwrap();
        write();
        logs.handle.set_enabled(name, true).unwrap();
    }
    logs.handle.flush();
    // Four writes each; the access log missed the second, the error log the fourth.
    assert_eq!(fs::read_to_string(&path).unwrap(), "200\n200\n200\n");
    assert_eq!(logs.lines().len(), 3);
    assert!(logs.handle.set_enabled("/no/such.log", true).is_err());
}

#[test]
fn moved_files_are_left_alone_after_reopening() {
    let logs = Logs::new(LogLevel::Info);
    let moved = logs.dir.path().join("moved.log");
    logs.log(|| info!("before"));
    assert_eq!(logs.lines(), ["[INFO] before"]);
    fs::rename(logs.path(), &moved).unwrap();
    logs.handle.reopen();
    logs.log(|| info!("after"));
    assert_eq!(logs.lines(), ["[INFO] after"]);
    assert_eq!(fs::read_to_string(moved).unwrap().lines().count(), 1);
}

#[test]
fn access_lines_wait_in_the_workers_buffer_until_it_is_full() {
    let logs = Logs::new(LogLevel::Info);
    let (path, access) = logs.access_log("access.log");
    let info = fixture::info(Protocol::Http1);
    access.write(&LogContext::new(&info));
    logs.handle.flush();
    assert_eq!(fs::read_to_string(&path).unwrap(), "");

    // 4 bytes each.
    (1..16 * 1024 / 4).for_each(|_| access.write(&LogContext::new(&info)));
    logs.handle.flush();
    assert_eq!(fs::read_to_string(&path).unwrap().len(), 16 * 1024);

    access.write(&LogContext::new(&info));
    drop(access);
    logs.handle.flush();
    assert_eq!(fs::read_to_string(&path).unwrap().len(), 16 * 1024 + 4);
}

#[test]
fn logs_with_one_output_share_it() {
    let logs = Logs::new(LogLevel::Info);
    let (path, one) = logs.access_log("access.log");
    let (_, two) = logs.access_log("access.log");
    let info = fixture::info(Protocol::Http1);
    for access in [&one, &two, &one] {
        access.write(&LogContext::new(&info));
        access.flush();
    }
    logs.handle.flush();
    assert_eq!(fs::read_to_string(path).unwrap(), "200\n200\n200\n");
}

#[test]
fn a_log_that_cannot_keep_up_loses_lines_and_counts_them() {
    let logs = Logs::new(LogLevel::Info);
    let fifo = logs.dir.path().join("access.fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // Opened both ways, so that opening does not wait for the other end and nothing drains it.
    let reader = fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let spec = AccessLogSpec { output: LogOutput::File(fifo), format: Some("x".repeat(1000)) };
    let access = logs.handle.access_log(&spec).unwrap().writer();
    let info = fixture::info(Protocol::Http1);

    let started = Instant::now();
    for _ in 0..10_000 {
        access.write(&LogContext::new(&info));
    }
    access.flush();
    assert!(started.elapsed() < Duration::from_secs(5), "a stuck log must not hold up the worker");
    // 10 MB went in; the pipe takes 64 KiB, the queue 4 MiB.
    let dropped = logs.handle.dropped();
    assert!((5_000..10_000).contains(&dropped), "{dropped}");
    // Two ends of the writer's pipe are open until here; now its write fails and the thread goes on.
    drop(reader);
}

#[test]
fn what_cannot_be_opened_says_which_and_why() {
    let logs = Logs::new(LogLevel::Info);
    let directory = logs.dir.path().to_owned();
    let output = LogOutput::File(directory.clone());
    let spec = AccessLogSpec { output: output.clone(), format: None };
    let error = logs.handle.access_log(&spec).unwrap_err();
    assert!(matches!(error, AccessLogError::Output(LogError::Open { .. })));
    assert!(error.to_string().contains(&directory.display().to_string()), "{error}");

    let spec = AccessLogSpec { output, format: Some("a%%b".into()) };
    let error = logs.handle.access_log(&spec).unwrap_err();
    assert!(matches!(error, AccessLogError::Format(FormatError::EmptyVariable { position: 1 })));
}
