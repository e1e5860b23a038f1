use std::{sync::Arc, time::SystemTime};

use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter, span, subscriber::Interest};

use super::{handle::Logs, line::Line};

/// Target of messages about the start, which go to the standard error stream whatever the
/// configuration says: `tracing::info!(target: mosn_telemetry::STARTUP, ...)`.
pub const STARTUP: &str = "startup";

/// The error log as a `tracing` subscriber. Events become lines; spans are not kept.
///
/// Events of other crates (targets that do not start with `mosn`) are taken as warnings and errors
/// only, unless everything is asked for (`TRACE`).
#[derive(Debug)]
pub struct ErrorLog(pub(super) Arc<Logs>);

impl Subscriber for ErrorLog {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if !metadata.is_event() {
            return false;
        }
        let level = self.0.logger(metadata.target()).level();
        let ours = metadata.target().starts_with("mosn") || metadata.target() == STARTUP;
        let limit = if ours || level >= LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
        *metadata.level() <= limit
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.max_level())
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let logger = self.0.logger(metadata.target());
        if !logger.is_enabled() {
            return;
        }
        let line = Line::of(event);
        if logger.is_fatal_only() && !line.is_fatal() {
            return;
        }
        let mut out = Vec::with_capacity(256);
        line.write(*metadata.level(), SystemTime::now(), &mut out);
        logger.send(out);
        if line.is_fatal() && *metadata.level() == Level::ERROR {
            self.0.flush();
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // Never reached for our spans, which are not enabled; the id means nothing.
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
