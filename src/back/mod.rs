//! A connection to an upstream as state machines that touch no socket. They know no client.
//!
//! ```text
//!     dial (the addresses, one after the other) -> connection (serving <-> idle, promised) -> closed
//!                                                        `- h1, for each exchange: the head of its request, heads and content of its
//!                                                           answer
//! ```
//!
//! A connection knows the exchanges that it carries by their keys ([`carried::Carried`]), and an exchange knows its connection by its
//! key. The exchange tells of a request through a [`crate::machine::next_hop::NextHop`], and the back writes it in its protocol. What
//! belongs to one exchange lies with its exchange ([`h1::BackH1`]); what belongs to the whole connection, such as the tables and
//! windows of a protocol that carries several exchanges, belongs beside [`connection::BackConnection`].

pub mod carried;
pub mod connection;
pub mod dial;
pub mod h1;
