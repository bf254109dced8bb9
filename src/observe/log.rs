//! Diagnostics: the implementation of the `log` facade. It checks the level, makes one escaped line of each record and hands it to
//! the writer thread. It writes nothing itself, never waits and cannot panic.
//!
//! The format is simple_logger's (`time LEVEL target: message`), but that crate is not used while serving: it blocks the thread
//! that logs, panics when the reader of standard error is gone, and leaves newlines unescaped.

use super::quiet::HeldWarning;
use super::shared::SharedLogs;
use super::writer::Writer;
use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};
use std::sync::{Arc, OnceLock};

static FRONT: OnceLock<LogFacade> = OnceLock::new();

/// Makes this writer the process's logger. May be called once in a process.
pub fn init(level: LevelFilter, writer: &Writer) -> Result<(), SetLoggerError> {
    log::set_logger(FRONT.get_or_init(|| LogFacade { shared: writer.shared() }))?;
    set_level(level);
    Ok(())
}

/// Changes the level, for every thread at once.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Writes one line to standard error at any level, after the diagnostics before it; if `error_log` is a file, also to that.
pub fn announce(line: &str) {
    if let Some(front) = FRONT.get() {
        front.shared.announce(format_args!("{line}"));
    }
}

/// Holds a warning back until its pause is over, if warnings are logged.
pub fn hold(held: impl FnOnce() -> HeldWarning) {
    if let Some(front) = FRONT.get().filter(|_| log::log_enabled!(log::Level::Warn)) {
        front.shared.hold(held());
    }
}

/// Logs all warnings that are held back.
pub fn tell_held() {
    if let Some(front) = FRONT.get() {
        front.shared.tell_held(None);
    }
}

struct LogFacade {
    shared: Arc<SharedLogs>,
}

impl Log for LogFacade {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.shared.diagnose(record.level(), record.target(), *record.args());
        }
    }

    /// Nothing to do: nothing is held back here.
    fn flush(&self) {}
}
