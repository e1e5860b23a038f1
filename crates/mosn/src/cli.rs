//! The command line: MOSN's flags and environment names (configuration reference 8), and ours.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// What to do.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of them")]
pub(crate) enum Command {
    QuickStart,
    Start(StartArgs),
    Check(CheckArgs),
    Stop(StopArgs),
    Bench(mosn_bench::Args),
    Version,
    Reload,
}

#[derive(Debug, Parser)]
#[command(
    name = "mosn",
    about = "A service-mesh data plane: HTTP/1.1 and HTTP/2 proxy that runs MOSN's configuration",
    long_about = "A service-mesh data plane: HTTP/1.1 and HTTP/2 proxy that runs MOSN's configuration.\n\n\
                  Without a command and without flags it runs a quick-start: real listeners and demo\n\
                  upstreams on this machine, to try things on. With flags but no command it starts, as\n\
                  Envoy does.",
    after_help = "Examples:\n  \
                  mosn                                    quick-start, nothing to configure\n  \
                  mosn start -c /etc/mosn/mosn.json       run with a configuration\n  \
                  mosn check -c /etc/mosn/mosn.json       say everything that is wrong with it\n  \
                  mosn check --strict -c mosn.yaml        unknown keys are errors, too\n  \
                  mosn bench load bolt --target HOST:PORT load an RPC service, measure the replies\n  \
                  kill -TERM $(cat logs/mosn.pid)         finish requests in flight, then stop",
    disable_version_flag = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Sub>,

    #[command(flatten)]
    start: StartArgs,

    /// Print the version
    #[arg(short = 'v', long, global = false)]
    version: bool,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of them")]
enum Sub {
    /// Run the proxy
    #[command(
        after_help = "SIGTERM finishes requests in flight and stops; SIGINT and SIGQUIT stop at once; \
                      SIGUSR1 reopens log files.\nExit codes: 0 stopped, 1 the configuration or a \
                      listener is wrong, 2 an admin or metrics port is busy."
    )]
    Start(StartArgs),
    /// Check a configuration without starting
    #[command(after_help = "Prints every problem of the file with its line and, where it can tell, what \
                            was meant.\nExit codes: 0 no errors, 1 errors.")]
    Check(CheckArgs),
    /// Stop the process that runs with this configuration
    #[command(after_help = "Finds the process by its pid file, sends SIGINT, and waits up to 10 s.")]
    Stop(StopArgs),
    /// Load an RPC service and measure it, or be one that answers
    Bench(mosn_bench::Args),
    /// Do nothing (kept for scripts)
    #[command(hide = true)]
    Reload,
    /// Print the version
    Version,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArg {
    /// The configuration file, JSON, or YAML if it ends in .yaml or .yml
    #[arg(
        short = 'c',
        long,
        env = "MOSN_CONFIG",
        value_name = "FILE",
        default_value = "configs/mosn_config.json"
    )]
    pub(crate) config: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,

    /// Unknown keys are errors instead of warnings
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArg,

    /// Feature gates, name=bool[,name=bool]
    #[arg(short = 'f', long, env = "FEATURE_GATES", value_name = "LIST", default_value = "")]
    pub(crate) feature_gates: String,

    /// The most verbose level of any log: trace, debug, info, warning, error, critical, off
    #[arg(short = 'l', long, env = "LOG_LEVEL", value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,

    /// Let the admin API change routes and clusters under /debug, as MOSN's debug builds do
    #[arg(long)]
    pub(crate) debug_api: bool,

    /// Seconds that a graceful stop waits for requests in flight
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) drain_time_s: u64,

    #[command(flatten)]
    pub(crate) mesh: MeshArgs,
}

