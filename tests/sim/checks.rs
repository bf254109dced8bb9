//! What must hold: after every turn, and when everything is over.

use super::ledger::{Flaw, Framing, Route};
use super::world::World;
use tidegate::guard::places::Needs;
use tidegate::observe::reason::Reason;
use tidegate::session::Exchange;

/// Bytes that a session may hold beyond its two rings: one scratch, and what heads and error pages take.
const MAX_BESIDE: usize = 256 * 1024 + 32 * 1024;

impl World {
    pub fn check_turn(&mut self, worker: usize) {
        let core = &self.seats[worker].core;
        let limits = &self.site.config.limits;
        let mut queued = 0;
        for (_, client) in &core.clients {
            let session = &client.session;
            session.check();
            // Who comes back to the line after its time there is over is told so in the next millisecond.
            let is_back = session.exchange().is_some_and(|x| x.is_queued);
            let is_timely = session.next_deadline().is_none_or(|due| due > self.micros / 1000);
            assert!(is_timely || is_back, "a deadline has passed: {session:?}");
            let largest = limits.buffer_size.max(limits.max_total_headers);
            assert!(session.up.capacity() <= largest && session.down.capacity() <= largest, "a ring is too large");
            if let Some(exchange) = session.exchange() {
                queued += u64::from(exchange.is_queued);
                let due = session.next_deadline().unwrap_or(u64::MAX);
                // Who owes content has the wait for that.
                let most = if exchange.queued_for.is_partial { u64::MAX - 1 } else { exchange.queue_due };
                assert!(!exchange.is_queued || due <= most, "it stands in line for ever");
                let beside = exchange.down.pending(&session.down) + exchange.up.pending(&session.up);
                assert!(beside <= 2 * largest + MAX_BESIDE, "{beside} bytes wait");
            } else {
                assert!(session.up.capacity() == 0 || !session.up.is_empty(), "an idle session holds a ring");
            }
        }
        assert_eq!(core.turn.stats.queued_requests.value(), queued, "the gauge of queued requests");
        assert_eq!(core.turn.stats.client_connections.value(), core.clients.len() as u64, "the gauge of clients");
        let in_use: u64 = self
            .site
            .servers()
            .map(|(_, server)| &server.cells[worker])
            .map(|cell| cell.active.value() + cell.idle.value() + cell.tunnels.value())
            .sum();
        assert_eq!(in_use, core.upstreams.len() as u64, "the gauges of upstream connections");
        if self.seats.len() == 1 {
            self.check_line();
        }
    }

    /// First come, first served: who has an upstream came before all that still stand in line for a place alone, or in the same
    /// turn.
    fn check_line(&mut self) {
        // For want of a descriptor one may go back to the end of the line.
        if self.weather.descriptors < 1000 || self.weather.roads.starved > 0 {
            return;
        }
        let clients = &self.seats[0].core.clients;
        let exchanges = || clients.iter().filter_map(|(key, client)| Some((key, client.session.exchange()?)));
        // Whose content was not there at first joined these later than it began.
        let joined = |x: &Exchange| (x.queue_due - u64::from(x.timeouts.queue_ms) + 1) * 1000;
        // Who is tried again joins anew, at the end.
        let waiting: Vec<(usize, u64)> = exchanges()
            .filter(|(_, x)| x.is_queued && x.queued_for == Needs::default() && x.attempts == 0)
            .map(|(key, x)| (key, joined(x)))
            .collect();
        if let Some(first) = waiting.iter().map(|(_, joined)| *joined).min() {
            let passed = exchanges().find(|(_, x)| x.attempt.has_upstream && x.started > first);
            assert!(passed.is_none(), "client {:?} was served before one that came first: {waiting:?}", passed.map(|(key, _)| key));
        }
    }

    pub fn check_end(&mut self) {
        for seat in &self.seats {
            assert!(seat.backlog.is_empty(), "clients wait to be accepted, and nothing is due");
            assert!(seat.core.clients.is_empty(), "sessions are left, and nothing is due");
            assert!(seat.core.upstreams.is_empty(), "upstream connections are left");
            assert_eq!(seat.core.next_wake(), None, "timers are left");
            assert!(!seat.core.is_behind());
            assert_eq!(seat.core.turn.stats.client_connections.value(), 0);
            assert_eq!(seat.core.turn.stats.resting_clients.value(), 0);
        }
        for (pool, server) in self.site.servers() {
            let places = &server.places;
            assert_eq!((places.taken(), places.partial(), places.tunnels()), (0, 0, 0), "places of {}", server.config.name);
            assert_eq!(server.circuit.trials(), 0, "trials of {}", server.config.name);
            assert!(pool.line.is_empty(), "somebody stands in line");
            assert!(server.cells.iter().all(|cell| cell.active.value() + cell.idle.value() + cell.tunnels.value() == 0));
        }
        let descriptors = format!("{:?}", self.shared.descriptors);
        assert!(descriptors.contains("clients: 0, upstreams: 0"), "{descriptors}");
        assert!(self.shared.connections.is_empty(), "a client is counted that has gone");
        let door = format!("{:?}", self.door);
        assert!(door.contains("places: Gate(0)"), "{door}");
        self.check_books();
        self.check_counters();
    }

