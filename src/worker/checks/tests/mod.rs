//! Checks against simulated upstreams, on a clock that jumps.

mod stage;

use super::*;
use crate::base::address::Address;
use crate::health::probe::request;
use stage::{Stage, Wire, check};
use std::net::SocketAddr;

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const BAD: &str = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n";

#[test]
fn without_checks_nothing_wakes() {
    let stage = Stage::of(&["a"], None);
    assert_eq!((stage.checks.next_wake(), stage.state(0)), (None, "off"));
}

#[test]
fn the_first_come_soon_and_not_together_the_second_within_an_interval_and_the_others_one_later() {
    let names: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let mut stage = Stage::of(&names.iter().map(String::as_str).collect::<Vec<_>>(), Some(check()));
    let mut begun = vec![Vec::new(); names.len()];
    while begun.iter().any(|times: &Vec<u64>| times.len() < 5) {
        let plug = stage.await_check();
        begun[plug.wire().slot].push(stage.now);
        stage.answer(&plug, GOOD);
        assert!(plug.wire().is_closed);
    }
    let firsts: std::collections::BTreeSet<u64> = begun.iter().map(|times| times[0] - 100_000).collect();
    assert!(firsts.len() > 25 && firsts.iter().all(|time| *time <= FIRST_MS + 1), "{firsts:?}");
    assert!(begun.iter().all(|times| times[1] - times[0] <= 5500), "{begun:?}");
    let gaps = begun.iter().flat_map(|times| times[1..].windows(2).map(|pair| pair[1] - pair[0]));
    assert!(gaps.clone().all(|gap| (4500..=5500).contains(&gap)), "{:?}", gaps.collect::<Vec<_>>());
}

#[test]
fn checks_of_many_are_spread_over_the_interval() {
    let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::of(&names, Some(HealthCheck { interval_ms: 10_000, ..check() }));
    for interval_ms in [10_000, 60_000, 2000] {
        stage.reload(&names, Some(HealthCheck { interval_ms, ..check() }));
        let settled = stage.now + 2 * u64::from(interval_ms);
        let mut tenths = [0; 10];
        while stage.now < settled + u64::from(interval_ms) {
            let plug = stage.await_check();
            let tenth = (stage.now.saturating_sub(settled) * 10 / u64::from(interval_ms)) as usize;
            if stage.now >= settled && tenth < 10 {
                tenths[tenth] += 1;
            }
            stage.answer(&plug, GOOD);
        }
        assert!(tenths.iter().all(|checks| (15..=50).contains(checks)), "every {interval_ms} ms: {tenths:?}");
    }
}

/// Also where the kernel takes only a part of it at a time.
#[test]
fn who_expects_to_be_told_of_clients_is_told_that_there_is_none() {
    let mut stage = Stage::of(&["announced"], Some(check()));
    let plug = stage.await_check();
    stage.edge(&plug, Edge { writable: true, ..Edge::default() });
    let sent = String::from_utf8(plug.wire().sent.clone()).unwrap();
    assert!(sent.starts_with("PROXY UNKNOWN\r\nGET "), "{sent:?}");
}

#[test]
fn the_whole_request_is_sent() {
    let mut stage = Stage::of(&["a"], Some(check()));
    let plug = stage.await_check();
    for _ in 0..20 {
        stage.edge(&plug, Edge { writable: true, ..Edge::default() });
    }
    assert_eq!(plug.wire().sent, request(&check(), "127.0.0.1:1"));
    for byte in GOOD.chars() {
        assert_eq!(stage.state(0), "unchecked");
        stage.answer(&plug, byte.encode_utf8(&mut [0; 4]));
    }
    assert_eq!(stage.state(0), "passing");
}

#[test]
fn verdicts_come_and_go_and_each_is_told() {
    let mut stage = Stage::of(&["a"], Some(check()));
    let mut seen = Vec::new();
    for answer in [GOOD, BAD, BAD, GOOD, GOOD] {
        let plug = stage.await_check();
        stage.answer(&plug, answer);
        seen.push((stage.state(0), stage.checks.take_news()));
    }
    assert_eq!(seen, [("passing", true), ("passing", false), ("failing", true), ("failing", false), ("passing", true)]);
    assert_eq!(stage.last_error(), "answered 500, expected 200 to 399");
    assert_eq!(stage.site.pools[0].servers[0].share(stage.now + 1, 2), 1 << 31, "its slow start begins");
}

#[test]
fn connecting_and_answering_have_one_time_together() {
    let mut stage = Stage::of(&["a"], Some(check()));
    let plug = stage.await_check();
    let begin = stage.now;
    while !plug.wire().is_closed {
        stage.jump();
    }
    assert_eq!((stage.now - begin, stage.last_error()), (1000, "did not take the connection within 1000 ms".into()));
    let plug = stage.await_check();
    let begin = stage.now;
    stage.now += 700;
    stage.edge(&plug, Edge { writable: true, ..Edge::default() });
    while !plug.wire().is_closed {
        stage.jump();
    }
    assert_eq!((stage.now - begin, stage.last_error(), stage.state(0)), (1000, "did not answer within 1000 ms".into(), "failing"));
}

