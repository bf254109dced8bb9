//! After 101 (Switching Protocols): bytes pass both ways until both sides have closed, or nothing has moved for too long. They are
//! not looked at. A half-close on one side is passed to the other once everything before it has been sent.

use super::deadlines::Deadlines;
use super::state::Tunnel;
use super::{Exchange, ExchangeState};
use crate::guard::breaker::AttemptVerdict;
use crate::machine::deadlines::after;
use crate::machine::{Direction, Effect, ExchangeEnd, Turn};
use crate::observe::reason::Reason;
use crate::upstream::reservation::Reservation;

impl Exchange {
    /// The upstream has switched: bytes that came with either head are sent first.
    pub fn open_tunnel(&mut self, turn: &mut Turn) -> ExchangeState {
        self.count_answer(turn);
        self.conclude(AttemptVerdict::Success, turn);
        self.judge(true, turn);
        self.outcome.is_whole = true;
        self.give_back(Reservation::take_partial, turn);
        turn.effects.push(Effect::Tunnel);
        self.deadlines = Deadlines::default();
        (self.up.is_ended, self.down.is_ended) = (false, false);
        self.on_tunnel_progress(Tunnel::default(), turn)
    }

    /// One side has closed its sending side.
    pub fn on_tunnel_fin(&mut self, state: ExchangeState, from: Direction, turn: &mut Turn) -> ExchangeState {
        let ExchangeState::Tunnelling(tunnel) = state else { return state };
        match from {
            Direction::Up => self.up.is_ended = true,
            Direction::Down => self.down.is_ended = true,
        }
        self.on_tunnel_progress(tunnel, turn)
    }

    /// The client is lost, and the upstream is told.
    pub(super) fn on_tunnel_aborted(&mut self, turn: &mut Turn) -> ExchangeState {
        turn.effects.push(Effect::ResetUpstream);
        self.end_tunnel(turn)
    }

    /// The upstream takes no more bytes; what it has sent still goes to the client, and what it sends later if `may_say_more`.
    pub fn on_tunnel_broken(&mut self, tunnel: Tunnel, may_say_more: bool, turn: &mut Turn) -> ExchangeState {
        self.attempt.broken = true;
        self.up.drop_content();
        if !may_say_more {
            self.down.is_ended = true;
        }
        self.on_tunnel_progress(tunnel, turn)
    }

    pub(super) fn on_tunnel_cut(&mut self, turn: &mut Turn) -> ExchangeState {
        self.count_error(Reason::Draining, turn);
        self.outcome.error = Some(Reason::Draining);
        self.outcome.is_cut = true;
        self.end_tunnel(turn)
    }

    pub(super) fn on_tunnel_deadline(&mut self, tunnel: Tunnel, turn: &mut Turn) -> ExchangeState {
        if tunnel.idle_until == 0 || tunnel.idle_until > turn.now.millis() {
            return ExchangeState::Tunnelling(tunnel);
        }
        self.end_tunnel(turn)
    }

    /// Bytes moved: the idle wait starts again, a pending half-close is passed on, and after both the tunnel ends.
    pub fn on_tunnel_progress(&mut self, mut tunnel: Tunnel, turn: &mut Turn) -> ExchangeState {
        tunnel.idle_until = after(turn.now.millis(), self.timeouts.tunnel_idle_ms);
        let up_is_done = self.attempt.broken || (self.up.is_ended && !self.up.is_owing());
        let down_is_done = self.down.is_ended && !self.down.is_owing();
        if up_is_done && down_is_done && self.attempt.broken {
            // The client may still be sending: closing at once would send a reset, and destroy what it has not read yet.
            self.let_go(turn);
            return self.finish(ExchangeEnd::Lingers, turn);
        }
        if up_is_done && down_is_done {
            return self.end_tunnel(turn);
        }
        if up_is_done && !std::mem::replace(&mut tunnel.up_is_closed, true) {
            turn.effects.push(Effect::HalfCloseUpstream);
        }
        if down_is_done && !std::mem::replace(&mut tunnel.down_is_closed, true) {
            turn.effects.push(Effect::HalfClose);
        }
        ExchangeState::Tunnelling(tunnel)
    }

    fn end_tunnel(&mut self, turn: &mut Turn) -> ExchangeState {
        if self.end_attempt(AttemptVerdict::Success, turn) {
            turn.effects.push(Effect::CloseUpstream);
        }
        self.finish(ExchangeEnd::Closed, turn)
    }
}
