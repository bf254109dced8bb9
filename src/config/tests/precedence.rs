//! default < file < .env < environment < command line, and which of several names counts.

use super::Setup;
use crate::config::ConfigSources;
use crate::config::model::{Action, Config, Origin};

/// A key as each source sets it, and the value that results.
struct Source {
    what: &'static str,
    set: fn(Setup, port: u16) -> Setup,
}

const SOURCES: [Source; 4] = [
    Source { what: "file", set: |setup, port| setup.with(&format!("listen: 127.0.0.1:{port}\nupstreams: [{{host: h, port: {port}}}]\n")) },
    Source { what: ".env", set: |setup, port| setup.write(".env", &format!("LISTEN_PORT={port}\nUPSTREAMS=h:{port}\n")) },
    Source {
        what: "environment",
        set: |setup, port| setup.variable("LISTEN_PORT", &port.to_string()).variable("UPSTREAMS", &format!("http://h:{port}")),
    },
    Source {
        what: "command line",
        set: |mut setup, port| {
            setup.sources.listen = Some(("--listen", vec![format!("127.0.0.1:{port}")]));
            setup.sources.to = Some(vec![format!("h:{port}")]);
            setup
        },
    },
];

#[test]
fn of_every_two_sources_the_later_wins() {
    for (low, lower) in SOURCES.iter().enumerate() {
        let (port, upstream) = ports(&(lower.set)(Setup::new(), 1000).good().config);
        assert_eq!((port, upstream), (1000, 1000), "{} over the default", lower.what);
        for higher in &SOURCES[low + 1..] {
            let setup = (higher.set)((lower.set)(Setup::new(), 1000), 2000);
            assert_eq!(ports(&setup.good().config), (2000, 2000), "{} over {}", higher.what, lower.what);
        }
    }
}

fn ports(config: &Config) -> (u16, u16) {
    assert_eq!(config.pools[0].upstreams.len(), 1);
    let Origin::Tcp { port, .. } = config.pools[0].upstreams[0].origin else { unreachable!() };
    (config.listeners[0].address.port().unwrap(), port)
}

#[test]
fn of_every_two_names_the_first_counts() {
    let listen = ["TIDEGATE_LISTEN", "LISTEN_PORT", "PROXY_PORT", "DEVPROXY_PORT"];
    let value = |name: &str, port: u16| if name == "TIDEGATE_LISTEN" { format!("127.0.0.1:{port}") } else { port.to_string() };
    for (n, first) in listen.iter().enumerate() {
        for second in &listen[n + 1..] {
            let setup = Setup::new().variable(first, &value(first, 1000)).variable(second, &value(second, 2000));
            assert_eq!(setup.good().config.listeners[0].address.port(), Some(1000), "{first} before {second}");
        }
    }
    let upstreams =
        [("TIDEGATE_UPSTREAMS", "[{host: a, port: 1}]"), ("UPSTREAMS", "b:1"), ("BACKEND_7", "http://c:1"), ("UPSTREAM_HOST", "d")];
    for (n, first) in upstreams.iter().enumerate() {
        for second in &upstreams[n + 1..] {
            let config = Setup::new().variable(first.0, first.1).variable(second.0, second.1).good().config;
            let hosts: Vec<&str> = config.pools[0].upstreams.iter().filter_map(|upstream| upstream.origin.name()).collect();
            assert_eq!(hosts, [&["a", "b", "c", "d"][n]].map(|host| *host), "{} before {}", first.0, second.0);
        }
    }
    let level = |setup: Setup| setup.good().config.logging.level;
    assert_eq!(level(Setup::new().variable("LOG_LEVEL", "DEBUG").variable("TIDEGATE_LOGGING__LEVEL", "error")), log::LevelFilter::Error);
    assert_eq!(level(Setup::new().variable("LOG_LEVEL", "WARNING")), log::LevelFilter::Warn);
}

#[test]
fn a_name_of_the_environment_beats_every_name_of_dotenv() {
    let setup = Setup::new().write(".env", "TIDEGATE_LISTEN=127.0.0.1:1000\nUPSTREAMS=a:1\n");
    let setup = setup.variable("DEVPROXY_PORT", "2000").variable("BACKEND_1", "http://b:2");
    let config = setup.good().config;
    assert_eq!(ports(&config), (2000, 2));
}

