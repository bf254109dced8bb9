//! The process: binds, starts the workers, reports that it is ready, and waits for the end.

mod bind;
mod leftovers;
mod listeners;
mod logs;
mod pid_file;
mod reload;
mod renderer;
mod signals;
mod watch;

use crate::admin::AdminState;
use crate::base::clock::Clock;
use crate::config::Loaded;
use crate::config::model::Config;
use crate::guard::descriptors::Descriptors;
use crate::guard::door::Paused;
use crate::net::sys;
use crate::observe;
use crate::observe::writer::Writer;
use crate::site::{self, Site};
use crate::upstream::look_up;
use crate::upstream::resolve::Resolver;
use crate::worker::shared::Shared;
use crate::worker::{Worker, WorkerSetup};
use bind::Bound;
use leftovers::Leftovers;
use listeners::Sockets;
use pid_file::PidFile;
use reload::{LOOK_UP_PATIENCE, Reloader, Task};
pub use signals::Signals;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use watch::Watch;

/// For its poll, the copy that registers sockets there, and its waker.
const DESCRIPTORS_OF_A_WORKER: usize = 3;
/// How long the end waits for a log target that hangs.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Runs until a signal ends it. The error says what failed, and where.
pub fn run(loaded: Loaded, mut signals: Signals) -> io::Result<()> {
    signals.hold_all()?;
    let Loaded { config, effective, sources, files, notes, warnings, .. } = loaded;
    let watch = Watch::new(files);
    let limit = sys::raise_descriptor_limit();
    let writer = Arc::new(Writer::start(logs::settings(&config.logging))?);
    observe::log::init(config.logging.level, &writer).map_err(|error| io::Error::other(error.to_string()))?;
    let leftovers = Arc::new(Leftovers::new(PidFile::new(config.pid_file.clone())));
    end_on_panic(writer.clone(), leftovers.clone());
    notes.iter().for_each(|note| log::info!(target: "config", "{note}"));
    warnings.iter().for_each(|warning| log::warn!(target: "config", "{warning}"));

    expect_descriptors(&config, limit)?;
    let bound = bind::bind(&config)?;
    leftovers.set_sockets(bound.listeners.files());
    let ready = ready_line(&bound);
    let Bound { polls, mailboxes, stats, listeners, sockets, .. } = bound;
    let in_use = sys::open_descriptors() - sockets.iter().map(Vec::len).sum::<usize>();
    let (renderer, jobs) = channel();
    let shared = Arc::new(Shared {
        descriptors: Arc::new(Descriptors::new(limit, in_use)),
        connections: Arc::default(),
        starved: Paused::new(mailboxes.len()),
        starving: Default::default(),
        is_held_up: Default::default(),
        admin: Arc::new(AdminState::new(stats, listeners.doors().cloned().collect(), writer.clone())),
        running: AtomicUsize::new(mailboxes.len()),
        mailboxes,
        renderer,
        resolver: OnceLock::new(),
    });
    let (call, calls) = channel();
    let resolver = shared.resolver.get_or_init(|| resolver(call.clone())).clone();
    resolver.set(site::names(&config), config.resolver.as_deref(), config.resolve_ms, LOOK_UP_PATIENCE);
    let clock = Clock::start();
    let site = Arc::new(Site::new(config, polls.len(), None, &resolver.names(), 0));
    warn_of_limits(&site, limit);
    let pages = shared.clone();
    spawn("renderer", move || renderer::run(&jobs, &pages))?;
    let mut desk = {
        let (site, shared, writer, leftovers) = (site.clone(), shared.clone(), writer.clone(), leftovers.clone());
        let desk = signals::SignalHandler::new(shared.clone(), writer.clone(), leftovers.clone(), call);
        let next_look = Instant::now();
        let reloader = Reloader { sources, effective, watch, next_look, site, listeners, leftovers, resolver, shared, writer, clock };
        spawn("reloader", move || reloader.run(&calls))?;
        desk
    };
    let ends = start_workers(polls, sockets, &shared, &site, &writer, &signals, clock)?;
    leftovers.pid_file.write()?;
    shared.admin.started_up.store(true, SeqCst);
    observe::log::announce(&ready);

    desk.serve(&mut signals);
    // Waits for all workers, or until one has failed.
    let outcome = ends.iter().collect::<io::Result<()>>();
    desk.report();
    leftovers.remove();
    writer.shutdown(LOG_PATIENCE);
    outcome
}

