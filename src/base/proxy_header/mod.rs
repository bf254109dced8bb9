//! The header of the PROXY protocol, versions 1 and 2: the first bytes of a connection, by which a proxy tells for whom it speaks.
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>

mod block;
mod checksum;
mod header;
mod line;
mod write;

#[cfg(test)]
mod tests;

pub use block::MOST_OF_BLOCK;
pub use header::{Announced, Fault, Header};
pub use write::{ProxyVersion, write};

/// No header is longer.
pub const LONGEST: usize = block::LONGEST;

/// Looks for a header at the beginning of a connection's bytes. `None`: more of them must come. The verdict on some bytes does not
/// change when more come.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => line::read(bytes),
        Some(_) => block::read(bytes),
    }
}
