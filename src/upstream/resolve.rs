//! Looks names up repeatedly, on threads of their own, because getaddrinfo blocks.
//!
//! One thread waits for the next name that is due. Before it looks the name up, it calls another thread to wait in its place.
//! Afterwards it takes the next name, waits, or ends if another thread waits already. So there is one thread for each look-up in
//! progress and one that waits; none if no look-up will ever be due.

use super::schedule::{LookUpChange, Next, Schedule};
use super::server::Server;
use crate::base::address::Address;
use crate::config::model::Origin;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The limit of threads.
const MAX_THREADS: usize = 16;
/// How many of these may look up new or failing names, which may hang.
const MAX_SUSPECTS: usize = 12;
/// How many names a warning lists.
const MAX_NAMED: usize = 5;

/// Looks up the addresses of a name; their ports do not matter.
pub type LookUp = Box<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;
/// Called for a server whose addresses have changed.
pub type Changed = Box<dyn Fn(&Arc<Server>) + Send + Sync>;

/// Looks a name up with the system's resolver.
pub fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((name, 0).to_socket_addrs()?.collect())
}

/// The resolver of all names. Clones share their state.
#[derive(Clone)]
pub struct Resolver(Arc<SharedResolver>);

struct SharedResolver {
    look_up: LookUp,
    changed: Changed,
    /// The zero of the schedule's time.
    start: Instant,
    state: Mutex<ResolverState>,
    /// Signals the thread that waits.
    due: Condvar,
    /// Signals that a look-up has ended.
    ended: Condvar,
}

struct ResolverState {
    schedule: Schedule,
    names: BTreeMap<Arc<str>, ResolvedName>,
    threads: usize,
    /// Whether a thread waits for the next name that is due.
    is_watched: bool,
}

#[derive(Default)]
struct ResolvedName {
    servers: Vec<Arc<Server>>,
    /// The last answer that had addresses.
    addresses: Vec<SocketAddr>,
}

impl Resolver {
    /// A resolver without names, and so without threads.
    pub fn new(look_up: LookUp, changed: Changed) -> Self {
        let schedule = Schedule::new(MAX_SUSPECTS, fastrand::Rng::new());
        let state = Mutex::new(ResolverState { schedule, names: BTreeMap::new(), threads: 0, is_watched: false });
        Self(Arc::new(SharedResolver { look_up, changed, start: Instant::now(), state, due: Condvar::new(), ended: Condvar::new() }))
    }

    /// Changes to the names of these servers, each looked up again every `interval_ms` (0 = not once it was found). Waits until
    /// new names have been looked up or `patience` is over; later answers are used all the same.
    pub fn set<'a>(&self, servers: impl Iterator<Item = &'a Arc<Server>>, interval_ms: u32, patience: Duration) {
        let mut names = BTreeMap::<Arc<str>, ResolvedName>::new();
        for server in servers {
            if let Some(name) = server.host_name() {
                names.entry(name.into()).or_default().servers.push(server.clone());
            }
        }
        let mut state = self.0.lock();
        let wanted: BTreeSet<Arc<str>> = names.keys().cloned().collect();
        let mut awaited = state.schedule.set(&wanted, interval_ms.into(), self.0.now());
        for (name, known) in &mut names {
            known.addresses = state.names.remove(name).unwrap_or_default().addresses;
            // A new server of a known name gets the known addresses.
            known.servers.iter().for_each(|server| self.0.tell(server, &known.addresses, LookUpChange::Same));
        }
        state.names = names;
        self.0.call(&mut state);
        let deadline = Instant::now() + patience;
        loop {
            awaited.retain(|name| !state.schedule.has_ended(name));
            let left = deadline.saturating_duration_since(Instant::now());
            if awaited.is_empty() || left.is_zero() {
                break;
            }
            state = self.0.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        if !awaited.is_empty() {
            let more = if awaited.len() > MAX_NAMED { ", …" } else { "" };
            let named = awaited[..awaited.len().min(MAX_NAMED)].join(", ");
            log::warn!(target: "upstream", "{} upstream names are not looked up yet, it goes on without them: {named}{more}", awaited.len());
        }
    }

    /// Nothing answers at the name's addresses, so it is looked up soon: it may lead elsewhere by now.
    pub fn hurry(&self, name: &str) {
        let mut state = self.0.lock();
        state.schedule.hurry(name, self.0.now());
        self.0.call(&mut state);
    }

    /// The number of threads.
    #[cfg(test)]
    fn threads(&self) -> usize {
        self.0.lock().threads
    }
}

