//! A worker: one thread, one poll, one loop. The only place where sockets and machines meet.

pub mod checks;
pub mod core;
pub mod shared;

mod accept;
mod admission;
mod bulk;
mod client;
mod clients;
mod closing;
mod dial;
mod effects;
mod entrance;
mod handshakes;
mod keys;
mod listener;
mod mail;
mod many;
mod pipes;
mod pump;
mod queue;
mod rests;
mod reuse;
mod side;
mod stalls;
#[cfg(test)]
mod tests;
mod timers;
mod upstream;

use crate::base::address::Address;
use crate::base::clock::Clock;
use crate::base::mailbox::Wake;
use crate::base::wheel::earlier;
use crate::config::model::{NewRequests, Shutdown};
use crate::guard::door::Door;
use crate::net::listen::ListenSocket;
use crate::net::pipe::Pipe;
use crate::net::stream::Stream;
use crate::net::token::Source;
use crate::net::transport::Edge;
use crate::net::wire::{Arrival, Wire};
use crate::observe::access::Record;
use crate::observe::writer::AccessLog;
use crate::session::Journal;
use crate::site::Site;
use crate::tls::client::Departure;
use checks::Checks;
use core::{Core, Net};
pub use entrance::Entrance;
use listener::Listener;
use mio::{Events, Interest, Poll, Registry};
pub use rests::Room;
use shared::{Mail, NewSite, Shared};
use slab::Slab;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
pub use timers::OwnTimer;

/// How many events are taken from the kernel at once.
const EVENTS: usize = 1024;
/// A turn that begins this long after the first deadline counts as late.
const LATE_MS: u64 = 20;
/// How many rounds of input may precede the deadlines of a late turn, beyond those that all sockets may need.
const CATCH_UP_ROUNDS: usize = 16;
/// How long a late worker waits for what other late workers pass on, before it judges deadlines.
const HAND_ON: Duration = Duration::from_millis(10);

/// The network in production: kernel sockets, registered with the worker's poll.
struct Kernel(Registry);

impl Net for Kernel {
    type Transport = Wire;

    fn pipe(&mut self) -> io::Result<Pipe> {
        Pipe::new()
    }

    fn dial(&mut self, address: &Address, tls: Option<Departure>, source: Source) -> io::Result<Wire> {
        let transport = Wire::dialled(Stream::connect(address)?, tls)?;
        self.register(&transport, source)?;
        Ok(transport)
    }

    fn local_address(&self, transport: &Wire) -> Option<SocketAddr> {
        socket2::SockRef::from(transport).local_addr().ok()?.as_socket()
    }

    fn register(&mut self, transport: &Wire, source: Source) -> io::Result<()> {
        source.register(&self.0, transport, Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY)
    }
}

impl Journal for AccessLog {
    fn is_on(&self) -> bool {
        AccessLog::is_on(self)
    }

    fn line(&mut self, record: &Record) {
        AccessLog::line(self, record);
    }

    fn hand_over(&mut self) {
        AccessLog::hand_over(self);
    }
}

impl Wake for mio::Waker {
    fn wake(&self) {
        if let Err(error) = mio::Waker::wake(self) {
            log::error!(target: "worker", "a worker cannot be woken: {error}");
        }
    }
}

/// What a worker's thread starts with.
pub struct WorkerSetup {
    /// Its index.
    pub worker: usize,
    /// Its poll, with which the mailbox's waker is registered.
    pub poll: Poll,
    /// Its own sockets, with their listening addresses.
    pub listeners: Vec<(ListenSocket, Entrance)>,
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The configuration at the start.
    pub site: Arc<Site>,
    /// Its access log.
    pub journal: AccessLog,
    /// The process's clock.
    pub clock: Clock,
}

/// A worker.
pub struct Worker {
    poll: Poll,
    clock: Clock,
    core: Core<Kernel>,
    listeners: Slab<Listener>,
    /// The health checks of the process, in the first worker; empty in the others.
    checks: Checks<Wire>,
    letters: Vec<Mail>,
    /// Whether the grace period is over.
    is_over: bool,
}

