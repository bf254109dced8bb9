//! What is configured of the logs.

use super::access::Format;
use super::file::Rotation;
use super::sink::SinkTarget;

/// The settings of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `None` turns the access log off.
    pub access: Option<SinkTarget>,
    /// The format of the access log.
    pub format: Format,
    /// The target of diagnostics.
    pub errors: SinkTarget,
    /// Rotation of both, where they are files; `None` leaves it to another program.
    pub rotate: Option<Rotation>,
}
