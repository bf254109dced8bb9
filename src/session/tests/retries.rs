//! Which attempts are repeated: it depends on how much the kernel took, and on what is kept of the request.

use super::OK;
use super::scene::{GET, Scene, Session};
use crate::config::model::{Config, Retry};
use crate::guard::places::Needs;
use crate::observe::reason::Reason;
use crate::session::{Direction, Effect, Event};
use crate::upstream::reservation::Reservation;
use std::io::IoSlice;

/// Two upstreams, two retries, no waits between them.
fn retrying(change: impl FnOnce(&mut Config)) -> Scene {
    Scene::with(|config| {
        let pool = &mut config.pools[0];
        let second = crate::config::model::UpstreamConfig {
            name: "second".into(),
            origin: crate::config::model::Origin::tcp("127.0.0.1", 2),
            ..pool.upstreams[0].clone()
        };
        pool.upstreams.push(second);
        pool.retry = Retry { max_retries: 2, max_backoff_ms: 1000, ..Retry::default() };
        change(config);
    })
}

/// What an attempt sends, joined.
fn output(session: &Session) -> Vec<u8> {
    let all = session.output(Direction::Up).map(|slices: [IoSlice; 5]| slices.iter().flat_map(|slice| slice.to_vec()).collect());
    all.unwrap_or_default()
}

/// The server that is connected to next.
fn dialled(scene: &mut Scene) -> Option<usize> {
    let dial = |effect: &Effect| if let Effect::Connect { server, .. } = effect { Some(*server) } else { None };
    scene.effects().iter().find_map(dial)
}

