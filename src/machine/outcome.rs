//! What the machines tell one another about heads and ends.

use crate::http::framing::Recode;

/// What happens to a response whose head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// An interim head has gone to the client, if it gets such; another head follows.
    Interim,
    /// The head has gone to the client; so is its content to come.
    Final(Recode),
    /// It is dropped for another attempt, because of this status.
    Over(u16),
    /// It is no answer to this request.
    Aside,
}

/// What a back knows at the end of an answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerEnd {
    /// Whether the connection may serve again, as far as the upstream's words and bytes go.
    pub keep: bool,
    /// Whether the answer had no content.
    pub is_bare: bool,
}

/// How an exchange ended, and what that means for the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeEnd {
    /// The client has the whole answer.
    Answered,
    /// What the client has lacks the rest, which it must be able to see.
    Cut,
    /// The same, and the client takes nothing any more.
    CutOff,
    /// Nobody waits for anything more.
    Closed,
    /// The process ends in the middle of the answer.
    ClosedMidway,
    /// A tunnel whose client may still be sending.
    Lingers,
}
