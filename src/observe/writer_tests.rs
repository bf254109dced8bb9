//! Whole ways of lines, through the real thread to real targets.

use super::*;
use crate::observe::access::RequestLine;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for a condition; nothing here takes longer than a moment, unless it is broken.
#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::yield_now();
    }
}

fn record(number: u64) -> Record<'static> {
    Record {
        unix_ms: 1_767_323_045_678,
        client: ([127, 0, 0, 1], 53412).into(),
        request: RequestLine::Parsed { method: b"GET", target: b"/", version: b"HTTP/1.1" },
        host: None,
        status: 200,
        bytes_in: 0,
        bytes_out: number,
        duration_micros: 0,
        upstream_micros: None,
        upstream: None,
        attempts: 1,
        error: None,
        cache: None,
        trace_id: "t",
        user_agent: None,
        referer: None,
    }
}

/// The number that [`record`] was given.
fn number(line: &str) -> u64 {
    let fields: Vec<_> = line.split(' ').collect();
    assert_eq!(fields.len(), 11, "not a whole line: {line:?}");
    fields[6].parse().unwrap()
}

struct Bench {
    dir: tempfile::TempDir,
    writer: Writer,
    stats: Arc<WorkerStats>,
    log: AccessLog,
}

impl Bench {
    /// With the access log at this name in a directory of its own, and `error.log` beside it.
    fn new(access: &str, rotate: Rotate) -> Self {
        log::set_max_level(log::LevelFilter::Trace);
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::start(Settings {
            access: Some(Target::File(dir.path().join(access))),
            format: Format::Text,
            errors: Target::File(dir.path().join("error.log")),
            rotate,
        })
        .unwrap();
        let stats = Arc::new(WorkerStats::default());
        let log = writer.access_log(Arc::clone(&stats));
        Self { dir, writer, stats, log }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        read(&self.path(name))
    }

    fn log(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.log.line(&record(number));
        }
        self.log.hand_over();
    }

    /// What was given up, here and there.
    fn given_up(&self) -> u64 {
        self.stats.access_log_dropped.value() + self.writer.access_lost()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn numbers(text: &str) -> Vec<u64> {
    assert!(text.is_empty() || text.ends_with('\n'), "ends in half a line");
    text.lines().map(number).collect()
}

const LARGE: Rotate = Rotate { max_bytes: u64::MAX, keep: 5 };

#[test]
fn lines_come_in_order_from_every_worker() {
    let mut bench = Bench::new("access.log", LARGE);
    let mut other = bench.writer.access_log(Arc::default());
    for turn in 0..100 {
        bench.log(turn * 10..turn * 10 + 10);
        other.line(&record(1_000_000 + turn));
        other.hand_over();
    }
    until("all lines", || bench.read("access.log").lines().count() == 1_100);
    let (a, b): (Vec<_>, Vec<_>) = numbers(&bench.read("access.log")).into_iter().partition(|&n| n < 1_000_000);
    assert!(a.into_iter().eq(0..1_000) && b.into_iter().eq(1_000_000..1_000_100));
}
