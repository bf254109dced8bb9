//! The files that logs may go to: directory, rotation by the proxy or by others, names that lead elsewhere. `failing_log_targets.rs`
//! has those that fail.

use crate::support::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[test]
fn a_directory_is_made_and_holds_both_logs() {
    let origin = Origin::hello();
    for (by_variable, error_log) in [(false, None), (true, None), (false, Some("sub/errors.log"))] {
        let mut config = Config::to(&origin);
        if !by_variable {
            config = config.set("logging.dir", "made/of/three");
        }
        if let Some(path) = error_log {
            config = config.set("logging.error_log", path).set("logging.access_log", "sub/requests.log");
        }
        let launch = config.launch();
        let launch = if by_variable { launch.env("LOG_DIR", "made/of/three") } else { launch };
        let proxy = launch.start();
        let answer = proxy.get("/one").expect(200);
        let dir = proxy.dir().join("made/of/three");
        let read = |name: &str| lines::of_file(&dir.join(name)).join("\n");
        let (access, errors) = if error_log.is_some() { ("sub/requests.log", "sub/errors.log") } else { ("access.log", "error.log") };
        wait_until("its line is there", || read(access).contains(answer.trace_id()));
        assert_eq!(read(access).lines().map(Line::text).count(), 1);
        wait_until("diagnostics go to the other file", || read(errors).contains("ready listen="));
        assert_eq!(proxy.diagnostics().len(), 1, "and only the ready line to standard error: {:?}", proxy.diagnostics());
        assert!(proxy.log_lines().is_empty());
    }
}

/// `access.log`, `access.log.1`, … that exist, the newest first.
fn generations(path: &Path) -> Vec<PathBuf> {
    let old = (1..100).map(|n| PathBuf::from(format!("{}.{n}", path.display())));
    std::iter::once(path.to_owned()).chain(old).filter(|path| path.exists()).collect()
}

fn targets(path: &Path) -> Vec<String> {
    lines::of_file(path).iter().map(|line| Line::text(line).target().to_owned()).collect()
}

#[test]
fn a_file_is_rotated_and_so_many_old_ones_are_kept() {
    let origin = Origin::hello();
    for (keep, requests) in [(3, 200), (1, 60)] {
        let logging = json!({"access_log": "access.log", "rotate": {"max_bytes": 4096, "keep": keep}});
        let proxy = Config::to(&origin).set("logging", logging).start();
        let path = proxy.dir().join("access.log");
        let mut client = proxy.client();
        (0..requests).for_each(|i| drop(client.get(&format!("/{i}")).expect(200)));
        let last = format!("/{}", requests - 1);
        wait_until("the last one is written", || targets(&path).last() == Some(&last));
        let files = generations(&path);
        assert_eq!(files.len(), 1 + keep, "{files:?}");
        for (i, file) in files.iter().enumerate() {
            let size = std::fs::metadata(file).unwrap().len();
            assert!(size <= 4096 && (i == 0 || size > 3500), "{} has {size} bytes", file.display());
        }
        let kept: Vec<_> = files.iter().rev().flat_map(|file| targets(file)).collect();
        let wanted: Vec<_> = (requests - kept.len()..requests).map(|i| format!("/{i}")).collect();
        assert_eq!(kept, wanted, "the newest, in order, without a gap");
        assert_eq!(proxy.metric("proxy_access_log_dropped_total", &[]), 0.0);
    }
}

#[test]
fn the_error_log_is_rotated_too() {
    let logging = json!({"error_log": "error.log", "rotate": {"max_bytes": 1500, "keep": 2}});
    let config = |n: usize| Config::new().set("logging", logging.clone()).set("routes", json!([{"respond": {"body": format!("{n}")}}]));
    let proxy = config(0).start();
    let path = proxy.dir().join("error.log");
    let text = || generations(&path).iter().rev().flat_map(|path| lines::of_file(path)).collect::<Vec<_>>().join("\n");
    for n in 1..=40 {
        proxy.reload(&config(n));
    }
    wait_until("the last reload is told", || text().contains("\"39\" -> \"40\"") || text().contains("40"));
    assert_eq!(generations(&path).len(), 3);
    assert!(text().lines().all(|line| line.as_bytes().get(10) == Some(&b'T')), "whole lines: {}", text());
}

