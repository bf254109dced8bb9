//! The proxy's side of the protocol: a front with several exchanges.

use super::frames::{HEADER, Header, Kind, header, push};
use std::io::IoSlice;
use tidegate::answer::Answer;
use tidegate::base::ring::Ring;
use tidegate::front::NewExchange;
use tidegate::front::many::{Begin, Multiplexed, ReadFrame};
use tidegate::http::framing::{Body, Recode};
use tidegate::http::head::HeadTable;
use tidegate::http::request::Request;
use tidegate::http::response::Response;
use tidegate::http::{HeadLimits, Refusal};
use tidegate::machine::flow::Flow;
use tidegate::machine::recipient::{ClientSide, Recipient, RequestFacts};
use tidegate::machine::{ExchangeEnd, Turn};

/// While so much that belongs to no exchange is unsent, nothing is read.
const MOST_CONTROL: usize = 4000;

/// One exchange's part.
#[derive(Debug)]
struct Stream {
    number: u16,
    body: Body,
    to_head: bool,
    /// How much content the client may have sent, and has sent.
    granted: usize,
    received: usize,
    /// Of an answer that the proxy makes: how much of its content has yet to come.
    left: u64,
    /// Whether the end of the answer's content has yet to be written.
    owes_end: bool,
}

/// The connection.
#[derive(Debug, Default)]
pub struct Tube {
    keys: Vec<usize>,
    /// Parallel to these.
    streams: Vec<Stream>,
    control: Vec<u8>,
    /// Whose frame was cut by a short send.
    cut: Option<usize>,
    /// Whose turn it was last.
    last: usize,
    is_broken: bool,
}

impl Tube {
    fn position(&self, key: usize) -> Option<usize> {
        self.keys.iter().position(|&other| other == key)
    }

    fn key_of(&self, number: u16) -> Option<usize> {
        self.streams.iter().position(|stream| stream.number == number).map(|at| self.keys[at])
    }

    fn begin(
        &mut self,
        ring: &mut Ring,
        Header { stream: number, length, .. }: Header,
        turn: &mut Turn,
        begin: Begin,
    ) -> Option<ReadFrame> {
        let mut table = HeadTable::default();
        let head = ring.raw_mut()[HEADER..HEADER + length].to_vec();
        let Ok(request) = Request::parse(&head, &mut table) else {
            ring.skip(HEADER + length);
            push(&mut self.control, Kind::Reset, number, b"");
            return Some(ReadFrame::Other);
        };
        let NewExchange { key, content } = begin(&request, turn);
        self.keys.push(key);
        let body = Body::new(request.length, content);
        self.streams.push(Stream { number, body, to_head: request.method == "HEAD", granted: 0, received: 0, left: 0, owes_end: false });
        ring.skip(HEADER + length);
        Some(ReadFrame::Begun(key))
    }
}

fn header_in(ring: &Ring) -> Option<[u8; HEADER]> {
    let (first, second) = ring.raw_slices();
    let mut bytes = first.iter().chain(second).copied();
    let header = std::array::from_fn(|_| bytes.next().unwrap_or_default());
    (ring.raw() >= HEADER).then_some(header)
}

impl Multiplexed for Tube {
    fn has_frame(&self, ring: &Ring) -> bool {
        !self.is_broken
            && self.control.len() < MOST_CONTROL
            && header_in(ring).is_some_and(|bytes| Header::read(bytes).is_none_or(|header| ring.raw() >= HEADER + header.length))
    }

    fn is_broken(&self) -> bool {
        self.is_broken
    }

    fn read(&mut self, ring: &mut Ring, turn: &mut Turn, begin: Begin) -> Option<ReadFrame> {
        let Some(header) = Header::read(header_in(ring)?) else {
            self.is_broken = true;
            return Some(ReadFrame::Other);
        };
        if self.control.len() >= MOST_CONTROL || ring.raw() < HEADER + header.length {
            return None;
        }
        if header.kind == Kind::Head {
            return self.begin(ring, header, turn, begin);
        }
        ring.skip(HEADER);
        // What comes for a stream that is over was sent before the client knew that.
        let Some(exchange) = self.key_of(header.stream) else {
            ring.skip(header.length);
            return Some(ReadFrame::Other);
        };
        Some(match header.kind {
            Kind::Data => {
                let at = self.position(exchange).unwrap();
                self.streams[at].received += header.length;
                ReadFrame::Content { exchange, length: header.length }
            }
            Kind::End if self.streams[self.position(exchange).unwrap()].body.is_ended() => ReadFrame::ContentEnd(exchange),
            Kind::End => ReadFrame::Reset(exchange),
            Kind::Reset => ReadFrame::Reset(exchange),
            Kind::Head | Kind::Window => ReadFrame::Other,
        })
    }

    fn exchanges(&self) -> &[usize] {
        &self.keys
    }

    fn side(&mut self, exchange: usize) -> Option<&mut dyn ClientSide> {
        let at = self.position(exchange)?;
        Some(&mut self.streams[at])
    }

    fn on_room(&mut self, exchange: usize, room: usize) {
        let Some(at) = self.position(exchange) else { return };
        let stream = &mut self.streams[at];
        let more = room.saturating_sub(stream.granted - stream.received);
        if more > 0 && !stream.body.is_ended() {
            stream.granted += more;
            push(&mut self.control, Kind::Window, stream.number, &u32::try_from(more).unwrap().to_be_bytes());
        }
    }