    fn check_books(&self) {
        let books = self.books.borrow();
        for client in &self.clients {
            for (nonce, _) in client.nonces.iter().zip(0..client.due()) {
                let entry = &books.entries[nonce];
                if !entry.is_sure {
                    continue;
                }
                let answered =
                    entry.answered.unwrap_or_else(|| panic!("{:?} was never answered: {} {:?}", entry.spec, client.describe(), entry.plan));
                let expected = match entry.spec.route {
                    Route::Proxy => (entry.plan.status, false, entry.plan.length(entry.spec.method)),
                    Route::Nowhere => (404, true, answered.2),
                    _ => (200, true, answered.2),
                };
                assert_eq!(answered, expected, "{:?} {:?}", entry.spec, entry.plan);
            }
        }
        for (nonce, entry) in &books.entries {
            let lines: Vec<_> = books.lines.iter().filter(|line| line.nonce == Some(*nonce)).collect();
            assert!(lines.len() <= 1, "{nonce} was logged {} times", lines.len());
            let most = 1 + books.max_retries;
            assert!(lines.iter().all(|line| line.attempts <= most), "{nonce} was tried more than {most} times: {lines:?}");
            let Some((status, made_here, length)) = entry.answered else { continue };
            let is_unreadable = matches!(entry.spec.flaw, Some(Flaw::Head(_) | Flaw::Noise(_)));
            if is_unreadable {
                assert!(made_here && status >= 400, "a flawed request was answered {status}");
                continue;
            }
            // Told to come no more, or given up before its head was whole: known by its first line alone.
            let Some(line) = lines.first() else {
                assert!(made_here && matches!(status, 408 | 400), "{nonce} was answered {status} and not logged");
                continue;
            };
            assert!(line.status == status, "{nonce}: answered {status}, logged {line:?}");
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
        if self.weather.is_calm && self.weather.descriptors == 1000 && !self.weather.has_decoys {
            let ended = books.lines.len() as u64;
            assert!(ended > 0);
            let passed = self.busy_until.saturating_sub(5_000_000) / 1000;
            // A step costs microseconds, which make a millisecond in the end.
            let slack = 10 + self.steps * 3 / 1000;
            assert!(passed <= books.stalled + slack, "it took {passed} ms, the actors stalled {} ms", books.stalled);
        }
    }

    fn check_counters(&self) {
        let books = self.books.borrow();
        let sum = |pick: &dyn Fn(&tidegate::observe::stats::WorkerStats) -> u64| {
            self.seats.iter().map(|seat| pick(&seat.core.turn.stats)).sum::<u64>()
        };
        let count = |pick: &dyn Fn(&super::net::Line) -> bool| books.lines.iter().filter(|line| pick(line)).count() as u64;
        let (requests, refused) = (sum(&|s| s.requests.value()), sum(&|s| s.parse_errors.value()));
        assert_eq!(requests - refused, count(&|line| line.is_parsed), "requests counted, and logged");
        assert_eq!(refused, count(&|line| !line.is_parsed && !matches!(line.status, 408 | 499)), "refusals counted, and logged");
        for class in 1..5 {
            let logged = count(&|line| usize::from(line.status / 100) == class + 1 && line.status != 499);
            let counted = sum(&|s| s.responses[class].value());
            assert!(logged <= counted, "{logged} lines of class {}, {counted} counted", class + 1);
        }
        let finals: u64 = (1..5).map(|class| sum(&|s| s.responses[class].value())).sum();
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
        let (read, written) =
            wires.conns.iter().filter(|conn| conn.server.is_none()).fold((0, 0), |(r, w), conn| (r + conn.read, w + conn.written));
        assert_eq!(sum(&|s| s.bytes_received.value()), read, "bytes received");
        assert_eq!(sum(&|s| s.bytes_sent.value()), written, "bytes sent");
        let interims = sum(&|s| s.responses[0].value());
        let got: u64 = books.entries.values().map(|entry| u64::from(entry.interims_got)).sum();
        assert!(got <= interims + books.entries.len() as u64);
    }
}