#[test]
fn a_check_that_lasts_longer_than_the_interval_is_still_the_only_one() {
    let mut stage = Stage::of(&["a"], Some(HealthCheck { interval_ms: 10, ..check() }));
    for _ in 0..5 {
        let plug = stage.await_check();
        while !plug.wire().is_closed {
            stage.jump();
        }
        assert!(stage.road.plugs.iter().all(|plug| plug.wire().is_closed));
    }
}

#[test]
fn how_a_connection_fails() {
    let mut stage = Stage::of(&["a"], Some(check()));
    let gone = Edge { readable: true, read_closed: true, gone: true, ..Edge::default() };
    let plug = stage.await_check();
    plug.wire().error = Some(libc::ECONNREFUSED);
    stage.edge(&plug, gone);
    assert_eq!((stage.last_error(), plug.wire().is_closed), ("refused the connection".into(), true));
    let plug = stage.await_check();
    plug.wire().has_fin = true;
    stage.edge(&plug, Edge { readable: true, writable: true, read_closed: true, ..Edge::default() });
    assert_eq!((stage.last_error(), plug.wire().is_closed), ("closed the connection before it answered".into(), true));
    stage.road.error = Some(libc::ENETUNREACH);
    while !stage.last_error().starts_with("cannot be reached: ") {
        stage.jump();
    }
    assert_eq!(stage.state(0), "failing");
}

#[test]
fn what_this_machine_lacks_is_no_verdict() {
    let mut stage = Stage::of(&["a"], Some(HealthCheck { failure_threshold: 1, ..check() }));
    stage.road.error = Some(libc::EMFILE);
    (0..100).for_each(|_| stage.jump());
    assert_eq!((stage.state(0), stage.last_error()), ("unchecked", String::new()));
    stage.road.error = None;
    let plug = stage.await_check();
    stage.answer(&plug, GOOD);
    assert_eq!(stage.state(0), "passing");
}

#[test]
fn upstreams_that_hang_take_a_share_of_the_descriptors_and_all_are_looked_at() {
    let names: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let mut stage = Stage::of(&names.iter().map(String::as_str).collect::<Vec<_>>(), None);
    stage.checks.descriptors = Arc::new(Descriptors::new(100, 0));
    stage.reload(&names.iter().map(String::as_str).collect::<Vec<_>>(), Some(HealthCheck { interval_ms: 1000, ..check() }));
    for _ in 0..5000 {
        stage.jump();
        let open = stage.road.plugs.iter().filter(|plug| !plug.wire().is_closed).count();
        assert!(open <= 10, "{open}");
    }
    assert!((0..50).all(|index| stage.state(index) == "failing"));
    stage.checks.stop();
    let free: Vec<_> = std::iter::from_fn(|| stage.checks.descriptors.admit_check()).collect();
    assert_eq!(free.len(), 10, "all are given back");
}

#[test]
fn each_address_of_a_name_is_checked_from_when_it_is_known_until_it_is_gone() {
    let mut stage = Stage::of(&["name.invalid"], Some(HealthCheck { failure_threshold: 1, ..check() }));
    assert_eq!((stage.checks.next_wake(), stage.state(0)), (None, "unchecked"));
    stage.move_to(&["name.invalid"], &[1, 2]);
    let mut asked = BTreeMap::<String, usize>::new();
    while asked.len() < 2 || asked.values().any(|count| *count < 3) {
        let plug = stage.await_check();
        let address = plug.wire().address.clone().expect("an address").to_string();
        stage.answer(&plug, if address.starts_with("10.0.0.1:") { GOOD } else { BAD });
        *asked.entry(address).or_default() += 1;
    }
    assert_eq!((stage.state(0), stage.state(1)), ("passing", "failing"), "{asked:?}");
    stage.move_to(&["name.invalid"], &[2, 3]);
    assert_eq!((stage.state(0), stage.state(1)), ("failing", "unchecked"), "who stays keeps its verdict");
    for _ in 0..8 {
        let plug = stage.await_check();
        assert_ne!(plug.wire().address.clone().expect("an address").to_string(), "10.0.0.1:1");
        stage.answer(&plug, GOOD);
    }
}

