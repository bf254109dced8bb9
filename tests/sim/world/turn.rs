//! A worker's turn, as `worker::mod` and `worker::accept` have it around the same core.

use super::super::seen::{Seen, note};
use super::super::socket::SimSocket;
use super::super::transport::SimTransport;
use super::super::tube::Tube;
use super::super::wire::Wires;
use super::{BALANCER, Newcomer, Seat, World};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use tidegate::base::clock::Now;
use tidegate::guard::descriptors::Descriptor;
use tidegate::guard::door::{Door, Paused, Stay};
use tidegate::machine::service::Service;
use tidegate::net::token::Source;
use tidegate::net::transport::Link;
use tidegate::worker::Entrance;
use tidegate::worker::OwnTimer;
use tidegate::worker::shared::Mail;

/// How many turns of a worker in a row, in a short time, may move nothing.
const MAX_VAIN_TURNS: u32 = 40;
const VAIN_MICROS: u64 = 1_000_000;
/// How many calls one turn may make: far beyond what the budgets of all clients allow.
const MAX_CALLS: u64 = 300_000;

/// What a turn does next, in the order of `worker::Worker::run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Poll,
    Mail,
    Accept,
    Pump,
    Expire,
    End,
}

impl World {
    /// One turn of a worker; or, where turns interleave, its next part, between which shared state may change.
    pub(super) fn turn(&mut self, worker: usize) {
        loop {
            let phase = self.seats[worker].phase;
            self.seats[worker].phase = match phase {
                Phase::Poll => {
                    self.poll(worker);
                    Phase::Mail
                }
                Phase::Mail => {
                    self.take_mail(worker);
                    Phase::Accept
                }
                Phase::Accept => {
                    let now = self.seats[worker].core.turn.now;
                    let came = accept(&mut self.seats[worker], &self.wires, [&self.door, &self.admin_door], worker, now);
                    self.seats[worker].is_vain &= !came;
                    Phase::Pump
                }
                Phase::Pump => {
                    self.seats[worker].core.pump_ready();
                    Phase::Expire
                }
                Phase::Expire => {
                    self.expire(worker);
                    Phase::End
                }
                Phase::End => {
                    self.end_turn(worker);
                    Phase::Poll
                }
            };
            if self.extras.interleaves || phase == Phase::End {
                break;
            }
        }
    }

    fn poll(&mut self, worker: usize) {
        self.look_around(worker);
        let now = self.now();
        let seat = &mut self.seats[worker];
        let mut edges = Vec::new();
        seat.transfers = {
            let mut wires = self.wires.borrow_mut();
            wires.poll(worker, &mut edges);
            wires.calls = 0;
            wires.transfers
        };
        seat.is_vain = edges.is_empty();
        seat.fair.begin(&seat.core, &self.wires.borrow());
        // A message from now on wakes the worker for the next turn.
        seat.bell.store(false, SeqCst);
        seat.core.begin_turn(now);
        for (source, edge) in edges {
            match source {
                Source::Client(key) => seat.core.on_client_edge(key, edge),
                Source::Upstream(key) => seat.core.on_upstream_edge(key, edge),
                Source::Check(slot) => seat.checks.on_edge(slot, edge, now.millis()),
                other => panic!("{other:?} is nothing that this network knows"),
            }
        }
    }

    fn look_around(&self, worker: usize) {
        let sites = || self.seats.iter().map(|seat| &**seat.core.turn.site);
        if sites().any(|site| !std::ptr::eq(site, &**self.seats[worker].core.turn.site)) {
            note(Seen::WorkersOnTwoSites);
        }
        if self.seats.iter().any(|seat| seat.phase != Phase::Poll) {
            note(Seen::TurnsInterleaved);
        }
    }

    fn take_mail(&mut self, worker: usize) {
        let mut letters = Vec::new();
        if self.shared.mailboxes[worker].is_full() {
            self.shared.mailboxes[worker].collect(&mut letters);
        }
        let seat = &mut self.seats[worker];
        let now = seat.core.turn.now;
        seat.is_vain &= letters.is_empty();
        for mail in letters {
            match mail {
                Mail::Resume => seat.is_paused = false,
                Mail::Drain => {
                    let grace_ms = u64::from(seat.core.turn.site.config.shutdown.grace_ms);
                    seat.core.set_own_timer(OwnTimer::Grace, now.millis() + grace_ms);
                    seat.checks.stop();
                    seat.core.on_mail(Mail::Drain);
                }
                Mail::Site(new) => {
                    seat.core.on_mail(Mail::Site(new));
                    if worker == 0 && self.extras.is_checked && !seat.core.turn.is_draining {
                        seat.checks.take_site(&seat.core.turn.site, now.millis());
                    }
                }
                mail => seat.core.on_mail(mail),
            }
        }
    }

