//! Upstream connections: reused or opened, address by address; closed; their places passed on.

use super::clients::LEAVE_MS;
use super::core::{Core, Net, Owner, Upstream};
use super::reuse::{Discarded, Idled};
use super::shared::RenderJob;
use super::timers::OwnTimer;
use crate::base::address::Address;
use crate::guard::places::Needs;
use crate::net::sys::{Lack, lack};
use crate::net::token::Source;
use crate::net::transport::{Close, Edge, Link, Opening, Transport};
use crate::observe::reason::{Blame, Reason};
use crate::session::talks::Stand;
use crate::session::{Effect, Event, Talk};
use crate::upstream::lease::{ConnectionUse, Lease};
use crate::upstream::pool::Pool;
use crate::upstream::server::Server;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// When a connect is tried again for which there was no descriptor.
const RETRY_MS: u64 = 100;

/// When a connect is tried again that found the queue of a Unix socket full: no event tells when there is room.
const NO_ROOM_MS: u64 = 10;

/// The addresses that one connect has left.
#[derive(Debug)]
pub(super) struct Dialing {
    addresses: Arc<[Address]>,
    next: usize,
    left: usize,
    /// When it ends (milliseconds); 0 = never.
    deadline: u64,
    /// Why the earlier addresses failed.
    failed: Option<Reason>,
}

impl Dialing {
    /// Whether these are the addresses that it goes through.
    pub(super) fn is_to(&self, addresses: &Arc<[Address]>) -> bool {
        Arc::ptr_eq(&self.addresses, addresses)
    }

    /// Whether its time is over.
    pub(super) fn is_over(&self, now: u64) -> bool {
        self.left == 0 && self.deadline > 0 && self.deadline <= now
    }

    /// Goes back to the address that was tried last.
    fn step_back(&mut self) {
        self.next = (self.next + self.addresses.len() - 1) % self.addresses.len();
        self.left += 1;
    }

    /// An address did not take the connection. What that says of the upstream outlasts what it says of this machine: a name may
    /// have an address of a family that is not spoken here.
    fn note(&mut self, reason: Reason) {
        if self.failed.is_none() || reason.blame() == Blame::Upstream {
            self.failed = Some(reason);
        }
    }
}

/// Why no connect was begun.
enum NoDial {
    /// No descriptor is left.
    Starved,
    Failed(Reason),
}