#[test]
fn content_that_is_still_to_come_is_waited_for_a_moment() {
    let mut stage = Stage::of(&["a"], Some(check()));
    let plug = stage.await_check();
    stage.answer(&plug, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    assert_eq!((stage.state(0), plug.wire().is_closed), ("passing", false));
    stage.answer(&plug, "cd");
    assert!(plug.wire().is_closed);
    let plug = stage.await_check();
    stage.answer(&plug, "HTTP/1.1 200 OK\r\n\r\nwithout end");
    let begin = stage.now;
    while !plug.wire().is_closed {
        stage.jump();
    }
    assert_eq!(stage.now - begin, REST_MS);
}

#[test]
fn a_reload_ends_what_is_gone_and_keeps_what_stays() {
    let mut stage = Stage::of(&["a", "b"], Some(check()));
    for _ in 0..4 {
        let plug = stage.await_check();
        stage.answer(&plug, BAD);
    }
    assert_eq!((stage.state(0), stage.state(1)), ("failing", "failing"));
    let gone = stage.site.pools[0].servers[1].clone();
    let plugs = [stage.await_check(), stage.await_check()];
    stage.reload(&["a", "c"], Some(HealthCheck { interval_ms: 100, ..check() }));
    assert_eq!((stage.state(0), stage.state(1)), ("failing", "unchecked"));
    for plug in &plugs {
        let Wire { slot, is_closed, .. } = *plug.wire();
        assert_eq!(is_closed, slot == gone.slot, "a check of who stays goes on");
    }
    assert!(stage.checks.take_news(), "somebody may have waited for it");
    stage.reload(&["a", "c"], None);
    assert_eq!((stage.state(0), stage.state(1), stage.checks.next_wake()), ("off", "off", None));
    assert!(stage.road.plugs.iter().all(|plug| plug.wire().is_closed));
    stage.reload(&["a", "c"], Some(check()));
    assert_eq!(stage.state(0), "unchecked");
}

#[test]
fn a_shorter_interval_holds_at_once() {
    let mut stage = Stage::of(&["a"], Some(HealthCheck { interval_ms: 86_400_000, ..check() }));
    let plug = stage.await_check();
    stage.answer(&plug, GOOD);
    let begin = stage.now;
    stage.reload(&["a"], Some(HealthCheck { interval_ms: 100, ..check() }));
    stage.await_check();
    assert!(stage.now - begin <= 111, "{}", stage.now - begin);
}

#[test]
fn the_end_closes_everything_and_leaves_the_verdicts() {
    let mut stage = Stage::of(&["a"], Some(check()));
    let plug = stage.await_check();
    stage.answer(&plug, GOOD);
    let plug = stage.await_check();
    stage.checks.stop();
    assert_eq!((stage.checks.next_wake(), stage.state(0), plug.wire().is_closed), (None, "passing", true));
    stage.edge(&plug, Edge { readable: true, ..Edge::default() });
}

#[test]
fn another_port_is_checked() {
    let mut stage = Stage::of(&["a"], Some(HealthCheck { port: Some(9), host: Some("a.test".into()), ..check() }));
    let plug = stage.await_check();
    assert_eq!(plug.wire().address, Some(Address::from(SocketAddr::from(([127, 0, 0, 1], 9)))));
    stage.answer(&plug, GOOD);
    assert!(plug.wire().sent.starts_with(b"GET /up HTTP/1.1\r\nHost: a.test\r\n"));
    assert_eq!(stage.state(0), "passing");
}

#[test]
fn where_all_fail_none_is_left_out() {
    let open = HealthCheck { fail_open: true, failure_threshold: 1, success_threshold: 1, ..check() };
    let mut stage = Stage::of(&["a", "b"], Some(open.clone()));
    let usable = |stage: &Stage| -> Vec<bool> { stage.site.pools[0].servers.iter().map(|server| server.is_usable()).collect() };
    let answer = |stage: &mut Stage, slot: usize, answer: &str| {
        while stage.state(slot) != if answer == GOOD { "passing" } else { "failing" } {
            let plug = stage.await_check();
            let asked = plug.wire().slot;
            let same = if stage.state(asked) == "failing" { BAD } else { GOOD };
            stage.answer(&plug, if asked == slot { answer } else { same });
        }
    };
    answer(&mut stage, 0, BAD);
    assert_eq!(usable(&stage), [false, true]);
    stage.checks.take_news();
    answer(&mut stage, 1, BAD);
    assert_eq!((usable(&stage), stage.state(0), stage.state(1)), (vec![true, true], "failing", "failing"));
    assert!(stage.checks.take_news());
    answer(&mut stage, 0, GOOD);
    assert_eq!(usable(&stage), [true, false]);
    assert_eq!(stage.site.pools[0].servers[0].share(stage.now + 1, 2), 1 << 32, "it was in use: no slow start");
    answer(&mut stage, 0, BAD);
    assert_eq!(usable(&stage), [true, true]);
    stage.reload(&["a", "b"], Some(HealthCheck { fail_open: false, ..open.clone() }));
    assert_eq!(usable(&stage), [false, false]);
    stage.reload(&["a", "b"], Some(open.clone()));
    assert_eq!(usable(&stage), [true, true]);
    stage.reload(&["a", "b", "c"], Some(open));
    assert_eq!(usable(&stage), [false, false, true], "one that is new is not known to fail");
}
