//! A worker: one thread, one poll, one loop. The only place where sockets and sessions meet.

pub mod checks;
pub mod core;
pub mod shared;

mod accept;
mod bulk;
mod clients;
mod dial;
mod line;
mod mail;
mod pump;
mod rests;
mod reuse;
mod stalls;

use crate::base::clock::Clock;
use crate::base::mailbox::Wake;
use crate::config::model::{NewRequests, Shutdown};
use crate::net::link::Edge;
use crate::net::pipe::Pipe;
use crate::net::token::Source;
use crate::observe::access::Record;
use crate::observe::writer::AccessLog;
use crate::session::Journal;
use crate::site::Site;
use accept::Listener;
use checks::Checks;
pub use core::Entrance;
use core::{ACCEPT_TIMER, Core, GRACE_TIMER, Net};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry};
pub use rests::Room;
use shared::{Mail, NewSite, Shared};
use signal_hook_mio::v1_0::Signals;
use slab::Slab;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// The network of production: sockets of the kernel, registered with the worker's poll.
struct Kernel(Registry);

impl Kernel {
    fn register(&mut self, stream: &mut TcpStream, source: Source) -> io::Result<()> {
        self.0.register(stream, source.token(), Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY)
    }
}

impl Net for Kernel {
    type Socket = TcpStream;

    fn pipe(&mut self) -> io::Result<Pipe> {
        Pipe::new()
    }

    fn dial(&mut self, address: SocketAddr, source: Source) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        self.register(&mut stream, source)?;
        Ok(stream)
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
            log::error!("a worker cannot be woken: {error}");
        }
    }
}

/// What is done on a signal.
pub type OnSignal = Box<dyn FnMut(i32) + Send>;

/// What a worker's thread is given.
pub struct Seat {
    /// Its index.
    pub worker: usize,
    /// Its poll; the mailbox's waker is registered with it.
    pub poll: Poll,
    /// Its own sockets, and the doors behind them.
    pub listeners: Vec<(TcpListener, Entrance)>,
    /// The process's signals, and what to do with one: the first worker has them.
    pub signals: Option<(Signals, OnSignal)>,
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// What it begins with.
    pub site: Arc<Site>,
    /// Its access log.
    pub journal: AccessLog,
    /// The process's clock.
    pub clock: Clock,
}

/// See the module.
pub struct Worker {
    poll: Poll,
    clock: Clock,
    core: Core<Kernel>,
    listeners: Slab<Listener>,
    /// Of the process: those of other workers have nothing to do.
    checks: Checks<TcpStream>,
    signals: Option<(Signals, OnSignal)>,
    letters: Vec<Mail>,
    /// The time to finish is over.
    is_over: bool,
}

impl Worker {
    /// Registers everything with the poll.
    pub fn new(seat: Seat) -> io::Result<Self> {
        let Seat { worker, poll, listeners, mut signals, shared, site, journal, clock } = seat;
        let mut this = Self {
            checks: Checks::new(fastrand::u64(..), shared.descriptors.clone()),
            core: Core::new(worker, Kernel(poll.registry().try_clone()?), Box::new(journal), shared, Rc::new(site), fastrand::u64(..)),
            poll,
            clock,
            listeners: Slab::new(),
            signals: None,
            letters: Vec::new(),
            is_over: false,
        };
        listeners.into_iter().try_for_each(|listener| this.open(listener))?;
        if let Some((signals, _)) = &mut signals {
            this.poll.registry().register(signals, Source::Signals.token(), Interest::READABLE)?;
        }
        this.signals = signals;
        this.check_site();
        Ok(this)
    }

