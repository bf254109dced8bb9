//! Simulated upstreams whose answers a test chooses, and a clock that jumps to the next timer.

use super::super::*;
use crate::base::address::Address;
use crate::base::proxy_header::ProxyVersion;
use crate::config::model::Origin;
use crate::config::{self, model::UpstreamConfig};
pub use crate::health::tests::check;
use crate::net::pipe::Pipe;
use crate::net::transport::plain::{PlainTransport, Socket};
use crate::tls::client::Departure;
use crate::upstream::names::{Names, in_order};
use std::collections::VecDeque;
use std::io;
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

/// One connection, as the upstream sees it.
#[derive(Default)]
pub struct Wire {
    pub slot: usize,
    pub address: Option<Address>,
    pub sent: Vec<u8>,
    pub answer: VecDeque<u8>,
    pub has_fin: bool,
    pub error: Option<i32>,
    pub is_closed: bool,
}

#[derive(Clone, Default)]
pub struct Plug(Arc<Mutex<Wire>>);

impl Plug {
    pub fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap()
    }
}

/// The proxy's side of it.
pub struct Fake(Plug);

impl Drop for Fake {
    fn drop(&mut self) {
        self.0.wire().is_closed = true;
    }
}

impl Socket for Fake {
    type Pipe = Pipe;

    fn pour_in(&mut self, _: &mut Pipe, _: usize) -> io::Result<usize> {
        unreachable!("checks have no pipes")
    }

    fn pour_out(&mut self, _: &mut Pipe, _: usize) -> io::Result<usize> {
        unreachable!("checks have no pipes")
    }

    fn peek(&mut self, _: &mut [u8]) -> io::Result<usize> {
        unreachable!("checks have no preface")
    }

    fn read(&mut self, into: &mut [IoSliceMut]) -> io::Result<usize> {
        let mut wire = self.0.wire();
        let n = wire.answer.len().min(into[0].len());
        wire.answer.drain(..n).zip(into[0].iter_mut()).for_each(|(byte, place)| *place = byte);
        if n == 0 && !wire.has_fin { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
    }

    fn write(&mut self, from: &[IoSlice]) -> io::Result<usize> {
        // Takes only half, so that the rest has to be sent as well.
        let n = from[0].len().div_ceil(2);
        self.0.wire().sent.extend_from_slice(&from[0][..n]);
        Ok(n)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&mut self) {}

    fn take_error(&mut self) -> Option<io::Error> {
        self.0.wire().error.map(io::Error::from_raw_os_error)
    }

    fn is_delivered(&self) -> bool {
        true
    }
}

/// Hands out connections, or an error.
#[derive(Default)]
pub struct Road {
    pub plugs: Vec<Plug>,
    pub error: Option<i32>,
}

impl Net for Road {
    type Transport = PlainTransport<Fake>;

    fn pipe(&mut self) -> io::Result<Pipe> {
        unreachable!("checks have no pipes")
    }

    fn dial(&mut self, address: &Address, _: Option<Departure>, source: Source) -> io::Result<PlainTransport<Fake>> {
        if let Some(code) = self.error {
            return Err(io::Error::from_raw_os_error(code));
        }
        let Source::Check(slot) = source else { panic!("{source:?}") };
        let plug = Plug::default();
        (plug.wire().slot, plug.wire().address) = (slot, Some(address.clone()));
        self.plugs.push(plug.clone());
        Ok(PlainTransport::dialled(Fake(plug)))
    }

    fn register(&mut self, _: &PlainTransport<Fake>, _: Source) -> io::Result<()> {
        unreachable!("checks accept nothing")
    }
}

/// Checks, their network, and a clock that jumps to the next timer.
pub struct Stage {
    pub checks: Checks<PlainTransport<Fake>>,
    pub road: Road,
    pub site: Site,
    pub now: u64,
    /// How many checks the test has seen.
    seen: usize,
}

fn site(names: &[&str], known: &Names, check: Option<HealthCheck>, previous: Option<&Site>) -> Site {
    let sources = config::ConfigSources { alone: true, ..config::ConfigSources::default() };
    let mut config = config::load(sources).unwrap().config;
    let upstream = |name: &&str| {
        let (name, host) = (name.to_string(), if name.contains('.') { name } else { "127.0.0.1" });
        let send_proxy = name.starts_with("announced").then_some(ProxyVersion::V1);
        UpstreamConfig { name, origin: Origin::tcp(host, 1), weight: 1, is_checked: true, is_backup: false, send_proxy }
    };
    config.pools[0].upstreams = names.iter().map(upstream).collect();
    config.pools[0].health_check = check;
    Site::new(config, 1, previous, known, 0)
}

impl Stage {
    pub fn of(names: &[&str], check: Option<HealthCheck>) -> Self {
        let checks = Checks::new(7, Arc::new(Descriptors::new(1000, 0)));
        let mut stage = Self { checks, road: Road::default(), site: site(names, &Names::default(), check, None), now: 100_000, seen: 0 };
        stage.checks.take_site(&stage.site, stage.now);
        stage
    }

    pub fn reload(&mut self, names: &[&str], check: Option<HealthCheck>) {
        self.site = site(names, &Names::default(), check, Some(&self.site));
        self.checks.take_site(&self.site, self.now);
    }

    /// The names lead to these hosts of 10.0.0.0/24.
    pub fn move_to(&mut self, names: &[&str], hosts: &[u8]) {
        let addresses = hosts.iter().map(|&last| SocketAddr::from(([10, 0, 0, last], 0)).into()).collect();
        let mut known = Names::default();
        known.set(names[0].into(), in_order(addresses));
        self.site = self.site.renew(1, &known, 0).expect("other servers");
        self.checks.take_site(&self.site, self.now);
    }

    /// Jumps to the next timer.
    pub fn jump(&mut self) {
        self.now = self.checks.next_wake().expect("a timer");
        self.checks.expire(&mut self.road, self.now);
    }

    /// Waits for the next check to begin.
    pub fn await_check(&mut self) -> Plug {
        while self.road.plugs.len() == self.seen {
            self.jump();
        }
        self.seen += 1;
        self.road.plugs[self.seen - 1].clone()
    }

    pub fn edge(&mut self, plug: &Plug, edge: Edge) {
        let slot = plug.wire().slot;
        self.checks.on_edge(slot, edge, self.now);
    }

    /// Completes the connection, and sends an answer.
    pub fn answer(&mut self, plug: &Plug, bytes: &str) {
        plug.wire().answer.extend(bytes.bytes());
        self.edge(plug, Edge { readable: true, writable: true, ..Edge::default() });
    }

    pub fn state(&self, index: usize) -> &'static str {
        self.site.pools[0].servers[index].health.state().name()
    }

    pub fn last_error(&self) -> String {
        self.site.pools[0].servers[0].health.last_error().unwrap_or_default()
    }
}
