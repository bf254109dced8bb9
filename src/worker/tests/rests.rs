//! Which connection is closed for a new one.

use super::stage::{Guest, OK, READABLE, Stage};
use crate::config::model::{Action, Config, Matcher, Retry, Route};
use crate::guard::door::Door;
use crate::worker::Room;
use crate::worker::shared::Mail;
use std::sync::Arc;

/// Clients of a worker that are idle between two requests.
fn idle(stage: &mut Stage, worker: usize, count: usize) -> Vec<Guest> {
    let guests: Vec<Guest> = (0..count).map(|_| stage.accept(worker)).collect();
    for guest in &guests {
        let dialled = if guest.key == guests[0].key { stage.ask(guest) } else { stage.again(guest) };
        stage.answer(worker, &dialled, OK);
        stage.settle();
        assert!(guest.wire.take().ends_with("ok"));
    }
    stage.wait(1500);
    stage.settle();
    guests
}

fn are_there(guests: &[Guest]) -> bool {
    guests.iter().all(|guest| !guest.wire.is_closed())
}

/// Refused clients hold descriptors too: they are closed first, one after the other, wherever they linger, and no idle one.
#[test]
fn where_refused_clients_took_the_descriptors_they_go_before_those_who_idle() {
    let mut stage = Stage::new(2, 1, |_| {});
    let (door, other) = (stage.door.clone(), Arc::new(Door::new(1000, 2)));
    let mut guests = idle(&mut stage, 0, 2);
    guests.extend(idle(&mut stage, 1, 2));
    let here = stage.refuse(0, &other);
    stage.wait(10);
    let there = [stage.refuse(1, &door), stage.refuse(1, &door)];
    stage.settle();
    assert_eq!(stage.make_room(0, &door), Room::Made);
    assert!(here.wire.is_closed(), "it lingers at another door: a descriptor is as good from there");
    for left in [1, 0] {
        assert_eq!(stage.make_room(0, &door), Room::Asked);
        stage.settle();
        assert_eq!(there.iter().filter(|guest| !guest.wire.is_closed()).count(), left);
    }
    assert!(are_there(&guests) && stage.open_clients() == 4);
    assert_eq!((stage.make_room(0, &door), are_there(&guests)), (Room::Made, false), "now there is nobody else");
}

/// By the lack of a descriptor, or by a message for a connection that is gone.
#[test]
fn who_waits_for_a_descriptor_is_woken() {
    let mut stage = Stage::new(2, 1, |_| {});
    let door = stage.door.clone();
    stage.refuse(1, &door);
    for _ in 0..2 {
        stage.shared.starved.pause(0);
        stage.shared.mailboxes[1].post(Mail::Dismiss { door: door.clone(), starved: true });
        assert!(stage.shared.starved.is_any());
        stage.settle();
        assert!(!stage.shared.starved.is_any(), "it is still asleep");
    }
}

fn echoing(config: &mut Config) {
    config.routes = vec![Route {
        name: "echo".into(),
        matcher: Matcher { path_prefix: Some("/echo".into()), ..Matcher::default() },
        action: Action::Echo { name: "e".into() },
        timeouts: config.timeouts.clone(),
        retry: Retry::default(),
        owns_budget: false,
        rate_limit: None,
        access_log: true,
        max_body_size: 0,
    }];
}

/// Its request lies in its socket, and no event has told of it yet.
#[test]
fn who_has_just_asked_is_not_closed_for_another() {
    let mut stage = Stage::new(1, 1, echoing);
    let door = stage.door.clone();
    let guests = idle(&mut stage, 0, 1);
    guests[0].wire.put("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab");
    assert_eq!((stage.make_room(0, &door), are_there(&guests)), (Room::None, true));
    guests[0].wire.put("cd");
    stage.cores[0].on_client_edge(guests[0].key, READABLE);
    stage.settle();
    assert!(guests[0].wire.take().ends_with("body: 4 bytes\n") && are_there(&guests));
}
