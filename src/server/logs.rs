//! Translates the configuration of logs into the writer's settings.

use crate::config::model::{AccessFormat, Logging, Target};
use crate::observe::access::Format;
use crate::observe::writer::{self, Rotate, Settings};
use std::path::Path;

/// The settings of the writer thread.
pub(super) fn settings(logging: &Logging) -> Settings {
    Settings {
        access: logging.access_log.as_ref().map(|log| target(log, writer::Target::StandardOutput)),
        format: match logging.access_format {
            AccessFormat::Text => Format::Text,
            AccessFormat::Combined => Format::Combined,
            AccessFormat::Json => Format::Json,
        },
        errors: target(&logging.error_log, writer::Target::StandardError),
        rotate: logging.rotate.map(|rotate| Rotate { max_bytes: rotate.max_bytes, keep: rotate.keep }),
    }
}

/// A path to standard output or error does not open it a second time: where it is a file, two positions would overwrite each other,
/// and where it is a socket, opening fails.
fn target(target: &Target, standard: writer::Target) -> writer::Target {
    match target {
        Target::Standard => standard,
        Target::File(path) if path == Path::new("/dev/stdout") => writer::Target::StandardOutput,
        Target::File(path) if path == Path::new("/dev/stderr") => writer::Target::StandardError,
        Target::File(path) => writer::Target::File(path.clone()),
    }
}
