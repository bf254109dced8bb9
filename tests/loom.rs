//! What workers share without a lock, tested in every order in which threads may run: `make loom`. Empty in any other
//! build.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;
use std::ops::ControlFlow;
use tidegate::base::mailbox::{Mailbox, Wake};
use tidegate::base::sync::{AtomicBool, Ordering::SeqCst, fence};
use tidegate::guard::door::Door;
use tidegate::guard::gate::Gate;
use tidegate::guard::places::{Needs, Places, UpstreamLimits};
use tidegate::guard::wait_queue::{Candidate, Ticket, WaitQueue, Wish};

/// Tries every order with a limited number of preemptions: more would take very long, and has never shown anything new.
fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(threads);
}

fn ticket(worker: usize) -> Ticket {
    Ticket { worker, key: 0, serial: 1 }
}

fn needing(needs: Needs) -> Wish {
    Wish { needs, ..Wish::default() }
}

const WHOLE: Needs = Needs { is_partial: false, tunnel: false, has_left: false };
const PARTIAL: Needs = Needs { is_partial: true, ..WHOLE };
const MOST: UpstreamLimits = UpstreamLimits { connections: 1, tunnels: 1 };

/// A server with one place and its queue, as `upstream::pool` and `worker::queue` use them.
#[derive(Default)]
struct Pool {
    places: Places,
    queue: WaitQueue,
    /// How often each worker's ticket was called: each must be served once.
    served: [AtomicUsize; 2],
}

impl Pool {
    /// Called by a thread that freed a place or has just joined. The one that is called gets the place, and gives it back at once.
    fn hand_on(&self) {
        let enter = |asks: Candidate| match self.places.try_enter(asks.needs, MOST) {
            true => ControlFlow::Break(Some(asks.needs)),
            false => ControlFlow::Continue(()),
        };
        while let Some((ticket, needs)) = self.queue.call(enter) {
            self.serve(ticket.worker, needs);
        }
    }

    fn serve(&self, worker: usize, needs: Needs) {
        self.served[worker].fetch_add(1, Relaxed);
        self.places.give_back(needs);
        self.places.leave();
    }

    fn ask(&self, worker: usize, needs: Needs) {
        if self.queue.is_empty() && self.places.try_enter(needs, MOST) {
            self.serve(worker, needs);
        } else {
            self.queue.join(ticket(worker), needing(needs));
        }
        self.hand_on();
    }
}

#[test]
fn a_gate_never_lets_more_in_than_the_limit() {
    model(|| {
        let (gate, inside) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
        let visit = |gate: Arc<Gate>, inside: Arc<AtomicUsize>| {
            move || {
                if gate.try_enter(2) {
                    assert!(inside.fetch_add(1, Relaxed) < 2);
                    inside.fetch_sub(1, Relaxed);
                    gate.leave();
                }
            }
        };
        let others: Vec<_> = (0..2).map(|_| thread::spawn(visit(gate.clone(), inside.clone()))).collect();
        visit(gate.clone(), inside)();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(gate.taken(), 0);
    });
}

#[test]
fn nobody_is_queued_before_a_free_place() {
    model(|| {
        let pool = Arc::new(Pool::default());
        let other = thread::spawn({
            let pool = pool.clone();
            move || pool.ask(1, PARTIAL)
        });
        pool.ask(0, WHOLE);
        other.join().unwrap();
        assert!(pool.queue.is_empty() && pool.places.taken() == 0);
        assert_eq!([0, 1].map(|worker| pool.served[worker].load(Relaxed)), [1, 1]);
    });
}

#[test]
fn who_leaves_the_queue_is_called_or_has_left() {
    model(|| {
        let line = Arc::new(WaitQueue::default());
        [0, 1].into_iter().for_each(|worker| line.join(ticket(worker), needing(WHOLE)));
        let other = thread::spawn({
            let line = line.clone();
            move || line.call(|_| ControlFlow::Break(Some(()))).map(|(ticket, ())| ticket)
        });
        let has_left = line.leave(ticket(0), WHOLE);
        let called = other.join().unwrap();
        assert_eq!(called, Some(ticket(usize::from(has_left))), "the first that was there");
        assert_eq!(line.is_empty(), has_left);
        assert_eq!((line.leave(ticket(0), WHOLE), line.leave(ticket(1), WHOLE)), (false, !has_left));
    });
}

/// A worker that parks an idle connection looks at the queue afterwards; one that joins the queue looks at idle connections afterwards.
#[test]
fn a_parked_connection_and_who_needs_its_place_meet() {
    model(|| {
        let (line, idle) = (Arc::new(WaitQueue::default()), Arc::new(AtomicUsize::new(0)));
        let other = thread::spawn({
            let (line, idle) = (line.clone(), idle.clone());
            move || {
                // A worker's own counter, which other workers only read.
                idle.store(1, Relaxed);
                fence(SeqCst);
                !line.is_empty()
            }
        });
        line.join(ticket(0), needing(WHOLE));
        fence(SeqCst);
        let seen = idle.load(Relaxed) > 0;
        assert!(other.join().unwrap() || seen, "neither sees the other");
    });
}

#[test]
fn who_pauses_at_a_full_door_is_woken_or_gets_in() {
    model(|| {
        // What a stay holds is counted by the standard library: only the door is what is tried.
        let door = std::sync::Arc::new(Door::new(1, 2));
        let stay = door.try_enter();
        assert!(stay.is_some());
        let other = thread::spawn({
            let door = door.clone();
            move || {
                drop(stay);
                if door.paused.is_any() { door.paused.take().collect() } else { Vec::new() }
            }
        });
        let enters = door.try_enter().or_else(|| {
            door.paused.pause(1);
            door.try_enter()
        });
        let woken = other.join().unwrap();
        assert!(enters.is_some() || woken == [1], "it pauses, a place is free, and nobody says so");
    });
}

struct Bell(Arc<AtomicBool>);

impl Wake for Bell {
    fn wake(&self) {
        self.0.swap(true, SeqCst);
    }
}

#[test]
fn a_letter_is_collected_or_the_bell_rings() {
    model(|| {
        let bell = Arc::new(AtomicBool::new(false));
        let mailbox = Arc::new(Mailbox::new(Box::new(Bell(bell.clone()))));
        let post = |letter| {
            let mailbox = mailbox.clone();
            move || mailbox.post(letter)
        };
        let others = [1, 2].map(|letter| thread::spawn(post(letter)));
        let mut letters = Vec::new();
        let mut turn = || {
            let mut some = Vec::new();
            if bell.swap(false, SeqCst) && mailbox.is_full() {
                mailbox.collect(&mut some);
            }
            letters.append(&mut some);
        };
        turn();
        others.into_iter().for_each(|other| other.join().unwrap());
        // Sleeps until the bell rings; each turn takes everything.
        turn();
        letters.sort_unstable();
        assert_eq!(letters, [1, 2]);
    });
}