impl<N: Net> Core<N> {
    /// Carries out what an exchange, or its front, asks for; the immediate result, if any, is an event.
    pub(super) fn perform(&mut self, client: usize, key: usize, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Connect { server, reuse } => return self.connect(key, server, reuse),
            Effect::Reconnect => return self.reconnect(key),
            Effect::Queue { starved } => self.queue(key, starved),
            Effect::LeaveQueue => self.leave_queue(key),
            Effect::Tunnel => self.become_tunnel(self.talks[key].upstream?),
            Effect::Release { keep } => {
                let upstream = self.talks[key].upstream.take()?;
                self.release(upstream, keep);
            }
            Effect::CloseUpstream => {
                let upstream = self.talks[key].upstream.take()?;
                self.upstreams[upstream].owner = Owner::Idle;
                self.close_upstream(upstream);
            }
            Effect::LetRest => self.upstreams[self.talks[key].upstream?].ripe_at = u64::MAX,
            Effect::Render(page) => {
                let asker = self.talks[key].exchange.asker();
                let job = RenderJob { page, ticket: self.ticket(key), site: Arc::clone(&self.turn.site), asker };
                // Cannot fail: the helper thread lives as long as the process.
                let _ = self.shared.renderer.send(job);
            }
            Effect::ResetUpstream => self.link_to_upstream(key)?.close(Close::Reset),
            Effect::HalfCloseUpstream => self.link_to_upstream(key)?.close(Close::Sending),
            Effect::HalfClose | Effect::Part | Effect::AskDelivered => return self.perform_for_front(client, effect),
        }
        None
    }

    /// Carries out what a front asks for.
    pub(super) fn perform_for_front(&mut self, client: usize, effect: Effect) -> Option<Event> {
        match effect {
            Effect::HalfClose => {
                self.clients[client].link.close(Close::Sending);
                None
            }
            Effect::Part => self.part(client),
            Effect::AskDelivered => self.clients[client].link.is_delivered().then_some(Event::Delivered),
            _ => None,
        }
    }

    /// The connection of an exchange to its upstream.
    pub(super) fn link_to_upstream(&mut self, key: usize) -> Option<&mut Link<N::Transport>> {
        self.upstreams[self.talks[key].upstream?].link.as_mut()
    }

    fn queue(&mut self, key: usize, starved: bool) {
        let Talk { exchange, stand, .. } = &mut self.talks[key];
        let Some(needs) = exchange.queued_for() else { return };
        let (pool, ticket) = (exchange.pool().clone(), exchange.ticket(self.turn.worker, key));
        *stand = Some(Stand { pool: pool.clone(), serial: ticket.serial, needs, starves: starved });
        self.shared.starving.fetch_add(starved.into(), SeqCst);
        pool.queue.join(ticket, needs);
        if self.keep_former(&pool) {
            self.announce_former(&pool);
        }
        self.serve_queue(&pool, starved, 1);
        self.watch_stalls();
    }

    fn connect(&mut self, key: usize, server: usize, reuse: bool) -> Option<Event> {
        match if reuse { self.reuse(key, server) } else { Idled::Fresh } {
            Idled::Ready(upstream) => {
                self.talks[key].upstream = Some(upstream);
                self.upstreams[upstream].owner = Owner::Exchange(key);
                Some(Event::UpstreamConnected { reused: true })
            }
            found => self.connect_anew(key, server, found),
        }
    }

    #[inline(never)]
    fn connect_anew(&mut self, key: usize, server: usize, found: Idled) -> Option<Event> {
        let exchange = &self.talks[key].exchange;
        let (deadline, keepalive_ms) = (exchange.connect_due(self.turn.now.millis()), exchange.timeouts.upstream_keepalive_ms);
        let server = exchange.pool().servers[server].clone();
        let pool = if Rc::ptr_eq(&exchange.site, &self.turn.site) { None } else { self.pool_of(&server) };
        let pool = pool.unwrap_or(exchange.pool()).clone();
        let worker = self.turn.worker;
        let of_place = |server: &Arc<Server>| Lease::of_place(server.clone(), worker);
        let take = || server.places.try_enter(Needs::default(), self.turn.site.most()).then(|| of_place(&server));
        let lease = match found {
            // The pick has taken it.
            Idled::Fresh => Some(of_place(&server)),
            Idled::Place(lease) => Some(lease),
            Idled::Resting => take().or_else(|| self.discard_coldest(&server)),
            // An idle connection that was closed since the pick: it counts like any other full upstream.
            Idled::Nothing => take(),
            Idled::Ready(_) => None,
        };
        let Some(lease) = lease else {
            // Whoever frees a descriptor may have looked at the queue before this request joined it.
            self.timers.set_by(OwnTimer::Dial, self.turn.now.millis() + RETRY_MS);
            return Some(Event::NoDescriptor);
        };
        self.dial(key, pool, lease, deadline, keepalive_ms)
    }

    /// Replaces a stale connection: its place is kept, and its socket is closed first.
    fn reconnect(&mut self, key: usize) -> Option<Event> {
        let old = self.talks[key].upstream.take()?;
        let Discarded { pool, lease, keepalive_ms } = self.discard(old);
        let deadline = self.talks[key].exchange.connect_due(self.turn.now.millis());
        self.dial(key, pool, lease, deadline, keepalive_ms)
    }

    /// Connects, with a place that was taken.
    fn dial(&mut self, key: usize, pool: Arc<Pool>, lease: Lease, deadline: u64, keepalive_ms: u32) -> Option<Event> {
        let (addresses, first) = lease.server().addresses_in_turn();
        let dialing = Dialing { next: first, left: addresses.len(), addresses, deadline, failed: None };
        let upstream = self.upstreams.insert(Upstream {
            link: None,
            pool,
            lease,
            owner: Owner::Exchange(key),
            dialing: Some(dialing),
            address: None,
            keepalive_ms,
            idle_until: 0,
            ripe_at: 0,
            parked_in: 0,
            takes_leave: false,
            is_closing: false,
        });
        self.talks[key].upstream = Some(upstream);
        match self.dial_next(upstream) {
            Ok(()) => None,
            Err(why) => {
                self.talks[key].upstream = None;
                let Upstream { pool, .. } = self.upstreams.remove(upstream);
                Some(match why {
                    NoDial::Starved => {
                        // The next in the queue would find no descriptor either: both try again in a moment.
                        self.timers.set(OwnTimer::Dial, self.turn.now.millis() + RETRY_MS);
                        Event::NoDescriptor
                    }
                    NoDial::Failed(reason) => {
                        self.hand_on_place(&pool);
                        Event::ConnectFailed(reason)
                    }
                })
            }
        }
    }

    /// Tries the next address; one that refuses at once leads to the one after it.
    fn dial_next(&mut self, key: usize) -> Result<(), NoDial> {
        let now = self.turn.now.millis();
        loop {
            let Some(dialing) = &mut self.upstreams[key].dialing else { return Ok(()) };
            if dialing.left == 0 {
                let reason = dialing.failed.unwrap_or(Reason::DnsError);
                if reason.blame() == Blame::Upstream {
                    self.shared.look_up(self.upstreams[key].server(), now);
                }
                return Err(NoDial::Failed(reason));
            }
            let address = dialing.addresses[dialing.next].clone();
            dialing.next = (dialing.next + 1) % dialing.addresses.len();
            dialing.left -= 1;
            let (left, deadline) = (dialing.left as u64, dialing.deadline);
            match self.open(&address, key) {
                Ok(link) => {
                    self.upstreams[key].link = Some(link);
                    self.upstreams[key].address = Some(address);
                    if left > 0 && deadline > 0 {
                        // This address gets the time left divided by the addresses left; the last has the deadline of the exchange.
                        self.upstream_wheel.set(key as u32, now + deadline.saturating_sub(now) / (left + 1));
                    } else {
                        self.upstream_wheel.cancel(key as u32);
                    }
                    return Ok(());
                }
                Err(error) if lack(&error) == Some(Lack::Descriptors) => return Err(NoDial::Starved),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.upstreams[key].dialing.iter_mut().for_each(Dialing::step_back);
                    self.upstream_wheel.set(key as u32, now + NO_ROOM_MS);
                    return Ok(());
                }
                Err(error) => self.note(key, why(&error)),
            }
        }
    }

    /// Opens a socket, if there is a descriptor for it; if not, closes an idle connection first.
    fn open(&mut self, address: &Address, key: usize) -> io::Result<Link<N::Transport>> {
        loop {
            let dialled = match self.shared.descriptors.admit_upstream() {
                Some(descriptor) => self.net.dial(address, Source::Upstream(key)).map(|transport| Link::new(transport, descriptor)),
                None => Err(io::Error::from_raw_os_error(libc::EMFILE)),
            };
            match dialled {
                Err(error) if lack(&error) == Some(Lack::Descriptors) => {
                    let Some(idle) = self.idle.any() else { return Err(error) };
                    self.close_upstream(idle);
                    self.closing_upstreams.retain(|&closing| closing != idle);
                    self.free_upstream(idle);
                }
                other => return other,
            }
        }
    }

    /// An event for an upstream connection.
    pub fn on_upstream_edge(&mut self, key: usize, edge: Edge) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let Some(link) = &mut upstream.link else { return };
        link.on_edge(edge);
        if upstream.is_closing {
            return self.go_on_leaving(key);
        }
        if upstream.dialing.is_some() {
            return self.on_dialled(key);
        }
        match upstream.owner {
            Owner::Exchange(exchange) => self.enqueue(self.talks[exchange].client),
            // No answer is expected on an idle connection: whatever came, it is not used again.
            Owner::Idle if !link.check_quiet() => self.close_upstream(key),
            // Whoever gets it looks at it.
            Owner::Idle | Owner::Promised => {}
        }
    }

    fn on_dialled(&mut self, key: usize) {
        let upstream = &mut self.upstreams[key];
        let (Some(link), Some(exchange)) = (&mut upstream.link, upstream.owner.exchange()) else { return };
        match link.open() {
            Opening::Pending => {}
            Opening::Failed(error) => self.on_address_failed(key, why(&error)),
            Opening::Open => {
                upstream.dialing = None;
                self.upstream_wheel.cancel(key as u32);
                self.deliver_to(exchange, Event::UpstreamConnected { reused: false });
            }
        }
    }

    fn note(&mut self, key: usize, reason: Reason) {
        self.upstreams[key].dialing.iter_mut().for_each(|dialing| dialing.note(reason));
    }

    /// The address did not take the connection: tries the next one, if any is left.
    fn on_address_failed(&mut self, key: usize, reason: Reason) {
        self.upstreams[key].link = None;
        self.note(key, reason);
        self.go_on_dialing(key);
    }

    fn go_on_dialing(&mut self, key: usize) {
        let Some(exchange) = self.upstreams[key].owner.exchange() else { return };
        let event = match self.dial_next(key) {
            Ok(()) => return,
            Err(NoDial::Failed(reason)) => Event::ConnectFailed(reason),
            Err(NoDial::Starved) => {
                self.talks[exchange].upstream = None;
                self.upstreams[key].owner = Owner::Idle;
                self.close_upstream(key);
                self.timers.set(OwnTimer::Dial, self.turn.now.millis() + RETRY_MS);
                Event::NoDescriptor
            }
        };
        self.deliver_to(exchange, event);
    }

    pub(super) fn on_upstream_deadline(&mut self, key: usize) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        if upstream.is_closing {
            self.go_on_leaving(key);
        } else if upstream.dialing.is_some() && upstream.link.is_none() {
            self.go_on_dialing(key);
        } else if upstream.dialing.is_some() {
            self.on_address_failed(key, Reason::ConnectionTimeout);
        } else if upstream.owner != Owner::Idle {
            // The timer was set when it last became idle.
        } else if upstream.idle_until <= self.turn.now.millis() {
            self.close_upstream(key);
        } else {
            self.upstream_wheel.set(key as u32, upstream.idle_until);
        }
    }

    /// The connection is a tunnel now, for which room was reserved: its place is free for others.
    fn become_tunnel(&mut self, key: usize) {
        let upstream = &mut self.upstreams[key];
        upstream.lease.pass_to(ConnectionUse::Tunnel);
        let pool = upstream.pool.clone();
        self.hand_on_place(&pool);
    }

    /// Closes an upstream connection, once its transport has taken leave. The socket is closed at the end of the turn, and only then is
    /// the place given back.
    pub(super) fn close_upstream(&mut self, key: usize) {
        let upstream = &mut self.upstreams[key];
        if std::mem::replace(&mut upstream.is_closing, true) {
            return;
        }
        upstream.lease.begin_close();
        self.idle.remove(upstream.server().slot, key);
        upstream.takes_leave = true;
        self.upstream_wheel.set(key as u32, self.turn.now.millis() + LEAVE_MS);
        self.go_on_leaving(key);
    }

    /// A connection that is closing says what is left to say, unless the time for that is over.
    fn go_on_leaving(&mut self, key: usize) {
        let (upstream, is_over) = (&mut self.upstreams[key], self.upstream_wheel.deadline(key as u32).is_none());
        let has_left = is_over || upstream.link.as_mut().is_none_or(|link| link.take_leave());
        if has_left && std::mem::take(&mut upstream.takes_leave) {
            self.upstream_wheel.cancel(key as u32);
            self.closing_upstreams.push(key);
        }
    }

    pub(super) fn free_upstream(&mut self, key: usize) {
        self.upstream_wheel.cancel(key as u32);
        let pool = self.upstreams[key].pool.clone();
        drop(self.upstreams.remove(key));
        self.hand_on_place(&pool);
        self.on_descriptor_freed();
    }
}

