//! Version 1: a line of text.

use super::header::{Announced, Fault, Header};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

const BEGIN: &[u8] = b"PROXY ";
/// The longest line, with its end.
const LONGEST: usize = 107;

const TOO_LONG: Fault = Fault::Malformed("its line is longer than 107 bytes");

/// Looks for a line.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let begin = bytes.len().min(BEGIN.len());
    if bytes[..begin] != BEGIN[..begin] {
        return Err(Fault::NoHeader);
    }
    let within = &bytes[..bytes.len().min(LONGEST)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', within) else {
        return if within.len() < LONGEST { Ok(None) } else { Err(TOO_LONG) };
    };
    match &within[end..] {
        [b'\r'] if within.len() < LONGEST => Ok(None),
        [b'\r'] => Err(TOO_LONG),
        [b'\r', b'\n', ..] => {
            let announced = parse(&within[BEGIN.len()..end])?;
            Ok(Some(Header { length: end + 2, announced }))
        }
        _ => Err(Fault::Malformed("its line does not end in CR LF")),
    }
}

/// What stands in the line after its first word.
fn parse(line: &[u8]) -> Result<Announced, Fault> {
    // Whatever follows is to be ignored.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Announced::Itself);
    }
    let line = std::str::from_utf8(line).map_err(|_| Fault::Malformed("its line is no text"))?;
    let mut words = line.split(' ');
    let mut next = || words.next().ok_or(Fault::Malformed("its line ends early"));
    let address = match next()? {
        "TCP4" => address::<Ipv4Addr>,
        "TCP6" => address::<Ipv6Addr>,
        _ => return Err(Fault::Malformed("it names none of TCP4, TCP6 and UNKNOWN")),
    };
    let (source, destination) = (address(next()?)?, address(next()?)?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    if words.next().is_some() {
        return Err(Fault::Malformed("something follows its ports"));
    }
    let (source, destination) = (SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port));
    Ok(Announced::Ip { source, destination })
}

/// Without leading zeros, which the standard library refuses as well.
fn address<A: FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, Fault> {
    word.parse::<A>().map(Into::into).map_err(|_| Fault::Malformed("it has no address of its family where one must be"))
}

fn port(word: &str) -> Result<u16, Fault> {
    let is_plain = word == "0" || (!word.starts_with('0') && word.bytes().all(|byte| byte.is_ascii_digit()));
    word.parse().ok().filter(|_| is_plain).ok_or(Fault::Malformed("it has no port where one must be"))
}
