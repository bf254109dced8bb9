//! Fairness within a worker: a connection that has something to move moves it in the next turn, whatever the others do, and none moves
//! more in one turn than its share. So a polite client beside hostile ones waits for as many turns as its own exchange has moves, and
//! each turn lasts at most as long as the shares of all connections.

use super::wire::{Conn, Id, Wires};
use std::collections::BTreeMap;
use tidegate::net::token::Source;
use tidegate::session::{Direction, SessionView};
use tidegate::worker::core::{Core, Net};

/// How many bytes one pump of a connection may move before the round that ends it: two reads and two writes.
const BUDGET: u64 = 256 * 1024;
const ROUND: u64 = 4 * 256 * 1024;
/// How many requests one pump may begin.
const REQUESTS: u64 = 17;
/// A connection is pumped for an event of the poll, and for a timer or because its turn in a queue has come.
const PUMPS: u64 = 2;

/// The progress of a client's exchange: it has moved if this has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    client: Id,
    upstream: Option<Id>,
    bytes: u64,
    started: Option<u64>,
    is_behind: bool,
}

/// What is observed of one worker.
#[derive(Default)]
pub struct Fair {
    /// Clients that had something to move when the last turn ended.
    owing: BTreeMap<usize, Mark>,
    /// The bytes of every connection when this turn began.
    before: Vec<u64>,
    requests: u64,
}

impl Fair {
    pub fn begin<N: Net>(&mut self, core: &Core<N>, wires: &Wires) {
        self.before.clear();
        self.before.extend(wires.conns.iter().map(bytes));
        self.requests = core.turn.requests_begun;
    }

    /// The worker's turn is over. Returns whether a connection had its full share of requests in it, beside others.
    pub fn end<N: Net>(&mut self, core: &Core<N>, wires: &Wires) -> bool {
        let mut active = 0;
        for (client, mark, owes) in look(core, wires) {
            let before = self.owing.remove(&client);
            assert!(before != Some(mark), "client {client} had something to move, and did not in a whole turn: {owes:?} {mark:?}");
            if owes.is_some() {
                self.owing.insert(client, mark);
            }
            let since = |id: Id| bytes(&wires.conns[id]) - self.before.get(id).copied().unwrap_or(0);
            let moved = since(mark.client) + mark.upstream.map_or(0, since);
            assert!(moved <= PUMPS * (BUDGET + ROUND), "client {client} moved {moved} bytes in one turn");
            active += u64::from(moved > 0);
        }
        // A slot may have been reused.
        self.owing.retain(|&client, _| core.clients.contains(client));
        // Connections that ended in this turn may have had requests.
        let gone = wires.conns.iter().enumerate().filter(|(id, conn)| {
            let is_ours = conn.is_dropped && conn.server.is_none() && conn.worker == core.turn.worker;
            is_ours && bytes(conn) > self.before.get(*id).copied().unwrap_or(0)
        });
        active += gone.count() as u64;
        let requests = core.turn.requests_begun - self.requests;
        assert!(requests <= PUMPS * REQUESTS * active, "{requests} requests began in one turn, of {active} clients");
        active > 1 && requests >= REQUESTS - 1
    }
}

/// Nothing happens until a timer is due, so no connection may have anything to move.
pub fn check_rest<N: Net>(core: &Core<N>, wires: &Wires) {
    for (client, mark, owes) in look(core, wires) {
        assert!(owes.is_none(), "client {client} has something to move, and nothing moves it: {owes:?} {mark:?}");
    }
}

fn bytes(conn: &Conn) -> u64 {
    conn.read + conn.written
}

/// Every client of a worker, and what it has to move as far as the worker knows.
fn look<N: Net>(core: &Core<N>, wires: &Wires) -> Vec<(usize, Mark, Option<&'static str>)> {
    let (mut clients, mut upstreams) = (BTreeMap::new(), BTreeMap::new());
    for (id, conn) in wires.conns.iter().enumerate().filter(|(_, conn)| conn.worker == core.turn.worker && !conn.is_dropped) {
        match conn.source {
            Some(Source::Client(key)) => {
                clients.insert(key, id);
            }
            Some(Source::Upstream(key)) => {
                let client =
                    core.upstreams.get(key).and_then(|upstream| upstream.exchanges().next()).map(|exchange| core.talks[exchange].client);
                upstreams.extend(client.map(|client| (client, id)));
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    for (key, _) in &core.clients {
        let view = core.view(key);
        let Some(&id) = clients.get(&key) else { continue };
        let upstream = upstreams.get(&key).copied();
        let (conn, other) = (&wires.conns[id], upstream.map(|id| &wires.conns[id]));
        let mark = Mark {
            client: id,
            upstream,
            // What the kernel refused was tried.
            bytes: bytes(conn) + conn.beside() + other.map_or(0, |other| bytes(other) + other.beside() + other.refusals),
            started: view.exchange().map(|exchange| exchange.started),
            // The bytes that are there may have been looked at, and be an incomplete head.
            is_behind: view.is_behind(),
        };
        all.push((key, mark, owed(view, conn, other)));
    }
    all
}

fn owed(view: SessionView, client: &Conn, upstream: Option<&Conn>) -> Option<&'static str> {
    if view.ending().is_some() {
        return None;
    }
    let sends = |direction| view.output(direction).is_some() || view.past(direction) > 0;
    if view.is_behind() {
        return Some("the next request is here");
    }
    if view.wants_client() && client.is_waiting() {
        return Some("the client's bytes");
    }
    if sends(Direction::Down) && client.is_open() {
        return Some("bytes for the client");
    }
    let upstream = upstream?;
    if view.wants_upstream() && upstream.is_waiting() {
        return Some("the upstream's bytes");
    }
    (sends(Direction::Up) && upstream.is_open()).then_some("bytes for the upstream")
}
