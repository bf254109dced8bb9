//! What counts as one client.

use crate::base::address::Peer;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address, also one written or translated as IPv6, or the /64 of an IPv6 address, which is what one customer gets. All
/// clients of Unix sockets are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(u128);

impl ClientId {
    /// The client that a peer belongs to.
    pub fn of(peer: Peer) -> Self {
        match peer {
            // A mapped address, and this one, have bits in their lower half and a /64 has none, so the kinds never collide.
            Peer::Unix => Self(1),
            Peer::Ip(IpAddr::V4(address), _) => Self(address.to_ipv6_mapped().into()),
            Peer::Ip(IpAddr::V6(address), _) => match behind_nat64(address) {
                Some(address) => Self(address.to_ipv6_mapped().into()),
                None => Self(u128::from(address) & !u128::from(u64::MAX)),
            },
        }
    }
}

/// The IPv4 address that NAT64 writes as `64:ff9b::/96` (RFC 6052 2.1). As one /64, all IPv4 clients behind it would be one client.
fn behind_nat64(address: Ipv6Addr) -> Option<Ipv4Addr> {
    const PREFIX: u128 = 0x0064_ff9b << 96;
    let bits = u128::from(address);
    (bits >> 32 == PREFIX >> 32).then_some(Ipv4Addr::from_bits(bits as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_client_and_an_ipv4_address_another() {
        let id = |address: &str| ClientId::of(Peer::of(address.parse().unwrap(), None));
        assert_eq!(id("2001:db8:1:2::1"), id("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(id("2001:db8:1:2::1"), id("2001:db8:1:3::1"));
        assert_eq!(id("::ffff:192.0.2.1"), id("192.0.2.1"));
        assert_ne!(id("192.0.2.1"), id("192.0.2.2"));
        assert_ne!(id("0.0.0.0"), id("::"));
        assert_ne!(ClientId::of(Peer::Unix), id("::1"));
        assert_eq!(id("64:ff9b::192.0.2.1"), id("192.0.2.1"));
        assert_ne!(id("64:ff9b::192.0.2.1"), id("64:ff9b::192.0.2.2"));
        assert_eq!(id("64:ff9b:0:0:1::1"), id("64:ff9b:0:0:2::1"));
    }
}
