//! A connection that is being made: who waits for it, and for how long.

use super::carried::Carried;
use crate::base::address::Address;

/// A connect to the address of a server.
#[derive(Debug)]
pub struct Dial {
    /// The exchanges that wait for the connection.
    exchanges: Carried,
    /// Where it goes.
    pub address: Address,
    /// When it has failed, because another address is to be tried (milliseconds); `None` if it may take as long as the exchanges wait.
    pub until: Option<u64>,
    /// When the exchanges stop waiting (milliseconds); 0 = never.
    deadline: u64,
}

impl Dial {
    /// A connect for an exchange.
    pub fn new(exchange: usize, address: Address, until: Option<u64>, deadline: u64) -> Self {
        Self { exchanges: Carried::one(exchange), address, until, deadline }
    }

    /// The exchanges that wait for the connection.
    pub fn exchanges(&self) -> &Carried {
        &self.exchanges
    }

    /// An exchange waits no longer. Returns whether another one does.
    pub fn go_without(&mut self, exchange: usize) -> bool {
        let others = self.exchanges.without(exchange);
        others.map(|others| self.exchanges = others).is_some()
    }

    /// Whether the exchanges have waited for as long as they wait.
    pub fn is_over(&self, now: u64) -> bool {
        self.deadline > 0 && self.deadline <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_nobody_waits_any_more() {
        let dial = |deadline| Dial::new(1, Address::Ip(([127, 0, 0, 1], 1).into()), None, deadline);
        assert_eq!([999, 1000].map(|now| dial(1000).is_over(now)), [false, true]);
        assert!(!dial(0).is_over(u64::MAX));
    }
}
