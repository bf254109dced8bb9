//! What happens besides the clients' traffic: reloads, new addresses, pages, the other ends of checks.

use super::super::admin::AdminClient;
use super::super::checked::Checked;
use super::super::extras::{self, number_of};
use super::super::many::ManyClient;
use super::super::net::DECOY;
use super::super::seen::{Seen, note};
use super::super::wire::Id;
use super::World;
use std::net::SocketAddr;
use std::sync::Arc;
use tidegate::config::model::Config;
use tidegate::net::token::Source;
use tidegate::site::Site;
use tidegate::upstream::names::{Names, in_order};
use tidegate::upstream::pool::Pool;
use tidegate::upstream::server::Server;
use tidegate::worker::shared::{Mail, NewSite};

/// The name of an upstream leads to an address; the first of two is of no use.
pub(super) fn give_address(names: &mut Names, number: usize, has_decoy: bool, last: u8) {
    let address = |last: u8| SocketAddr::from(([10, 0, number as u8, last], 80));
    let all = if has_decoy { vec![address(DECOY), address(last)] } else { vec![address(last)] };
    names.set(format!("origin-{number}.test").into(), in_order(all.into_iter().map(Into::into).collect()));
}

/// The numbers of the upstreams of a configuration.
pub(super) fn numbers(config: &Config) -> Vec<usize> {
    config.pools.iter().flat_map(|pool| &pool.upstreams).map(|upstream| number_of(&upstream.name)).collect()
}

impl World {
    /// The servers of all sites, each once.
    pub fn servers(&self) -> Vec<(Arc<Pool>, Arc<Server>)> {
        let mut all: Vec<(Arc<Pool>, Arc<Server>)> = Vec::new();
        for (pool, server) in self.sites.iter().rev().flat_map(|site| site.servers()) {
            if !all.iter().any(|(_, other)| Arc::ptr_eq(other, server)) {
                all.push((pool.clone(), server.clone()));
            }
        }
        all
    }

    /// Renders pages, does what is planned for this step, and moves the other ends of checks.
    pub(super) fn go_on_beside(&mut self) {
        self.rendering.extend(self.jobs.try_iter());
        if self.extras.reloads.contains(&self.steps) {
            self.reload();
        }
        if self.extras.moves.contains(&self.steps) {
            self.move_server();
        }
        // Some never notice that they were refused.
        let is_over = |id: Id| self.wires.borrow().conns[id].is_dropped;
        let all_came = self.arrivals.is_empty() && self.later_manys.is_empty();
        let is_left = |client: &ManyClient| client.is_gone || is_over(client.id);
        let have_all_left = self.clients.iter().all(|client| client.is_gone || is_over(client.id)) && self.manys.iter().all(is_left);
        if self.extras.is_checked && all_came && have_all_left {
            self.seats[0].checks.stop();
            self.extras.is_checked = false;
        }
    }

    /// Like `server::reload`, but the workers are told one by one.
    fn reload(&mut self) {
        let mut config = Config::clone(&self.site.config);
        self.extras.reconfigure(&mut config, &self.weather, &mut self.dice);
        if self.records.are_headers {
            extras::announce(&mut config);
        }
        for number in numbers(&config) {
            if self.names.of(&format!("origin-{number}.test")).is_empty() {
                give_address(&mut self.names, number, self.weather.has_decoys, 1);
            }
        }
        let site = Arc::new(Site::new(config, self.seats.len(), Some(&self.site), &self.names, self.micros / 1000));
        let is_gone = |server: &Arc<Server>| !site.servers().any(|(_, other)| Arc::ptr_eq(server, other));
        if self.site.servers().any(|(_, server)| is_gone(server) && server.in_flight() > 0) {
            note(Seen::ServerGoneWithConnections);
        }
        let is_former = |pool: &Arc<Pool>| !site.pools.iter().any(|other| Arc::ptr_eq(pool, other));
        if self.site.pools.iter().any(|pool| is_former(pool) && !pool.queue.is_empty()) {
            note(Seen::LineOfAFormerPool);
        }
        let is_back = |server: &Arc<Server>| {
            self.sites
                .iter()
                .flat_map(|site| site.servers())
                .any(|(_, old)| server.config.name == old.config.name && !Arc::ptr_eq(old, server))
        };
        if site.servers().any(|(_, server)| is_back(server)) {
            // A server that was removed and added again is another one at the same address: each has places of its own.
            self.seats.iter_mut().for_each(|seat| seat.core.net.limit *= 2);
        }
        self.replace_site(site);
    }

    fn replace_site(&mut self, site: Arc<Site>) {
        self.site.retire(&site);
        self.seats.iter_mut().for_each(|seat| seat.news.push_back(site.clone()));
        self.sites.push(site.clone());
        self.site = site;
    }

    pub(super) fn tell(&mut self, worker: usize) {
        let site = self.seats[worker].news.pop_front().unwrap();
        let new = NewSite { site, opened: Vec::new(), arrivals: Vec::new(), closed: Vec::new() };
        self.shared.mailboxes[worker].post(Mail::Site(Box::new(new)));
        note(Seen::ReloadTaken);
        self.shared.resume(&self.door.paused);
    }

    /// Like `server::reload`, when a name leads elsewhere.
    fn move_server(&mut self) {
        let numbers = numbers(&self.site.config);
        let number = numbers[self.dice.usize(0..numbers.len())];
        give_address(&mut self.names, number, self.weather.has_decoys, self.dice.u8(3..20));
        if let Some(site) = self.site.renew(self.seats.len(), &self.names, self.micros / 1000) {
            self.replace_site(Arc::new(site));
            note(Seen::AddressMoved);
        }
    }

    pub(super) fn arrive_admin(&mut self) {
        let id = self.wires.borrow_mut().open(0, None, None);
        self.live.push(id);
        self.seats[0].admin_backlog.push_back(id);
        self.admins.push(AdminClient::new(id, &mut self.dice));
    }

    /// As the helper thread of `server` does it.
    pub(super) fn render(&mut self) {
        let job = self.rendering.pop_front().unwrap();
        let page = Box::new(self.shared.admin.render(job.page, &job.site));
        let is_there = self.seats[0].core.talks.get(job.ticket.key).is_some_and(|talk| talk.exchange.is_serial(job.ticket.serial));
        note(if is_there { Seen::PageRendered } else { Seen::PageOfOneGone });
        self.shared.mailboxes[job.ticket.worker].post(Mail::Rendered { ticket: job.ticket, page });
    }

    pub(super) fn is_check(&self, id: Id) -> bool {
        matches!(self.wires.borrow().conns[id].source, Some(Source::Check(_)))
    }

    pub(super) fn meet_check(&mut self, id: Id) {
        let is_well = self.extras.are_origins_well || self.weather.is_calm || self.weather.is_mild || self.dice.u8(0..3) != 0;
        let status = if is_well { Some(200) } else { [None, Some(500), Some(404)][self.dice.usize(0..3)] };
        note(if is_well { Seen::CheckPassed } else { Seen::CheckFailed });
        self.checked.push(Checked::new(id, status));
    }
}
