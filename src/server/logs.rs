//! The configuration's words for logs, in the words of the observing room.

use crate::config::model::{AccessFormat, Logging, Target};
use crate::observe::access::Format;
use crate::observe::writer::{self, Rotate, Settings};

/// Settings of the writer thread.
pub(super) fn settings(logging: &Logging) -> Settings {
    let target = |target: &Target, standard| match target {
        Target::Standard => standard,
        Target::File(path) => writer::Target::File(path.clone()),
    };
    Settings {
        access: logging.access_log.as_ref().map(|log| target(log, writer::Target::StandardOutput)),
        format: match logging.access_format {
            AccessFormat::Text => Format::Text,
            AccessFormat::Combined => Format::Combined,
            AccessFormat::Json => Format::Json,
        },
        errors: target(&logging.error_log, writer::Target::StandardError),
        rotate: Rotate { max_bytes: logging.rotate.max_bytes, keep: logging.rotate.keep },
    }
}
