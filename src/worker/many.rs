//! Sends to a client whose connection carries several exchanges: one exchange's frames after another's.

use super::client::Client;
use super::core::{Core, Net};
use crate::front::many::Multiplexed;
use crate::net::transport::{Transfer, Transport};
use crate::session::{Event, Talks};
use std::io::IoSlice;

/// What is sent next.
enum NextFrame {
    Control,
    Exchange(usize),
}

/// Frames of no exchange come first, unless a frame of one is cut.
fn next(protocol: &dyn Multiplexed, talks: &Talks) -> Option<NextFrame> {
    let owes = |exchange: usize| talks[exchange].exchange.down.pending() > 0;
    let sender = protocol.next_sender(&owes);
    let is_cut = sender.is_some_and(|exchange| protocol.is_within_frame(exchange));
    if !protocol.control().is_empty() && !is_cut { Some(NextFrame::Control) } else { sender.map(NextFrame::Exchange) }
}

impl<N: Net> Core<N> {
    /// A connection that was just accepted speaks a protocol with several exchanges.
    pub fn carry_many(&mut self, key: usize, protocol: Box<dyn Multiplexed>) {
        self.clients[key].front.carry_many(protocol, &self.turn);
        self.arm(key);
    }

    /// One round for a client with many exchanges.
    pub(super) fn move_many(&mut self, key: usize) -> usize {
        if self.clients[key].front.many().is_some_and(|protocol| protocol.is_broken()) {
            self.deliver(key, Event::ClientGone);
            return 0;
        }
        let (mut moved, mut number) = (self.read_client(key), 0);
        while let Some(exchange) = self.clients[key].front.exchange_at(number) {
            moved += self.read_upstream(key, exchange) + self.write_upstream(key, exchange);
            number += 1;
        }
        moved += self.write_many(key);
        if self.clients[key].front.is_spent() {
            self.deliver(key, Event::Delivered);
        }
        moved
    }

    fn write_many(&mut self, key: usize) -> usize {
        let Self { clients, talks, turn, .. } = self;
        let Client { link, front, .. } = &mut clients[key];
        let Some((protocol, _)) = front.many_mut().filter(|_| link.may_write()) else { return 0 };
        let Some(next) = next(protocol, talks) else { return 0 };
        let transfer = match next {
            NextFrame::Control => link.send(&[IoSlice::new(protocol.control())]),
            NextFrame::Exchange(exchange) => link.send(&talks[exchange].exchange.down.output()),
        };
        let n = match transfer {
            Transfer::Bytes(n) => n,
            Transfer::Blocked => return 0,
            Transfer::Beside(n) => return n,
            Transfer::Fin | Transfer::Failed => {
                self.deliver(key, Event::ClientGone);
                return 1;
            }
        };
        turn.stats.bytes_sent.add(n as u64);
        match next {
            NextFrame::Control => protocol.took_control(n),
            NextFrame::Exchange(exchange) => {
                protocol.on_sent(exchange, n == talks[exchange].exchange.down.pending());
                self.deliver_here(key, Some(exchange), Event::ClientTook(n));
            }
        }
        n
    }
}
