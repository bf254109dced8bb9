//! Diagnostics of commands that serve nothing. They go to standard error at once, through simple_logger: nothing else happens
//! meanwhile, so that blocking is right.

use super::escape::Message;
use log::{LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Logs warnings and errors to standard error from now on. A second call has no effect.
pub fn init() {
    let plain = Plain(SimpleLogger::new().with_level(LevelFilter::Warn).with_utc_timestamps());
    if log::set_boxed_logger(Box::new(plain)).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

struct Plain(SimpleLogger);

impl Log for Plain {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let mut text = Vec::new();
        // Writing to a `Vec` cannot fail.
        let _ = write!(Message(&mut text), "{}", record.args());
        let text = String::from_utf8_lossy(&text);
        // simple_logger panics when nobody reads standard error, which must not change how the command ends.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            self.0.log(&Record::builder().level(record.level()).target(record.target()).args(format_args!("{text}")).build());
        }));
    }

    fn flush(&self) {}
}
