//! The documentation agrees with the program: keys and their defaults, reasons, metrics, options, variables, `make` targets,
//! configurations that work, links that lead somewhere.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tidegate::config;
use tidegate::observe::reason::Reason;

const BEGIN: &str = "<!-- reference: begin -->\n";
const END: &str = "<!-- reference: end -->\n";
const REFERENCE: &str = "docs/configuration.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).expect(name)
}

/// The files of a directory with that ending, by their names below the root.
fn files(directory: &str, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(directory)).expect(directory);
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).map(|name| format!("{directory}/{name}")).collect();
    names.sort_unstable();
    names
}

/// All pages of the documentation.
fn pages() -> Vec<String> {
    [files(".", ".md"), files("docs", ".md")].concat()
}

/// The rows of the table below this line.
fn table<'a>(text: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let start = text.find(head).unwrap_or_else(|| panic!("no table {head:?}"));
    let lines = text[start..].lines().take_while(|line| line.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect()).collect()
}

/// The words that follow `start`.
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
    let page = read(REFERENCE);
    let (before, rest) = page.split_once(BEGIN).expect("where the reference begins");
    let (reference, after) = rest.split_once(END).expect("where it ends");
    if reference == config::reference() {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(root().join(REFERENCE), [before, BEGIN, &config::reference(), END, after].concat()).unwrap();
        return;
    }
    let new = config::reference();
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (reference.lines().collect(), new.lines().collect());
    let lines = old.difference(&new).map(|line| format!("- {line}")).chain(new.difference(&old).map(|line| format!("+ {line}")));
    panic!(
        "the reference in {REFERENCE} is not that of the schema; to rewrite it: UPDATE_DOCS=1 cargo test --test docs\n{}",
        lines.collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn the_defaults_are_those_of_the_schema() {
    let readme = read("README.md");
    let rows = config::rows();
    for row in table(&readme, "| key | default | what that means |") {
        let known = rows.iter().find(|known| known.key == row[0]).unwrap_or_else(|| panic!("no key {}", row[0]));
        assert_eq!(known.default, row[1], "{}", row[0]);
    }
}

#[test]
fn every_reason_is_explained() {
    let page = read("docs/errors.md");
    let explained: Vec<_> = table(&page, "| reason | status | cause |").iter().map(|row| format!("{} {}", row[1], row[0])).collect();
    let known: Vec<_> = Reason::ALL.iter().map(|reason| format!("{} {}", reason.status(), reason.name())).collect();
    assert_eq!(explained, known);
}

#[test]
fn every_option_is_listed() {
    let help = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("--help").output().expect("--help");
    let help = String::from_utf8(help.stdout).unwrap();
    let page = read(REFERENCE);
    let (_, usage) = page.split_once("## Command line").unwrap();
    let (listed, known) = (words(usage, "--"), words(&help, " --"));
    assert!(known.len() > 5, "{help}");
    assert_eq!(known.difference(&listed).collect::<Vec<_>>(), [&""; 0], "options that {REFERENCE} does not list");
}

#[test]
fn every_variable_is_listed() {
    let page = read(REFERENCE);
    let listed: String = table(&page, "| variable | key |").concat().concat();
    let source = read("src/config/env.rs");
    let known =
        source.split('"').skip(1).step_by(2).filter(|text| text.contains('_') && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
    // Names of other programs that tidegate accepts.
    let missing: Vec<_> = known.filter(|name| !name.starts_with("DEVPROXY_") && !listed.contains(name)).collect();
    assert!(missing.is_empty(), "{REFERENCE} does not list {missing:?}");
}

#[test]
fn every_target_of_make_exists() {
    let makefile = read("Makefile");
    for page in pages() {
        for target in words(&read(&page), "make ") {
            let is_command = read(&page).contains(&format!("`make {target}")) || read(&page).contains(&format!("$ make {target}"));
            assert!(!is_command || makefile.contains(&format!("\n{target}:")), "{page}: make {target}");
        }
    }
}

/// Every complete configuration in the documentation, and those in `examples/`.
fn configurations() -> Vec<(String, String)> {
    let mut found = vec![("config.yaml".to_owned(), read("config.yaml"))];
    found.extend(files("examples", ".yaml").into_iter().map(|name| (name.clone(), read(&name))));
    for page in pages() {
        let text = read(&page);
        let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
        found.extend(blocks.enumerate().map(|(n, block)| (format!("{page}, example {}", n + 1), block)));
    }
    found
}

/// Certificates in the documentation lie in one directory, which the test has elsewhere.
fn with_certificates(text: &str, directory: &Path) -> String {
    const PLACE: &str = "/etc/tidegate";
    if !text.contains(PLACE) {
        return text.to_owned();
    }
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["example.test".to_owned()]).unwrap();
    let mut authority = rcgen::CertificateParams::new([]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = authority.self_signed(&signing_key).unwrap();
    for (name, content) in [("example.pem", cert.pem()), ("clients-ca.pem", authority.pem()), ("example.key", signing_key.serialize_pem())]
    {
        std::fs::write(directory.join(name), content).unwrap();
    }
    let is_private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(directory.join("example.key"), is_private).unwrap();
    text.replace(PLACE, directory.to_str().unwrap())
}

#[test]
fn its_configurations_are_good() {
    let all = configurations();
    assert!(all.len() > 15, "{}", all.len());
    for (name, text) in all {
        let directory = tempfile::tempdir().unwrap();
        let text = with_certificates(&text, directory.path());
        std::fs::write(directory.path().join("config.yaml"), &text).unwrap();
        let loaded = config::load(config::ConfigSources { cwd: directory.path().to_owned(), ..config::ConfigSources::default() });
        let warnings = loaded.unwrap_or_else(|problems| panic!("{name}: {problems}\n{text}")).warnings;
        assert_eq!(warnings, [""; 0], "{name}");
    }
}

/// Each stands beside a file that says the same.
#[test]
fn an_env_file_says_what_the_file_beside_it_says() {
    let names = files("examples", ".env");
    assert!(!names.is_empty());
    for name in names {
        let load = |config: Option<String>, env_file: Option<PathBuf>| {
            let directory = tempfile::tempdir().unwrap();
            let sources = config::ConfigSources {
                config: config.map(Into::into),
                env_file,
                cwd: directory.path().to_owned(),
                ..config::ConfigSources::default()
            };
            let loaded = config::load(sources).unwrap_or_else(|problems| panic!("{name}: {problems}"));
            assert_eq!(loaded.warnings, [""; 0], "{name}");
            loaded.config
        };
        let beside = root().join(name.replace(".env", ".yaml")).to_str().unwrap().to_owned();
        assert_eq!(load(None, Some(root().join(&name))), load(Some(beside), None), "{name}");
        expect_start(&name, &["--env-file", root().join(&name).to_str().unwrap()], tempfile::tempdir().unwrap().path());
    }
}

/// What the documents that the project began from promise, number for number.
#[test]
fn the_first_documents_are_kept() {
    for (name, promised) in [
        (
            "two-backends",
            json!({"listen": "127.0.0.1:8080", "metrics_listen": "127.0.0.1:8000", "retry": {"max_retries": 2},
                "circuit_breaker": {"failure_threshold": 3, "timeout_ms": 20_000}, "timeouts": {"attempt_ms": 1500, "connect_ms": 500},
                "logging": {"dir": "logs", "level": "info"}, "shutdown": {"new_requests": "reject"}}),
        ),
        (
            "three-backends",
            json!({"listen": "127.0.0.1:8080", "circuit_breaker": {"failure_threshold": 3},
                "timeouts": {"connect_ms": 5000, "total_ms": 30_000}}),
        ),
        (
            "resilient",
            json!({"circuit_breaker": {"failure_threshold": 5, "success_threshold": 2, "timeout_ms": 30_000},
                "rate_limit": {"requests_per_second": 100, "burst": 200, "per_client": {"requests_per_second": 10}}}),
        ),
        (
            "upstream-pool",
            json!({"listen": "127.0.0.1:8080", "metrics_listen": "127.0.0.1:8081",
                "timeouts": {"connect_ms": 1000, "read_ms": 15_000, "write_ms": 15_000, "total_ms": 30_000},
                "limits": {"max_client_conns": 1000, "max_conns_per_upstream": 100}, "logging": {"level": "info"}}),
        ),
        (
            "development",
            json!({"listen": "127.0.0.1:8889",
                "timeouts": {"client_request_line_ms": 5000, "client_header_ms": 10_000, "client_body_ms": 30_000},
                "limits": {"max_client_conns": 1000, "max_request_line": 4096, "max_header_size": 8192, "max_headers": 100,
                    "max_total_headers": 65_536, "max_body_size": 10_000_000}}),
        ),
    ] {
        let sources =
            config::ConfigSources { config: Some(root().join(format!("examples/{name}.yaml"))), ..config::ConfigSources::default() };
        let effective = config::load(sources).unwrap_or_else(|problems| panic!("{name}: {problems}")).effective.to_string();
        let effective: Value = serde_yaml::from_str(&effective).unwrap();
        expect_within(&promised, &effective, name);
    }
}

/// What the first says, the second says too.
fn expect_within(part: &Value, whole: &Value, at: &str) {
    match part {
        Value::Object(entries) => entries.iter().for_each(|(key, part)| expect_within(part, &whole[key], &format!("{at}.{key}"))),
        _ => assert_eq!(part, whole, "{at}"),
    }
}

#[test]
fn its_configurations_start() {
    for (name, text) in configurations() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.yaml"), &text).unwrap();
        expect_start(&name, &[], directory.path());
    }
}

fn expect_start(name: &str, args: &[&str], directory: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["--listen", "127.0.0.1:0"]).args(args).env("METRICS_LISTEN_PORT", "0").current_dir(directory);
    let mut proxy = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("tidegate");
    let lines = BufReader::new(proxy.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    let is_ready = lines.inspect(|line| said.push(line.clone())).any(|line| line.contains(" ready listen="));
    let _ = proxy.kill();
    proxy.wait().unwrap();
    assert!(is_ready, "{name}: {said:?}");
}

/// The anchor of a heading, as common renderers of Markdown form it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for page in pages() {
        let text = read(&page);
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap();
            if target.starts_with("https://") || target.starts_with("http://") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let path: PathBuf = if file.is_empty() { root().join(&page) } else { root().join(&page).parent().unwrap().join(file) };
            let there = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {target}: {error}"));
            let leads = fragment.is_empty() || there.lines().any(|line| line.starts_with('#') && anchor(line) == fragment);
            assert!(leads, "{page}: {target}: there is no such heading");
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}