    fn on_end(&mut self, exchange: usize, end: ExchangeEnd, rest: &[IoSlice]) {
        let Some(at) = self.position(exchange) else { return };
        self.keys.remove(at);
        let stream = self.streams.remove(at);
        if self.cut == Some(exchange) {
            let rest: Vec<u8> = rest.iter().flat_map(|slice| slice.to_vec()).collect();
            self.control.splice(0..0, rest);
            self.cut = None;
        }
        if end != ExchangeEnd::Answered {
            push(&mut self.control, Kind::Reset, stream.number, b"");
        }
    }

    fn next_sender(&self, owes: &dyn Fn(usize) -> bool) -> Option<usize> {
        let in_turn = (1..=self.keys.len()).map(|step| self.keys[(self.last + step) % self.keys.len()]);
        self.cut.or_else(|| in_turn.into_iter().find(|&key| owes(key)))
    }

    fn is_within_frame(&self, exchange: usize) -> bool {
        self.cut == Some(exchange)
    }

    fn on_sent(&mut self, exchange: usize, is_whole: bool) {
        self.cut = (!is_whole).then_some(exchange);
        self.last = self.position(exchange).unwrap_or_default();
    }

    fn control(&self) -> &[u8] {
        &self.control
    }

    fn took_control(&mut self, n: usize) {
        self.control.drain(..n);
    }
}

impl Stream {
    /// Once everything was sent, frames what lies in the ring of an answer that the front is to frame, and then its end.
    fn go_on(&mut self, down: &mut Flow) {
        if !down.may_frame() || (self.left == 0 && !self.owes_end) {
            return;
        }
        let rest = down.ring.raw();
        if rest > 0 {
            down.ring.check(rest, rest);
            self.frame(rest, down);
            if self.left > 0 {
                self.left -= rest as u64;
                self.owes_end = self.left == 0;
            }
        } else if self.owes_end {
            self.owes_end = false;
            let end = header(Kind::End, self.number, 0);
            down.frame(|block| block.extend(end), b"");
        }
    }

    fn write_head(&self, status: u16, fields: &str, down: &mut Flow) {
        push(&mut down.block, Kind::Head, self.number, format!("{status}\n{fields}").as_bytes());
    }
}

impl Recipient for Stream {
    fn interim(&mut self, _: &mut Flow, _: u16) -> bool {
        false
    }

    fn pass_interim(&mut self, _: &mut Flow, _: &Response, _: &[u8], _: &mut Turn) -> bool {
        false
    }

    fn pass_head(&mut self, down: &mut Flow, _: RequestFacts, response: &Response, _: &mut Turn) -> Recode {
        down.final_at = down.open_head();
        let field = |name: &[u8], value: &[u8]| format!("{}: {}\n", name.escape_ascii(), value.escape_ascii());
        let fields: String = response.fields.iter().map(|line| field(line.name(), line.value())).collect();
        self.write_head(response.status, &fields, down);
        down.close_head();
        Recode::Enchunk
    }

    fn answer(&mut self, down: &mut Flow, _: RequestFacts, answer: &Answer, _: &mut Turn) {
        let is_bare = self.to_head || matches!(answer.status, 204 | 304);
        self.left = answer.length.filter(|_| !is_bare).unwrap_or(0);
        self.owes_end = self.left == 0 && (is_bare || answer.length.is_some());
        down.final_at = down.open_head();
        self.write_head(answer.status, answer.fields, down);
        down.close_head();
    }

    fn add_content(&mut self, down: &mut Flow) {
        self.go_on(down);
    }

    fn end_content(&mut self, down: &mut Flow) {
        self.owes_end = true;
        self.go_on(down);
    }

    fn cut(&mut self, down: &mut Flow) {
        (self.owes_end, self.left) = (false, 0);
        down.cut();
    }

    fn is_flushed(&self, down: &Flow) -> bool {
        !down.is_owing() && !self.owes_end && self.left == 0
    }
}

impl ClientSide for Stream {
    fn read_content(&mut self, up: &mut Flow, limits: &HeadLimits) -> Result<(), Refusal> {
        up.scan(&mut self.body, limits).map(drop)
    }

    fn received(&self) -> u64 {
        self.body.received()
    }

    fn announced(&self) -> u64 {
        self.body.content()
    }

    fn opaque(&self, _: &Flow) -> u64 {
        0
    }

    fn on_moved(&mut self, _: usize, _: &mut Flow) {
        unreachable!("nothing is opaque")
    }

    fn took(&mut self, n: usize, down: &mut Flow) {
        down.took(n);
        self.go_on(down);
    }

    fn frame(&mut self, ready: usize, down: &mut Flow) {
        let header = header(Kind::Data, self.number, ready);
        down.frame(|block| block.extend(header), b"");
    }

    fn lose_framing(&mut self, up: &mut Flow) {
        up.ring.clear();
        (self.body, up.is_ended) = (Body::default(), true);
    }

    fn on_fin(&mut self, up: &mut Flow) {
        up.ring.clear();
        (self.body, up.is_ended) = (Body::default(), true);
    }

    fn open_tunnel(&mut self) {
        unreachable!("nobody asks for an upgrade");
    }
}
