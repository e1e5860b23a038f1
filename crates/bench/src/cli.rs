//! The options of `mosn bench`, and their limits.

use std::{fmt::Display, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args as ClapArgs, Subcommand, builder::PossibleValuesParser};

use crate::dialect;

const MAX_CONNECTIONS: usize = 60_000;
const MAX_OUTSTANDING: usize = 65_536;
/// Requests in flight over all connections.
pub(crate) const MAX_IN_FLIGHT: usize = 4 << 20;
const MAX_RATE: f64 = 10e6;
/// Leaves room for the rest of the frame below the codecs' limit.
const MAX_BODY: usize = 63 << 20;
const MAX_THREADS: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// `mosn bench`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer every request with its own argument
    #[command(after_help = "Examples:\n  \
                            mosn bench serve bolt --listen 127.0.0.1:12200\n  \
                            mosn bench serve dubbo --listen 127.0.0.1:20880 --body 4k --delay 5ms\n\n\
                            Prints the address once it listens. Heartbeats are answered, one-way calls are not.")]
    Serve(ServeArgs),
    /// Send requests and measure the replies
    #[command(after_help = "Examples:\n  \
                      As many requests as the target can take, 8 connections with 32 in flight on each:\n    \
                      mosn bench load bolt --target 127.0.0.1:2045 -c 8 -n 32 --body 1k --duration 10s\n  \
                      How late are replies at 8,000 requests per second?\n    \
                      mosn bench load dubbo --target 127.0.0.1:2046 -c 64 --rate 8000 --service com.example.Echo\n  \
                      Figures for a script:\n    \
                      mosn bench load tars --target 127.0.0.1:2047 --json result.json\n\n\
                      Without --rate each connection sends a request when a reply frees a place (closed loop): that \
                      finds the highest throughput, and its latencies say little, since a slow target gets fewer \
                      requests. With --rate requests are due at fixed times whatever the target does (open loop), \
                      and latency counts from the time when a request was due, sent or not.\n\n\
                      Every reply is checked: its id, its status, and its body byte for byte. Each request carries a \
                      number of its own in its body, so that a reply to somebody else's request is noticed.\n\
                      Exit codes: 0 no errors, 1 errors among the requests or no reply at all, 2 it could not run.")]
    Load(LoadArgs),
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ServeArgs {
    /// The protocol
    #[arg(value_parser = PossibleValuesParser::new(dialect::names()))]
    pub(crate) protocol: String,

    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,

    /// Answer with this many bytes instead of the argument
    #[arg(long, value_name = "BYTES", value_parser = body)]
    pub(crate) body: Option<usize>,

    /// Wait this long before each answer
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = pause)]
    pub(crate) delay: Duration,

    /// Threads, each with a socket of its own on the address
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    pub(crate) threads: usize,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct LoadArgs {
    /// The protocol
    #[arg(value_parser = PossibleValuesParser::new(dialect::names()))]
    pub(crate) protocol: String,

    /// Where to send requests to
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) target: String,

    /// Connections
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = connections)]
    pub(crate) connections: usize,

    /// Requests in flight on each connection, at most
    #[arg(short = 'n', long, value_name = "N", default_value = "1", value_parser = outstanding)]
    pub(crate) outstanding: usize,

    /// How long to measure
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,

    /// How long to send before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = pause)]
    pub(crate) warmup: Duration,

    /// Requests per second over all connections, at fixed times (open loop); without it as many as
    /// --outstanding allows (closed loop)
    #[arg(short, long, value_name = "R", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// Bytes of a request's argument; k and m multiply by 1024
    #[arg(long, value_name = "BYTES", default_value = "1k", value_parser = body)]
    pub(crate) body: usize,

    /// Bytes that a reply must have; the default is the request's own argument. `any` takes every length
    #[arg(long, value_name = "BYTES|any", default_value = "echo", hide_default_value = true, value_parser = expect)]
    pub(crate) expect: Expect,

    /// The service to call, as routes see it
    #[arg(long, value_name = "NAME", default_value = "com.example.EchoService")]
    pub(crate) service: String,

    /// The service's version (dubbo)
    #[arg(long, value_name = "TEXT", default_value = "1.0.0")]
    pub(crate) service_version: String,

    /// The method to call
    #[arg(long, value_name = "NAME", default_value = "echo")]
    pub(crate) method: String,

    /// A header of bolt, an attachment of dubbo, a context entry of tars; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,

    /// Count a request as lost after this long; also written into the request
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// Threads; connections are dealt out to them
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    pub(crate) threads: usize,

    /// Also write the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Exit with 0 although there were errors
    #[arg(long)]
    pub(crate) allow_errors: bool,
}

/// What a reply's payload must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The request's.
    Echo,
    /// As long as that of this many bytes.
    Bytes(usize),
    /// Anything.
    Any,
}

