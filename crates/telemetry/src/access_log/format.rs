use mosn_core::Variable;

use crate::{LogContext, escape::escape_controls, variable};

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

    /// Whether any variable is of the request's head: without one, a context need not hold it.
    #[must_use]
    pub fn needs_request(&self) -> bool {
        self.variables().any(variable::is_of_request)
    }

    /// Whether any variable is of the reply's header: without one, a context need not hold it.
    #[must_use]
    pub fn needs_response_headers(&self) -> bool {
        self.variables().any(variable::is_of_response)
    }

    fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(variable),
            Piece::Text(_) => None,
        })
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
                    if !cx.write(variable, out) {
                        out.push(b'-');
                    } else if variable::is_foreign(variable) {
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

#[cfg(test)]
mod tests {
    use mosn_core::Protocol;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        clock,
        fixture::{bare, info, request},
    };

    fn line(format: &str, cx: &LogContext<'_>) -> String {
        let mut out = Vec::new();
        AccessLogFormat::compile(format).unwrap().render(cx, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_default_line_has_two_spaces_and_the_code_twice() {
        let mut info = info(Protocol::Http2);
        info.upstream_hostname = None;
        let start = clock::local(1_700_000_000).strftime("%Y/%m/%d %H:%M:%S.042");
        assert_eq!(
            line("", &LogContext::new(&info)),
            format!(
                "{start} -  7 9 1.234ms 2.5ms 1024 12 Http2 200 2.75ms false 200 10.9.8.7:8080 \
                 127.0.0.1:2045 10.1.2.3:51000 -"
            )
        );
        assert_eq!(AccessLogFormat::compile(DEFAULT_FORMAT), Ok(AccessLogFormat::default()));
    }

    #[test]
    fn a_request_to_a_cluster_without_hosts_says_so() {
        let (info, request) = (bare(Protocol::Http1), request("/", &[("x-a", "1")]));
        let cx = LogContext { request: Some(&request), ..LogContext::new(&info) };
        let format = "%protocol% %response_code% %response_flag% %upstream_transport_failure_reason% \
                      %upstream_host% %nosuch% %request_header_x-a%";
        assert_eq!(line(format, &cx), "Http1 502 true 0x2 - - 1");
    }

    #[test]
    fn an_escaped_percent_sign_delimits_nothing_and_keeps_its_backslash() {
        let info = info(Protocol::Http1);
        let cx = LogContext::new(&info);
        assert_eq!(line(r"100\% of %bytes_sent%\%", &cx), r"100\% of 1024\%");
        assert_eq!(line(r"%no\%such%", &cx), "-");
        assert_eq!(line("no variable, ä", &cx), "no variable, ä");
    }

    #[test]
    fn malformed_formats_name_the_place() {
        assert_eq!(AccessLogFormat::compile("a%%b"), Err(FormatError::EmptyVariable { position: 1 }));
        assert_eq!(
            AccessLogFormat::compile("%protocol% x %duration"),
            Err(FormatError::Unclosed { position: 13 })
        );
        assert_eq!(AccessLogFormat::compile("%"), Err(FormatError::Unclosed { position: 0 }));
        let text = FormatError::EmptyVariable { position: 1 }.to_string();
        assert!(text.contains("byte 1"), "{text}");
    }

    #[test]
    fn no_client_can_forge_a_line() {
        let info = info(Protocol::Http1);
        let request = request("/%0a2024 forged%1b%00?q=%0d%0a", &[("user-agent", "x\r\ny")]);
        let cx = LogContext { request: Some(&request), ..LogContext::new(&info) };
        assert_eq!(
            line("%x-mosn-path%|%request_arg_q%|%request_header_user-agent%", &cx),
            r"/\x0a2024 forged\x1b\x00|\x0d\x0a|x\x0d\x0ay"
        );
    }

    #[test]
    fn a_format_knows_which_messages_it_shows() {
        for (format, request, response) in [
            ("", false, false),
            ("%request_header_a%", true, false),
            ("%x-mosn-path%", true, false),
            ("%Http1_cookie_a%", true, false),
            ("%response_header_a%", false, true),
        ] {
            let compiled = AccessLogFormat::compile(format).unwrap();
            assert_eq!(compiled.needs_request(), request, "{format}");
            assert_eq!(compiled.needs_response_headers(), response, "{format}");
        }
    }

    proptest! {
        #[test]
        fn any_format_compiles_or_is_refused_and_renders_no_control_character(
            format in r"[a-z%\\ _-]{0,60}",
            value in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let info = info(Protocol::Http1);
            let mut head = request("/", &[]);
            head.path = value.into();
            let cx = LogContext { request: Some(&head), ..LogContext::new(&info) };
            let format = format!("%Http1_request_uri%{format}%x-mosn-path%");
            if let Ok(format) = AccessLogFormat::compile(&format) {
                let mut out = Vec::new();
                format.render(&cx, &mut out);
                prop_assert!(!out.iter().any(u8::is_ascii_control));
            }
        }
    }
}