/// Flags that say who this process is to a control plane, and flags of Envoy's that MOSN takes and
/// does not use. They are accepted so that command lines and pod templates keep working.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Accepted for compatibility, without effect in this build")]
pub(crate) struct MeshArgs {
    /// Cluster of the xDS node
    #[arg(short = 's', long, env = "SERVICE_CLUSTER", value_name = "NAME")]
    service_cluster: Option<String>,
    /// Id of the xDS node
    #[arg(short = 'n', long, env = "SERVICE_NODE", value_name = "ID")]
    service_node: Option<String>,
    /// sidecar or router
    #[arg(short = 'p', long, env = "SERVICE_TYPE", value_name = "TYPE")]
    service_type: Option<String>,
    /// Key:value metadata
    #[arg(long, alias = "sm", env = "SERVICE_META", value_delimiter = ',', value_name = "LIST")]
    service_meta: Vec<String>,
    /// key:value labels
    #[arg(long, alias = "sl", env = "SERVICE_LAB", value_delimiter = ',', value_name = "LIST")]
    service_lables: Vec<String>,
    /// DNS domain of the mesh
    #[arg(long, alias = "domain", env = "CLUSTER_DOMAIN", value_delimiter = ',', value_name = "LIST")]
    cluster_domain: Vec<String>,
    #[arg(long, alias = "pns", env = "POD_NAMESPACE", hide = true)]
    pod_namespace: Option<String>,
    #[arg(long, alias = "pn", env = "POD_NAME", hide = true)]
    pod_name: Option<String>,
    #[arg(long, alias = "pi", env = "POD_IP", hide = true)]
    pod_ip: Option<String>,
    #[arg(long, alias = "lf", hide = true)]
    log_format: Option<String>,
    #[arg(long, alias = "lc", hide = true)]
    component_log_level: Vec<String>,
    #[arg(long, hide = true)]
    local_address_ip_version: Option<String>,
    #[arg(long, hide = true)]
    restart_epoch: Option<i64>,
    #[arg(long, hide = true)]
    parent_shutdown_time_s: Option<String>,
    #[arg(long, hide = true)]
    max_obj_name_len: Option<i64>,
    #[arg(long, hide = true)]
    concurrency: Option<i64>,
    #[arg(long, hide = true)]
    log_format_prefix_with_location: Option<i64>,
    #[arg(long, hide = true)]
    bootstrap_version: Option<i64>,
    #[arg(long, hide = true)]
    drain_strategy: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    disable_hot_restart: Option<String>,
}

/// Something to show instead of doing anything.
#[derive(Debug)]
pub(crate) struct Shown(clap::Error);

impl Shown {
    pub(crate) fn exit(self) -> ExitCode {
        // A closed terminal is no reason to fail.
        let _ = self.0.print();
        ExitCode::from(u8::try_from(self.0.exit_code()).unwrap_or(2))
    }
}

/// Understands the command line.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Shown> {
    let args: Vec<OsString> = args.into_iter().enumerate().map(|(at, arg)| two_dashes(at, arg)).collect();
    let bare = args.len() <= 1;
    let cli = Cli::try_parse_from(args).map_err(Shown)?;
    Ok(match cli.command {
        Some(Sub::Start(args)) => Command::Start(args),
        Some(Sub::Check(args)) => Command::Check(args),
        Some(Sub::Stop(args)) => Command::Stop(args),
        Some(Sub::Bench(args)) => Command::Bench(args),
        Some(Sub::Reload) => Command::Reload,
        Some(Sub::Version) => Command::Version,
        None if cli.version => Command::Version,
        None if bare => Command::QuickStart,
        None => Command::Start(cli.start),
    })
}

/// MOSN takes long flags with one dash as well (`-config x`).
fn two_dashes(at: usize, arg: OsString) -> OsString {
    let Some(text) = arg.to_str() else {
        return arg;
    };
    let name = text.trim_start_matches('-');
    let dashes = text.len() - name.len();
    let word = name.split('=').next().unwrap_or_default();
    let long = word.len() > 2 || matches!(word, "sm" | "sl" | "pn" | "pi" | "lf" | "lc");
    if at > 0 && dashes == 1 && long && word.starts_with(|first: char| first.is_ascii_lowercase()) {
        format!("-{text}").into()
    } else {
        arg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Command {
        parse(line.split(' ').map(OsString::from)).unwrap()
    }

    #[test]
    fn flags_without_a_command_start() {
        assert!(matches!(parsed("mosn"), Command::QuickStart));
        let Command::Start(args) = parsed("mosn -c x.json --drain-time-s 5 --concurrency 2") else {
            panic!("not a start");
        };
        assert_eq!((args.config.config, args.drain_time_s), (PathBuf::from("x.json"), 5));
    }

    #[test]
    fn long_flags_take_one_dash_or_two_and_a_value_either_way() {
        for line in
            ["mosn start -config x", "mosn start --config x", "mosn start -config=x", "mosn start -c x"]
        {
            let Command::Start(args) = parsed(line) else {
                panic!("not a start: {line}");
            };
            assert_eq!(args.config.config, PathBuf::from("x"), "{line}");
        }
        assert!(matches!(parsed("mosn -v"), Command::Version));
        assert!(matches!(parsed("mosn --version"), Command::Version));
        assert!(matches!(parsed("mosn start -sm a:b -pn x -c y"), Command::Start(_)));
    }

    #[test]
    fn a_flag_that_does_not_exist_is_an_error() {
        let shown = parse(["mosn", "--bogus"].map(OsString::from)).unwrap_err();
        assert_eq!(shown.0.exit_code(), 2);
    }
}
