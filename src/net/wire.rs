//! What carries the connections of production: a socket as it is, or with more on top.

use super::pipe::Pipe;
use super::stream::Stream;
use super::transport::plain::PlainTransport;
use super::transport::preface::PrefaceTransport;
use super::transport::tls::TlsTransport;
use super::transport::{Close, Edge, Handshake, Introduction, Opening, Transfer, Transport};
use crate::base::address::Peer;
use crate::base::ring::Ring;
use crate::config::model::ListenerConfig;
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What a listening address wants of those who connect, beyond HTTP.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    /// The PROXY protocol's header, before anything else.
    proxy_protocol: bool,
    /// TLS, with these settings.
    tls: Option<Arc<ServerConfig>>,
}

impl Arrival {
    /// As configured.
    pub fn of(listener: &ListenerConfig) -> Self {
        Self { proxy_protocol: listener.proxy_protocol, tls: listener.tls.as_ref().map(|tls| tls.config.clone()) }
    }

    /// The beginning of a connection with TLS, if that is wanted.
    fn tls(&self) -> io::Result<Option<ServerConnection>> {
        self.tls.as_ref().map(|config| ServerConnection::new(config.clone()).map_err(io::Error::other)).transpose()
    }

    /// How those who connect reach what is behind: `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// A connection of production.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Wire {
    Plain(PlainTransport<Stream>),
    /// It becomes another one when its preface has come.
    Preface(Box<PrefaceTransport<Stream>>, Arc<Arrival>),
    Tls(Box<TlsTransport<Stream>>),
}

/// The same expression for whatever carries the connection.
macro_rules! each {
    ($self:ident, $transport:ident => $do:expr) => {
        match $self {
            Wire::Plain($transport) => $do,
            Wire::Preface($transport, _) => $do,
            Wire::Tls($transport) => $do,
        }
    };
}

impl Wire {
    /// A connection that was accepted.
    pub fn accepted(stream: Stream, peer: Peer, arrival: &Arc<Arrival>) -> io::Result<Self> {
        let plain = PlainTransport::accepted(stream);
        match arrival.proxy_protocol {
            false => Ok(Self::on(plain, arrival.tls()?)),
            true => Ok(Self::Preface(Box::new(PrefaceTransport::new(plain, peer)), arrival.clone())),
        }
    }

    /// A connection that was accepted, from where its preface ends.
    fn on(plain: PlainTransport<Stream>, tls: Option<ServerConnection>) -> Self {
        match tls {
            None => Self::Plain(plain),
            Some(tls) => Self::Tls(Box::new(TlsTransport::new(plain, tls.into()))),
        }
    }

    /// A connection that is being made.
    pub fn dialled(stream: Stream) -> Self {
        Self::Plain(PlainTransport::dialled(stream))
    }
}

impl Transport for Wire {
    type Pipe = Pipe;

    #[inline]
    fn on_edge(&mut self, edge: Edge) {
        each!(self, transport => transport.on_edge(edge))
    }

    #[inline]
    fn awaits_peer(&self) -> bool {
        each!(self, transport => transport.awaits_peer())
    }

    #[inline]
    fn take_peer(&mut self) -> Option<Result<Introduction, String>> {
        let Self::Preface(preface, arrival) = self else { return None };
        let introduction = match preface.take_peer()? {
            Ok(introduction) => introduction,
            refused => return Some(refused),
        };
        match arrival.tls() {
            Ok(tls) => {
                if let Some(plain) = preface.take_plain() {
                    *self = Self::on(plain, tls);
                }
                Some(Ok(introduction))
            }
            Err(error) => {
                preface.give_up();
                Some(Err(error.to_string()))
            }
        }
    }

    fn say_first(&mut self, bytes: Vec<u8>) {
        each!(self, transport => transport.say_first(bytes))
    }

    fn open(&mut self) -> Opening {
        each!(self, transport => transport.open())
    }

    #[inline]
    fn is_opening(&self) -> bool {
        each!(self, transport => transport.is_opening())
    }

    fn take_handshake(&mut self) -> Option<Handshake> {
        each!(self, transport => transport.take_handshake())
    }

    #[inline]
    fn may_read(&self) -> bool {
        each!(self, transport => transport.may_read())
    }

    #[inline]
    fn may_write(&self) -> bool {
        each!(self, transport => transport.may_write())
    }

    #[inline]
    fn is_gone(&self) -> bool {
        each!(self, transport => transport.is_gone())
    }

    #[inline]
    fn is_ending(&self) -> bool {
        each!(self, transport => transport.is_ending())
    }

    #[inline]
    fn look_again(&mut self) {
        each!(self, transport => transport.look_again())
    }

    #[inline]
    fn fill(&mut self, ring: &mut Ring) -> Transfer {
        each!(self, transport => transport.fill(ring))
    }

    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> Transfer {
        each!(self, transport => transport.read(buffer))
    }

    #[inline]
    fn send(&mut self, slices: &[IoSlice]) -> Transfer {
        each!(self, transport => transport.send(slices))
    }

    fn may_pour(&self) -> bool {
        each!(self, transport => transport.may_pour())
    }

    fn pour_in(&mut self, pipe: &mut Pipe, most: usize) -> Transfer {
        each!(self, transport => transport.pour_in(pipe, most))
    }

    fn pour_out(&mut self, pipe: &mut Pipe, most: usize) -> Transfer {
        each!(self, transport => transport.pour_out(pipe, most))
    }

    #[inline]
    fn check_quiet(&mut self) -> bool {
        each!(self, transport => transport.check_quiet())
    }

    #[inline]
    fn check_quiet_now(&mut self) -> bool {
        each!(self, transport => transport.check_quiet_now())
    }

    fn is_delivered(&self) -> bool {
        each!(self, transport => transport.is_delivered())
    }

    fn may_part(&self) -> bool {
        each!(self, transport => transport.may_part())
    }

    fn close(&mut self, how: Close) {
        each!(self, transport => transport.close(how))
    }

    fn take_leave(&mut self) -> bool {
        each!(self, transport => transport.take_leave())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(transport) => transport.as_fd(),
            Self::Preface(transport, _) => transport.socket().as_fd(),
            Self::Tls(transport) => transport.socket().as_fd(),
        }
    }
}
