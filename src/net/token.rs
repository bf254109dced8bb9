//! What a poll's token stands for.

use mio::Token;

/// Something that a worker's loop waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Mail.
    Waker,
    /// The signal pipe (worker 0).
    Signals,
    /// A listening socket, by its number in the worker.
    Listener(usize),
    /// A client's connection, by its slot.
    Client(usize),
    /// An upstream connection, by its slot.
    Upstream(usize),
}

const KINDS: usize = 4;

impl Source {
    /// As a token.
    pub fn token(self) -> Token {
        Token(match self {
            Self::Waker => 0,
            Self::Signals => KINDS,
            Self::Listener(number) => number * KINDS + 1,
            Self::Client(key) => key * KINDS + 2,
            Self::Upstream(key) => key * KINDS + 3,
        })
    }

    /// Of a token that [`Source::token`] made.
    pub fn of(token: Token) -> Self {
        let (index, kind) = (token.0 / KINDS, token.0 % KINDS);
        match kind {
            0 if index == 0 => Self::Waker,
            0 => Self::Signals,
            1 => Self::Listener(index),
            2 => Self::Client(index),
            _ => Self::Upstream(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for source in [Source::Waker, Source::Signals, Source::Listener(3), Source::Client(0), Source::Upstream(9)] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
