//! The exchanges that one upstream connection carries.
//!
//! Each exchange knows the key of its connection, and what is read of its answer lies with the exchange. So this list is all that a
//! connection has to know of them: who is told that it is made, or has failed, or has bytes; and whether anybody uses it still.

/// The keys of exchanges, at least one. HTTP/1 carries one at a time; a protocol that carries several keeps more of them here, and
/// whoever asks for them, or takes one out, does so through these functions already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried(usize);

impl Carried {
    /// One exchange.
    pub fn one(exchange: usize) -> Self {
        Self(exchange)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        std::iter::once(self.0)
    }

    /// An exchange no longer needs the connection.
    pub fn without(&self, exchange: usize) -> Option<Self> {
        debug_assert_eq!(self.0, exchange, "the connection does not carry that exchange");
        None
    }
}
