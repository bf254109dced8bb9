//! How the program ends when it serves nothing.

use crate::config::Problems;
use std::io::Write;
use std::process::ExitCode;

/// How a program ends that does not run.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// The exit status: 0, or 2 for wrong usage or a wrong configuration.
    pub code: u8,
    /// Text for standard output.
    pub stdout: String,
    /// Text for standard error.
    pub stderr: String,
}

impl End {
    /// Prints the texts. Errors in printing are ignored, as the reader may have gone away.
    pub fn report(&self) -> ExitCode {
        let _ = std::io::stdout().write_all(self.stdout.as_bytes());
        let _ = std::io::stderr().write_all(self.stderr.as_bytes());
        ExitCode::from(self.code)
    }

    /// Success, with this on standard output.
    pub(super) fn good(stdout: impl Into<String>) -> Self {
        Self { code: 0, stdout: stdout.into(), stderr: String::new() }
    }

    /// Wrong usage or a wrong configuration, with this on standard error.
    pub(super) fn bad(message: impl std::fmt::Display) -> Self {
        Self { code: 2, stdout: String::new(), stderr: format!("{message}\n") }
    }
}

impl From<Problems> for End {
    fn from(problems: Problems) -> Self {
        Self::bad(problems)
    }
}
