//! Runs of a body that need no look: past the ring, from socket to socket.

use super::core::{Client, Core, Net};
use crate::net::link::{Socket, Transfer};
use crate::net::pipe::PIPE_BYTES;
use crate::session::{Direction, Event, Journal, Session};

/// The large buffer that bodies go through: few large copies cost a third of many small ones.
pub(super) const SCRATCH_BYTES: usize = 256 * 1024;
/// A pipe is worth its system calls from here on: it must be made, and its ends closed.
pub(super) const LONG_RUN: u64 = 1024 * 1024;
/// Pipes of a worker at once; what has none goes through the scratch.
const MAX_PIPES: usize = 16;

/// A pipe that carries the long run of one direction of an exchange.
pub(super) struct Laid<S: Socket> {
    key: usize,
    direction: Direction,
    pipe: S::Pipe,
    /// Bytes in it.
    held: usize,
}

impl<S: Socket> Laid<S> {
    fn is_for(&self, key: usize, direction: Direction) -> bool {
        self.key == key && self.direction == direction
    }
}

/// Of a run without an end nobody knows how long it is: a tunnel's messages may be short.
pub(super) fn is_long(run: u64, long: u64) -> bool {
    run >= long && run != u64::MAX
}

impl<N: Net, J: Journal> Core<N, J> {
    /// Whether the socket that takes bytes of this direction has room.
    pub(super) fn is_writable(&self, key: usize, direction: Direction) -> bool {
        let client = &self.clients[key];
        match direction {
            Direction::Up => client.upstream.and_then(|key| self.upstreams[key].link.as_ref()).is_some_and(|link| link.ready.writable),
            Direction::Down => client.link.ready.writable,
        }
    }

    /// Whether an urgent byte lies among those that come in this direction: no splice goes past one.
    fn is_urgent(&self, key: usize, direction: Direction) -> bool {
        let client = &self.clients[key];
        match direction {
            Direction::Up => client.link.ready.urgent,
            Direction::Down => client.upstream.and_then(|key| self.upstreams[key].link.as_ref()).is_some_and(|link| link.ready.urgent),
        }
    }

    /// A run of a body goes past its ring, straight to the other socket: through a pipe where it is long, or the scratch.
    pub(super) fn move_opaque(&mut self, key: usize, direction: Direction) -> usize {
        let run = self.clients[key].session.opaque(direction);
        let mut pipe = if is_long(run, self.long_run) && !self.is_urgent(key, direction) { self.lay_pipe(key, direction) } else { None };
        let Self { clients, upstreams, scratch, pipes, .. } = self;
        let Client { link: client, upstream, .. } = &mut clients[key];
        let Some(upstream_link) = upstream.and_then(|key| upstreams[key].link.as_mut()) else { return 0 };
        let (source, lost, ended) = match direction {
            Direction::Up => (client, Event::ClientGone, Event::ClientFin),
            Direction::Down => (upstream_link, Event::UpstreamGone, Event::UpstreamFin),
        };
        let most = usize::try_from(run).unwrap_or(usize::MAX);
        let poured = pipe.map(|at| source.pour_in(&mut pipes[at].pipe, most.min(PIPE_BYTES)));
        let transfer = match poured {
            // A splice says so at an urgent byte too: a read knows whether it is the end.
            Some(Transfer::Fin) | None => {
                pipe = None;
                source.read(&mut scratch[..most.min(SCRATCH_BYTES)])
            }
            Some(transfer) => transfer,
        };
        let read = match transfer {
            Transfer::Bytes(n) => n,
            Transfer::Blocked => return 0,
            Transfer::Fin => {
                self.deliver(key, ended);
                return 1;
            }
            Transfer::Failed => {
                self.deliver(key, lost);
                return 1;
            }
        };
        pipe.into_iter().for_each(|at| pipes[at].held = read);
        if direction == Direction::Up {
            self.stats.bytes_received.add(read as u64);
        }
        // What ends with these bytes is settled before the client can see them, and may let the upstream go: the event
        // comes first.
        self.deliver(key, Event::Moved(direction, read));
        if pipe.is_some() {
            self.pour_out(key, direction);
        } else {
            self.pass_on(key, direction, read);
        }
        read
    }

