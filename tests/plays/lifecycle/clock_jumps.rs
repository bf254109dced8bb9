//! The wall clock jumps by an hour, forward and back, while requests are under way: `Date` and the logs follow it, and nothing
//! else notices, for every time limit runs on the monotonic clock. libfaketime plays the administrator who sets the clock.

use crate::support::*;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const HOUR: i64 = 3_600_000;

/// Of the package `libfaketime`, where Debian and its like, Fedora and Alpine put it.
fn library() -> PathBuf {
    let mut dirs: Vec<_> = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.extend(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from));
    let places = dirs.iter().flat_map(|dir| [dir.join("faketime"), dir.clone()]).map(|dir| dir.join("libfaketimeMT.so.1"));
    let found = places.into_iter().find(|path| path.exists());
    found.expect("libfaketimeMT.so.1 is not installed: this test needs the package `libfaketime` (apt-get install libfaketime)")
}

/// A proxy whose wall clock is what that file says: an offset in seconds.
fn start(config: Config, file: &Path) -> Proxy {
    let launch = config.launch().env("LD_PRELOAD", library().display()).env("FAKETIME_TIMESTAMP_FILE", file.display());
    // The second is the older name of the third.
    launch.env("FAKETIME_NO_CACHE", 1).env("DONT_FAKE_MONOTONIC", 1).env("FAKETIME_DONT_FAKE_MONOTONIC", 1).start()
}

fn set(file: &Path, offset: i64) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{:+}\n", offset / 1000)).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// How far that time is from ours, in milliseconds.
fn off(unix_ms: i64) -> i64 {
    unix_ms - SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Whether it is as far off as wanted; a loaded machine may be late by half a minute.
fn is_about(unix_ms: i64, wanted: i64) -> bool {
    (off(unix_ms) - wanted).abs() < 30_000
}

fn date(answer: &Response) -> i64 {
    let date = httpdate::parse_http_date(answer.fields.get("Date").expect("a Date")).expect("an HTTP date");
    date.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn a_clock_that_jumps_harms_no_request_and_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = dir.path().join("clock");
    set(&clock, 0);
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |conn| {
        while let Ok(head) = conn.wire().head() {
            let target = head.start.split(' ').nth(1).unwrap().to_owned();
            if target == "/held" {
                held.pass();
            }
            conn.answer(target);
        }
    });
    let now = serde_json::json!([{"match": {"path": "/now"}, "respond": {"body": "now"}}]);
    let proxy = start(Config::to(&origin).set("workers", 2).set("routes", now), &clock);
    let load = Load::start(proxy.addr(), 3, 2, Duration::from_millis(3));
    load.wait_for_more(30);
    // On both sides of the jump: a request in progress, an idle connection, a head that has begun.
    let (mut in_flight, mut idle, mut begun) = (proxy.client(), proxy.client(), proxy.client());
    in_flight.send_get("/held");
    idle.get("/idle").expect(200);
    begun.send("GET /begun HTTP/1.1\r\nHost: a\r\n");
    for offset in [HOUR, 0, -HOUR, HOUR, -HOUR, 0] {
        set(&clock, offset);
        wait_until("an answer has the new time", || is_about(date(&proxy.get("/now").expect(200)), offset));
        load.wait_for_more(30);
        let answer = idle.get("/idle").expect(200);
        let line = Line::text(&proxy.log_of(answer.trace_id()));
        assert!(is_about(line.time, offset), "{line:?}");
        assert!(line.more["seconds"].parse::<f64>().unwrap() < 60.0, "{line:?}");
        let said = proxy.diagnostics().len();
        assert!(proxy.hang_up());
        wait_until("diagnostics have the new time", || {
            proxy.diagnostics()[said..].iter().any(|line| is_about(lines::iso(&line[..24]).expect("a time"), offset))
        });
        assert!(!in_flight.has_news() && !begun.has_news(), "nothing has run out");
    }
    begun.send("\r\n");
    begun.response().expect(200);
    gate.release(1);
    in_flight.response().expect(200);
    load.stop().expect_flawless();
    let health = proxy.page("/health", 200);
    assert!(health["uptime_seconds"].as_u64().unwrap() < 600, "{health}");
    for name in ["proxy_timeout_errors_total", "proxy_errors_total", "proxy_access_log_dropped_total"] {
        assert_eq!(proxy.metric(name, &[]), 0.0, "{name}");
    }
    assert!(proxy.metric("proxy_request_duration_seconds_sum", &[]) < 600.0);
}

#[test]
fn time_limits_run_on_whatever_the_clock_says() {
    let dir = tempfile::tempdir().unwrap();
    let clock = dir.path().join("clock");
    set(&clock, 0);
    let origin = Origin::start(|conn| {
        conn.wait_for_end();
    });
    let proxy = start(Config::to(&origin).set("timeouts.read_ms", 1000), &clock);
    let mut client = proxy.client();
    for offset in [-HOUR, HOUR, -HOUR] {
        let begin = std::time::Instant::now();
        client.send_get("/silent");
        set(&clock, offset);
        let answer = client.response();
        let answer = proxy.expect_refusal(answer, 504, "connection_read_timeout");
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(980) && took < Duration::from_secs(15), "{took:?}");
        assert!(is_about(date(&answer), offset), "{answer:?}");
    }
}
