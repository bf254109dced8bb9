//! Replays the fuzzers' seeds and findings without a fuzzer. A file's name begins with the expected verdict: `ok-`, `more-`
//! (more must come) or `bad-`; for any other file only the invariants are checked.

mod invariants;

use invariants::messages::{self, HeadVerdict};
use invariants::{cost, proxy_header, target};
use std::path::Path;
use tidegate::base::proxy_header::{Fault, Header};
use tidegate::config::invariants as config;
use tidegate::upstream::invariants as upstream;

/// The word for a verdict that begins a file's name, if there is one.
trait Named: Copy + std::fmt::Debug {
    fn name(self) -> Option<&'static str>;
}

impl Named for HeadVerdict {
    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Accepted => "ok",
            Self::Incomplete => "more",
            Self::Refused(_) => "bad",
        })
    }
}

impl Named for Result<Option<Header>, Fault> {
    fn name(self) -> Option<&'static str> {
        Some(match self {
            Ok(Some(_)) => "ok",
            Ok(None) => "more",
            Err(_) => "bad",
        })
    }
}

impl Named for config::ConfigVerdict {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Accepted => Some("ok"),
            Self::Refused => Some("bad"),
            Self::NeedsNetwork => None,
        }
    }
}

impl Named for upstream::AnswerVerdict {
    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Accepted => "ok",
            Self::Incomplete => "more",
            Self::Refused => "bad",
        })
    }
}

fn replay<V: Named>(target: &str, check: fn(&[u8]) -> V) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&directory).expect("the corpus").map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy();
        let input = std::fs::read(file).unwrap();
        let Ok(verdict) = std::panic::catch_unwind(|| check(&input)) else {
            wrong.push(format!("{target}/{name}: an invariant does not hold, see above"));
            continue;
        };
        let expected = name.split_once('-').map(|(kind, _)| kind).filter(|kind| ["ok", "more", "bad"].contains(kind));
        if expected.is_some_and(|kind| verdict.name() != Some(kind)) {
            wrong.push(format!("{target}/{name}: {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(files.len() > 40, "only {} files in {}", files.len(), directory.display());
}

#[test]
fn request_heads() {
    replay("request_head", messages::request_head);
}

#[test]
fn response_heads() {
    replay("response_head", messages::response_head);
}

#[test]
fn chunked_bodies() {
    replay("chunked", messages::chunked);
}

#[test]
fn configurations() {
    replay("config", config::file);
}

#[test]
fn answers_of_name_servers() {
    replay("srv", upstream::answer);
}

#[test]
fn targets() {
    replay("target", target::target);
}

#[test]
fn proxy_headers() {
    replay("proxy_header", proxy_header::header);
}

#[test]
fn costs() {
    for target in ["request_head", "response_head"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        std::fs::read_dir(directory).unwrap().for_each(|entry| cost::head(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/cost");
    let files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    files.iter().for_each(|input| cost::head(input));
    assert!(files.len() > 15, "only {} files", files.len());
}
