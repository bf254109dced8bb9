//! What calls of the program come to.

use super::*;
use crate::config::model::Action;

/// The configuration to run with, or the end.
fn parsed_in(dir: &std::path::Path, line: &str) -> Result<Loaded, End> {
    let words = std::iter::once("tidegate").chain(line.split_whitespace()).map(OsString::from);
    let environment = [("LOG_LEVEL".into(), "debug".into())];
    match parse(words) {
        Call::Serve(serve) => serve.load(environment, dir.to_owned()),
        Call::Check(check) => Err(check.done(environment, dir.to_owned())),
        Call::End(end) => Err(end),
    }
}

fn parsed(line: &str) -> Result<Loaded, End> {
    parsed_in(tempfile::tempdir().unwrap().path(), line)
}

fn run(line: &str) -> Loaded {
    match parsed(line) {
        Ok(loaded) => loaded,
        Err(end) => panic!("{line}: {end:?}"),
    }
}

fn end(line: &str) -> End {
    match parsed(line) {
        Ok(loaded) => panic!("{line}: runs with {:?}", loaded.config),
        Err(end) => end,
    }
}

fn listens(loaded: &Loaded) -> Vec<String> {
    loaded.config.listeners.iter().map(|listener| listener.address.to_string()).collect()
}

#[test]
fn run_is_what_happens_without_a_command() {
    for line in ["127.0.0.1:81", "run 127.0.0.1:81", "--listen 127.0.0.1:81", "run --listen=127.0.0.1:81"] {
        assert_eq!(listens(&run(&format!("{line} --to a:1"))), ["127.0.0.1:81"], "{line}");
    }
    let loaded = run("--to a:1,http://b:2 --to c:3 --listen :81,[::1]:82 --workers 3");
    let names: Vec<&str> = loaded.config.pools[0].upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!((names, loaded.config.workers), (vec!["a:1", "b:2", "c:3"], 3));
    assert_eq!(listens(&loaded), ["0.0.0.0:81", "[::1]:82"]);
    assert_eq!(loaded.config.logging.level, log::LevelFilter::Debug, "from the environment");
}

#[test]
fn a_file_is_named_in_three_ways() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.yaml"), "workers: 7\nroutes: [{echo: {}}]\n").unwrap();
    for line in ["x.yaml", "-c x.yaml", "--config x.yaml", "run x.yaml", "run -c x.yaml 127.0.0.1:81"] {
        match parsed_in(dir.path(), line) {
            Ok(loaded) => assert_eq!(loaded.config.workers, 7, "{line}"),
            Err(end) => panic!("{line}: {end:?}"),
        }
    }
    for line in ["check x.yaml", "-t x.yaml", "-t -c x.yaml", "run -t x.yaml", "check -c x.yaml"] {
        match parsed_in(dir.path(), line) {
            Err(end) => {
                assert_eq!(end, End::good("x.yaml, environment (LOG_LEVEL): the configuration is good\n"), "{line}")
            }
            Ok(_) => panic!("{line} runs"),
        }
    }
    for line in ["check --print x.yaml", "-t --print x.yaml"] {
        let Err(end) = parsed_in(dir.path(), line) else { panic!("{line} runs") };
        assert!(end.code == 0 && end.stdout.contains("\nworkers: 7\n") && end.stderr.is_empty(), "{end:?}");
    }
}

#[test]
fn bad_usage_and_bad_configurations_end_with_2() {
    for (line, wanted) in [
        ("none.yaml", "none.yaml: cannot be read: No such file or directory (os error 2)\n"),
        ("check none.yaml", "none.yaml: cannot be read: No such file or directory (os error 2)\n"),
        ("127.0.0.1:99999", "HOST:PORT: listen[0]: \"127.0.0.1:99999\": port 99999 is out of range, allowed: 0 to 65535\n"),
        (":80 --listen :81", ":80 and --listen both say where to listen, give one of them\n"),
        ("-c x.yaml check", "the command comes first: tidegate check …\n"),
        ("chekc", "chekc: no such file, and no such command, did you mean tidegate check?\n"),
        ("chekc x.yaml", "chekc: no such file, and no such command, did you mean tidegate check?\n"),
        ("run intt", "intt: no such file, and no such command, did you mean tidegate init?\n"),
        ("proxy", "proxy: cannot be read: No such file or directory (os error 2)\n"),
        ("a b", "one configuration file at a time: a, and then b\n"),
        ("check a.yaml b.yaml c.yaml", "one configuration file at a time: a.yaml, and then b.yaml, and then c.yaml\n"),
        ("a.yaml :80", "a.yaml and :80: a configuration file goes with --config, an address with --listen\n"),
        ("--print", "--print belongs to check: tidegate check --print\n"),
        ("explain GET /", "tidegate explain is not built yet\n"),
        ("--to ftp://a", "--to: upstreams[0].url: \"ftp://a\": unknown scheme \"ftp\", allowed: http, https\n"),
        ("--workers 0", "--workers: workers: 0 is out of range, allowed: 1 to 1024\n"),
    ] {
        assert_eq!(end(line), End { code: 2, stdout: String::new(), stderr: wanted.into() }, "{line}");
    }
    assert!(end("--help").stdout.contains("separate several by commas"));
    let unknown = end("--lisen :80");
    assert!(unknown.code == 2 && unknown.stderr.contains("--listen"), "{unknown:?}");
    assert_eq!(end("echo").code, 2);
}

