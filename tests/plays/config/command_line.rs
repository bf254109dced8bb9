//! Starting it: arguments, environment, files, and what it says when they are wrong.

use crate::support::*;

/// The lines about the configuration, and the exit status.
#[track_caller]
fn complaints(launch: Launch) -> Vec<String> {
    let (status, _, err) = launch.run();
    assert_eq!(status, 2, "{err}");
    err.lines().map(str::to_owned).collect()
}

#[test]
fn two_arguments_make_a_proxy() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let to = format!("{},http://{}", origins[0].addr(), origins[1].addr());
    for args in [vec!["--listen", "127.0.0.1:0", "--to", &to], vec!["run", "--to", &to, "127.0.0.1:0"]] {
        let proxy = Launch::new(args).env("METRICS_LISTEN_PORT", 0).start();
        let names = [(); 2].map(|_| proxy.get("/").expect(200).text().to_owned());
        assert!(names == ["a", "b"] || names == ["b", "a"], "{names:?}");
    }
}

#[test]
fn the_environment_makes_one_too() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let port = free_port();
    let launch = Launch::new(["run"]).env("LISTEN_HOST", "127.0.0.1").env("LISTEN_PORT", port).env("METRICS_LISTEN_PORT", 0);
    let proxy = launch.env("UPSTREAMS", format!("{},{}", origins[0].addr(), origins[1].addr())).start();
    assert_eq!(proxy.addr().port(), port);
    let names = [(); 2].map(|_| proxy.get("/").expect(200).text().to_owned());
    assert!(names == ["a", "b"] || names == ["b", "a"], "{names:?}");
}

/// A configuration whose answer tells which it was.
fn says(name: &str) -> String {
    format!(
        "listen: \"127.0.0.1:0\"\nmetrics_listen: null\nworkers: 1\n\
         routes:\n  - respond:\n      status: 200\n      body: \"{name}\"\n"
    )
}

#[test]
fn the_file_is_the_first_that_is_given() {
    let launch = |args: &[&'static str]| {
        let launch = Launch::new(args.iter().copied()).file("config.yaml", &says("default"));
        launch.file("a.yaml", &says("a")).file("b.yaml", &says("b")).file("c.yaml", &says("c"))
    };
    let cases = [
        (launch(&["--config", "a.yaml", "b.yaml"]).env("CONFIG_PATH", "c.yaml"), "a"),
        (launch(&["-c", "a.yaml"]), "a"),
        (launch(&["run", "b.yaml"]).env("CONFIG_PATH", "c.yaml"), "b"),
        (launch(&["run"]).env("CONFIG_PATH", "c.yaml"), "c"),
        (launch(&[]), "default"),
    ];
    for (launch, name) in cases {
        assert_eq!(launch.start().get("/").expect(200).text().trim_end(), name);
    }
}

#[test]
fn arguments_beat_the_environment_and_that_beats_the_file() {
    let origins = ["file", "environment", "arguments"].map(Origin::named);
    let config = Config::to(&origins[0]).set("metrics_listen", "127.0.0.1:0");
    let proxy = config.clone().launch().env("UPSTREAMS", origins[1].addr()).start();
    assert_eq!(proxy.get("/").expect(200).text(), "environment");
    let to = origins[2].addr().to_string();
    let launch = Launch::new(["-c", "config.yaml", "--to", &to, "--workers", "2"]).file("config.yaml", &config.0.to_string());
    let proxy = launch.env("UPSTREAMS", origins[1].addr()).start();
    assert_eq!((proxy.get("/").expect(200).text(), proxy.workers), ("arguments", 2));
}

#[test]
fn echo_is_a_backend_for_trying_things_out() {
    let backend = Launch::new(["echo", "--name", "toy", "127.0.0.1:0"]).start();
    assert!(backend.ready.contains(" metrics=off "), "{:?}", backend.ready);
    let mut proxy = Config::to_all([backend.addr()]).start();
    let answer = proxy.get("/through").expect(200);
    assert!(answer.text().starts_with("toy\nGET /through HTTP/1.1\n"), "{:?}", answer.text());
    assert!(answer.text().to_ascii_lowercase().contains("\nx-forwarded-for: 127.0.0.1\n"), "{:?}", answer.text());
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(), 0);
    let mut backend = backend;
    backend.signal("TERM");
    assert_eq!(backend.wait_exit(), 0);
}

#[test]
fn a_bad_configuration_is_answered_with_every_problem_and_its_place() {
    let text = "listen: \"127.0.0.1:0\"\nlimits:\n  max_client_cons: 5\ntimeouts:\n  read_ms: soon\n  \
                total_ms: 99999999999\nbalance: fastest\ncolour: red\n";
    let said = complaints(Launch::new(["--config", "config.yaml"]).file("config.yaml", text));
    let said: Vec<_> = said.iter().filter(|l| l.starts_with("config.yaml:")).collect();
    assert_eq!(said.len(), 5, "{said:?}");
    assert_eq!(said[0], "config.yaml:3:3: limits.max_client_cons: unknown key, did you mean max_client_conns?");
    let places = ["config.yaml:3:", "config.yaml:5:", "config.yaml:6:", "config.yaml:7:", "config.yaml:8:"];
    let keys = [": limits.max_client_cons: ", ": timeouts.read_ms: ", ": timeouts.total_ms: ", ": balance: ", ": colour: "];
    for ((line, place), key) in said.iter().zip(places).zip(keys) {
        assert!(line.starts_with(place) && line.contains(key), "{line:?}");
    }
    assert!(said[3].contains("round_robin"), "a wrong choice lists the right ones: {:?}", said[3]);
}

