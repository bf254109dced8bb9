//! Transports and the sockets below them, and nothing about what is sent over them.

pub mod listen;
pub mod pipe;
pub mod stream;
pub mod sys;
pub mod token;
pub mod transport;
pub mod unix;
pub mod wire;
