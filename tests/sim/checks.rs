//! What must hold after every turn, and at the end.

use super::ledger::{Flaw, Framing, Route};
use super::seen::{Seen, note};
use super::world::World;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use tidegate::exchange::Exchange;
use tidegate::guard::breaker::CircuitState;
use tidegate::guard::places::Needs;
use tidegate::observe::reason::Reason;
use tidegate::session::Talk;

/// How many bytes an exchange may hold besides its two rings: one scratch buffer, and what heads and error pages take.
const MAX_BESIDE: usize = 256 * 1024 + 32 * 1024;
/// How many bytes that belong to no exchange may wait: as many as are the most with which a frame is read, and what that may add.
const MAX_CONTROL: usize = 4000 + 70_000;

impl World {
    pub fn check_turn(&mut self, worker: usize) {
        let core = &self.seats[worker].core;
        let limits = &self.site.config.limits;
        let largest = limits.buffer_size.max(limits.max_total_headers);
        let mut queued = 0;
        for (key, client) in &core.clients {
            let view = core.view(key);
            view.check();
            // A request that rejoins the queue after its deadline fails in the next millisecond.
            let mut of_client = core.talks.iter().filter(|(_, talk)| talk.client == key);
            let is_back = of_client.any(|(_, talk)| talk.exchange.is_queued());
            let is_timely = core.next_deadline(key).is_none_or(|due| due > core.turn.now.millis());
            // What ended may still be taking leave.
            let is_over = view.ending().is_some();
            assert!(is_timely || is_back || is_over, "a deadline has passed: {:?}", client.front);
            assert!(client.front.ring.capacity() <= largest, "a ring is too large");
            if view.exchange().is_none() {
                assert!(client.front.ring.capacity() == 0 || !client.front.ring.is_empty(), "an idle client holds a ring");
            }
            let of_many = client.front.many().map_or(0, |protocol| protocol.control().len());
            assert!(of_many <= MAX_CONTROL, "{of_many} bytes of no exchange wait");
        }
        for (_, Talk { exchange, .. }) in core.talks.iter() {
            exchange.check();
            assert!(exchange.up.ring.capacity().max(exchange.down.ring.capacity()) <= largest, "a ring is too large");
            queued += u64::from(exchange.is_queued());
            let due = exchange.next_deadline().unwrap_or(u64::MAX);
            // While content is missing, the deadline is that of the content.
            let is_partial = exchange.wish().is_some_and(|wish| wish.needs.is_partial);
            let most = if is_partial { u64::MAX - 1 } else { exchange.queue_due };
            assert!(!exchange.is_queued() || due <= most, "it is queued for ever");
            let beside = exchange.down.pending() + exchange.up.pending();
            assert!(beside <= 2 * largest + MAX_BESIDE, "{beside} bytes wait");
        }
        assert_eq!(core.stats.queued_requests.value(), queued, "the gauge of queued requests");
        if queued > 0 {
            note(Seen::InLine);
        }
        let clients = core.clients.iter().filter(|(_, client)| !client.is_reserved()).count();
        assert_eq!(core.stats.client_connections.value(), clients as u64, "the gauge of clients");
        let cells = self.servers().into_iter().map(|(_, server)| {
            let cell = &server.cells[worker];
            cell.active.value() + cell.idle.value() + cell.tunnels.value()
        });
        let in_use: u64 = cells.sum();
        let open = core.upstreams.iter().filter(|(_, upstream)| !upstream.is_leaving()).count();
        assert_eq!(in_use, open as u64, "the gauges of upstream connections");
        if self.sites.len() == 1 {
            self.check_halves();
        }
        if self.seats.len() == 1 {
            self.check_line();
        }
        if self.extras.per_client > 0 {
            self.check_clients();
        }
        if self.extras.are_origins_well {
            // Not even once: the last upstream of a pool stays usable, whatever it is blamed for.
            for (_, server) in self.servers() {
                let blamed = (server.failures_in_a_row(), server.circuit.state());
                assert_eq!(
                    blamed,
                    (0, CircuitState::Closed),
                    "{} is blamed for what clients did: {:?}",
                    server.config.name,
                    server.last_fault()
                );
            }
            let errors = core.stats.errors[Reason::RequestTimeout].value();
            (0..errors.min(1)).for_each(|_| note(Seen::HostileBesideWellOrigins));
        }
        for (_, server) in self.site.servers() {
            match server.circuit.state() {
                CircuitState::Open => note(Seen::CircuitOpen),
                CircuitState::HalfOpen => note(Seen::CircuitHalfOpen),
                CircuitState::Closed => {}
            }
        }
    }

