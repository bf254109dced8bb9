//! After 101 (Switching Protocols): bytes pass both ways until both sides have closed, or nothing has moved for too long. They are
//! not looked at. A half-close on one side is passed to the other once everything before it has been sent.

use super::deadlines::{Waits, after};
use super::event::Direction;
use super::exchange::Exchange;
use super::{Effect, Ending, Session, State, Turn, Why};
use crate::guard::breaker::AttemptVerdict;
use crate::http::HeadLimits;
use crate::http::framing::{Body, BodyLength, Recode};
use crate::observe::reason::Reason;

/// The limits of heads do not apply to a tunnel's bytes.
const UNLIMITED: HeadLimits = HeadLimits { first_line: 0, line: 0, lines: 0, total: 0 };

impl Session {
    /// The upstream has switched: bytes that came with either head are sent first.
    pub(super) fn open_tunnel(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        x.settle(turn);
        x.conclude(AttemptVerdict::Success, turn);
        x.judge(true, turn);
        x.outcome.is_whole = true;
        x.give_back(x.held_as_partial(), turn);
        // The connection, not the attempt, counts as the tunnel from here on.
        x.attempt.holds.tunnel = false;
        turn.effects.push(Effect::Tunnel);
        (self.phase, x.waits) = (0, Waits::default());
        x.up.body = Body::new(BodyLength::UntilClose, Recode::Same);
        x.down.body = Body::new(BodyLength::UntilClose, Recode::Same);
        self.on_tunnel_bytes(x, turn)
    }

    pub(super) fn on_tunnel_bytes(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        // Without framing nothing can be refused.
        let up = x.up.scan(&mut self.up, &UNLIMITED).unwrap_or_default();
        x.bytes_in += up as u64;
        let _ = x.down.scan(&mut self.down, &UNLIMITED);
        self.on_tunnel_progress(x, turn)
    }

    pub(super) fn on_tunnel_took(&mut self, mut x: Box<Exchange>, direction: Direction, n: usize, turn: &mut Turn) -> State {
        match direction {
            Direction::Up => {
                x.up.took(n, &mut self.up);
                self.up.release();
            }
            Direction::Down => {
                x.down.took(n, &mut self.down);
                self.down.release();
            }
        }
        self.on_tunnel_progress(x, turn)
    }

    pub(super) fn on_tunnel_moved(&mut self, mut x: Box<Exchange>, direction: Direction, n: usize) -> State {
        match direction {
            Direction::Up => {
                x.bytes_in += n as u64;
                x.up.moved(n);
            }
            Direction::Down => x.down.moved(n),
        }
        State::Tunnelling(x)
    }

    pub(super) fn on_tunnel_passed(&mut self, mut x: Box<Exchange>, direction: Direction, n: usize, turn: &mut Turn) -> State {
        match direction {
            Direction::Up => x.up.passed(n),
            Direction::Down => x.down.passed(n),
        }
        self.on_tunnel_progress(x, turn)
    }

    pub(super) fn on_tunnel_fin(&mut self, mut x: Box<Exchange>, direction: Direction, turn: &mut Turn) -> State {
        match direction {
            Direction::Up => x.up.close(&mut self.up),
            Direction::Down => x.down.close(&mut self.down),
        };
        self.on_tunnel_progress(x, turn)
    }

    /// The client is lost, and the upstream is told.
    pub(super) fn on_tunnel_aborted(&mut self, x: Box<Exchange>, turn: &mut Turn) -> State {
        turn.effects.push(Effect::ResetUpstream);
        self.end_tunnel(x, Ending::Plain, turn)
    }

    /// The upstream takes no more bytes; what it has sent still goes to the client, and what it sends later if `may_say_more`.
    pub(super) fn on_tunnel_broken(&mut self, mut x: Box<Exchange>, may_say_more: bool, turn: &mut Turn) -> State {
        x.attempt.broken = true;
        x.up.drop_body(&mut self.up);
        if !may_say_more {
            x.down.close(&mut self.down);
        }
        self.on_tunnel_progress(x, turn)
    }

    pub(super) fn on_tunnel_cut(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        x.count_error(Reason::Draining, turn);
        x.outcome.error = Some(Reason::Draining);
        x.outcome.is_cut = true;
        self.end_tunnel(x, Ending::Plain, turn)
    }

    pub(super) fn on_tunnel_deadline(&mut self, x: Box<Exchange>, turn: &mut Turn) -> State {
        if self.phase == 0 || self.phase > turn.now.millis() {
            return State::Tunnelling(x);
        }
        self.end_tunnel(x, Ending::Plain, turn)
    }

    /// Bytes moved: the idle wait starts again, a pending half-close is passed on, and after both the tunnel ends.
    fn on_tunnel_progress(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        self.phase = after(turn.now.millis(), x.timeouts.tunnel_idle_ms);
        let up_is_done = x.attempt.broken || (x.up.is_complete() && x.up.is_flushed(&self.up));
        let down_is_done = x.down.is_complete() && x.down.is_flushed(&self.down);
        if up_is_done && down_is_done && x.attempt.broken {
            // The client may still be sending: closing at once would send a reset, and destroy what it has not read yet.
            self.let_go(&mut x, turn);
            let next = self.linger(Why::Answered, turn);
            return self.finish(x, turn, next);
        }
        if up_is_done && down_is_done {
            return self.end_tunnel(x, Ending::Plain, turn);
        }
        if up_is_done && !std::mem::replace(&mut x.up_is_closed, true) {
            turn.effects.push(Effect::HalfCloseUpstream);
        }
        if down_is_done && !std::mem::replace(&mut x.down_is_closed, true) {
            turn.effects.push(Effect::HalfClose);
        }
        State::Tunnelling(x)
    }

    fn end_tunnel(&mut self, mut x: Box<Exchange>, ending: Ending, turn: &mut Turn) -> State {
        if std::mem::take(&mut x.attempt.has_upstream) {
            turn.effects.push(Effect::CloseUpstream);
        }
        self.let_go(&mut x, turn);
        self.finish(x, turn, State::Closed(ending))
    }
}
