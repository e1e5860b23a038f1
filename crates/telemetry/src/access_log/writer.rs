use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use super::{AccessLogFormat, FormatError};
use crate::{LogContext, LogError, log::Sink};

/// A worker's buffer is handed over when it has grown to this, bytes.
const BUFFER: usize = 16 * 1024;

/// An access log of a listener: a format, and an output that others may share. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct AccessLog {
    sink: Arc<Sink>,
    format: Arc<AccessLogFormat>,
}

/// Why an access log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The format is malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The output could not be opened.
    #[error(transparent)]
    Output(#[from] LogError),
}

/// One worker's end of an access log.
///
/// Lines collect in a buffer of the worker's own, which goes to the log's writer thread when it is
/// full or when [`Self::flush`] is called. Where the writer cannot keep up, buffers are dropped and
/// their lines counted; the worker never waits. A worker that logs nothing holds no buffer.
#[derive(Debug)]
pub struct AccessLogWriter {
    log: AccessLog,
    buffer: RefCell<Vec<u8>>,
    lines: Cell<u64>,
}

impl AccessLog {
    pub(crate) fn new(sink: Arc<Sink>, format: AccessLogFormat) -> Self {
        Self { sink, format: Arc::new(format) }
    }

    /// A worker's end.
    #[must_use]
    pub fn writer(&self) -> AccessLogWriter {
        AccessLogWriter { log: self.clone(), buffer: RefCell::default(), lines: Cell::default() }
    }
}

impl AccessLogWriter {
    /// The format, which knows what of a message it shows.
    #[must_use]
    pub fn format(&self) -> &AccessLogFormat {
        &self.log.format
    }

    /// Appends a request's line, unless the log is switched off.
    pub fn write(&self, cx: &LogContext<'_>) {
        if !self.log.sink.is_enabled() {
            return;
        }
        let mut buffer = self.buffer.borrow_mut();
        if buffer.capacity() == 0 {
            buffer.reserve(BUFFER + BUFFER / 16);
        }
        self.log.format.render(cx, &mut buffer);
        buffer.push(b'\n');
        self.lines.set(self.lines.get() + 1);
        if buffer.len() >= BUFFER {
            self.send(std::mem::take(&mut buffer));
        }
    }

    /// Hands over what has collected. The worker calls it from its ticker, every 200 ms or so, and at
    /// its end; dropping the writer does the same.
    pub fn flush(&self) {
        let buffer = self.buffer.take();
        if !buffer.is_empty() {
            self.send(buffer);
        }
    }

    fn send(&self, buffer: Vec<u8>) {
        self.log.sink.send(buffer, self.lines.take());
    }
}

impl Drop for AccessLogWriter {
    fn drop(&mut self) {
        self.flush();
    }
}
