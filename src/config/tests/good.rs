//! What is accepted, what it means, and which warnings it causes.

use super::{Setup, good, good_and_stable};
use crate::config::keys::ROOT;
use crate::config::model::{Action, BalanceConfig, LogTarget, Matcher, NewRequests, Origin};
use crate::config::schema::{Key, KeySupport, Kind};
use crate::config::{reference, rows};

const ONE: &str = "upstreams: [{url: 'http://a'}]\n";

#[test]
fn an_empty_file_is_all_defaults() {
    let nothing = Setup::new().good();
    for text in
        ["", "\n# only a comment\n", "---\n", "---\n...\n", "null", "{}", "timeouts:\nlimits:\nupstreams:\nroutes:\npools:\nheaders:\n"]
    {
        assert_eq!(good_and_stable(text).config, nothing.config, "{text:?}");
    }
    let config = nothing.config;
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:8080");
    assert_eq!(config.metrics_listen.unwrap().to_string(), "127.0.0.1:8081");
    assert_eq!((config.timeouts.connect_ms, config.timeouts.queue_ms, config.limits.max_body_size), (5000, 5000, 0));
    assert_eq!((config.pools.len(), config.pools[0].name.as_str(), config.routes.len()), (1, "default", 0));
    assert_eq!((config.logging.access_log, config.shutdown.new_requests), (Some(LogTarget::Standard), NewRequests::Refuse));
    assert_eq!(nothing.warnings, ["neither upstreams nor routes: every request is answered 404"]);
}

#[test]
fn every_default_is_a_value_of_its_key() {
    fn walk(keys: &'static [Key], path: &str) {
        for key in keys {
            let top = !path.contains('.') || path.starts_with("timeouts") || path.starts_with("limits");
            let full = format!("{path}{}", key.name);
            assert!(!key.doc.is_empty(), "{full}");
            if top && !key.default.is_empty() {
                let mut text = String::new();
                for (depth, step) in full.split('.').enumerate() {
                    text.push_str(&format!("{}{}{step}:", if depth == 0 { "" } else { "\n" }, "  ".repeat(depth)));
                }
                good(&format!("{text} {}\n", key.default));
            }
            if let Kind::Section(inner) = key.kind {
                walk(inner, &format!("{full}."));
            }
        }
    }
    walk(ROOT, "");
}

#[test]
fn the_reference_lists_every_key_once() {
    let rows = rows();
    let mut keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    assert!(keys.len() > 120, "{}", keys.len());
    for key in
        ["listen", "listen[].tls.certificates[].cert", "timeouts.tunnel_idle_ms", "pools.<name>.balance", "routes[].match.path_prefix"]
    {
        assert!(keys.contains(&key), "{key}");
    }
    keys.sort_unstable();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
    let connect = rows.iter().find(|row| row.key == "timeouts.connect_ms").unwrap();
    assert_eq!((connect.default, connect.allowed.as_str()), ("5000", "milliseconds from 0 to 86400000, or a duration such as \"30s\""));
    let table = reference();
    assert!(table.lines().all(|line| line.starts_with('|') && line.ends_with('|')), "{table}");
}

#[test]
fn the_examples_of_the_original_documents_run() {
    let first = "listen: \"127.0.0.1:8080\"\nmetrics_listen: \"127.0.0.1:8081\"\nupstreams:\n  - host: \"127.0.0.1\"\n    port: 9001\n  - host: \"127.0.0.1\"\n    port: 9002\ntimeouts:\n  connect_ms: 1000\n  read_ms: 15000\n  write_ms: 15000\n  total_ms: 30000\nlimits:\n  max_client_conns: 1000\n  max_conns_per_upstream: 100\nlogging:\n  level: \"info\"\n";
    let loaded = good_and_stable(first);
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!(loaded.config.pools[0].upstreams[1].name, "127.0.0.1:9002");

    let second = "backends:\n  - id: backend1\n    url: http://localhost:8001\n    weight: 1\n    health_check_enabled: true\nrate_limit:\n  requests_per_second: 100\n  burst: 200\n  per_client:\n    requests_per_second: 10\n";
    let loaded = good_and_stable(second);
    assert_eq!(loaded.config.pools[0].upstreams[0].name, "backend1");
    assert_eq!(loaded.warnings, [""; 0]);

    let environment = "LOG_DIR=logs\nLOG_LEVEL=INFO\n\nPROXY_PORT=8080\n\nBACKEND_1=http://127.0.0.1:9001\nBACKEND_2=http://127.0.0.1:9002\n\nMAX_RETRIES=2\nFAILURE_THRESHOLD=3\nHEALTH_COOLDOWN=20\n\nREQUEST_TIMEOUT_TOTAL=1.5\nREQUEST_TIMEOUT_CONNECT=0.5\n";
    let config = Setup::new().write(".env", environment).good().config;
    assert_eq!((config.timeouts.attempt_ms, config.timeouts.connect_ms, config.pools[0].upstreams.len()), (1500, 500, 2));
    assert_eq!(config.logging.access_log, Some(LogTarget::File("logs/access.log".into())));
    assert_eq!(config.logging.error_log, LogTarget::File("logs/error.log".into()));
}

