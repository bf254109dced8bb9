//! The start: signals that come during it, another process that is there already, and what the machine allows.

use crate::support::*;
use serde_json::json;
use std::io::Write;
use std::time::Duration;

/// A start that takes its two seconds: the first look-up of a name does not come back.
fn slow() -> Launch {
    let config = Config::new().set("upstreams", json!([{"host": "slow.test", "port": 1}]));
    config.launch().names("slow.test hang\n")
}

fn wait_for_look_up(dir: &std::path::Path) {
    let asked = dir.join("hosts.asked");
    wait_until("the name is looked up", || std::fs::read_to_string(&asked).unwrap().contains("slow.test"));
}

/// They ended it.
#[test]
fn signals_that_come_during_the_start_are_served_after_it() {
    let proxy = slow().start_and(|pid, dir| {
        wait_for_look_up(dir);
        ["HUP", "USR1", "USR2", "HUP"].iter().for_each(|name| proxy::signal(pid, name));
    });
    wait_until("it has reloaded", || proxy.reloads().0 >= 1);
    wait_until("it has said that one means nothing", || proxy.diagnostics().iter().any(|line| line.contains("SIGUSR2 is ignored")));
}

#[test]
fn a_start_that_is_told_to_end_does_so_cleanly() {
    for name in ["TERM", "INT"] {
        let mut proxy = slow().start_and(|pid, dir| {
            wait_for_look_up(dir);
            proxy::signal(pid, name);
        });
        assert_eq!(proxy.wait_exit(), 0);
        let last = proxy.diagnostics().pop().unwrap();
        assert!(last.ends_with("stopped: 0 exchanges finished, 0 cut"), "{last:?}");
    }
}

/// A start that waits before there is a configuration: the name of its listener is being looked up.
fn nameless() -> Launch {
    let launch = Config::new().set("listen", "slow.test:0").set("routes", json!([{"respond": {"body": "there"}}])).launch();
    launch.names("slow.test hang\n")
}

/// A start that waits for the rest of its standard input, and what writes to that. It has begun to read.
fn unfed(args: &[&'static str]) -> (Launch, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (Launch::with_default_signals(args.iter().copied()).stdin(reader), writer)
}

/// More than a pipe holds, so that it is written only when the other side reads.
fn fill(mut writer: &std::io::PipeWriter) {
    writer.write_all(&b"# a line\n".repeat(30_000)).unwrap();
}

const HELD: [&str; 4] = ["HUP", "USR1", "USR2", "HUP"];

#[track_caller]
fn expect_served(proxy: &Proxy) {
    assert_eq!(proxy.get("/").expect(200).text(), "there");
    wait_until("it has reloaded", || proxy.reloads().0 >= 1);
    wait_until("it has said that one means nothing", || proxy.diagnostics().iter().any(|line| line.contains("SIGUSR2 is ignored")));
}

/// They ended it, as nobody had asked for them yet.
#[test]
fn signals_that_come_before_the_configuration_is_read_are_served_after_it() {
    let proxy = nameless().start_and(|pid, dir| {
        wait_for_look_up(dir);
        HELD.iter().for_each(|name| proxy::signal(pid, name));
        std::fs::write(dir.join("new"), "slow.test 127.0.0.1\n").unwrap();
        std::fs::rename(dir.join("new"), dir.join("hosts")).unwrap();
    });
    expect_served(&proxy);

    let (launch, writer) = unfed(&["-"]);
    let proxy = launch.start_and(|pid, _| {
        fill(&writer);
        HELD.iter().for_each(|name| proxy::signal(pid, name));
        let config = Config::new().set("routes", json!([{"respond": {"body": "there"}}]));
        (&writer).write_all(config.0.to_string().as_bytes()).unwrap();
        drop(writer);
    });
    expect_served(&proxy);
}

/// At once, as there is nothing to finish; and also as the first process of a container, which has no default actions.
#[test]
fn before_the_configuration_is_read_an_ending_signal_ends_it() {
    for name in ["TERM", "INT"] {
        let (status, out, err) = nameless().run_and(|pid, dir| {
            wait_for_look_up(dir);
            proxy::signal(pid, name);
        });
        assert_eq!((status, out.as_str(), err.as_str()), (0, "", ""), "{name}");
        for args in [vec!["-"], vec!["run", "--config", "-"]] {
            let (launch, writer) = unfed(&args);
            let (status, out, err) = launch.run_and(|pid, _| {
                fill(&writer);
                proxy::signal(pid, name);
            });
            assert_eq!((status, out.as_str(), err.as_str()), (0, "", ""), "{name}");
        }
    }
}

/// As with any other command, whoever started it sees that it was interrupted.
#[test]
fn a_command_that_serves_nothing_is_ended_by_signals() {
    for name in ["TERM", "INT", "HUP"] {
        let (launch, writer) = unfed(&["check", "-"]);
        let (status, ..) = launch.run_and(|pid, _| {
            fill(&writer);
            proxy::signal(pid, name);
        });
        assert_eq!(status, -1, "{name}");
    }
}

/// Scrapes found the one or the other.
#[test]
fn an_admin_port_is_one_processes_own() {
    let origin = Origin::busy("a");
    let first = Config::to(&origin).start();
    let load = Load::start(first.addr(), 2, 3, Duration::from_millis(5));
    load.wait_for_more(20);
    let second = Config::to(&origin).set("listen", first.addr().to_string()).set("metrics_listen", first.admin().to_string());
    for _ in 0..3 {
        let (status, _, err) = second.clone().launch().run();
        assert_eq!(status, 1, "{err}");
        let says = format!("metrics_listen {}: ", first.admin());
        assert!(err.contains(&says) && err.contains("METRICS_LISTEN_PORT"), "{err}");
        load.wait_for_more(20);
    }
    // It must not have taken connections of the first before it found out.
    load.stop().expect_flawless();
}

#[test]
fn the_ready_line_says_that_a_port_is_shared() {
    let origin = Origin::hello();
    let config = Config::to(&origin).set("workers", 2).set("listen", format!("127.0.0.1:{}", free_port()));
    let one = config.clone().start();
    assert!(!one.ready.contains("shared="), "{:?}", one.ready);
    let two = config.clone().set("listen", json!(["127.0.0.1:0", one.addr().to_string()])).start();
    assert!(two.ready.ends_with(&format!(" workers=2 shared=yes pid={}", two.pid())), "{:?}", two.ready);
    drop((one, two));
    assert!(!config.start().ready.contains("shared="));
}

#[test]
fn where_not_one_exchange_fits_the_start_is_refused() {
    let origin = Origin::hello();
    let config = Config::to(&origin).set("workers", 2).0.to_string();
    let launch = |limit| Launch::with_descriptors(limit, ["--config", "config.yaml"]).file("config.yaml", &config);
    let (status, _, err) = launch(16).run();
    assert_eq!(status, 1, "{err}");
    let is_number = |word: &&str| word.bytes().all(|b| b.is_ascii_digit());
    let (says, _) = err.split_once(" are needed").unwrap_or_else(|| panic!("no number in {err:?}"));
    let needed: usize = says.rsplit(' ').find(is_number).unwrap().parse().unwrap();
    assert!(err.contains("ulimit -n") && err.contains("is 16"), "{err}");
    assert_eq!(launch(needed - 1).run().0, 1);
    launch(needed).start().get("/").expect(200);
}
