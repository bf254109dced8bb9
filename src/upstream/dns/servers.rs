//! Which name servers are asked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// How many are asked at most, as by the system's resolver.
const MAX_SERVERS: usize = 3;
const PORT: u16 = 53;
const SYSTEM: &str = "/etc/resolv.conf";

/// The configured name server, or those of the system.
pub(super) fn of(configured: Option<&str>) -> io::Result<Vec<SocketAddr>> {
    match configured {
        Some(server) => Ok(server.to_socket_addrs()?.take(MAX_SERVERS).collect()),
        None => Ok(of_system(&std::fs::read(SYSTEM).unwrap_or_default())),
    }
}

/// Those that a file like `/etc/resolv.conf` names; without any it is the one of this machine (resolv.conf(5)).
fn of_system(file: &[u8]) -> Vec<SocketAddr> {
    let file = String::from_utf8_lossy(file);
    let named = file.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            return None;
        }
        address(words.next()?)
    });
    let mut servers: Vec<SocketAddr> = named.take(MAX_SERVERS).collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    servers
}

/// An address, which may have a zone like `fe80::1%eth0`.
fn address(text: &str) -> Option<SocketAddr> {
    if text.contains('%') {
        return (text, PORT).to_socket_addrs().ok()?.next();
    }
    text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_the_system() {
        let shown = |file: &str| of_system(file.as_bytes()).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(shown("# nameserver 1.1.1.1\nsearch a.test\nnameserver 10.0.0.1\n nameserver\t::1 # it\n"), "10.0.0.1:53 [::1]:53");
        assert_eq!(shown("nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4"), {
            "10.0.0.1:53 10.0.0.2:53 10.0.0.3:53"
        });
        assert_eq!(shown("nameserver\nnameserver x\n\u{fffd}"), "127.0.0.1:53");
    }
}