    /// Who is slow with its content leaves half of the places to the others.
    fn check_halves(&self) {
        for (_, server) in self.site.servers() {
            let most = server.most();
            let (partial, tunnels) = (server.places.partial(), server.places.tunnels());
            assert!(partial <= most.half() && tunnels <= most.tunnels, "{partial} places without content, {tunnels} tunnels: {most:?}");
        }
    }

    /// Over all workers, no more connections of one client are served at once than allowed.
    fn check_clients(&self) {
        let mut served: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (core, (key, client)) in self.seats.iter().flat_map(|seat| seat.core.clients.iter().map(move |client| (&seat.core, client))) {
            let is_served = |talk: &Talk| talk.exchange.has_upstream() || talk.exchange.is_queued();
            if core.talks.iter().any(|(_, talk)| talk.client == key && is_served(talk)) {
                *served.entry(client.front.client().ip().expect("an address")).or_default() += 1;
            }
        }
        let most = self.extras.per_client;
        assert!(served.values().all(|&count| count <= most), "one client has more than {most} connections: {served:?}");
    }

    /// First come, first served: a request with an upstream came before all those that still wait for a place alone, or in the same
    /// turn.
    fn check_line(&self) {
        // Without a descriptor a request may go back to the end of the queue.
        if self.weather.descriptors < 1000 || self.weather.roads.starved > 0 {
            return;
        }
        let exchanges = || self.seats[0].core.talks.iter().map(|(_, talk)| (talk.client, &talk.exchange));
        // A request with incomplete content at first joined these later than it began.
        let joined = |x: &Exchange| (x.queue_due - u64::from(x.timeouts.queue_ms) + 1) * 1000;
        // A retried request joins again, at the end.
        let waiting: Vec<(usize, u64)> = exchanges()
            .filter(|(_, x)| x.wish().is_some_and(|wish| wish.needs == Needs::default()) && x.attempts == 0)
            .map(|(key, x)| (key, joined(x)))
            .collect();
        // Each pool has a queue of its own.
        let is_alone = self.site.pools.len() == 1 && self.sites.len() == 1;
        if let Some(first) = waiting.iter().map(|(_, joined)| *joined).min().filter(|_| is_alone) {
            let passed = exchanges().find(|(_, x)| x.has_upstream() && x.started > first);
            assert!(passed.is_none(), "client {:?} was served before one that came first: {waiting:?}", passed.map(|(key, _)| key));
        }
    }

    pub fn check_end(&mut self) {
        for seat in &self.seats {
            assert!(seat.backlog.is_empty(), "clients wait to be accepted, and nothing is due");
            assert!(seat.core.clients.is_empty(), "clients are left, and nothing is due");
            assert!(seat.core.upstreams.is_empty(), "upstream connections are left");
            assert!(seat.core.talks.is_empty(), "exchanges are left");
            assert_eq!(seat.core.next_wake(), None, "timers are left");
            assert!(!seat.core.is_behind());
            assert_eq!(seat.core.stats.client_connections.value(), 0);
            assert_eq!(seat.core.stats.resting_clients.value(), 0);
        }
        let mut pools: Vec<_> = self.sites.iter().flat_map(|site| &site.pools).collect();
        pools.dedup_by(|a, b| Arc::ptr_eq(a, b));
        assert!(pools.iter().all(|pool| pool.queue.is_empty()), "somebody is queued still");
        for (_, server) in self.servers() {
            let places = &server.places;
            assert_eq!((places.taken(), places.partial(), places.tunnels()), (0, 0, 0), "places of {}", server.config.name);
            assert_eq!(server.circuit.trials(), 0, "trials of {}", server.config.name);
            assert!(server.cells.iter().all(|cell| cell.active.value() + cell.idle.value() + cell.tunnels.value() == 0));
        }
        let descriptors = format!("{:?}", self.shared.descriptors);
        assert!(descriptors.contains("clients: 0, upstreams: 0"), "{descriptors}");
        assert_eq!(self.shared.starving.load(SeqCst), 0, "somebody is counted as waiting for a descriptor");
        assert!(self.shared.connections.is_empty(), "a client is counted that has gone");
        let doors = [&self.door, &self.admin_door].map(|door| format!("{door:?}"));
        assert!(doors.iter().all(|door| door.contains("places: Gate(0)")), "{doors:?}");
        self.check_books();
        self.check_delivered();
        self.check_counters();
    }

