//! One line of the error log (observability reference 3.2).

use std::{
    fmt::{self, Write as _},
    time::SystemTime,
};

use tracing::{
    Event, Level,
    field::{Field, Visit},
};

use crate::{clock, escape::escape_controls, text::write_int};

/// Longest text of one line; the rest is cut off.
const MAX_TEXT: usize = 16 * 1024;

/// What an event says, sorted into the places of a line.
///
/// The fields `alert`, `connection_id`, `upstream_connection_id`, `trace_id` and `fatal` have places of
/// their own; all others follow the message as ` name=value`.
#[derive(Default)]
pub(super) struct Line {
    message: String,
    fields: String,
    alert: String,
    connection_id: String,
    upstream_connection_id: String,
    trace_id: String,
    fatal: bool,
}

impl Line {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut line = Self::default();
        event.record(&mut line);
        line
    }

    pub(super) fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// `YYYY-MM-DD HH:MM:SS,<ms> [LEVEL] [<alert>] [<ids>] <message> <fields>` and a line end. The
    /// milliseconds are not padded, as in MOSN; the alert key shows on errors only.
    pub(super) fn write(&self, level: Level, now: SystemTime, out: &mut Vec<u8>) {
        let millis = clock::write_date_time(now, b'-', out);
        out.push(b',');
        write_int(millis, out);
        let level = if self.fatal { "FATAL" } else { level.as_str() };
        out.extend_from_slice(format!(" [{level}] ").as_bytes());

        let from = out.len();
        if level == "ERROR" && !self.alert.is_empty() {
            out.extend_from_slice(format!("[{}] ", self.alert).as_bytes());
        }
        let ids = [&self.connection_id, &self.upstream_connection_id, &self.trace_id];
        if ids.iter().any(|id| !id.is_empty()) {
            let [connection, upstream, trace] = ids.map(|id| if id.is_empty() { "-" } else { id });
            out.extend_from_slice(format!("[{connection},{upstream},{trace}] ").as_bytes());
        }
        out.extend_from_slice(self.message.as_bytes());
        out.extend_from_slice(self.fields.as_bytes());
        if out.len() - from > MAX_TEXT {
            let text = String::from_utf8_lossy(&out[from..from + MAX_TEXT]).into_owned();
            out.truncate(from);
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"...");
        }
        // Errors quote what peers sent.
        escape_controls(out, from);
        out.push(b'\n');
    }

    fn place(&mut self, field: &Field) -> &mut String {
        match field.name() {
            "message" => &mut self.message,
            "alert" => &mut self.alert,
            "connection_id" => &mut self.connection_id,
            "upstream_connection_id" => &mut self.upstream_connection_id,
            "trace_id" => &mut self.trace_id,
            name => {
                self.fields.push(' ');
                self.fields.push_str(name);
                self.fields.push('=');
                &mut self.fields
            }
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String fails only where the value's own formatting does.
        let _ = write!(self.place(field), "{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.place(field).push_str(value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "fatal" {
            self.fatal = value;
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let _ = write!(self.place(field), "{value}");
    }
}
