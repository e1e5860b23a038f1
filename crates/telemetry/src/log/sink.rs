//! One output and the thread that writes to it.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant, SystemTime},
};

use mosn_config::model::{LogOutput, LogRoller};

use super::{file::RollingFile, handle::LogError, syslog::Syslog};

/// Messages that wait for the writer; an error-log line is one, an access log sends whole buffers.
const QUEUE_MESSAGES: usize = 1024;

/// Bytes that wait for the writer, so that a stuck disk costs a bounded amount of memory.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that one write collects.
const BATCH_BYTES: usize = 64 * 1024;

/// How often at most dropped lines are reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// An output: its bounded queue, and whether lines are taken at all. The writer thread ends when the
/// last reference goes.
#[derive(Debug)]
pub(crate) struct Sink {
    output: LogOutput,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    enabled: AtomicBool,
    queued_bytes: AtomicUsize,
    dropped: AtomicU64,
}

enum Message {
    Lines {
        bytes: Vec<u8>,
        lines: u64,
    },
    Reopen,
    /// Answered once everything before it was written.
    Flush(SyncSender<()>),
}

impl Sink {
    /// Opens the output and starts its thread.
    pub(crate) fn open(output: &LogOutput, roller: &LogRoller) -> Result<Arc<Self>, LogError> {
        let target = match output {
            LogOutput::Stderr => Target::Stderr,
            LogOutput::Stdout => Target::Stdout,
            LogOutput::File(path) => Target::File(Box::new(
                RollingFile::open(path, roller, SystemTime::now())
                    .map_err(|source| LogError::Open { path: path.clone(), source })?,
            )),
            LogOutput::Syslog(target) => Target::Syslog(Syslog::new(target.clone())),
        };
        let (queue, messages) = sync_channel(QUEUE_MESSAGES);
        let shared = Arc::new(Shared {
            enabled: AtomicBool::new(true),
            queued_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        });
        let writer = Writer {
            name: name_of(output),
            target,
            shared: Arc::clone(&shared),
            batch: Vec::new(),
            batch_lines: 0,
            reported: 0,
            next_report: Instant::now(),
        };
        std::thread::Builder::new()
            .name("mosn-log".into())
            .stack_size(256 * 1024)
            .spawn(move || writer.run(&messages))
            .map_err(LogError::Thread)?;
        Ok(Arc::new(Self { output: output.clone(), queue, shared }))
    }

    pub(crate) fn output(&self) -> &LogOutput {
        &self.output
    }

    /// The name that the admin API knows the output by.
    pub(crate) fn name(&self) -> String {
        name_of(&self.output)
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.shared.enabled.load(Relaxed)
    }

    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.shared.enabled.store(enabled, Relaxed);
    }

    /// Lines that found the queue full or could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// Hands whole lines to the writer, or drops and counts them. Never blocks.
    pub(crate) fn send(&self, bytes: Vec<u8>, lines: u64) {
        let len = bytes.len();
        let shared = &*self.shared;
        if shared.queued_bytes.fetch_add(len, Relaxed) + len > QUEUE_BYTES
            || self.queue.try_send(Message::Lines { bytes, lines }).is_err()
        {
            shared.queued_bytes.fetch_sub(len, Relaxed);
            shared.dropped.fetch_add(lines, Relaxed);
        }
    }

    /// Asks the writer to open its file anew, where an outside logrotate has moved it away.
    pub(crate) fn reopen(&self, deadline: Instant) {
        self.send_until(Message::Reopen, deadline);
    }

    /// Waits until everything sent before was written; `false` if that took too long.
    pub(crate) fn flush(&self, deadline: Instant) -> bool {
        let (done, wait) = sync_channel(1);
        self.send_until(Message::Flush(done), deadline)
            && wait.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }

    fn send_until(&self, mut message: Message, deadline: Instant) -> bool {
        loop {
            match self.queue.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => {
                    message = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(_) => return false,
            }
        }
    }
}

/// MOSN's name for an output: what was configured, and `""` for the standard error stream.
fn name_of(output: &LogOutput) -> String {
    match output {
        LogOutput::Stderr => String::new(),
        LogOutput::Stdout => "stdout".into(),
        LogOutput::File(path) => path.display().to_string(),
        LogOutput::Syslog(None) => "syslog".into(),
        LogOutput::Syslog(Some(target)) if target.tcp => format!("syslog+tcp://{}", target.address),
        LogOutput::Syslog(Some(target)) => format!("syslog://{}", target.address),
    }
}

enum Target {
    Stderr,
    Stdout,
    File(Box<RollingFile>),
    Syslog(Syslog),
}

struct Writer {
    name: String,
    target: Target,
    shared: Arc<Shared>,
    batch: Vec<u8>,
    batch_lines: u64,
    /// Dropped lines that were already reported.
    reported: u64,
    next_report: Instant,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let wait = match &self.target {
                Target::File(file) => file.until_rotation(SystemTime::now()),
                _ => Duration::from_secs(3600),
            };
            match messages.recv_timeout(wait) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while self.batch.len() < BATCH_BYTES {
                match messages.try_recv() {
                    Ok(message) => self.take(message),
                    Err(_) => break,
                }
            }
            self.write_batch();
            self.report_drops();
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Lines { bytes, lines } => {
                self.shared.queued_bytes.fetch_sub(bytes.len(), Relaxed);
                self.batch_lines += lines;
                if self.batch.is_empty() {
                    self.batch = bytes;
                } else {
                    self.batch.extend_from_slice(&bytes);
                }
            }
            Message::Reopen => {
                self.write_batch();
                if let Target::File(file) = &mut self.target
                    && let Err(error) = file.reopen(SystemTime::now())
                {
                    tracing::error!(
                        log = self.name,
                        "cannot reopen the log, the old file stays in use: {error}"
                    );
                }
            }
            Message::Flush(done) => {
                self.write_batch();
                // Whoever asked may have given up waiting.
                let _ = done.try_send(());
            }
        }
    }

    fn write_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let lines = std::mem::take(&mut self.batch_lines);
        let written = match &mut self.target {
            // Nothing else in the process holds these locks for long.
            Target::Stderr => std::io::stderr().write_all(&batch),
            Target::Stdout => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(&batch).and_then(|()| stdout.flush())
            }
            // Also with nothing to write: an idle log is rotated too.
            Target::File(file) => file.write(&batch, SystemTime::now()),
            Target::Syslog(syslog) => syslog.write(&batch),
        };
        if written.is_err() {
            self.shared.dropped.fetch_add(lines, Relaxed);
        }
    }

    /// Says in the error log how many lines were lost. Where the error log itself is full, the report
    /// is dropped too, counted, and made up for later.
    fn report_drops(&mut self) {
        let dropped = self.shared.dropped.load(Relaxed);
        if dropped > self.reported && Instant::now() >= self.next_report {
            tracing::warn!(
                log = self.name,
                dropped = dropped - self.reported,
                "log lines were dropped: the log cannot be written, or not as fast as lines come"
            );
            self.reported = dropped;
            self.next_report = Instant::now() + REPORT_EVERY;
        }
    }
}
