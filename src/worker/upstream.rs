//! An upstream connection's slot: how far its socket is, and what it holds of its server.

use crate::back::connection::BackConnection;
use crate::back::dial::Dial;
use crate::machine::failure::Trouble;
use crate::net::transport::{Link, Transport};
use crate::observe::reason::Reason;
use crate::tls::fault::TlsFault;
use crate::upstream::lease::Lease;
use crate::upstream::pool::Pool;
use crate::upstream::server::Server;
use std::io;
use std::sync::Arc;

/// How far an upstream connection is.
pub(super) enum Stage<T> {
    /// It has no socket yet, or will have one when there may be room at the address.
    Waiting(Dial),
    /// The socket connects.
    Connecting { link: Link<T>, dial: Dial },
    /// It is made.
    Open { link: Link<T>, back: BackConnection },
    /// It is closing, and its transport has something left to say.
    Leaving(Link<T>),
    /// All is said. At the end of the turn the socket, if it ever had one, is closed, and the slot is free.
    Left(Option<Link<T>>),
}

/// How an exchange leaves its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// It may serve again.
    Keep,
    /// It cannot serve again.
    Close,
    /// It is in the middle of something.
    Reset,
}

/// An upstream connection's slot. Whatever its stage, it knows the exchanges that need it; they know its key.
pub struct Upstream<T> {
    pub(super) stage: Stage<T>,
    /// The server's pool in the newest site that has the server, whose queue its place helps.
    pub(super) pool: Arc<Pool>,
    /// After the socket, so that its place is free only once that is closed.
    pub(super) lease: Lease,
    /// How long it may be idle; 0 = it serves no exchange after the present one.
    pub(super) keepalive_ms: u32,
}

impl<T> Upstream<T> {
    pub(super) fn server(&self) -> &Arc<Server> {
        self.lease.server()
    }

    /// What carries the bytes of its exchanges, while it is open.
    #[inline]
    pub(super) fn link(&self) -> Option<&Link<T>> {
        if let Stage::Open { link, .. } = &self.stage { Some(link) } else { None }
    }

    /// The same, to be used.
    #[inline]
    pub(super) fn link_mut(&mut self) -> Option<&mut Link<T>> {
        if let Stage::Open { link, .. } = &mut self.stage { Some(link) } else { None }
    }

    /// Whether its address took the connection, and the handshake is still to be done.
    pub(super) fn is_amid_handshake(&self) -> bool
    where
        T: Transport,
    {
        matches!(&self.stage, Stage::Connecting { link, .. } if link.is_amid_handshake())
    }

    /// What is known of an error of its connection, where TLS has told it.
    pub(super) fn trouble(&self, error: &io::Error) -> Option<Trouble> {
        let fault = self.pool.tls.as_ref()?.explain(error)?;
        let reason = match fault {
            TlsFault::Certificate(_) => Reason::TlsCertificateError,
            TlsFault::Protocol(_) => Reason::TlsProtocolError,
            TlsFault::Cut(_) => Reason::ConnectionTerminated,
        };
        Some(Trouble { reason, words: fault.into_words() })
    }

    /// Its socket, from the first connect until all is said.
    #[inline]
    pub(super) fn socket_mut(&mut self) -> Option<&mut Link<T>> {
        match &mut self.stage {
            Stage::Connecting { link, .. } | Stage::Open { link, .. } | Stage::Leaving(link) => Some(link),
            Stage::Waiting(_) | Stage::Left(_) => None,
        }
    }

    /// Who uses it, while it is open.
    #[inline]
    pub(super) fn back(&self) -> Option<&BackConnection> {
        if let Stage::Open { back, .. } = &self.stage { Some(back) } else { None }
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn back_mut(&mut self) -> Option<&mut BackConnection> {
        if let Stage::Open { back, .. } = &mut self.stage { Some(back) } else { None }
    }

    /// Whether nobody uses it, and it may be closed.
    pub(super) fn is_idle(&self) -> bool {
        self.back().is_some_and(BackConnection::is_idle)
    }

    /// Whether it is closing.
    pub fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving(_) | Stage::Left(_))
    }

    /// The exchanges that use it, or wait for it.
    pub fn exchanges(&self) -> impl Iterator<Item = usize> + use<T> {
        let carried = match &self.stage {
            Stage::Waiting(dial) | Stage::Connecting { dial, .. } => Some(dial.exchanges()),
            Stage::Open { back, .. } => back.exchanges(),
            Stage::Leaving(_) | Stage::Left(_) => None,
        };
        carried.cloned().into_iter().flat_map(|carried| carried.iter())
    }

    /// Goes to another stage, which is made of the present one.
    pub(super) fn pass_to(&mut self, next: impl FnOnce(Stage<T>) -> Stage<T>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Left(None));
        self.stage = next(stage);
    }
}

impl<T> Stage<T> {
    /// The socket, if there is one.
    pub(super) fn into_link(self) -> Option<Link<T>> {
        match self {
            Self::Connecting { link, .. } | Self::Open { link, .. } | Self::Leaving(link) => Some(link),
            Self::Waiting(_) => None,
            Self::Left(link) => link,
        }
    }
}
