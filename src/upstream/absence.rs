//! Why no server of a pool takes requests, in words: `2 circuits open, 1 check failing`.

use super::pool::Pool;
use super::server::Server;
use crate::guard::breaker::CircuitState;
use std::fmt;

/// How many servers are out of use, by reason; each counts once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UnusableServers {
    circuits: usize,
    checks: usize,
    names: usize,
    weights: usize,
    present: usize,
}

impl Pool {
    /// Why its servers take no requests.
    pub fn absence(&self) -> UnusableServers {
        let mut absence = UnusableServers::default();
        self.servers.iter().for_each(|server| *absence.place(server) += 1);
        absence
    }
}

impl UnusableServers {
    fn place(&mut self, server: &Server) -> &mut usize {
        match server {
            _ if !server.has_weight() => &mut self.weights,
            _ if !server.is_resolved() => &mut self.names,
            _ if server.health.is_failing() => &mut self.checks,
            _ if server.circuit.state() == CircuitState::Open => &mut self.circuits,
            _ => &mut self.present,
        }
    }
}

impl fmt::Display for UnusableServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.circuits, "circuit open", "circuits open"),
            (self.checks, "check failing", "checks failing"),
            (self.names, "name unresolved", "names unresolved"),
            (self.weights, "weight 0", "weights 0"),
            (self.present, "failed this request before", "failed this request before"),
        ];
        let mut some = parts.into_iter().filter(|(count, ..)| *count > 0).peekable();
        if some.peek().is_none() {
            return f.write_str("the pool has no upstreams");
        }
        let mut between = "";
        some.try_for_each(|(count, one, many)| {
            write!(f, "{between}{count} {}", if count == 1 { one } else { many })?;
            between = ", ";
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_with_its_number() {
        let some = UnusableServers { circuits: 2, checks: 1, ..UnusableServers::default() };
        assert_eq!(some.to_string(), "2 circuits open, 1 check failing");
        let others = UnusableServers { circuits: 1, names: 2, weights: 3, present: 1, checks: 0 };
        assert_eq!(others.to_string(), "1 circuit open, 2 names unresolved, 3 weights 0, 1 failed this request before");
        assert_eq!(UnusableServers::default().to_string(), "the pool has no upstreams");
    }
}
