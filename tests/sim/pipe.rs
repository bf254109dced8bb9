//! What stands for a pipe of the kernel.

use std::io::{self, IoSlice, IoSliceMut};

/// A pipe of so little room that one move seldom takes all.
#[derive(Default)]
pub struct SimPipe(Vec<u8>);

impl SimPipe {
    pub fn fill(&mut self, most: usize, read: impl FnOnce(&mut [IoSliceMut]) -> io::Result<usize>) -> io::Result<usize> {
        assert!(self.0.is_empty(), "filled although something lies in it");
        self.0.resize(most.min(20_000), 0);
        let read = read(&mut [IoSliceMut::new(&mut self.0)]);
        self.0.truncate(*read.as_ref().unwrap_or(&0));
        read
    }

    pub fn empty(&mut self, most: usize, write: impl FnOnce(&[IoSlice]) -> io::Result<usize>) -> io::Result<usize> {
        let written = write(&[IoSlice::new(&self.0[..most])])?;
        self.0.drain(..written);
        Ok(written)
    }
}
