use std::backtrace::{Backtrace, BacktraceStatus};

use super::LogHandle;

/// Makes panics of any thread show in the error log, under the alert key `mosn.proxy.panic`, and makes
/// sure they are written before the thread unwinds. With `RUST_BACKTRACE` set, the backtrace follows,
/// one line per frame.
pub fn install_panic_hook(logs: &LogHandle) {
    let logs = logs.clone();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let message = info.payload_as_str().unwrap_or("a value that is no text");
        match info.location() {
            Some(at) => tracing::error!(alert = "mosn.proxy.panic", "panic in thread {name} at {at}: {message}"),
            None => tracing::error!(alert = "mosn.proxy.panic", "panic in thread {name}: {message}"),
        }
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            for frame in backtrace.to_string().lines() {
                tracing::error!("{frame}");
            }
        }
        logs.flush();
    }));
}
