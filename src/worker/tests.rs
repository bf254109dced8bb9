//! Workers without a network: cases that need events in a certain order. The helpers are in `tests/stage.rs`.

mod rests;
mod stage;
mod starving;

use super::shared::Mail;
use crate::config::model::{BalanceConfig, Config};
use crate::net::wire::Wire;
use stage::{Dialled, GET, GONE, Guest, OK, READABLE, Stage, WRITABLE};

fn one_place(config: &mut Config) {
    config.pools[0].limits.max_conns_per_upstream = 1;
}

/// One exchange has ended, and the only connection is reserved for the next, which has not been told yet.
fn promised() -> (Stage, [Guest; 2], Dialled) {
    let mut stage = Stage::new(1, 1, one_place);
    let first = stage.accept(0);
    let dialled = stage.ask(&first);
    let next = stage.accept(0);
    stage.send(&next, GET);
    stage.settle();
    assert_eq!((stage.cores[0].net.dialled.len(), dialled.wire.take().as_str()), (1, ""), "the next one waits");
    stage.answer(0, &dialled, OK);
    stage.wait(0);
    stage.cores[0].pump(first.key);
    assert!(first.wire.take().ends_with("ok"));
    (stage, [first, next], dialled)
}

/// Sends the next request over the same connection. Returns whether it is answered.
fn is_kept(stage: &mut Stage, guest: &Guest, dialled: &Dialled) -> bool {
    stage.settle();
    let is_asked = dialled.wire.take().starts_with("GET /a ");
    stage.answer(0, dialled, OK);
    stage.settle();
    is_asked && guest.wire.take().ends_with("ok") && stage.cores[0].net.dialled.len() == 1
}

#[test]
fn a_connection_that_is_promised_is_not_idle() {
    let (mut stage, [_, next], dialled) = promised();
    assert!(is_kept(&mut stage, &next, &dialled));
    let (mut stage, [_, next], dialled) = promised();
    stage.wait(600_000);
    stage.cores[0].on_upstream_deadline(dialled.key);
    assert!(is_kept(&mut stage, &next, &dialled), "a deadline");
    let (mut stage, [_, next], dialled) = promised();
    stage.cores[0].close_idle(|_| true);
    assert!(is_kept(&mut stage, &next, &dialled), "idle ones are closed");
    let (mut stage, [_, next], dialled) = promised();
    let server = stage.cores[0].upstreams[dialled.key].server().clone();
    stage.cores[0].on_mail(Mail::Reclaim(server));
    assert!(is_kept(&mut stage, &next, &dialled), "a place is wanted");
}

#[test]
fn an_idle_connection_that_has_an_event_is_looked_at() {
    let mut stage = Stage::new(1, 1, |_| {});
    let guest = stage.accept(0);
    let dialled = stage.ask(&guest);
    stage.answer(0, &dialled, OK);
    stage.settle();
    assert!(guest.wire.take().ends_with("ok"));
    stage.edge(0, &dialled, READABLE);
    stage.send(&guest, GET);
    assert!(is_kept(&mut stage, &guest, &dialled), "nothing has come on it");
    stage.answer(0, &dialled, "HTTP/1.1 408 Request Timeout\r\n\r\n");
    stage.settle();
    assert!(dialled.wire.is_closed(), "something has come that nobody has asked for");
}

#[test]
fn a_connection_that_is_promised_may_be_lost_meanwhile() {
    let (mut stage, [_, next], dialled) = promised();
    dialled.wire.lose();
    stage.edge(0, &dialled, GONE);
    stage.settle();
    let fresh = stage.newest(0);
    assert!(dialled.wire.is_closed() && !fresh.wire.is_closed(), "another one is made");
    stage.edge(0, &fresh, WRITABLE);
    stage.settle();
    assert!(fresh.wire.take().starts_with("GET /a "));
    stage.answer(0, &fresh, OK);
    stage.settle();
    assert!(next.wire.take().ends_with("ok"));
}

#[test]
fn who_was_promised_a_connection_and_left_holds_up_nobody() {
    let (mut stage, [first, next], _) = promised();
    stage.cores[0].on_client_edge(next.key, GONE);
    stage.cores[0].pump(next.key);
    stage.settle();
    assert!(next.wire.is_closed());
    let server = stage.cores[0].turn.site.pools[0].servers[0].clone();
    assert_eq!((server.places.taken(), server.in_flight()), (0, 0));
    stage.ask(&first);
}

/// The place belongs to a worker with the newer site, where no queue leads to the request that waits for it.
#[test]
fn who_waits_in_a_former_queue_at_one_worker_is_served_by_the_place_of_another() {
    let mut stage = Stage::new(2, 1, one_place);
    let first = stage.accept(0);
    let dialled = stage.ask(&first);
    let site = stage.reload(|config| config.pools[0].balance = BalanceConfig::Random);
    stage.tell(0, &site);
    stage.settle();
    let next = stage.accept(1);
    stage.send(&next, GET);
    stage.settle();
    stage.answer(0, &dialled, OK);
    stage.settle();
    assert!(first.wire.take().ends_with("ok"));
    stage.tell(1, &site);
    stage.settle();
    let fresh = stage.newest(1);
    stage.edge(1, &fresh, WRITABLE);
    stage.settle();
    stage.answer(1, &fresh, OK);
    stage.settle();
    assert!(next.wire.take().starts_with("HTTP/1.1 200 "));
}

