//! What is wrong with a configuration, and what is merely worth saying: collected while every source is checked, put into the
//! order of the file at the end.

use std::collections::HashSet;
use std::fmt;

use super::file;
use super::schema::Key;
use super::tree::{Node, Path, Place};

/// Every problem of a configuration, one a line, in the order of the file; then those of the environment and the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// Something that stands alone.
    pub fn one(message: impl Into<String>) -> Self {
        Self(vec![message.into()])
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

/// A finding and its place.
#[derive(Debug)]
struct Finding {
    place: Place,
    path: Path,
    message: String,
}

/// Collects findings.
#[derive(Debug, Default)]
pub struct Report {
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
    /// Keys that were said to have no effect; one warning each is enough.
    without_effect: HashSet<(&'static str, &'static str)>,
}

impl Report {
    pub fn error(&mut self, node: &Node, message: impl Into<String>) {
        self.error_at(&node.place, &node.path, message);
    }

    pub fn error_at(&mut self, place: &Place, path: &Path, message: impl Into<String>) {
        self.problems.push(Finding { place: place.clone(), path: path.clone(), message: message.into() });
    }

    pub fn warn(&mut self, node: &Node, message: impl Into<String>) {
        self.warn_at(&node.place, &node.path, message);
    }

    pub fn warn_at(&mut self, place: &Place, path: &Path, message: impl Into<String>) {
        self.warnings.push(Finding { place: place.clone(), path: path.clone(), message: message.into() });
    }

    /// `key` was set, and its function is not built.
    pub fn no_effect_yet(&mut self, key: &'static Key, place: &Place, path: &Path) {
        if self.without_effect.insert((key.name, key.doc)) {
            self.warn_at(place, path, "has no effect yet");
        }
    }

    /// The warnings, or the problems if there are any, as lines. `source` is the file's name and text.
    pub fn finish(self, source: Option<(&str, &str)>) -> Result<Vec<String>, Problems> {
        let problems = lines(self.problems, source);
        if problems.is_empty() { Ok(lines(self.warnings, source)) } else { Err(Problems(problems)) }
    }
}

fn lines(mut findings: Vec<Finding>, source: Option<(&str, &str)>) -> Vec<String> {
    /// More helps nobody, and bounds the second walks below.
    const MAX_LINES: usize = 200;
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    let more = findings.len().saturating_sub(MAX_LINES);
    findings.truncate(MAX_LINES);
    for finding in &mut findings {
        if let (Place::File { container: Some(number), .. }, Some((_, text))) = (&finding.place, source)
            && let Some((line, column)) = file::place_of_container(text, *number)
        {
            finding.place = Place::File { line, column, container: None };
        }
    }
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    let name = source.map_or("configuration", |(name, _)| name);
    let mut lines: Vec<String> = findings.into_iter().map(|finding| finding.line(name)).collect();
    lines.dedup();
    if more > 0 {
        lines.push(format!("{name}: and {more} more"));
    }
    lines
}

impl Finding {
    fn line(&self, file: &str) -> String {
        let Self { place, path, message } = self;
        let colon = if path.is_root() { "" } else { ": " };
        match place {
            Place::File { line, column, .. } => format!("{file}:{line}:{column}: {path}{colon}{message}"),
            Place::Named(name) => format!("{name}: {path}{colon}{message}"),
            Place::Nowhere => format!("{path}{colon}{message}"),
        }
    }
}
