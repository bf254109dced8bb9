//! Names to addresses, again and again, on threads of their own: getaddrinfo blocks.
//!
//! One thread waits for the next name that is due. Before it looks the name up it calls another one to wait in its place; who comes
//! back takes the next name, waits, or ends if somebody waits already. So there is one thread for each look-up that goes on and one
//! that waits; none where no look-up will ever be due.

use super::schedule::{Next, Schedule, Turn};
use super::server::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Threads at once.
const MAX_THREADS: usize = 16;
/// Of these, such as look up names that are new or failing, which may hang.
const MAX_SUSPECTS: usize = 12;
/// Names that a warning lists.
const MAX_NAMED: usize = 5;

/// The addresses of a name, with any port.
pub type LookUp = Box<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;
/// Told of a server whose addresses have changed.
pub type Changed = Box<dyn Fn(&Arc<Server>) + Send + Sync>;

/// Asks the system.
pub fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((name, 0).to_socket_addrs()?.collect())
}

/// See the module.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    look_up: LookUp,
    changed: Changed,
    /// Zero of the schedule's time.
    start: Instant,
    state: Mutex<State>,
    /// For the thread that waits.
    due: Condvar,
    /// A look-up has ended.
    ended: Condvar,
}

struct State {
    schedule: Schedule,
    names: BTreeMap<Arc<str>, Name>,
    threads: usize,
    /// Whether one of them waits for the next name that is due.
    is_watched: bool,
}

#[derive(Default)]
struct Name {
    servers: Vec<Arc<Server>>,
    /// The last good answer.
    addresses: Vec<SocketAddr>,
}

impl Resolver {
    /// Without names, and so without threads.
    pub fn new(look_up: LookUp, changed: Changed) -> Self {
        let schedule = Schedule::new(MAX_SUSPECTS, fastrand::Rng::new());
        let state = Mutex::new(State { schedule, names: BTreeMap::new(), threads: 0, is_watched: false });
        Self(Arc::new(Shared { look_up, changed, start: Instant::now(), state, due: Condvar::new(), ended: Condvar::new() }))
    }

    /// Goes over to the names of these servers, each looked up again every `interval_ms` (0 = not once it was found). Waits until
    /// those that are new have been looked up or `patience` is over; later answers count all the same.
    pub fn set<'a>(&self, servers: impl Iterator<Item = &'a Arc<Server>>, interval_ms: u32, patience: Duration) {
        let mut names = BTreeMap::<Arc<str>, Name>::new();
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
            // A server that is new gets what is known.
            known.servers.iter().for_each(|server| self.0.tell(server, &known.addresses, Turn::Same));
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

    /// Nothing answers where this name leads: perhaps it leads elsewhere by now.
    pub fn hurry(&self, name: &str) {
        let mut state = self.0.lock();
        state.schedule.hurry(name, self.0.now());
        self.0.call(&mut state);
    }

    /// Threads that there are.
    #[cfg(test)]
    fn threads(&self) -> usize {
        self.0.lock().threads
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds.
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Sees to it that somebody minds what is due next.
    fn call(self: &Arc<Self>, state: &mut State) {
        if state.is_watched {
            return self.due.notify_one();
        }
        if state.threads == MAX_THREADS || !state.schedule.has_more() {
            return;
        }
        let shared = self.clone();
        match std::thread::Builder::new().name("resolver".into()).spawn(move || shared.run()) {
            Ok(_) => state.threads += 1,
            // Those that run take their turn.
            Err(error) => log::error!(target: "upstream", "cannot start a thread for name look-ups: {error}"),
        }
    }

    /// A thread's life.
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
                    // Who waits may wait for too late a time: this thread has put a name back.
                    self.due.notify_one();
                    state.threads -= 1;
                    return;
                }
            }
        }
    }

    fn settle(&self, state: &mut State, name: &Arc<str>, answer: io::Result<Vec<SocketAddr>>) {
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
            Err(error) if turn == Turn::Fails => {
                let rest = if known.addresses.is_empty() { "it is not used until it can be" } else { "its last addresses stay in use" };
                for server in &known.servers {
                    log::warn!(target: "upstream", "upstream {}: {name} cannot be looked up: {error}; {rest}", server.config.name);
                }
            }
            Err(error) => log::debug!(target: "upstream", "{name} still cannot be looked up: {error}"),
        }
    }

    /// Gives the server its addresses, and says so if they are news.
    fn tell(&self, server: &Arc<Server>, addresses: &[SocketAddr], turn: Turn) {
        let mut unique = BTreeSet::new();
        let with_port = addresses.iter().map(|address| {
            let mut address = *address;
            address.set_port(server.config.port);
            address
        });
        let new: Vec<SocketAddr> = with_port.filter(|address| unique.insert(*address)).collect();
        let (name, host) = (&server.config.name, &server.config.host);
        let former = server.set_addresses(&new);
        match &former {
            Some(former) if former.is_empty() && turn == Turn::Same => {
                log::debug!(target: "upstream", "upstream {name}: {host} is {new:?}")
            }
            Some(former) if former.is_empty() => log::info!(target: "upstream", "upstream {name}: {host} can be looked up now: {new:?}"),
            Some(former) => log::info!(target: "upstream", "upstream {name}: the addresses of {host} have changed: {former:?} -> {new:?}"),
            None => {}
        }
        if turn == Turn::Recovers && former.as_ref().is_none_or(|former| !former.is_empty()) {
            log::info!(target: "upstream", "upstream {name}: {host} can be looked up again");
        }
        if former.is_some() {
            (self.changed)(server);
        }
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
