//! File descriptors: a client is accepted only while it, and each client before it, can still get a descriptor for an upstream.
//!
//! A client that is idle between two requests has no upstream connection of its own, so it is counted at a fraction. Should many
//! such clients send at once, some wait for a descriptor.

use std::sync::Arc;
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

    /// One for a client, if it could still get an upstream connection; `resting` of those before it are idle.
    pub fn admit_client(self: &Arc<Self>, resting: usize) -> Option<Descriptor> {
        let clients = self.clients.fetch_add(1, SeqCst) + 1;
        let upstreams = self.upstreams.load(SeqCst);
        let resting = resting.min(clients);
        let needed = clients - resting + resting.div_ceil(RESTING_SHARE);
        let descriptor = self.counted(DescriptorUse::Client);
        (clients + upstreams.max(needed) <= self.available()).then_some(descriptor)
    }

    /// One for a client that may use the reserve: one of the admin port, or one that is only refused.
    pub fn enter_anyway(self: &Arc<Self>) -> Descriptor {
        self.clients.fetch_add(1, SeqCst);
        self.counted(DescriptorUse::Client)
    }

    /// One for an upstream connection, if there is one.
    pub fn admit_upstream(self: &Arc<Self>) -> Option<Descriptor> {
        let upstreams = self.upstreams.fetch_add(1, SeqCst) + 1;
        let descriptor = self.counted(DescriptorUse::Upstream);
        (upstreams + self.clients.load(SeqCst) <= self.available()).then_some(descriptor)
    }

    /// Two for both ends of a pipe while many descriptors are free: a pipe only saves time, and must cost nobody a connection.
    pub fn admit_pipe(self: &Arc<Self>) -> Option<Descriptor> {
        let most = (self.available / 2).saturating_sub(self.clients.load(SeqCst));
        let taken = self.upstreams.fetch_update(SeqCst, SeqCst, |taken| (taken + 2 <= most).then_some(taken + 2));
        taken.is_ok().then(|| self.counted(DescriptorUse::Pipe))
    }

    /// One for the connection of a health check. However many upstreams hang, their checks leave enough to clients.
    pub fn admit_check(self: &Arc<Self>) -> Option<Descriptor> {
        let is_there = |checks| checks < CHECKS_RESERVED || (checks < self.available / CHECKS_SHARE && self.has_free());
        let taken = self.checks.fetch_update(SeqCst, SeqCst, |checks| is_there(checks).then_some(checks + 1));
        taken.is_ok().then(|| self.counted(DescriptorUse::Check))
    }

    /// Whether an upstream connection could be counted now.
    pub fn has_free(&self) -> bool {
        self.upstreams.load(SeqCst) + self.clients.load(SeqCst) < self.available()
    }

    fn counted(self: &Arc<Self>, used: DescriptorUse) -> Descriptor {
        Descriptor { of: self.clone(), used }
    }
}

#[derive(Clone, Copy, Debug)]
enum DescriptorUse {
    Client,
    Upstream,
    Pipe,
    Check,
}

/// A counted descriptor. It is free again when this is dropped, which has to be after what it was for is closed.
#[derive(Debug)]
pub struct Descriptor {
    of: Arc<Descriptors>,
    used: DescriptorUse,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let Descriptors { clients, upstreams, checks, .. } = &*self.of;
        let (count, number) = match self.used {
            DescriptorUse::Client => (clients, 1),
            DescriptorUse::Upstream => (upstreams, 1),
            DescriptorUse::Pipe => (upstreams, 2),
            DescriptorUse::Check => (checks, 1),
        };
        count.fetch_sub(number, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(admit: impl FnMut() -> Option<Descriptor>) -> Vec<Descriptor> {
        std::iter::from_fn(admit).take(1000).collect()
    }

    #[test]
    fn every_client_let_in_can_have_an_upstream() {
        let descriptors = Arc::new(Descriptors::new(RESERVE + 9, 2));
        let mut clients = all(|| descriptors.admit_client(0));
        assert_eq!(clients.len(), 3);
        let upstreams = all(|| descriptors.admit_upstream());
        assert!(upstreams.len() >= 3, "{}", upstreams.len());
        drop(upstreams);
        clients.pop();
        clients.extend(descriptors.admit_client(0));
        assert!(clients.len() == 3 && descriptors.admit_client(0).is_none());
    }

    #[test]
    fn checks_take_a_share_and_no_more() {
        let descriptors = Arc::new(Descriptors::new(RESERVE + 80, 0));
        let checks = all(|| descriptors.admit_check());
        assert_eq!(checks.len(), 80 / CHECKS_SHARE);
        let clients = all(|| descriptors.admit_client(0));
        assert_eq!(clients.len(), (80 - 80 / CHECKS_SHARE + CHECKS_RESERVED) / 2, "each can have an upstream beside them");
        let mut upstreams = all(|| descriptors.admit_upstream());
        assert_eq!(upstreams.len(), clients.len());
        drop(checks);
        upstreams.extend(all(|| descriptors.admit_upstream()));
        assert!(!descriptors.has_free());
        assert_eq!(all(|| descriptors.admit_check()).len(), CHECKS_RESERVED, "there are always some for them");
    }

    /// Each listener has its socket, and may have accepted one connection for which there is no room yet.
    #[test]
    fn listeners_that_come_later_are_counted_with_those_who_wait_there() {
        let descriptors = Arc::new(Descriptors::new(Descriptors::least(3), 0));
        (0..3).for_each(|_| descriptors.listener_opened());
        let _client = descriptors.admit_client(0).unwrap();
        let upstream = descriptors.admit_upstream();
        assert!(upstream.is_some() && !descriptors.has_free());
        drop(upstream);
        descriptors.listener_opened();
        assert!(descriptors.admit_upstream().is_none(), "a reload has taken it");
        descriptors.listener_closed();
        assert!(descriptors.admit_upstream().is_some());
    }

    #[test]
    fn resting_clients_share() {
        let descriptors = Arc::new(Descriptors::new(RESERVE + 20, 0));
        let mut admitted = Vec::new();
        while let Some(client) = descriptors.admit_client(admitted.len()) {
            admitted.push(client);
        }
        assert_eq!(admitted.len(), 17, "17 and a descriptor for each eight of them");
    }
}
