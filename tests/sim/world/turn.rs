//! A worker's turn, as `worker::mod` and `worker::accept` have it around the same core.

use super::super::socket::SimSocket;
use super::super::wire::Wires;
use super::{Seat, World};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use tidegate::base::clock::Now;
use tidegate::guard::door::Door;
use tidegate::net::token::Source;
use tidegate::worker::Entrance;
use tidegate::worker::core::{ACCEPT_TIMER, GRACE_TIMER};
use tidegate::worker::shared::Mail;

/// Turns of a worker in which nothing moved, one after the other in so short a time.
const MAX_VAIN_TURNS: u32 = 20;
const VAIN_MICROS: u64 = 1_000_000;
/// Calls of one turn: far beyond what the budgets of all sessions allow.
const MAX_CALLS: u64 = 300_000;

impl World {
    /// One turn of a worker, in the order of `worker::Worker::run`.
    pub(super) fn turn(&mut self, worker: usize) {
        let now = self.now();
        let seat = &mut self.seats[worker];
        let mut edges = Vec::new();
        let transfers = {
            let mut wires = self.wires.borrow_mut();
            wires.poll(worker, &mut edges);
            wires.calls = 0;
            wires.transfers
        };
        let mut is_vain = edges.is_empty();
        seat.core.begin_turn(now);
        for (source, edge) in edges {
            match source {
                Source::Client(key) => seat.core.on_client_edge(key, edge),
                Source::Upstream(key) => seat.core.on_upstream_edge(key, edge),
                other => panic!("{other:?} is nothing that this network knows"),
            }
        }
        let mut letters = Vec::new();
        seat.bell.store(false, SeqCst);
        if self.shared.mailboxes[worker].is_full() {
            self.shared.mailboxes[worker].collect(&mut letters);
        }
        is_vain &= letters.is_empty();
        for mail in letters {
            match mail {
                Mail::Resume => seat.is_paused = false,
                Mail::Drain => {
                    let grace_ms = u64::from(seat.core.turn.site.config.shutdown.grace_ms);
                    seat.core.set_own_timer(GRACE_TIMER, now.millis() + grace_ms);
                    seat.core.on_mail(Mail::Drain);
                }
                mail => seat.core.on_mail(mail),
            }
        }
        is_vain &= !accept(seat, &self.wires, &self.door, worker, now);
        seat.core.pump_ready();
        let Seat { core, is_paused, .. } = seat;
        let mut fired = false;
        core.expire(|core, timer| {
            fired = true;
            match timer {
                ACCEPT_TIMER => *is_paused = false,
                GRACE_TIMER => core.on_mail(Mail::Cut),
                // Only to wake the loop.
                _ => {}
            }
        });
        core.end_turn();
        is_vain &= !fired && self.wires.borrow().transfers == transfers;
        // Who looks now and then, and finds nothing, does not spin.
        let is_later = now.micros > seat.vain_since + VAIN_MICROS;
        if !is_vain || is_later {
            (seat.vain_turns, seat.vain_since) = (0, now.micros);
        }
        seat.vain_turns += u32::from(is_vain);
        assert!(seat.vain_turns < MAX_VAIN_TURNS, "worker {worker} spins");
        assert!(self.wires.borrow().calls < MAX_CALLS, "worker {worker} does not come out of its turn");
        self.check_turn(worker);
    }
}

/// As `worker::accept` does it. True if somebody came in.
fn accept(seat: &mut Seat, wires: &Rc<RefCell<Wires>>, door: &Arc<Door>, worker: usize, now: Now) -> bool {
    let shared = seat.core.shared.clone();
    let resting = || shared.panel.stats.iter().map(|stats| stats.resting_clients.value() as usize).sum();
    let mut came = false;
    while seat.is_ready && !seat.is_paused {
        let Some(&id) = seat.backlog.front() else {
            seat.is_ready = false;
            break;
        };
        let enter = || {
            if !door.try_enter() {
                return Some(&door.paused);
            }
            if shared.descriptors.admit_client(resting()) {
                return None;
            }
            door.leave();
            Some(&shared.starved)
        };
        if let Some(paused) = enter() {
            paused.pause(worker);
            if let Some(still) = enter() {
                if std::ptr::eq(still, &shared.starved) {
                    seat.core.set_own_timer(ACCEPT_TIMER, now.millis() + 250);
                }
                seat.is_paused = true;
                break;
            }
        }
        seat.backlog.pop_front();
        came = true;
        let socket = SimSocket { wires: wires.clone(), id, taken: None };
        let peer = SocketAddr::from(([10, 9, 8, 7], 1000 + id as u16));
        let entrance = Entrance { door: door.clone(), port: 8080, is_admin: false };
        seat.core.admit(socket, peer, entrance, |net, socket, source| {
            net.wires.borrow_mut().register(socket.id, source);
            Ok(())
        });
    }
    came
}