#[test]
fn variables_that_make_one_value_may_come_from_both() {
    let setup = Setup::new().write(".env", "BACKEND_1=http://a:1\nBACKEND_2=http://b:2\n").variable("BACKEND_2", "http://c:3");
    let names: Vec<String> = setup.good().config.pools[0].upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    assert_eq!(names, ["a:1", "c:3"]);
    let setup = Setup::new().write(".env", "UPSTREAM_HOST=a\n").variable("UPSTREAM_PORT", "8443");
    assert_eq!(setup.good().config.pools[0].upstreams[0].name, "a:8443");
    // Port 443 means TLS.
    let setup = setup.variable("UPSTREAM_PORT", "443").variable("TIDEGATE_UPSTREAM_TLS__INSECURE_SKIP_VERIFY", "true").good();
    let pool = &setup.config.pools[0];
    assert!(pool.upstreams[0].origin.is_tls() && pool.tls.is_some(), "{pool:?}");
}

#[test]
fn each_variable_sets_its_key() {
    let set = |name: &str, value: &str, shown: &str| {
        let printed = Setup::new().variable(name, value).good().effective.to_string();
        assert!(printed.contains(shown), "{name}={value}: {shown} is not in\n{printed}");
    };
    set("LISTEN_HOST", "0.0.0.0", "listen: 0.0.0.0:8080\n");
    set("LISTEN_HOST", "::1", "listen: '[::1]:8080'\n");
    set("DEVPROXY_HOST", "0.0.0.0", "listen: 0.0.0.0:8080\n");
    set("DEVPROXY_PORT", "81", "listen: 127.0.0.1:81\n");
    set("PROXY_PORT", "82", "listen: 127.0.0.1:82\n");
    set("METRICS_LISTEN_HOST", "0.0.0.0", "metrics_listen: 0.0.0.0:8081\n");
    set("METRICS_LISTEN_PORT", "0", "metrics_listen: 127.0.0.1:0\n");
    set("LOG_LEVEL", "INFO", "level: info\n");
    set("LOG_DIR", "logs", "access_log: access.log\n  error_log: error.log\n  access_format: text\n  dir: logs\n");
    set("UPSTREAMS", "a:1, http://b:2", "upstreams:\n- host: a\n  port: 1\n- url: http://b:2\n");
    set("BACKEND_99", "http://b:2", "upstreams:\n- url: http://b:2\n");
    set("UPSTREAM_HOST", "a", "upstreams:\n- host: a\n  port: 80\n");
    set("MAX_CONNECTIONS", "2000", "max_client_conns: 2000\n");
    set("MAX_RETRIES", "7", "max_retries: 7\n");
    set("FAILURE_THRESHOLD", "9", "failure_threshold: 9\n");
    set("HEALTH_COOLDOWN", "20.5", "timeout_ms: 20500\n");
    set("REQUEST_TIMEOUT_TOTAL", "1.5", "attempt_ms: 1500\n");
    set("REQUEST_TIMEOUT_CONNECT", "0.0001", "connect_ms: 1\n");
    set("TIDEGATE_TIMEOUTS__READ_MS", "2000", "read_ms: 2000\n");
    set("TIDEGATE_LOGGING__ACCESS_LOG", "-", "access_log: '-'\n");
    set("TIDEGATE_METRICS_LISTEN", "null", "metrics_listen: null\n");
    set("TIDEGATE_BACKENDS", "[{url: 'http://a'}]", "upstreams:\n- url: http://a\n");
    set("TIDEGATE_POOLS__API__UPSTREAMS", "[{url: 'http://a'}]", "pools:\n  api:\n    upstreams:\n    - url: http://a\n");
    set("TIDEGATE_HEALTH_CHECK__PATH", "/up", "health_check:\n  path: /up\n");
    set("TIDEGATE_ROUTES", "[{echo: {}}]", "routes:\n- echo: {}\n");
    set("LOG_LEVEL", "", "level: info\n");
}

#[test]
fn variables_change_the_first_listener_and_leave_the_others() {
    let text = "listen: [{address: '127.0.0.1:1', mode: '0600'}, '127.0.0.1:2']\nmetrics_listen: null\n";
    let setup = Setup::new().with(text).variable("LISTEN_PORT", "3").variable("METRICS_LISTEN_HOST", "::1");
    let config = setup.good().config;
    let addresses: Vec<String> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1:3", "127.0.0.1:2"]);
    assert_eq!(config.metrics_listen.unwrap().to_string(), "[::1]:8081");
}

