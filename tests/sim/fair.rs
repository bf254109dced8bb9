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

/// The progress of a client's exchanges: they have moved if this has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    client: Id,
    upstreams: Vec<Id>,
    bytes: u64,
    started: Vec<u64>,
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
            assert!(
                before.as_ref() != Some(&mark),
                "client {client} had something to move, and did not in a whole turn: {owes:?} {mark:?}"
            );
            let since = |id: Id| bytes(&wires.conns[id]) - self.before.get(id).copied().unwrap_or(0);
            let moved = since(mark.client) + mark.upstreams.iter().map(|&id| since(id)).sum::<u64>();
            let rounds = mark.upstreams.len().max(1) as u64;
            assert!(moved <= PUMPS * (BUDGET + rounds * ROUND), "client {client} moved {moved} bytes in one turn");
            active += u64::from(moved > 0);
            if owes.is_some() {
                self.owing.insert(client, mark);
            }
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
    let (mut clients, mut of_exchange) = (BTreeMap::new(), BTreeMap::new());
    for (id, conn) in wires.conns.iter().enumerate().filter(|(_, conn)| conn.worker == core.turn.worker && !conn.is_dropped) {
        match conn.source {
            Some(Source::Client(key)) => {
                clients.insert(key, id);
            }
            Some(Source::Upstream(key)) => {
                let exchanges = core.upstreams.get(key).into_iter().flat_map(|upstream| upstream.exchanges());
                of_exchange.extend(exchanges.map(|exchange| (exchange, id)));
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    for (key, client) in &core.clients {
        let Some(&id) = clients.get(&key) else { continue };
        let front = &client.front;
        let exchanges: Vec<usize> = (0..).map_while(|number| front.exchange_at(number)).collect();
        let upstreams: Vec<Id> = exchanges.iter().filter_map(|exchange| of_exchange.get(exchange).copied()).collect();
        let conn = &wires.conns[id];
        // What the kernel refused was tried.
        let of_upstreams = upstreams.iter().map(|&id| &wires.conns[id]).map(|other| bytes(other) + other.beside() + other.refusals);
        let mark = Mark {
            client: id,
            bytes: bytes(conn) + conn.beside() + of_upstreams.sum::<u64>(),
            started: exchanges.iter().map(|&exchange| core.talks[exchange].exchange.started).collect(),
            // The bytes that are there may have been looked at, and be an incomplete head.
            is_behind: front.is_behind(),
            upstreams: upstreams.clone(),
        };
        let mut owes = owed_by_client(core.view(key), conn);
        for &exchange in &exchanges {
            let talk = &core.talks[exchange];
            let upstream = of_exchange.get(&exchange).map(|&id| &wires.conns[id]);
            owes = owes.or_else(|| owed(SessionView::of(front, talk), conn, upstream));
        }
        all.push((key, mark, owes));
    }
    all
}

fn owed_by_client(view: SessionView, client: &Conn) -> Option<&'static str> {
    if view.ending().is_some() {
        return None;
    }
    if view.is_behind() {
        return Some("the next request is here");
    }
    let is_unsent = view.front.many().is_some_and(|protocol| !protocol.control().is_empty());
    if is_unsent && client.is_open() {
        return Some("bytes of no exchange for the client");
    }
    (view.wants_client() && client.is_waiting()).then_some("the client's bytes")
}

fn owed(view: SessionView, client: &Conn, upstream: Option<&Conn>) -> Option<&'static str> {
    if view.ending().is_some() {
        return None;
    }
    let sends = |direction| view.output(direction).is_some() || view.past(direction) > 0;
    if sends(Direction::Down) && client.is_open() {
        return Some("bytes for the client");
    }
    let upstream = upstream?;
    if view.wants_upstream() && upstream.is_waiting() {
        return Some("the upstream's bytes");
    }
    (sends(Direction::Up) && upstream.is_open()).then_some("bytes for the upstream")
}
