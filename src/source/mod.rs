//! Where an answer comes from, and how its content gets into an exchange's flow to the client: piece by piece, as much at a time as there
//! is room for, from where it lies.
//!
//! An upstream's content comes through a back. Every other source is here: a [`Supply`] fills the flow's ring whenever the client has
//! taken something, so that however long the content is, no more of it is held for a client than fits its ring.

mod supply;
#[cfg(test)]
mod tests;

pub use supply::{Progress, Stock, Supply, Texts};

use crate::admin::AdminPage;
use std::fmt::Debug;

/// Who answers a request.
#[derive(Debug)]
pub enum AnswerSource {
    /// An upstream.
    Upstream,
    /// Nobody but the head, which has this status.
    Bare(u16),
    /// `respond`: a status, and a text that the configuration has.
    Respond(u16),
    /// `echo`: its content ends with the size of the request's body, so it waits for that.
    Echo,
    /// A page of the admin port, which a helper thread renders.
    Page(AdminPage),
    /// Something like a file.
    Produced(Production),
}

/// An answer whose content a producer gives.
#[derive(Debug)]
pub struct Production {
    /// The status.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The content.
    pub producer: Box<dyn Producer>,
}

/// Gives content piece by piece, like a file. It is dropped as soon as nobody wants more of it.
pub trait Producer: Debug {
    /// How many bytes it will give, if that is known before.
    fn length(&self) -> Option<u64>;

    /// Writes the next bytes to `into`, which is not empty. Must not block.
    fn read(&mut self, into: &mut [u8]) -> Produced;
}

/// What a producer has for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Produced {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing yet. The exchange is told when there is more, and may ask again before that.
    NotNow,
    /// Nothing any more. Before the length that was said, it means that something is missing.
    End,
}