    fn check_books(&self) {
        let books = self.books.borrow();
        let due =
            self.clients.iter().flat_map(|client| client.nonces.iter().zip(0..client.due()).map(|(nonce, _)| (nonce, client.describe())));
        let of_manys = self.manys.iter().flat_map(|client| client.nonces.iter().map(|nonce| (nonce, client.describe())));
        for (nonce, client) in due.chain(of_manys) {
            let entry = &books.entries[nonce];
            if !entry.is_sure || self.wires.borrow().unsure.contains(nonce) {
                continue;
            }
            let answered = entry.answered.unwrap_or_else(|| panic!("{:?} was never answered: {client} {:?}", entry.spec, entry.plan));
            let expected = match entry.spec.route {
                Route::Proxy | Route::Other => (entry.plan.status, false, entry.plan.length(entry.spec.method)),
                Route::Nowhere => (404, true, answered.2),
                Route::Method if !matches!(entry.spec.method, "PUT" | "POST") => (404, true, answered.2),
                _ => (200, true, answered.2),
            };
            assert_eq!(answered, expected, "{:?} {:?}", entry.spec, entry.plan);
            if answered.0 == 101 {
                let sent = entry.spec.tunnel.as_ref().map(|content| content.len());
                assert_eq!(entry.tunnelled, sent, "through the tunnel: {:?} {:?} {client}", entry.spec, entry.plan);
                note(Seen::TunnelWhole);
            }
        }
        for (nonce, entry) in &books.entries {
            match (entry.spec.route, entry.answered) {
                (_, Some((101, ..))) => note(Seen::TunnelOpened),
                (_, Some((_, false, _))) if entry.spec.tunnel.is_some() => note(Seen::TunnelRefused),
                (Route::Host, Some((200, ..))) => note(Seen::AnsweredByHost),
                (Route::Method, Some((200, ..))) => note(Seen::AnsweredByMethod),
                (Route::Other, Some((_, false, _))) => note(Seen::SecondPool),
                _ => {}
            }
            let lines: Vec<_> = books.lines.iter().filter(|line| line.nonce == Some(*nonce)).collect();
            assert!(lines.len() <= 1, "{nonce} was logged {} times", lines.len());
            let most = 1 + books.max_retries;
            if lines.iter().any(|line| line.attempts > 1) {
                note(Seen::Retried);
            }
            assert!(lines.iter().all(|line| line.attempts <= most), "{nonce} was tried more than {most} times: {lines:?}");
            let Some((status, made_here, length)) = entry.answered else { continue };
            let is_unreadable = matches!(entry.spec.flaw, Some(Flaw::Head(_) | Flaw::Noise(_)));
            if is_unreadable {
                assert!(made_here && status >= 400, "a flawed request was answered {status}");
                continue;
            }
            // It was told not to send more, or given up before its head was complete: then only its first line identifies it.
            let Some(line) = lines.first() else {
                let is_cut = status == 503 && books.lines.iter().any(|line| line.nonce.is_none() && line.status == 503);
                assert!(made_here && (is_cut || matches!(status, 408 | 400 | 429)), "{nonce} was answered {status} and not logged");
                continue;
            };
            assert!(line.status == status, "{nonce}: answered {status}, logged {line:?}");
            assert_eq!(line.peer.ip(), Some([10, 9, 8, entry.spec.address].into()), "{nonce}: {line:?}");
            // A tunnel that was cut off; or the last frame of an answer, begun before its exchange failed, and finished after that.
            let is_late = self.is_of_many(*nonce) && (!made_here || status < 400);
            if line.error.is_some() && (status == 101 || is_late) {
                continue;
            }
            assert_eq!(line.error.is_some(), made_here && status >= 400, "{nonce}: {line:?}");
            let is_plain = made_here || entry.plan.frame != super::ledger::Frame::Chunked || entry.spec.minor == 0;
            if is_plain {
                assert_eq!(line.bytes_out, length as u64, "{nonce}: {line:?}");
            }
            assert!(
                entry.spec.flaw != Some(Flaw::Oversize) || !made_here || entry.plan.frame != super::ledger::Frame::Known || status >= 400
            );
            let may_be_early = entry.spec.framing == Framing::Chunked;
            assert!(entry.spec.flaw.is_none() || made_here || may_be_early, "a flawed request was served: {nonce} {:?}", entry.spec.flaw);
        }
        self.check_rate();
        let is_checked = self.site.config.pools[0].health_check.is_some();
        if self.weather.is_calm && self.extras.admins == 0 && !is_checked && self.weather.descriptors == 1000 && !self.weather.has_decoys {
            let ended = books.lines.len() as u64;
            assert!(ended > 0);
            let passed = self.busy_until.saturating_sub(5_000_000) / 1000;
            // A step takes microseconds, which add up to milliseconds.
            let slack = 10 + self.steps * 3 / 1000;
            assert!(passed <= books.stalled + slack, "it took {passed} ms, the actors stalled {} ms", books.stalled);
        }
    }