impl Worker {
    /// Registers everything with the poll.
    pub fn new(seat: WorkerSetup) -> io::Result<Self> {
        let WorkerSetup { worker, poll, listeners, shared, site, journal, clock } = seat;
        let mut this = Self {
            checks: Checks::new(fastrand::u64(..), shared.descriptors.clone()),
            core: Core::new(worker, Kernel(poll.registry().try_clone()?), Box::new(journal), shared, Rc::new(site), fastrand::u64(..)),
            poll,
            clock,
            listeners: Slab::new(),
            letters: Vec::new(),
            is_over: false,
        };
        listeners.into_iter().try_for_each(|listener| this.open(listener))?;
        this.check_site();
        Ok(this)
    }

    /// Runs turn after turn, until the process ends.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.finish() {
            let patience = self.patience();
            self.wait(&mut events, patience)?;
            self.core.begin_turn(self.clock.read());
            self.take_input(&events);
            if self.is_late() {
                self.catch_up(&mut events)?;
            }
            self.expire();
            self.core.end_turn();
            self.core.begin_rests(|| self.clock.read());
            self.core.turn.journal.hand_over();
        }
        // A place given to an exchange here that has ended must be passed on to another worker.
        self.take_mail();
        self.core.end_turn();
        self.core.turn.journal.hand_over();
        self.core.shared.running.fetch_sub(1, SeqCst);
        self.core.shared.mailboxes[0].post(Mail::Resume);
        Ok(())
    }

    /// Waits for events. A wait that was interrupted because the process was stopped is repeated: what came meanwhile is not known.
    fn wait(&mut self, events: &mut Events, mut patience: Option<Duration>) -> io::Result<()> {
        loop {
            match self.poll.poll(events, patience) {
                Err(error) if error.kind() == ErrorKind::Interrupted => patience = self.patience(),
                done => return done,
            }
        }
    }

    fn take_input(&mut self, events: &Events) {
        self.take_edges(events);
        self.take_mail();
        self.accept();
        self.core.pump_ready();
    }

    /// Whether a deadline passed long ago: the process was stopped, or had no CPU.
    fn is_late(&self) -> bool {
        self.next_wake().is_some_and(|wake| wake + LATE_MS < self.core.turn.now.millis())
    }

    /// Reads all that came in the meantime before any deadline is judged: every socket is handled once, with all that follows from it.
    /// No more than that, because input that never ends must not stop the clock.
    fn catch_up(&mut self, events: &mut Events) -> io::Result<()> {
        let rounds = (self.core.clients.len() + self.core.upstreams.len()) / EVENTS + CATCH_UP_ROUNDS;
        let mut is_quiet = false;
        for _ in 0..rounds {
            self.core.end_turn();
            self.wait(events, Some(if is_quiet { HAND_ON } else { Duration::ZERO }))?;
            let has_news = !events.is_empty() || self.core.is_behind();
            if is_quiet && !has_news {
                break;
            }
            self.take_input(events);
            is_quiet = !has_news;
        }
        Ok(())
    }

    fn next_wake(&self) -> Option<u64> {
        earlier(self.core.next_wake(), self.checks.next_wake())
    }

    /// How long the poll may sleep.
    fn patience(&self) -> Option<Duration> {
        if self.core.is_behind() || self.listeners.iter().any(|(_, listener)| listener.is_ready()) {
            return Some(Duration::ZERO);
        }
        let wake = self.next_wake()?;
        // Rounded up to the next millisecond: a wake-up before the deadline would find nothing due.
        Some(Duration::from_micros((wake * 1000).saturating_sub(self.clock.read().micros)))
    }

    fn take_edges(&mut self, events: &Events) {
        for event in events {
            match Source::of(event.token()) {
                Source::Waker => {}
                Source::Listener(number) => self.listeners.get_mut(number).into_iter().for_each(Listener::on_edge),
                Source::Client(key) => self.core.on_client_edge(key, Edge::from(event)),
                Source::Upstream(key) => self.core.on_upstream_edge(key, Edge::from(event)),
                Source::Check(slot) => {
                    let now = self.core.turn.now.millis();
                    self.checks.on_edge(slot, Edge::from(event), now);
                }
            }
        }
    }

    fn take_mail(&mut self) {
        let mailbox = &self.core.shared.mailboxes[self.core.turn.worker];
        if !mailbox.is_full() {
            return;
        }
        let mut letters = std::mem::take(&mut self.letters);
        mailbox.collect(&mut letters);
        for mail in letters.drain(..) {
            match mail {
                Mail::Resume => self.resume(),
                Mail::Drain => self.begin_end(),
                Mail::Cut => self.cut(),
                Mail::Site(new) => self.take_site(*new),
                mail => self.core.on_mail(mail),
            }
        }
        self.letters = letters;
    }

    fn resume(&mut self) {
        self.listeners.iter_mut().for_each(|(_, listener)| listener.resume());
    }

    /// Begins the drain. The first step is that a load balancer can see it.
    fn begin_end(&mut self) {
        match self.core.turn.site.config.shutdown.delay_ms {
            0 => self.drain(),
            delay_ms => self.core.set_own_timer(OwnTimer::Delay, self.clock.read().millis() + u64::from(delay_ms)),
        }
    }

    fn drain(&mut self) {
        let Shutdown { grace_ms, new_requests, .. } = self.core.turn.site.config.shutdown;
        self.core.set_own_timer(OwnTimer::Grace, self.clock.read().millis() + u64::from(grace_ms));
        // In both cases, those who have connected are served.
        match new_requests {
            NewRequests::Refuse => self.close(|entrance| !entrance.service.is_reserved),
            NewRequests::Reject => self.empty_all(),
        }
        self.checks.stop();
        self.core.on_mail(Mail::Drain);
    }

    fn cut(&mut self) {
        self.core.on_mail(Mail::Cut);
        self.is_over = true;
    }

    /// Opens listeners of new addresses before it closes those that are gone.
    fn take_site(&mut self, new: NewSite) {
        for listener in new.opened {
            if let Err(error) = self.open(listener) {
                log::error!(target: "listener", "a worker cannot poll a new listener: {error}");
            }
        }
        self.renew_entrances(&new.arrivals);
        self.core.take_site(new.site);
        self.check_site();
        self.close(|entrance| new.closed.iter().any(|door| Arc::ptr_eq(door, &entrance.door)));
    }

    /// From now on connections are accepted in this way; those that are open stay as they are.
    fn renew_entrances(&mut self, arrivals: &[(Arc<Door>, Arc<Arrival>)]) {
        for (_, Listener { entrance, .. }) in &mut self.listeners {
            if let Some((_, arrival)) = arrivals.iter().find(|(door, _)| Arc::ptr_eq(door, &entrance.door)) {
                *entrance = Rc::new(Entrance { arrival: arrival.clone(), ..Entrance::clone(entrance) });
            }
        }
    }

    /// One worker runs the checks for all.
    fn check_site(&mut self) {
        if self.core.turn.worker == 0 && !self.core.turn.is_draining {
            self.checks.take_site(&self.core.turn.site, self.clock.read().millis());
        }
    }

    fn expire(&mut self) {
        let [mut retry, mut delay_is_over, mut grace_is_over] = [false; 3];
        self.core.expire(|_, timer| match timer {
            OwnTimer::Accept => retry = true,
            OwnTimer::Delay => delay_is_over = true,
            OwnTimer::Grace => grace_is_over = true,
            _ => {}
        });
        if retry {
            self.resume();
        }
        if delay_is_over {
            self.drain();
        }
        if grace_is_over {
            self.cut();
        }
        self.checks.expire(&mut self.core.net, self.core.turn.now.millis());
        self.checks.take_lost().for_each(|server| self.core.shared.look_up(&server, self.core.turn.now.millis()));
        if self.checks.take_news() {
            self.core.serve_queues();
        }
    }

    /// Ends what is left to end. Returns whether the loop may end. Connections that came into the accept queue meanwhile are answered first. The first worker, which
    /// has the admin port, ends last.
    fn finish(&mut self) -> bool {
        if self.is_over {
            return true;
        }
        if !self.core.turn.is_draining || !self.core.is_finished() {
            return false;
        }
        if self.core.turn.worker == 0 && self.core.shared.running.load(SeqCst) > 1 {
            return false;
        }
        self.empty_all();
        self.core.pump_new();
        self.core.pump_ready();
        self.core.end_turn();
        self.core.is_finished()
    }
}
