//! The seat for a protocol that carries several exchanges on one connection.
//!
//! Such a front reads frames, each about one exchange or about none, and says how much more content each exchange may send. The answers
//! lie in the exchanges' own flows, framed there by [`Multiplexed::side`]; it says [`crate::http::framing::Recode::Enchunk`] of each, so
//! that no content passes it by. The worker sends one exchange's frames after another's, each
//! frame whole. Frames that belong to no exchange lie in [`Multiplexed::control`].

use super::NewExchange;
use crate::base::ring::Ring;
use crate::http::request::Request;
use crate::machine::recipient::ClientSide;
use crate::machine::{ExchangeEnd, Turn};
use std::fmt::Debug;
use std::io::IoSlice;

/// What a frame was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrame {
    /// A request: an exchange with this key has begun.
    Begun(usize),
    /// Content of an exchange: so many bytes, which lie at the front of the ring.
    Content {
        /// The key of the exchange.
        exchange: usize,
        /// How many bytes.
        length: usize,
    },
    /// The content of that exchange is complete.
    ContentEnd(usize),
    /// The client gives that exchange up.
    Reset(usize),
    /// Something that concerns no exchange.
    Other,
}

/// Begins an exchange with a request.
pub type Begin<'a> = &'a mut dyn FnMut(&Request, &mut Turn) -> NewExchange;

/// A protocol with several exchanges on one connection. Exchanges are told apart by their keys.
pub trait Multiplexed: Debug {
    /// Whether a whole frame lies in the ring that may be read now. What the client makes the protocol say must not grow without end:
    /// where much of that is unsent, nothing is read.
    fn has_frame(&self, ring: &Ring) -> bool;

    /// Whether what the client has sent cannot be understood: the connection ends.
    fn is_broken(&self) -> bool;

    /// Takes the next whole frame out of the ring, but for content, which the caller takes. `None` where [`Multiplexed::has_frame`] is
    /// false.
    fn read(&mut self, ring: &mut Ring, turn: &mut Turn, begin: Begin) -> Option<ReadFrame>;

    /// The exchanges in progress.
    fn exchanges(&self) -> &[usize];

    /// The front's part in an exchange.
    fn side(&mut self, exchange: usize) -> Option<&mut dyn ClientSide>;

    /// An exchange has room for so many bytes of content, those included that the client may send already.
    fn on_room(&mut self, exchange: usize, room: usize);

    /// An exchange is over. `rest` is what has not been sent of its frames.
    fn on_end(&mut self, exchange: usize, end: ExchangeEnd, rest: &[IoSlice]);

    /// The exchange whose frames are sent next, of those that owe some; one whose frame was cut by a short send goes on.
    fn next_sender(&self, owes: &dyn Fn(usize) -> bool) -> Option<usize>;

    /// Whether a frame of that exchange was cut by a short send.
    fn is_within_frame(&self, exchange: usize) -> bool;

    /// Frames of that exchange were sent; `is_whole`: all that it owed.
    fn on_sent(&mut self, exchange: usize, is_whole: bool);

    /// Frames that belong to no exchange. They are sent before those of exchanges, if no frame is cut.
    fn control(&self) -> &[u8];

    /// Notes that `n` bytes of them were sent.
    fn took_control(&mut self, n: usize);
}
