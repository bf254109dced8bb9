//! Parts of a body that need no look bypass the ring, from socket to socket.

use super::core::{Core, Net};
use super::pipes::{Laid, SCRATCH_BYTES};
use crate::net::pipe::PIPE_BYTES;
use crate::net::transport::{Link, Transfer, Transport};
use crate::session::{Direction, Event, Session, SessionView};
use std::io::IoSlice;

/// How many pipes a worker may have; without one, bytes go through the scratch buffer.
const MAX_PIPES: usize = 16;

/// What takes bytes of one direction, with what may be sent.
struct Taker<'a, T: Transport> {
    link: &'a mut Link<T>,
    session: Session<'a>,
    pipes: &'a mut Vec<Laid<T>>,
    scratch: &'a mut [u8],
}

/// Not for a part of unknown length: a tunnel's messages may be short.
pub(super) fn is_long(run: u64, long: u64) -> bool {
    run >= long && run != u64::MAX
}

impl<N: Net> Core<N> {
    /// Whether the connection that takes bytes of this direction is writable.
    pub(super) fn is_writable(&self, key: usize, exchange: usize, direction: Direction) -> bool {
        self.link_of(key, exchange, direction.turned()).is_some_and(|link| link.may_write())
    }

    /// The connection that bytes of this direction come from.
    fn link_of(&self, key: usize, exchange: usize, direction: Direction) -> Option<&Link<N::Transport>> {
        match direction {
            Direction::Up => Some(&self.clients[key].link),
            Direction::Down => self.upstreams[self.talks[exchange].upstream?].link(),
        }
    }

    /// The connection that bytes of this direction go to, beside the pipes and the scratch buffer, while there is the exchange.
    fn taker(&mut self, key: usize, exchange: usize, direction: Direction) -> Option<Taker<'_, N::Transport>> {
        let Self { clients, talks, upstreams, pipes, scratch, .. } = self;
        let client = clients.get_mut(key)?;
        let upstream = talks.get(exchange)?.upstream;
        let link = match direction {
            Direction::Up => upstreams[upstream?].link_mut()?,
            Direction::Down => &mut client.link,
        };
        let session = Session { client: key, about: Some(exchange), front: &mut client.front, talks };
        Some(Taker { link, session, pipes, scratch })
    }

    /// Moves part of a body past its ring, straight to the other socket: through a pipe if it is long, otherwise the scratch buffer.
    pub(super) fn move_opaque(&mut self, key: usize, exchange: usize, direction: Direction) -> usize {
        let run = SessionView::of(&self.clients[key].front, &self.talks[exchange]).opaque(direction);
        let may_pour = |direction| self.link_of(key, exchange, direction).is_some_and(|link| link.may_pour());
        let pours = is_long(run, self.long_run) && may_pour(direction) && may_pour(direction.turned());
        let mut pipe = if pours { self.lay_pipe(exchange, direction) } else { None };
        let Self { clients, talks, upstreams, scratch, pipes, .. } = self;
        let Some(upstream) = talks[exchange].upstream.and_then(|key| upstreams[key].link_mut()) else { return 0 };
        let (source, lost, ended) = match direction {
            Direction::Up => (&mut clients[key].link, Event::ClientGone, Event::ClientFin),
            Direction::Down => (upstream, Event::UpstreamGone, Event::UpstreamFin),
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
                self.deliver_here(key, Some(exchange), ended);
                return 1;
            }
            Transfer::Failed => {
                self.deliver_here(key, Some(exchange), lost);
                return 1;
            }
        };
        pipe.into_iter().for_each(|at| pipes[at].held = read);
        if direction == Direction::Up {
            self.turn.stats.bytes_received.add(read as u64);
        }
        // The event comes first: it settles the end of the answer before the client can see these bytes, and may release the
        // upstream connection.
        self.deliver_here(key, Some(exchange), Event::Moved(direction, read));
        if pipe.is_some() {
            self.pour_out(key, exchange, direction);
        } else {
            self.pass_on(key, exchange, direction, read);
        }
        read
    }

    /// Sends the scratch buffer's content; the exchange stores what is left over.
    fn pass_on(&mut self, key: usize, exchange: usize, direction: Direction, read: usize) {
        let Some(Taker { link, mut session, scratch, .. }) = self.taker(key, exchange, direction) else { return };
        let transfer = link.send(&[IoSlice::new(&scratch[..read])]);
        let sent = if let Transfer::Bytes(n) = transfer { n } else { 0 };
        if sent < read {
            session.spill(direction, &scratch[sent..read]);
        }
        self.on_passed(key, exchange, direction, transfer);
    }

    /// Sends a pipe's content; what is left over stays there, and is sent next.
    pub(super) fn pour_out(&mut self, key: usize, exchange: usize, direction: Direction) -> usize {
        let Some(Taker { link, session, pipes, .. }) = self.taker(key, exchange, direction) else { return 0 };
        let past = SessionView::of(session.front, &session.talks[exchange]).past(direction);
        let Some(laid) = pipes.iter_mut().find(|laid| laid.is_for(exchange, direction)).filter(|_| link.may_write()) else {
            return 0;
        };
        let transfer = link.pour_out(&mut laid.pipe, past);
        if let Transfer::Bytes(n) = transfer {
            laid.held -= n;
        }
        self.on_passed(key, exchange, direction, transfer)
    }

    /// Tells the machines how a send of opaque bytes went; returns how many were sent.
    fn on_passed(&mut self, key: usize, exchange: usize, direction: Direction, transfer: Transfer) -> usize {
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
        self.deliver_here(key, Some(exchange), event);
        n
    }

    /// The pipe of this direction of an exchange, empty: a new one at its beginning. `None` if no pipe is available.
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

    /// Closes the pipes of an exchange that are no longer needed.
    pub(super) fn take_up_pipes(&mut self, key: usize, is_done: impl Fn(SessionView, Direction) -> bool) {
        let (talk, before) = (&self.talks[key], self.pipes.len());
        let view = SessionView::of(&self.clients[talk.client].front, talk);
        self.pipes.retain(|laid| laid.key != key || !is_done(view, laid.direction));
        if self.pipes.len() < before {
            self.on_descriptor_freed();
        }
    }
}
