//! Headers of the PROXY protocol: one verdict, whole or in pieces; what is announced is what another implementation, the crate `ppp`,
//! reads, where both accept; and what is written is read.

use ppp::{v1, v2};
use std::net::SocketAddr;
use tidegate::base::proxy_header::{Announced, Fault, Header, LONGEST, MOST_OF_BLOCK, ProxyVersion, read, write};

/// Checks one input, which begins with a header or not.
pub fn header(input: &[u8]) -> Result<Option<Header>, Fault> {
    let verdict = read(input);
    // Beyond the longest header nothing matters.
    let pieces = input.len().min(LONGEST + 1);
    let first = (0..=pieces).map(|n| read(&input[..n])).find(|verdict| *verdict != Ok(None)).unwrap_or(Ok(None));
    assert_eq!(verdict, first, "whole and byte by byte");
    match verdict {
        Ok(Some(found)) => {
            assert!(found.length <= input.len() && found.length <= LONGEST);
            assert_eq!(read(&input[..found.length]), verdict, "without what follows it");
            write_again(found);
            compare(&input[..found.length], found);
        }
        Ok(None) => assert!(input.len() < LONGEST, "no header is longer"),
        Err(fault) => compare_refused(input, fault),
    }
    verdict
}

fn write_again(found: Header) {
    let client = match found.announced {
        Announced::Ip { source, destination } => Some((source, destination)),
        Announced::Itself | Announced::Unix => None,
    };
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let written = write(version, client);
        let announced = if client.is_some() { found.announced } else { Announced::Itself };
        assert_eq!(read(&written), Ok(Some(Header { length: written.len(), announced })));
    }
}

/// What the other implementation reads in a header that is accepted here.
fn compare(header: &[u8], found: Header) {
    let other = if header.starts_with(b"PROXY ") {
        let Ok(other) = v1::Header::try_from(header) else {
            // It counts the words that are to be ignored, and wants them to be text.
            return assert_eq!(found.announced, Announced::Itself);
        };
        assert_eq!(other.header.len(), found.length);
        match other.addresses {
            v1::Addresses::Tcp4(ip) => announced((ip.source_address, ip.source_port), (ip.destination_address, ip.destination_port)),
            v1::Addresses::Tcp6(ip) => announced((ip.source_address, ip.source_port), (ip.destination_address, ip.destination_port)),
            v1::Addresses::Unknown => Announced::Itself,
        }
    } else {
        let Ok(other) = v2::Header::try_from(header) else {
            // It looks at addresses that are to be ignored.
            return assert_eq!(found.announced, Announced::Itself);
        };
        assert_eq!(other.header.len(), found.length);
        let is_ignored = other.command == v2::Command::Local || other.protocol == v2::Protocol::Unspecified;
        match other.addresses {
            // It leaves that to who asks.
            _ if is_ignored => Announced::Itself,
            v2::Addresses::Unspecified => Announced::Itself,
            v2::Addresses::IPv4(ip) => announced((ip.source_address, ip.source_port), (ip.destination_address, ip.destination_port)),
            v2::Addresses::IPv6(ip) => announced((ip.source_address, ip.source_port), (ip.destination_address, ip.destination_port)),
            v2::Addresses::Unix(_) => Announced::Unix,
        }
    };
    assert_eq!(other, found.announced);
}

/// Of what is refused here the other implementation accepts only these.
fn compare_refused(input: &[u8], fault: Fault) {
    if let Ok(other) = v1::Header::try_from(input) {
        let has_bare_lf = other.header.trim_end_matches("\r\n").contains('\n');
        // The standard library reads numbers with a plus sign.
        assert!(has_bare_lf || other.header.contains(" +"), "{fault}: {other:?}");
    }
    if let Ok(other) = v2::Header::try_from(input) {
        // It leaves what follows the addresses to who asks, and knows no checksum.
        let is_wrong_inside = other.tlvs().any(|tlv| tlv.is_err_or_checksum());
        assert!(other.length() > MOST_OF_BLOCK || is_wrong_inside, "{fault}: {other:?}");
    }
}

trait Suspicious {
    fn is_err_or_checksum(&self) -> bool;
}

impl<E> Suspicious for Result<v2::TypeLengthValue<'_>, E> {
    fn is_err_or_checksum(&self) -> bool {
        self.as_ref().map_or(true, |tlv| tlv.kind == u8::from(v2::Type::CRC32C))
    }
}

fn announced<S, D>(source: S, destination: D) -> Announced
where
    SocketAddr: From<S> + From<D>,
{
    Announced::Ip { source: source.into(), destination: destination.into() }
}