#[test]
fn a_wrong_value_is_placed_by_its_variable_or_option() {
    for (name, value, wanted) in [
        ("LOG_LEVEL", "loud", "LOG_LEVEL: logging.level: unknown value \"loud\", allowed: error, warn, warning, info, debug, trace"),
        ("LISTEN_PORT", "70000", "LISTEN_PORT: \"70000\" is no port, allowed: 0 to 65535"),
        ("PROXY_PORT", "10.0.0.1:80", "PROXY_PORT: \"10.0.0.1:80\" is no port, allowed: 0 to 65535"),
        ("LISTEN_HOST", "a b", "LISTEN_HOST: listen: \"a b\" is no host name or address"),
        ("UPSTREAMS", "a:1,b", "UPSTREAMS: upstreams[1]: \"b\" has no port, write \"b:8080\""),
        ("BACKEND_3", "http://a/x", "BACKEND_3: upstreams[0].url: \"http://a/x\": an upstream has no path, write \"http://a\""),
        ("UPSTREAMS", "a:1,a:1", "UPSTREAMS: upstreams[1]: \"a:1\" is the name of upstreams[0] already, give it a name of its own"),
        (
            "MAX_CONNECTIONS",
            "many",
            "MAX_CONNECTIONS: limits.max_client_conns: expected an integer from 1 to 1000000000, found the text \"many\"",
        ),
        ("MAX_RETRIES", "-1", "MAX_RETRIES: retry.max_retries: -1 is out of range, allowed: 0 to 100"),
        ("REQUEST_TIMEOUT_TOTAL", "1.5s", "REQUEST_TIMEOUT_TOTAL: expected seconds such as 1.5, found \"1.5s\""),
        ("HEALTH_COOLDOWN", "0", "HEALTH_COOLDOWN: circuit_breaker.timeout_ms: 0 is out of range, allowed: 1 to 86400000"),
        ("TIDEGATE_WORKERS", "[", "TIDEGATE_WORKERS: is no YAML: did not find expected node content, while parsing a flow node"),
        ("TIDEGATE_LIMITS", "{max_header: 1}", "TIDEGATE_LIMITS: limits.max_header: unknown key, did you mean max_headers?"),
        ("CONFIG_PATH", "none.yaml", "none.yaml: cannot be read: No such file or directory (os error 2)"),
    ] {
        assert_eq!(Setup::new().variable(name, value).problems(), wanted, "{name}={value}");
    }
    let mut setup = Setup::new().with("workers: 0\n").variable("LOG_LEVEL", "x");
    setup.sources.listen = Some(("--listen", vec!["127.0.0.1".into()]));
    setup.sources.to = Some(vec!["9001".into()]);
    setup.sources.workers = Some("x".into());
    assert_eq!(
        setup.problems(),
        "c.yaml:1:10: workers: 0 is out of range, allowed: 1 to 1024\n\
         --listen: listen[0]: \"127.0.0.1\" has no port, write \"127.0.0.1:8080\"\n\
         --to: upstreams[0]: \"9001\" is a port alone, write \"127.0.0.1:9001\"\n\
         --workers: workers: expected auto, or an integer from 1 to 1024, found the text \"x\"\n\
         LOG_LEVEL: logging.level: unknown value \"x\", allowed: error, warn, warning, info, debug, trace"
    );
}

#[test]
fn unknown_names_with_the_prefix_are_warnings() {
    let setup = Setup::new().variable("TIDEGATE_PORT", "tcp://10.0.0.1:80").variable("TIDEGATE_TIMEOUTS__RAED_MS", "1");
    let warnings = setup.variable("UPSTREAM_PORT", "80").good().warnings;
    assert!(warnings.contains(&"TIDEGATE_PORT: no key of the configuration, ignored".to_owned()), "{warnings:?}");
    let meant = "TIDEGATE_TIMEOUTS__RAED_MS: no key of the configuration, ignored, did you mean TIDEGATE_TIMEOUTS__READ_MS?";
    assert!(warnings.contains(&meant.to_owned()), "{warnings:?}");
    assert!(warnings.contains(&"UPSTREAM_PORT: has no effect without UPSTREAM_HOST".to_owned()), "{warnings:?}");
}

