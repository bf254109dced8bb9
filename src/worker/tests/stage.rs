//! Workers without a poll. Their sockets are one end of simulated connections; the test holds the other ends.

use crate::admin::AdminState;
use crate::base::address::{Address, Peer};
use crate::base::clock::Now;
use crate::base::mailbox::{Mailbox, Wake};
use crate::config::model::Origin;
use crate::config::model::{Config, UpstreamConfig};
use crate::config::{ConfigSources, load};
use crate::guard::descriptors::{Descriptor, Descriptors};
use crate::guard::door::{Door, Paused};
use crate::machine::service::Service;
use crate::net::token::Source;
use crate::net::transport::plain::{PlainTransport, Socket};
use crate::net::transport::{Edge, Link};
use crate::observe::access::{Format, Record};
use crate::observe::stats::WorkerStats;
use crate::observe::writer::{LogSettings, SinkTarget, Writer};
use crate::session::Journal;
use crate::site::Site;
use crate::tls::client::Departure;
use crate::upstream::names::Names;
use crate::worker::core::{Core, Net};
use crate::worker::shared::{Mail, NewSite, Shared};
use crate::worker::{Entrance, Room};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// The request that most tests use.
pub(super) const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
/// Its answer.
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// An event: bytes can be read.
pub(super) const READABLE: Edge = Edge { readable: true, writable: false, read_closed: false, urgent: false, gone: false };
/// An event: the connect has succeeded.
pub(super) const WRITABLE: Edge = Edge { writable: true, readable: false, ..READABLE };
/// An event: the connection is gone, whatever its state was.
pub(super) const GONE: Edge = Edge { readable: true, writable: true, read_closed: true, urgent: false, gone: true };

/// The bytes and the state of a connection.
#[derive(Debug, Default)]
struct State {
    for_worker: Vec<u8>,
    from_worker: Vec<u8>,
    error: Option<i32>,
    is_lost: bool,
    is_closed: bool,
}

/// A simulated connection; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire(Arc<Mutex<State>>);

impl Wire {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Sends bytes to the worker, without an event.
    pub(super) fn put(&self, bytes: &str) {
        self.lock().for_worker.extend_from_slice(bytes.as_bytes());
    }

    /// What the worker has sent since the last call.
    pub(super) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.lock().from_worker)).unwrap()
    }

    /// Sets the error that the worker's end will report.
    pub(super) fn fail(&self, code: i32) {
        self.lock().error = Some(code);
    }

    /// The other end is gone.
    pub(super) fn lose(&self) {
        self.lock().is_lost = true;
    }

    /// Whether the worker has closed its end.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }
}

/// The worker's end of a connection.
pub(super) struct End(Wire);

impl Socket for End {
    type Pipe = ();