    /// Sends what lies in the scratch; what is left over is kept by the session.
    fn pass_on(&mut self, key: usize, direction: Direction, read: usize) {
        let Some(Client { link: client, session, upstream, .. }) = self.clients.get_mut(key) else { return };
        let target = match direction {
            Direction::Up => upstream.and_then(|key| self.upstreams[key].link.as_mut()),
            Direction::Down => Some(client),
        };
        let Some(target) = target.filter(|_| session.exchange().is_some()) else { return };
        let bytes = &self.scratch[..read];
        let (event, sent) = match target.send(&[std::io::IoSlice::new(bytes)]) {
            Transfer::Bytes(n) => (Event::Passed(direction, n), n),
            Transfer::Blocked => (Event::Passed(direction, 0), 0),
            Transfer::Fin | Transfer::Failed if direction == Direction::Down => (Event::ClientGone, 0),
            Transfer::Fin | Transfer::Failed => {
                target.ready.readable = true;
                (Event::UpstreamBroken, 0)
            }
        };
        if sent < read {
            session.spill(direction, &self.scratch[sent..read]);
        }
        if direction == Direction::Down && !self.clients[key].entrance.is_admin {
            self.stats.bytes_sent.add(sent as u64);
        }
        self.deliver(key, event);
    }

    /// Sends what lies in a pipe; what is left over stays there, and is the next that goes out.
    pub(super) fn pour_out(&mut self, key: usize, direction: Direction) -> usize {
        let Self { clients, upstreams, pipes, .. } = self;
        let Some(Client { link: client, session, upstream, .. }) = clients.get_mut(key) else { return 0 };
        let target = match direction {
            Direction::Up => upstream.and_then(|key| upstreams[key].link.as_mut()),
            Direction::Down => Some(client),
        };
        let laid = pipes.iter_mut().find(|laid| laid.is_for(key, direction));
        let (Some(laid), Some(target)) = (laid, target.filter(|target| target.ready.writable)) else { return 0 };
        let (event, n) = match target.pour_out(&mut laid.pipe, session.past(direction)) {
            Transfer::Bytes(n) => {
                laid.held -= n;
                (Event::Passed(direction, n), n)
            }
            Transfer::Blocked => return 0,
            Transfer::Fin | Transfer::Failed if direction == Direction::Down => (Event::ClientGone, 1),
            Transfer::Fin | Transfer::Failed => {
                target.ready.readable = true;
                (Event::UpstreamBroken, 1)
            }
        };
        if let (Event::Passed(Direction::Down, n), false) = (&event, self.clients[key].entrance.is_admin) {
            self.stats.bytes_sent.add(*n as u64);
        }
        self.deliver(key, event);
        n
    }

    /// The pipe of a run, empty: a new one at its beginning. `None` if there is none to be had.
    fn lay_pipe(&mut self, key: usize, direction: Direction) -> Option<usize> {
        let found = self.pipes.iter().position(|laid| laid.is_for(key, direction));
        if let Some(at) = found.filter(|&at| self.pipes[at].held == 0) {
            return Some(at);
        }
        // What an exchange that failed left in it is nobody else's.
        self.take_up_pipes(key, |_, other| other == direction);
        if self.pipes.len() >= MAX_PIPES || !self.shared.descriptors.admit_pipe() {
            return None;
        }
        let Ok(pipe) = self.net.pipe() else {
            self.shared.descriptors.pipe_left();
            return None;
        };
        self.pipes.push(Laid { key, direction, pipe, held: 0 });
        Some(self.pipes.len() - 1)
    }

    /// Closes those pipes of a client that are done with.
    pub(super) fn take_up_pipes(&mut self, key: usize, is_done: impl Fn(&Session, Direction) -> bool) {
        let (session, before) = (&self.clients[key].session, self.pipes.len());
        self.pipes.retain(|laid| laid.key != key || !is_done(session, laid.direction));
        for _ in self.pipes.len()..before {
            self.shared.descriptors.pipe_left();
            self.on_descriptor_freed();
        }
    }
}
