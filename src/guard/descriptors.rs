//! File descriptors: a client is accepted only while it, and each client before it, can still get a descriptor for an upstream.
//!
//! A client that is idle between two requests has no upstream connection of its own, so it is counted at a fraction. Should many
//! such clients send at once, some wait for a descriptor.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Descriptors kept free for what comes and goes: log files, look-ups, a reload, the admin port.
const RESERVE: usize = 16;

/// How many health checks may run at once: this many from the reserve, and more while enough other descriptors are free.
const CHECKS_RESERVED: usize = 4;
const CHECKS_SHARE: usize = 8;

/// How many descriptors a listening socket needs: its own, and one for a connection that waits there to be let in.
const OF_A_LISTENER: usize = 2;

/// How many idle clients count as one that needs an upstream connection.
const RESTING_SHARE: usize = 8;

/// How many descriptors the process may have, and how many its sockets use.
#[derive(Debug)]
pub struct Descriptors {
    /// For clients, upstream connections, pipes and listeners together.
    available: usize,
    clients: AtomicUsize,
    upstreams: AtomicUsize,
    checks: AtomicUsize,
    listeners: AtomicUsize,
}

impl Descriptors {
    /// `limit` is RLIMIT_NOFILE, `in_use` the number open before the first client, listening sockets left out.
    pub fn new(limit: usize, in_use: usize) -> Self {
        let available = limit.saturating_sub(in_use + RESERVE);
        let none = || AtomicUsize::new(0);
        Self { available, clients: none(), upstreams: none(), checks: none(), listeners: none() }
    }

    /// Descriptors that are not reserved, not used by a health check and not needed for a listener.
    fn available(&self) -> usize {
        let checks = self.checks.load(SeqCst).saturating_sub(CHECKS_RESERVED);
        self.available.saturating_sub(checks + self.listeners.load(SeqCst) * OF_A_LISTENER)
    }

    /// How many are needed for so many listeners and one client with one upstream connection.
    pub const fn least(listeners: usize) -> usize {
        RESERVE + 2 + listeners * OF_A_LISTENER
    }

    /// Counts a listening socket.
    pub fn listener_opened(&self) {
        self.listeners.fetch_add(1, SeqCst);
    }

    /// A listening socket is closed.
    pub fn listener_closed(&self) {
        self.listeners.fetch_sub(1, SeqCst);
    }

    /// Counts a client, if it could still get an upstream connection; `resting` of those before it are idle.
    pub fn admit_client(&self, resting: usize) -> bool {
        let clients = self.clients.fetch_add(1, SeqCst) + 1;
        let upstreams = self.upstreams.load(SeqCst);
        let resting = resting.min(clients);
        let needed = clients - resting + resting.div_ceil(RESTING_SHARE);
        let admitted = clients + upstreams.max(needed) <= self.available();
        if !admitted {
            self.clients.fetch_sub(1, SeqCst);
        }
        admitted
    }

    /// Counts a client that may use the reserve: one of the admin port, or one that is only refused.
    pub fn enter_anyway(&self) {
        self.clients.fetch_add(1, SeqCst);
    }

    /// A client connection is closed.
    pub fn client_left(&self) {
        self.clients.fetch_sub(1, SeqCst);
    }

    /// Counts an upstream connection, if there is a descriptor for it.
    pub fn admit_upstream(&self) -> bool {
        let upstreams = self.upstreams.fetch_add(1, SeqCst) + 1;
        let admitted = upstreams + self.clients.load(SeqCst) <= self.available();
        if !admitted {
            self.upstreams.fetch_sub(1, SeqCst);
        }
        admitted
    }

    /// Counts both ends of a pipe while many descriptors are free: a pipe only saves time, and must cost nobody a connection.
    pub fn admit_pipe(&self) -> bool {
        let most = (self.available / 2).saturating_sub(self.clients.load(SeqCst));
        self.upstreams.fetch_update(SeqCst, SeqCst, |taken| (taken + 2 <= most).then_some(taken + 2)).is_ok()
    }

    /// A pipe is closed.
    pub fn pipe_left(&self) {
        self.upstreams.fetch_sub(2, SeqCst);
    }

    /// Counts the connection of a health check. However many upstreams hang, their checks leave enough to clients.
    pub fn admit_check(&self) -> bool {
        let is_there = |checks| checks < CHECKS_RESERVED || (checks < self.available / CHECKS_SHARE && self.has_free());
        self.checks.fetch_update(SeqCst, SeqCst, |checks| is_there(checks).then_some(checks + 1)).is_ok()
    }

    /// The connection of a health check is closed.
    pub fn check_left(&self) {
        self.checks.fetch_sub(1, SeqCst);
    }

    /// Whether an upstream connection could be counted now.
    pub fn has_free(&self) -> bool {
        self.upstreams.load(SeqCst) + self.clients.load(SeqCst) < self.available()
    }

    /// An upstream connection is closed.
    pub fn upstream_left(&self) {
        self.upstreams.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_let_in_can_have_an_upstream() {
        let descriptors = Descriptors::new(RESERVE + 9, 2);
        assert!((0..3).all(|_| descriptors.admit_client(0)));
        assert!(!descriptors.admit_client(0));
        assert!((0..3).all(|_| descriptors.admit_upstream()));
        descriptors.client_left();
        assert!(descriptors.admit_client(0) && !descriptors.admit_client(0));
    }

    #[test]
    fn checks_take_a_share_and_no_more() {
        let descriptors = Descriptors::new(RESERVE + 80, 0);
        assert_eq!((0..100).filter(|_| descriptors.admit_check()).count(), 80 / CHECKS_SHARE);
        let clients = (0..100).take_while(|_| descriptors.admit_client(0)).count();
        assert_eq!(clients, (80 - 80 / CHECKS_SHARE + CHECKS_RESERVED) / 2, "each can have an upstream beside them");
        assert_eq!((0..100).filter(|_| descriptors.admit_upstream()).count(), clients);
        (0..80 / CHECKS_SHARE).for_each(|_| descriptors.check_left());
        while descriptors.admit_upstream() {}
        assert!(!descriptors.has_free());
        assert_eq!((0..100).filter(|_| descriptors.admit_check()).count(), CHECKS_RESERVED, "there are always some for them");
    }

    /// Each listener has its socket, and may have accepted one connection for which there is no room yet.
    #[test]
    fn listeners_that_come_later_are_counted_with_those_who_wait_there() {
        let descriptors = Descriptors::new(Descriptors::least(3), 0);
        (0..3).for_each(|_| descriptors.listener_opened());
        assert!(descriptors.admit_client(0) && descriptors.admit_upstream() && !descriptors.has_free());
        descriptors.upstream_left();
        descriptors.listener_opened();
        assert!(!descriptors.admit_upstream(), "a reload has taken it");
        descriptors.listener_closed();
        assert!(descriptors.admit_upstream());
    }

    #[test]
    fn resting_clients_share() {
        let descriptors = Descriptors::new(RESERVE + 20, 0);
        let admitted = (0..).take_while(|&clients| descriptors.admit_client(clients)).count();
        assert_eq!(admitted, 17, "17 and a descriptor for each eight of them");
    }
}
