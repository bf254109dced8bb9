//! What the token of an event stands for.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Something that a worker's loop waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The mailbox has messages.
    Waker,
    /// A listening socket, by its number in the worker.
    Listener(usize),
    /// A client connection, by its slot.
    Client(usize),
    /// An upstream connection, by its slot.
    Upstream(usize),
    /// The connection of a health check, by its slot (only in worker 0).
    Check(usize),
}

const KINDS: usize = 5;

impl Source {
    /// Has the poll report this socket's events under the token, for as long as the socket is open.
    pub fn register(self, registry: &Registry, socket: &impl AsFd, interests: Interest) -> io::Result<()> {
        registry.register(&mut SourceFd(&socket.as_fd().as_raw_fd()), self.token(), interests)
    }

    /// The token of this source.
    pub fn token(self) -> Token {
        Token(match self {
            Self::Waker => 0,
            Self::Listener(number) => number * KINDS + 1,
            Self::Client(key) => key * KINDS + 2,
            Self::Upstream(key) => key * KINDS + 3,
            Self::Check(key) => key * KINDS + 4,
        })
    }

    /// The source of a token that [`Source::token`] made.
    pub fn of(token: Token) -> Self {
        let (index, kind) = (token.0 / KINDS, token.0 % KINDS);
        match kind {
            0 => Self::Waker,
            1 => Self::Listener(index),
            2 => Self::Client(index),
            3 => Self::Upstream(index),
            _ => Self::Check(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let own = [Source::Waker, Source::Listener(3)];
        for source in own.into_iter().chain([Source::Client(0), Source::Upstream(9), Source::Check(0), Source::Check(7)]) {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
