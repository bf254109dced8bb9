//! Which client a request comes from, where it came through trusted proxies; and what the next hop is told of that.

use super::fields::Field;
use super::head::Fields;
use crate::base::address::Peer;
use crate::base::text;
use std::net::{IpAddr, SocketAddr};

/// What the proxy adds to a request that it forwards.
#[derive(Clone, Copy, Debug)]
pub struct RequestAdditions<'a> {
    /// The other end of the client's connection.
    pub client: Peer,
    /// `http` or `https`: how the client connected.
    pub scheme: &'a str,
    /// The value of `X-Trace-ID`.
    pub trace_id: &'a [u8],
    /// Whether the client is a trusted proxy, whose forwarding fields are kept and added to.
    pub is_trusted: bool,
    /// Whether `Via` is added; if not, none is forwarded either.
    pub via: bool,
    /// The names of cookies of our own, which are not forwarded.
    pub own_cookies: &'a [String],
}

/// The last address of `X-Forwarded-For` that is not trusted, if the peer is; `None` is the peer itself. All lines of that name are
/// one list. Entries left of one that is no address cannot be trusted: the search stops there.
pub fn forwarded_for(peer: Peer, fields: Fields, trusted: impl Fn(Peer) -> bool) -> Option<Peer> {
    let mut client = None;
    let lines = fields.of(Field::Forwarding).rev().filter(|line| line.name().eq_ignore_ascii_case(b"x-forwarded-for"));
    let mut entries = lines.flat_map(|line| text::list(line.value()).rev());
    while trusted(client.unwrap_or(peer)) {
        let Some(entry) = entries.next().and_then(entry) else { break };
        client = Some(entry);
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:5`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:5`
fn entry(entry: &[u8]) -> Option<Peer> {
    let entry = std::str::from_utf8(entry).ok()?;
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|inside| inside.contains(':'));
    let with_port = || entry.parse().map(|address: SocketAddr| (address.ip(), Some(address.port())));
    let (address, port) = bare.unwrap_or(entry).parse().map(|address: IpAddr| (address, None)).or_else(|_| with_port()).ok()?;
    Some(Peer::of(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::HeadTable;
    use crate::http::request::Request;

    /// Trusts 10.0.0.0/8 and fd00::/8.
    fn client(peer: &str, lines: &[&str]) -> String {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut table = HeadTable::default();
        let request = Request::parse(head.as_bytes(), &mut table).unwrap();
        let trusted = |peer: Peer| match peer {
            Peer::Ip(IpAddr::V4(address), _) => address.octets()[0] == 10,
            Peer::Ip(IpAddr::V6(address), _) => address.octets()[0] == 0xfd,
            Peer::Unix => true,
        };
        let peer = if peer == "unix" { Peer::Unix } else { Peer::of(peer.parse().unwrap(), None) };
        match forwarded_for(peer, request.fields, trusted).unwrap_or(peer) {
            Peer::Ip(ip, _) => ip.to_string(),
            Peer::Unix => "unix".into(),
        }
    }

    #[test]
    fn the_last_that_is_not_trusted() {
        let cases: [(&str, &[&str], &str); 18] = [
            ("192.0.2.1", &["X-Forwarded-For: 1.1.1.1"], "192.0.2.1"),
            ("::ffff:192.0.2.1", &[], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["X-Forwarded-For: 1.1.1.1"], "1.1.1.1"),
            ("::ffff:10.0.0.1", &["x-forwarded-for: 1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.3, ::ffff:10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1", &["X-Forwarded-For: 6.6.6.6", "A: b", "X-Forwarded-For: 1.1.1.1,10.9.9.9", "X-Forwarded-For:"], "1.1.1.1"),
            ("10.0.0.1", &["X-Forwarded-For: 6.6.6.6, 1.1.1.1,, ,10.0.0.2,"], "1.1.1.1"),
            ("10.0.0.1", &["X-Forwarded-For: 10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["X-Forwarded-For: \u{e9}"], "10.0.0.1"),
            ("10.0.0.1", &["X-Forwarded-For: 1.1.1.1:65535, 10.0.0.2:1"], "1.1.1.1"),
            ("10.0.0.1", &["X-Forwarded-For: [2001:db8::1]:5, [fd00::1]"], "2001:db8::1"),
            ("fd00::1", &["X-Forwarded-For: 2001:db8::1, [::ffff:10.1.1.1]:5"], "2001:db8::1"),
            ("10.0.0.1", &["X-Forwarded-For: 1.1.1.1:99999"], "10.0.0.1"),
            ("unix", &["X-Forwarded-For: 1.1.1.1, 10.0.0.1"], "1.1.1.1"),
            ("unix", &[], "unix"),
            ("10.0.0.1", &["X-Forwarded-Host: 1.1.1.1", "Forwarded: for=1.1.1.1"], "10.0.0.1"),
        ];
        for (peer, lines, expected) in cases {
            assert_eq!(client(peer, lines), expected, "{peer} {lines:?}");
        }
        for garbage in
            ["010.1.1.1", "1.1.1", "[1.1.1.1]", "[::1", "::1]", "[::1]x", "[::1]:", "1.1.1.1:", "fe80::1%eth0", "\"1.1.1.1\"", "-"]
        {
            assert_eq!(client("10.0.0.1", &[&format!("X-Forwarded-For: {garbage}")]), "10.0.0.1", "{garbage}");
        }
    }
}
