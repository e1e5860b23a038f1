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
        let payload = info.payload();
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("a value that is no text");
        let place = info.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
        tracing::error!(alert = "mosn.proxy.panic", "panic in thread {name} at {place}: {message}");
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            for frame in backtrace.to_string().lines() {
                tracing::error!("{frame}");
            }
        }
        logs.flush();
    }));
}
