//! Log targets that fail or take nothing: lines are lost, which are counted and reported, but never a request; and logging goes on
//! when the target works again.

use crate::support::*;
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::process::Command;
use std::time::{Duration, Instant};

fn dropped(proxy: &Proxy) -> usize {
    proxy.metric("proxy_access_log_dropped_total", &[]) as usize
}

/// The times of the warnings about the access log, in milliseconds.
fn warnings(proxy: &Proxy) -> Vec<i64> {
    let about = |line: &&String| line.contains(" WARN ") && line.contains("access log");
    proxy.diagnostics().iter().filter(about).map(|line| lines::iso(&line[..24]).expect("a time")).collect()
}

/// There are some, and no two within a second (the clock of the log may be off by a little).
#[track_caller]
fn expect_warnings_now_and_then(proxy: &Proxy) {
    wait_until("it is told of", || !warnings(proxy).is_empty());
    let times = warnings(proxy);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 950), "{times:?}");
}

#[test]
fn a_device_that_is_always_full_costs_lines_only() {
    let origin = Origin::busy("a");
    let config = Config::to(&origin).set("workers", 2);
    for config in [config.clone().set("logging.access_log", "/dev/full"), config] {
        let is_standard = config.0["logging"].is_null();
        let launch = config.launch();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let proxy = if is_standard { launch.stdout(full).start() } else { launch.start() };
        let (load, begin) = (Load::start(proxy.addr(), 3, 2, Duration::from_millis(2)), Instant::now());
        wait_until("it has gone on for a while", || begin.elapsed() > Duration::from_millis(2500));
        let tally = load.stop();
        tally.expect_flawless();
        wait_until("each line is counted", || dropped(&proxy) == tally.targets.len());
        expect_warnings_now_and_then(&proxy);
        assert!(warnings(&proxy).len() >= 2, "{:?}", proxy.diagnostics());
        let warning = proxy.diagnostics().into_iter().find(|line| line.contains(" WARN ")).unwrap();
        assert!(warning.contains("No space left"), "{warning}");
    }
}

#[test]
fn a_disk_that_is_full_for_a_while_costs_the_lines_of_that_while() {
    let origin = Origin::busy("a");
    let config = Config::to(&origin).set("logging.access_log", "access.log").0.to_string();
    let proxy = Launch::with_small_files(16_384, ["-c", "config.yaml"]).file("config.yaml", &config).start();
    let path = proxy.dir().join("access.log");
    let load = Load::start(proxy.addr(), 3, 2, Duration::from_millis(2));
    wait_until("it is full", || dropped(&proxy) > 50);
    load.wait_for_more(50);
    // There is room again: for as much as there was before.
    let written = std::fs::read_to_string(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    let (seen, before) = (dropped(&proxy), load.answered());
    wait_until("it is written to again", || std::fs::metadata(&path).unwrap().len() > 0);
    wait_until("some more are answered", || load.answered() > before + 10);
    let tally = load.stop();
    tally.expect_flawless();
    let lines = || {
        // The rest of the line that the disk was full in goes first, so that it is whole over both parts.
        let text = written.clone() + &lines::of_file(&path).join("\n");
        text.lines().map(|line| Line::text(line).target().to_owned()).collect::<Vec<_>>()
    };
    assert!(seen > 0 && !written.is_empty());
    wait_until("each request has its line, or is counted", || lines().len() + dropped(&proxy) >= tally.targets.len());
    let mut lines = lines();
    assert_eq!(lines.len() + dropped(&proxy), tally.targets.len());
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len() + dropped(&proxy), tally.targets.len(), "and none has two");
    expect_warnings_now_and_then(&proxy);
}

