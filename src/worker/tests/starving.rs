//! Requests that wait, and descriptors that other workers have.

use super::one_place;
use super::stage::{GET, OK, Stage, WRITABLE};
use crate::config::model::{Action, Config, Matcher, Route};

/// A second pool, for everything under `/b`.
fn two_pools(config: &mut Config) {
    one_place(config);
    let mut other = config.pools[0].clone();
    (other.name, other.upstreams) = ("other".into(), vec![config.pools[0].upstreams.pop().unwrap()]);
    config.pools.push(other);
    config.routes.push(Route {
        name: "b".into(),
        matcher: Matcher { path_prefix: Some("/b".into()), ..Matcher::default() },
        action: Action::Proxy { pool: 1 },
        timeouts: config.timeouts.clone(),
        retry: config.pools[0].retry.clone(),
        owns_budget: false,
        rate_limit: None,
        access_log: true,
        max_body_size: 0,
    });
}

#[test]
fn who_could_have_a_place_gets_the_descriptor_of_an_idle_connection_of_another_worker() {
    let mut stage = Stage::new(2, 2, two_pools);
    let [first, second, elsewhere] = [stage.accept(0), stage.accept(0), stage.accept(1)];
    stage.send(&elsewhere, "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    stage.settle();
    let idle = stage.newest(1);
    stage.edge(1, &idle, WRITABLE);
    stage.settle();
    stage.answer(1, &idle, OK);
    stage.settle();
    assert!(elsewhere.wire.take().ends_with("ok") && !idle.wire.is_closed(), "it idles");
    stage.ask(&first);
    stage.send(&second, GET);
    stage.settle();
    assert_eq!(stage.cores[0].net.dialled.len(), 1, "the second waits for a place");
    let descriptors = stage.shared.descriptors.clone();
    let _all: Vec<_> = std::iter::from_fn(|| descriptors.has_free().then(|| descriptors.admit_upstream())).collect();
    let site = stage.reload(|config| config.pools[0].limits.max_conns_per_upstream = 2);
    stage.tell(0, &site);
    stage.settle();
    assert!(idle.wire.is_closed(), "it has the only descriptor");
    assert_eq!(stage.cores[0].net.dialled.len(), 2, "the second has a connection");
}