    fn pour_in(&mut self, (): &mut (), _: usize) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    fn pour_out(&mut self, (): &mut (), _: usize) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    fn peek(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    fn read(&mut self, into: &mut [IoSliceMut]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let n = io::Read::read_vectored(&mut &state.for_worker[..], into)?;
        state.for_worker.drain(..n);
        match n {
            0 if state.is_lost => Err(ErrorKind::ConnectionReset.into()),
            0 => Err(ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    fn write(&mut self, from: &[IoSlice]) -> io::Result<usize> {
        io::Write::write_vectored(&mut self.0.lock().from_worker, from)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&mut self) {}

    fn take_error(&mut self) -> Option<io::Error> {
        self.0.lock().error.take().map(io::Error::from_raw_os_error)
    }

    fn is_delivered(&self) -> bool {
        true
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
    }
}

/// A connection that a worker makes.
#[derive(Clone)]
pub(super) struct Dialled {
    pub(super) key: usize,
    pub(super) port: u16,
    pub(super) wire: Wire,
}

/// A network in which every connect is pending until the test decides its outcome.
#[derive(Default)]
pub(super) struct Wires {
    pub(super) dialled: Vec<Dialled>,
}

impl Net for Wires {
    type Transport = PlainTransport<End>;

    fn pipe(&mut self) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn dial(&mut self, address: &Address, _: Option<Departure>, source: Source) -> io::Result<PlainTransport<End>> {
        let Source::Upstream(key) = source else { return Err(ErrorKind::Unsupported.into()) };
        let wire = Wire::default();
        self.dialled.push(Dialled { key, port: address.port().expect("TCP"), wire: wire.clone() });
        Ok(PlainTransport::dialled(End(wire)))
    }

    fn register(&mut self, _: &PlainTransport<End>, _: Source) -> io::Result<()> {
        Ok(())
    }
}

struct NoBell;

impl Wake for NoBell {
    fn wake(&self) {}
}

struct NoJournal;

impl Journal for NoJournal {
    fn is_on(&self) -> bool {
        false
    }

    fn line(&mut self, _: &Record) {}
}

/// A client's connection.
pub(super) struct Guest {
    pub(super) worker: usize,
    pub(super) key: usize,
    pub(super) wire: Wire,
}

/// Several workers with what they share.
pub(super) struct Stage {
    pub(super) cores: Vec<Core<Wires>>,
    pub(super) shared: Arc<Shared>,
    pub(super) door: Arc<Door>,
    site: Arc<Site>,
    micros: u64,
}

impl Stage {
    /// Makes `workers` workers, and upstreams at the ports 1, 2 and so on.
    pub(super) fn new(workers: usize, upstreams: u16, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = load(ConfigSources { alone: true, ..ConfigSources::default() }).unwrap_or_else(|_| unreachable!()).config;
        let upstream = |port| UpstreamConfig {
            name: format!("{port}"),
            origin: Origin::tcp("127.0.0.1", port),
            weight: 1,
            is_checked: true,
            is_backup: false,
            send_proxy: None,
        };
        config.pools[0].upstreams = (1..=upstreams).map(upstream).collect();
        change(&mut config);
        let door = Arc::new(Door::new(config.limits.max_client_conns, workers));
        crate::balance::tests::begin_with_the_first();
        let site = Arc::new(Site::new(config, workers, None, &Names::default(), 0));
        let stats: Vec<_> = (0..workers).map(|_| Arc::new(WorkerStats::default())).collect();
        let shared = Arc::new(Shared {
            mailboxes: (0..workers).map(|_| Mailbox::new(Box::new(NoBell))).collect(),
            descriptors: Arc::new(Descriptors::new(1000, 0)),
            connections: Default::default(),
            starved: Paused::new(workers),
            starving: Default::default(),
            is_held_up: Default::default(),
            admin: Arc::new(admin_state(stats)),
            running: AtomicUsize::new(workers),
            renderer: channel().0,
            resolver: OnceLock::new(),
        });
        let core = |worker| Core::new(worker, Wires::default(), Box::new(NoJournal), shared.clone(), Rc::new(site.clone()), 1);
        let mut stage = Self { cores: (0..workers).map(core).collect(), shared, door, site, micros: 1_000_000 };
        stage.wait(0);
        stage
    }

    /// Lets time pass, and begins a turn in every worker.
    pub(super) fn wait(&mut self, ms: u64) {
        self.micros += ms * 1000;
        let now = Now::new(self.micros, 0);
        self.cores.iter_mut().for_each(|core| core.begin_turn(now));
    }

    /// Connects a client.
    pub(super) fn accept(&mut self, worker: usize) -> Guest {
        let (stay, descriptor) = (self.door.try_enter().unwrap(), self.shared.descriptors.admit_client(0).unwrap());
        let seat = |core: &mut Core<Wires>, link, peer, entrance| core.admit(link, peer, entrance, stay);
        self.seat(worker, self.door.clone(), descriptor, seat)
    }

    /// Connects a client that has too many connections.
    pub(super) fn refuse(&mut self, worker: usize, door: &Arc<Door>) -> Guest {
        let descriptor = self.shared.descriptors.enter_anyway();
        let seat = |core: &mut Core<Wires>, link, peer, entrance| core.refuse(link, peer, entrance);
        self.seat(worker, door.clone(), descriptor, seat)
    }

    fn seat(
        &mut self,
        worker: usize,
        door: Arc<Door>,
        descriptor: Descriptor,
        seat: impl FnOnce(&mut Core<Wires>, Link<PlainTransport<End>>, Peer, Rc<Entrance>),
    ) -> Guest {
        let (wire, key) = (Wire::default(), self.cores[worker].clients.vacant_key());
        let service = Service::of_site(self.cores[worker].stats.clone());
        let entrance = Rc::new(Entrance { door, port: Some(80), arrival: Arc::default(), service });
        let link = Link::new(PlainTransport::accepted(End(wire.clone())), descriptor);
        seat(&mut self.cores[worker], link, Peer::of([10, 0, 0, 1].into(), Some(1)), entrance);
        Guest { worker, key, wire }
    }

    /// Sends bytes of a client.
    pub(super) fn send(&mut self, guest: &Guest, bytes: &str) {
        guest.wire.put(bytes);
        self.cores[guest.worker].on_client_edge(guest.key, READABLE);
    }

    /// The newest upstream connection of a worker.
    pub(super) fn newest(&self, worker: usize) -> Dialled {
        self.cores[worker].net.dialled.last().cloned().expect("nothing was dialled")
    }

    /// Sends a request, which goes to an upstream over a new connection.
    pub(super) fn ask(&mut self, guest: &Guest) -> Dialled {
        self.send(guest, GET);
        self.settle();
        let dialled = self.newest(guest.worker);
        self.edge(guest.worker, &dialled, WRITABLE);
        self.settle();
        assert!(dialled.wire.take().starts_with("GET /a "), "it is not asked");
        dialled
    }

    /// The same, over the connection that the worker has.
    pub(super) fn again(&mut self, guest: &Guest) -> Dialled {
        self.send(guest, GET);
        self.settle();
        let dialled = self.newest(guest.worker);
        assert!(dialled.wire.take().starts_with("GET /a "), "it is not asked");
        dialled
    }

    /// Sends bytes of an upstream.
    pub(super) fn answer(&mut self, worker: usize, dialled: &Dialled, bytes: &str) {
        dialled.wire.put(bytes);
        self.edge(worker, dialled, READABLE);
    }

    /// Delivers an event for an upstream connection.
    pub(super) fn edge(&mut self, worker: usize, dialled: &Dialled, edge: Edge) {
        self.cores[worker].on_upstream_edge(dialled.key, edge);
    }

    /// Runs turns until no worker has anything to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..20 {
            self.wait(0);
            (0..self.cores.len()).for_each(|worker| self.turn(worker));
        }
    }

    /// What a worker does in a turn after its events.
    pub(super) fn turn(&mut self, worker: usize) {
        let mut letters = Vec::new();
        self.shared.mailboxes[worker].collect(&mut letters);
        let core = &mut self.cores[worker];
        letters.into_iter().for_each(|mail| core.on_mail(mail));
        core.pump_ready();
        core.expire(|_, _| {});
        core.end_turn();
        let now = core.turn.now;
        core.begin_rests(|| now);
        core.check_keys();
    }

    /// Makes a new site, of which the workers are not told yet.
    pub(super) fn reload(&mut self, change: impl FnOnce(&mut Config)) -> Arc<Site> {
        let mut config = Config::clone(&self.site.config);
        change(&mut config);
        let site = Arc::new(Site::new(config, self.cores.len(), Some(&self.site), &Names::default(), 0));
        self.site.retire(&site);
        self.site = site.clone();
        site
    }

    /// Tells a worker about a site.
    pub(super) fn tell(&mut self, worker: usize, site: &Arc<Site>) {
        let new = NewSite { site: site.clone(), opened: Vec::new(), arrivals: Vec::new(), closed: Vec::new() };
        self.cores[worker].on_mail(Mail::Site(Box::new(new)));
    }

    /// A new connection at that worker and address finds no descriptor.
    pub(super) fn make_room(&mut self, worker: usize, door: &Arc<Door>) -> Room {
        self.cores[worker].make_room(door, true)
    }

    /// How many descriptors clients have.
    pub(super) fn open_clients(&self) -> usize {
        self.cores.iter().map(|core| core.clients.len()).sum()
    }
}

fn admin_state(stats: Vec<Arc<WorkerStats>>) -> AdminState {
    static WRITER: OnceLock<Arc<Writer>> = OnceLock::new();
    let settings = || LogSettings { access: None, format: Format::Text, errors: SinkTarget::StandardError, rotate: None };
    let writer = WRITER.get_or_init(|| Arc::new(Writer::start(settings()).unwrap())).clone();
    AdminState { started_up: AtomicBool::new(true), ..AdminState::new(stats, Vec::new(), writer) }
}
