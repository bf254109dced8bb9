//! The fuzzers' seeds and findings, replayed without a fuzzer. A file's name begins with what is to come of it: `ok-`, `more-`
//! (must come) or `bad-`; of any other file only the invariants are asked.

use std::path::Path;
use tidegate::http::check::{self, Verdict};

fn replay(target: &str, check: fn(&[u8]) -> Verdict) {
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
        let is_expected = match name.split_once('-').map(|(kind, _)| kind) {
            Some("ok") => verdict == Verdict::Accepted,
            Some("more") => verdict == Verdict::Incomplete,
            Some("bad") => matches!(verdict, Verdict::Refused(_)),
            _ => true,
        };
        if !is_expected {
            wrong.push(format!("{target}/{name}: {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(files.len() > 40, "only {} files in {}", files.len(), directory.display());
}

#[test]
fn request_heads() {
    replay("request_head", check::request_head);
}

#[test]
fn response_heads() {
    replay("response_head", check::response_head);
}

#[test]
fn chunked_bodies() {
    replay("chunked", check::chunked);
}
