//! What can be set up only once in a process: the subscriber and the panic hook.

use mosn_config::model::{LogOutput, ServerSpec};
use mosn_telemetry::{LogError, init, install_panic_hook};

#[test]
fn panics_are_in_the_error_log_before_their_thread_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mosn.log");
    let spec = ServerSpec { log_path: LogOutput::File(path.clone()), ..ServerSpec::default() };
    let logs = init(&spec).unwrap();
    assert!(matches!(init(&spec), Err(LogError::AlreadyInstalled)));
    install_panic_hook(&logs);

    for (name, text) in
        [("one", "a literal"), ("two", "a formatted\n2"), ("three", "a value that is no text")]
    {
        let work = move || match name {
            "one" => panic!("a literal"),
            "two" => panic!("a formatted\n{}", 2),
            _ => std::panic::panic_any(3),
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(work).unwrap();
        assert!(thread.join().is_err());
        let log = std::fs::read_to_string(&path).unwrap();
        let line = format!(
            "[ERROR] [mosn.proxy.panic] panic in thread {name} at crates/telemetry/tests/process.rs:"
        );
        let line = log.lines().find(|found| found.contains(&line)).unwrap_or_else(|| panic!("{line}\n{log}"));
        assert!(line.ends_with(&text.replace('\n', "\\x0a")), "{line}");
    }
}
