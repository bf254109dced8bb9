//! `make bench-gate`: the instructions that a request costs tidegate outside the kernel, compared with the newest bar in
//! `INSTRUCTIONS.md`. Two runs differ only in the number of requests, so that the cost of start and end cancels out.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::load::{Load, Then, Until};
use crate::process::{Cores, Directory};
use crate::proxies::{ALL, Found, Setup};

/// Requests that are not counted, and how many are.
const FIRST: u64 = 300;
const COUNTED: u64 = 8000;

struct Bar {
    date: String,
    instructions: u64,
    /// In percent.
    tolerance: f64,
}

/// Returns whether the bar is kept.
pub fn run(tidegate: &Path, bars: &Path) -> io::Result<bool> {
    let text = fs::read_to_string(bars)?;
    let bar = bar(&text).ok_or_else(|| io::Error::other(format!("no bar in {}", bars.display())))?;
    let found = Found::find(&ALL[0], tidegate).ok_or_else(|| io::Error::other("no tidegate"))?;
    let each = each(&found, found.proxy.configuration, FIRST)?;
    let (verdict, is_good) = judge(each, &bar);
    println!("{each} instructions a request; the bar is {} ({}), and {} % more pass: {verdict}", bar.instructions, bar.date, bar.tolerance);
    Ok(is_good)
}

/// The instructions of a request, after the first ones.
pub fn each(found: &Found, configuration: &str, first: u64) -> io::Result<u64> {
    let (few, many) = (count(found, configuration, first)?, count(found, configuration, first + COUNTED)?);
    let more = many.checked_sub(few).ok_or_else(|| io::Error::other("more requests took fewer instructions"))?;
    Ok(more / COUNTED)
}

/// All instructions of a tidegate that answered so many requests.
fn count(found: &Found, configuration: &str, requests: u64) -> io::Result<u64> {
    let directory = Directory::new()?;
    let file = directory.path().join("callgrind.out");
    let wrap = ["valgrind".to_owned(), "--tool=callgrind".into(), "-q".into(), format!("--callgrind-out-file={}", file.display())];
    let mut setup = Setup::with(found, configuration, false, &Cores::none(), &wrap)?;
    let load = Load { path: "/b/1024".into(), upload: 0, length: 1024, connections: 8, then: Then::Again, tls: None };
    load.run(setup.port, Until::Requests(requests), || 0.0).map_err(io::Error::other)?;
    setup.proxy.stop(Duration::from_secs(60));
    let text = fs::read_to_string(&file)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.ok_or_else(|| io::Error::other("callgrind wrote no totals"))
}

fn judge(each: u64, bar: &Bar) -> (String, bool) {
    let share = (each as f64 / bar.instructions as f64 - 1.0) * 100.0;
    if share > bar.tolerance {
        (format!("{share:.1} % more, too many. Save them, or write the new number down in bench/INSTRUCTIONS.md with its reason"), false)
    } else if share < -bar.tolerance / 2.0 {
        (format!("{:.1} % fewer. Write it down in bench/INSTRUCTIONS.md, so that it stays", -share), true)
    } else {
        (format!("{share:+.1} %, good"), true)
    }
}

/// The first row of the table, and the tolerance above it.
fn bar(text: &str) -> Option<Bar> {
    let tolerance = text.lines().find_map(|line| line.strip_prefix("Tolerance: "))?.split(' ').next()?.parse().ok()?;
    let row = text.lines().find(|line| line.starts_with("| 2"))?;
    let mut cells = row.split('|').skip(1).map(str::trim);
    Some(Bar { date: cells.next()?.to_owned(), instructions: cells.next()?.replace(',', "").parse().ok()?, tolerance })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bar_counts() {
        let bar = bar(include_str!("../INSTRUCTIONS.md")).expect("a bar and its tolerance");
        assert!(bar.instructions > 1000 && bar.tolerance > 0.0 && bar.date.len() == 10);
    }

    #[test]
    fn above_the_bar_fails_and_below_is_to_be_written_down() {
        let bar = Bar { date: String::new(), instructions: 10_000, tolerance: 2.0 };
        let verdict = |each| judge(each, &bar);
        assert!(!verdict(10_210).1 && verdict(10_190).1 && verdict(9_000).1);
        assert!(verdict(9_899).0.contains("Write it down") && verdict(9_950).0.contains("good"));
    }
}
