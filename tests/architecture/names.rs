//! A name of a type stands for one thing in the whole crate, so that a reader who meets it knows which.

use super::assert_none;
use super::source::sources;
use std::collections::BTreeMap;

/// Rooms that are being rebuilt, and not held to this yet.
pub const REBUILT: &[&str] = &[];

/// The types that the code declares, with the numbers of their lines. Code for tests comes last in its file, or has a file of its own.
fn declared(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        if line.trim_start().starts_with("mod ") && line.ends_with('{') {
            break;
        }
        let is_indented = line.starts_with(' ');
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        // An indented `type` belongs to a trait.
        let declares = words.next().is_some_and(|word| matches!(word, "struct" | "enum" | "trait") || word == "type" && !is_indented);
        let name = words.next().unwrap_or_default().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        if declares && !name.is_empty() {
            found.push((number + 1, name.to_owned()));
        }
    }
    found
}

#[test]
fn every_type_has_a_name_of_its_own() {
    let mut places = BTreeMap::<String, Vec<(String, String)>>::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (line, name) in declared(&source.code) {
            places.entry(name).or_default().push((source.room().to_owned(), format!("src/{}:{line}", source.path)));
        }
    }
    let is_double = |places: &&Vec<(String, String)>| places.len() > 1 && !places.iter().all(|(room, _)| REBUILT.contains(&room.as_str()));
    let double = places.iter().filter(|(_, places)| is_double(places));
    let wrong: Vec<String> = double
        .map(|(name, places)| format!("{name}: {}", places.iter().map(|(_, place)| place.as_str()).collect::<Vec<_>>().join(", ")))
        .collect();
    assert_none(&wrong);
}

#[test]
fn the_reader_of_types_reads_them_all() {
    let code = "pub struct A;\npub(super) enum B<T> {\n    struct_,\n}\n    type C = u8;\ntype D<'a> = &'a u8;\n    pub trait E: F {\ntraits G\n\
                fn f() {\n    struct H(u8);\n}\nmod tests {\n    struct I;\n}";
    let names: Vec<String> = declared(code).into_iter().map(|(line, name)| format!("{line}{name}")).collect();
    assert_eq!(names.join(" "), "1A 2B 6D 7E 10H");
}
