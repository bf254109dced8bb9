//! Each case runs whole, byte by byte, and with bytes following.

use super::*;
use std::net::SocketAddr;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The verdict is the same whole, byte by byte, and with bytes after it.
#[track_caller]
fn found(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let whole = read(bytes);
    let is_decided = |verdict: &Result<Option<Header>, Fault>| *verdict != Ok(None);
    let by_byte = (0..=bytes.len()).map(|n| read(&bytes[..n])).find(is_decided).unwrap_or(Ok(None));
    assert_eq!(whole, by_byte, "{bytes:?}");
    if is_decided(&whole) {
        assert_eq!(read(&[bytes, b"GET / "].concat()), whole, "{bytes:?}");
    }
    whole
}

#[track_caller]
fn announced(bytes: &[u8]) -> Announced {
    let Ok(Some(header)) = found(bytes) else { panic!("{bytes:?}: {:?}", found(bytes)) };
    assert_eq!(header.length, bytes.len());
    assert_eq!(read(&bytes[..bytes.len() - 1]), Ok(None), "it needs all of its bytes");
    header.announced
}

#[track_caller]
fn refused(bytes: &[u8], why: &str) {
    let fault = found(bytes).expect_err(&format!("{bytes:?}")).to_string();
    assert!(fault.contains(why), "{bytes:?}: {fault}");
}

fn ip(source: &str, destination: &str) -> Announced {
    Announced::Ip { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn block(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, kind], &(rest.len() as u16).to_be_bytes(), rest].concat()
}

const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

