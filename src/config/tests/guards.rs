//! Retries, circuits, health checks and rate limits: layers, and what is refused.

use super::{Setup, good_and_stable};
use crate::config::model::{BalanceConfig, Rate, RateAlgorithm, Statuses};

#[test]
fn the_documented_defaults() {
    let config = good_and_stable("upstreams: [{url: 'http://a'}]\n").config;
    let pool = &config.pools[0];
    let (retry, breaker) = (&pool.retry, &pool.breaker);
    assert_eq!((retry.max_retries, retry.backoff_ms, retry.max_backoff_ms, retry.budget_percent), (2, 25, 1000, 20));
    assert_eq!(retry.statuses, Statuses::default());
    assert_eq!((breaker.failure_threshold, breaker.success_threshold, breaker.timeout_ms, breaker.half_open_requests), (3, 2, 20_000, 1));
    assert_eq!(breaker.last_resort_ms, 1000);
    assert_eq!(breaker.failure_statuses, [502, 503, 504].into_iter().collect());
    assert_eq!((&pool.health_check, &config.rate_limit, &pool.balance, pool.slow_start_ms), (&None, &None, &BalanceConfig::RoundRobin, 0));
    assert_eq!((config.resolve_ms, config.limits.max_conns_per_client), (30_000, 0));
}

#[test]
fn each_layer_lies_over_those_before_it() {
    let text = "retry: {max_retries: 5, statuses: [502]}\nhealth_check: {interval_ms: 7}\nslow_start_ms: 3\n\
                circuit_breaker: {failure_threshold: 9}\nbalance: random\n\
                pools:\n  a:\n    upstreams: [{url: 'http://a', health_check_enabled: false}]\n    retry: {backoff_ms: 1}\n    health_check: {path: /up}\n    \
                circuit_breaker: {failure_statuses: [500]}\n    balance: {consistent_hash: {header: X-User}}\n  \
                b: {upstreams: [{url: 'http://a'}], health_check: null, slow_start_ms: 0}\n\
                routes: [{proxy: a, retry: {max_retries: 0}}]\n";
    let config = good_and_stable(text).config;
    let [default, a, b] = &config.pools[..] else { panic!("{:?}", config.pools) };
    assert_eq!((default.retry.max_retries, a.retry.max_retries, a.retry.backoff_ms, config.routes[0].retry.max_retries), (5, 5, 1, 0));
    assert!(config.routes[0].retry.statuses.contains(502) && config.routes[0].retry.backoff_ms == 1);
    assert_eq!(a.health_check.as_ref().map(|check| (check.path.as_str(), check.interval_ms, check.timeout_ms)), Some(("/up", 7, 1000)));
    assert_eq!((default.health_check.as_ref().map(|check| check.path.as_str()), &b.health_check), (Some("/health"), &None));
    assert_eq!(
        (a.breaker.failure_threshold, a.breaker.failure_statuses.contains(502), a.breaker.failure_statuses.contains(500)),
        (9, false, true)
    );
    assert_eq!((default.slow_start_ms, a.slow_start_ms, b.slow_start_ms), (3, 3, 0));
    assert_eq!((&a.balance, &b.balance), (&BalanceConfig::ConsistentHash { header: Some("X-User".into()) }, &BalanceConfig::Random));
    assert_eq!((a.upstreams[0].is_checked, b.upstreams[0].is_checked), (false, true));
}

#[test]
fn a_route_owns_the_rate_that_it_speaks_of() {
    let text = "rate_limit: {requests_per_second: 100, per_client: {requests_per_second: 10, burst: 11}, dry_run: true}\n\
                routes:\n- {match: {path: /a}, echo: {}, rate_limit: {per_client: {requests_per_second: 5}}}\n\
                - {match: {path: /b}, echo: {}, rate_limit: null}\n- {match: {path: /c}, echo: {}, rate_limit: {algorithm: sliding_window}}\n- echo: {}\n";
    let config = good_and_stable(text).config;
    let of = |route: usize| config.routes[route].rate_limit.as_ref();
    let a = of(0).unwrap();
    assert_eq!(a.global, Some(Rate { requests_per_second: 100, burst: 200 }));
    assert_eq!(a.per_client, Some(Rate { requests_per_second: 5, burst: 11 }));
    assert_eq!((a.owns_global, a.owns_per_client, a.dry_run), (false, true, true));
    assert_eq!(of(1), None);
    assert_eq!(
        of(2).map(|rate| (rate.algorithm, rate.owns_global, rate.owns_per_client)),
        Some((RateAlgorithm::SlidingWindow, true, true))
    );
    assert_eq!(of(3), config.rate_limit.as_ref());
}

#[test]
fn what_is_asked_for_may_have_a_query() {
    let config = good_and_stable("health_check: {path: \"/health?deep=1\"}").config;
    assert_eq!(config.pools[0].health_check.as_ref().unwrap().path, "/health?deep=1");
}

#[test]
fn checks_as_people_have_them() {
    let text = "health_check: {host: \"a.test:81\", headers: {X-A: \"1\", User-Agent: me}, method: POST, port: 9, expected_body: \"ok: 1\"}\n\
                upstreams: [{url: 'http://a'}]\n\
                pools: {b: {upstreams: [{url: 'http://b'}], health_check: {headers: {}, host: \"[::1]\", port: null, fail_open: true}}}\n";
    let config = good_and_stable(text).config;
    let [default, other] = [0, 1].map(|pool| config.pools[pool].health_check.clone().unwrap());
    let headers = vec![("X-A".to_owned(), "1".to_owned()), ("User-Agent".to_owned(), "me".to_owned())];
    assert_eq!((default.host.as_deref(), &default.headers, default.method.as_str()), (Some("a.test:81"), &headers, "POST"));
    assert_eq!((default.port, default.expected_body.as_deref(), default.fail_open), (Some(9), Some("ok: 1"), false));
    assert_eq!((other.host.as_deref(), &other.headers, other.method.as_str()), (Some("[::1]"), &Vec::new(), "POST"));
    assert_eq!((other.port, other.expected_body.as_deref(), other.fail_open), (None, Some("ok: 1"), true));
}

