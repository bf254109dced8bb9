//! Checks the structure that the map in `src/lib.rs` describes: which module may use which, and what must not occur where.
//!
//! It reads the text of `src/`: every path that leads to somewhere in the crate, without comments.

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/documented.rs"]
mod documented;
#[path = "architecture/functions.rs"]
mod functions;
#[path = "architecture/names.rs"]
mod names;
#[path = "architecture/source.rs"]
mod source;

use source::{Source, sources};
use std::collections::BTreeSet;

/// From the top down. A module uses only modules of the floors below its own, not those beside it: so `session`, which touches no
/// socket, and `net`, which knows no request, meet only in `worker`; and `front`, `exchange` and `back` only in `session`.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["server"],
    &["worker"],
    &["session", "net"],
    &["front", "exchange", "back"],
    &["machine"],
    &["source"],
    &["answer", "admin"],
    &["site"],
    &["upstream"],
    &["route", "balance", "guard", "health", "cache"],
    &["http", "config", "observe"],
    &["tls"],
    &["base"],
];

/// Permitted violations: the file, the module that it uses, and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// The only files that may contain `unsafe`.
const UNSAFE: &[&str] = &["net/sys.rs", "server/upgrade.rs"];

/// Words that must not occur in the code of a module, ignoring case, and why.
const ABSENT: &[(&str, &[&str], &str)] = &[
    ("base", &["http"], "what knows HTTP belongs one floor up"),
    ("http", &["std::net::Tcp", "mio::", "Instant", "SystemTime", "std::fs", "std::io::Read"], "the grammar sees bytes, and nothing else"),
    ("exchange", &["http::write", "http::chunked"], "what goes over the wire is written by the front and the back"),
    ("", &["RefCell"], "slab keys instead of shared cells"),
    ("", &["todo!(", "unimplemented!(", "dbg!("], "a stub is not a feature"),
];

/// The rooms of the pure state machines, and of what joins them.
const MACHINES: &[&str] = &["session", "front", "exchange", "back", "machine", "source"];

/// The same for each of these rooms.
const ABSENT_IN_MACHINES: &[(&[&str], &str)] = &[
    (&["TcpStream", "TcpListener", "UdpSocket", "mio::", "socket2", "rustix", "libc"], "a machine touches no socket: the worker does that"),
    (&["Instant", "SystemTime"], "a machine reads no clock: time comes in through the turn"),
    (&["Mutex", "RwLock", "Condvar", "thread_local!", "static mut", "OnceLock"], "a machine has no lock and no global"),
    (&["Rng::new", "Rng::default", "fastrand::u", "getrandom"], "a machine draws no lots: chance comes in through the turn"),
];

/// A file with more lines than this usually does two things.
const MAX_LINES: usize = 500;

/// The modules at the top level that a file's paths lead to.
fn used_rooms(source: &Source) -> BTreeSet<String> {
    let firsts = source.paths(&source.code).into_iter().filter_map(|path| path.into_iter().next());
    firsts.filter(|room| room != source.room() && floor(room).is_some()).collect()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn rooms_use_only_what_lies_below() {
    let (mut wrong, mut needed) = (Vec::new(), BTreeSet::new());
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        let room = source.room();
        let Some(own) = floor(room) else {
            wrong.push(format!("{}: the room {room} stands on no floor: give it one in tests/architecture.rs", source.path));
            continue;
        };
        for used in &used_rooms(source) {
            let below = floor(used).is_some_and(|used| used > own);
            match EXCEPTIONS.iter().position(|(file, to, _)| *file == source.path && to == used) {
                _ if below => {}
                Some(exception) => drop(needed.insert(exception)),
                None => wrong.push(format!("{}: {room} must not use {used}, which does not lie below it", source.path)),
            }
        }
    }
    let idle = EXCEPTIONS.iter().enumerate().filter(|(i, _)| !needed.contains(i));
    wrong.extend(idle.map(|(_, (file, to, _))| format!("the exception {file} -> {to} is not needed any more")));
    assert_none(&wrong);
}

#[test]
fn what_is_absent_stays_absent() {
    let mut wrong = Vec::new();
    for source in &sources() {
        let here = ABSENT.iter().filter(|(room, _, _)| room.is_empty() || *room == source.room()).map(|(_, words, why)| (words, why));
        let of_machine = ABSENT_IN_MACHINES.iter().filter(|_| MACHINES.contains(&source.room())).map(|(words, why)| (words, why));
        for (words, why) in here.chain(of_machine) {
            for (number, line) in source.code.lines().enumerate() {
                let line = line.to_ascii_lowercase();
                let found = words.iter().filter(|word| line.contains(&word.to_ascii_lowercase()));
                wrong.extend(found.map(|word| format!("{}:{}: `{word}`: {why}", source.path, number + 1)));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn unsafe_stands_in_its_own_files_and_says_why() {
    let mut wrong = Vec::new();
    for source in &sources() {
        let words = |line: &str| {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            words.any(|word| word == "unsafe" || word == "unsafe_code")
        };
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in source.code.lines().enumerate().filter(|(_, line)| words(line)) {
            let place = format!("{}:{}", source.path, number + 1);
            if !UNSAFE.contains(&source.path.as_str()) {
                wrong.push(format!("{place}: unsafe is for {} alone", UNSAFE.join(" and ")));
                continue;
            }
            let is_explained = lines[number.saturating_sub(5)..number].iter().any(|line| line.contains("SAFETY:"));
            if !is_explained && !line.contains("unsafe_code") {
                wrong.push(format!("{place}: without a SAFETY line above it"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn files_open_by_saying_what_they_are_and_end_in_time() {
    let mut wrong = Vec::new();
    for source in &sources() {
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{}: {lines} lines, {MAX_LINES} at most: it holds two rooms", source.path));
        }
        // Test files beside a module are described by the module.
        if !source.text.starts_with("//!") && !source.path.ends_with("_tests.rs") {
            wrong.push(format!("{}: does not begin with //! and what it is", source.path));
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_reader_of_paths_reads_them_all() {
    let code = "use crate::http::{a, b};\nuse crate::{admin, answer::{echo, page}, site};\nfn f(x: $crate::worker::X, y: &crate::net::Y) {}\n\
                // crate::server\nuse super::base;\nuse super::super::guard::gate;\nmycrate::cache::x;";
    let used = |path: &str| used_rooms(&Source::new(path, code)).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(used("session/mod.rs"), "admin answer base http net site");
    assert_eq!(used("session/seat.rs"), "admin answer guard http net site");
}

/// Log targets are for operators: they say what a line is about, not which module logged it.
#[test]
fn every_diagnostic_says_what_it_is_about() {
    for source in sources() {
        for macro_name in ["error", "warn", "info", "debug", "trace", "log"] {
            for (at, call) in source.code.match_indices(&format!("log::{macro_name}!(")) {
                let rest = source.code[at + call.len()..].trim_start();
                assert!(rest.starts_with("target: "), "{}: {call} without a target", source.path);
            }
        }
    }
}
