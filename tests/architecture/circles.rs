//! Which file of a room uses which other one, and the circles of that: files that cannot be understood one after the other.
//!
//! A file uses another one if its code names something that is defined there, in a `use` line or in a path. Tests do not count, nor do
//! calls of methods. Two rules are for a `mod.rs`:
//!
//! - To declare its files and to export what they have (`pub use`) is no use of them: that only gives names. To name, in its own
//!   code, what it has exported is one.
//! - `super::Name` leads to the file that defines `Name`: to `mod.rs` itself only if it is defined there.
//!
//! So a `mod.rs` either stands above its files and is made of them, or defines what all of them share and uses none of them; one that
//! does both is a circle. What they share then goes to a file of its own.

use super::assert_none;
use super::source::{Names, Source, sources};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Rooms that may have circles of files, and the reason.
const CIRCLES: &[(&str, &str)] = &[];

/// For each file, the files of its room that it uses, and by which name.
struct Uses<'a>(BTreeMap<&'a str, BTreeMap<&'a str, String>>);

impl<'a> Uses<'a> {
    fn new(sources: &'a [Source]) -> Uses<'a> {
        let tested: Vec<&Source> = sources.iter().filter(|source| !source.is_test() && source.path != "lib.rs").collect();
        let places = Places {
            files: tested.iter().map(|source| (source.module(), *source)).collect(),
            imports: tested.iter().map(|source| (source.module(), source.imports())).collect(),
        };
        Uses(tested.iter().map(|source| (source.path.as_str(), used_by(source, &places))).collect())
    }

    /// The shortest circle through each file that is in one, `a.rs -> b.rs (by B) -> a.rs (by A)`.
    fn circles(&self) -> BTreeSet<String> {
        let through = self.0.keys().filter_map(|file| self.circle_through(file));
        through.map(|circle| self.describe(&circle)).collect()
    }

    /// The files of the shortest circle, the first in the alphabet first.
    fn circle_through(&self, file: &'a str) -> Option<Vec<&'a str>> {
        let mut before: BTreeMap<&str, &str> = BTreeMap::new();
        let mut next = VecDeque::from([file]);
        while let Some(at) = next.pop_front() {
            for used in self.0[at].keys() {
                if *used == file {
                    let mut circle = vec![at];
                    while let Some(earlier) = before.get(circle[circle.len() - 1]) {
                        circle.push(earlier);
                    }
                    circle.reverse();
                    let first = circle.iter().enumerate().min_by_key(|(_, file)| **file).map_or(0, |(at, _)| at);
                    circle.rotate_left(first);
                    return Some(circle);
                }
                if !before.contains_key(used) {
                    before.insert(used, at);
                    next.push_back(used);
                }
            }
        }
        None
    }

    fn describe(&self, circle: &[&str]) -> String {
        let steps = circle.iter().zip(circle.iter().cycle().skip(1));
        let steps = steps.map(|(from, to)| format!(" -> {to} (by {})", self.0[from][to]));
        circle[0].to_owned() + &steps.collect::<String>()
    }
}

/// Where names lead to.
struct Places<'a> {
    files: BTreeMap<Names, &'a Source>,
    imports: BTreeMap<Names, BTreeMap<String, Names>>,
}

impl<'a> Places<'a> {
    /// The file that defines what a path leads to.
    fn file(&self, path: &[String]) -> Option<&'a str> {
        self.file_within(path, 8)
    }

    /// Imports may lead from one to the next, `steps` times.
    fn file_within(&self, path: &[String], steps: usize) -> Option<&'a str> {
        let length = (1..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let imported = rest.first().and_then(|name| self.imports[module].get(name));
        match imported.filter(|_| steps > 0) {
            Some(further) => self.file_within(further, steps - 1),
            None => Some(self.files[module].path.as_str()),
        }
    }
}

fn used_by<'a>(source: &Source, places: &Places<'a>) -> BTreeMap<&'a str, String> {
    let (code, exported) = source.exports();
    let words: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut paths = source.paths(&code);
    paths.extend(exported.into_iter().filter(|(name, _)| words.contains(name.as_str())).map(|(_, path)| path));
    let mut used = BTreeMap::new();
    for path in paths.iter().filter(|path| path.first().is_some_and(|room| room == source.room())) {
        if let Some(file) = places.file(path).filter(|file| *file != source.path) {
            used.entry(file).or_insert_with(|| path.last().cloned().unwrap_or_default());
        }
    }
    used
}

#[test]
fn files_of_a_room_do_not_use_each_other_in_circles() {
    let sources = sources();
    let (mut wrong, mut needed) = (Vec::new(), BTreeSet::new());
    for circle in Uses::new(&sources).circles() {
        match CIRCLES.iter().position(|(room, _)| circle.starts_with(&format!("{room}/"))) {
            Some(exception) => drop(needed.insert(exception)),
            None => wrong.push(format!("a circle: {circle}")),
        }
    }
    let idle = CIRCLES.iter().enumerate().filter(|(i, _)| !needed.contains(i));
    wrong.extend(idle.map(|(_, (room, _))| format!("there is no circle in {room} any more: remove the exception")));
    assert_none(&wrong);
}

#[test]
fn circles_are_found_and_nothing_else_is_taken_for_one() {
    let circles = |files: &[(&str, &str)]| {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        Uses::new(&sources).circles().into_iter().collect::<Vec<_>>().join("; ")
    };
    let (a, b) = ("use super::b::B;\npub struct A(B);", "fn f(a: &crate::base::a::A) {}");
    assert_eq!(circles(&[("base/a.rs", a), ("base/b.rs", b)]), "base/a.rs -> base/b.rs (by B) -> base/a.rs (by A)");
    let (b, c) = ("use crate::base::{\n    c::{C, D as E},\n};\npub struct B;", "pub struct C(super::a::A);");
    let circle = "base/a.rs -> base/b.rs (by B) -> base/c.rs (by C) -> base/a.rs (by A)";
    assert_eq!(circles(&[("base/a.rs", a), ("base/b.rs", b), ("base/c.rs", c)]), circle);
    assert_eq!(
        circles(&[("base/a.rs", a), ("base/b.rs", "pub struct B;\n// super::a::A\n#[cfg(test)]\nmod tests {\n    use super::a::A;\n}")]),
        ""
    );

    // What `mod.rs` exports is used where it is defined.
    let front = "mod a;\npub mod b;\npub use a::{A, Other};\npub use b::B;\npub struct Own;";
    assert_eq!(
        circles(&[("base/mod.rs", front), ("base/a.rs", "pub struct A(super::B, super::Own);"), ("base/b.rs", "pub struct B;")]),
        ""
    );
    let circle = "base/a.rs -> base/b.rs (by B) -> base/a.rs (by A)";
    let b = "use super::A;\npub struct B(A);";
    assert_eq!(circles(&[("base/mod.rs", front), ("base/a.rs", "use super::B;\npub struct A(B);"), ("base/b.rs", b)]), circle);

    // It may be made of its files, or be what they share, but not both.
    let both = "mod a;\npub use a::A;\npub struct Own(A);";
    let circle = "base/a.rs -> base/mod.rs (by Own) -> base/a.rs (by A)";
    assert_eq!(circles(&[("base/mod.rs", both), ("base/a.rs", "pub struct A(super::Own);")]), circle);
    let calls = "mod a;\npub struct Own;\nfn f() {\n    a::g();\n}";
    let circle = "base/a.rs -> base/mod.rs (by Own) -> base/a.rs (by g)";
    assert_eq!(circles(&[("base/mod.rs", calls), ("base/a.rs", "pub fn g(own: super::Own) {}")]), circle);
}