/// Where one section has the method and another the text, the inner one is wrong.
#[test]
fn a_text_is_not_looked_for_in_an_answer_to_head() {
    let upstreams = "upstreams: [{url: 'http://a'}]";
    let problems = |root: &str, pool: &str| {
        Setup::new()
            .with(&format!("health_check: {{{root}}}\n{upstreams}\npools: {{b: {{{upstreams}, health_check: {{{pool}}}}}}}\n"))
            .problems()
    };
    let told = |root: &str, pool: &str| problems(root, pool).matches("an answer to HEAD has no body").count();
    assert_eq!(told("method: HEAD, expected_body: ok", "path: /b"), 1, "told once");
    assert!(problems("method: HEAD", "expected_body: ok").contains("pools.b.health_check.expected_body: an answer to HEAD"));
    assert!(problems("expected_body: ok", "method: HEAD").contains("pools.b.health_check.method: an answer to HEAD"));
}

#[test]
fn a_unix_socket_has_no_port_to_check() {
    let loaded = good_and_stable("health_check: {port: 9}\nupstreams: [{url: 'unix:/run/a.sock'}, {url: 'http://a'}]\n");
    let wanted =
        "c.yaml:2:13: upstreams[0]: a Unix socket has no ports: health_check.port does not apply, and the socket itself is checked";
    assert_eq!(loaded.warnings, [wanted]);
}

/// Clients with an IPv4 address are recognised by it, however their socket writes it.
#[test]
fn an_ipv4_network_may_be_written_as_ipv6() {
    let config =
        good_and_stable("headers: {trusted_proxies: [\"::ffff:10.0.0.0/104\", \"::ffff:192.0.2.1\", \"::ffff:0:0/96\", \"::/0\"]}").config;
    let nets: Vec<String> = config.trusted_proxies.networks.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["10.0.0.0/8", "192.0.2.1/32", "0.0.0.0/0", "::/0"]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (text, wanted) in [
        ("rate_limit: {burst: 5}", "1:21: rate_limit.burst: a burst of what? give requests_per_second"),
        ("rate_limit: {per_client: {burst: 5}}", "1:34: rate_limit.per_client.burst: a burst of what?"),
        ("health_check: {expected_status: [300, 200]}", "1:16: health_check.expected_status: expected the first and the last"),
        ("health_check: {method: TRACE}", "1:24: health_check.method: \"TRACE\" makes the upstream send back"),
        ("health_check: {method: \"G T\"}", "1:24: health_check.method: \"G T\" is no method"),
        ("health_check: {headers: {Host: a}}", "health_check.headers.Host: \"Host\" has a key of its own, write health_check.host"),
        ("health_check: {headers: {content-length: 0}}", "content-length: \"content-length\" is about content, and a check sends none"),
        ("health_check: {headers: {Connection: close}}", "\"Connection\" is about the connection"),
        ("health_check: {headers: {\"A B\": c}}", "\"A B\" is no header name"),
        ("health_check: {headers: {A: \"b\\nc\"}}", "has a control character in it"),
        ("health_check: {host: \"http://a\"}", "health_check.host: \"http://a\" is a URL, write its host alone"),
        ("health_check: {host: \"::1\"}", "health_check.host: \"::1\": an IPv6 address stands in brackets, write \"[::1]\""),
        ("health_check: {host: \"a b\"}", "health_check.host: \"a b\" is no host name or address"),
        ("health_check: {port: 0}", "health_check.port: 0 is out of range, allowed: 1 to 65535"),
        ("health_check: {expected_body: \"\"}", "health_check.expected_body: is in every body, write null"),
        ("health_check: {method: HEAD, expected_body: ok}", "1:45: health_check.expected_body: an answer to HEAD has no body"),
        ("circuit_breaker: {failure_threshold: 2000000000}", "1:38: circuit_breaker.failure_threshold: "),
        ("retry: {statuses: [99]}", "1:20: retry.statuses[0]: "),
    ] {
        let problems = Setup::new().with(&format!("{text}\nupstreams: [{{url: 'http://a'}}]\n")).problems();
        assert!(problems.contains(wanted), "{text}: {problems}");
    }
}

#[test]
fn a_rate_without_a_number_limits_nothing() {
    for (text, wanted) in
        [("{}", "c.yaml:1:1: rate_limit: limits nothing"), ("{per_client: {}}", "c.yaml:1:14: rate_limit.per_client: limits nothing")]
    {
        let loaded = good_and_stable(&format!("rate_limit: {text}\nupstreams: [{{url: 'http://a'}}]\n"));
        assert!(loaded.warnings.len() == 1 && loaded.warnings[0].starts_with(wanted), "{:?}", loaded.warnings);
        assert!(loaded.config.rate_limit.is_some_and(|rate| rate.global.is_none() && rate.per_client.is_none()));
    }
}

#[test]
fn a_set_of_statuses() {
    let set: Statuses = [100, 502, 599, 99, 600, 65_535].into_iter().collect();
    let members: Vec<u16> = (0..=u16::MAX).filter(|status| set.contains(*status)).collect();
    assert_eq!(members, [100, 502, 599]);
}
