//! SIGHUP: what is refused and how that is reported, and what else a reload can change.

use crate::support::*;
use serde_json::json;
use std::time::Duration;

fn saying(text: &str) -> Config {
    Config::new().set("routes", json!([{"respond": {"body": text}}]))
}

#[test]
fn a_bad_file_changes_nothing_and_its_places_are_told() {
    let proxy = saying("old").start();
    let mut kept = proxy.client();
    kept.get("/").expect(200);
    let cases: [(&str, &[&str]); 5] = [
        ("listen: \"127.0.0.1:0\"\nlimits:\n  max_client_cons: 5\ncolour: red\n", &["config.yaml:3:3: ", "config.yaml:4:1: "]),
        ("listen: [\"127.0.0.1:0\"\nworkers: 1\n", &["config.yaml:"]),
        ("workers: 1\nworkers: 2\n", &["config.yaml:2:1: "]),
        ("routes:\n  - respond: {body: new}\n  - proxy: nowhere\n", &["config.yaml:3:"]),
        ("routes: [{respond: {body: new}}]\ntimeouts: {read_ms: soon}\n", &["config.yaml:2:", "timeouts.read_ms"]),
    ];
    for (i, (text, parts)) in cases.into_iter().enumerate() {
        let said = proxy.reload_in_vain(text);
        for part in parts {
            assert!(said.iter().any(|line| line.contains(part) && line.contains(" ERROR ")), "{part} for {text:?}: {said:?}");
        }
        assert_eq!(proxy.reloads(), (0, i + 1));
        for answer in [kept.get("/"), proxy.get("/")] {
            assert_eq!(answer.expect(200).text(), "old");
        }
    }
    proxy.reload(&saying("new"));
    assert_eq!(kept.get("/").expect(200).text(), "new");
}

#[test]
fn a_file_that_is_empty_or_gone_is_refused() {
    let proxy = saying("old").start();
    for text in ["", "\n\n", "# only a word\n", "listen: \"127.0.0.1:0\"\n", "{}\n", "upstreams: []\nroutes: []\n"] {
        let said = proxy.reload_in_vain(text);
        assert!(said.iter().any(|line| line.contains("upstreams") || line.contains("empty")), "{text:?}: {said:?}");
        assert_eq!(proxy.get("/").expect(200).text(), "old");
    }
    std::fs::remove_file(proxy.dir().join("config.yaml")).unwrap();
    assert!(!proxy.hang_up());
    wait_until("it says which file", || proxy.diagnostics().iter().any(|l| l.contains(" ERROR ") && l.contains("config.yaml")));
    assert_eq!(proxy.get("/").expect(200).text(), "old");
}

#[test]
fn bad_files_under_load_cost_nothing() {
    let origin = Origin::busy("a");
    let proxy = Config::to(&origin).set("workers", 2).start();
    let load = Load::start(proxy.addr(), 3, 3, Duration::from_millis(2));
    for i in 0..30 {
        load.wait_for_more(3);
        proxy.write("config.yaml", ["", "limits: {max: 1}\n", "{{{", "workers: 0\n"][i % 4]);
        assert!(!proxy.hang_up());
    }
    load.stop().expect_flawless();
    assert_eq!(proxy.reloads(), (0, 30));
}

#[test]
fn what_needs_a_restart_is_warned_of_and_the_rest_applies() {
    let proxy = saying("old").start();
    let (admin, threads) = (proxy.admin(), proxy.threads());
    let changed = saying("new").set("workers", 3).set("metrics_listen", format!("127.0.0.1:{}", free_port()));
    proxy.reload(&changed);
    assert_eq!(proxy.get("/").expect(200).text(), "new");
    for key in ["workers", "metrics_listen"] {
        let is_warning = |line: &String| line.contains(" WARN ") && line.contains(key) && line.contains("restart");
        wait_until(&format!("there is a warning of {key}"), || proxy.diagnostics().iter().any(is_warning));
    }
    let said = || proxy.diagnostics().into_iter().filter(|line| line.contains(" reloaded: ")).collect::<Vec<_>>();
    wait_until("the reload is told of", || !said().is_empty());
    let reloaded = said();
    assert!(reloaded.len() == 1 && reloaded[0].contains("new"), "{reloaded:?}");
    assert!(!reloaded[0].contains("workers") && !reloaded[0].contains("metrics_listen"), "they have not changed: {reloaded:?}");
    proxy.reload(&saying("new"));
    wait_until("nothing has changed", || proxy.diagnostics().iter().any(|line| line.contains("reloaded: nothing has changed")));
    assert_eq!(get(admin, "/health").expect(200).status, 200);
    assert_eq!((proxy.threads(), proxy.reloads()), (threads, (2, 0)));
}

#[test]
fn a_file_that_has_lost_its_upstreams_is_warned_of() {
    let origin = Origin::hello();
    let routes = json!([{"match": {"path": "/own"}, "respond": {"body": "own"}}]);
    let proxy = Config::to(&origin).set("routes", routes.clone()).start();
    proxy.reload(&Config::new().set("routes", routes));
    let is_warning = |line: &String| line.contains(" WARN ") && line.contains("no upstreams any more");
    wait_until("there is a warning", || proxy.diagnostics().iter().any(is_warning));
    assert_eq!(proxy.get("/own").expect(200).text(), "own");
}

