//! The parts of a test: an origin and a client that speak raw TCP, the proxy as a process of its own, and waiting.
#![allow(dead_code, unused_imports)] // each test binary that includes this uses a part of it

pub mod client;
pub mod exposition;
#[path = "../shared/http.rs"]
mod http;
pub mod launch;
pub mod lines;
pub mod load;
pub mod name_server;
pub mod names;
pub mod origin;
pub mod patient;
pub mod proxy;
pub mod sockets;
pub mod tls;
pub mod tls_origin;
pub mod wire;

pub use client::{Client, Response, ask, get};
pub use exposition::Exposition;
pub use launch::{Config, Launch};
pub use lines::Line;
pub use load::{Load, Tally};
pub use name_server::{NameServer, Zone};
pub use origin::{Conn, Origin, Request};
pub use proxy::{Proxy, refused};
pub use tls_origin::{Issuer, Papers, ServerSettings, TlsRelay};
pub use wire::{End, Fields};

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it; a loaded machine with two cores stays far below.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; fails the test after [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lets time pass, where how long something takes is the subject of the test or is measured. Use [`wait_until`] or a [`Gate`] for what
/// must have happened before the test goes on.
pub fn take_time(time: Duration) {
    std::thread::sleep(time);
}

/// Stops a script until the test lets it go on; each `release` lets that many pass.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<usize>, Condvar)>);

impl Gate {
    pub fn pass(&self) {
        let permits = self.0.0.lock().unwrap();
        let (mut permits, late) = self.0.1.wait_timeout_while(permits, PATIENCE, |n| *n == 0).unwrap();
        assert!(!late.timed_out(), "the gate stayed shut");
        *permits -= 1;
    }

    pub fn release(&self, n: usize) {
        *self.0.0.lock().unwrap() += n;
        self.0.1.notify_all();
    }
}

/// A port nobody listens on, below the range the kernel takes ports for outgoing connections from.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 20_000 + (std::process::id() * 7 % 6_500) as u16 + NEXT.fetch_add(1, Ordering::Relaxed) % 1_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The address of [`free_port`]: whoever connects is refused.
pub fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// Endless bytes in which any shift, loss or repetition shows: a random sequence of prime length, repeated.
pub struct Pattern(Vec<u8>);

impl Pattern {
    const PERIOD: usize = 1_000_003;

    pub fn new() -> Pattern {
        let mut x = 0x9e37_79b9_u32;
        let noise = std::iter::repeat_with(|| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x as u8
        });
        let once: Vec<u8> = noise.take(Self::PERIOD).collect();
        let twice = once.iter().chain(&once).copied().collect();
        Pattern(twice)
    }

    /// `n` bytes (at most a period) from `offset` on.
    pub fn at(&self, offset: usize, n: usize) -> &[u8] {
        &self.0[offset % Self::PERIOD..][..n]
    }
}

/// A reproducible source of chance.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, in hex.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}