/// After a wait between two attempts, it joins the queue when both workers have the newer site and have forgotten the earlier pool.
#[test]
fn who_comes_into_a_former_queue_late_is_served_as_well() {
    let mut stage = Stage::new(2, 1, |config| {
        one_place(config);
        (config.pools[0].retry.max_retries, config.pools[0].retry.backoff_ms) = (2, 1000);
    });
    let late = stage.accept(1);
    stage.send(&late, GET);
    stage.settle();
    let refused = stage.newest(1);
    let site = stage.reload(|config| config.pools[0].balance = BalanceConfig::Random);
    [0, 1].iter().for_each(|&worker| stage.tell(worker, &site));
    stage.settle();
    refused.wire.fail(libc::ECONNREFUSED);
    stage.edge(1, &refused, GONE);
    stage.turn(1);
    let first = stage.accept(0);
    let dialled = stage.ask(&first);
    stage.wait(2000);
    stage.settle();
    assert_eq!(stage.cores[1].turn.stats.queued_requests.value(), 1);
    stage.answer(0, &dialled, OK);
    stage.settle();
    assert!(first.wire.take().ends_with("ok"));
    let fresh = stage.newest(1);
    stage.edge(1, &fresh, WRITABLE);
    stage.settle();
    stage.answer(1, &fresh, OK);
    stage.settle();
    assert!(late.wire.take().starts_with("HTTP/1.1 200 "));
}

/// One poll has an event for a connection that is closed, in favour of another, while earlier events of that poll are handled.
#[test]
fn news_of_a_connection_that_is_gone_is_no_news_of_one_that_came_after_it() {
    let mut stage = Stage::new(1, 2, |config| {
        (config.pools[0].retry.max_retries, config.pools[0].retry.backoff_ms) = (2, 0);
    });
    let guest = stage.accept(0);
    let kept = stage.ask(&guest);
    stage.answer(0, &kept, "HTTP/1.1 204 No Content\r\n\r\n");
    stage.settle();
    assert!(guest.wire.take().starts_with("HTTP/1.1 204 "));
    stage.wait(100);
    stage.send(&guest, GET);
    stage.settle();
    let refused = stage.newest(0);
    assert_ne!(refused.port, kept.port);
    // The following comes with one poll.
    kept.wire.put("HTTP/1.1 408 Request Timeout\r\n\r\n");
    refused.wire.fail(libc::ECONNREFUSED);
    stage.edge(0, &refused, GONE);
    stage.edge(0, &kept, GONE);
    stage.settle();
    let fresh = stage.newest(0);
    assert_eq!((fresh.port, fresh.wire.take().as_str()), (kept.port, ""), "it is not connected yet");
    stage.edge(0, &fresh, WRITABLE);
    stage.settle();
    assert!(fresh.wire.take().starts_with("GET /a "));
    stage.answer(0, &fresh, OK);
    stage.settle();
    assert!(guest.wire.take().ends_with("ok"));
}

#[test]
fn an_idle_connection_takes_300_bytes_at_most() {
    // Besides its slot it has a timer of 24 bytes, and a node of 16 in the list of those that rest.
    let slot = size_of::<Option<super::client::Client<Wire>>>();
    assert!(slot + 24 + 16 <= 300, "a slot of {slot} bytes");
}

/// A ticket in a letter outlives its request, whose key the next one has by then.
#[test]
fn a_letter_for_one_who_is_gone_does_not_reach_who_has_its_key() {
    let mut stage = Stage::new(1, 1, one_place);
    let first = stage.accept(0);
    let dialled = stage.ask(&first);
    let queued = |stage: &mut Stage| {
        let guest = stage.accept(0);
        stage.send(&guest, GET);
        stage.settle();
        let exchange = stage.cores[0].clients[guest.key].front.exchange().expect("it waits");
        (guest, stage.cores[0].talks[exchange].exchange.ticket(0, exchange))
    };
    let (gone, late) = queued(&mut stage);
    stage.cores[0].on_client_edge(gone.key, GONE);
    stage.settle();
    assert!(gone.wire.is_closed());
    let (next, ticket) = queued(&mut stage);
    assert_eq!((next.key, ticket.key), (gone.key, late.key), "the keys are used again");
    let pool = stage.cores[0].turn.site.pools[0].clone();
    stage.cores[0].on_mail(Mail::Admitted { pool, ticket: late, grant: None });
    stage.settle();
    assert_eq!((next.wire.take().as_str(), stage.cores[0].stats.queued_requests.value()), ("", 1), "it waits on");
    stage.answer(0, &dialled, OK);
    assert!(is_kept(&mut stage, &next, &dialled));
}