    /// Turn after turn, until the process ends.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_finished() {
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.core.begin_turn(self.clock.read());
            self.take_edges(&events);
            self.take_mail();
            self.accept();
            self.core.pump_ready();
            self.expire();
            self.core.end_turn();
            self.core.begin_rests(|| self.clock.read());
            self.core.turn.journal.hand_over();
        }
        // A place that was given to a session of ours that has ended is another worker's.
        self.take_mail();
        self.core.end_turn();
        self.core.turn.journal.hand_over();
        self.core.shared.running.fetch_sub(1, SeqCst);
        self.core.shared.mailboxes[0].post(Mail::Resume);
        Ok(())
    }

    /// How long the poll may sleep.
    fn patience(&self) -> Option<Duration> {
        if self.core.is_behind() || self.listeners.iter().any(|(_, listener)| listener.is_ready()) {
            return Some(Duration::ZERO);
        }
        let wake = [self.core.next_wake(), self.checks.next_wake()].into_iter().flatten().min()?;
        // Up to the millisecond after the deadline: a wake-up before it would find nothing due.
        Some(Duration::from_micros((wake * 1000).saturating_sub(self.clock.read().micros)))
    }

    fn take_edges(&mut self, events: &Events) {
        for event in events {
            match Source::of(event.token()) {
                Source::Waker => {}
                Source::Signals => self.take_signals(),
                Source::Listener(number) => self.listeners.get_mut(number).into_iter().for_each(Listener::on_edge),
                Source::Client(key) => self.core.on_client_edge(key, Edge::from(event)),
                Source::Upstream(key) => self.core.on_upstream_edge(key, Edge::from(event)),
                Source::Check(slot) => {
                    let now = self.core.turn.now.millis();
                    self.checks.on_edge(slot, Edge::from(event), &mut self.core.net, now);
                }
            }
        }
    }

    fn take_signals(&mut self) {
        if let Some((signals, act)) = &mut self.signals {
            signals.pending().for_each(act);
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
                Mail::Drain => self.drain(),
                Mail::Site(new) => self.take_site(*new),
                Mail::Addresses(server) => {
                    self.checks.on_addresses(&server, self.core.turn.now.millis());
                    self.core.on_mail(Mail::Addresses(server));
                }
                mail => self.core.on_mail(mail),
            }
        }
        self.letters = letters;
    }

    fn resume(&mut self) {
        self.listeners.iter_mut().for_each(|(_, listener)| listener.resume());
    }

    fn drain(&mut self) {
        let Shutdown { grace_ms, new_requests } = self.core.turn.site.config.shutdown;
        self.core.set_own_timer(GRACE_TIMER, self.clock.read().millis() + u64::from(grace_ms));
        if new_requests == NewRequests::Refuse {
            self.close(|entrance| !entrance.is_admin);
        }
        self.checks.stop();
        self.core.on_mail(Mail::Drain);
    }

    /// Addresses that are new are listened on before those that are gone are left.
    fn take_site(&mut self, new: NewSite) {
        for listener in new.opened {
            if let Err(error) = self.open(listener) {
                log::error!("a worker cannot poll a new listener: {error}");
            }
        }
        self.core.take_site(new.site);
        self.check_site();
        self.close(|entrance| new.closed.iter().any(|door| Arc::ptr_eq(door, &entrance.door)));
    }

    /// One worker checks for all.
    fn check_site(&mut self) {
        if self.core.turn.worker == 0 && !self.core.turn.is_draining {
            self.checks.take_site(&self.core.turn.site, self.clock.read().millis());
        }
    }

    fn expire(&mut self) {
        let mut retry = false;
        let Self { core, is_over, .. } = self;
        core.expire(|core, timer| match timer {
            ACCEPT_TIMER => retry = true,
            GRACE_TIMER => {
                core.on_mail(Mail::Cut);
                *is_over = true;
            }
            _ => {}
        });
        if retry {
            self.resume();
        }
        self.checks.expire(&mut self.core.net, self.core.turn.now.millis());
        self.checks.take_lost().for_each(|server| self.core.shared.look_up(&server, self.core.turn.now.millis()));
        if self.checks.take_news() {
            self.core.hand_on_all();
        }
    }

    /// Whether the loop may end. What came into the accept queue meanwhile is answered first; the first worker, which has the
    /// signals and the admin port, ends last.
    fn is_finished(&mut self) -> bool {
        if self.is_over {
            return true;
        }
        if !self.core.turn.is_draining || !self.core.is_finished() {
            return false;
        }
        if self.core.turn.worker == 0 && self.core.shared.running.load(SeqCst) > 1 {
            return false;
        }
        let numbers: Vec<usize> = self.listeners.iter().map(|(number, _)| number).collect();
        numbers.into_iter().for_each(|number| self.empty(number));
        self.core.pump_new();
        self.core.pump_ready();
        self.core.end_turn();
        self.core.is_finished()
    }
}