    fn expire(&mut self, worker: usize) {
        let Seat { core, is_paused, checks, is_vain, .. } = &mut self.seats[worker];
        core.expire(|core, timer| {
            *is_vain = false;
            match timer {
                OwnTimer::Accept => *is_paused = false,
                OwnTimer::Grace => core.on_mail(Mail::Cut),
                // The timer only wakes the loop.
                _ => {}
            }
        });
        let now = core.turn.now.millis();
        *is_vain &= checks.next_wake().is_none_or(|wake| wake > now);
        checks.expire(&mut core.net, now);
        if checks.take_news() {
            core.serve_queues();
        }
    }

    fn end_turn(&mut self, worker: usize) {
        let ended = self.now();
        let seat = &mut self.seats[worker];
        seat.core.end_turn();
        seat.core.begin_rests(|| ended);
        seat.core.check_keys();
        let is_vain = seat.is_vain && self.wires.borrow().transfers == seat.transfers;
        // Looking from time to time without finding anything is not spinning.
        let now = seat.core.turn.now.micros;
        let is_later = now > seat.vain_since + VAIN_MICROS;
        if !is_vain || is_later {
            (seat.vain_turns, seat.vain_since) = (0, now);
        }
        seat.vain_turns += u32::from(is_vain);
        assert!(seat.vain_turns < MAX_VAIN_TURNS, "worker {worker} spins");
        if seat.fair.end(&seat.core, &self.wires.borrow()) {
            note(Seen::GreedyBesideOthers);
        }
        assert!(self.wires.borrow().calls < MAX_CALLS, "worker {worker} does not come out of its turn");
        self.check_turn(worker);
    }
}

/// Like `worker::accept`. Returns whether a connection was accepted.
fn accept(seat: &mut Seat, wires: &Rc<RefCell<Wires>>, [door, admin_door]: [&Arc<Door>; 2], worker: usize, now: Now) -> bool {
    let shared = seat.core.shared.clone();
    let resting = || shared.admin.stats.iter().map(|stats| stats.resting_clients.value() as usize).sum();
    let mut came = false;
    while let Some(id) = seat.admin_backlog.pop_front() {
        came = true;
        let held = (admin_door.try_enter().expect("a place"), shared.descriptors.enter_anyway());
        admit(
            seat,
            wires,
            id,
            [10, 9, 8, 1],
            Entrance { door: admin_door.clone(), port: Some(8081), arrival: Arc::default(), service: Service::of_admin() },
            held,
        );
    }
    while seat.is_ready && !seat.is_paused {
        let Some(&Newcomer { id, address, is_many }) = seat.backlog.front() else {
            seat.is_ready = false;
            break;
        };
        let enter = || {
            let stay = door.try_enter().ok_or(&door.paused)?;
            Ok((stay, shared.descriptors.admit_client(resting()).ok_or(&shared.starved)?))
        };
        let again = |paused: &Paused| {
            paused.pause(worker);
            enter()
        };
        let held = match enter().or_else(again) {
            Ok(held) => held,
            Err(still) => {
                if std::ptr::eq(still, &shared.starved) {
                    seat.core.set_own_timer(OwnTimer::Accept, now.millis() + 250);
                }
                seat.is_paused = true;
                break;
            }
        };
        seat.backlog.pop_front();
        came = true;
        let service = Service::of_site(seat.core.stats.clone());
        let came_from = if wires.borrow().conns[id].names_peer { BALANCER } else { [10, 9, 8, address] };
        let key = seat.core.clients.vacant_key();
        admit(seat, wires, id, came_from, Entrance { door: door.clone(), port: Some(8080), arrival: Arc::default(), service }, held);
        if is_many && seat.core.clients.get(key).is_some_and(|client| client.front.is_asking()) {
            seat.core.carry_many(key, Box::new(Tube::default()));
        }
    }
    came
}

type Held = (Stay, Descriptor);

fn admit(seat: &mut Seat, wires: &Rc<RefCell<Wires>>, id: usize, address: [u8; 4], entrance: Entrance, (stay, descriptor): Held) {
    let socket = SimSocket { wires: wires.clone(), id, taken: None };
    let peer = tidegate::base::address::Peer::from(SocketAddr::from((address, 1000 + id as u16)));
    seat.core.admit(Link::new(SimTransport::accepted(socket, peer), descriptor), peer, Rc::new(entrance), stay);
}
