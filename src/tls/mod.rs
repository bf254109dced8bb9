//! TLS apart from connections: certificates and keys, which of them a client gets, tickets, and the settings that a listening address
//! works with, or the connections to an upstream. What is made here is complete and checked.

pub mod client;
pub mod fault;
mod files;
pub mod identity;
mod names;
pub mod server;
mod tickets;
mod verify;

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// The cryptography: AWS-LC, with the key exchanges and suites that it prefers, X25519MLKEM768 first.
pub(crate) static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
