//! What other modules use says what it is.

use super::assert_none;
use super::source::{Source, sources};

/// Public items need a line of documentation. Fields and variants need one only where their name does not say everything.
const ITEMS: &[&str] = &["fn", "struct", "enum", "trait", "type", "const", "static", "union"];

/// Phrases that send a reader elsewhere instead of telling him.
const EMPTY: &[&str] = &["see the module", "the module says", "the module's documentation"];

/// Whether other rooms can see what is public in a file: its room shows the module, or exports something of it.
fn is_seen(source: &Source, sources: &[Source]) -> bool {
    let module = source.module();
    let Some((name, parent)) = module.split_last() else { return true };
    let Some(parent) = sources.iter().find(|source| source.module() == parent) else { return true };
    let shows = parent.code.contains(&format!("pub mod {name};")) || parent.code.contains(&format!("pub use {name}::"));
    shows && is_seen(parent, sources)
}

#[test]
fn public_items_are_documented() {
    let (sources, mut wrong) = (sources(), Vec::new());
    for source in sources.iter().filter(|source| !source.is_test() && is_seen(source, &sources)) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            if line.starts_with("mod ") && line.ends_with('{') {
                break;
            }
            let mut words = line.split_whitespace();
            let is_public = words.next() == Some("pub");
            let item = words.find(|word| !matches!(*word, "const" | "unsafe" | "async") || !line.contains(" fn ")).unwrap_or_default();
            if !is_public || !ITEMS.contains(&item) {
                continue;
            }
            let above = lines[..number].iter().rev().find(|line| !line.trim_start().starts_with("#[")).copied().unwrap_or_default();
            if !above.trim_start().starts_with("///") {
                wrong.push(format!("src/{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn comments_tell_instead_of_sending_elsewhere() {
    let mut wrong = Vec::new();
    for source in &sources() {
        for (number, line) in source.text.lines().enumerate() {
            let lower = line.to_ascii_lowercase();
            if line.trim_start().starts_with("//") && EMPTY.iter().any(|phrase| lower.contains(phrase)) {
                wrong.push(format!("src/{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert_none(&wrong);
}