#[test]
fn timeouts_and_limits_lie_over_each_other_key_by_key() {
    let text = "timeouts: {connect_ms: 1, read_ms: 1, total_ms: 1}\nlimits: {max_body_size: 7}\n\
                pools: {api: {upstreams: [{url: 'http://a'}], timeouts: {read_ms: 2, total_ms: 2}}}\n\
                routes:\n- {match: {path: /a}, proxy: api, timeouts: {total_ms: 3}, limits: {max_body_size: 0}}\n- {match: {path: /b}, proxy: api}\n- {echo: {}}\n";
    let config = good_and_stable(text).config;
    let of = |route: usize| {
        let timeouts = &config.routes[route].timeouts;
        (timeouts.connect_ms, timeouts.read_ms, timeouts.total_ms, timeouts.write_ms, config.routes[route].max_body_size)
    };
    assert_eq!((of(0), of(1), of(2)), ((1, 2, 3, 60000, 0), (1, 2, 2, 60000, 7), (1, 1, 1, 60000, 7)));
    assert_eq!((config.pools[1].timeouts.connect_ms, config.pools[1].timeouts.total_ms), (1, 2));
    assert_eq!(config.routes[0].action, Action::Proxy { pool: 1 });
}

#[test]
fn routes_mean_what_they_say() {
    let text = "listen: ['127.0.0.1:80', '127.0.0.1:81']\nroutes:\n\
                - {name: one, match: {host: '*.Example.COM', path_prefix: /api, methods: [GET, M-SEARCH], port: 81}, respond: {status: 503, body: down}}\n\
                - {match: {path: /x}, redirect: {location: /y}}\n- {match: {path: /z}, echo: {name: me}}\n- echo:\n";
    let loaded = good_and_stable(text);
    let routes = loaded.config.routes;
    assert_eq!(
        routes[0].matcher,
        Matcher {
            host: Some("*.example.com".into()),
            path: None,
            path_prefix: Some("/api".into()),
            methods: vec!["GET".into(), "M-SEARCH".into()],
            port: Some(81),
        }
    );
    assert_eq!(routes[0].action, Action::Respond { status: 503, body: "down".into() });
    assert_eq!((&routes[1].name, &routes[1].action), (&"routes[1]".to_owned(), &Action::Unbuilt));
    assert_eq!(routes[2].action, Action::Echo { name: "me".into() });
    assert_eq!(routes[3].action, Action::Echo { name: "routes[3]".into() });
    assert_eq!(loaded.warnings, ["c.yaml:4:23: routes[1].redirect: has no effect yet"]);
}

#[test]
fn what_has_no_effect_yet_is_said_once_and_only_when_it_was_wanted() {
    let cases = [
        ("cache: {}", "1:1: cache: has no effect yet"),
        ("admin_socket: a.sock", "1:1: admin_socket: has no effect yet"),
        ("health_check: null\nrate_limit: null\ncache: null\nslow_start_ms: 0\nheaders: {remove_request: [], upstream_host: false}", ""),
    ];
    for (text, wanted) in cases {
        let wanted: Vec<String> = [wanted].iter().filter(|line| !line.is_empty()).map(|line| format!("c.yaml:{line}")).collect();
        assert_eq!(good_and_stable(&format!("{text}\n{ONE}")).warnings, wanted, "{text}");
    }
    let twice = "pools: {a: {resolve_ms: 1, upstreams: [{url: 'http://a'}]}, b: {resolve_ms: 2, upstreams: [{url: 'http://a'}]}}\n";
    assert_eq!(good(&format!("{twice}{ONE}")).warnings, ["c.yaml:1:13: pools.a.resolve_ms: has no effect yet"]);
    assert!(ROOT.iter().any(|key| key.state == KeySupport::NoEffectYet));
}

