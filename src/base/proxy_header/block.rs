//! Version 2: a binary block.

use super::checksum;
use super::header::{Announced, Fault, Header};
use std::net::{IpAddr, SocketAddr};

pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, and how long the rest is.
const FIXED: usize = 16;
/// How long addresses and what follows them may be together.
pub const MOST_OF_BLOCK: usize = 4096;
pub(super) const LONGEST: usize = FIXED + MOST_OF_BLOCK;
/// The type of a checksum over the header.
const CHECKSUM: u8 = 3;

/// How addresses are written.
#[derive(Clone, Copy)]
enum Family {
    /// They are not to be looked at.
    Ignored,
    V4,
    V6,
    Unix,
}

impl Family {
    /// The length of both addresses with their ports.
    fn length(self) -> usize {
        match self {
            Self::Ignored => 0,
            Self::V4 => 2 * (4 + 2),
            Self::V6 => 2 * (16 + 2),
            Self::Unix => 2 * 108,
        }
    }
}

/// Looks for a block. Each byte is judged as soon as it has come.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let begin = bytes.len().min(SIGNATURE.len());
    if bytes[..begin] != SIGNATURE[..begin] {
        return Err(Fault::NoHeader);
    }
    let Some(&command) = bytes.get(12) else { return Ok(None) };
    if command >> 4 != 2 {
        return Err(Fault::Malformed("its version is neither 1 nor 2"));
    }
    let is_local = match command & 0xf {
        0 => true,
        1 => false,
        _ => return Err(Fault::Malformed("its command is neither LOCAL nor PROXY")),
    };
    let Some(&kind) = bytes.get(13) else { return Ok(None) };
    // What a local connection says of addresses must be ignored.
    let family = if is_local { Family::Ignored } else { family(kind)? };
    let Some(&[high, low]) = bytes.get(14..FIXED) else { return Ok(None) };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > MOST_OF_BLOCK {
        return Err(Fault::Malformed("it is longer than 4096 bytes after its first 16"));
    }
    if rest < family.length() {
        return Err(Fault::Malformed("it is too short for its addresses"));
    }
    let length = FIXED + rest;
    let Some(whole) = bytes.get(..length) else { return Ok(None) };
    let addresses = &whole[FIXED..FIXED + family.length()];
    if !matches!(family, Family::Ignored) {
        check_additions(whole, FIXED + family.length())?;
    }
    Ok(Some(Header { length, announced: announced(family, addresses) }))
}

fn family(kind: u8) -> Result<Family, Fault> {
    match (kind >> 4, kind & 0xf) {
        (4.., _) => Err(Fault::Malformed("its address family is unknown")),
        (_, 3..) => Err(Fault::Malformed("its transport is neither stream nor datagram")),
        (1, 1..) => Ok(Family::V4),
        (2, 1..) => Ok(Family::V6),
        (3, 1..) => Ok(Family::Unix),
        (_, _) => Ok(Family::Ignored),
    }
}

fn announced(family: Family, addresses: &[u8]) -> Announced {
    match family {
        Family::Ignored => Announced::Itself,
        Family::Unix => Announced::Unix,
        Family::V4 => ends::<4>(addresses),
        Family::V6 => ends::<16>(addresses),
    }
}

/// Both hosts of N bytes, then both ports.
fn ends<const N: usize>(addresses: &[u8]) -> Announced
where
    IpAddr: From<[u8; N]>,
{
    let host = |at: usize| addresses.get(at..)?.first_chunk::<N>().map(|&host| IpAddr::from(host));
    let port = |at: usize| addresses.get(at..)?.first_chunk().map(|&port| u16::from_be_bytes(port));
    let end = |number: usize| Some(SocketAddr::new(host(number * N)?, port(2 * N + number * 2)?));
    match (end(0), end(1)) {
        (Some(source), Some(destination)) => Announced::Ip { source, destination },
        _ => Announced::Itself,
    }
}

/// What follows the addresses, each a type, a length and a value, must fill the rest; a checksum among it must be right.
fn check_additions(whole: &[u8], mut at: usize) -> Result<(), Fault> {
    let mut has_checksum = false;
    while let Some(rest) = whole.get(at..).filter(|rest| !rest.is_empty()) {
        let &[kind, high, low, ref rest @ ..] = rest else { return Err(ADDITIONS) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = rest.get(..length).ok_or(ADDITIONS)?;
        if kind == CHECKSUM {
            let is_right = value.try_into().is_ok_and(|value| checksum::of_header(whole, at + 3) == u32::from_be_bytes(value));
            // A second one would have to be computed with the first, which is computed with it.
            if !is_right || std::mem::replace(&mut has_checksum, true) {
                return Err(Fault::Malformed("its checksum is wrong"));
            }
        }
        at += 3 + length;
    }
    Ok(())
}

const ADDITIONS: Fault = Fault::Malformed("the lengths after its addresses do not add up");
