//! Lines on their whole way, through the real thread to real targets.

use super::*;
use crate::base::address::Peer;
use crate::observe::access::{Format, RequestLine};
use crate::observe::shared::DIAGNOSTICS;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for a condition, which takes only a moment unless something is broken.
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
        client: Peer::of([127, 0, 0, 1].into(), Some(53412)),
        peer: Peer::of([127, 0, 0, 1].into(), Some(53412)),
        request: RequestLine::Parsed { method: b"GET", target: b"/", version: b"HTTP/1.1" },
        host: None,
        status: 200,
        bytes_in: 0,
        bytes_out: number,
        duration_micros: 0,
        upstream_micros: None,
        queue_micros: None,
        connect_micros: None,
        upstream: None,
        route: None,
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
    /// The access log has this name in a directory of its own, with `error.log` beside it.
    fn new(access: &str, rotate: Option<Rotation>) -> Self {
        Self::to(Path::new(access), rotate)
    }

    /// The access log is at this path (a relative one is in the bench's directory).
    fn to(access: &Path, rotate: Option<Rotation>) -> Self {
        log::set_max_level(log::LevelFilter::Trace);
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::start(LogSettings {
            access: Some(SinkTarget::File(dir.path().join(access))),
            format: Format::Text,
            errors: SinkTarget::File(dir.path().join("error.log")),
            rotate,
        })
        .unwrap();
        let stats = Arc::new(WorkerStats::default());
        let log = writer.access_log(Arc::clone(&stats));
        Self { dir, writer, stats, log }
    }

    fn settings(&self) -> LogSettings {
        self.writer.settings.lock().unwrap().clone()
    }

    fn diagnose(&self, message: &str) {
        self.writer.shared.diagnose(log::Level::Warn, "test", format_args!("{message}"));
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

    /// How many lines were lost, before and after the hand-over.
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

const LARGE: Option<Rotation> = Some(Rotation { max_bytes: u64::MAX, keep: 5 });

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

/// A named pipe and its reader, which may be opened again later.
fn fifo(path: &Path) -> File {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    open_fifo(path)
}

fn open_fifo(path: &Path) -> File {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32; // a read without data is WouldBlock
    File::options().read(true).custom_flags(flags).open(path).unwrap()
}

/// Reads what is there now.
fn read_on(pipe: &mut File, text: &mut String) {
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = pipe.read(&mut bytes) {
        text.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
    }
}

/// The sum of all reports about the access log, and their number.
fn complaints(errors: &str) -> (u64, usize) {
    let losses = errors.lines().filter(|line| line.contains("access log, ")).filter_map(|line| line.split("lines lost: ").nth(1));
    let losses: Vec<u64> = losses.map(|n| n.parse().unwrap()).collect();
    (losses.iter().sum(), losses.len())
}

#[test]
fn a_full_disk_costs_lines_and_one_warning_a_second() {
    let mut bench = Bench::to(Path::new("/dev/full"), LARGE);
    let start = Instant::now();
    for turn in 0..200 {
        bench.log(turn * 10..turn * 10 + 10);
        std::thread::yield_now();
    }
    until("every line given up", || bench.given_up() == 2_000);
    until("and said", || complaints(&bench.read("error.log")).0 == 2_000);
    let errors = bench.read("error.log");
    assert!(errors.contains("WARN log: access log, /dev/full: No space left on device"), "{errors}");
    let most = start.elapsed().as_secs() as usize + 1;
    assert!(complaints(&errors).1 <= most, "more than {most}: {errors}");
}

#[test]
fn a_pipe_nobody_reads_holds_up_nothing_and_loses_nothing_it_can_hold() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let mut pipe = fifo(&path);
    let mut bench = Bench::to(&path, LARGE);
    bench.log(0..5_000); // some 500 kB: more than the pipe takes, less than the queue
    bench.diagnose("the other log goes on");
    until("the other log", || bench.read("error.log").contains("goes on"));
    assert_eq!(bench.given_up(), 0);
    until("sleep, of which no line for the pipe wakes it", || bench.writer.shared.asleep.load(Relaxed) == DIAGNOSTICS);

    let mut text = String::new();
    until("every line", || {
        read_on(&mut pipe, &mut text);
        text.lines().count() == 5_000 && text.ends_with('\n')
    });
    assert!(numbers(&text).into_iter().eq(0..5_000));
}

