//! Keys of connections and exchanges are used again, so nothing may be kept for a key that nobody has: who gets it next would meet
//! what was meant for another.

use super::core::{Core, Net};
use super::timers::TimerKey;

impl<N: Net> Core<N> {
    /// Panics if something is kept for a key that nobody has, but for hints (`base::slots`): for the simulation, between two turns.
    pub fn check_keys(&self) {
        for key in self.clients.vacant() {
            assert_eq!(self.timers.deadline(TimerKey::Client(key)), None, "a timer of a client that is gone");
            assert_eq!(self.ranks.since(key), None, "a client that is gone rests");
            assert!(!self.closing_clients.contains(&key), "a client that is gone is to be closed");
            assert!(self.talks.iter().all(|(_, talk)| talk.client != key), "an exchange of a client that is gone");
        }
        for key in self.upstreams.vacant() {
            assert_eq!(self.upstream_wheel.deadline(key as u32), None, "a timer of an upstream connection that is gone");
            assert!(!self.idle.contains(key), "an upstream connection that is gone is idle");
            assert!(!self.closing_upstreams.contains(&key), "an upstream connection that is gone is to be closed");
            assert!(self.talks.iter().all(|(_, talk)| talk.upstream != Some(key)), "an exchange has an upstream connection that is gone");
        }
        for key in self.talks.vacant() {
            let is_carried = self.upstreams.iter().any(|(_, upstream)| upstream.exchanges().any(|exchange| exchange == key));
            assert!(!is_carried, "an upstream connection carries an exchange that is gone");
            assert!(self.clients.iter().all(|(_, client)| client.front.exchange() != Some(key)), "a client has an exchange that is gone");
        }
        assert!(self.admitted.is_empty(), "somebody has not been told that its turn has come");
    }
}
