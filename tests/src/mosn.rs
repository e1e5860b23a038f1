use std::{
    collections::HashMap,
    fs::{self, File},
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Client, Fields, PATIENCE, Reply, Request, Wire, free_port, until};

/// How often a start is repeated whose ports another process took.
const STARTS: usize = 5;

/// A running proxy. It is killed when this is dropped.
#[derive(Debug)]
pub struct Mosn {
    child: Child,
    folder: TempDir,
    /// Listeners by name, and the admin API as `admin`.
    ports: HashMap<String, u16>,
    protocols: HashMap<String, String>,
    exited: Option<ExitStatus>,
}

/// What a command printed, and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a command of the binary to its end.
///
/// # Panics
/// When it cannot be run, or does not end.
#[must_use]
#[track_caller]
pub fn run(program: impl AsRef<Path>, arguments: &[&str]) -> Output {
    let folder = TempDir::new().expect("a folder");
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let create = |path: &PathBuf| File::create(path).expect("a file");
    let mut child = Command::new(program.as_ref())
        .args(arguments)
        .current_dir(folder.path())
        .env_remove("MOSN_CONFIG")
        .stdin(Stdio::null())
        .stdout(create(&out))
        .stderr(create(&err))
        .spawn()
        .expect("a process");
    let status = ended(&mut child);
    Output { code: status.code().unwrap_or(-1), out: read(&out), err: read(&err) }
}

/// Sends a signal to a process that the test started.
///
/// # Panics
/// When it is gone.
#[track_caller]
pub fn send(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process id");
    kill_process(pid, signal).expect("a running process");
}

#[track_caller]
fn ended(child: &mut Child) -> ExitStatus {
    let start = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if start.elapsed() > PATIENCE {
            // Nothing more can be done about it.
            let _ = child.kill();
            panic!("process {} does not end", child.id());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl Mosn {
    /// Runs `document`, whose ports that are 0 are replaced by free ones, from `<folder>/conf/mosn.json`.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    #[track_caller]
    pub fn start(program: &Path, document: &Value, flags: &[&str]) -> Self {
        for attempt in 1.. {
            let mut mosn = Self::spawn(program, document.clone(), flags);
            if mosn.listens() {
                return mosn;
            }
            let said = format!("{}{}", mosn.output(), mosn.error_log());
            let taken = said.to_lowercase().contains("in use");
            assert!(taken && attempt < STARTS, "mosn did not start:\n{said}");
        }
        unreachable!("the last attempt ends the test")
    }

    fn spawn(program: &Path, mut document: Value, flags: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut ports = HashMap::new();
        give_ports(&mut document, &mut ports);
        let path = folder.path().join("conf").join("mosn.json");
        fs::create_dir(folder.path().join("conf")).expect("a folder");
        let text = serde_json::to_string_pretty(&document).expect("JSON");
        File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
        let printed = File::create(folder.path().join("printed")).expect("a file");
        let child = Command::new(program)
            .arg("start")
            .arg("-c")
            .arg(&path)
            .args(flags)
            .current_dir(folder.path())
            .env_remove("MOSN_CONFIG")
            .stdin(Stdio::null())
            .stdout(printed.try_clone().expect("a descriptor"))
            .stderr(printed)
            .spawn()
            .expect("a process");
        Self { child, folder, ports, protocols: protocols(&document), exited: None }
    }

    /// Waits until every port listens. `false` = the process has ended instead.
    fn listens(&mut self) -> bool {
        until("the proxy to listen", || {
            if self.has_exited() {
                return Some(false);
            }
            // Read, not tried: a connection would be counted, and would choose a worker.
            let listening = listening_ports();
            self.ports.values().all(|port| listening.contains(port)).then_some(true)
        })
    }

    fn has_exited(&mut self) -> bool {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().expect("a child");
        }
        self.exited.is_some()
    }

    /// The address of the listener of this name, or of `admin`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn address(&self, name: &str) -> SocketAddr {
        let port = self.ports.get(name).unwrap_or_else(|| panic!("no listener {name}"));
        SocketAddr::from((Ipv4Addr::LOCALHOST, *port))
    }

    /// A new connection to this listener, in its protocol.
    #[must_use]
    #[track_caller]
    pub fn client(&self, name: &str) -> Client {
        let protocol = self.protocols.get(name).map_or("Http1", String::as_str);
        Client::connect(protocol, self.address(name))
    }

    /// A new connection to this listener, to be written by hand.
    #[must_use]
    #[track_caller]
    pub fn wire(&self, name: &str) -> Wire {
        Wire::connect(self.address(name))
    }

    /// Asks this listener on a connection of its own.
    ///
    /// # Panics
    /// When the reply does not come to its end.
    #[track_caller]
    pub fn ask(&self, name: &str, request: &Request) -> Reply {
        self.client(name).ask(request)
    }

    /// Asks the admin API.
    #[track_caller]
    pub fn admin(&self, path: &str) -> Reply {
        let request = Request { fields: Fields::from([("Connection", "close")]), ..Request::get(path) };
        Client::connect("Http1", self.address("admin")).ask(&request.to("127.0.0.1"))
    }

    /// A metric, as the admin API tells it: of the object `key`, the counter `name`.
    #[track_caller]
    pub fn metric(&self, key: &str, name: &str) -> Option<u64> {
        let stats: Value = serde_json::from_slice(&self.admin("/api/v1/stats").body).expect("JSON");
        let (kind, labels) = key.split_once('.')?;
        stats.get(kind)?.get(labels)?.get(name)?.as_str()?.parse().ok()
    }

    /// Waits until a metric has this value.
    #[track_caller]
    pub fn metric_is(&self, key: &str, name: &str, value: u64) {
        let mut last = None;
        let start = std::time::Instant::now();
        while start.elapsed() < PATIENCE {
            last = self.metric(key, name);
            if last == Some(value) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("{key} {name} is {last:?}, not {value}");
    }

    /// The folder that everything of this process lies in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("conf").join("mosn.json")
    }

    /// The lines of a listener's access log, as soon as there are `count`.
    #[must_use]
    #[track_caller]
    pub fn access_log(&self, listener: &str, count: usize) -> Vec<String> {
        let path = self.folder.path().join("logs").join(format!("{listener}_access.log"));
        until("a line in the access log", || {
            let lines: Vec<String> = read(&path).lines().map(Into::into).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// The error log so far.
    #[must_use]
    pub fn error_log(&self) -> String {
        read(&self.folder.path().join("logs").join("mosn.log"))
    }

    /// What was printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        read(&self.folder.path().join("printed"))
    }

    /// The pid file.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.folder.path().join("logs").join("mosn.pid")
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, in KiB.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    #[track_caller]
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        send(i32::try_from(self.pid()).expect("a process id"), signal);
    }

    /// Waits until the process has ended; its exit code, or -1 if a signal ended it.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn exit_code(&mut self) -> i32 {
        if self.exited.is_none() {
            self.exited = Some(ended(&mut self.child));
        }
        self.exited.and_then(|status| status.code()).unwrap_or(-1)
    }

    /// Whether the process is still there.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        !self.has_exited()
    }
}