#[test]
fn what_is_not_yaml_or_twice_there_has_its_place_as_well() {
    for (text, place) in [("listen: [\"127.0.0.1:0\"\nworkers: 1\n", "config.yaml:"), ("workers: 1\nworkers: 2\n", "config.yaml:2:1: ")] {
        let said = complaints(Launch::new(["-c", "config.yaml"]).file("config.yaml", text));
        let said: Vec<_> = said.iter().filter(|l| l.starts_with("config.yaml:")).collect();
        assert!(said.len() == 1 && said[0].starts_with(place), "{said:?}");
    }
}

#[test]
fn a_bad_value_from_the_environment_is_placed_by_its_variable() {
    let said = complaints(Launch::new(["run"]).env("LISTEN_PORT", "many").env("METRICS_LISTEN_PORT", 0));
    assert!(said.iter().any(|l| l.contains("LISTEN_PORT")), "{said:?}");
}

#[test]
fn bad_usage_and_missing_files_are_2() {
    complaints(Launch::new(["--no-such-option"]));
    let said = complaints(Launch::new(["--config", "nowhere.yaml"]));
    assert!(said.iter().any(|l| l.contains("nowhere.yaml")), "{said:?}");
}

#[test]
fn nothing_at_all_is_answered_with_how_to_begin() {
    for args in [vec![], vec!["--listen", "127.0.0.1:0"]] {
        let said = complaints(Launch::new(args));
        let begins: Vec<_> = said.iter().map(|line| line.split("  ").next().unwrap()).collect();
        assert_eq!(begins, ["tidegate --to HOST:PORT", "tidegate echo HOST:PORT", "tidegate init > config.yaml"]);
    }
}

#[test]
fn what_init_prints_runs() {
    let (status, text, err) = Launch::new(["init"]).run();
    assert!(status == 0 && err.is_empty(), "{err}");
    let (status, out, err) = Launch::new(["check"]).file("config.yaml", &text).run();
    assert_eq!((status, out.as_str(), err.as_str()), (0, "config.yaml: the configuration is good", ""));
    let launch = Launch::new(["--listen", "127.0.0.1:0"]).file("config.yaml", &text).env("METRICS_LISTEN_PORT", 0);
    launch.start().get("/").expect(502);
}

#[test]
fn a_dash_is_standard_input() {
    for args in [vec!["-"], vec!["--config", "-"], vec!["run", "-"]] {
        let launch = Launch::new(args).file("input", &says("piped").replace("metrics_listen: null", "metrics_listen: \"127.0.0.1:0\""));
        let input = std::fs::File::open(launch.dir().join("input")).unwrap();
        let proxy = launch.stdin(input).start();
        assert_eq!(proxy.get("/").expect(200).text().trim_end(), "piped");
        assert!(proxy.hang_up(), "what was read is kept");
        assert_eq!(proxy.get("/").expect(200).text().trim_end(), "piped");
    }
    let launch = Launch::new(["check", "-"]).file("input", "colour: red\n");
    let input = std::fs::File::open(launch.dir().join("input")).unwrap();
    let said = complaints(launch.stdin(input));
    assert!(said[0].starts_with("standard input:1:1: colour: unknown key"), "{said:?}");
}

#[test]
fn an_address_in_use_is_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (status, _, err) = Config::new().set("listen", addr.as_str()).launch().run();
    assert_eq!(status, 1, "{err}");
    assert!(err.contains(&addr), "{err}");
}

#[test]
fn version_and_help_are_asked_for_politely() {
    for flag in ["-V", "--version"] {
        let (status, out, _) = Launch::new([flag]).run();
        assert_eq!((status, out.trim()), (0, concat!("tidegate ", env!("CARGO_PKG_VERSION"))));
    }
    let (status, out, _) = Launch::new(["--help"]).run();
    assert!(status == 0 && out.contains("--listen") && out.contains("echo"), "{out}");
}

#[test]
fn keys_of_later_versions_are_known_and_warned_of() {
    let origin = Origin::hello();
    let cache = serde_json::json!({"max_bytes": 1_000_000});
    let proxy = Config::to(&origin).set("cache", cache).start();
    proxy.get("/").expect(200);
    let said = proxy.diagnostics();
    let warned = said.iter().filter(|l| l.contains("cache") && l.contains("has no effect yet")).count();
    assert_eq!(warned, 1, "{said:?}"); // until it has one
}

#[test]
fn the_ready_line_comes_at_any_log_level() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("logging", serde_json::json!({"level": "error", "access_log": null})).start();
    assert!(proxy.ready.ends_with(&format!(" workers=1 pid={}", proxy.pid())), "{:?}", proxy.ready);
    proxy.get("/").expect(200);
    assert_eq!(proxy.diagnostics().len(), 1, "{:?}", proxy.diagnostics());
    assert!(proxy.log_lines().is_empty());
}
