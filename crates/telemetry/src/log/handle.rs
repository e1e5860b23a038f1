use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use mosn_config::model::{AccessLogSpec, LogLevel, LogOutput, LogRoller, ServerSpec};
use tracing::level_filters::LevelFilter;

use super::{ErrorLog, Sink};
use crate::{AccessLog, AccessLogError, AccessLogFormat};

/// How long a flush waits for an output that does not take its lines.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Every log of the process: what the admin API and signals act on. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct LogHandle(Arc<Logs>);

/// A log of lines that are whole already. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct LineLog(Arc<Sink>);

impl LineLog {
    /// Appends a line, which comes without its end, unless the log is switched off.
    pub fn write(&self, mut line: String) {
        if self.0.is_enabled() {
            line.push('\n');
            self.0.send(line.into_bytes(), 1);
        }
    }
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file could not be created or opened.
    #[error("cannot open the log {}: {source}; check that its directory can be written to", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// No thread for the writer.
    #[error("cannot start a thread that writes logs: {0}")]
    Thread(io::Error),
    /// `tracing` has its subscriber already.
    #[error("the error log was set up twice in one process")]
    AlreadyInstalled,
}

/// No log of this name is open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no log `{path}`; GET /api/v1/get_loglevel lists the error logs")]
pub struct UnknownLog {
    /// What was asked for.
    pub path: String,
}

#[derive(Debug)]
pub(super) struct Logs {
    roller: LogRoller,
    /// The start-up log, on the standard error stream, first; then the main log, unless that is the
    /// same.
    loggers: Vec<Logger>,
    /// Every output in use, so that two logs with one output share it. One that is no longer used
    /// stays until the next is opened: its last lines may not be written yet when the process ends.
    sinks: Mutex<HashMap<LogOutput, Arc<Sink>>>,
}

#[derive(Debug)]
pub(super) struct Logger {
    sink: Arc<Sink>,
    level: AtomicU8,
}

/// Opens the error log and makes it the process's `tracing` subscriber.
///
/// # Errors
/// If a file cannot be opened, or this was called before.
pub fn init(spec: &ServerSpec) -> Result<LogHandle, LogError> {
    let (handle, subscriber) = LogHandle::new(spec)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadyInstalled)?;
    Ok(handle)
}

impl LogHandle {
    /// Opens the error log without installing it: for tests, and for programs with a subscriber of
    /// their own.
    ///
    /// # Errors
    /// If a file cannot be opened.
    pub fn new(spec: &ServerSpec) -> Result<(Self, ErrorLog), LogError> {
        let mut sinks = HashMap::new();
        let mut open = |output: &LogOutput, level| -> Result<Logger, LogError> {
            let sink = Sink::open(output, &spec.log_roller)?;
            sinks.insert(output.clone(), Arc::clone(&sink));
            Ok(Logger { sink, level: AtomicU8::new(level as u8) })
        };
        let mut loggers = Vec::new();
        if spec.log_path != LogOutput::Stderr {
            loggers.push(open(&LogOutput::Stderr, LogLevel::Info)?);
        }
        loggers.push(open(&spec.log_path, spec.log_level)?);
        let logs = Arc::new(Logs { roller: spec.log_roller.clone(), loggers, sinks: Mutex::new(sinks) });
        Ok((Self(Arc::clone(&logs)), ErrorLog(logs)))
    }

    /// Opens an access log. Logs with the same output share one file and one writer.
    ///
    /// # Errors
    /// If the format is malformed or the file cannot be opened.
    pub fn access_log(&self, spec: &AccessLogSpec) -> Result<AccessLog, AccessLogError> {
        let format = AccessLogFormat::compile(spec.format.as_deref().unwrap_or_default())?;
        Ok(AccessLog::new(self.0.sink(&spec.output)?, format))
    }

