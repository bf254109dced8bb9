//! Reload on SIGHUP, or when a watched file has changed: the configuration is read, checked and applied on a thread of its own. A
//! bad one changes nothing. When names lead elsewhere, the same is done without reading anything.

use super::leftovers::Leftovers;
use super::listeners::Listeners;
use super::logs;
use super::watch::{self, Watch};
use crate::base::clock::Clock;
use crate::config::model::{Config, ListenerConfig, PoolConfig};
use crate::config::{self, ConfigSources, Effective, Loaded};
use crate::observe;
use crate::observe::writer::Writer;
use crate::site::{self, Site};
use crate::upstream::resolve::Resolver;
use crate::worker::shared::{Mail, NewSite, Shared};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long a start or a reload waits for new names to be looked up.
pub(super) const LOOK_UP_PATIENCE: Duration = Duration::from_secs(2);
/// How many changes are listed one by one; beyond that only their number is logged.
const MAX_NAMED: usize = 50;

/// What a reload starts from.
pub(super) struct Reloader {
    /// Where to read the configuration from again.
    pub(super) sources: ConfigSources,
    /// The effective configuration that runs now.
    pub(super) effective: Effective,
    /// The watched files.
    pub(super) watch: Watch,
    /// When they are looked at next.
    pub(super) next_look: Instant,
    /// The site that runs now.
    pub(super) site: Arc<Site>,
    /// The listeners that are open now.
    pub(super) listeners: Listeners,
    /// Told of the sockets that are listened on.
    pub(super) leftovers: Arc<Leftovers>,
    /// Looks names up.
    pub(super) resolver: Resolver,
    /// What the workers share.
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Arc<Writer>,
    /// The clock of the workers.
    pub(super) clock: Clock,
}

/// What the reloader is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Read the configuration again.
    Reload,
    /// Names lead elsewhere.
    NamesChanged,
}

impl Reloader {
    /// Does each task; tasks that come during a reload are taken together.
    pub(super) fn run(mut self, tasks: &Receiver<Task>) {
        if self.site.config.watch && !self.watch.has_files() {
            log::warn!(target: "reload", "watch: there is no file to look at");
        }
        while let Some(task) = self.wait(tasks) {
            let is_reload = |task: &Task| *task == Task::Reload;
            if tasks.try_iter().chain([task]).filter(is_reload).count() == 0 {
                self.renew();
                continue;
            }
            // Noted before reading, so that a change while it is read is found later.
            self.watch.note_read();
            let admin = self.shared.admin.clone();
            match self.reload() {
                Ok(()) => _ = admin.reloads_ok.fetch_add(1, Relaxed),
                Err(why) => {
                    why.lines().for_each(|line| log::error!(target: "reload", "reload refused, the old configuration stays: {line}"));
                    admin.reloads_error.fetch_add(1, Relaxed);
                    // Names may have changed as well, which a reload that succeeds takes by itself.
                    self.renew();
                }
            }
        }
    }

