//! Parts of a body that need no look bypass the ring, from socket to socket.

use super::core::{Client, Core, Net, Upstream};
use crate::base::slots::Slots;
use crate::guard::descriptors::Descriptor;
use crate::net::pipe::PIPE_BYTES;
use crate::net::transport::{Link, Transfer, Transport};
use crate::session::{Direction, Event, Session};
use std::io::IoSlice;

/// The size of the scratch buffer: few large copies cost a third of many small ones.
pub(super) const SCRATCH_BYTES: usize = 256 * 1024;
/// From this length on a pipe is worth the system calls that open and close it.
pub(super) const LONG_RUN: u64 = 1024 * 1024;
/// How many pipes a worker may have; without one, bytes go through the scratch buffer.
const MAX_PIPES: usize = 16;

/// A pipe that carries a long part of one direction of an exchange.
pub(super) struct Laid<T: Transport> {
    key: usize,
    direction: Direction,
    pipe: T::Pipe,
    /// After the pipe, so that it is free only once that is closed.
    _descriptor: Descriptor,
    /// How many bytes are in it.
    held: usize,
}

impl<T: Transport> Laid<T> {
    fn is_for(&self, key: usize, direction: Direction) -> bool {
        self.key == key && self.direction == direction
    }
}

/// Not for a part of unknown length: a tunnel's messages may be short.
pub(super) fn is_long(run: u64, long: u64) -> bool {
    run >= long && run != u64::MAX
}

/// The connection that bytes of this direction go to.
fn target<'a, T>(
    client: &'a mut Link<T>,
    upstream: Option<usize>,
    upstreams: &'a mut Slots<Upstream<T>>,
    direction: Direction,
) -> Option<&'a mut Link<T>> {
    match direction {
        Direction::Up => upstreams[upstream?].link.as_mut(),
        Direction::Down => Some(client),
    }
}

impl<N: Net> Core<N> {
    /// Whether the connection that takes bytes of this direction is writable.
    pub(super) fn is_writable(&self, key: usize, direction: Direction) -> bool {
        self.link_of(key, direction.turned()).is_some_and(|link| link.may_write())
    }

    /// The connection that bytes of this direction come from.
    fn link_of(&self, key: usize, direction: Direction) -> Option<&Link<N::Transport>> {
        let client = &self.clients[key];
        match direction {
            Direction::Up => Some(&client.link),
            Direction::Down => self.upstreams[client.upstream?].link.as_ref(),
        }
    }

    /// Moves part of a body past its ring, straight to the other socket: through a pipe if it is long, otherwise the scratch buffer.
    pub(super) fn move_opaque(&mut self, key: usize, direction: Direction) -> usize {
        let run = self.clients[key].session.opaque(direction);
        let may_pour = |direction| self.link_of(key, direction).is_some_and(|link| link.may_pour());
        let pours = is_long(run, self.long_run) && may_pour(direction) && may_pour(direction.turned());
        let mut pipe = if pours { self.lay_pipe(key, direction) } else { None };
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
            // A splice also ends at an urgent byte; only a read tells whether this is the end.
            Some(Transfer::Fin) | None => {
                pipe = None;
                source.read(&mut scratch[..most.min(SCRATCH_BYTES)])
            }
            Some(transfer) => transfer,
        };
        let read = match transfer {
            Transfer::Bytes(n) => n,
            Transfer::Blocked => return 0,
            Transfer::Beside(n) => return n,
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
            self.turn.stats.bytes_received.add(read as u64);
        }
        // The event comes first: it settles the end of the answer before the client can see these bytes, and may release the
        // upstream connection.
        self.deliver(key, Event::Moved(direction, read));
        if pipe.is_some() {
            self.pour_out(key, direction);
        } else {
            self.pass_on(key, direction, read);
        }
        read
    }

    /// Sends the scratch buffer's content; the session stores what is left over.
    fn pass_on(&mut self, key: usize, direction: Direction, read: usize) {
        let Self { clients, upstreams, scratch, .. } = self;
        let Some(client) = clients.get_mut(key).filter(|client| client.session.exchange().is_some()) else { return };
        let Some(target) = target(&mut client.link, client.upstream, upstreams, direction) else { return };
        let transfer = target.send(&[IoSlice::new(&scratch[..read])]);
        let sent = if let Transfer::Bytes(n) = transfer { n } else { 0 };
        if sent < read {
            client.session.spill(direction, &scratch[sent..read]);
        }
        self.on_passed(key, direction, transfer);
    }

    /// Sends a pipe's content; what is left over stays there, and is sent next.
    pub(super) fn pour_out(&mut self, key: usize, direction: Direction) -> usize {
        let Self { clients, upstreams, pipes, .. } = self;
        let Some(client) = clients.get_mut(key) else { return 0 };
        let target = target(&mut client.link, client.upstream, upstreams, direction).filter(|target| target.may_write());
        let laid = pipes.iter_mut().find(|laid| laid.is_for(key, direction));
        let (Some(laid), Some(target)) = (laid, target) else { return 0 };
        let transfer = target.pour_out(&mut laid.pipe, client.session.past(direction));
        if let Transfer::Bytes(n) = transfer {
            laid.held -= n;
        }
        self.on_passed(key, direction, transfer)
    }

    /// Tells the session how a send of opaque bytes went; returns how many were sent.
    fn on_passed(&mut self, key: usize, direction: Direction, transfer: Transfer) -> usize {
        let (event, n) = match (transfer, direction) {
            (Transfer::Bytes(n), _) => (Event::Passed(direction, n), n),
            (Transfer::Blocked, _) => return 0,
            (Transfer::Beside(n), _) => return n,
            (Transfer::Fin | Transfer::Failed, Direction::Down) => (Event::ClientGone, 1),
            // What the upstream still sends, or its end, decides.
            (Transfer::Fin | Transfer::Failed, Direction::Up) => (Event::UpstreamBroken, 1),
        };
        if let Event::Passed(Direction::Down, n) = event {
            self.turn.stats.bytes_sent.add(n as u64);
        }
        self.deliver(key, event);
        n
    }

    /// The pipe of this direction, empty: a new one at its beginning. `None` if no pipe is available.
    fn lay_pipe(&mut self, key: usize, direction: Direction) -> Option<usize> {
        let found = self.pipes.iter().position(|laid| laid.is_for(key, direction));
        if let Some(at) = found.filter(|&at| self.pipes[at].held == 0) {
            return Some(at);
        }
        // What a failed exchange has left in it must not reach another one.
        self.take_up_pipes(key, |_, other| other == direction);
        if self.pipes.len() >= MAX_PIPES {
            return None;
        }
        let descriptor = self.shared.descriptors.admit_pipe()?;
        let pipe = self.net.pipe().ok()?;
        self.pipes.push(Laid { key, direction, pipe, _descriptor: descriptor, held: 0 });
        Some(self.pipes.len() - 1)
    }

    /// Closes the pipes of a client that are no longer needed.
    pub(super) fn take_up_pipes(&mut self, key: usize, is_done: impl Fn(&Session, Direction) -> bool) {
        let (session, before) = (&self.clients[key].session, self.pipes.len());
        self.pipes.retain(|laid| laid.key != key || !is_done(session, laid.direction));
        if self.pipes.len() < before {
            self.on_descriptor_freed();
        }
    }
}
