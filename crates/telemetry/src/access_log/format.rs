use crate::{LogContext, Variable, escape::escape_controls};

/// MOSN's default format, with its two spaces after the trace id and its second response code.
pub const DEFAULT_FORMAT: &str = "%start_time% %trace_id%  %connection_id% %upstream_connection_id% \
    %request_received_duration% %response_received_duration% %bytes_sent% %bytes_received% %protocol% \
    %response_code% %duration% %response_flag% %response_code% %upstream_local_address% \
    %downstream_local_address% %downstream_remote_address% %upstream_host%";

/// An access log's format, compiled once.
///
/// Text and `%variable%`, in MOSN's grammar (observability reference 3.4): a `%` after a backslash
/// delimits nothing, and the backslash stays in the output. A name that is no variable prints `-` for
/// ever, and so does a variable without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogFormat(Box<[Piece]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Variable(Variable),
}

/// Why a format cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// `%%`.
    #[error(
        "log_format: `%%` at byte {position} names no variable; write `%name%`, or `\\%` for a percent sign \
         (the backslash is printed too)"
    )]
    EmptyVariable {
        /// Where the first `%` is, in bytes.
        position: usize,
    },
    /// A `%` without its partner.
    #[error(
        "log_format: the `%` at byte {position} is never closed; write `%name%`, or `\\%` for a percent \
         sign (the backslash is printed too)"
    )]
    Unclosed {
        /// Where the `%` is, in bytes.
        position: usize,
    },
}

impl Default for AccessLogFormat {
    fn default() -> Self {
        Self::compile(DEFAULT_FORMAT).unwrap_or_else(|_| unreachable!("the default format is well-formed"))
    }
}

impl AccessLogFormat {
    /// Compiles a format; an empty one is the default, as in MOSN.
    ///
    /// # Errors
    /// If a variable is empty or not closed.
    pub fn compile(format: &str) -> Result<Self, FormatError> {
        if format.is_empty() {
            return Ok(Self::default());
        }
        let bytes = format.as_bytes();
        let is_delimiter = |at: usize| bytes[at] == b'%' && (at == 0 || bytes[at - 1] != b'\\');

        let mut pieces: Vec<Piece> = Vec::new();
        let mut open: Option<usize> = None;
        let mut from = 0;
        for at in (0..bytes.len()).filter(|&at| is_delimiter(at)) {
            match open.take() {
                None => {
                    push_text(&mut pieces, &format[from..at]);
                    open = Some(at);
                }
                Some(position) if position + 1 == at => return Err(FormatError::EmptyVariable { position }),
                Some(_) => match Variable::parse(&format[from..at]) {
                    Some(variable) => pieces.push(Piece::Variable(variable)),
                    None => push_text(&mut pieces, "-"),
                },
            }
            from = at + 1;
        }
        if let Some(position) = open {
            return Err(FormatError::Unclosed { position });
        }
        push_text(&mut pieces, &format[from..]);
        Ok(Self(pieces.into()))
    }

    /// Appends the line of one request, without its line end.
    ///
    /// Control characters in values that came from the network show as `\xNN`, so that no client can
    /// forge a line; Go MOSN prints them as they are.
    pub fn render(&self, cx: &LogContext<'_>, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable(variable) => {
                    let from = out.len();
                    if !variable.eval(cx, out) {
                        out.push(b'-');
                    } else if variable.is_foreign() {
                        escape_controls(out, from);
                    }
                }
            }
        }
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if text.is_empty() {
        return;
    }
    if let Some(Piece::Text(last)) = pieces.last_mut() {
        *last = format!("{last}{text}").into();
    } else {
        pieces.push(Piece::Text(text.into()));
    }
}