fn expect(text: &str) -> Result<Expect, String> {
    match text {
        "echo" => Ok(Expect::Echo),
        "any" => Ok(Expect::Any),
        _ => body(text).map(Expect::Bytes),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("expected name=value".into()),
    }
}

/// `10s`, `500ms`, `250us`, `2m`, `1h`.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" => return Err("a unit is missing: 10s, 500ms, 250us, 2m, 1h".into()),
        unit => return Err(format!("{unit:?} is no unit of time; there are us, ms, s, m, h")),
    };
    let number = number::<f64>(digits)?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| format!("{number} is no length of time"))
}

fn pause(text: &str) -> Result<Duration, String> {
    within(time(text)?, Duration::ZERO, DAY)
}

fn duration(text: &str) -> Result<Duration, String> {
    within(time(text)?, Duration::from_millis(1), DAY)
}

fn body(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.trim_end_matches("ib");
    let (digits, factor) = match (lower.strip_suffix('k'), lower.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1 << 10),
        (_, Some(digits)) => (digits, 1 << 20),
        _ => (lower, 1),
    };
    within(number::<usize>(digits)?.saturating_mul(factor), 0, MAX_BODY)
}

fn connections(text: &str) -> Result<usize, String> {
    within(number(text)?, 1, MAX_CONNECTIONS)
}

fn outstanding(text: &str) -> Result<usize, String> {
    within(number(text)?, 1, MAX_OUTSTANDING)
}

fn threads(text: &str) -> Result<usize, String> {
    within(number(text)?, 1, MAX_THREADS)
}

fn rate(text: &str) -> Result<f64, String> {
    within(number(text)?, 0.001, MAX_RATE)
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.replace([',', '_'], "").parse().map_err(|_| format!("{text:?} is no number that fits here"))
}

fn within<T: PartialOrd + std::fmt::Debug>(value: T, least: T, most: T) -> Result<T, String> {
    if value >= least && value <= most {
        Ok(value)
    } else {
        Err(format!("must be from {least:?} to {most:?}"))
    }
}

/// Why a run is not possible.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{0}")]
    Call(#[from] dialect::CallError),
    #[error(
        "{connections} connections with {outstanding} requests each are more than {MAX_IN_FLIGHT} in flight"
    )]
    TooMuchInFlight { connections: usize, outstanding: usize },
    #[error(
        "{connections} connections need {need} file descriptors and the limit is {limit}: \
         raise it (`ulimit -n`), or use fewer"
    )]
    Descriptors { connections: usize, need: u64, limit: u64 },
    #[error("cannot resolve {target:?}: {reason}")]
    Resolve { target: String, reason: String },
    #[error("cannot connect to {target} (connection {number} of {of}): {source}")]
    Connect { target: SocketAddr, number: usize, of: usize, source: std::io::Error },
    #[error("{0}")]
    Listen(#[from] mosn_net::SocketError),
    #[error("cannot write {path}: {source}")]
    Json { path: PathBuf, source: std::io::Error },
    #[error("a thread ended early: {0}")]
    Thread(String),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
}

impl RunError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// A number with commas.
pub(crate) fn grouped(number: impl Display) -> String {
    let text = number.to_string();
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::with_capacity(text.len() + text.len() / 3);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn load(line: &str) -> Result<LoadArgs, String> {
        let words = format!("bench load {line}");
        match Cli::try_parse_from(words.split(' ')) {
            Ok(Cli { args: Args { command: Command::Load(args) } }) => Ok(args),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn times_and_sizes_have_units() {
        let args =
            load("bolt --target a:1 --duration 1.5s --warmup 250ms --body 4k --timeout 2m -r 8_000").unwrap();
        assert_eq!(args.duration, Duration::from_millis(1500));
        assert_eq!(args.warmup, Duration::from_millis(250));
        assert_eq!(args.timeout, Duration::from_secs(120));
        assert_eq!((args.body, args.rate), (4096, Some(8000.0)));
        assert_eq!(body("1MiB"), Ok(1 << 20));
        assert_eq!(expect("10"), Ok(Expect::Bytes(10)));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_bounds() {
        for (line, words) in [
            ("bolt --target a:1 -c 0", "from 1 to 60000"),
            ("bolt --target a:1 -n 70000", "from 1 to 65536"),
            ("bolt --target a:1 -d 25h", "to 86400s"),
            ("bolt --target a:1 -d 10", "a unit is missing"),
            ("bolt --target a:1 -d 10d", "there are us, ms, s, m, h"),
            ("bolt --target a:1 --body 64m", "from 0 to 66060288"),
            ("bolt --target a:1 --rate 0", "from 0.001"),
            ("bolt --target a:1 --rate nan", "from 0.001"),
            ("bolt --target a:1 --header x", "expected name=value"),
            ("http --target a:1", "bolt, boltv2, dubbo, dubbo-thrift, tars"),
        ] {
            let error = load(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1234567), "1,234,567");
        assert_eq!(grouped("1234.5"), "1,234.5");
    }
}