impl SharedResolver {
    fn lock(&self) -> MutexGuard<'_, ResolverState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The schedule's time in milliseconds.
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Ensures that a thread waits for what is due next.
    fn call(self: &Arc<Self>, state: &mut ResolverState) {
        if state.is_watched {
            return self.due.notify_one();
        }
        if state.threads == MAX_THREADS || !state.schedule.has_more() {
            return;
        }
        let shared = self.clone();
        match std::thread::Builder::new().name("resolver".into()).spawn(move || shared.run()) {
            Ok(_) => state.threads += 1,
            // Threads that run take over when they are done.
            Err(error) => log::error!(target: "upstream", "cannot start a thread for name look-ups: {error}"),
        }
    }

    /// The loop of a thread.
    fn run(self: Arc<Self>) {
        let mut state = self.lock();
        loop {
            let now = self.now();
            match state.schedule.next(now) {
                Next::LookUp(name) => {
                    self.call(&mut state);
                    drop(state);
                    let answer = (self.look_up)(&name);
                    state = self.lock();
                    self.settle(&mut state, &name, answer);
                }
                Next::At(due) if !state.is_watched => {
                    state.is_watched = true;
                    let wait = Duration::from_millis(due - now);
                    state = self.due.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                    state.is_watched = false;
                }
                _ => {
                    // The waiting thread may be set to too late a time, because this thread has put a name back.
                    self.due.notify_one();
                    state.threads -= 1;
                    return;
                }
            }
        }
    }

    fn settle(&self, state: &mut ResolverState, name: &Arc<str>, answer: io::Result<Vec<SocketAddr>>) {
        let answer = match answer {
            Ok(addresses) if addresses.is_empty() => Err(io::Error::other("it has no address")),
            other => other,
        };
        let turn = state.schedule.done(name, answer.is_ok(), self.now());
        self.ended.notify_all();
        let (Some(turn), Some(known)) = (turn, state.names.get_mut(name)) else { return };
        match answer {
            Ok(addresses) => {
                known.servers.iter().for_each(|server| self.tell(server, &addresses, turn));
                known.addresses = addresses;
            }
            Err(error) if turn == LookUpChange::Fails => {
                let rest = if known.addresses.is_empty() { "it is not used until it can be" } else { "its last addresses stay in use" };
                for server in &known.servers {
                    log::warn!(target: "upstream", "upstream {}: {name} cannot be looked up: {error}; {rest}", server.config.name);
                }
            }
            Err(error) => log::debug!(target: "upstream", "{name} still cannot be looked up: {error}"),
        }
    }

    /// Gives a server its addresses, and logs a change.
    fn tell(&self, server: &Arc<Server>, addresses: &[SocketAddr], turn: LookUpChange) {
        let mut unique = BTreeSet::new();
        let Origin::Tcp { host, port, .. } = &server.config.origin else { return };
        let with_port = addresses.iter().map(|address| {
            let mut address = *address;
            address.set_port(*port);
            address
        });
        let new: Vec<Address> = with_port.filter(|address| unique.insert(*address)).map(Address::Ip).collect();
        let (name, shown) = (&server.config.name, listed(&new));
        let former = server.set_addresses(&new);
        match &former {
            Some(former) if former.is_empty() && turn == LookUpChange::Same => {
                log::debug!(target: "upstream", "upstream {name}: {host} is [{shown}]")
            }
            Some(former) if former.is_empty() => log::info!(target: "upstream", "upstream {name}: {host} can be looked up now: [{shown}]"),
            Some(former) => {
                log::info!(target: "upstream", "upstream {name}: the addresses of {host} have changed: [{}] -> [{shown}]", listed(former))
            }
            None => {}
        }
        if turn == LookUpChange::Recovers && former.as_ref().is_none_or(|former| !former.is_empty()) {
            log::info!(target: "upstream", "upstream {name}: {host} can be looked up again");
        }
        if former.is_some() {
            (self.changed)(server);
        }
    }
}

fn listed(addresses: &[Address]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