#[test]
fn what_does_not_fit_is_dropped_counted_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let mut pipe = fifo(&path);
    let mut bench = Bench::to(&path, LARGE);
    const SENT: u64 = 50_000; // some 5 MB
    for turn in 0..SENT / 100 {
        bench.log(turn * 100..turn * 100 + 100);
    }
    assert!(bench.given_up() > 0);
    until("told", || complaints(&bench.read("error.log")).0 == bench.given_up());
    assert!(bench.read("error.log").contains("does not keep up"));

    // Somebody reads it again: the kept lines come, whole and in order, and then the new ones.
    let kept = SENT - bench.given_up();
    let mut text = String::new();
    until("what was kept", || {
        read_on(&mut pipe, &mut text);
        text.lines().count() as u64 == kept && text.ends_with('\n')
    });
    bench.log(SENT..SENT + 10);
    until("what is new", || {
        read_on(&mut pipe, &mut text);
        text.lines().count() as u64 == kept + 10 && text.ends_with('\n')
    });
    let numbers = numbers(&text);
    assert!(numbers.is_sorted() && numbers.ends_with(&[SENT + 8, SENT + 9]));
}

#[test]
fn a_pipe_whose_reader_went_works_again_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let pipe = fifo(&path);
    let mut bench = Bench::to(&path, LARGE);
    drop(pipe);
    bench.log(0..10);
    until("given up", || bench.given_up() == 10);
    until("told", || bench.read("error.log").contains("Broken pipe"));

    let (mut pipe, mut text) = (open_fifo(&path), String::new());
    bench.log(10..20);
    until("the next lines", || {
        read_on(&mut pipe, &mut text);
        text.lines().count() == 10 && text.ends_with('\n')
    });
    assert!(numbers(&text).into_iter().eq(10..20));
}

#[test]
fn rotation_loses_no_line() {
    let mut bench = Bench::new("access.log", Some(Rotation { max_bytes: 10_000, keep: 50 }));
    for turn in 0..100 {
        bench.log(turn * 10..turn * 10 + 10);
    }
    assert!(bench.writer.shutdown(PATIENCE));
    let mut all = Vec::new();
    let old = (1..).map(|n| bench.path(&format!("access.log.{n}"))).take_while(|path| path.exists());
    let mut files: Vec<_> = old.collect();
    assert!(files.len() > 5);
    files.reverse();
    files.push(bench.path("access.log"));
    for file in files {
        let text = read(&file);
        assert!(text.len() <= 10_000);
        all.extend(numbers(&text));
    }
    assert!(all.into_iter().eq(0..1_000));
}

#[test]
fn reopen_follows_the_path() {
    let mut bench = Bench::new("logs/access.log", LARGE);
    bench.log(0..10);
    until("the first", || bench.read("logs/access.log").lines().count() == 10);
    fs::rename(bench.path("logs/access.log"), bench.path("logs/moved")).unwrap();
    bench.writer.reopen();
    until("a new file", || bench.path("logs/access.log").exists());
    bench.log(10..20);
    until("the second", || bench.read("logs/access.log").lines().count() == 10);
    assert!(numbers(&bench.read("logs/moved")).into_iter().eq(0..10));
    assert!(numbers(&bench.read("logs/access.log")).into_iter().eq(10..20));
}

#[test]
fn settings_change_while_it_runs() {
    let mut bench = Bench::new("access.log", LARGE);
    let first = bench.settings();
    bench.log(0..10);
    let second = LogSettings { access: Some(SinkTarget::File(bench.path("other/access.log"))), format: Format::Json, ..first.clone() };
    bench.writer.reconfigure(second.clone()).unwrap();
    bench.log(10..20);
    until("json", || bench.read("other/access.log").lines().count() == 10);
    assert!(bench.read("other/access.log").starts_with('{'));
    assert!(numbers(&bench.read("access.log")).into_iter().eq(0..10), "what came before went to the old one");

    let broken = LogSettings { access: Some(SinkTarget::File(bench.path("access.log/not a directory"))), ..first.clone() };
    let error = bench.writer.reconfigure(broken).unwrap_err().to_string();
    assert!(error.starts_with("logging.access_log: cannot open ") && error.contains("access.log/not a directory"), "{error}");
    bench.log(20..30);
    until("as before", || bench.read("other/access.log").lines().count() == 20);

    bench.writer.reconfigure(LogSettings { access: None, ..first.clone() }).unwrap();
    assert!(!bench.log.is_on());
    bench.log(30..40);
    bench.writer.reconfigure(first).unwrap();
    assert!(bench.log.is_on());
    bench.log(40..50);
    until("on again", || bench.read("access.log").lines().count() == 20);
    assert!(numbers(&bench.read("access.log")).into_iter().eq((0..10).chain(40..50)));
    assert_eq!(bench.given_up(), 0);
}