impl Drop for Mosn {
    fn drop(&mut self) {
        if !self.has_exited() {
            // It may end by itself at this very moment.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- what mosn printed and logged\n{}{}", self.output(), self.error_log());
        }
    }
}

/// Replaces every port 0 of listeners, of the admin API and of metrics sinks.
fn give_ports(document: &mut Value, ports: &mut HashMap<String, u16>) {
    let listeners = document.pointer_mut("/servers/0/listeners").and_then(Value::as_array_mut);
    for (index, listener) in listeners.into_iter().flatten().enumerate() {
        let name = listener["name"].as_str().map_or(format!("#{index}"), Into::into);
        if let Some(host) = listener["address"].as_str().and_then(|address| address.strip_suffix(":0")) {
            let port = free_port();
            listener["address"] = format!("{host}:{port}").into();
            ports.insert(name, port);
        }
    }
    let mut give = |pointer: &str, name: &str| {
        if let Some(port) = document.pointer_mut(pointer)
            && *port == 0
        {
            let free = free_port();
            *port = free.into();
            ports.insert(name.into(), free);
        }
    };
    give("/admin/address/socket_address/port_value", "admin");
    give("/metrics/sinks/0/config/port", "prometheus");
}

fn protocols(document: &Value) -> HashMap<String, String> {
    let listeners = document.pointer("/servers/0/listeners").and_then(Value::as_array);
    listeners
        .into_iter()
        .flatten()
        .filter_map(|listener| {
            let protocol = listener.pointer("/filter_chains/0/filters/0/config/downstream_protocol")?;
            Some((listener["name"].as_str()?.into(), protocol.as_str()?.into()))
        })
        .collect()
}

/// The TCP ports that somebody listens on.
fn listening_ports() -> Vec<u16> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| read(Path::new(path)));
    tables.iter().flat_map(|table| table.lines()).filter_map(listening_port).collect()
}

/// `sl local_address:port remote_address:port state ...`, hexadecimal; 0A is listening.
fn listening_port(line: &str) -> Option<u16> {
    let mut words = line.split_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    if state != "0A" {
        return None;
    }
    u16::from_str_radix(local.rsplit(':').next()?, 16).ok()
}
