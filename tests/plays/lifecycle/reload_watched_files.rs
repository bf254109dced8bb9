//! A file that is watched is reloaded when it changes, as if by SIGHUP.

use crate::support::*;
use serde_json::json;

fn saying(text: &str) -> Config {
    Config::new().set("routes", json!([{"respond": {"body": text}}]))
}

fn says(proxy: &Proxy, text: &str) {
    wait_until(&format!("it says {text}"), || proxy.get("/").expect(200).text() == text);
}

/// Good reloads and refused ones. A reload is counted when it is over, a little after its first effects.
fn counted(proxy: &Proxy, reloads: (usize, usize)) {
    wait_until(&format!("reloads are counted: {reloads:?}"), || proxy.reloads() == reloads);
}

#[test]
fn a_changed_file_is_reloaded() {
    let proxy = saying("old").set("watch", true).start();
    says(&proxy, "old");
    proxy.write("config.yaml", &saying("new").set("watch", true).0.to_string());
    says(&proxy, "new");
    wait_until("it is said", || proxy.diagnostics().iter().any(|line| line.contains(" reloaded: ") && line.contains("\"new\"")));
    counted(&proxy, (1, 0));

    proxy.write("config.yaml", "routes: [{respond: {body: bad}}]\nlimits: {max: 1}\n");
    counted(&proxy, (1, 1));
    let is_said = |line: &String| line.contains(" ERROR ") && line.contains("config.yaml:2:10: ");
    wait_until("it is said where and why", || proxy.diagnostics().iter().any(is_said));
    std::fs::remove_file(proxy.dir().join("config.yaml")).unwrap();
    says(&proxy, "new");

    // Once for each change; and not after watching is turned off.
    proxy.write("config.yaml", &saying("last").0.to_string());
    says(&proxy, "last");
    counted(&proxy, (2, 1));
    proxy.write("config.yaml", &saying("unseen").0.to_string());
    assert!(proxy.hang_up());
    assert_eq!(proxy.reloads(), (3, 1));
    says(&proxy, "unseen");
}

/// As Kubernetes mounts a ConfigMap: the file is a link into a directory that is itself a link, and that one is swapped.
#[test]
fn what_a_link_leads_to_is_watched() {
    let launch = Launch::new(["--watch", "config.yaml"]);
    let dir = launch.dir().to_owned();
    for name in ["first", "second"] {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("config.yaml"), saying(name).0.to_string()).unwrap();
    }
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, dir.join("link")).unwrap();
        std::fs::rename(dir.join("link"), dir.join(name)).unwrap();
    };
    link("first", "..data");
    link("..data/config.yaml", "config.yaml");
    let proxy = launch.start();
    says(&proxy, "first");
    link("second", "..data");
    says(&proxy, "second");
    counted(&proxy, (1, 0));
}

#[test]
fn where_there_is_no_file_that_is_said() {
    let origin = Origin::hello();
    let to = origin.addr().to_string();
    let proxy = Launch::new(["--watch", "--listen", "127.0.0.1:0", "--to", &to]).env("METRICS_LISTEN_PORT", 0).start();
    wait_until("it is said", || proxy.diagnostics().iter().any(|line| line.contains(" WARN ") && line.contains("no file to look at")));
    proxy.get("/").expect(200);
}

/// Variables of the environment stay what they were at the start; those in a file are read again like the configuration.
#[test]
fn the_file_with_variables_is_watched_too() {
    let routes = "routes: [{respond: {body: \"${WORD:-none}\"}}]\n";
    let config = format!("listen: \"127.0.0.1:0\"\nmetrics_listen: \"127.0.0.1:0\"\nwatch: true\n{routes}");
    for (args, name) in [(vec!["config.yaml"], ".env"), (vec!["--env-file", "variables", "config.yaml"], "variables")] {
        let launch = Launch::new(args).file("config.yaml", &config).file(name, "WORD=old\n");
        let proxy = launch.start();
        says(&proxy, "old");
        proxy.write(name, "WORD=new\n");
        says(&proxy, "new");
        counted(&proxy, (1, 0));
        proxy.write(name, "WORD=\"new\n");
        counted(&proxy, (1, 1));
        wait_until("it is said why", || proxy.diagnostics().iter().any(|l| l.contains(" ERROR ") && l.contains(&format!("{name}:1: "))));
        proxy.write(name, "WORD=last\n");
        says(&proxy, "last");
    }
}

/// Without a configuration file, it is the only file.
#[test]
fn the_file_with_variables_alone_is_watched() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let to = |origin: &Origin| format!("UPSTREAMS={}\nMETRICS_LISTEN_PORT=0\n", origin.addr());
    let proxy = Launch::new(["--watch", "127.0.0.1:0"]).file(".env", &to(&origins[0])).start();
    says(&proxy, "a");
    proxy.write(".env", &to(&origins[1]));
    says(&proxy, "b");
    assert!(!proxy.diagnostics().iter().any(|line| line.contains("no file to look at")), "{:?}", proxy.diagnostics());
}

/// One that a reload reads for the first time is watched from then on.
#[test]
fn a_file_that_appears_is_watched_once_it_was_read() {
    let config = "listen: \"127.0.0.1:0\"\nmetrics_listen: \"127.0.0.1:0\"\nwatch: true\nroutes: [{respond: {body: \"${WORD:-none}\"}}]\n";
    let proxy = Launch::new(["config.yaml"]).file("config.yaml", config).start();
    says(&proxy, "none");
    proxy.write(".env", "WORD=one\n");
    assert!(proxy.hang_up());
    says(&proxy, "one");
    proxy.write(".env", "WORD=two\n");
    says(&proxy, "two");
}
