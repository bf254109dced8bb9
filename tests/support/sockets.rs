//! What the kernel knows of TCP connections: asked over netlink (`sock_diag(7)`), because reading /proc/net/tcp takes up to a
//! second when some thousand connections have just been closed, as they have in a run of all plays.

use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Read, Write};
use std::time::Duration;

/// Of <linux/netlink.h>, <linux/sock_diag.h>, <net/tcp_states.h>.
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_DONE: u16 = 3;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const TCP_ESTABLISHED: u32 = 1;

/// Connections with that local port that the kernel counts as established, accepted or not.
pub fn established(port: u16) -> usize {
    by_netlink(port).unwrap_or_else(|| by_table(port))
}

/// `None` where this kernel or container does not have it.
fn by_netlink(port: u16) -> Option<usize> {
    let mut socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(Protocol::from(NETLINK_SOCK_DIAG))).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let mut ask = Vec::new();
    ask.extend(72_u32.to_ne_bytes()); // struct nlmsghdr: length, type, flags, sequence, port
    ask.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    ask.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    ask.extend([0; 8]);
    ask.extend([AF_INET, IPPROTO_TCP, 0, 0]); // struct inet_diag_req_v2: family, protocol, nothing more, states, local port, …
    ask.extend((1_u32 << TCP_ESTABLISHED).to_ne_bytes());
    ask.extend(port.to_be_bytes());
    ask.resize(72, 0);
    socket.write_all(&ask).ok()?;
    let (mut block, mut found) = (vec![0; 1 << 16], 0);
    loop {
        let n = socket.read(&mut block).ok()?;
        let mut rest = &block[..n];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
            match u16::from_ne_bytes(rest[4..6].try_into().unwrap()) {
                SOCK_DIAG_BY_FAMILY => found += 1,
                NLMSG_DONE => return Some(found),
                _ => return None, // an error
            }
            rest = rest.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
        }
    }
}

fn by_table(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let rows = table.lines().map(|row| row.split_ascii_whitespace().skip(1));
    rows.filter_map(|mut row| Some((row.next()?, row.nth(1)?))).filter(|(at, state)| at.ends_with(&local) && *state == "01").count()
}