#[test]
fn which_file_is_read() {
    let port = |setup: &Setup| setup.good().config.listeners[0].address.port().unwrap();
    let file = |port: u16| format!("listen: 127.0.0.1:{port}\n");
    let mut setup = Setup::new().write("config.yaml", &file(1)).write("b.yaml", &file(2)).write("c.yaml", &file(3));
    assert_eq!((port(&setup), setup.good().path), (1, Some("config.yaml".into())));
    setup = setup.variable("CONFIG_PATH", "b.yaml");
    assert_eq!(port(&setup), 2);
    setup.sources.config = Some("c.yaml".into());
    assert_eq!(port(&setup), 3);

    // With --to no file is needed, and a config.yaml that is there is ignored; one that is named is read.
    let mut setup = Setup::new().write("config.yaml", &file(1));
    setup.sources.to = Some(vec!["a:1".into()]);
    assert_eq!((port(&setup), setup.good().path), (8080, None));
    setup = setup.write(".env", "CONFIG_PATH=config.yaml\n");
    assert_eq!(port(&setup), 1);
    setup.sources.alone = true;
    assert_eq!(port(&setup), 8080);
}

#[test]
fn dotenv_files() {
    let setup = Setup::new().write(".env", "# ours\nexport LISTEN_PORT=\"81\"\nLOG_LEVEL=debug # loud\n");
    let loaded = setup.good();
    assert_eq!(loaded.notes, ["read ./.env: 2 variables"]);
    assert_eq!((loaded.config.listeners[0].address.port(), loaded.config.logging.level), (Some(81), log::LevelFilter::Debug));

    let mut setup = setup.write("other.env", "LISTEN_PORT=82\n");
    setup.sources.env_file = Some("other.env".into());
    assert_eq!(setup.good().config.listeners[0].address.port(), Some(82));
    setup.sources.env_file = Some("none.env".into());
    assert_eq!(setup.problems(), "none.env: cannot be read: No such file or directory (os error 2)");
    let setup = Setup::new().write(".env", "A=1\nwhat is this\n");
    assert_eq!(setup.problems(), "./.env:2: is not NAME=value");
}

#[test]
fn options_without_any_file() {
    let sources = ConfigSources {
        alone: true,
        listen: Some(("HOST:PORT", vec![":81".into(), "[::1]:82".into()])),
        workers: Some("3".into()),
        ..ConfigSources::default()
    };
    let config = super::load(sources).unwrap().config;
    let addresses: Vec<String> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!((addresses, config.workers), (vec!["0.0.0.0:81".to_owned(), "[::1]:82".to_owned()], 3));
}

#[test]
fn variables_of_the_file_are_put_in_before_it_is_read() {
    let text = "workers: ${N}\nlisten: \"${HOST:-127.0.0.1}:${PORT}\"\ntimeouts: {read_ms: \"${WAIT}\"}\nmetrics_listen: ${OFF}\n\
                routes: [{name: \"${N}\", respond: {status: \"${EMPTY:-503}\", body: \"$${N} ${LIST} $5\"}}]\n";
    let setup = Setup::new().with(text).write(".env", "N=7\nPORT=1\n").variable("N", "3").variable("WAIT", "2s").variable("OFF", "null");
    let loaded = setup.variable("EMPTY", "").variable("LIST", "[a, b]").good();
    let config = &loaded.config;
    assert_eq!((config.workers, config.timeouts.read_ms, config.metrics_listen), (3, 2000, None));
    assert_eq!((config.listeners[0].address.to_string(), config.routes[0].name.as_str()), ("127.0.0.1:1".to_owned(), "3"));
    assert_eq!(config.routes[0].action, Action::Respond { status: 503, body: "${N} [a, b] $5".into() });
    // What is printed has no variables, and a literal `${` is read back as such.
    let printed = loaded.effective.to_string();
    assert!(printed.contains("$${N} [a, b] $5"), "{printed}");
    assert_eq!(Setup::new().with(&printed).good().config, *config);
}

#[test]
fn what_kubernetes_sets_for_a_service_is_not_ours() {
    let loaded = Setup::new().variable("PROXY_PORT", "tcp://10.96.0.10:80").variable("UPSTREAMS", "http://127.0.0.1:9").good();
    assert_eq!(loaded.config.listeners[0].address.to_string(), "127.0.0.1:8080");
    assert!(matches!(&loaded.warnings[..], [one] if one.starts_with("PROXY_PORT: is a URL")), "{:?}", loaded.warnings);
}

