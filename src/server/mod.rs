//! The process: binds, starts the workers, reports that it is ready, and waits for the end.

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
use crate::base::mailbox::Mailbox;
use crate::config::Loaded;
use crate::config::model::Config;
use crate::guard::descriptors::Descriptors;
use crate::guard::door::Paused;
use crate::net::sys;
use crate::observe;
use crate::observe::stats::WorkerStats;
use crate::observe::writer::Writer;
use crate::site::Site;
use crate::upstream::resolve::{self, Resolver};
use crate::upstream::server::Server;
use crate::worker::shared::{Mail, Shared};
use crate::worker::{Seat, Worker};
use leftovers::Leftovers;
use listeners::Listeners;
use pid_file::PidFile;
use reload::{LOOK_UP_PATIENCE, Reloader};
pub use signals::Signals;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use watch::Watch;

/// For its poll, the copy that registers sockets there, and its waker.
const DESCRIPTORS_OF_A_WORKER: usize = 3;
/// How long the end waits for a log target that hangs.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Runs until a signal ends it. The error says what failed, and where.
pub fn run(loaded: Loaded, mut signals: Signals) -> io::Result<()> {
    signals.hold_all()?;
    let watch = Watch::new(loaded.files);
    let limit = sys::raise_descriptor_limit();
    let config = loaded.config;
    let writer = Arc::new(Writer::start(logs::settings(&config.logging))?);
    observe::log::init(config.logging.level, &writer).map_err(|error| io::Error::other(error.to_string()))?;
    let leftovers = Arc::new(Leftovers::new(PidFile::new(config.pid_file.clone())));
    end_on_panic(writer.clone(), leftovers.clone());
    loaded.notes.iter().for_each(|note| log::info!(target: "config", "{note}"));
    loaded.warnings.iter().for_each(|warning| log::warn!(target: "config", "{warning}"));

    let workers = config.workers;
    expect_descriptors(&config, limit)?;
    // The admin port comes first: a process that fails there must not have accepted connections elsewhere.
    let admin = config.metrics_listen.map(|address| listeners::admin(address, workers)).transpose()?;
    let shared_port = if listeners::are_shared(&config) { "shared=yes " } else { "" };
    let polls = (0..workers).map(|_| mio::Poll::new()).collect::<io::Result<Vec<_>>>()?;
    let wakers = polls.iter().map(|poll| mio::Waker::new(poll.registry(), crate::net::token::Source::Waker.token()));
    let mailboxes = wakers.map(|waker| Ok(Mailbox::new(Box::new(waker?)))).collect::<io::Result<Vec<_>>>()?;
    let mut listeners = Listeners::new(workers);
    let change = listeners.prepare(&config)?;
    let (mut sockets, _) = listeners.commit(change, config.limits.max_client_conns);
    leftovers.set_sockets(listeners.files());
    let mut metrics = "off".to_owned();
    if let (Some((bound, admin)), Some(first)) = (admin, sockets.first_mut()) {
        metrics = bound.to_string();
        first.push(admin);
    }
    let in_use = sys::open_descriptors() - sockets.iter().map(Vec::len).sum::<usize>();
    let panel = Arc::new(AdminState {
        stats: (0..workers).map(|_| Arc::new(WorkerStats::default())).collect(),
        doors: Mutex::new(listeners.doors().cloned().collect()),
        writer: writer.clone(),
        started_up: AtomicBool::new(false),
        draining: AtomicBool::new(false),
        reloads_ok: AtomicU64::new(0),
        reloads_error: AtomicU64::new(0),
        started: Instant::now(),
    });
    let (renderer, jobs) = channel();
    let shared = Arc::new(Shared {
        mailboxes,
        descriptors: Arc::new(Descriptors::new(limit, in_use)),
        connections: Arc::default(),
        starved: Paused::new(workers),
        starving: Default::default(),
        panel: panel.clone(),
        running: AtomicUsize::new(workers),
        renderer,
        resolver: OnceLock::new(),
    });
    let site = Arc::new(Site::new(config, workers, None));
    warn_of_limits(&site, limit);
    let resolver = shared.resolver.get_or_init(|| resolver(&shared)).clone();
    resolver.set(site.servers().map(|(_, server)| server), site.config.resolve_ms, LOOK_UP_PATIENCE);
    spawn("renderer", {
        let shared = Arc::clone(&shared);
        move || renderer::run(&jobs, &shared)
    })?;
    let ready = format!("ready listen={} metrics={metrics} workers={workers} {shared_port}pid={}", listeners.names(), std::process::id());
    let (call, calls) = channel();
    let (sources, effective) = (loaded.sources, loaded.effective);
    let reloader = Reloader {
        sources,
        effective,
        watch,
        site: site.clone(),
        listeners,
        leftovers: leftovers.clone(),
        resolver,
        shared: shared.clone(),
        writer: writer.clone(),
    };
    spawn("reloader", move || reloader.run(&calls))?;
    let mut desk = signals::Desk::new(shared.clone(), writer.clone(), leftovers.clone(), call);

    let clock = Clock::start();
    let (end, ends) = channel();
    for (worker, (poll, listeners)) in polls.into_iter().zip(sockets).enumerate() {
        let journal = writer.access_log(panel.stats[worker].clone());
        let seat = Seat { worker, poll, listeners, shared: shared.clone(), site: site.clone(), journal, clock };
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
    drop(end);
    leftovers.pid_file.write()?;
    panel.started_up.store(true, SeqCst);
    observe::log::announce(&ready);

    desk.serve(&mut signals);
    // Waits for all workers, or until one has failed.
    let outcome = ends.iter().collect::<io::Result<()>>();
    desk.report();
    leftovers.remove();
    writer.shutdown(LOG_PATIENCE);
    outcome
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> io::Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}

/// Looks names up and tells the workers about changes.
fn resolver(shared: &Arc<Shared>) -> Resolver {
    let shared = Arc::clone(shared);
    let tell = move |server: &Arc<Server>| shared.mailboxes.iter().for_each(|mailbox| mailbox.post(Mail::Addresses(server.clone())));
    Resolver::new(Box::new(resolve::look_up), Box::new(tell))
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
