//! Looks names up repeatedly, on threads of their own, because a look-up blocks.
//!
//! One thread waits for the next name that is due. Before it looks the name up, it calls another thread to wait in its place.
//! Afterwards it takes the next name, waits, or ends if another thread waits already. So there is one thread for each look-up in
//! progress and one that waits; none if no look-up will ever be due.

use super::look_up::{LookUpAnswer, Question};
use super::names::{NameTarget, Names, in_order};
use super::schedule::{LookUpChange, Next, Schedule};
use crate::config::model::SRV;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The limit of threads.
const MAX_THREADS: usize = 16;
/// How many of these may look up new or failing names, which may hang.
const MAX_SUSPECTS: usize = 12;
/// How many names a warning lists.
const MAX_NAMED: usize = 5;

/// Looks a name up.
pub type LookUp = Box<dyn Fn(&Question) -> io::Result<LookUpAnswer> + Send + Sync>;
/// Called when a name leads elsewhere than before.
pub type Changed = Box<dyn Fn() + Send + Sync>;
/// Names, and the upstreams that are at each of them, for messages.
pub type WantedNames = BTreeMap<Arc<str>, Vec<String>>;

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
    /// The configured name server for SRV records.
    server: Option<Arc<str>>,
    threads: usize,
    /// Whether a thread waits for the next name that is due.
    is_watched: bool,
}

#[derive(Default)]
struct ResolvedName {
    upstreams: Vec<String>,
    /// The last answer that had addresses.
    targets: Arc<[NameTarget]>,
}

impl Resolver {
    /// A resolver without names, and so without threads.
    pub fn new(look_up: LookUp, changed: Changed) -> Self {
        let schedule = Schedule::new(MAX_SUSPECTS, fastrand::Rng::new());
        let state = Mutex::new(ResolverState { schedule, names: BTreeMap::new(), server: None, threads: 0, is_watched: false });
        Self(Arc::new(SharedResolver { look_up, changed, start: Instant::now(), state, due: Condvar::new(), ended: Condvar::new() }))
    }

    /// Changes to these names, each looked up again every `interval_ms` (0 = not once it was found); SRV records are asked for at this
    /// `server`, or those of the system. Waits until new names have been looked up or `patience` is over; later answers are used all
    /// the same.
    pub fn set(&self, wanted: WantedNames, server: Option<&str>, interval_ms: u32, patience: Duration) {
        let mut state = self.0.lock();
        if state.server.as_deref() != server {
            state.server = server.map(Arc::from);
            let names: Vec<Arc<str>> = state.names.keys().filter(|name| name.starts_with(SRV)).cloned().collect();
            names.iter().for_each(|name| state.schedule.again(name, self.0.now()));
        }
        let mut awaited = state.schedule.set(&wanted.keys().cloned().collect(), interval_ms.into(), self.0.now());
        let mut former = std::mem::take(&mut state.names);
        let known = |(name, upstreams): (Arc<str>, Vec<String>)| {
            let targets = former.remove(&name).unwrap_or_default().targets;
            (name, ResolvedName { upstreams, targets })
        };
        state.names = wanted.into_iter().map(known).collect();
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

    /// What the names lead to now.
    pub fn names(&self) -> Names {
        let mut names = Names::default();
        self.0.lock().names.iter().for_each(|(name, known)| names.set(name.clone(), known.targets.clone()));
        names
    }

    /// Nothing answers at one of the name's addresses, so it is looked up soon: it may lead elsewhere by now.
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
                    let known = state.names.get(&name).map(|known| known.targets.clone()).unwrap_or_default();
                    let server = state.server.clone();
                    drop(state);
                    let answer = (self.look_up)(&Question { name: &name, server: server.as_deref(), known: &known });
                    state = self.lock();
                    self.settle(&mut state, &name, answer);
                    if name.starts_with(SRV) && state.server != server {
                        state.schedule.again(&name, self.now());
                    }
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

    fn settle(&self, state: &mut ResolverState, name: &Arc<str>, answer: io::Result<LookUpAnswer>) {
        let answer = match answer {
            Ok(found) if found.targets.is_empty() => Err(io::Error::other("it has no address")),
            other => other,
        };
        if let Ok(LookUpAnswer { ttl_ms: Some(ttl_ms), .. }) = answer {
            state.schedule.set_ttl(name, ttl_ms);
        }
        let turn = state.schedule.done(name, answer.is_ok(), self.now());
        self.ended.notify_all();
        let (Some(turn), Some(known)) = (turn, state.names.get_mut(name)) else { return };
        match answer {
            Ok(LookUpAnswer { targets, .. }) => {
                let targets = in_order(targets);
                let is_same = known.targets == targets;
                if turn == LookUpChange::Recovers && !known.targets.is_empty() {
                    for upstream in &known.upstreams {
                        log::info!(target: "upstream", "upstream {upstream}: {name} can be looked up again");
                    }
                }
                known.targets = targets;
                if !is_same {
                    (self.changed)();
                }
            }
            Err(error) if turn == LookUpChange::Fails => {
                let rest = if known.targets.is_empty() { "it is not used until it can be" } else { "its last addresses stay in use" };
                for upstream in &known.upstreams {
                    log::warn!(target: "upstream", "upstream {upstream}: {name} cannot be looked up: {error}; {rest}");
                }
            }
            Err(error) => log::debug!(target: "upstream", "{name} still cannot be looked up: {error}"),
        }
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
