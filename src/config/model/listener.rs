//! Where clients connect, and which of them are trusted.

use crate::base::address::{Address, Peer};
use crate::tls::server::ServerTls;
use ipnet::IpNet;

/// One listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// With port 0 the kernel chooses.
    pub address: Address,
    /// The mode of a Unix socket's file.
    pub mode: u32,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// TLS, where it is served.
    pub tls: Option<ServerTls>,
}

/// Peers, by their addresses or by how they come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Networks of addresses. IPv4 is never written as IPv6.
    pub networks: Vec<IpNet>,
    /// `unix`: all that come through a Unix socket.
    pub unix: bool,
}

impl Peers {
    /// Whether a peer is one of them.
    pub fn contains(&self, peer: Peer) -> bool {
        match peer.ip() {
            Some(ip) => self.networks.iter().any(|network| network.contains(&ip)),
            None => self.unix,
        }
    }
}
