//! Logs.

use std::path::PathBuf;

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    pub level: log::LevelFilter,
    /// `None` turns it off.
    pub access_log: Option<LogTarget>,
    /// The target of diagnostics.
    pub error_log: LogTarget,
    pub access_format: AccessFormat,
    /// When files are rotated; `None` leaves that to another program.
    pub rotate: Option<RotateConfig>,
}

/// Where lines go. Paths are already joined with `logging.dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// `-`: standard output for the access log, standard error for diagnostics.
    Standard,
    File(PathBuf),
}

/// The access log's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    Text,
    Combined,
    Json,
}

/// Rotation by size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotateConfig {
    pub max_bytes: u64,
    pub keep: u32,
}