#[test]
fn lines() {
    assert_eq!(announced(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), ip("192.0.2.1:56324", "198.51.100.2:443"));
    assert_eq!(announced(b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"), ip("0.0.0.0:0", "255.255.255.255:65535"));
    assert_eq!(announced(b"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n"), ip("[2001:db8::1]:1", "[::1]:2"));
    assert_eq!(announced(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), ip("[::ffff:192.0.2.1]:1", "[::1]:2"));
    let widest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY TCP6 {widest} {widest} 65535 65535\r\n");
    assert_eq!((line.len(), announced(line.as_bytes())), (104, ip(&format!("[{widest}]:65535"), &format!("[{widest}]:65535"))));
    for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN \r\n", "PROXY UNKNOWN a b \0 c\r\n"] {
        assert_eq!(announced(line.as_bytes()), Announced::Itself, "{line}");
    }
    let longest = format!("PROXY UNKNOWN {widest} {widest} 65535 65535\r\n");
    assert_eq!((longest.len(), announced(longest.as_bytes())), (107, Announced::Itself));
}

#[test]
fn lines_that_are_wrong() {
    for (line, why) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n", "CR LF"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\rX", "CR LF"),
        ("PROXY UNKNOWN\n", "CR LF"),
        ("PROXY  TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "names none"),
        ("PROXY tcp4 192.0.2.1 198.51.100.2 56324 443\r\n", "names none"),
        ("PROXY UNKNOWNS\r\n", "names none"),
        ("PROXY \r\n", "names none"),
        ("PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n", "names none"),
        ("PROXY TCP4\r\n", "ends early"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n", "ends early"),
        ("PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n", "no address"),
        ("PROXY TCP4 192.0.2.01 198.51.100.2 56324 443\r\n", "no address"),
        ("PROXY TCP4 192.0.2.256 198.51.100.2 56324 443\r\n", "no address"),
        ("PROXY TCP4 192.0.2 198.51.100.2 56324 443\r\n", "no address"),
        ("PROXY TCP4 ::1 ::1 56324 443\r\n", "no address"),
        ("PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n", "no address"),
        ("PROXY TCP6 [::1] ::1 1 2\r\n", "no address"),
        ("PROXY TCP6 fe80::1%1 ::1 1 2\r\n", "no address"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n", "no port"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 00 443\r\n", "no port"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", "no port"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n", "no port"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n", "no port"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n", "follows"),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n", "follows"),
    ] {
        refused(line.as_bytes(), why);
    }
    refused(&[b"PROXY UNKNOWN ", &[b'x'; 92][..], b"\r\n"].concat(), "longer than 107");
    refused(b"PROXY TCP4 \xff 198.51.100.2 56324 443\r\n", "no text");
}

#[test]
fn blocks() {
    assert_eq!(announced(&block(0x21, 0x11, V4)), ip("192.0.2.1:56324", "198.51.100.2:443"));
    assert_eq!(announced(&block(0x21, 0x12, V4)), ip("192.0.2.1:56324", "198.51.100.2:443"));
    let v6 = [&[0x20, 1, 0xd, 0xb8], &[0; 11][..], &[1], &[0; 15], &[1], &[0, 1, 0, 2]].concat();
    assert_eq!(announced(&block(0x21, 0x21, &v6)), ip("[2001:db8::1]:1", "[::1]:2"));
    assert_eq!(announced(&block(0x21, 0x31, &[b'/'; 216])), Announced::Unix);
    assert_eq!(announced(&block(0x21, 0x32, &[0; 216])), Announced::Unix);
}

#[test]
fn where_addresses_are_not_to_be_looked_at_the_rest_is_skipped() {
    for rest in [&b""[..], V4, &[7; 1], &[0xff; 4096]] {
        // LOCAL, of any family; an unspecified family; an unspecified transport.
        for (command, kind) in [(0x20, 0x00), (0x20, 0x11), (0x20, 0xff), (0x21, 0x00), (0x21, 0x01), (0x21, 0x10), (0x21, 0x30)] {
            assert_eq!(announced(&block(command, kind, rest)), Announced::Itself, "{command} {kind}");
        }
    }
}

#[test]
fn what_follows_the_addresses_is_skipped() {
    let longest = [V4, &[1, 0x0f, 0xf1][..], &[0; 4081]].concat();
    assert_eq!(longest.len(), 4096);
    for additions in [&[4, 0, 0][..], &[4, 0, 1, 9], &[1, 0, 2, b'h', b'2', 0x20, 0, 5, 0, 0, 0, 0, 0], &longest[12..]] {
        let bytes = block(0x21, 0x11, &[V4, additions].concat());
        assert_eq!(announced(&bytes), ip("192.0.2.1:56324", "198.51.100.2:443"), "{additions:?}");
    }
    for additions in [&[4][..], &[4, 0], &[4, 0, 1], &[4, 0, 0, 4], &[4, 0xff, 0xff, 1]] {
        refused(&block(0x21, 0x11, &[V4, additions].concat()), "do not add up");
        refused(&block(0x21, 0x31, &[&[0; 216], additions].concat()), "do not add up");
    }
}

#[test]
fn a_checksum_must_be_right() {
    let header = |sum: &[u8], more: &[u8]| {
        block(0x21, 0x11, &[V4, &[4, 0, 1, 0, 3, 0, sum.len() as u8], sum, more, &[1, 0, 2, b'h', b'2']].concat())
    };
    let sum = checksum::of_header(&header(&[0; 4], b""), 16 + 12 + 4 + 3).to_be_bytes();
    assert_eq!(announced(&header(&sum, b"")), ip("192.0.2.1:56324", "198.51.100.2:443"));
    refused(&header(&[0; 4], b""), "checksum");
    refused(&header(&sum[..3], b""), "checksum");
    refused(&header(&[&sum[..], &[0]].concat(), b""), "checksum");
    // As computed by an implementation of another language.
    let other = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x13\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb\x03\x00\x04";
    assert_eq!(announced(&[&other[..], &0x20ec9549_u32.to_be_bytes()].concat()), ip("192.0.2.1:56324", "198.51.100.2:443"));
}

#[test]
fn blocks_that_are_wrong() {
    refused(&block(0x11, 0x11, V4), "version");
    refused(&block(0x31, 0x11, V4), "version");
    refused(&block(0x22, 0x11, V4), "command");
    refused(&block(0x21, 0x41, V4), "family");
    refused(&block(0x21, 0x13, V4), "transport");
    refused(&block(0x21, 0x11, &V4[1..]), "too short");
    refused(&block(0x21, 0x21, &[0; 35]), "too short");
    refused(&block(0x21, 0x31, &[0; 215]), "too short");
    refused(&block(0x20, 0x00, &[0; 4097]), "longer than 4096");
    refused(&block(0x21, 0x11, &[0; 4097]), "longer than 4096");
}

#[test]
fn other_protocols_are_told_by_their_first_bytes() {
    for bytes in [&b"GET /a\r\n"[..], b"POST /a\r\n", b"PROXY/", b"\x16\x03\x01", b"\r\nGET", b"\r\n\r\n\r\n", b"\0", b"proxy "] {
        assert_eq!(found(bytes), Err(Fault::NoHeader), "{bytes:?}");
    }
    for bytes in [&b""[..], b"P", b"PROXY ", b"PROXY TCP", b"PROXY UNKNOWN\r", b"\r", b"\r\n\r\n\0", SIGNATURE] {
        assert_eq!(found(bytes), Ok(None), "{bytes:?}");
    }
}

#[test]
fn what_is_written_is_read() {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let mapped = |text: &str| match address(text) {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    };
    let (v4, v6) = (["192.0.2.1:1", "198.51.100.2:65535"], ["[2001:db8::1]:0", "[::1]:443"]);
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        for [source, destination] in [v4, v6] {
            let written = write(version, Some((address(source), address(destination))));
            assert_eq!(announced(&written), ip(source, destination));
        }
        for [source, destination] in [[v4[0], v6[0]], [v6[0], v4[0]]] {
            let written = write(version, Some((address(source), address(destination))));
            assert_eq!(announced(&written), Announced::Ip { source: mapped(source), destination: mapped(destination) });
        }
        assert_eq!(announced(&write(version, None)), Announced::Itself);
    }
    assert_eq!(write(ProxyVersion::V1, None), b"PROXY UNKNOWN\r\n");
    assert_eq!(write(ProxyVersion::V1, Some((address(v4[0]), address(v4[1])))), b"PROXY TCP4 192.0.2.1 198.51.100.2 1 65535\r\n");
}
