//! Diagnostics: the front of the `log` facade. It checks the level, makes one escaped line of each record and hands it to the
//! writer thread; it writes nothing itself, waits for nobody and cannot panic.
//!
//! simple_logger gave the look (`time LEVEL target: message`) but is not used: its formatting cannot be had without its writing,
//! which blocks the thread that logs, panics when standard error's reader is gone, and leaves newlines as they are.

use super::shared::Shared;
use super::writer::Writer;
use log::{LevelFilter, Log, Metadata, Record, SetLoggerError};
use std::sync::{Arc, OnceLock};

static FRONT: OnceLock<Front> = OnceLock::new();

/// Makes this writer the process's logger. Once in a process.
pub fn init(level: LevelFilter, writer: &Writer) -> Result<(), SetLoggerError> {
    log::set_logger(FRONT.get_or_init(|| Front { shared: writer.shared() }))?;
    set_level(level);
    Ok(())
}

/// Changes the level, for every thread at once.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// One line to standard error at any level, after the diagnostics before it; if `error_log` is a file, to that as well.
pub fn announce(line: &str) {
    if let Some(front) = FRONT.get() {
        front.shared.announce(format_args!("{line}"));
    }
}

struct Front {
    shared: Arc<Shared>,
}

impl Log for Front {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.shared.diagnose(record.level(), record.target(), *record.args());
        }
    }

    /// Nothing to do: the writer holds nothing back.
    fn flush(&self) {}
}
