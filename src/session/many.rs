//! A client's connection with several exchanges: frames reach the exchange that they are about.

use super::{Event, Session, seat};
use crate::front::NewExchange;
use crate::front::many::ReadFrame;
use crate::http::request::Request;
use crate::machine::Turn;
use crate::machine::failure::Failure;

impl Session<'_> {
    /// [`Session::handle`] for such a connection.
    pub(super) fn handle_many(&mut self, event: Event, turn: &mut Turn) -> Option<usize> {
        let (key, event) = match self.about {
            Some(key) => (key, event),
            None if event == Event::ClientBytes => match self.read_frame(turn)? {
                (key, None) => return Some(key),
                (key, Some(event)) => (key, event),
            },
            None => return self.on_front_event(event, turn),
        };
        let mut side = self.front.side(key)?;
        if seat(&mut side, &mut self.talks[key]).handle(event, turn) {
            self.end_one(key, turn);
        }
        self.offer_room(key, turn);
        Some(key)
    }

    fn start_one(&mut self, key: usize, opened: Result<(), Failure>, turn: &mut Turn) {
        turn.requests_begun += 1;
        turn.stats.requests.add(1);
        self.front.on_one_begin();
        let Some(mut side) = self.front.side(key) else { return };
        if seat(&mut side, &mut self.talks[key]).start(opened, turn) {
            self.end_one(key, turn);
        }
        self.offer_room(key, turn);
    }

    /// Reads one frame. Returns the key of the exchange that it was about, and what that one must be told.
    pub(super) fn read_frame(&mut self, turn: &mut Turn) -> Option<(usize, Option<Event>)> {
        let Self { client, front, talks, .. } = self;
        let (peer, has_half_closed, is_late) = (front.client(), front.has_half_closed(), front.is_late());
        let mut opened = None;
        let mut begin = |request: &Request, turn: &mut Turn| {
            let key = talks.begin(*client, peer, has_half_closed, turn);
            let talk = &mut talks[key];
            opened = Some(talk.open(request, is_late, turn));
            NewExchange { key, content: talk.back.content_form() }
        };
        let (protocol, ring) = front.many_mut()?;
        match protocol.read(ring, turn, &mut begin)? {
            ReadFrame::Begun(key) => {
                self.start_one(key, opened.unwrap_or(Ok(())), turn);
                Some((key, None))
            }
            ReadFrame::Content { exchange, length } => Some((exchange, Some(self.take_content(exchange, length, turn)))),
            ReadFrame::ContentEnd(key) => {
                self.talks[key].exchange.up.is_ended = true;
                Some((key, Some(Event::ClientBytes)))
            }
            ReadFrame::Reset(key) => Some((key, Some(Event::ClientGone))),
            ReadFrame::Other => None,
        }
    }

    /// Moves content from the connection's ring to the exchange's. A client that sends more than it may loses that exchange.
    fn take_content(&mut self, key: usize, length: usize, turn: &mut Turn) -> Event {
        let (ring, up) = (&mut self.front.ring, &mut self.talks[key].exchange.up);
        if !up.ring.is_attached() && !up.is_ended {
            up.ring.attach(turn.buffers.lend());
        }
        let fits = up.ring.room() >= length && !up.is_ended;
        if fits {
            up.ring.push(&ring.raw_mut()[..length]);
        }
        ring.skip(length);
        if fits { Event::ClientBytes } else { Event::ClientGone }
    }

    /// Tells the protocol how much content the exchange has room for.
    fn offer_room(&mut self, key: usize, turn: &Turn) {
        if let Some((protocol, _)) = self.front.many_mut() {
            let ring = &self.talks[key].exchange.up.ring;
            protocol.on_room(key, if ring.is_attached() { ring.room() } else { turn.buffers.size() });
        }
    }

    /// One exchange is over, and the connection goes on with the others.
    fn end_one(&mut self, key: usize, turn: &mut Turn) {
        let exchange = &self.talks[key].exchange;
        let Some(end) = exchange.end() else { return };
        self.front.on_one_end(key, end, &exchange.down.output(), turn);
    }
}
