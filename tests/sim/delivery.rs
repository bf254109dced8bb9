//! Delivery: an answer that the proxy has taken from an origin to its last byte reaches a client that still reads, whatever that
//! client still sends, and whatever the origin does afterwards.

use super::ledger::{Books, Entry, Fault};
use super::seen::{Seen, note};
use super::weather::AMPLE_DOORS;
use super::world::World;

impl World {
    pub fn check_delivered(&self) {
        // Where time jumps, an answer may come too late; near the limit of connections, lingering ones are closed.
        if self.weather.jumps || self.weather.drain_at.is_some() || self.weather.doors < AMPLE_DOORS {
            return;
        }
        let books = self.books.borrow();
        for client in self.clients.iter().filter(|client| client.reads_on()) {
            for nonce in &client.nonces {
                let entry = &books.entries[nonce];
                if self.is_taken(entry) && !self.is_excused(entry, &books) {
                    check_delivery(entry, &client.describe(), &books);
                }
            }
        }
        for client in self.manys.iter().filter(|client| client.reads_on()) {
            for nonce in client.nonces.iter().filter(|nonce| !client.given_up.contains(nonce)) {
                let entry = &books.entries[nonce];
                if self.is_taken(entry) && !self.is_excused(entry, &books) {
                    check_delivery(entry, &client.describe(), &books);
                }
            }
        }
    }

    /// Whether the proxy has read the whole answer of one attempt.
    fn is_taken(&self, entry: &Entry) -> bool {
        let wires = self.wires.borrow();
        entry.whole.iter().any(|&(id, end)| wires.conns[id].read + u64::from(wires.conns[id].has_read_fin) >= end)
    }

    /// Whether the answer may be dropped nevertheless: for another attempt, as the answer to another request, or because the request
    /// turned out to be malformed, or both took too long together.
    fn is_excused(&self, entry: &Entry, books: &Books) -> bool {
        let Entry { spec, plan, said, .. } = entry;
        let is_another = plan.fault == Fault::Busy || said.contains(&503) || self.wires.borrow().unsure.contains(&spec.nonce);
        let error = books.lines.iter().find(|line| line.nonce == Some(spec.nonce)).and_then(|line| line.error.as_deref());
        let is_late = error == Some("http_response_timeout") && self.site.config.timeouts.total_ms > 0;
        is_another || is_late || spec.tunnel.is_some() || spec.flaw.is_some()
    }
}

fn check_delivery(entry: &Entry, client: &str, books: &Books) {
    let Entry { spec, plan, .. } = entry;
    let line = books.lines.iter().find(|line| line.nonce == Some(spec.nonce));
    let is_there = entry.answered.is_some_and(|(_, made_here, _)| !made_here);
    assert!(is_there, "the answer to {} was taken, and did not arrive: {line:?} {spec:?} {plan:?} {client}", spec.nonce);
    note(if entry.was_sent { Seen::Delivered } else { Seen::DeliveredToOneThatSends });
}
