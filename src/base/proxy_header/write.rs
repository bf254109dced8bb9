//! Headers to send.

use super::block::SIGNATURE;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ProxyVersion {
    V1,
    V2,
}

/// The header of a connection for a client, or without one: it then says nothing of addresses, as a Unix client's has to and a health
/// check's. An IPv4 address beside an IPv6 one is written as IPv6.
pub fn write(version: ProxyVersion, client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => line(client),
        ProxyVersion::V2 => block(client),
    }
}

fn line(client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = client else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let ports = (source.port(), destination.port());
    let (family, source, destination) = match (source.ip(), destination.ip()) {
        (source @ IpAddr::V4(_), destination @ IpAddr::V4(_)) => ("TCP4", source, destination),
        (source, destination) => ("TCP6", as_v6(source).into(), as_v6(destination).into()),
    };
    format!("PROXY {family} {source} {destination} {} {}\r\n", ports.0, ports.1).into_bytes()
}

fn block(client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut block = SIGNATURE.to_vec();
    match client.map(|(source, destination)| (source, destination, source.ip(), destination.ip())) {
        None => block.extend([0x20, 0x00, 0, 0]),
        Some((_, _, IpAddr::V4(source), IpAddr::V4(destination))) => {
            block.extend([0x21, 0x11, 0, 12]);
            block.extend(source.octets());
            block.extend(destination.octets());
        }
        Some((_, _, source, destination)) => {
            block.extend([0x21, 0x21, 0, 36]);
            block.extend(as_v6(source).octets());
            block.extend(as_v6(destination).octets());
        }
    }
    if let Some((source, destination)) = client {
        block.extend(source.port().to_be_bytes());
        block.extend(destination.port().to_be_bytes());
    }
    block
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
