//! Making upstream connections.

use super::client::Client;
use super::core::{Core, Net};
use super::handshakes;
use super::timers::OwnTimer;
use super::upstream::{Stage, Upstream};
use crate::back::connection::BackConnection;
use crate::back::dial::Dial;
use crate::base::address::{Address, Peer};
use crate::base::proxy_header::{self, ProxyVersion};
use crate::net::sys::{Lack, lack};
use crate::net::token::Source;
use crate::net::transport::{Link, Opening, Transport};
use crate::observe::reason::{Blame, Reason};
use crate::observe::stats::TlsSide;
use crate::session::Event;
use crate::tls::client::Departure;
use crate::upstream::lease::Lease;
use crate::upstream::pool::Pool;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

/// When a connect is tried again for which there was no descriptor.
const RETRY_MS: u64 = 100;

/// When a connect is tried again that found the queue of a Unix socket full: no event tells when there is room.
const NO_ROOM_MS: u64 = 10;

/// What a connection to be made begins with.
pub(super) struct DialOrder {
    /// The place that was taken for it.
    pub(super) lease: Lease,
    pub(super) pool: Arc<Pool>,
    pub(super) keepalive_ms: u32,
}

/// Why no connect was begun.
enum NoDial {
    /// No descriptor is left.
    Starved,
    Failed(Reason),
}

impl<N: Net> Core<N> {
    /// Connects for an exchange. Returns what has happened at once.
    pub(super) fn dial(&mut self, key: usize, order: DialOrder) -> Option<Event> {
        let DialOrder { lease, pool, keepalive_ms } = order;
        let exchange = &self.talks[key].exchange;
        // A server without an address is never picked.
        let address = lease.server().address.clone()?;
        let dial = Dial::new(key, address, exchange.address_due(self.turn.now.millis()), exchange.connect_due());
        let upstream = self.upstreams.insert(Upstream { stage: Stage::Waiting(dial), pool, lease, keepalive_ms });
        let why = match self.begin_connect(upstream) {
            Ok(()) => {
                self.talks[key].upstream = Some(upstream);
                return None;
            }
            Err(why) => why,
        };
        let Upstream { pool, .. } = self.upstreams.remove(upstream);
        Some(match why {
            NoDial::Starved => self.on_starved(),
            NoDial::Failed(reason) => {
                self.hand_on_place(&pool);
                Event::ConnectFailed(reason)
            }
        })
    }

    /// The next in the queue would find no descriptor either: both try again in a moment.
    fn on_starved(&mut self) -> Event {
        self.timers.set(OwnTimer::Dial, self.turn.now.millis() + RETRY_MS);
        Event::NoDescriptor
    }

    /// There is neither a place nor a connection. Whoever frees a descriptor may have looked at the queue before this request joins it.
    pub(super) fn without_place(&mut self) -> Event {
        self.timers.set_by(OwnTimer::Dial, self.turn.now.millis() + RETRY_MS);
        Event::NoDescriptor
    }

