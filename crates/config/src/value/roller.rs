use std::path::PathBuf;

use crate::model::{LogOutput, LogRoller, SyslogTarget};

/// `servers[0].global_log_roller`: `time=6 keep=20`, or `size=100 age=7 keep=10 compress=on`.
///
/// # Errors
/// The token that is wrong and why.
pub(crate) fn log_roller(text: &str) -> Result<LogRoller, String> {
    if text.is_empty() {
        return Ok(LogRoller::default());
    }
    let (mut time, mut size, mut age, mut keep, mut compress) = (0, 1000, 7, 10, false);
    for token in text.split(' ').filter(|token| !token.is_empty()) {
        let Some((key, value)) = token.split_once('=') else {
            return Err(format!("expected key=value, found {token:?}"));
        };
        let number =
            || value.parse::<u32>().map_err(|_| format!("expected a number after `{key}=`, found {value:?}"));
        match key {
            "time" => time = number()?.min(24),
            "size" => size = number()?,
            "age" => age = number()?,
            "keep" => keep = number()?,
            "compress" => {
                compress = match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(format!("expected `on` or `off` after `compress=`, found {value:?}")),
                }
            }
            _ => {
                return Err(format!(
                    "unknown setting {key:?}; there are `time`, `size`, `age`, `keep` and `compress`"
                ));
            }
        }
    }
    Ok(if time > 0 {
        LogRoller::Time { hours: time, keep }
    } else {
        LogRoller::Size { megabytes: size.into(), age_days: age, keep, compress }
    })
}

/// Where a log goes; `""` is standard error.
pub(crate) fn log_output(text: &str) -> LogOutput {
    match text {
        "" | "stderr" | "/dev/stderr" => LogOutput::Stderr,
        "stdout" | "/dev/stdout" => LogOutput::Stdout,
        "syslog" => LogOutput::Syslog(None),
        _ => {
            for (scheme, tcp) in [("syslog://", false), ("syslog+udp://", false), ("syslog+tcp://", true)] {
                if let Some(address) = text.strip_prefix(scheme) {
                    let address = address.to_owned();
                    return LogOutput::Syslog(Some(SyslogTarget { address, tcp }));
                }
            }
            LogOutput::File(PathBuf::from(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollers_turn_by_time_or_by_size() {
        for (text, roller) in [
            ("", LogRoller::Time { hours: 24, keep: 10 }),
            ("time=6 keep=20", LogRoller::Time { hours: 6, keep: 20 }),
            ("time=48", LogRoller::Time { hours: 24, keep: 10 }),
            (
                "size=100 age=3 keep=5 compress=on",
                LogRoller::Size { megabytes: 100, age_days: 3, keep: 5, compress: true },
            ),
            ("time=0", LogRoller::Size { megabytes: 1000, age_days: 7, keep: 10, compress: false }),
        ] {
            assert_eq!(log_roller(text).unwrap(), roller, "{text}");
        }
        for (text, reason) in [
            ("size", "expected key=value, found \"size\""),
            ("size=x keep=1", "expected a number after `size=`, found \"x\""),
            ("compress=yes", "expected `on` or `off` after `compress=`, found \"yes\""),
            ("days=1", "unknown setting \"days\"; there are `time`, `size`, `age`, `keep` and `compress`"),
        ] {
            assert_eq!(log_roller(text).unwrap_err(), reason);
        }
    }

    #[test]
    fn logs_go_to_streams_syslog_or_files() {
        assert_eq!(log_output("/dev/stdout"), LogOutput::Stdout);
        assert_eq!(log_output(""), LogOutput::Stderr);
        assert_eq!(log_output("syslog"), LogOutput::Syslog(None));
        assert_eq!(
            log_output("syslog+tcp://h:1"),
            LogOutput::Syslog(Some(SyslogTarget { address: "h:1".to_owned(), tcp: true }))
        );
        assert_eq!(log_output("./x.log"), LogOutput::File("./x.log".into()));
    }
}