#[test]
fn the_log_says_what_has_changed_key_by_key() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("timeouts.read_ms", 4321).start();
    let said = proxy.diagnostics().len();
    let config = Config::to(&origin).set("timeouts.read_ms", 1234).set("limits.max_headers", 77);
    proxy.reload(&config);
    for part in ["timeouts.read_ms", "4321", "1234", "limits.max_headers", "77"] {
        wait_until(&format!("{part} is named"), || proxy.diagnostics()[said..].iter().any(|l| l.contains(" INFO ") && l.contains(part)));
    }
    let new = &proxy.diagnostics()[said..];
    assert!(!new.iter().any(|line| line.contains("upstreams") || line.contains("total_ms")), "what stayed is not named: {new:?}");
    let said = proxy.diagnostics().len();
    proxy.reload(&config.set("upstreams", json!([{"host": "127.0.0.1", "port": origin.port(), "name": "renamed"}])));
    wait_until("the list is named", || {
        proxy.diagnostics()[said..].iter().any(|l| l.contains("upstreams") && l.contains("renamed") && !l.contains("read_ms"))
    });
}

#[test]
fn the_level_is_changed_by_a_reload() {
    let at = |level: &str, text: &str| saying(text).set("logging.level", level);
    let proxy = at("error", "0").start();
    proxy.reload(&at("error", "1"));
    proxy.reload(&at("error", "2"));
    assert_eq!(proxy.get("/").expect(200).text(), "2");
    assert_eq!(proxy.diagnostics().len(), 1, "the ready line: {:?}", proxy.diagnostics());
    proxy.reload(&at("info", "3"));
    proxy.reload(&at("info", "4"));
    wait_until("it speaks", || proxy.diagnostics().iter().any(|line| line.contains(" INFO ") && line.contains('4')));
    proxy.reload(&at("error", "5"));
    proxy.reload(&at("error", "6"));
    let said = proxy.reload_in_vain("nonsense: 1\n");
    assert!(said.iter().all(|line| line.contains(" ERROR ")), "{said:?}");
    assert!(!proxy.diagnostics().iter().any(|line| line.contains("\"6\"")), "{:?}", proxy.diagnostics());
}

#[test]
fn the_access_log_moves_and_changes_its_format_and_loses_nothing() {
    let origin = Origin::busy("a");
    let config = |path: &str, format: &str| {
        let logging = json!({"access_log": path, "access_format": format, "dir": "logs"});
        Config::to(&origin).set("workers", 2).set("logging", logging)
    };
    let proxy = config("-", "text").start();
    let load = Load::start(proxy.addr(), 3, 2, Duration::from_millis(2));
    for (path, format) in [("a.log", "text"), ("b.log", "text"), ("b.log", "json"), ("c.log", "json"), ("-", "text")] {
        load.wait_for_more(30);
        proxy.reload(&config(path, format));
    }
    load.wait_for_more(30);
    let tally = load.stop();
    tally.expect_flawless();
    let read = |name: &str| lines::of_file(&proxy.dir().join("logs").join(name));
    let lines = || {
        let files = ["a.log", "b.log", "c.log"].map(read).concat();
        let all = proxy.log_lines().into_iter().chain(files);
        all.map(|line| if line.starts_with('{') { Line::json(&line) } else { Line::text(&line) }).collect::<Vec<_>>()
    };
    wait_until("all lines are written", || lines().len() >= tally.targets.len());
    let mut targets: Vec<_> = lines().iter().map(|line| line.target().to_owned()).collect();
    targets.sort();
    let mut wanted = tally.targets.clone();
    wanted.sort();
    assert!(targets == wanted, "{} lines for {} requests", targets.len(), wanted.len());
    assert!(["a.log", "b.log", "c.log"].iter().all(|name| !read(name).is_empty()));
    let (first, last) = (&read("b.log")[0], &read("b.log")[read("b.log").len() - 1]);
    assert!(first.starts_with("20") && last.starts_with('{'), "both formats, {first:?} and {last:?}");
    assert!(read("c.log").iter().all(|line| line.starts_with('{')), "the new format only");
}

#[test]
fn a_log_that_cannot_be_opened_refuses_the_whole() {
    let proxy = saying("old").start();
    std::fs::write(proxy.dir().join("file"), "").unwrap();
    let said = proxy.reload_in_vain(&saying("new").set("logging.access_log", "file/below.log").0.to_string());
    assert!(said.iter().any(|line| line.contains("below.log")), "{said:?}");
    let answer = proxy.get("/").expect(200);
    assert_eq!(answer.text(), "old");
    proxy.log_of(answer.trace_id());
}

#[test]
fn the_env_file_is_read_again_and_the_arguments_stay() {
    let [a, b, c] = ["a", "b", "c"].map(Origin::named);
    let launch = Config::to(&c).launch().file(".env", &format!("UPSTREAMS={}\n", a.addr()));
    let proxy = launch.start();
    assert_eq!(proxy.get("/").expect(200).text(), "a");
    proxy.write(".env", &format!("UPSTREAMS={}\n", b.addr()));
    assert!(proxy.hang_up());
    assert_eq!(proxy.get("/").expect(200).text(), "b");
    std::fs::remove_file(proxy.dir().join(".env")).unwrap();
    assert!(proxy.hang_up());
    assert_eq!(proxy.get("/").expect(200).text(), "c");
    let to = a.addr().to_string();
    let proxy = Launch::new(["-c", "config.yaml", "--to", &to]).file("config.yaml", &Config::to(&b).0.to_string()).start();
    proxy.reload(&Config::to(&c).set("timeouts.read_ms", 14_000));
    assert_eq!(proxy.get("/").expect(200).text(), "a", "what was given as an argument still counts");
}

#[test]
fn a_proxy_that_was_started_without_a_file_can_be_told_to_reload() {
    let origin = Origin::hello();
    let to = origin.addr().to_string();
    let proxy = Launch::new(["--listen", "127.0.0.1:0", "--to", &to]).env("METRICS_LISTEN_PORT", 0).start();
    assert!(proxy.hang_up());
    assert_eq!(proxy.get("/x").expect(200).text(), "GET /x");
}