/// The reason for the error of a connect.
fn why(error: &io::Error) -> Reason {
    match error.kind() {
        _ if lack(error).is_some() => Reason::InternalError,
        // Of a Unix socket: there is no file, or none that we may open.
        ErrorKind::NotFound | ErrorKind::PermissionDenied => Reason::ConnectionRefused,
        ErrorKind::ConnectionRefused => Reason::ConnectionRefused,
        ErrorKind::TimedOut => Reason::ConnectionTimeout,
        _ => Reason::ConnectionTerminated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_an_upstream_outlasts_what_is_said_of_this_machine() {
        let failed = |codes: &[i32]| {
            let mut dialing = Dialing { addresses: Arc::new([]), next: 0, left: 0, deadline: 0, failed: None };
            codes.iter().for_each(|code| dialing.note(why(&io::Error::from_raw_os_error(*code))));
            dialing.failed
        };
        assert_eq!(failed(&[libc::ECONNREFUSED, libc::EADDRNOTAVAIL]), Some(Reason::ConnectionRefused));
        assert_eq!(failed(&[libc::EADDRNOTAVAIL, libc::ECONNREFUSED]), Some(Reason::ConnectionRefused));
        assert_eq!(failed(&[libc::ECONNREFUSED, libc::ETIMEDOUT]), Some(Reason::ConnectionTimeout));
        assert_eq!(failed(&[libc::EADDRNOTAVAIL, libc::ENOBUFS]), Some(Reason::InternalError));
    }
}
