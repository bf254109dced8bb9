//! A function does one thing, and what asks a question changes nothing.

use super::assert_none;
use super::names::REBUILT;
use super::source::{Source, sources};

/// A function with more lines than this usually does two things.
const MAX_LINES: usize = 60;

/// Functions that may be longer, and why: the file, the name, the reason.
const TABLES: &[(&str, &str, &str)] = &[];

/// How the names of questions begin.
const QUESTIONS: &[&str] = &["is", "are", "was", "has", "have", "had", "may", "can", "must", "wants", "needs", "gets", "takes", "lets"];

/// What changes something, although it takes no `&mut`.
const CHANGES: &[&str] = &[".store(", ".swap(", ".fetch_", ".compare_exchange", ".replace(", ".set("];

struct Function<'a> {
    name: &'a str,
    /// The number of its first line, from 1.
    line: usize,
    /// Everything up to its body, with the attributes left out.
    signature: String,
    lines: Vec<&'a str>,
}

/// The functions of a formatted file: one ends at the brace that is indented as its beginning is.
fn functions(code: &str) -> Vec<Function<'_>> {
    let all: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (number, line) in all.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub") || matches!(*word, "const" | "async"));
        if words.next() != Some("fn") {
            continue;
        }
        let name = words.next().unwrap_or_default().split(['(', '<']).next().unwrap_or_default();
        let is_over = |line: &str| {
            line.len() - line.trim_start().len() == indent && (line.trim_end().ends_with('}') || line.trim_end().ends_with(';'))
        };
        let length = all[number..].iter().position(|line| is_over(line)).map_or(1, |last| last + 1);
        let lines = all[number..number + length].to_vec();
        let signature = lines.join(" ").split(" {").next().unwrap_or_default().to_owned();
        found.push(Function { name, line: number + 1, signature, lines });
    }
    found
}

fn in_the_program() -> Vec<Source> {
    sources().into_iter().filter(|source| !source.is_test() && !REBUILT.contains(&source.room())).collect()
}

#[test]
fn functions_end_in_time() {
    let mut wrong = Vec::new();
    let mut needed = Vec::new();
    for source in &in_the_program() {
        for function in functions(source.tested_code()).iter().filter(|function| function.lines.len() > MAX_LINES) {
            match TABLES.iter().find(|(path, name, _)| *path == source.path && *name == function.name) {
                Some(table) => needed.push(table),
                None => wrong.push(format!("src/{}:{}: {} has {} lines", source.path, function.line, function.name, function.lines.len())),
            }
        }
    }
    let idle = TABLES.iter().filter(|table| !needed.contains(table));
    wrong.extend(idle.map(|(path, name, _)| format!("the exception for {name} in {path} is not needed any more")));
    assert_none(&wrong);
}

#[test]
fn what_asks_changes_nothing() {
    let mut wrong = Vec::new();
    for source in &in_the_program() {
        for function in functions(source.tested_code()) {
            let asks = function.name.split('_').next().is_some_and(|word| QUESTIONS.contains(&word)) && function.name.contains('_');
            let body = function.lines.join("\n");
            let changes = function.signature.contains("&mut") || CHANGES.iter().any(|call| body.contains(call));
            if asks && changes {
                wrong.push(format!("src/{}:{}: {} asks, and changes something", source.path, function.line, function.name));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_reader_of_functions_reads_them_all() {
    let code = "pub(super) fn a<T>(\n    x: u8,\n) -> bool {\n    x > 1\n}\n\nfn b() {}\ntrait C {\n    fn d(&self);\n    const fn e() -> u8 {\n        1\n    }\n}\n";
    let read: Vec<String> = functions(code).iter().map(|f| format!("{}:{}:{}", f.line, f.name, f.lines.len())).collect();
    assert_eq!(read.join(" "), "1:a:5 7:b:1 9:d:1 10:e:3");
    assert_eq!(functions(code)[0].signature, "pub(super) fn a<T>(     x: u8, ) -> bool");
}