/// Cuts a request of 10 KiB off after `taken` bytes; returns what the second upstream gets, if anything.
fn cut_at(method: &str, taken: usize) -> (Vec<u8>, Option<Vec<u8>>, Scene) {
    let mut scene = retrying(|_| {});
    let body: String = (0..10_240).map(|i| char::from(b'a' + (i % 23) as u8)).collect();
    scene.client(&format!("{method} /a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(dialled(&mut scene), Some(0));
    scene.event(Event::UpstreamConnected { reused: false });
    let whole = output(&scene.session);
    assert!(whole.len() > 10_240 && taken <= whole.len());
    if taken > 0 {
        scene.event(Event::UpstreamTook(taken));
    }
    scene.event(Event::UpstreamGone);
    let again = dialled(&mut scene).map(|server| {
        assert_eq!(server, 1, "one that has not failed it");
        scene.event(Event::UpstreamConnected { reused: false });
        output(&scene.session)
    });
    (whole, again, scene)
}

#[test]
fn a_put_is_repeated_whole_wherever_it_is_cut() {
    let length = cut_at("PUT", 0).0.len();
    for taken in 0..=length {
        let (whole, again, mut scene) = cut_at("PUT", taken);
        assert!(again.as_ref() == Some(&whole), "cut at {taken}");
        scene.sent_to_upstream();
        scene.upstream(OK);
        assert!(scene.sent_to_client().starts_with("HTTP/1.1 200 "));
        assert_eq!((scene.lines(), scene.stats.requests.value()), (vec!["200 -".into()], 1));
    }
}

/// The kernel takes nothing more, and before the end of the connection is read, the client sends more.
#[test]
fn what_comes_once_the_upstream_takes_no_more_is_repeated_too() {
    for (framing, pieces) in
        [("Content-Length: 8", ["abcd", "ef", "gh"]), ("Transfer-Encoding: chunked", ["4\r\nabcd\r\n", "2\r\nef\r\n", "0\r\n\r\n"])]
    {
        for reused in [false, true] {
            let mut scene = retrying(|_| {});
            scene.client(&format!("PUT /a HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n{}", pieces[0]));
            scene.event(Event::UpstreamConnected { reused });
            let mut whole = scene.sent_to_upstream();
            scene.event(Event::UpstreamBroken).client(pieces[1]).event(Event::UpstreamGone);
            scene.event(Event::UpstreamConnected { reused: false }).client(pieces[2]);
            whole += &pieces[1..].concat();
            assert_eq!(scene.sent_to_upstream(), whole, "{framing}, reused: {reused}");
        }
    }
}

/// Content that fits no ring is dropped, and then no other attempt is possible.
#[test]
fn more_than_a_ring_after_the_upstream_takes_no_more_ends_the_tries() {
    let mut scene = retrying(|_| {});
    scene.client("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\nab").event(Event::UpstreamConnected { reused: false });
    scene.sent_to_upstream();
    scene.effects();
    scene.event(Event::UpstreamBroken).client(&"x".repeat(39_998)).event(Event::UpstreamGone);
    assert_eq!((dialled(&mut scene), scene.sent_to_client().contains(" 502 ")), (None, true));
}

#[test]
fn a_post_is_seen_once() {
    let length = cut_at("POST", 0).0.len();
    for taken in 0..=length {
        let (whole, again, mut scene) = cut_at("POST", taken);
        if taken == 0 {
            assert!(again.as_ref() == Some(&whole), "nothing of it was written");
        } else {
            assert_eq!(again, None, "cut at {taken}");
            assert!(scene.sent_to_client().starts_with("HTTP/1.1 502 "));
            assert_eq!(scene.lines(), ["502 connection_terminated"]);
        }
    }
}

#[test]
fn what_no_ring_holds_is_not_repeated() {
    let mut scene = retrying(|_| {});
    let body = "x".repeat(40_000);
    scene.client("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n").event(Event::UpstreamConnected { reused: false });
    scene.sent_to_upstream();
    for piece in body.as_bytes().chunks(10_000) {
        scene.client(std::str::from_utf8(piece).unwrap());
        scene.sent_to_upstream();
    }
    scene.effects();
    scene.event(Event::UpstreamGone);
    assert_eq!((dialled(&mut scene), scene.sent_to_client().contains(" 502 ")), (None, true));
}

#[test]
fn no_connection_is_another_try_for_any_method() {
    for reason in [Reason::ConnectionRefused, Reason::ConnectionTimeout, Reason::ConnectionTerminated] {
        let mut scene = retrying(|_| {});
        scene.client("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab");
        scene.effects();
        scene.event(Event::ConnectFailed(reason));
        assert_eq!(dialled(&mut scene), Some(1), "{reason:?}");
        scene.event(Event::ConnectFailed(reason));
        assert!(dialled(&mut scene).is_some(), "one of those that failed it is better than none");
        scene.event(Event::ConnectFailed(reason));
        assert_eq!(dialled(&mut scene), None);
        assert!(scene.sent_to_client().contains(&format!("error={}", reason.name())));
        let server = &scene.site.pools[0].servers;
        let of = |index: usize| (server[index].cells[0].requests.value(), server[index].cells[0].retries.value());
        assert_eq!((of(0).0 + of(1).0, of(0).1 + of(1).1), (3, 2));
        assert_eq!(scene.stats.errors[reason].value(), 1, "the answer counts once, however often it was tried");
    }
}

#[test]
fn a_byte_of_an_answer_ends_the_tries() {
    let mut scene = retrying(|_| {});
    scene.client(GET).event(Event::UpstreamConnected { reused: false });
    scene.sent_to_upstream();
    scene.effects();
    scene.upstream("H").event(Event::UpstreamGone);
    assert_eq!((dialled(&mut scene), scene.lines()), (None, vec![]));
    assert!(scene.sent_to_client().contains("error=http_response_incomplete"));
    let mut scene = retrying(|_| {});
    scene.client(GET).event(Event::UpstreamConnected { reused: false });
    scene.sent_to_upstream();
    scene.effects();
    scene.upstream("HTTP/1.1 103 Early Hints\r\n\r\n").event(Event::UpstreamGone);
    assert_eq!(dialled(&mut scene), None);
}

#[test]
fn silence_is_another_try_for_what_may_be_repeated() {
    for (request, is_repeated) in [(GET, true), ("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", false)] {
        let mut scene = retrying(|config| config.pools[0].timeouts.read_ms = 100);
        scene.client(request).event(Event::UpstreamConnected { reused: false });
        scene.sent_to_upstream();
        scene.effects();
        scene.wait(100);
        assert_eq!(dialled(&mut scene).is_some(), is_repeated, "{request}");
        assert_eq!(scene.stats.timeouts[1].value(), 1, "each time");
    }
}

#[test]
fn an_attempt_that_is_over_is_made_elsewhere_and_has_its_time_anew() {
    for (request, is_repeated) in [(GET, true), ("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", false)] {
        let mut scene = retrying(|config| config.pools[0].timeouts.attempt_ms = 100);
        scene.client(request).event(Event::UpstreamConnected { reused: false });
        scene.sent_to_upstream();
        scene.effects();
        scene.wait(100);
        assert_eq!(dialled(&mut scene), is_repeated.then_some(1), "{request}");
        if is_repeated {
            scene.wait(99).event(Event::UpstreamConnected { reused: false });
            scene.sent_to_upstream();
            scene.wait(1);
            // Both have had their chance: it is not asked a third time.
            assert!(
                scene.sent_to_client().contains("504 connection_read_timeout: origin did not answer within 100 ms (timeouts.attempt_ms)")
            );
        }
    }
    // Nothing of it was written: any method.
    let mut scene = retrying(|config| config.pools[0].timeouts.attempt_ms = 100);
    scene.client("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").effects();
    scene.wait(100);
    assert_eq!(dialled(&mut scene), Some(1));
    // A new connection that replaces a stale one belongs to the same attempt.
    let mut scene = retrying(|config| config.pools[0].timeouts.attempt_ms = 100);
    scene.client(GET).event(Event::UpstreamConnected { reused: true });
    scene.sent_to_upstream();
    scene.wait(60).event(Event::UpstreamGone).effects();
    scene.wait(40);
    assert_eq!(dialled(&mut scene), Some(1));
}

#[test]
fn the_total_time_is_for_all_tries() {
    let mut scene = retrying(|config| {
        config.pools[0].timeouts.total_ms = 100;
        config.pools[0].retry.backoff_ms = 1000;
    });
    scene.client(GET);
    scene.effects();
    scene.event(Event::ConnectFailed(Reason::ConnectionRefused));
    assert_eq!(dialled(&mut scene), None, "it waits");
    scene.wait(100);
    let answer = scene.sent_to_client();
    assert!(answer.starts_with("HTTP/1.1 504 ") || scene.exchange().attempts == 2, "{answer}");
}

#[test]
fn a_backoff_is_a_timer() {
    let mut scene = retrying(|config| config.pools[0].retry.backoff_ms = 1000);
    scene.client(GET);
    scene.effects();
    scene.event(Event::ConnectFailed(Reason::ConnectionRefused));
    assert_eq!(scene.effects(), [Effect::Release { keep: false }]);
    let due = scene.session.next_deadline().unwrap();
    scene.event(Event::Deadline);
    assert_eq!(dialled(&mut scene), None, "a deadline may be told early");
    scene.wait(due - 1000);
    assert_eq!(dialled(&mut scene), Some(1));
    assert!(due <= 2000, "at most the bound later");
}

#[test]
fn another_try_may_wait_in_the_queue_as_long_as_the_first() {
    let mut scene = retrying(|config| {
        config.pools[0].upstreams.truncate(1);
        config.pools[0].limits.max_conns_per_upstream = 1;
    });
    let site = scene.site.clone();
    let server = &site.pools[0].servers[0];
    let _others = Reservation::with_place(server, Needs::default()).expect("a place");
    scene.client(GET).wait(3000);
    scene.admit().event(Event::UpstreamConnected { reused: false });
    scene.sent_to_upstream();
    scene.wait(3000).event(Event::UpstreamGone);
    assert_eq!((scene.stats.queued_requests.value(), scene.session.next_deadline()), (1, Some(7000 + 5000)));
}

#[test]
fn a_client_that_leaves_meanwhile_leaves_nothing() {
    let mut scene = retrying(|config| config.pools[0].retry.backoff_ms = 1000);
    scene.client(GET);
    scene.event(Event::ConnectFailed(Reason::ConnectionRefused)).event(Event::ClientGone);
    assert_eq!(scene.lines(), ["499 client_aborted"]);
    assert!(scene.session.ending().is_some());
}

#[test]
fn a_status_may_be_another_try() {
    let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
    let with_statuses = |config: &mut Config| config.pools[0].retry.statuses = [503].into_iter().collect();
    for (request, statuses, is_repeated) in
        [(GET, true, true), (GET, false, false), ("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", true, false)]
    {
        let mut scene = retrying(|config| {
            if statuses {
                with_statuses(config)
            }
        });
        scene.client(request).event(Event::UpstreamConnected { reused: false });
        scene.sent_to_upstream();
        scene.effects();
        scene.upstream(busy);
        assert_eq!(dialled(&mut scene).is_some(), is_repeated, "{request} {statuses}");
        assert_eq!(scene.site.pools[0].servers[0].failures_in_a_row(), u32::from(!is_repeated), "another is to say whose fault it is");
        if is_repeated {
            scene.event(Event::UpstreamConnected { reused: false });
            scene.sent_to_upstream();
            scene.upstream(OK);
        }
        assert_eq!(scene.site.pools[0].servers[0].failures_in_a_row(), 1, "it counts in any case");
        let answer = scene.sent_to_client();
        assert_eq!((answer.contains("busy"), answer.contains(" 200 ")), (!is_repeated, is_repeated), "{answer}");
    }
    // The last answer is passed on, whatever its status.
    let mut scene = retrying(with_statuses);
    scene.client(GET);
    for _ in 0..3 {
        scene.event(Event::UpstreamConnected { reused: false });
        scene.sent_to_upstream();
        scene.upstream(busy);
    }
    assert!(scene.sent_to_client().ends_with("busy"));
    assert_eq!(scene.lines(), ["503 -"]);
}

#[test]
fn a_request_counts_once_against_a_server() {
    let mut scene = retrying(|config| {
        config.pools[0].upstreams.truncate(1);
    });
    scene.client(GET);
    for _ in 0..3 {
        scene.event(Event::ConnectFailed(Reason::ConnectionRefused));
    }
    let server = &scene.site.pools[0].servers[0];
    assert_eq!((server.failures_in_a_row(), server.cells[0].requests.value()), (1, 3));
    assert_eq!(server.cells[0].errors[1].value(), 3, "each attempt is an error of its own");
}

#[test]
fn three_requests_open_a_circuit_and_the_next_is_answered_at_once() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        scene.client(GET);
        scene.event(Event::ConnectFailed(Reason::ConnectionRefused));
        scene.sent_to_client();
    }
    scene.effects();
    scene.client(GET);
    assert_eq!(dialled(&mut scene), None);
    let answer = scene.sent_to_client();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("error=destination_unavailable"), "{answer}");
    // A trial whose client leaves says nothing, and gives its place back.
    scene.wait(20_000);
    scene.client(GET);
    assert_eq!((dialled(&mut scene), scene.site.pools[0].servers[0].circuit.trials()), (Some(0), 1));
    scene.event(Event::ClientGone);
    assert_eq!(scene.site.pools[0].servers[0].circuit.trials(), 0);
}

#[test]
fn each_upstream_is_told_its_own_host() {
    let mut scene = retrying(|_| {});
    scene.client("GET /a HTTP/1.0\r\n\r\n").event(Event::UpstreamConnected { reused: false });
    assert!(String::from_utf8_lossy(&output(&scene.session)).contains("\r\nHost: 127.0.0.1:1\r\n"));
    scene.event(Event::UpstreamGone).event(Event::UpstreamConnected { reused: false });
    let head = String::from_utf8(output(&scene.session)).unwrap();
    assert!(head.contains("\r\nHost: 127.0.0.1:2\r\n") && !head.contains("127.0.0.1:1\r\n"), "{head}");
}