#[test]
fn every_source_is_named() {
    assert_eq!(Setup::new().good().source, "no file, only defaults");
    assert_eq!(Setup::new().variable("LOG_LEVEL", "debug").good().source, "no file, environment (LOG_LEVEL)");
    let mut setup = Setup::new().with("workers: 1\n").write(".env", "MAX_RETRIES=1\n").variable("LOG_LEVEL", "debug");
    setup.sources.to = Some(vec!["127.0.0.1:1".into()]);
    assert_eq!(setup.good().source, "c.yaml, .env (MAX_RETRIES), environment (LOG_LEVEL), --to");
}

#[test]
fn words_with_commas_are_a_list_where_a_list_is_wanted() {
    let setup = Setup::new().variable("TIDEGATE_LISTEN", "127.0.0.1:1, [::1]:2").variable("TIDEGATE_UPSTREAMS", "a:1,http://b");
    let setup = setup.variable("TIDEGATE_HEADERS__TRUSTED_PROXIES", "10.0.0.0/8,::1").variable("TIDEGATE_RETRY__STATUSES", "502,503");
    let config = setup.variable("TIDEGATE_CIRCUIT_BREAKER__FAILURE_STATUSES", "500").good().config;
    let addresses: Vec<String> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1:1", "[::1]:2"]);
    let pool = &config.pools[0];
    assert_eq!(pool.upstreams.iter().map(|upstream| upstream.name.as_str()).collect::<Vec<_>>(), ["a:1", "b:80"]);
    assert_eq!(config.trusted_proxies.networks.len(), 2);
    assert!([502, 503].iter().all(|status| pool.retry.statuses.contains(*status)));
    assert!(pool.breaker.failure_statuses.contains(500) && !pool.breaker.failure_statuses.contains(502));
    for (name, value, wanted) in [
        ("TIDEGATE_LISTEN", "127.0.0.1:1,b", "TIDEGATE_LISTEN: listen[1]: \"b\" has no port, write \"b:8080\""),
        (
            "TIDEGATE_METRICS_LISTEN",
            "a:1,b:2",
            "TIDEGATE_METRICS_LISTEN: metrics_listen: \"a:1,b:2\" is more than one address, write each as an item of a list",
        ),
        (
            "TIDEGATE_RETRY__STATUSES",
            "502,x",
            "TIDEGATE_RETRY__STATUSES: retry.statuses[1]: expected an integer from 100 to 599, found the text \"x\"",
        ),
    ] {
        assert_eq!(Setup::new().variable(name, value).problems(), wanted, "{name}={value}");
    }
}

#[test]
fn a_dollar_that_is_lost_in_a_dotenv_file_is_a_warning() {
    let loaded = Setup::new().write(".env", "A=1\nLOG_DIR=lo$gs\nUPSTREAMS='http://a:1' # $5\n").good();
    assert!(matches!(&loaded.warnings[..], [one] if one.starts_with("./.env:2: a $ begins ")), "{:?}", loaded.warnings);
    assert_eq!(Setup::new().write(".env", "LOG_DIR=$HERE/logs\nUPSTREAMS=http://a:1\n").variable("HERE", "x").good().warnings, [""; 0]);
    let mut setup = Setup::new().write("other.env", "MAX_RETRIES=1\n");
    setup.sources.env_file = Some("other.env".into());
    assert_eq!(setup.good().source, "no file, other.env (MAX_RETRIES)");
}

#[test]
fn what_is_printed_has_no_warnings_of_its_own() {
    let text = "health_check: {}\nupstreams: [{host: a, port: 1, backup: false, http2: false}]\n\
                listen: {address: '127.0.0.1:1', http2: true}\nlimits: {max_streams_per_connection: 100}\n";
    let loaded = Setup::new().with(text).good();
    assert_eq!(loaded.warnings, [""; 0], "it says what holds anyway");
    assert_eq!(Setup::new().with(&loaded.effective.to_string()).good().warnings, [""; 0]);
    let text = "limits: {max_streams_per_connection: 99}\nupstreams: [{host: a, port: 1, http2: true}]\n";
    let loaded = Setup::new().with(text).good();
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert_eq!(Setup::new().with(&loaded.effective.to_string()).good().warnings.len(), 2);
}
