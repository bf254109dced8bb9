//! What long parts of a body go through: the scratch buffer, and pipes of the kernel.

use crate::guard::descriptors::Descriptor;
use crate::net::transport::Transport;
use crate::session::Direction;

/// The size of the scratch buffer: few large copies cost a third of many small ones.
pub(super) const SCRATCH_BYTES: usize = 256 * 1024;
/// From this length on a pipe is worth the system calls that open and close it.
pub(super) const LONG_RUN: u64 = 1024 * 1024;

/// A pipe that carries a long part of one direction of an exchange.
pub(super) struct Laid<T: Transport> {
    pub(super) key: usize,
    pub(super) direction: Direction,
    pub(super) pipe: T::Pipe,
    /// After the pipe, so that it is free only once that is closed.
    pub(super) _descriptor: Descriptor,
    /// How many bytes are in it.
    pub(super) held: usize,
}

impl<T: Transport> Laid<T> {
    pub(super) fn is_for(&self, key: usize, direction: Direction) -> bool {
        self.key == key && self.direction == direction
    }
}
