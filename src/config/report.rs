//! Problems and warnings about a configuration, collected while every source is checked, and sorted by their places in the file at
//! the end.

use std::collections::HashSet;
use std::fmt;

use super::file;
use super::schema::Key;
use super::tree::{Location, Node, Path};

/// How many problems or warnings are kept. Bounds memory and the time for suggestions, whatever the file holds.
const MAX_KEPT: usize = 1000;

/// Every problem of a configuration, one a line, in the order of the file; then those of the environment and the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// A single problem without a place. It may quote anything, as the YAML library quotes keys.
    pub fn one(message: impl Into<String>) -> Self {
        let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        Self(vec![message.into().chars().map(escape).collect()])
    }

    /// Each problem's line.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// A problem or warning, with its place.
#[derive(Debug)]
struct Finding {
    place: Location,
    path: Path,
    message: String,
}

/// Collects findings.
#[derive(Debug, Default)]
pub struct Report {
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
    /// How many problems there are beyond those that are kept.
    more: usize,
    /// Keys already reported as having no effect, so that each gets one warning.
    without_effect: HashSet<(&'static str, &'static str)>,
}

impl Report {
    /// A value is wrong.
    pub fn error(&mut self, node: &Node, message: impl Into<String>) {
        self.error_at(&node.place, &node.path, message);
    }

    /// Something is wrong at this place, at which there may be no value.
    pub fn error_at(&mut self, place: &Location, path: &Path, message: impl Into<String>) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.problems.push(Finding { place: place.clone(), path: path.clone(), message: message.into() });
        }
    }

    /// Whether there are more problems than anybody reads: further ones are only counted, without suggestions.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= MAX_KEPT
    }

    /// A value is right, and perhaps not what was meant.
    pub fn warn(&mut self, node: &Node, message: impl Into<String>) {
        self.warn_at(&node.place, &node.path, message);
    }

    /// The same at a place at which there may be no value.
    pub fn warn_at(&mut self, place: &Location, path: &Path, message: impl Into<String>) {
        if self.warnings.len() < MAX_KEPT {
            self.warnings.push(Finding { place: place.clone(), path: path.clone(), message: message.into() });
        }
    }

    /// Warns that `key` was set although its function is not implemented yet.
    pub fn no_effect_yet(&mut self, key: &'static Key, place: &Location, path: &Path) {
        if self.without_effect.insert((key.name, key.doc)) {
            self.warn_at(place, path, "has no effect yet");
        }
    }

    /// The warnings, or the problems if there are any, as lines. `source` is the file's name and text.
    pub fn finish(self, source: Option<(&str, &str)>) -> Result<Vec<String>, Problems> {
        if self.problems.is_empty() {
            return Ok(lines_of(self.warnings, source));
        }
        let mut lines = lines_of(self.problems, source);
        if self.more > 0 {
            lines.push(format!("and {} more", self.more));
        }
        Err(Problems(lines))
    }
}

fn lines_of(mut findings: Vec<Finding>, source: Option<(&str, &str)>) -> Vec<String> {
    let (name, text) = source.unwrap_or_default();
    locate(&mut findings, text);
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    let mut lines: Vec<String> = findings.into_iter().map(|finding| finding.line(name)).collect();
    lines.dedup();
    lines
}

/// Gives findings about lists and maps their exact place, by a walk over the text for each, up to a limit.
fn locate(findings: &mut [Finding], text: &str) {
    /// The limit of all walks together; beyond it, a finding keeps the place of the container's first value.
    const MAX_BYTES: usize = 16 << 20;
    let mut walks = MAX_BYTES / text.len().max(1);
    for finding in findings {
        if let Location::File { container: Some(number), .. } = finding.place
            && walks > 0
            && let Some((line, column)) = file::place_of_container(text, number)
        {
            walks -= 1;
            finding.place = Location::File { line, column, container: None };
        }
    }
}

impl Finding {
    fn line(&self, file: &str) -> String {
        let Self { place, path, message } = self;
        let colon = if path.is_root() { "" } else { ": " };
        match place {
            Location::File { line, column, .. } => format!("{file}:{line}:{column}: {path}{colon}{message}"),
            Location::Named(name) => format!("{name}: {path}{colon}{message}"),
            Location::Nowhere => format!("{path}{colon}{message}"),
        }
    }
}