    /// Waits until there is something to do; `None` at the end of the process.
    fn wait(&mut self, tasks: &Receiver<Task>) -> Option<Task> {
        loop {
            if !self.site.config.watch {
                return tasks.recv().ok();
            }
            // However often names change, the files are looked at.
            let left = self.next_look.saturating_duration_since(Instant::now());
            match if left.is_zero() { Err(RecvTimeoutError::Timeout) } else { tasks.recv_timeout(left) } {
                Err(RecvTimeoutError::Timeout) => {
                    self.next_look = Instant::now() + watch::INTERVAL;
                    if self.watch.look() {
                        return Some(Task::Reload);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Ok(task) => return Some(task),
            }
        }
    }

    /// The error says why nothing has changed, one problem a line.
    fn reload(&mut self) -> Result<(), String> {
        let Loaded { mut config, mut effective, warnings, files, .. } =
            config::load(self.sources.clone()).map_err(|problems| problems.to_string())?;
        if config.routes.is_empty() && config.pools.iter().all(|pool| pool.upstreams.is_empty()) {
            return Err("it has neither upstreams nor routes: was the file cut off?".into());
        }
        let stays = self.keep_what_needs_a_restart(&mut config);
        stays.iter().for_each(|key| effective.keep(key, &self.effective));
        let mut changes = config::changes(&self.effective, &effective);
        changes.extend(renewed(&self.site.config, &config));
        let has_upstreams = |config: &Config| config.pools.iter().any(|pool| !pool.upstreams.is_empty());
        let loses_upstreams = has_upstreams(&self.site.config) && !has_upstreams(&config);
        // Everything that can fail comes before anything that takes effect.
        let listeners = self.listeners.prepare(&config).map_err(|error| error.to_string())?;
        self.writer.reconfigure(logs::settings(&config.logging)).map_err(|error| error.to_string())?;

        observe::log::set_level(config.logging.level);
        warnings.iter().for_each(|warning| log::warn!(target: "config", "{warning}"));
        if !stays.is_empty() {
            log::warn!(target: "reload", "reload: {}: a change needs a restart; the rest applies", stays.join(", "));
        }
        if loses_upstreams {
            log::warn!(target: "reload", "reload: there are no upstreams any more, only routes: was a part of the file lost?");
        }
        self.resolver.set(site::names(&config), config.resolver.as_deref(), config.resolve_ms, LOOK_UP_PATIENCE);
        let now = self.clock.read().millis();
        let site = Site::new(config, self.shared.mailboxes.len(), Some(&self.site), &self.resolver.names(), now);
        let site = self.replace_site(site);
        let (sockets, closed) = self.listeners.commit(listeners, site.config.limits.max_client_conns);
        self.leftovers.set_sockets(self.listeners.files());
        self.shared.admin.set_doors(self.listeners.doors().cloned().collect());
        for (mailbox, opened) in self.shared.mailboxes.iter().zip(sockets) {
            mailbox.post(Mail::Site(Box::new(NewSite {
                site: site.clone(),
                opened,
                arrivals: self.listeners.arrivals(),
                closed: closed.clone(),
            })));
        }
        self.listeners.doors().for_each(|door| self.shared.resume(&door.paused));
        self.effective = effective;
        self.watch.follow(files);
        say(&changes);
        Ok(())
    }

    /// Takes what names lead to now.
    fn renew(&mut self) {
        let now = self.clock.read().millis();
        let Some(site) = self.site.renew(self.shared.mailboxes.len(), &self.resolver.names(), now) else { return };
        let site = self.replace_site(site);
        for mailbox in &self.shared.mailboxes {
            mailbox.post(Mail::Site(Box::new(NewSite {
                site: site.clone(),
                opened: Vec::new(),
                arrivals: Vec::new(),
                closed: Vec::new(),
            })));
        }
    }

    fn replace_site(&mut self, site: Site) -> Arc<Site> {
        let site = Arc::new(site);
        site.tell_moves(&self.site);
        self.site.retire(&site);
        self.site = site.clone();
        site
    }

    /// Restores the keys that need a restart, and returns those that would have changed.
    fn keep_what_needs_a_restart(&self, config: &mut Config) -> Vec<&'static str> {
        let old = &self.site.config;
        let changed = [
            ("workers", config.workers != old.workers),
            ("metrics_listen", config.metrics_listen != old.metrics_listen),
            ("pid_file", config.pid_file != old.pid_file),
        ];
        config.workers = old.workers;
        config.metrics_listen = old.metrics_listen;
        config.pid_file = old.pid_file.clone();
        changed.iter().filter(|(_, is_other)| *is_other).map(|(key, _)| *key).collect()
    }
}

/// The addresses and pools whose files have another content than before.
fn renewed(old: &Config, new: &Config) -> Vec<String> {
    let is_renewed = |listener: &&ListenerConfig| {
        let before = old.listeners.iter().find(|before| before.address == listener.address).and_then(|before| before.tls.as_ref());
        before.zip(listener.tls.as_ref()).is_some_and(|(before, now)| before != now)
    };
    let is_other = |pool: &&PoolConfig| {
        let before = old.pools.iter().find(|before| before.name == pool.name).and_then(|before| before.tls.as_ref());
        before.zip(pool.tls.as_ref()).is_some_and(|(before, now)| before != now)
    };
    let listeners = new.listeners.iter().filter(is_renewed).map(|listener| format!("the certificates of {}", listener.address));
    let pools = new.pools.iter().filter(is_other).map(|pool| format!("the certificates of pool {} (upstream_tls)", pool.name));
    listeners.chain(pools).collect()
}

fn say(changes: &[String]) {
    if changes.is_empty() {
        log::info!(target: "reload", "reloaded: nothing has changed");
    } else if changes.len() > MAX_NAMED {
        log::info!(target: "reload", "reloaded: {} keys have changed: {}, …", changes.len(), changes[..MAX_NAMED].join(", "));
    } else {
        log::info!(target: "reload", "reloaded: {}", changes.join(", "));
    }
}