#[test]
fn after_a_rename_and_sigusr1_the_lines_go_on_in_a_new_file() {
    let origin = Origin::busy("a");
    let logging = json!({"access_log": "access.log", "error_log": "error.log"});
    let proxy = Config::to(&origin).set("workers", 2).set("logging", logging).start();
    let path = |name: &str| proxy.dir().join(name);
    let load = Load::start(proxy.addr(), 3, 2, Duration::from_millis(2));
    for n in 0..10 {
        load.wait_for_more(20);
        for name in ["access.log", "error.log"] {
            std::fs::rename(path(name), path(&format!("{name}-{n}"))).unwrap();
        }
        load.wait_for_more(5); // they still go to the file that has another name now
        proxy.signal("USR1");
        wait_until("both are there again", || path("access.log").exists() && path("error.log").exists());
    }
    load.wait_for_more(20);
    let tally = load.stop();
    tally.expect_flawless();
    let names = || (0..10).map(|n| format!("access.log-{n}")).chain(["access.log".to_owned()]);
    let counts = || {
        let mut counts = BTreeMap::new();
        names().flat_map(|name| targets(&path(&name))).for_each(|target| *counts.entry(target).or_insert(0) += 1);
        counts
    };
    wait_until("all are written", || counts().len() >= tally.targets.len());
    assert!(counts().values().all(|n| *n == 1) && counts().len() == tally.targets.len());
    assert!(names().all(|name| targets(&path(&name)).len() >= 5), "each file has its time");
    assert_eq!(proxy.metric("proxy_access_log_dropped_total", &[]), 0.0);
}

/// Every user of the machine used to be able to read the log.
#[test]
fn a_log_file_is_for_its_owner_and_group() {
    use std::os::unix::fs::PermissionsExt;
    let origin = Origin::hello();
    let logging = json!({"access_log": "access.log", "error_log": "error.log"});
    let proxy = Config::to(&origin).set("logging", logging).start();
    proxy.get("/").expect(200);
    for name in ["access.log", "error.log"] {
        let path = proxy.dir().join(name);
        wait_until("it is there", || path.exists());
        let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // The umask of this process may remove more permissions.
        assert!(mode & 0o600 == 0o600 && mode & !0o640 == 0, "{name}: {mode:o}");
    }
}

#[test]
fn the_access_log_may_be_a_file() {
    let origin = Origin::hello();
    let file = tempfile::NamedTempFile::new().unwrap();
    let proxy = Config::to(&origin).set("logging.access_log", file.path().to_str().unwrap()).start();
    let answer = proxy.get("/filed").expect(200);
    let read = || std::fs::read_to_string(file.path()).unwrap();
    wait_until("its line is in the file", || read().contains(answer.trace_id()));
    assert!(read().lines().count() == 1 && read().contains("\"GET /filed HTTP/1.1\" 200 10 "), "{:?}", read());
    assert!(proxy.log_lines().is_empty());
}

/// logrotate's `copytruncate`.
#[test]
fn a_file_that_others_empty_loses_no_line() {
    let origin = Origin::hello();
    let logging = json!({"access_log": "access.log", "rotate": {"max_bytes": 4096, "keep": 1}});
    let proxy = Config::to(&origin).set("logging", logging).start();
    let path = proxy.dir().join("access.log");
    let mut client = proxy.client();
    let mut copied = 0;
    for round in 0..8 {
        for i in 0..12 {
            client.get(&format!("/{round}-{i}")).expect(200);
        }
        let last = format!("/{round}-11 ");
        wait_until("all are written", || lines::of_file(&path).iter().any(|line| line.contains(&last)));
        copied += lines::of_file(&path).len();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    }
    assert_eq!(copied, 8 * 12);
    assert!(!proxy.dir().join("access.log.1").exists(), "there was never that much in it");
}

#[test]
fn standard_output_and_error_may_be_named_by_their_paths() {
    let origin = Origin::hello();
    let logging = json!({"access_log": "/dev/stdout", "error_log": "/dev/stderr"});
    let proxy = Config::to(&origin).set("logging", logging).start();
    let answer = proxy.get("/").expect(200);
    proxy.log_with(answer.trace_id());
    let proxy = Config::to(&origin).set("logging.access_log", "/dev/stderr").start();
    let answer = proxy.get("/").expect(200);
    wait_until("its line is there", || !proxy.said(answer.trace_id()).is_empty());
    assert!(proxy.log_lines().is_empty());
}

#[test]
fn rotation_may_be_left_to_others() {
    let origin = Origin::hello();
    let small = json!({"access_log": "access.log", "rotate": {"max_bytes": 1000, "keep": 2}});
    let proxy = Config::to(&origin).set("logging", small).start();
    proxy.reload(&Config::to(&origin).set("logging", json!({"access_log": "access.log", "rotate": null})));
    let mut client = proxy.client();
    (0..30).for_each(|i| drop(client.get(&format!("/{i}")).expect(200)));
    let path = proxy.dir().join("access.log");
    wait_until("all are written", || lines::of_file(&path).len() == 30);
    assert!(!proxy.dir().join("access.log.1").exists());
}
