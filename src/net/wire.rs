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
use crate::tls::client::Departure;
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What a listening address wants of those who connect, beyond HTTP.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The PROXY protocol's header, before anything else.
    proxy_protocol: bool,
    /// TLS, with these settings.
    tls: Option<Arc<ServerConfig>>,
    /// How those who connect reach what is behind: `http` or `https`.
    pub scheme: &'static str,
}

impl Default for Arrival {
    fn default() -> Self {
        Self { proxy_protocol: false, tls: None, scheme: "http" }
    }
}

impl Arrival {
    /// As configured.
    pub fn of(listener: &ListenerConfig) -> Self {
        let tls = listener.tls.as_ref().map(|tls| tls.config.clone());
        Self { proxy_protocol: listener.proxy_protocol, scheme: if tls.is_some() { "https" } else { "http" }, tls }
    }

    /// The beginning of a connection with TLS, if that is wanted.
    fn tls(&self) -> io::Result<Option<ServerConnection>> {
        self.tls.as_ref().map(|config| ServerConnection::new(config.clone()).map_err(io::Error::other)).transpose()
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

/// The same expression for whatever carries the connection. What is on top of a socket is called, so that what is most frequent stays
/// small enough to be inlined.
macro_rules! each {
    (&$self:ident, $transport:ident => $do:expr) => {
        match $self {
            Wire::Plain($transport) => $do,
            layered => {
                let $transport = layered.layers();
                $do
            }
        }
    };
    (mut $self:ident, $transport:ident => $do:expr) => {
        match $self {
            Wire::Plain($transport) => $do,
            layered => {
                let $transport = layered.layers_mut();
                $do
            }
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

    #[inline(never)]
    fn layers(&self) -> &dyn Transport<Pipe = Pipe> {
        match self {
            Self::Plain(transport) => transport,
            Self::Preface(transport, _) => &**transport,
            Self::Tls(transport) => &**transport,
        }
    }

    #[inline(never)]
    fn layers_mut(&mut self) -> &mut dyn Transport<Pipe = Pipe> {
        match self {
            Self::Plain(transport) => transport,
            Self::Preface(transport, _) => &mut **transport,
            Self::Tls(transport) => &mut **transport,
        }
    }

    /// A connection that is being made, with TLS if there is something to begin that with.
    pub fn dialled(stream: Stream, departure: Option<Departure>) -> io::Result<Self> {
        let plain = PlainTransport::dialled(stream);
        let Some(Departure { config, name }) = departure else { return Ok(Self::Plain(plain)) };
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(TlsTransport::new(plain, tls.into()))))
    }
}

impl Transport for Wire {
    type Pipe = Pipe;

    #[inline(always)]
    fn on_edge(&mut self, edge: Edge) {
        each!(mut self, transport => transport.on_edge(edge))
    }

    #[inline(always)]
    fn awaits_peer(&self) -> bool {
        each!(&self, transport => transport.awaits_peer())
    }

    #[inline(always)]
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
        each!(mut self, transport => transport.say_first(bytes))
    }

    fn open(&mut self) -> Opening {
        each!(mut self, transport => transport.open())
    }

    #[inline(always)]
    fn is_opening(&self) -> bool {
        each!(&self, transport => transport.is_opening())
    }

    fn is_amid_handshake(&self) -> bool {
        each!(&self, transport => transport.is_amid_handshake())
    }

    fn is_shaking(&self) -> bool {
        each!(&self, transport => transport.is_shaking())
    }

    fn look_for_end(&mut self) {
        each!(mut self, transport => transport.look_for_end())
    }

    fn has_unsent(&self) -> bool {
        each!(&self, transport => transport.has_unsent())
    }

    fn take_moved(&mut self) -> bool {
        each!(mut self, transport => transport.take_moved())
    }

    fn take_handshake(&mut self) -> Option<Handshake> {
        each!(mut self, transport => transport.take_handshake())
    }

    fn fault(&self) -> Option<io::Error> {
        each!(&self, transport => transport.fault())
    }

    #[inline(always)]
    fn may_read(&self) -> bool {
        each!(&self, transport => transport.may_read())
    }

    #[inline(always)]
    fn may_write(&self) -> bool {
        each!(&self, transport => transport.may_write())
    }

    #[inline(always)]
    fn is_gone(&self) -> bool {
        each!(&self, transport => transport.is_gone())
    }

    #[inline(always)]
    fn is_ending(&self) -> bool {
        each!(&self, transport => transport.is_ending())
    }

    #[inline(always)]
    fn look_again(&mut self) {
        each!(mut self, transport => transport.look_again())
    }

    #[inline(always)]
    fn fill(&mut self, ring: &mut Ring) -> Transfer {
        each!(mut self, transport => transport.fill(ring))
    }

    #[inline(always)]
    fn read(&mut self, buffer: &mut [u8]) -> Transfer {
        each!(mut self, transport => transport.read(buffer))
    }

    #[inline(always)]
    fn send(&mut self, slices: &[IoSlice]) -> Transfer {
        each!(mut self, transport => transport.send(slices))
    }

    fn may_pour(&self) -> bool {
        each!(&self, transport => transport.may_pour())
    }

    fn pour_in(&mut self, pipe: &mut Pipe, most: usize) -> Transfer {
        each!(mut self, transport => transport.pour_in(pipe, most))
    }

    fn pour_out(&mut self, pipe: &mut Pipe, most: usize) -> Transfer {
        each!(mut self, transport => transport.pour_out(pipe, most))
    }

    #[inline(always)]
    fn check_quiet(&mut self) -> bool {
        each!(mut self, transport => transport.check_quiet())
    }

    #[inline(always)]
    fn check_quiet_now(&mut self) -> bool {
        each!(mut self, transport => transport.check_quiet_now())
    }

    fn is_delivered(&self) -> bool {
        each!(&self, transport => transport.is_delivered())
    }

    fn may_part(&self) -> bool {
        each!(&self, transport => transport.may_part())
    }

    fn close(&mut self, how: Close) {
        each!(mut self, transport => transport.close(how))
    }

    fn take_leave(&mut self) -> bool {
        each!(mut self, transport => transport.take_leave())
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
