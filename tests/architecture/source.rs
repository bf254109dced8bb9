//! A file of `src/`, and the paths that its code names. Text is all that is looked at: no macro is expanded, and calls of methods name
//! no path.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One file of `src/`.
pub struct Source {
    /// The path within `src/`, with `/`.
    pub path: String,
    /// The text with its comments.
    pub text: String,
    /// The text without its comments.
    pub code: String,
}

/// A path as it is written, from `crate` on: `["guard", "gate", "Gate"]`.
pub type Names = Vec<String>;

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), code: without_comments(text), text: text.to_owned() }
    }

    /// The module at the top level: `session`, `site`, `main`.
    pub fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// The module that the file is, from `crate` on.
    pub fn module(&self) -> Names {
        let path = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').filter(|name| *name != "lib").map(str::to_owned).collect()
    }

    pub fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }

    /// The code without the tests at its end.
    pub fn tested_code(&self) -> &str {
        self.code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
    }

    /// The modules that it declares, each a file.
    pub fn children(&self) -> Vec<String> {
        let declared = self.code.lines().filter_map(|line| line.trim_end().strip_suffix(';')?.trim_start().strip_prefix_of_mod());
        declared.map(str::to_owned).collect()
    }

    /// Every path in `code`, which is of this file, that leads to somewhere in the crate.
    pub fn paths(&self, code: &str) -> Vec<Names> {
        let mut starts = vec!["crate".to_owned(), "self".to_owned(), "super".to_owned()];
        if self.room() == "main" {
            starts.push("tidegate".to_owned());
        }
        starts.extend(self.children());
        let mut found = Vec::new();
        for start in &starts {
            for (at, _) in code.match_indices(&format!("{start}::")) {
                let is_part = code[..at].ends_with(|c: char| c.is_alphanumeric() || "_$:".contains(c));
                if !is_part {
                    found.extend(tree(&code[at..]).into_iter().filter_map(|(names, _)| self.absolute(names)));
                }
            }
        }
        found
    }

    /// The names that its `use` lines bring in, each with its path.
    pub fn imports(&self) -> BTreeMap<String, Names> {
        let uses = uses(self.tested_code());
        let named = uses.iter().flat_map(|(_, _, path)| tree(path));
        named.filter_map(|(names, alias)| Some((alias, self.absolute(names)?))).collect()
    }

    /// Its code without the lines that only export what its own children have, and what those lines export, by name.
    pub fn exports(&self) -> (String, BTreeMap<String, Names>) {
        let (mut rest, mut exported) = (String::new(), BTreeMap::new());
        let code = self.tested_code();
        let children = self.children();
        let mut end = 0;
        for (from, is_public, path) in uses(code) {
            let first = path.trim_start_matches("self::").split("::").next().unwrap_or_default();
            if is_public && children.iter().any(|child| child == first) {
                rest.push_str(&code[end..from]);
                end = from + code[from..].find(';').map_or(0, |at| at + 1);
                exported.extend(tree(path).into_iter().filter_map(|(names, alias)| Some((alias, self.absolute(names)?))));
            }
        }
        rest.push_str(&code[end..]);
        (rest, exported)
    }

    /// The same path from `crate` on, unless it leads out of it.
    fn absolute(&self, names: Names) -> Option<Names> {
        let mut base = if ["crate", "tidegate"].contains(&names[0].as_str()) { Vec::new() } else { self.module() };
        let mut names = names.into_iter().peekable();
        while let Some(name) = names.next_if(|name| ["crate", "tidegate", "self", "super"].contains(&name.as_str())) {
            if name == "super" {
                base.pop()?;
            }
        }
        base.extend(names);
        Some(base)
    }
}

trait Declaration {
    fn strip_prefix_of_mod(&self) -> Option<&str>;
}

impl Declaration for str {
    /// `name` of `mod name`, `pub mod name` and `pub(crate) mod name`.
    fn strip_prefix_of_mod(&self) -> Option<&str> {
        let (visibility, name) = self.split_once("mod ")?;
        let is_declaration = visibility.is_empty() || visibility.starts_with("pub") && visibility.ends_with(' ');
        is_declaration.then_some(name.trim())
    }
}

/// The `use` lines of some code: where each begins, whether it is public, and its path.
fn uses(code: &str) -> Vec<(usize, bool, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in code.split_inclusive('\n') {
        let (visibility, path) = line.split_once("use ").unwrap_or((line, ""));
        let is_public = visibility.starts_with("pub");
        if !path.is_empty() && (visibility.is_empty() || is_public && visibility.ends_with(' ')) {
            let from = at + visibility.len() + "use ".len();
            found.push((at, is_public, code[from..].split(';').next().unwrap_or_default()));
        }
        at += line.len();
    }
    found
}

/// The paths of what a path or a `use` line begins with, and the name by which each is known: `a::b::{c, d as e}` has `a::b::c` and
/// `a::b::d`, the latter known as `e`.
fn tree(text: &str) -> Vec<(Names, String)> {
    fn branch(rest: &mut &str, before: &[String], found: &mut Vec<(Names, String)>) {
        let mut names = before.to_vec();
        loop {
            *rest = rest.trim_start();
            if let Some(group) = rest.strip_prefix('{') {
                *rest = group;
                loop {
                    *rest = rest.trim_start();
                    let Some(next) = rest.chars().next() else { return };
                    match next {
                        '}' => {
                            *rest = &rest[1..];
                            return;
                        }
                        ',' => *rest = &rest[1..],
                        c if c.is_alphanumeric() || c == '_' || c == '{' => branch(rest, &names, found),
                        _ => return,
                    }
                }
            }
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            if length > 0 {
                names.push(rest[..length].to_owned());
                *rest = &rest[length..];
            }
            match rest.strip_prefix("::") {
                Some(more) if length > 0 && more.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '{') => *rest = more,
                _ => break,
            }
        }
        // `{self}` stands for what is before it.
        if names.len() > before.len().max(1) && names.last().is_some_and(|name| name == "self") {
            names.pop();
        }
        let alias = rest.trim_start().strip_prefix("as ").map(|alias| {
            let length = alias.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(alias.len());
            *rest = &alias[length..];
            alias[..length].to_owned()
        });
        let known = alias.or_else(|| names.last().cloned());
        if let Some(known) = known {
            found.push((names, known));
        }
    }
    let (mut rest, mut found) = (text, Vec::new());
    branch(&mut rest, &[], &mut found);
    found
}

/// Line comments only: the code has no others.
fn without_comments(text: &str) -> String {
    let code = |line: &str| line.find("//").map_or(line, |at| &line[..at]).to_owned() + "\n";
    text.lines().map(code).collect()
}

pub fn sources() -> Vec<Source> {
    fn walk(directory: &Path, prefix: &str, found: &mut Vec<Source>) {
        for entry in fs::read_dir(directory).expect("src").map(Result::unwrap) {
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{path}/"), found);
            } else if path.ends_with(".rs") {
                found.push(Source::new(&path, &fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 50, "only {} files", found.len());
    found
}
