//! Translates the configuration of logs into the writer's settings.

use crate::config::model::{AccessFormat, LogTarget, Logging};
use crate::observe::access::Format;
use crate::observe::writer::{self, LogSettings, Rotation};
use std::path::Path;

/// The settings of the writer thread.
pub(super) fn settings(logging: &Logging) -> LogSettings {
    LogSettings {
        access: logging.access_log.as_ref().map(|log| target(log, writer::SinkTarget::StandardOutput)),
        format: match logging.access_format {
            AccessFormat::Text => Format::Text,
            AccessFormat::Combined => Format::Combined,
            AccessFormat::Json => Format::Json,
        },
        errors: target(&logging.error_log, writer::SinkTarget::StandardError),
        rotate: logging.rotate.map(|rotate| Rotation { max_bytes: rotate.max_bytes, keep: rotate.keep }),
    }
}

/// A path to standard output or error does not open it a second time: where it is a file, two positions would overwrite each other,
/// and where it is a socket, opening fails.
fn target(target: &LogTarget, standard: writer::SinkTarget) -> writer::SinkTarget {
    match target {
        LogTarget::Standard => standard,
        LogTarget::File(path) if path == Path::new("/dev/stdout") => writer::SinkTarget::StandardOutput,
        LogTarget::File(path) if path == Path::new("/dev/stderr") => writer::SinkTarget::StandardError,
        LogTarget::File(path) => writer::SinkTarget::File(path.clone()),
    }
}
