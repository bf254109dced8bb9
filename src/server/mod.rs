//! The process: binds, starts the workers, says that it is ready, waits for the end.

mod listeners;
mod logs;
mod pid_file;
mod reload;
mod renderer;
mod signals;

use crate::admin::Panel;
use crate::base::clock::Clock;
use crate::base::mailbox::Mailbox;
use crate::config::Loaded;
use crate::guard::connections::Connections;
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
use listeners::Listeners;
use pid_file::PidFile;
use reload::Reloader;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long a start or a reload waits for new names to be looked up.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(2);
/// How long the end waits for a log target that hangs.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Runs until a signal ends it. The error says what could not be done, where, and perhaps why.
pub fn run(loaded: Loaded) -> io::Result<()> {
    let limit = sys::raise_descriptor_limit();
    let config = loaded.config;
    let writer = Arc::new(Writer::start(logs::settings(&config.logging))?);
    observe::log::init(config.logging.level, &writer).map_err(|error| io::Error::other(error.to_string()))?;
    let pid_file = Arc::new(PidFile::new(config.pid_file.clone()));
    end_on_panic(writer.clone(), pid_file.clone());
    let signals = signals::catch()?;
    loaded.notes.iter().for_each(|note| log::info!("{note}"));
    loaded.warnings.iter().for_each(|warning| log::warn!("{warning}"));

    let workers = config.workers;
    let polls = (0..workers).map(|_| mio::Poll::new()).collect::<io::Result<Vec<_>>>()?;
    let wakers = polls.iter().map(|poll| mio::Waker::new(poll.registry(), crate::net::token::Source::Waker.token()));
    let mailboxes = wakers.map(|waker| Ok(Mailbox::new(Box::new(waker?)))).collect::<io::Result<Vec<_>>>()?;
    let mut listeners = Listeners::new(workers);
    let change = listeners.prepare(&config)?;
    let (mut sockets, _) = listeners.commit(change, config.limits.max_client_conns);
    let mut metrics = "off".to_owned();
    if let (Some(address), Some(first)) = (config.metrics_listen, sockets.first_mut()) {
        let (bound, admin) = listeners::admin(address, workers)?;
        metrics = bound.to_string();
        first.push(admin);
    }
    let panel = Arc::new(Panel {
        stats: (0..workers).map(|_| Arc::new(WorkerStats::default())).collect(),
        doors: Mutex::new(listeners.doors().cloned().collect()),
        writer: writer.clone(),
        draining: AtomicBool::new(false),
        reloads_ok: AtomicU64::new(0),
        reloads_error: AtomicU64::new(0),
        started: Instant::now(),
    });
    let (renderer, jobs) = channel();
    let shared = Arc::new(Shared {
        mailboxes,
        descriptors: Arc::new(Descriptors::new(limit, sys::open_descriptors())),
        connections: Connections::default(),
        starved: Paused::new(workers),
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
    let ready = format!("ready listen={} metrics={metrics} workers={workers} pid={}", listeners.names(), std::process::id());
    let (call, calls) = channel();
    let (sources, effective) = (loaded.sources, loaded.effective);
    let reloader = Reloader { sources, effective, site: site.clone(), listeners, resolver, shared: shared.clone(), writer: writer.clone() };
    spawn("reloader", move || reloader.run(&calls))?;
    let act = signals::listen(&signals, shared.clone(), writer.clone(), pid_file.clone(), call)?;

    let clock = Clock::start();
    let mut threads = Vec::new();
    let mut signals = Some((signals, act));
    for (worker, (poll, listeners)) in polls.into_iter().zip(sockets).enumerate() {
        let journal = writer.access_log(panel.stats[worker].clone());
        let seat = Seat { worker, poll, listeners, signals: signals.take(), shared: shared.clone(), site: site.clone(), journal, clock };
        threads.push(spawn(&format!("worker-{worker}"), move || Worker::new(seat)?.run())?);
    }
    pid_file.write()?;
    observe::log::announce(&ready);

    let mut outcome = Ok(());
    for thread in threads {
        // A panic has ended the process already.
        outcome = outcome.and(thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked"))));
    }
    pid_file.remove();
    writer.shutdown(LOG_PATIENCE);
    outcome
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> io::Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}

/// Looks names up; the workers are told what comes of it.
fn resolver(shared: &Arc<Shared>) -> Resolver {
    let shared = Arc::clone(shared);
    let tell = move |server: &Arc<Server>| shared.mailboxes.iter().for_each(|mailbox| mailbox.post(Mail::Addresses(server.clone())));
    Resolver::new(Box::new(resolve::look_up), Box::new(tell))
}

/// A panic is a defect: it is logged, and ends the process, whichever thread it happened in.
fn end_on_panic(writer: Arc<Writer>, pid_file: Arc<PidFile>) {
    std::panic::set_hook(Box::new(move |panic| {
        log::error!("{panic}");
        pid_file.remove();
        writer.shutdown(LOG_PATIENCE);
        std::process::exit(1);
    }));
}

/// Limits that the descriptors cannot keep are no reason not to start.
fn warn_of_limits(site: &Site, limit: usize) {
    let clients = site.config.limits.max_client_conns.saturating_mul(site.config.listeners.len());
    if clients.saturating_mul(2) > limit {
        log::warn!(
            "limits.max_client_conns allows {clients} clients, which with an upstream connection each need {} descriptors; the limit is {limit} \
             (ulimit -n): accepting pauses before they run out",
            clients.saturating_mul(2)
        );
    }
}
