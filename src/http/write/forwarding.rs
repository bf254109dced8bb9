//! Fields that tell an upstream where a request comes from: `X-Forwarded-*`, and `Forwarded` (RFC 7239).

use super::fields::put;
use crate::base::address::Peer;
use crate::base::text;
use crate::http::forwarded::RequestAdditions;
use crate::http::request::Request;
use std::io::Write;
use std::net::IpAddr;

/// Tells where the request comes from. What a trusted proxy says about that is kept: `X-Forwarded-For`, and `Forwarded` (RFC
/// 7239) where it is used, get that proxy's address added. A peer at a Unix socket has none.
pub(super) fn push_forwarding(out: &mut Vec<u8>, request: &Request, forward: &RequestAdditions) {
    let said = |name: &[u8]| forward.is_trusted && request.fields.iter().any(|field| field.name().eq_ignore_ascii_case(name));
    push_forwarded_for(out, request, forward);
    if said(b"forwarded") {
        put(out, [b"Forwarded: for="]);
        match forward.client {
            Peer::Unix => put(out, [b"unix"]),
            Peer::Ip(ip, _) => {
                let quote = if ip.is_ipv6() { [&b"\"["[..], b"]\""] } else { [&b""[..]; 2] };
                put(out, [quote[0]]);
                push_ip(out, ip);
                put(out, [quote[1]]);
            }
        }
        put(out, [b";proto=", forward.scheme.as_bytes(), b"\r\n"]);
    }
    if !said(b"x-forwarded-proto") {
        put(out, [b"X-Forwarded-Proto: ", forward.scheme.as_bytes(), b"\r\n"]);
    }
    if !request.authority.is_empty() && !said(b"x-forwarded-host") {
        put(out, [b"X-Forwarded-Host: ", request.authority, b"\r\n"]);
    }
}

fn push_forwarded_for(out: &mut Vec<u8>, request: &Request, forward: &RequestAdditions) {
    const NAME: &[u8] = b"X-Forwarded-For: ";
    let start = out.len();
    put(out, [NAME]);
    if forward.is_trusted {
        let hops = request.fields.iter().filter(|field| field.name().eq_ignore_ascii_case(b"x-forwarded-for"));
        for hop in hops.flat_map(|field| text::list(field.value())) {
            put(out, [hop, b", "]);
        }
    }
    match forward.client {
        Peer::Ip(ip, _) => push_ip(out, ip),
        Peer::Unix if out.len() == start + NAME.len() => return out.truncate(start),
        Peer::Unix => out.truncate(out.len() - b", ".len()),
    }
    put(out, [b"\r\n"]);
}

/// Every octet in decimal with a dot after it, and how many digits it has.
static OCTETS: [([u8; 4], u8); 256] = {
    let (mut table, mut octet) = ([([b'.'; 4], 0); 256], 0);
    while octet < 256 {
        let count = 1 + (octet > 9) as usize + (octet > 99) as usize;
        let (mut rest, mut at) = (octet, count);
        while at > 0 {
            at -= 1;
            table[octet].0[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        table[octet].1 = count as u8;
        octet += 1;
    }
    table
};

fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let (mut text, mut len) = ([0; 16], 0);
            for octet in ip.octets() {
                let (digits, count) = OCTETS[usize::from(octet)];
                // Four bytes are always copied: what lies beyond the dot is overwritten by the next octet.
                text[len..len + 4].copy_from_slice(&digits);
                len += usize::from(count) + 1;
            }
            out.extend_from_slice(&text[..len - 1]);
        }
        // Writing to a Vec does not fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_displayed() {
        let mut rng = fastrand::Rng::with_seed(1);
        for octet in 0..=255 {
            let ip = IpAddr::from([octet, rng.u8(..), rng.u8(..), octet]);
            let mut text = Vec::new();
            push_ip(&mut text, ip);
            assert_eq!(String::from_utf8(text).unwrap(), ip.to_string());
        }
    }
}
