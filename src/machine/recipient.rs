//! What an exchange says to the front whose client gets the answer. Each front writes it in its own protocol.

use super::flow::Flow;
use super::turn::Turn;
use crate::answer::Answer;
use crate::http::framing::Recode;
use crate::http::response::Response;

/// A client, as an exchange sees it. What is written goes into the exchange's flow to the client.
pub trait Recipient {
    /// An interim response made here: 100 or 102. Returns whether this client gets such.
    fn interim(&mut self, down: &mut Flow, status: u16) -> bool;

    /// Passes on the head of an interim response; returns whether this client gets such.
    fn pass_interim(&mut self, down: &mut Flow, response: &Response, trace_id: &[u8], turn: &mut Turn) -> bool;

    /// Passes on the head of the final response; says how its content has to come. `request` is what it must know of the request.
    fn pass_head(&mut self, down: &mut Flow, request: RequestFacts, response: &Response, turn: &mut Turn) -> Recode;

    /// Writes the head of an answer made here. Its content follows by [`Recipient::add_content`].
    fn answer(&mut self, down: &mut Flow, request: RequestFacts, answer: &Answer, turn: &mut Turn);

    /// Content of an answer made here lies raw in the ring: makes of it what can be sent. What it leaves there for now it is given again.
    fn add_content(&mut self, down: &mut Flow);

    /// The content of an answer that the front frames has come to its end.
    fn end_content(&mut self, down: &mut Flow);

    /// The answer ends here, before its end: nothing is written that would say otherwise.
    fn cut(&mut self, down: &mut Flow);

    /// Whether the client's socket has taken all of the answer that has come.
    fn is_flushed(&self, down: &Flow) -> bool;
}

/// What a front must know of the request when it writes the answer's head.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// The value of `X-Trace-ID`.
    pub trace_id: &'a [u8],
    /// Whether all of its content has come.
    pub is_read: bool,
    /// Whether the client waits for 100 (Continue) before it sends its content.
    pub awaits_continue: bool,
}