/// The proxy with its standard output in a pipe that nobody reads yet.
fn into_a_pipe(config: Config) -> (Proxy, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    (config.launch().stdout(writer).start(), reader)
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_nobody_and_works_again_when_it_is_read() {
    let origin = Origin::hello();
    let (proxy, mut pipe) = into_a_pipe(Config::to(&origin));
    let mut client = proxy.client();
    let long = "x".repeat(3900);
    let (mut sent, mut slowest) = (0, Duration::ZERO);
    wait_until("pipe and queues are full", || {
        for _ in 0..50 {
            let begin = Instant::now();
            client.get(&format!("/{sent}/{long}")).expect(200);
            slowest = slowest.max(begin.elapsed());
            sent += 1;
        }
        dropped(&proxy) > 100
    });
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    expect_warnings_now_and_then(&proxy);
    // Nor does it hold up the other log.
    let said = proxy.reload_in_vain("{{");
    assert!(said.iter().any(|line| line.contains("config.yaml")), "{said:?}");
    // Somebody reads a part of it, and then everything.
    let mut part = vec![0; 100_000];
    pipe.read_exact(&mut part).unwrap();
    let first = part.iter().filter(|b| **b == b'\n').count();
    let rest = launch::Lines::of(pipe);
    wait_until("each request has its line, or is counted", || first + rest.all().len() + dropped(&proxy) >= sent);
    let before = dropped(&proxy);
    assert_eq!(first + rest.all().len() + before, sent);
    let answer = client.get("/after").expect(200);
    wait_until("it works again", || rest.all().last().is_some_and(|line| line.contains(answer.trace_id())));
    assert!(rest.all()[1..].iter().all(|line| Line::text(line).status == 200), "whole lines, but for the one that was begun");
    assert_eq!(dropped(&proxy), before, "nothing is lost any more");
}

#[test]
fn a_pipe_whose_reader_is_gone_costs_lines_only() {
    let origin = Origin::busy("a");
    let (mut proxy, pipe) = into_a_pipe(Config::to(&origin).set("workers", 2));
    let load = Load::start(proxy.addr(), 2, 2, Duration::from_millis(2));
    assert_eq!(BufReader::new(pipe).lines().take(20).filter(|line| line.is_ok()).count(), 20); // and closes it
    wait_until("lines are given up", || dropped(&proxy) > 50);
    load.stop().expect_flawless();
    expect_warnings_now_and_then(&proxy);
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(), 0);
}

#[test]
fn a_named_pipe_works_again_when_it_has_a_reader_again() {
    let origin = Origin::busy("a");
    let launch = Config::to(&origin).set("logging.access_log", "pipe").launch();
    let path = launch.dir().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let both_ends = File::options().read(true).write(true).open(&path).unwrap();
    let proxy = launch.start();
    let reader = || BufReader::new(File::open(&path).unwrap());
    let first = reader();
    drop(both_ends);
    let load = Load::start(proxy.addr(), 2, 2, Duration::from_millis(2));
    assert_eq!(first.lines().take(20).filter(|line| line.is_ok()).count(), 20); // and closes it
    wait_until("lines are given up", || dropped(&proxy) > 20);
    let lines = launch::Lines::of(reader());
    let answer = proxy.get("/last").expect(200);
    wait_until("lines come again", || lines.all().iter().any(|line| line.contains(answer.trace_id())));
    load.stop().expect_flawless();
    let after = dropped(&proxy);
    let answer = proxy.get("/very-last").expect(200);
    wait_until("and all of them", || lines.all().iter().any(|line| line.contains(answer.trace_id())));
    assert_eq!(dropped(&proxy), after);
    assert!(lines.all()[1..].iter().all(|line| Line::text(line).status == 200), "whole lines, but for the first reader's last");
    expect_warnings_now_and_then(&proxy);
}

#[test]
fn an_error_log_that_fails_says_so_elsewhere_and_nothing_stops() {
    let origin = Origin::busy("a");
    let proxy = Config::to(&origin).set("logging.error_log", "/dev/full").start();
    let load = Load::start(proxy.addr(), 2, 2, Duration::from_millis(2));
    for _ in 0..5 {
        proxy.write("config.yaml", "{{");
        assert!(!proxy.hang_up());
    }
    wait_until("standard error tells", || proxy.diagnostics().iter().any(|line| line.contains("error log")));
    let tally = load.stop();
    tally.expect_flawless();
    wait_until("the other log is whole", || proxy.log_lines().len() == tally.targets.len());
}

#[test]
fn at_the_end_everything_is_written() {
    let origin = Origin::busy("a");
    for access in ["-", "access.log"] {
        let mut proxy = Config::to(&origin).set("workers", 2).set("logging.access_log", access).start();
        let mut clients = [(); 4].map(|_| proxy.client());
        for i in 0..200 {
            clients[i % 4].get(&format!("/{i}")).expect(200);
        }
        proxy.signal("TERM");
        assert_eq!(proxy.wait_exit(), 0);
        let lines = || match access {
            "-" => proxy.log_lines(),
            _ => lines::of_file(&proxy.dir().join(access)),
        };
        wait_until("all are there", || lines().len() == 200);
    }
}
