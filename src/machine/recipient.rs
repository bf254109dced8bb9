//! What an exchange says to the front whose client gets the answer. Each front writes it in its own protocol.

use super::flow::Flow;
use super::turn::Turn;
use crate::answer::Answer;
use crate::http::framing::Recode;
use crate::http::response::Response;
use crate::http::{HeadLimits, Refusal};

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

/// The whole of a front's part in one exchange: besides what it writes, how it reads content and frames that of the answer.
pub trait ClientSide: Recipient {
    /// Looks at new bytes of the request's content.
    fn read_content(&mut self, up: &mut Flow, limits: &HeadLimits) -> Result<(), Refusal>;

    /// Bytes of content that have come.
    fn received(&self) -> u64;

    /// The same, and those that the piece in progress announces.
    fn announced(&self) -> u64;

    /// How many of the following bytes of the request need no look, and may bypass the ring.
    fn opaque(&self, up: &Flow) -> u64;

    /// Notes that `n` of these were moved past the ring.
    fn on_moved(&mut self, n: usize, up: &mut Flow);

    /// The client's transport took `n` bytes of the answer.
    fn took(&mut self, n: usize, down: &mut Flow);

    /// Frames what has just become ready of an answer's content, because the front said so when it passed on the head.
    fn frame(&mut self, ready: usize, down: &mut Flow);

    /// How the request is framed is broken, while its answer is on its way: no other request can be read after it.
    fn lose_framing(&mut self, up: &mut Flow);

    /// The client closed its sending side while its answer is on its way.
    fn on_fin(&mut self, up: &mut Flow);

    /// From here on the client's bytes are not looked at.
    fn open_tunnel(&mut self);
}

impl<T: ClientSide + ?Sized> Recipient for &mut T {
    fn interim(&mut self, down: &mut Flow, status: u16) -> bool {
        (**self).interim(down, status)
    }

    fn pass_interim(&mut self, down: &mut Flow, response: &Response, trace_id: &[u8], turn: &mut Turn) -> bool {
        (**self).pass_interim(down, response, trace_id, turn)
    }

    fn pass_head(&mut self, down: &mut Flow, request: RequestFacts, response: &Response, turn: &mut Turn) -> Recode {
        (**self).pass_head(down, request, response, turn)
    }

    fn answer(&mut self, down: &mut Flow, request: RequestFacts, answer: &Answer, turn: &mut Turn) {
        (**self).answer(down, request, answer, turn)
    }

    fn add_content(&mut self, down: &mut Flow) {
        (**self).add_content(down)
    }

    fn end_content(&mut self, down: &mut Flow) {
        (**self).end_content(down)
    }

    fn cut(&mut self, down: &mut Flow) {
        (**self).cut(down)
    }

    fn is_flushed(&self, down: &Flow) -> bool {
        (**self).is_flushed(down)
    }
}

impl<T: ClientSide + ?Sized> ClientSide for &mut T {
    fn read_content(&mut self, up: &mut Flow, limits: &HeadLimits) -> Result<(), Refusal> {
        (**self).read_content(up, limits)
    }

    fn received(&self) -> u64 {
        (**self).received()
    }

    fn announced(&self) -> u64 {
        (**self).announced()
    }

    fn opaque(&self, up: &Flow) -> u64 {
        (**self).opaque(up)
    }

    fn on_moved(&mut self, n: usize, up: &mut Flow) {
        (**self).on_moved(n, up)
    }

    fn took(&mut self, n: usize, down: &mut Flow) {
        (**self).took(n, down)
    }

    fn frame(&mut self, ready: usize, down: &mut Flow) {
        (**self).frame(ready, down)
    }

    fn lose_framing(&mut self, up: &mut Flow) {
        (**self).lose_framing(up)
    }

    fn on_fin(&mut self, up: &mut Flow) {
        (**self).on_fin(up)
    }

    fn open_tunnel(&mut self) {
        (**self).open_tunnel()
    }
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
    /// The value of a `Set-Cookie` of our own.
    pub set_cookie: Option<&'a str>,
}