    /// Opens a log of lines that are whole already.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn line_log(&self, output: &LogOutput) -> Result<LineLog, LogError> {
        Ok(LineLog(self.0.sink(output)?))
    }

    /// The error logs and their levels; `""` is the start-up log.
    #[must_use]
    pub fn levels(&self) -> Vec<(String, LogLevel)> {
        self.0.loggers.iter().map(|logger| (logger.sink.name(), logger.log_level())).collect()
    }

    /// Sets the level of an error log.
    ///
    /// # Errors
    /// If there is no error log of this path.
    pub fn set_level(&self, path: &str, level: LogLevel) -> Result<(), UnknownLog> {
        let logger = self.0.loggers.iter().find(|logger| is_named(logger.sink.output(), path));
        let logger = logger.ok_or_else(|| UnknownLog { path: path.into() })?;
        logger.level.store(level as u8, Relaxed);
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// Makes a log, of errors or of access, take lines or not.
    ///
    /// # Errors
    /// If there is no log of this path.
    pub fn set_enabled(&self, path: &str, enabled: bool) -> Result<(), UnknownLog> {
        let sinks = self.0.all_sinks();
        let sink = sinks.iter().find(|sink| is_named(sink.output(), path));
        sink.ok_or_else(|| UnknownLog { path: path.into() })?.set_enabled(enabled);
        Ok(())
    }

    /// Makes every log file be opened anew, for an outside logrotate (SIGUSR1).
    pub fn reopen(&self) {
        let deadline = Instant::now() + FLUSH_PATIENCE;
        for sink in self.0.all_sinks() {
            sink.reopen(deadline);
        }
    }

    /// Waits until the lines sent so far were written, at most two seconds: before the process exits.
    /// Access-log lines that workers still hold are not among them; see
    /// [`crate::AccessLogWriter::flush`].
    pub fn flush(&self) {
        self.0.flush();
    }

    /// Lines lost so far, over all logs in use: the queue was full, or writing failed.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.all_sinks().iter().map(|sink| sink.dropped()).sum()
    }
}

impl Logs {
    pub(super) fn logger(&self, target: &str) -> &Logger {
        let at = if target == super::STARTUP { 0 } else { self.loggers.len() - 1 };
        &self.loggers[at]
    }

    pub(super) fn max_level(&self) -> LevelFilter {
        self.loggers.iter().map(Logger::level).max().unwrap_or(LevelFilter::OFF)
    }

    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_PATIENCE;
        for sink in self.all_sinks() {
            sink.flush(deadline);
        }
    }

    fn sink(&self, output: &LogOutput) -> Result<Arc<Sink>, LogError> {
        let mut sinks = self.sinks();
        if let Some(sink) = sinks.get(output) {
            return Ok(Arc::clone(sink));
        }
        let sink = Sink::open(output, &self.roller)?;
        sinks.retain(|_, sink| Arc::strong_count(sink) > 1);
        sinks.insert(output.clone(), Arc::clone(&sink));
        Ok(sink)
    }

    /// A copy, so that nobody waits for an output while the map is locked.
    fn all_sinks(&self) -> Vec<Arc<Sink>> {
        self.sinks().values().cloned().collect()
    }

    fn sinks(&self) -> MutexGuard<'_, HashMap<LogOutput, Arc<Sink>>> {
        // No panic can leave the map half changed.
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logger {
    fn log_level(&self) -> LogLevel {
        use LogLevel as L;
        let number = self.level.load(Relaxed);
        [L::Fatal, L::Error, L::Warn, L::Info, L::Debug, L::Trace]
            .into_iter()
            .find(|&level| level as u8 == number)
            .unwrap_or(L::Info)
    }

    /// What `tracing` needs to let through; fatal messages are errors there.
    pub(super) fn level(&self) -> LevelFilter {
        match self.log_level() {
            LogLevel::Fatal | LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }

    pub(super) fn is_fatal_only(&self) -> bool {
        self.log_level() == LogLevel::Fatal
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.sink.is_enabled()
    }

    pub(super) fn send(&self, line: Vec<u8>) {
        self.sink.send(line, 1);
    }
}

/// Whether an operator who writes `path` means this output.
fn is_named(output: &LogOutput, path: &str) -> bool {
    match output {
        LogOutput::Stderr => matches!(path, "" | "stderr" | "/dev/stderr"),
        LogOutput::Stdout => matches!(path, "stdout" | "/dev/stdout"),
        LogOutput::File(file) => {
            file == Path::new(path) || std::path::absolute(path).is_ok_and(|path| *file == path)
        }
        LogOutput::Syslog(None) => path == "syslog",
        LogOutput::Syslog(Some(target)) => {
            let schemes: &[&str] =
                if target.tcp { &["syslog+tcp://"] } else { &["syslog://", "syslog+udp://"] };
            let address = schemes.iter().find_map(|scheme| path.strip_prefix(scheme));
            address.is_some_and(|address| {
                address == target.address || target.address.strip_suffix(":514") == Some(address)
            })
        }
    }
}
