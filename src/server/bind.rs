//! What a start binds. All of it is bound before anything is served, so that a start that fails has accepted no connection.

use super::listeners::{self, Listeners, Sockets};
use crate::base::mailbox::Mailbox;
use crate::config::model::Config;
use crate::machine::service::Service;
use crate::net::token::Source;
use crate::observe::stats::WorkerStats;
use crate::worker::shared::Mail;
use std::io;
use std::sync::Arc;

/// What is bound.
pub(super) struct Bound {
    pub(super) polls: Vec<mio::Poll>,
    /// The mailbox of each worker, which wakes its poll.
    pub(super) mailboxes: Vec<Mailbox<Mail>>,
    /// The counters of each worker.
    pub(super) stats: Vec<Arc<WorkerStats>>,
    /// The addresses for clients.
    pub(super) listeners: Listeners,
    /// The sockets of each worker. The first also has the admin port.
    pub(super) sockets: Sockets,
    /// The address of the admin port, or `off`.
    pub(super) metrics: String,
    /// Whether another process listens on one of the addresses for clients.
    pub(super) is_shared: bool,
}

/// Binds every address of the configuration.
pub(super) fn bind(config: &Config) -> io::Result<Bound> {
    // The admin port comes first: a process that fails there must not have accepted connections elsewhere.
    let admin = config.metrics_listen.map(|address| listeners::admin(address, config.workers)).transpose()?;
    let is_shared = listeners::are_shared(config);
    let polls = (0..config.workers).map(|_| mio::Poll::new()).collect::<io::Result<Vec<_>>>()?;
    let wakers = polls.iter().map(|poll| mio::Waker::new(poll.registry(), Source::Waker.token()));
    let mailboxes = wakers.map(|waker| Ok(Mailbox::new(Box::new(waker?)))).collect::<io::Result<Vec<_>>>()?;
    let stats: Vec<Arc<WorkerStats>> = (0..config.workers).map(|_| Arc::default()).collect();
    let mut listeners = Listeners::new(stats.iter().cloned().map(Service::of_site).collect());
    let change = listeners.prepare(config)?;
    let (mut sockets, _) = listeners.commit(change, config.limits.max_client_conns);
    let mut metrics = "off".to_owned();
    if let (Some((bound, admin)), Some(first)) = (admin, sockets.first_mut()) {
        metrics = bound.to_string();
        first.push(admin);
    }
    Ok(Bound { polls, mailboxes, stats, listeners, sockets, metrics, is_shared })
}
