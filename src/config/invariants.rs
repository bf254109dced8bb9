//! Properties of any bytes as a configuration file, as a function that panics where one does not hold: the body of a fuzz target,
//! through which its corpus is replayed. Nothing here runs in the proxy.
//!
//! It stands here, and not in `tests/invariants` with the others, because it stops between the steps of a load, which are private: a
//! listener's name must not be looked up for an input of a fuzzer.

use super::address;
use super::load::{Effective, complete, decode, document};
use super::model::Config;
use super::report::{Problems, Report};
use super::tree::{Node, Value};
use super::variables::Variables;
use std::net::IpAddr;

const NAME: &str = "c.yaml";

/// How an input was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigVerdict {
    /// It could be run.
    Accepted,
    /// It was refused, with every problem reported.
    Refused,
    /// It cannot be judged without looking up names.
    NeedsNetwork,
}

/// A file is either a configuration that is read back unchanged from what is printed, or has problems, each with a place and a text.
pub fn file(bytes: &[u8]) -> ConfigVerdict {
    let text = match decode(bytes.to_vec(), &NAME) {
        Ok(text) => text,
        Err(problems) => return check_problems(&problems, &String::from_utf8_lossy(bytes)),
    };
    let (config, effective) = match read(&text) {
        Ok(loaded) => loaded,
        Err(Unread::Refused(problems)) => return check_problems(&problems, &text),
        Err(Unread::NeedsNetwork) => return ConfigVerdict::NeedsNetwork,
    };
    let printed = effective.to_string();
    match read(&printed) {
        Ok((again, effective)) => {
            assert_eq!(again, config, "printed, it means something else:\n{printed}");
            assert_eq!(effective.to_string(), printed, "printed twice");
        }
        Err(Unread::Refused(problems)) => panic!("printed, it is refused: {problems}\n{printed}"),
        Err(Unread::NeedsNetwork) => panic!("printed, it names listeners by other names:\n{printed}"),
    }
    ConfigVerdict::Accepted
}

/// Why there is no configuration.
enum Unread {
    Refused(Problems),
    /// The address of a listener would have to be looked up.
    NeedsNetwork,
}

/// As [`super::load()`] reads a file alone.
fn read(text: &str) -> Result<(Config, Effective), Unread> {
    let mut report = Report::default();
    let root = document(NAME, text, &Variables::new(), &mut report).map_err(Unread::Refused)?;
    let listens = [root.get("listen"), root.get("metrics_listen")];
    if listens.into_iter().flatten().any(needs_look_up) {
        return Err(Unread::NeedsNetwork);
    }
    let (config, effective, _) = complete(root, report, Some((NAME, text))).map_err(Unread::Refused)?;
    Ok((config, effective))
}

fn needs_look_up(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => address::listen(text).is_ok_and(|(host, _)| host.parse::<IpAddr>().is_err()),
        _ => node.items().iter().any(needs_look_up) || node.entries().iter().any(|entry| needs_look_up(&entry.node)),
    }
}

fn check_problems(problems: &Problems, text: &str) -> ConfigVerdict {
    // Everything that YAML 1.1 regards as a line end.
    let (lines, count) = (problems.lines(), text.matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1);
    assert!(!lines.is_empty(), "refused without a reason");
    for (index, line) in lines.iter().enumerate() {
        let is_rest = index + 1 == lines.len() && index > 0 && line.starts_with("and ") && line.ends_with(" more");
        assert!(is_rest || has_place(line, count), "without a place or a text: {line:?}");
        assert!(!line.contains(|c: char| c.is_control()), "no message of one line: {line:?}");
    }
    ConfigVerdict::Refused
}

/// `c.yaml:LINE:COLUMN: text`; the end of a text may be said to be on the line after the last.
fn has_place(line: &str, lines: usize) -> bool {
    let Some((at, what)) = line.strip_prefix(NAME).and_then(|rest| rest.strip_prefix(':')?.split_once(": ")) else { return false };
    let Some((row, column)) = at.split_once(':') else { return false };
    let is_row = row.parse::<usize>().is_ok_and(|row| (1..=lines + 1).contains(&row));
    is_row && column.parse::<usize>().is_ok_and(|column| column >= 1) && !what.trim().is_empty()
}