#[test]
fn a_line_goes_to_the_target_of_its_time() {
    let mut bench = Bench::new("0.log", LARGE);
    for turn in 0..100 {
        bench.log(turn * 10..turn * 10 + 10);
        let access = Some(SinkTarget::File(bench.path(&format!("{}.log", turn + 1))));
        bench.writer.reconfigure(LogSettings { access, ..bench.settings() }).unwrap();
    }
    for turn in 0..100 {
        assert!(numbers(&bench.read(&format!("{turn}.log"))).into_iter().eq(turn * 10..turn * 10 + 10));
    }
}

#[test]
fn an_error_log_that_nobody_reads_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let mut pipe = fifo(&path);
    let bench = Bench::new("access.log", LARGE);
    bench.writer.reconfigure(LogSettings { errors: SinkTarget::File(path), ..bench.settings() }).unwrap();
    for number in 0..40_000 {
        bench.diagnose(&format!("some line, which has to go somewhere {number:05}"));
    }
    let mut text = String::new();
    let mut read_until = |what: &str| {
        until(what, || {
            read_on(&mut pipe, &mut text);
            text.ends_with(&format!("{what}\n"))
        });
        text.lines().filter_map(|line| line.split(" somewhere ").nth(1)?.parse().ok()).collect::<Vec<u64>>()
    };
    while !bench.writer.shared.diagnostics.is_empty() {
        read_until("");
    }
    bench.diagnose("the last");
    let numbers = read_until("the last");
    assert!((5_000..40_000).contains(&numbers.len()) && numbers.is_sorted());
}

#[test]
fn the_end_writes_everything_and_waits_for_nobody_too_long() {
    let mut bench = Bench::new("access.log", LARGE);
    bench.log(0..5_000);
    bench.diagnose("last words");
    assert!(bench.writer.shutdown(PATIENCE));
    assert!(numbers(&bench.read("access.log")).into_iter().eq(0..5_000));
    assert!(bench.read("error.log").ends_with(": last words\n"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let _pipe = fifo(&path);
    let mut bench = Bench::to(&path, LARGE);
    bench.log(0..5_000);
    assert!(bench.writer.shutdown(Duration::from_millis(50)));
    assert!(bench.read("error.log").contains("does not keep up; lines lost: "), "{}", bench.read("error.log"));
}

#[test]
fn no_message_can_forge_a_line() {
    let bench = Bench::new("access.log", LARGE);
    bench.diagnose("x\n2026-01-02T03:04:05.678Z INFO tidegate: ready listen=\r\u{1b}[2J\u{85}");
    until("the line", || bench.read("error.log").ends_with('\n'));
    let text = bench.read("error.log");
    assert_eq!(text.lines().count(), 1);
    assert!(text.trim_end().ends_with("WARN test: x\\n2026-01-02T03:04:05.678Z INFO tidegate: ready listen=\\r\\x1b[2J\\x85"), "{text}");
}

#[test]
fn a_target_that_cannot_be_opened_is_an_error_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let start = |path: &Path| {
        let access = Some(SinkTarget::File(path.to_owned()));
        Writer::start(LogSettings { access, format: Format::Text, errors: SinkTarget::StandardError, rotate: LARGE })
            .unwrap_err()
            .to_string()
    };
    let error = start(dir.path());
    assert!(error.contains("Is a directory") && error.contains("name a file in it"), "{error}");
    let pipe = dir.path().join("pipe");
    drop(fifo(&pipe));
    let error = start(&pipe);
    assert!(error.contains("start the reader of that pipe first"), "{error}");
}

#[test]
fn an_idle_writer_sleeps_and_is_woken_by_a_line() {
    let mut bench = Bench::new("access.log", LARGE);
    for number in 0..100 {
        until("sleep", || bench.writer.shared.asleep.load(Relaxed) == ACCESS | DIAGNOSTICS);
        bench.log(number..number + 1);
        until("the line", || bench.read("access.log").lines().count() as u64 == number + 1);
    }
}
