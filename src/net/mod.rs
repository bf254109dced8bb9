//! Sockets, and nothing about what is sent over them.

pub mod link;
pub mod listen;
pub mod pipe;
pub mod stream;
pub mod sys;
pub mod token;
pub mod unix;
