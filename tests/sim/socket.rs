//! The proxy's end of the connections, a pipe, and a log writer.

use super::wire::{Id, Wires};
use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use tidegate::net::transport::plain::Socket;
use tidegate::observe::writer::{LogSettings, Rotation, SinkTarget, Writer};

/// A socket that the proxy holds.
pub struct SimSocket {
    pub wires: Rc<RefCell<Wires>>,
    pub id: Id,
    /// Records what the network takes from the proxy.
    pub taken: Option<Taken>,
}

/// What the network took from the proxy, whether or not it reached the other end.
pub type Taken = Rc<RefCell<Vec<u8>>>;

impl Socket for SimSocket {
    type Pipe = SimPipe;

    fn pour_in(&mut self, pipe: &mut SimPipe, most: usize) -> io::Result<usize> {
        pipe.fill(most, |into| self.read(into))
    }

    fn pour_out(&mut self, pipe: &mut SimPipe, most: usize) -> io::Result<usize> {
        pipe.empty(most, |from| self.write(from))
    }

    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.wires.borrow_mut().peek(self.id, into)
    }

    fn read(&mut self, into: &mut [IoSliceMut]) -> io::Result<usize> {
        self.wires.borrow_mut().read(self.id, into)
    }

    fn write(&mut self, from: &[IoSlice]) -> io::Result<usize> {
        let n = self.wires.borrow_mut().write(self.id, from)?;
        if let Some(taken) = &self.taken {
            let taken = &mut taken.borrow_mut();
            let end = taken.len() + n;
            from.iter().for_each(|slice| taken.extend_from_slice(slice));
            taken.truncate(end);
        }
        Ok(n)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.wires.borrow_mut().shutdown_write(self.id)
    }

    fn reset_on_close(&mut self) {
        self.wires.borrow_mut().reset_on_close(self.id);
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.wires.borrow_mut().take_error(self.id)
    }

    fn is_delivered(&self) -> bool {
        self.wires.borrow().is_delivered(self.id)
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        // Not while a panic has the wires borrowed.
        if let Ok(mut wires) = self.wires.try_borrow_mut() {
            wires.close(self.id);
        }
    }
}

/// A pipe that is so small that one move seldom takes everything.
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

/// An `AdminState` needs a log writer, which is a thread: all worlds share one.
pub fn writer() -> Arc<Writer> {
    static WRITER: OnceLock<Arc<Writer>> = OnceLock::new();
    let settings = LogSettings {
        access: None,
        format: tidegate::observe::access::Format::Text,
        errors: SinkTarget::StandardError,
        rotate: Some(Rotation { max_bytes: 1 << 20, keep: 1 }),
    };
    WRITER.get_or_init(|| Arc::new(Writer::start(settings).unwrap())).clone()
}
