//! Asks name servers for SRV records (RFC 2782). It blocks, so only the threads of the resolver use it.
//!
//! ```text
//!     message    what is asked, and what an answer says
//!     exchange   sends a question by UDP, or by TCP where an answer is cut off, to several servers
//!     servers    which servers are asked
//! ```

mod exchange;
mod message;
mod servers;

pub use message::{SrvAnswer, SrvRecord};
pub(super) use message::{SrvReply, question, read};

use std::io;

/// The SRV records of a name. `server` is the `host:port` to ask; without it those of the system are asked.
pub fn srv(name: &str, server: Option<&str>) -> io::Result<SrvAnswer> {
    exchange::ask(&servers::of(server)?, name, exchange::PATIENCE)
}
