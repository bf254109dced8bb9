//! A name leads elsewhere: what becomes of the connections to where it led.

use super::core::{Core, Net};
use crate::upstream::server::Server;
use std::sync::Arc;

impl<N: Net> Core<N> {
    /// A connection to an address that is gone is closed, if it is idle, or else has its last exchange.
    pub(super) fn on_addresses(&mut self, server: &Arc<Server>) {
        let addresses = server.addresses();
        for (_, upstream) in &mut self.upstreams {
            let is_its = Arc::ptr_eq(&upstream.server, server);
            let is_there = match &upstream.dialing {
                // It may yet go on to an address that is gone.
                Some(dialing) => dialing.is_to(&addresses),
                None => upstream.address.is_some_and(|address| addresses.contains(&address)),
            };
            if is_its && !is_there {
                upstream.keepalive_ms = 0;
            }
        }
        self.close_idle(|upstream| upstream.keepalive_ms == 0);
        // Those who wait in line may go there, if it is the first time that it leads anywhere.
        self.hand_on_all();
    }
}
