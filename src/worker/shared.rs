//! What the workers of a process share: letter boxes, limits, counters. All of it atomic, or locked for a moment.

use super::core::Entrance;
use crate::admin::{Page, Panel, Rendered};
use crate::base::mailbox::Mailbox;
use crate::guard::connections::Connections;
use crate::guard::descriptors::Descriptors;
use crate::guard::door::{Door, Paused};
use crate::guard::gate::Ticket;
use crate::site::Site;
use crate::upstream::pool::{Grant, Pool};
use crate::upstream::resolve::Resolver;
use crate::upstream::server::Server;
use mio::net::TcpListener;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock, Weak};

/// A letter to a worker.
pub enum Mail {
    /// The first in the pool's line is a session of yours.
    Admitted {
        /// Whose line.
        pool: Arc<Pool>,
        /// Whose turn it is.
        ticket: Ticket,
        /// The server where a place is taken for it; `None`: all of them are down.
        grant: Option<Grant>,
    },
    /// Somebody waits in the line of this pool, which is of an earlier site.
    Former(Arc<Pool>),
    /// Somebody waits in line: look for exchanges whose clients do not take their answers.
    Stalls,
    /// Close an idle connection to this server: another worker needs the place.
    Reclaim(Arc<Server>),
    /// Close the connection that idles longest at this door: a newcomer elsewhere needs its place, or its descriptor.
    Evict {
        /// Which.
        door: Arc<Door>,
        /// It idles since then, or longer (milliseconds).
        since: u64,
        /// For want of a descriptor.
        starved: bool,
    },
    /// Close the connection that lingers longest at this door.
    Dismiss {
        /// Which.
        door: Arc<Door>,
        /// A newcomer elsewhere needs its descriptor; otherwise there may be too many.
        starved: bool,
    },
    /// The addresses of this server have changed.
    Addresses(Arc<Server>),
    /// Try to accept again, or to end.
    Resume,
    /// A new configuration.
    Site(Box<NewSite>),
    /// A page for a session.
    Rendered {
        /// Whose.
        ticket: Ticket,
        /// The page.
        page: Box<Rendered>,
    },
    /// The process ends: finish what is in flight.
    Drain,
    /// The process ends now.
    Cut,
}

/// What a worker gets of a reload.
pub struct NewSite {
    /// For requests that begin now.
    pub site: Arc<Site>,
    /// This worker's sockets of addresses that are new.
    pub opened: Vec<(TcpListener, Entrance)>,
    /// The doors of addresses that are gone.
    pub closed: Vec<Arc<Door>>,
}

/// A page that a session asked for, to be made on the helper thread.
pub struct RenderJob {
    /// Which.
    pub page: Page,
    /// For whom.
    pub ticket: Ticket,
    /// Of what.
    pub site: Arc<Site>,
    /// Gone when nobody waits for it any more.
    pub asker: Weak<()>,
}

/// See the module.
pub struct Shared {
    /// One a worker.
    pub mailboxes: Vec<Mailbox<Mail>>,
    /// Of the process.
    pub descriptors: Arc<Descriptors>,
    /// Of each client, while `limits.max_conns_per_client` limits them.
    pub connections: Connections,
    /// Workers that stopped accepting for want of descriptors.
    pub starved: Paused,
    /// Requests that stand in a line since there was no descriptor for them: any idle connection, of whatever pool, has one.
    pub starving: AtomicUsize,
    /// Counters of all workers.
    pub panel: Arc<Panel>,
    /// Workers that have not ended. The first ends last: it has the admin port.
    pub running: AtomicUsize,
    /// To the helper thread.
    pub renderer: Sender<RenderJob>,
    /// Looks names up.
    pub resolver: OnceLock<Resolver>,
}

impl Shared {
    /// None of the addresses of this server takes a connection: its name is looked up again.
    pub fn look_up(&self, server: &Server, now: u64) {
        if let Some((name, resolver)) = server.host_name().zip(self.resolver.get())
            && server.wants_look_up(now)
        {
            resolver.hurry(name);
        }
    }

    /// Wakes the workers that paused at a door, or for want of descriptors.
    pub fn resume(&self, paused: &Paused) {
        if paused.is_any() {
            paused.take().for_each(|worker| self.mailboxes[worker].post(Mail::Resume));
        }
    }
}
