//! What the README lists is what the program has: configuration keys and their defaults, reasons, options, `make` targets.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use tidegate::config;
use tidegate::observe::reason::Reason;

const BEGIN: &str = "<!-- reference: begin -->\n";
const END: &str = "<!-- reference: end -->\n";

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

/// The rows of the table that stands below this line.
fn table<'a>(text: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let start = text.find(head).unwrap_or_else(|| panic!("no table {head:?}"));
    let lines = text[start..].lines().take_while(|line| line.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect()).collect()
}

/// The words that follow `start`, each as far as it goes.
fn words<'a>(text: &'a str, start: &'a str) -> BTreeSet<&'a str> {
    let end = |word: &str| word.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(word.len());
    text.match_indices(start)
        .map(|(at, _)| &text[at + start.len()..])
        .map(|word| &word[..end(word)])
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn the_reference_is_the_schema() {
    let readme = read("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("where the reference begins");
    let (reference, after) = rest.split_once(END).expect("where it ends");
    if reference == config::reference() {
        return;
    }
    if std::env::var_os("UPDATE_README").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        std::fs::write(path, [before, BEGIN, &config::reference(), END, after].concat()).unwrap();
        return;
    }
    let new = config::reference();
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (reference.lines().collect(), new.lines().collect());
    let lines = old.difference(&new).map(|line| format!("- {line}")).chain(new.difference(&old).map(|line| format!("+ {line}")));
    panic!(
        "README.md's reference is not that of the schema; to rewrite it: UPDATE_README=1 cargo test --test readme\n{}",
        lines.collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn the_defaults_are_those_of_the_schema() {
    let readme = read("README.md");
    let rows = config::rows();
    for row in table(&readme, "| key | default | so |") {
        let known = rows.iter().find(|known| known.key == row[0]).unwrap_or_else(|| panic!("no key {}", row[0]));
        assert_eq!(known.default, row[1], "{}", row[0]);
    }
}

#[test]
fn every_reason_is_explained() {
    let readme = read("README.md");
    let explained: Vec<_> = table(&readme, "| reason | status | cause |").iter().map(|row| format!("{} {}", row[1], row[0])).collect();
    let known: Vec<_> = Reason::ALL.iter().map(|reason| format!("{} {}", reason.status(), reason.name())).collect();
    assert_eq!(explained, known);
}

#[test]
fn every_option_is_listed() {
    let help = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("--help").output().expect("--help");
    let help = String::from_utf8(help.stdout).unwrap();
    let readme = read("README.md");
    let (_, usage) = readme.split_once("## Command line").unwrap();
    let (listed, known) = (words(usage, "--"), words(&help, " --"));
    assert!(known.len() > 5, "{help}");
    assert_eq!(known.difference(&listed).collect::<Vec<_>>(), [&""; 0], "options that the README does not list");
}

#[test]
fn every_variable_is_listed() {
    let readme = read("README.md");
    let listed: String = table(&readme, "| variable | key |").concat().concat();
    let source = read("src/config/env.rs");
    let known =
        source.split('"').skip(1).step_by(2).filter(|text| text.contains('_') && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
    // These are the names that other programs have for it.
    let missing: Vec<_> = known.filter(|name| !name.starts_with("DEVPROXY_") && !listed.contains(name)).collect();
    assert!(missing.is_empty(), "README.md does not list {missing:?}");
}

#[test]
fn every_target_of_make_exists() {
    let (readme, makefile) = (read("README.md"), read("Makefile"));
    for target in words(&readme, "$ make ") {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
    }
}

#[test]
fn its_configurations_are_good() {
    let readme = read("README.md");
    let examples = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut count = 0;
    for example in examples.chain([read("config.yaml").as_str()]) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.yaml"), example).unwrap();
        let loaded = config::load(config::Sources { cwd: directory.path().to_owned(), ..config::Sources::default() });
        let warnings = loaded.unwrap_or_else(|problems| panic!("{problems}\n{example}")).warnings;
        assert_eq!(warnings, [""; 0], "{example}");
        count += 1;
    }
    assert!(count > 2);
}