    fn is_of_many(&self, nonce: u64) -> bool {
        self.manys.iter().any(|client| client.nonces.contains(&nonce))
    }

    /// Over all workers, no more requests are let through than rate and burst allow.
    fn check_rate(&self) {
        let Some(rate) = self.extras.rate else { return };
        let books = self.books.borrow();
        let is_limited = |entry: &super::ledger::Entry| entry.spec.route == Route::Proxy;
        let of = |line: &&super::net::Line| line.nonce.and_then(|nonce| books.entries.get(&nonce)).is_some_and(is_limited);
        let (refused, let_through): (Vec<_>, Vec<_>) =
            books.lines.iter().filter(of).partition(|line| line.error.as_deref() == Some("rate_limited"));
        let seconds = (self.busy_until.saturating_sub(5_000_000)).div_ceil(1_000_000) + 1;
        let most = u64::from(rate.burst.max(rate.requests_per_second)) + seconds * u64::from(rate.requests_per_second);
        assert!(let_through.len() as u64 <= most, "{} were let through in {seconds} s, {rate:?}", let_through.len());
        refused.iter().for_each(|_| note(Seen::RateLimited));
    }

    fn check_counters(&self) {
        let books = self.books.borrow();
        let sum = |pick: &dyn Fn(&tidegate::observe::stats::WorkerStats) -> u64| {
            self.seats.iter().map(|seat| pick(&seat.core.stats)).sum::<u64>()
        };
        let count = |pick: &dyn Fn(&super::net::Line) -> bool| books.lines.iter().filter(|line| pick(line)).count() as u64;
        if self.records.names_peers && sum(&|s| s.errors[Reason::ClientConnectionLimit].value()) > 0 {
            note(Seen::PeerKnownLateOverItsLimit);
        }
        let (requests, refused) = (sum(&|s| s.requests.value()), sum(&|s| s.parse_errors.value()));
        assert_eq!(requests - refused, count(&|line| line.is_parsed), "requests counted, and logged");
        assert_eq!(
            refused,
            count(&|line| !line.is_parsed && !matches!(line.status, 408 | 429 | 499 | 503)),
            "refusals counted, and logged"
        );
        for class in 1..5 {
            let logged = count(&|line| usize::from(line.status / 100) == class + 1 && line.status != 499);
            let counted = sum(&|s| s.responses[class].value());
            assert!(logged <= counted, "{logged} lines of class {}, {counted} counted", class + 1);
        }
        let switched = count(&|line| line.status == 101);
        let finals: u64 = switched + (1..5).map(|class| sum(&|s| s.responses[class].value())).sum::<u64>();
        let lost = count(&|line| line.status == 499);
        assert!(
            finals <= books.lines.len() as u64 && finals + lost >= books.lines.len() as u64,
            "{finals} answers of {} lines",
            books.lines.len()
        );
        assert_eq!(sum(&|s| s.duration.buckets.iter().map(|b| b.value()).sum()), finals, "durations");
        for &reason in Reason::ALL {
            let logged = count(&|line| line.error.as_deref() == Some(reason.name()));
            let counted = sum(&|s| s.errors[reason].value());
            assert!(logged <= counted, "{}: {logged} logged, {counted} counted", reason.name());
        }
        let errors: u64 = Reason::ALL.iter().map(|&reason| sum(&|s| s.errors[reason].value())).sum();
        assert!(errors <= 2 * count(&|line| line.error.is_some()), "an exchange failed more than twice");
        let wires = self.wires.borrow();
        wires.conns.iter().filter(|conn| conn.has_announced).for_each(|_| note(Seen::Announced));
        let is_admin = |id| self.admins.iter().any(|admin| admin.id == id);
        (0..wires.early_strays.min(1)).for_each(|_| note(Seen::StrayBeforeRequest));
        let (read, written) = wires
            .conns
            .iter()
            .enumerate()
            .filter(|(id, conn)| conn.server.is_none() && !is_admin(*id))
            .fold((0, 0), |(r, w), (_, conn)| (r + conn.read, w + conn.written));
        assert_eq!(sum(&|s| s.bytes_received.value()), read, "bytes received");
        assert_eq!(sum(&|s| s.bytes_sent.value()), written, "bytes sent");
        let interims = sum(&|s| s.responses[0].value());
        let got: u64 = books.entries.values().map(|entry| u64::from(entry.interims_got)).sum();
        assert!(got <= interims + books.entries.len() as u64);
    }
}
