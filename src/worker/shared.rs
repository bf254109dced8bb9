//! What the workers of a process share: mailboxes, limits, counters. All of it is atomic, or locked for a moment.

use super::entrance::Entrance;
use crate::admin::{AdminPage, AdminState, RenderedPage};
use crate::base::mailbox::Mailbox;
use crate::guard::connections::Connections;
use crate::guard::descriptors::Descriptors;
use crate::guard::door::{Door, Paused};
use crate::guard::wait_queue::Ticket;
use crate::net::listen::ListenSocket;
use crate::net::wire::Arrival;
use crate::site::Site;
use crate::upstream::pool::{Grant, Pool};
use crate::upstream::resolve::Resolver;
use crate::upstream::server::Server;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock, Weak};

/// A message to a worker.
pub enum Mail {
    /// The first in the pool's queue is an exchange of this worker.
    Admitted {
        /// The pool.
        pool: Arc<Pool>,
        /// The ticket of the exchange.
        ticket: Ticket,
        /// The server where a place was taken for it; `None` if all of them are down.
        grant: Option<Grant>,
    },
    /// A request waits in the queue of this pool, which is of an earlier site.
    Former(Arc<Pool>),
    /// Requests wait in a queue: look for exchanges whose clients do not take their answers.
    Stalls,
    /// Close an idle connection to this server: another worker needs the place.
    Reclaim(Arc<Server>),
    /// Close the connection that has been idle longest at this address: another worker needs its place or descriptor.
    Evict {
        /// The listening address.
        door: Arc<Door>,
        /// Since when it has been idle, at the latest (milliseconds).
        since: u64,
        /// Whether a descriptor is needed.
        starved: bool,
    },
    /// Close the connection that lingers longest at this address.
    Dismiss {
        /// The listening address.
        door: Arc<Door>,
        /// Whether a new connection elsewhere needs its descriptor; otherwise too many may linger.
        starved: bool,
    },
    /// Try to accept again, or to end.
    Resume,
    /// A new configuration, or what names lead to now.
    Site(Box<NewSite>),
    /// A page for an exchange.
    Rendered {
        /// The ticket of the exchange.
        ticket: Ticket,
        /// The page.
        page: Box<RenderedPage>,
    },
    /// The process ends: finish the exchanges in progress.
    Drain,
    /// The process ends now.
    Cut,
}

/// What a worker gets from a reload, or when names lead elsewhere.
pub struct NewSite {
    /// The configuration for requests that begin from now on.
    pub site: Arc<Site>,
    /// This worker's sockets for new addresses.
    pub opened: Vec<(ListenSocket, Entrance)>,
    /// What each address wants of its clients from now on.
    pub arrivals: Vec<(Arc<Door>, Arc<Arrival>)>,
    /// Addresses that are gone.
    pub closed: Vec<Arc<Door>>,
}

/// A page that an exchange asked for, to be rendered by the helper thread.
pub struct RenderJob {
    /// The page.
    pub page: AdminPage,
    /// The ticket of the exchange that asks.
    pub ticket: Ticket,
    /// The configuration and state that the page shows.
    pub site: Arc<Site>,
    /// Gone once nobody waits for the page any more.
    pub asker: Weak<()>,
}

/// What the workers of a process share.
pub struct Shared {
    /// The mailbox of each worker.
    pub mailboxes: Vec<Mailbox<Mail>>,
    /// The descriptors of the process.
    pub descriptors: Arc<Descriptors>,
    /// The connections of each client, counted while `limits.max_conns_per_client` is set.
    pub connections: Arc<Connections>,
    /// Workers that stopped accepting for lack of descriptors.
    pub starved: Paused,
    /// How many requests are queued because there was no descriptor: any idle connection, of whatever pool, has one.
    pub starving: AtomicUsize,
    /// Whether a request in a queue could have a place, and no descriptor was free when that was found.
    pub is_held_up: AtomicBool,
    /// What the pages of the admin port show, the counters of all workers among it.
    pub admin: Arc<AdminState>,
    /// How many workers have not ended. The first ends last, because it has the admin port.
    pub running: AtomicUsize,
    /// Sends jobs to the helper thread.
    pub renderer: Sender<RenderJob>,
    /// Looks names up.
    pub resolver: OnceLock<Resolver>,
}

impl Shared {
    /// The server does not take a connection: has its name looked up again.
    pub fn look_up(&self, server: &Server, now: u64) {
        if let Some((name, resolver)) = server.host_name().zip(self.resolver.get())
            && server.claim_look_up(now)
        {
            resolver.hurry(name);
        }
    }

    /// Wakes the workers that paused at a listening address, or for lack of descriptors.
    pub fn resume(&self, paused: &Paused) {
        if paused.is_any() {
            paused.take().for_each(|worker| self.mailboxes[worker].post(Mail::Resume));
        }
    }
}
