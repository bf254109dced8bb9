//! What must hold whenever nothing happens until the next timer: no request waits for something that is available. If it does, it
//! was forgotten.

use super::seen::{Seen, note};
use super::world::World;
use std::sync::Arc;
use tidegate::guard::breaker::CircuitState;
use tidegate::upstream::pool::Pool;
use tidegate::upstream::server::Server;

impl World {
    pub fn check_rest(&self) {
        // A request without a descriptor, which is decided at random, tries again after a while.
        if self.weather.roads.starved > 0 {
            return;
        }
        let mut pools: Vec<&Arc<Pool>> = self.sites.iter().flat_map(|site| &site.pools).filter(|pool| !pool.queue.is_empty()).collect();
        pools.dedup_by(|a, b| Arc::ptr_eq(a, b));
        for pool in pools {
            note(Seen::InLineAtRest);
            (0..pool.servers.len()).for_each(|index| self.check_waiting(pool, index));
        }
    }

    fn check_waiting(&self, pool: &Pool, index: usize) {
        let server = &pool.servers[index];
        let most = server.most();
        // Only a limited number of requests may be trials.
        if server.circuit.state() != CircuitState::Closed || !pool.is_wanted(index) {
            return;
        }
        let idle = |server: &Server| server.cells.iter().map(|cell| cell.idle.value()).sum::<u64>();
        let name = &server.config.name;
        assert_eq!(idle(server), 0, "somebody waits for a place at {name}, and an idle connection has it");
        if self.shared.descriptors.has_free() {
            assert!(server.places.taken() >= most.connections, "somebody waits for a place at {name}, and one is free");
        } else if server.places.taken() < most.connections {
            note(Seen::StarvedAtRest);
            let idle: u64 = self.servers().iter().map(|(_, server)| idle(server)).sum();
            assert_eq!(idle, 0, "somebody waits for a descriptor, and an idle connection has it");
        }
    }
}