/// The line that says that requests are served now.
fn ready_line(bound: &Bound) -> String {
    let Bound { listeners, metrics, polls, .. } = bound;
    let shared_port = if bound.is_shared { "shared=yes " } else { "" };
    format!("ready listen={} metrics={metrics} workers={} {shared_port}pid={}", listeners.names(), polls.len(), std::process::id())
}

/// Starts the workers, each with a thread. The receiver gets how each has ended; the first that fails, or the last, also ends
/// [`signals::SignalHandler::serve`].
fn start_workers(
    polls: Vec<mio::Poll>,
    sockets: Sockets,
    shared: &Arc<Shared>,
    site: &Arc<Site>,
    writer: &Arc<Writer>,
    signals: &Signals,
    clock: Clock,
) -> io::Result<Receiver<io::Result<()>>> {
    let (end, ends) = channel();
    for (worker, (poll, listeners)) in polls.into_iter().zip(sockets).enumerate() {
        let journal = writer.access_log(shared.admin.stats[worker].clone());
        let seat = WorkerSetup { worker, poll, listeners, shared: shared.clone(), site: site.clone(), journal, clock };
        let (end, signals, shared) = (end.clone(), signals.handle(), shared.clone());
        spawn(&format!("worker-{worker}"), move || {
            let outcome = Worker::new(seat).and_then(Worker::run);
            let is_last = shared.running.load(SeqCst) == 0;
            let is_the_end = outcome.is_err() || is_last;
            // Nobody receives it if another worker has failed already.
            let _ = end.send(outcome);
            if is_the_end {
                signals.close();
            }
        })?;
    }
    Ok(ends)
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> io::Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}

/// Looks names up and tells the reloader about changes.
fn resolver(tasks: Sender<Task>) -> Resolver {
    // The reloader lives as long as the process.
    Resolver::new(Box::new(look_up::look_up), Box::new(move || _ = tasks.send(Task::NamesChanged)))
}

/// A panic in any thread is a defect: it is logged, and ends the process.
fn end_on_panic(writer: Arc<Writer>, leftovers: Arc<Leftovers>) {
    std::panic::set_hook(Box::new(move |panic| {
        log::error!(target: "tidegate", "{panic}");
        leftovers.remove();
        writer.shutdown(LOG_PATIENCE);
        std::process::exit(1);
    }));
}

/// Fails where the descriptors do not suffice for one exchange, as no client would ever be accepted.
fn expect_descriptors(config: &Config, limit: usize) -> io::Result<()> {
    let listeners = config.workers * config.listeners.len() + usize::from(config.metrics_listen.is_some());
    let needed = sys::open_descriptors() + config.workers * DESCRIPTORS_OF_A_WORKER + Descriptors::least(listeners);
    if limit >= needed {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the limit of open descriptors (ulimit -n) is {limit}: with {} workers not one exchange fits, {needed} are needed at least",
        config.workers
    )))
}

/// Warns of limits for which there are not enough descriptors; the process starts all the same.
fn warn_of_limits(site: &Site, limit: usize) {
    let clients = site.config.limits.max_client_conns.saturating_mul(site.config.listeners.len());
    if clients.saturating_mul(2) > limit {
        log::warn!(
            target: "limits",
            "limits.max_client_conns allows {clients} clients, which with an upstream connection each need {} descriptors; the limit is {limit} \
             (ulimit -n): accepting pauses before they run out",
            clients.saturating_mul(2)
        );
    }
}
