//! One exchange between its two neighbours: whose event it is, and who must know of it.

use super::Event;
use crate::admin::RenderedPage;
use crate::back;
use crate::exchange::{Context, Exchange, ExchangeEvent, ExchangeState};
use crate::front::h1::request_limits;
use crate::http::{HeadLimits, Refusal};
use crate::machine::failure::Failure;
use crate::machine::recipient::ClientSide;
use crate::machine::{Direction, Turn};
use crate::observe::reason::Reason;
use crate::upstream::pool::Grant;

/// The limits of heads do not apply to a tunnel's bytes.
const UNLIMITED: HeadLimits = HeadLimits { first_line: 0, line: 0, lines: 0, total: 0 };

/// An exchange with its neighbours.
pub(super) struct Seat<'a, C> {
    pub(super) client: &'a mut C,
    pub(super) exchange: &'a mut Exchange,
    pub(super) back: &'a mut back::h1::BackH1,
    pub(super) grant: &'a mut Option<Grant>,
    pub(super) page: &'a mut Option<Box<RenderedPage>>,
}

/// Which of the states that differ in what bytes mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Connecting,
    Streaming,
    Replying,
    Tunnelling,
}

impl<C: ClientSide> Seat<'_, C> {
    /// Handles an event. Returns whether the exchange is over.
    #[inline(always)]
    pub(super) fn handle(&mut self, event: Event, turn: &mut Turn) -> bool {
        use ExchangeEvent as Inner;
        match (event, self.mode()) {
            (Event::ClientBytes, Mode::Tunnelling) | (Event::UpstreamBytes, Mode::Tunnelling) => self.on_tunnel_bytes(turn),
            (Event::ClientBytes, _) => self.on_content(turn),
            (Event::ClientFin, mode) => self.on_client_fin(mode, turn),
            (Event::ClientHalfClosed, _) => self.tell(Inner::HalfClosed, turn),
            (Event::ClientGone | Event::SentAway, _) => self.tell(Inner::ClientGone, turn),
            (Event::ClientTook(n), mode) => self.on_client_took(mode, n, turn),

            (Event::Admitted, _) => {
                if let Some(grant) = self.grant.take() {
                    self.tell(Inner::Admitted(grant), turn);
                }
            }
            (Event::ServersChanged, _) => self.tell(Inner::ServersChanged, turn),
            (Event::Dismissed, _) => self.tell(Inner::Dismissed, turn),
            (Event::UpstreamConnected { reused }, Mode::Connecting) => self.on_connected(reused, turn),
            (Event::ConnectFailed(reason), _) => self.tell(Inner::ConnectFailed(reason), turn),
            (Event::NoDescriptor, _) => self.tell(Inner::NoDescriptor, turn),

            (Event::UpstreamBytes, Mode::Streaming) => self.on_upstream_bytes(turn),
            (Event::UpstreamFin, Mode::Streaming) => self.on_upstream_fin(turn),
            (Event::UpstreamFin, Mode::Tunnelling) => {
                self.step(turn, |x, state, cx| x.on_tunnel_fin(state, Direction::Down, cx.turn));
            }
            (Event::UpstreamGone, Mode::Streaming) => self.on_upstream_gone(turn),
            (Event::UpstreamGone, Mode::Tunnelling) => self.on_tunnel_gone(turn),
            (Event::UpstreamBroken, _) => self.tell(Inner::UpstreamBroken, turn),
            (Event::UpstreamTook(n), mode) => self.on_upstream_took(mode, n, turn),

            (Event::Moved(direction, n), mode) => self.on_moved(mode, direction, n, turn),
            (Event::Passed(direction, n), mode) => self.on_passed(mode, direction, n, turn),

            (Event::Rendered, _) => {
                if let Some(page) = self.page.take() {
                    self.tell(Inner::Rendered(page), turn);
                }
            }
            (Event::SourceReady, _) => self.tell(Inner::SourceReady, turn),
            (Event::MakeRoom, _) => self.tell(Inner::MakeRoom, turn),
            (Event::Deadline, _) => self.tell(Inner::Deadline, turn),
            (Event::Cut, _) => self.tell(Inner::Cut, turn),
            _ => {}
        }
        self.exchange.settle(turn);
        self.exchange.end().is_some()
    }

    /// The head has been read. Content that came with it is processed first: if it is complete, the connection survives a refusal.
    pub(super) fn start(&mut self, opened: Result<(), Failure>, turn: &mut Turn) -> bool {
        let content = self.read_content();
        self.step(turn, |x, _, cx| x.start(opened, content, cx));
        self.settle(turn)
    }

    /// The head was refused.
    pub(super) fn refuse(&mut self, failure: Failure, turn: &mut Turn) -> bool {
        self.step(turn, |x, _, cx| x.fail(failure, cx));
        self.settle(turn)
    }

    /// The client left before its request was whole.
    pub(super) fn abandon(&mut self, turn: &mut Turn) {
        self.tell(ExchangeEvent::ClientGone, turn);
    }

    fn mode(&self) -> Mode {
        match self.exchange.state() {
            ExchangeState::ConnectingUpstream(_) => Mode::Connecting,
            ExchangeState::StreamingBody(_) => Mode::Streaming,
            ExchangeState::Tunnelling(_) => Mode::Tunnelling,
            ExchangeState::Replying(_) | ExchangeState::Done(_) => Mode::Replying,
        }
    }

    #[inline(always)]
    fn tell(&mut self, event: ExchangeEvent, turn: &mut Turn) {
        self.exchange.handle(event, &mut Context { turn, front: self.client });
    }

    #[inline(always)]
    pub(super) fn step(&mut self, turn: &mut Turn, step: impl FnOnce(&mut Exchange, ExchangeState, &mut Context) -> ExchangeState) {
        self.exchange.step(&mut Context { turn, front: self.client }, step);
    }

    #[inline(never)]
    fn settle(&mut self, turn: &mut Turn) -> bool {
        self.exchange.settle(turn);
        self.exchange.end().is_some()
    }

    /// Looks at new bytes of the request's content.
    fn read_content(&mut self) -> Result<(), Refusal> {
        let Self { client, exchange, .. } = self;
        let ring = &mut exchange.up.ring;
        if ring.room() == 0 && ring.ready() == 0 && ring.kept() > 0 {
            // The bytes kept for another attempt leave no room to complete a line, and the body has to go on.
            ring.release();
            exchange.replayable = false;
        }
        let before = client.received();
        client.read_content(&mut exchange.up, &request_limits(&exchange.site.config.limits))?;
        exchange.bytes_in += client.received() - before;
        exchange.content = client.announced();
        Ok(())
    }

    fn on_content(&mut self, turn: &mut Turn) {
        let mut content = self.read_content();
        let is_answered = matches!(self.exchange.state(), ExchangeState::Replying(reply) if reply.has_begun());
        if is_answered && self.exchange.check_content(content).is_err() {
            self.client.lose_framing(&mut self.exchange.up);
            content = Ok(());
        }
        self.tell(ExchangeEvent::Content(content), turn);
    }

    fn on_client_fin(&mut self, mode: Mode, turn: &mut Turn) {
        match (mode, self.exchange.state()) {
            (Mode::Tunnelling, _) => self.step(turn, |x, state, cx| x.on_tunnel_fin(state, Direction::Up, cx.turn)),
            (_, ExchangeState::Replying(reply)) if reply.has_begun() => {
                self.client.on_fin(&mut self.exchange.up);
                self.tell(ExchangeEvent::ClientTook, turn);
            }
            _ => self.tell(ExchangeEvent::RequestCut, turn),
        }
    }

    fn on_client_took(&mut self, mode: Mode, n: usize, turn: &mut Turn) {
        self.exchange.on_client_progress();
        self.client.took(n, &mut self.exchange.down);
        if mode != Mode::Connecting {
            self.exchange.down.ring.release();
        }
        match mode {
            Mode::Connecting => {}
            // An enchunked body is framed piece by piece, and the next piece may be there; so may a head after interim ones.
            Mode::Streaming if self.exchange.down.ring.raw() > 0 => self.take_answer(turn),
            Mode::Streaming => {}
            Mode::Replying | Mode::Tunnelling => self.tell(ExchangeEvent::ClientTook, turn),
        }
    }

    fn on_upstream_took(&mut self, mode: Mode, n: usize, turn: &mut Turn) {
        self.exchange.up.took(n);
        if mode == Mode::Tunnelling {
            self.exchange.up.ring.release();
        }
        self.tell(ExchangeEvent::UpstreamTook(n), turn);
        self.after_request_progress(turn);
    }

    /// More of the request was sent: an answer that waited for that is processed again.
    fn after_request_progress(&mut self, turn: &mut Turn) {
        if self.back.holds_switch() && self.mode() == Mode::Streaming {
            self.take_answer(turn);
        }
    }

    fn on_connected(&mut self, reused: bool, turn: &mut Turn) {
        self.back.begin_answer();
        if self.back.lacks_host() {
            let (up, authority) = self.exchange.hop();
            self.back.put_host(up, authority);
        }
        self.step(turn, |x, state, cx| x.on_connected(state, reused, cx.turn));
    }

    fn on_moved(&mut self, mode: Mode, direction: Direction, n: usize, turn: &mut Turn) {
        let Self { client, exchange, back, .. } = self;
        match (mode, direction) {
            (Mode::Streaming, Direction::Up) => {
                exchange.on_content_moved(n);
                client.on_moved(n, &mut exchange.up);
            }
            (Mode::Streaming, Direction::Down) => {
                exchange.on_upstream_progress();
                exchange.down.moved(n);
                back.on_moved(n, &mut exchange.down);
                if exchange.down.is_ended {
                    self.on_answer_whole(turn);
                }
            }
            (Mode::Tunnelling, Direction::Up) => {
                exchange.bytes_in += n as u64;
                exchange.up.moved(n);
            }
            (Mode::Tunnelling, Direction::Down) => exchange.down.moved(n),
            _ => {}
        }
    }

    fn on_passed(&mut self, mode: Mode, direction: Direction, n: usize, turn: &mut Turn) {
        match (mode, direction) {
            (Mode::Streaming, Direction::Up) => {
                self.exchange.up.passed(n);
                self.exchange.on_request_progress(n, turn);
                self.after_request_progress(turn);
            }
            (Mode::Streaming, Direction::Down) => {
                self.exchange.on_client_progress();
                self.exchange.down.passed(n);
            }
            (Mode::Replying, Direction::Down) => {
                self.exchange.on_client_progress();
                self.exchange.down.passed(n);
                self.tell(ExchangeEvent::ClientTook, turn);
            }
            (Mode::Tunnelling, _) => {
                let Exchange { up, down, .. } = &mut *self.exchange;
                if direction == Direction::Up {
                    up.passed(n)
                } else {
                    down.passed(n)
                }
                self.tell(ExchangeEvent::ClientTook, turn);
            }
            _ => {}
        }
    }

    /// Bytes of either side of a tunnel. Without framing nothing can be refused.
    pub(super) fn on_tunnel_bytes(&mut self, turn: &mut Turn) {
        let Self { client, exchange, back, .. } = self;
        let before = exchange.up.ring.ready();
        let _ = client.read_content(&mut exchange.up, &UNLIMITED);
        exchange.bytes_in += (exchange.up.ring.ready() - before) as u64;
        let _ = back.read_content(&mut exchange.down, &UNLIMITED);
        self.tell(ExchangeEvent::Content(Ok(())), turn);
    }

    fn on_tunnel_gone(&mut self, turn: &mut Turn) {
        self.step(turn, |x, state, cx| match state {
            ExchangeState::Tunnelling(tunnel) => x.on_tunnel_broken(tunnel, false, cx.turn),
            state => state,
        });
    }

    fn on_upstream_gone(&mut self, turn: &mut Turn) {
        if self.exchange.outcome.status != 0 && self.back.is_held_up(&self.exchange.down) {
            // What has come may be the whole answer.
            (self.exchange.attempt.upstream_fin, self.exchange.attempt.broken) = (true, true);
            return;
        }
        let (is_answered, has_begun) = (self.exchange.outcome.status != 0, self.exchange.down.ring.raw() > 0);
        self.step(
            turn,
            |x, _, cx| {
                if is_answered { x.fail_upstream(Reason::ResponseIncomplete, cx) } else { x.on_no_answer(has_begun, cx) }
            },
        );
    }
}
