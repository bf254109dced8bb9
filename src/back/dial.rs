//! A connection that is being made: the addresses that are left, how long each of them may take, and which failure is told.

use super::carried::Carried;
use crate::base::address::Address;
use crate::observe::reason::{Blame, Reason};
use std::sync::Arc;

/// What is left to try of the addresses of a server.
#[derive(Debug)]
pub struct Dial {
    /// The exchanges that wait for the connection.
    exchanges: Carried,
    addresses: Arc<[Address]>,
    next: usize,
    left: usize,
    /// When it ends (milliseconds); 0 = never.
    deadline: u64,
    /// Why the earlier addresses failed.
    failed: Option<Reason>,
}

impl Dial {
    /// All addresses, beginning with the one at the index `first`.
    pub fn new(exchange: usize, addresses: Arc<[Address]>, first: usize, deadline: u64) -> Self {
        Self { exchanges: Carried::one(exchange), next: first, left: addresses.len(), addresses, deadline, failed: None }
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

    /// Whether these are the addresses that it goes through.
    pub fn is_to(&self, addresses: &Arc<[Address]>) -> bool {
        Arc::ptr_eq(&self.addresses, addresses)
    }

    /// Whether its time is over, and every address was tried.
    pub fn is_over(&self, now: u64) -> bool {
        self.left == 0 && self.deadline > 0 && self.deadline <= now
    }

    /// Takes the next address. If none is left, says why there is no connection.
    pub fn take_next(&mut self) -> Result<Address, Reason> {
        if self.left == 0 {
            return Err(self.failed.unwrap_or(Reason::DnsError));
        }
        let address = self.addresses[self.next].clone();
        self.next = (self.next + 1) % self.addresses.len();
        self.left -= 1;
        Ok(address)
    }

    /// Until when the address that was taken last may be tried: it gets the time left divided by the addresses left. `None` for the
    /// last, which may take as long as the exchanges wait.
    pub fn until(&self, now: u64) -> Option<u64> {
        let shares = self.left as u64 + 1;
        (shares > 1 && self.deadline > 0).then(|| now + self.deadline.saturating_sub(now) / shares)
    }

    /// Puts back the address that was taken last.
    pub fn step_back(&mut self) {
        self.next = (self.next + self.addresses.len() - 1) % self.addresses.len();
        self.left += 1;
    }

    /// An address did not take the connection. What that says of the upstream outlasts what it says of this machine: a name may
    /// have an address of a family that is not spoken here.
    pub fn note(&mut self, reason: Reason) {
        if self.failed.is_none() || reason.blame() == Blame::Upstream {
            self.failed = Some(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(count: u16, first: usize, deadline: u64) -> Dial {
        Dial::new(0, (1..=count).map(|port| Address::Ip(([127, 0, 0, 1], port).into())).collect(), first, deadline)
    }

    fn next(dial: &mut Dial) -> Result<u16, Reason> {
        dial.take_next().map(|address| address.port().unwrap_or(0))
    }

    #[test]
    fn every_address_is_tried_once_from_the_first_on() {
        let mut dial = dial(3, 1, 0);
        assert_eq!([next(&mut dial), next(&mut dial)], [Ok(2), Ok(3)]);
        dial.step_back();
        assert_eq!([next(&mut dial), next(&mut dial)], [Ok(3), Ok(1)]);
        assert_eq!(next(&mut dial), Err(Reason::DnsError), "nothing was told of them");
    }

    #[test]
    fn each_address_has_its_share_of_the_time_and_the_last_what_is_left() {
        let mut dial = dial(3, 0, 1000);
        let shares = [(100, Some(400)), (400, Some(700)), (700, None)];
        assert_eq!(shares.map(|(now, _)| next(&mut dial).ok().and_then(|_| dial.until(now))), shares.map(|(_, until)| until));
        assert!(!dial.is_over(999) && dial.is_over(1000));
        let mut endless = self::dial(2, 0, 0);
        assert_eq!((next(&mut endless), endless.until(5)), (Ok(1), None));
        let mut late = self::dial(2, 0, 1000);
        assert_eq!((next(&mut late), late.until(2000), late.is_over(2000)), (Ok(1), Some(2000), false));
    }

    #[test]
    fn what_is_said_of_an_upstream_outlasts_what_is_said_of_this_machine() {
        use Reason::{ConnectionRefused, ConnectionTimeout, InternalError};
        let told = |reasons: &[Reason]| {
            let mut dial = dial(0, 0, 0);
            reasons.iter().for_each(|reason| dial.note(*reason));
            dial.take_next().err()
        };
        assert_eq!(told(&[ConnectionRefused, InternalError]), Some(ConnectionRefused));
        assert_eq!(told(&[InternalError, ConnectionRefused]), Some(ConnectionRefused));
        assert_eq!(told(&[ConnectionRefused, ConnectionTimeout]), Some(ConnectionTimeout));
        assert_eq!(told(&[InternalError, InternalError]), Some(InternalError));
    }
}