    /// Begins the connect. One that may be refused at once need not be waited for.
    fn begin_connect(&mut self, key: usize) -> Result<(), NoDial> {
        let Upstream { stage: Stage::Waiting(Dial { address, until, .. }), pool, lease, .. } = &self.upstreams[key] else { return Ok(()) };
        let (address, until, tls) = (address.clone(), *until, pool.departure(lease.server()));
        match tls.and_then(|tls| self.open(&address, tls.as_ref(), key)) {
            Ok(mut link) => {
                if let Some(version) = self.upstreams[key].server().config.send_proxy {
                    link.say_first(self.announcement(key, version));
                }
                self.upstreams[key].pass_to(|stage| match stage {
                    Stage::Waiting(dial) => Stage::Connecting { link, dial },
                    other => other,
                });
                match until {
                    Some(until) => self.upstream_wheel.set(key as u32, until),
                    None => self.upstream_wheel.cancel(key as u32),
                }
                Ok(())
            }
            Err(error) if lack(&error) == Some(Lack::Descriptors) => Err(NoDial::Starved),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.upstream_wheel.set(key as u32, self.turn.now.millis() + NO_ROOM_MS);
                Ok(())
            }
            Err(error) => Err(self.give_up(key, why(&error))),
        }
    }

    /// What tells an upstream for which client a connection is made.
    #[cold]
    fn announcement(&self, key: usize, version: ProxyVersion) -> Vec<u8> {
        let ends = |client: usize| {
            let Client { front, link, standing, .. } = self.clients.get(client)?;
            let Peer::Ip(ip, port) = front.client() else { return None };
            let told = standing.destination.as_deref().copied();
            Some((SocketAddr::new(ip, port.unwrap_or(0)), told.or_else(|| self.net.local_address(link))?))
        };
        let exchange = self.upstreams[key].exchanges().next();
        proxy_header::write(version, exchange.and_then(|exchange| ends(self.talks[exchange].client)))
    }

    /// The address did not take the connection: its name may lead elsewhere by now.
    fn give_up(&self, key: usize, reason: Reason) -> NoDial {
        if reason.blame() == Blame::Upstream {
            self.shared.look_up(self.upstreams[key].server(), self.turn.now.millis());
        }
        NoDial::Failed(reason)
    }

    /// Opens a socket, if there is a descriptor for it; if not, closes an idle connection first.
    fn open(&mut self, address: &Address, tls: Option<&Departure>, key: usize) -> io::Result<Link<N::Transport>> {
        loop {
            let dialled = match self.shared.descriptors.admit_upstream() {
                Some(descriptor) => {
                    let dialled = self.net.dial(address, tls.cloned(), Source::Upstream(key));
                    dialled.map(|transport| Link::new(transport, descriptor))
                }
                None => Err(io::Error::from_raw_os_error(libc::EMFILE)),
            };
            match dialled {
                Err(error) if lack(&error) == Some(Lack::Descriptors) => {
                    let Some(idle) = self.idle.any() else { return Err(error) };
                    self.close_upstream_now(idle);
                }
                other => return other,
            }
        }
    }

    /// There is news of a socket that connects.
    pub(super) fn on_connecting_edge(&mut self, key: usize) {
        let Stage::Connecting { link, .. } = &mut self.upstreams[key].stage else { return };
        let opening = link.open();
        if let Some(outcome) = link.take_handshake() {
            handshakes::count(&self.stats.handshakes, TlsSide::Upstream, &outcome);
        }
        match opening {
            Opening::Pending => self.note_handshake(key),
            Opening::Failed(error) => {
                let trouble = self.upstreams[key].trouble(&error);
                let reason = trouble.as_ref().map_or_else(|| why(&error), |trouble| trouble.reason);
                for exchange in self.upstreams[key].exchanges() {
                    self.talks[exchange].exchange.attempt.trouble = trouble.clone().map(Box::new);
                }
                self.on_connect_failed(key, reason);
            }
            Opening::Open => {
                self.upstreams[key].pass_to(|stage| match stage {
                    Stage::Connecting { link, dial } => Stage::Open { link, back: BackConnection::new(dial.exchanges().clone()) },
                    other => other,
                });
                self.upstream_wheel.cancel(key as u32);
                for exchange in self.upstreams[key].exchanges() {
                    self.deliver_to(exchange, Event::UpstreamConnected { reused: false });
                }
            }
        }
    }

    /// The address took the connection, and is silent since.
    fn note_handshake(&mut self, key: usize) {
        if self.upstreams[key].is_amid_handshake() {
            for exchange in self.upstreams[key].exchanges() {
                self.talks[exchange].exchange.attempt.is_amid_handshake = true;
            }
        }
    }

    /// The address did not take the connection.
    pub(super) fn on_connect_failed(&mut self, key: usize, reason: Reason) {
        let why = self.give_up(key, reason);
        self.tell_waiting(key, why);
    }

    /// Tries once more to begin the connect.
    pub(super) fn go_on_dialing(&mut self, key: usize) {
        if let Err(why) = self.begin_connect(key) {
            self.tell_waiting(key, why);
        }
    }

    fn tell_waiting(&mut self, key: usize, why: NoDial) {
        for exchange in self.upstreams[key].exchanges() {
            let event = match why {
                NoDial::Failed(reason) => Event::ConnectFailed(reason),
                NoDial::Starved => {
                    self.talks[exchange].upstream = None;
                    self.close_upstream(key);
                    self.on_starved()
                }
            };
            self.deliver_to(exchange, event);
        }
    }
}

/// The reason for the error of a connect.
fn why(error: &io::Error) -> Reason {
    match error.kind() {
        _ if lack(error).is_some() => Reason::InternalError,
        // It was refused here, before anything was sent.
        ErrorKind::InvalidInput => Reason::InternalError,
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
    fn what_the_kernel_says_of_an_upstream_is_told_from_what_it_says_of_this_machine() {
        for (code, reason) in [
            (libc::ECONNREFUSED, Reason::ConnectionRefused),
            (libc::ENOENT, Reason::ConnectionRefused),
            (libc::EACCES, Reason::ConnectionRefused),
            (libc::ETIMEDOUT, Reason::ConnectionTimeout),
            (libc::ECONNRESET, Reason::ConnectionTerminated),
            (libc::EADDRNOTAVAIL, Reason::InternalError),
            (libc::ENOBUFS, Reason::InternalError),
        ] {
            assert_eq!(why(&io::Error::from_raw_os_error(code)), reason, "{code}");
        }
    }
}
