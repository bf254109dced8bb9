//! Addresses of sockets: what can be listened on and dialled, and who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix stream socket, by the path of its file.
    Unix(Arc<Path>),
}

impl Address {
    /// The TCP port.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// The same with another TCP port; a Unix socket has none.
    pub fn at_port(self, port: u16) -> Self {
        match self {
            Self::Ip(mut address) => {
                address.set_port(port);
                Self::Ip(address)
            }
            Self::Unix(_) => self,
        }
    }

    /// Whether whoever binds it is given another one: TCP port 0.
    pub fn is_any_port(&self) -> bool {
        self.port() == Some(0)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// `127.0.0.1:80`, `[::1]:80`, `unix:/path`
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Who is at the other end of a connection, or whom a trusted proxy forwards for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address, never an IPv4 one that is written as IPv6, and the port where that is known.
    Ip(IpAddr, Option<u16>),
    /// A process on this machine that may open the socket's file: it has no address.
    Unix,
}

impl Peer {
    /// Of an address that may be an IPv4 one written as IPv6.
    pub fn of(address: IpAddr, port: Option<u16>) -> Self {
        Self::Ip(address.to_canonical(), port)
    }

    /// Its address.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip, _) => Some(ip),
            Self::Unix => None,
        }
    }

    /// Whether it is on this machine.
    pub fn is_local(self) -> bool {
        self.ip().is_none_or(|ip| ip.is_loopback())
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::of(address.ip(), Some(address.port()))
    }
}

/// `127.0.0.1:80`, `[::1]:80`, an address without its port where that is not known, `unix`
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ip(ip, Some(port)) => SocketAddr::new(ip, port).fmt(f),
            Self::Ip(ip, None) => ip.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_they_are_shown() {
        let ip = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(Address::from(ip("[::1]:80")).to_string(), "[::1]:80");
        assert_eq!(Address::Unix(Path::new("/run/a.sock").into()).to_string(), "unix:/run/a.sock");
        assert_eq!(Peer::from(ip("[::ffff:192.0.2.1]:5")).to_string(), "192.0.2.1:5");
        assert_eq!(Peer::of(ip("[::1]:5").ip(), None).to_string(), "::1");
        assert_eq!(Peer::Unix.to_string(), "unix");
    }

    #[test]
    fn another_port() {
        let moved = |text: &str| Address::from(text.parse::<SocketAddr>().unwrap()).at_port(7).to_string();
        assert_eq!((moved("127.0.0.1:80"), moved("[fe80::1%3]:80")), ("127.0.0.1:7".into(), "[fe80::1%3]:7".into()));
        let unix = Address::Unix(Path::new("/run/a.sock").into());
        assert_eq!(unix.clone().at_port(7), unix);
    }

    #[test]
    fn who_is_on_this_machine() {
        let is_local = |text: &str| Peer::from(text.parse::<SocketAddr>().unwrap()).is_local();
        assert!(is_local("127.9.9.9:1") && is_local("[::1]:1") && is_local("[::ffff:127.0.0.1]:1") && Peer::Unix.is_local());
        assert!(!is_local("192.0.2.1:1") && !is_local("[2001:db8::1]:1"));
    }
}
