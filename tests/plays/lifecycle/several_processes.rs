//! Several processes with the same configuration share a port: one may end, gently or not, and another may start.

use crate::support::*;
use std::net::SocketAddr;
use std::time::Duration;

/// New connections a second: some 200.
const PACE: Duration = Duration::from_millis(20);
const KEPT: usize = 4;
const FRESH: usize = 4;

/// Two with one configuration, each with an admin port of its own.
fn pair(config: &Config) -> [Proxy; 2] {
    [config.clone().start(), config.clone().start()]
}

fn on_one_port(origin: &Origin) -> Config {
    let port = free_port();
    Config::to(origin).set("listen", format!("127.0.0.1:{port}")).set("shutdown.new_requests", "refuse")
}

fn requests(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_requests_total", &[])
}

#[test]
fn two_processes_share_a_port_and_one_may_end_gently() {
    let origin = Origin::busy("a");
    let config = on_one_port(&origin).set("workers", 2);
    let [mut leaver, stayer] = pair(&config);
    assert!(leaver.addr() == stayer.addr() && leaver.admin() != stayer.admin());
    let load = Load::start(stayer.addr(), KEPT, FRESH, PACE);
    wait_until("both have their share", || requests(&leaver) > 50.0 && requests(&stayer) > 50.0);
    leaver.signal("TERM");
    assert_eq!(leaver.wait_exit(), 0);
    load.wait_for_more(100);
    // Another one comes in its place, and the other goes: a rolling restart.
    let comer = config.start();
    wait_until("the new one has its share", || requests(&comer) > 20.0);
    let mut stayer = stayer;
    stayer.signal("TERM");
    assert_eq!(stayer.wait_exit(), 0);
    load.wait_for_more(100);
    let tally = load.stop();
    tally.expect_no_faults();
    assert_eq!((tally.refused, tally.draining), (0, 0), "{}", tally.summary());
    // What the kernel had let in between the last look into a queue and its close: four queues have gone.
    assert!(tally.unanswered <= 4, "{}", tally.summary());
    let logged = || [&leaver, &stayer, &comer].iter().map(|proxy| proxy.log_lines().len()).sum::<usize>();
    wait_until("each is logged", || logged() >= tally.targets.len());
    assert_eq!(logged(), tally.targets.len(), "and none by two of them");
}

#[test]
fn one_that_is_killed_takes_only_what_it_held() {
    let origin = Origin::busy("a");
    let [mut victim, stayer] = pair(&on_one_port(&origin));
    let load = Load::start(stayer.addr(), KEPT, FRESH, PACE);
    wait_until("both have their share", || requests(&victim) > 50.0 && requests(&stayer) > 50.0);
    victim.signal("KILL");
    assert_eq!(victim.wait_exit(), -1);
    load.wait_for_more(50);
    let after = load.so_far();
    // Each client has one request in flight at most.
    let failed = after.faults.len() + after.unanswered;
    assert!(failed <= KEPT + FRESH && after.refused == 0, "{}", after.summary());
    load.wait_for_more(100);
    let tally = load.stop();
    assert_eq!((tally.faults.len() + tally.unanswered, tally.refused), (failed, 0), "nothing fails after it: {}", tally.summary());
}

#[test]
fn in_flight_at_the_other_one_is_not_harmed() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let [mut victim, stayer] = pair(&on_one_port(&origin));
    let addr: SocketAddr = stayer.addr();
    let mut clients: Vec<_> = (0..30).map(|_| Client::connect(addr)).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send_get(&format!("/{i}"));
    }
    wait_until("all are in flight", || origin.requests().len() == 30);
    let held = |proxy: &Proxy| proxy.metric("proxy_client_connections", &[]) as usize;
    let (lost, safe) = (held(&victim), held(&stayer));
    assert!(lost + safe == 30 && lost > 0 && safe > 0, "the kernel shares them out: {lost} and {safe}");
    victim.signal("KILL");
    assert_eq!(victim.wait_exit(), -1);
    gate.release(30);
    let answers = clients.iter_mut().enumerate().map(|(i, client)| match client.try_response_to("GET") {
        Ok(answer) => {
            assert_eq!(answer.expect(200).text(), format!("GET /{i}"));
            1
        }
        Err(end) => {
            assert_ne!(end, End::Silent);
            0
        }
    });
    assert_eq!(answers.sum::<usize>(), safe);
    gate.release(1);
    get(addr, "/after").expect(200);
}

#[test]
fn a_reload_of_one_leaves_the_other_alone() {
    let origin = Origin::busy("a");
    let config = on_one_port(&origin);
    let [one, two] = pair(&config);
    let load = Load::start(one.addr(), KEPT, FRESH, PACE);
    wait_until("both have their share", || requests(&one) > 20.0 && requests(&two) > 20.0);
    for i in 0..10 {
        one.reload(&config.clone().set("timeouts.read_ms", 10_000 + i));
        load.wait_for_more(5);
    }
    load.stop().expect_flawless();
    assert_eq!((one.reloads(), two.reloads()), ((10, 0), (0, 0)));
}
