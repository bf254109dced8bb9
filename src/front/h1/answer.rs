//! Answers as HTTP/1 text.

use super::serving::{Fate, Framer, Serving};
use crate::answer::{Answer, Frame};
use crate::http::framing::{BodyLength, Recode};
use crate::http::response::Response;
use crate::http::write::{self, ResponseAdditions};
use crate::machine::Turn;
use crate::machine::flow::Flow;
use crate::machine::recipient::{Recipient, RequestFacts};

impl Recipient for Serving {
    fn interim(&mut self, down: &mut Flow, status: u16) -> bool {
        let head: &[u8] = if status == 100 { b"HTTP/1.1 100 Continue\r\n\r\n" } else { b"HTTP/1.1 102 Processing\r\n\r\n" };
        if self.minor == 1 {
            down.open_head();
            down.block.extend_from_slice(head);
            down.close_head();
        }
        self.minor == 1
    }

    fn pass_interim(&mut self, down: &mut Flow, response: &Response, trace_id: &[u8], turn: &mut Turn) -> bool {
        if self.minor == 1 {
            write_head(down, response, self.additions(Recode::Same, true, trace_id, turn));
        }
        self.minor == 1
    }

    fn pass_head(&mut self, down: &mut Flow, request: RequestFacts, response: &Response, turn: &mut Turn) -> Recode {
        let recode = match (self.minor, response.length) {
            (0, BodyLength::Chunked) => Recode::Dechunk,
            (1, BodyLength::UntilClose) => Recode::Enchunk,
            _ => Recode::Same,
        };
        self.ends_with_close = self.minor == 0 && matches!(response.length, BodyLength::Chunked | BodyLength::UntilClose);
        // RFC 9110 10.1.1: a client without a 100 may send its next request where the content would be read.
        let may_skip_content = request.awaits_continue && !request.is_read;
        if self.ends_with_close || turn.is_leaving || may_skip_content {
            self.fate = Fate::Closed;
        }
        let additions = self.additions(recode, self.fate == Fate::Kept, request.trace_id, turn);
        down.final_at = write_head(down, response, ResponseAdditions { set_cookie: request.set_cookie, ..additions });
        recode
    }

    fn answer(&mut self, down: &mut Flow, request: RequestFacts, answer: &Answer, turn: &mut Turn) {
        let is_chunked = answer.length.is_none() && self.minor == 1;
        self.framer = if is_chunked { Framer::of_chunks() } else { Framer::default() };
        self.ends_with_close = answer.length.is_none() && !is_chunked;
        if !request.is_read || self.ends_with_close || turn.is_leaving {
            self.fate = Fate::Closed;
        }
        down.final_at = down.open_head();
        let frame = Frame {
            minor: self.minor,
            persists: self.fate == Fate::Kept,
            date: turn.date.at(turn.now.wall_ms),
            trace_id: request.trace_id,
        };
        answer.write(&mut down.block, frame);
        down.close_head();
    }

    fn add_content(&mut self, down: &mut Flow) {
        self.framer.add(down);
    }

    fn end_content(&mut self, down: &mut Flow) {
        if !self.ends_with_close {
            self.framer.end(down);
        }
    }

    fn cut(&mut self, down: &mut Flow) {
        self.framer.stop();
        down.cut();
    }

    fn is_flushed(&self, down: &Flow) -> bool {
        !down.is_owing() && self.framer.is_done()
    }
}

impl Serving {
    /// What is added to a head for the client.
    fn additions<'a>(&self, recode: Recode, persists: bool, trace_id: &'a [u8], turn: &'a mut Turn) -> ResponseAdditions<'a> {
        ResponseAdditions { minor: self.minor, persists, recode, date: turn.date.at(turn.now.wall_ms), trace_id, set_cookie: None }
    }
}

/// Writes a head for the client; returns how many bytes are sent before it.
fn write_head(down: &mut Flow, response: &Response, reply: ResponseAdditions) -> u64 {
    let at = down.open_head();
    write::response_head(&mut down.block, response, reply);
    down.close_head();
    at
}