#[test]
fn what_cannot_be_meant_is_warned_about() {
    let warned = |text: &str| good_and_stable(text).warnings;
    assert_eq!(
        warned("listen: [{address: '127.0.0.1:1', mode: '0600'}]\nroutes: [{echo: {}}]\n"),
        ["c.yaml:1:41: listen[0].mode: has no effect: only the file of a Unix socket has a mode"]
    );
    assert_eq!(
        warned("routes:\n- echo: {}\n- {match: {path: /a}, echo: {}}\n"),
        ["c.yaml:3:3: routes[1]: is never reached: routes[0] takes every request"]
    );
    assert_eq!(
        warned("routes:\n- {match: {port: 9}, echo: {}}\n"),
        ["c.yaml:2:18: routes[0].match.port: nothing listens on port 9: no request matches"]
    );
    assert_eq!(
        warned("routes: [{proxy: default}]\n"),
        ["c.yaml:1:18: routes[0].proxy: the pool default has no upstreams: every request is answered 503"]
    );
    assert_eq!(
        warned(
            "metrics_listen: '0.0.0.0:1'\nlisten: ':2'\nupstreams: [{host: localhost, port: 2, weight: 0}]\nretry: {statuses: [204]}\n\
                timeouts: {read_ms: 5s, total_ms: 4s}\n"
        ),
        [
            "c.yaml:1:17: metrics_listen: everybody who reaches this machine can read the admin port; 127.0.0.1 or a private address keeps it closed",
            "c.yaml:3:1: upstreams: every weight is 0: no upstream gets requests",
            "c.yaml:3:13: upstreams[0]: localhost:2 is an address of listen: requests go round until Via has named tidegate ten times",
            "c.yaml:4:20: retry.statuses[0]: a success would be thrown away and asked for again",
            "c.yaml:5:21: timeouts.read_ms: never comes: total_ms ends the exchange after 4000 ms",
        ]
    );
    // The demo's own backends are not reported as a loop.
    assert_eq!(
        warned("listen: ['127.0.0.1:1', '127.0.0.1:2']\nupstreams: [{host: 127.0.0.1, port: 2}]\nroutes: [{match: {port: 2}, echo: {}}]\n"),
        [""; 0]
    );
    assert_eq!(warned(&format!("pools: {{a: }}\n{ONE}")), ["c.yaml:1:9: pools.a: has no upstreams: every request for it is answered 503"]);
}

#[test]
fn pools_inherit_the_way_of_choosing() {
    let text = "balance: weighted\npools: {a: {upstreams: [{url: 'http://a'}]}, b: {balance: consistent_hash, upstreams: [{host: '[::1]', port: 1, weight: 0}]}}\n";
    let config = good_and_stable(text).config;
    let balance: Vec<&BalanceConfig> = config.pools.iter().map(|pool| &pool.balance).collect();
    assert_eq!(balance, [&BalanceConfig::Weighted, &BalanceConfig::Weighted, &BalanceConfig::ConsistentHash { header: None }]);
    let upstream = &config.pools[2].upstreams[0];
    assert_eq!((&upstream.origin, upstream.name.as_str(), upstream.weight), (&Origin::tcp("::1", 1), "[::1]:1", 0));
}

#[test]
fn strange_but_good() {
    // JSON is YAML, also with tabs; anchors; keys that YAML takes for numbers; quoted everything; Windows line ends.
    good_and_stable(
        "{\"listen\": [\"127.0.0.1:0\"],\n\t\"routes\": [\n\t\t{\"respond\": {\"body\": \"\\u00e9: \\\"x\\\" \\n # no\"}}\n\t]}",
    );
    let config = good_and_stable(&format!("timeouts: &t {{read_ms: 5}}\nroutes: [{{echo: {{}}, timeouts: *t}}]\n{ONE}")).config;
    assert_eq!(config.routes[0].timeouts.read_ms, 5);
    let config = good_and_stable(
        "pools: {8080: {upstreams: [{url: 'http://a'}]}, true: {upstreams: [{url: 'http://b'}]}}\nroutes: [{proxy: 'true'}]\n",
    )
    .config;
    assert_eq!((config.pools[1].name.as_str(), config.pools[2].name.as_str()), ("8080", "true"));
    assert_eq!(good("workers: 0x2\r\nlimits:\r\n  max_headers: 7\r\n").config.workers, 2);
    good_and_stable(&format!(
        "{ONE}logging: {{access_log: null, error_log: err.log, dir: /var/log, rotate: {{keep: 2}}}}\npid_file: x.pid\n"
    ));
    good_and_stable(
        "upstreams: [{host: a, port: 1, name: '- # {x}: yes'}, {host: a, port: 2, name: ' y '}, {host: a, port: 3, name: '007'}]\n",
    );
}

#[test]
fn auto_stays_as_written() {
    let loaded = good_and_stable("workers: auto\n");
    assert!(loaded.config.workers >= 1);
    assert!(loaded.effective.to_string().contains("\nworkers: auto\n"));
}

#[test]
fn the_benchmark_s_configuration() {
    let text = "listen:\n  - address: \"127.0.0.1:8080\"\n  \nmetrics_listen: null\nworkers: 2\nupstreams:\n  - {host: \"127.0.0.1\", port: 9001}\n\
                limits: {max_client_conns: 60000, max_conns_per_upstream: 20000, max_body_size: 0, upstream_idle_conns: 4096}\n\
                timeouts: {total_ms: 600000, client_keepalive_ms: 600000, upstream_keepalive_ms: 600000, client_write_ms: 600000}\n\
                logging: {level: error, access_log: \"/x/access.log\", access_format: combined}\n";
    let loaded = good_and_stable(text);
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!((loaded.config.metrics_listen, loaded.config.limits.max_client_conns), (None, 60000));
}