#[test]
fn who_gives_nothing_is_told_how_to_begin() {
    for line in ["", "run", "--workers 3", ":80", "--listen :80", "--watch"] {
        let End { code, stdout, stderr } = end(line);
        let begins: Vec<&str> = stderr.lines().map(|line| line.split("  ").next().unwrap_or_default()).collect();
        let wanted = ["tidegate --to HOST:PORT", "tidegate echo HOST:PORT", "tidegate init > config.yaml"];
        assert_eq!((code, stdout.as_str(), begins), (2, "", wanted.to_vec()), "{line}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.yaml"), "").unwrap();
    assert!(parsed_in(dir.path(), "").is_ok(), "an empty file is a file");
}

#[test]
fn what_init_prints_is_good_also_with_its_comments() {
    let dir = tempfile::tempdir().unwrap();
    let init = end("init").stdout;
    // A key that is commented out follows `#` directly; keys below it are indented or begin with a dash.
    let is_key = |line: &str| {
        let first = line.trim_start().trim_start_matches("- ").split(' ').next().unwrap_or_default();
        line.starts_with(' ') || (first.ends_with(':') && first.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b':'))
    };
    let active = |line: &str| line.strip_prefix("# ").filter(|key| is_key(key)).unwrap_or(line).to_owned();
    let all = init.lines().map(active).collect::<Vec<_>>().join("\n");
    assert!(all.lines().filter(|line| line.starts_with('#')).count() < init.lines().filter(|line| line.starts_with('#')).count() - 20);
    for text in [init, all] {
        std::fs::write(dir.path().join("config.yaml"), &text).unwrap();
        let Err(end) = parsed_in(dir.path(), "check") else { panic!("it runs") };
        assert_eq!((end.code, end.stderr.as_str()), (0, ""), "{text}");
    }
}

#[test]
fn completions_and_a_manual_know_every_command() {
    for line in ["completions bash", "completions zsh", "completions fish", "man"] {
        let End { code, stdout, stderr } = end(line);
        assert!(code == 0 && stderr.is_empty(), "{line}: {stderr}");
        for word in ["check", "echo", "init", "completions"] {
            assert!(stdout.contains(word), "{line} does not know {word}");
        }
    }
    assert_eq!(end("completions tcl").code, 2);
}

#[test]
fn help_and_version_go_to_standard_output() {
    assert_eq!(end("--version"), End::good(concat!("tidegate ", env!("CARGO_PKG_VERSION"), "\n")));
    for line in ["--help", "-h", "check --help", "help"] {
        let help = end(line);
        assert!(help.code == 0 && help.stdout.contains("Usage: tidegate") && help.stderr.is_empty(), "{line}: {help:?}");
    }
}

#[test]
fn echo_is_a_proxy_that_answers_itself() {
    let loaded = run("echo 127.0.0.1:9001 127.0.0.1:9002");
    assert_eq!(listens(&loaded), ["127.0.0.1:9001", "127.0.0.1:9002"]);
    assert_eq!((loaded.config.metrics_listen, loaded.warnings.len(), loaded.config.pools[0].upstreams.len()), (None, 0, 0));
    let routes: Vec<_> = loaded.config.routes.iter().map(|route| (route.matcher.port, &route.action)).collect();
    let named = |name: &str| Action::Echo { name: name.into() };
    assert_eq!(routes, [(Some(9001), &named("127.0.0.1:9001")), (Some(9002), &named("127.0.0.1:9002"))]);
    let loaded = run("echo --name one 127.0.0.1:0");
    assert_eq!((loaded.config.routes[0].matcher.port, &loaded.config.routes[0].action), (None, &named("one")));
    assert_eq!(loaded.config.logging.level, log::LevelFilter::Info, "no variable is read");
}
