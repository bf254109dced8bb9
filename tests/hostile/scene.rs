//! The production worker with peers on connections in memory and a virtual clock; it settles after each operation.

use super::net::{Journal, Net};
use super::peer::Peer;
use super::script::{Act, CLIENTS, Op, Road, Script, Setting, Who};
use crate::sim::fair::{self, Fair};
use crate::sim::socket::{SimSocket, Taken, writer};
use crate::sim::wire::Wires;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock, mpsc};
use tidegate::admin::AdminState;
use tidegate::base::clock::Now;
use tidegate::base::mailbox::{Mailbox, Wake};
use tidegate::config::model::{Action, Config, Matcher, Retry, Route, UpstreamConfig};
use tidegate::config::{ConfigSources, load};
use tidegate::guard::descriptors::Descriptors;
use tidegate::guard::door::{Door, Paused};
use tidegate::machine::service::Service;
use tidegate::net::token::Source;
use tidegate::net::transport::Link;
use tidegate::net::transport::plain::PlainTransport;
use tidegate::observe::stats::WorkerStats;
use tidegate::site::Site;
use tidegate::upstream::names::{Names, in_order};
use tidegate::worker::Entrance;
use tidegate::worker::core::Core;
use tidegate::worker::shared::Shared;

/// How many rounds of peers, network and worker may pass until nothing moves: the smallest buffers take one byte.
const MAX_ROUNDS: u32 = 400_000;
/// How many turns of the worker in a row may move nothing.
const MAX_VAIN_TURNS: u32 = 20;
/// How many bytes an exchange may hold besides its two rings: one scratch buffer, and what heads and error pages take.
const MAX_BESIDE: usize = 256 * 1024 + 32 * 1024;

/// The worker and everything around it.
pub struct Scene {
    pub core: Core<Net>,
    pub site: Arc<Site>,
    pub wires: Rc<RefCell<Wires>>,
    pub clients: Vec<Peer>,
    pub upstreams: Vec<Peer>,
    /// Parallel to these: everything that was written to them.
    pub taken: Vec<Taken>,
    slots: [Option<usize>; CLIENTS],
    /// What an upstream sends that nobody has connected to yet.
    early: Vec<Act>,
    road: Rc<Cell<Road>>,
    dialled: Rc<RefCell<Vec<(usize, Taken)>>>,
    door: Arc<Door>,
    micros: u64,
    fair: Fair,
    _jobs: mpsc::Receiver<tidegate::worker::shared::RenderJob>,
}

struct Deaf;

impl Wake for Deaf {
    fn wake(&self) {}
}

fn config(setting: Setting) -> Config {
    static DEFAULTS: OnceLock<Config> = OnceLock::new();
    let defaults =
        || load(ConfigSources { alone: true, ..ConfigSources::default() }).map_err(|_| "the defaults do not load").unwrap().config;
    let mut config = DEFAULTS.get_or_init(defaults).clone();
    let limits = &mut config.limits;
    (limits.buffer_size, limits.max_body_size) = (4096, setting.max_body_size);
    // Counted, but never reached.
    limits.max_conns_per_client = 1000;
    if setting.has_narrow_limits {
        (limits.max_request_line, limits.max_header_size, limits.max_headers, limits.max_total_headers) = (300, 500, 12, 1500);
    }
    for pool in &mut config.pools {
        (pool.limits.max_conns_per_upstream, pool.limits.upstream_idle_conns) = (setting.places, setting.idle);
    }
    let timeouts = &mut config.timeouts;
    (timeouts.connect_ms, timeouts.queue_ms, timeouts.total_ms) = (500, 700, setting.total_ms);
    (timeouts.read_ms, timeouts.write_ms, timeouts.tunnel_idle_ms) = (1000, 1000, 3000);
    (timeouts.client_request_line_ms, timeouts.client_header_ms, timeouts.client_body_ms) = (1000, 1500, 1500);
    (timeouts.client_write_ms, timeouts.client_keepalive_ms, timeouts.upstream_keepalive_ms) = (2000, 5000, 2000);
    let name = |index: usize| format!("origin-{index}");
    let upstream = |index| UpstreamConfig {
        name: name(index),
        origin: tidegate::config::model::Origin::tcp(&format!("{}.test", name(index)), 80),
        weight: 1,
        is_checked: true,
        is_backup: false,
        send_proxy: None,
    };
    config.pools[0].upstreams = (0..setting.servers).map(upstream).collect();
    config.pools[0].timeouts = config.timeouts.clone();
    config.pools[0].retry.statuses = [503].into_iter().collect();
    let actions = [
        ("/echo", Action::Echo { name: "scene".into() }),
        ("/respond", Action::Respond { status: 200, body: "fixed".into() }),
        ("/nowhere", Action::Unbuilt),
    ];
    let route = |(prefix, action): (&str, Action)| Route {
        name: prefix.into(),
        matcher: Matcher { path_prefix: Some(prefix.into()), ..Matcher::default() },
        action,
        timeouts: config.timeouts.clone(),
        retry: Retry::default(),
        owns_budget: false,
        rate_limit: None,
        access_log: true,
        max_body_size: setting.max_body_size,
    };
    config.routes = actions.into_iter().map(route).collect();
    config
}

impl Scene {
    pub fn new(setting: Setting) -> Self {
        Self::with(setting, |_| {})
    }

    /// A scene with other settings than its kind has.
    pub fn with(setting: Setting, change: impl FnOnce(&mut Config)) -> Self {
        fastrand::seed(1);
        let mut config = config(setting);
        change(&mut config);
        let mut names = Names::default();
        for index in 0..setting.servers {
            names.set(format!("origin-{index}.test").into(), in_order(vec![SocketAddr::from(([10, 0, index as u8, 1], 80)).into()]));
        }
        let site = Arc::new(Site::new(config, 1, None, &names, 0));
        let (renderer, jobs) = mpsc::channel();
        let admin = AdminState {
            started_up: AtomicBool::new(true),
            ..AdminState::new(vec![Arc::new(WorkerStats::default())], Vec::new(), writer())
        };
        let shared = Arc::new(Shared {
            mailboxes: vec![Mailbox::new(Box::new(Deaf))],
            running: AtomicUsize::new(1),
            resolver: Default::default(),
            descriptors: Arc::new(Descriptors::new(1000, 0)),
            connections: Default::default(),
            starved: Paused::new(1),
            starving: Default::default(),
            is_held_up: Default::default(),
            admin: Arc::new(admin),
            renderer,
        });
        let mut wires = Wires::new(setting.seed, setting.mtu, setting.max_buffer, false);
        wires.bustle = 0;
        let (wires, road, dialled) = (Rc::new(RefCell::new(wires)), Rc::new(Cell::new(Road::Open)), Rc::default());
        let net = Net { wires: wires.clone(), road: road.clone(), dialled: Rc::clone(&dialled) };
        Self {
            core: Core::new(0, net, Box::new(Journal), shared, Rc::new(site.clone()), setting.seed),
            site,
            wires,
            clients: Vec::new(),
            upstreams: Vec::new(),
            taken: Vec::new(),
            slots: [None; CLIENTS],
            early: Vec::new(),
            road,
            dialled,
            door: Arc::new(Door::new(1000, 1)),
            micros: 5_000_000,
            fair: Fair::default(),
            _jobs: jobs,
        }
    }

    pub fn play(&mut self, script: &Script) {
        for (op, rests) in &script.ops {
            match op {
                Op::Act(Who::Client(index), act) => {
                    let client = self.client(*index);
                    self.clients[client].perform(act, &mut self.wires.borrow_mut());
                }
                Op::Act(Who::Upstream(back), act) => match self.upstream(*back) {
                    Some(upstream) => self.upstreams[upstream].perform(act, &mut self.wires.borrow_mut()),
                    None => self.early.push(act.clone()),
                },
                Op::Wait(ms) => self.pass(*ms),
                Op::Road(road) => self.road.set(*road),
            }
            if *rests {
                self.rest();
            }
        }
    }

    /// Lets everybody read on and time pass until nothing is due: no connection may outlive that.
    pub fn end(&mut self) {
        self.clients.iter_mut().chain(&mut self.upstreams).for_each(Peer::read_on);
        self.rest();
        let mut wakes = 0;
        while let Some(wake) = self.core.next_wake() {
            wakes += 1;
            assert!(wakes < 2000, "it never ends");
            self.micros = self.micros.max(wake * 1000);
            self.rest();
        }
        self.check_end();
    }

    /// That client's connection; a new one if it has none or left the last one.
    pub fn client(&mut self, index: usize) -> usize {
        if let Some(client) = self.slots[index].filter(|&client| !self.clients[client].has_left) {
            return client;
        }
        let id = self.wires.borrow_mut().open(0, None, None);
        self.clients.push(Peer::new(id));
        self.slots[index] = Some(self.clients.len() - 1);
        let socket = SimSocket { wires: self.wires.clone(), id, taken: None };
        let (peer, entrance) = (
            SocketAddr::from(([10, 9, 8, 7], 1000)).into(),
            Rc::new(Entrance {
                door: self.door.clone(),
                port: Some(8080),
                arrival: Arc::default(),
                service: Service::of_site(self.core.stats.clone()),
            }),
        );
        let stay = self.door.try_enter().expect("a place");
        let link = Link::new(PlainTransport::accepted(socket), self.core.shared.descriptors.admit_client(0).expect("a descriptor"));
        self.core.begin_turn(Now::new(self.micros, 1_700_000_000_000));
        self.core.admit(link, peer, entrance, stay);
        self.clients.len() - 1
    }

    fn upstream(&self, back: usize) -> Option<usize> {
        let wires = self.wires.borrow();
        let is_open = |&index: &usize| !self.upstreams[index].has_left && !wires.conns[self.upstreams[index].id].is_dropped;
        (0..self.upstreams.len()).rev().filter(is_open).nth(back)
    }

    pub fn pass(&mut self, ms: u64) {
        let end = self.micros + ms * 1000;
        while let Some(wake) = self.core.next_wake().filter(|wake| wake * 1000 <= end) {
            self.micros = self.micros.max(wake * 1000);
            self.rest();
        }
        self.micros = end;
    }

    /// Runs until nothing moves at this moment.
    pub fn rest(&mut self) {
        let mut vain_turns = 0;
        for round in 0.. {
            assert!(round < MAX_ROUNDS, "the world does not come to rest");
            let mut moved = self.move_peers();
            let is_due = self.core.next_wake().is_some_and(|wake| wake * 1000 <= self.micros);
            if is_due || self.core.is_behind() || self.wires.borrow().has_edge(0) {
                let before = self.wires.borrow().transfers;
                self.turn();
                let is_vain = !moved && self.wires.borrow().transfers == before;
                vain_turns = if is_vain { vain_turns + 1 } else { 0 };
                assert!(vain_turns < MAX_VAIN_TURNS, "the worker spins");
                moved = true;
            }
            if !moved {
                fair::check_rest(&self.core, &self.wires.borrow());
                return;
            }
        }
    }

    fn move_peers(&mut self) -> bool {
        let mut wires = self.wires.borrow_mut();
        let mut moved = false;
        for (id, taken) in self.dialled.borrow_mut().drain(..) {
            let mut peer = Peer::new(id);
            self.early.drain(..).for_each(|act| peer.perform(&act, &mut wires));
            self.upstreams.push(peer);
            self.taken.push(taken);
            moved = true;
        }
        for peer in self.clients.iter_mut().chain(&mut self.upstreams) {
            moved |= peer.act(&mut wires);
        }
        for id in 0..wires.conns.len() {
            while wires.moves(id) {
                wires.step(id);
                moved = true;
            }
        }
        moved
    }

    /// A turn of the worker, as `worker::mod` has it around the same core.
    fn turn(&mut self) {
        let mut edges = Vec::new();
        self.wires.borrow_mut().poll(0, &mut edges);
        let core = &mut self.core;
        self.fair.begin(core, &self.wires.borrow());
        core.begin_turn(Now::new(self.micros, 1_700_000_000_000 + self.micros / 1000));
        for (source, edge) in edges {
            match source {
                Source::Client(key) => core.on_client_edge(key, edge),
                Source::Upstream(key) => core.on_upstream_edge(key, edge),
                other => panic!("{other:?} is nothing that this network knows"),
            }
        }
        core.pump_ready();
        core.expire(|_, _| {});
        core.end_turn();
        core.begin_rests(|| Now::new(self.micros, 1_700_000_000_000 + self.micros / 1000));
        core.check_keys();
        assert!(!core.shared.mailboxes[0].is_full(), "a letter to the only worker");
        self.fair.end(core, &self.wires.borrow());
        self.check_turn();
    }

    fn check_turn(&self) {
        let (core, limits) = (&self.core, &self.site.config.limits);
        let largest = limits.buffer_size.max(limits.max_total_headers);
        let queued = core.talks.iter().filter(|(_, talk)| talk.exchange.is_queued()).count() as u64;
        for (key, client) in &core.clients {
            let view = core.view(key);
            view.check();
            let largest_ring =
                view.exchange().map_or(0, |x| x.up.ring.capacity().max(x.down.ring.capacity())).max(client.front.ring.capacity());
            assert!(largest_ring <= largest, "a ring is too large");
            if let Some(exchange) = view.exchange() {
                let beside = exchange.down.pending() + exchange.up.pending();
                assert!(beside <= 2 * largest + MAX_BESIDE, "{beside} bytes wait");
            } else {
                assert!(client.front.ring.capacity() == 0 || !client.front.ring.is_empty(), "an idle client holds a ring");
            }
            // A request that rejoins the queue after its deadline fails in the next millisecond.
            let is_back = view.exchange().is_some_and(|x| x.is_queued());
            let is_timely = view.next_deadline().is_none_or(|due| due > self.micros / 1000);
            assert!(is_timely || is_back, "a deadline has passed: {:?}", client.front);
        }
        assert_eq!(core.stats.queued_requests.value(), queued, "the gauge of queued requests");
        assert_eq!(core.stats.client_connections.value(), core.clients.len() as u64, "the gauge of clients");
        let in_use: u64 = self
            .site
            .servers()
            .map(|(_, server)| &server.cells[0])
            .map(|cell| cell.active.value() + cell.idle.value() + cell.tunnels.value())
            .sum();
        assert_eq!(in_use, core.upstreams.len() as u64, "the gauges of upstream connections");
        for (_, server) in self.site.servers() {
            let (places, most) = (&server.places, server.most());
            assert!(places.taken() <= most.connections, "more connections than places");
            assert!(places.partial() <= most.half(), "more than half of the places without content");
        }
    }

    fn check_end(&self) {
        let core = &self.core;
        assert!(core.clients.is_empty(), "clients are left, and nothing is due");
        assert!(core.upstreams.is_empty(), "upstream connections are left");
        assert!(core.talks.is_empty(), "exchanges are left");
        assert!(!core.is_behind());
        assert_eq!((core.stats.client_connections.value(), core.stats.resting_clients.value()), (0, 0));
        for (pool, server) in self.site.servers() {
            let places = &server.places;
            assert_eq!((places.taken(), places.partial(), places.tunnels()), (0, 0, 0), "places of {}", server.config.name);
            assert!(pool.queue.is_empty(), "somebody is queued still");
        }
        let descriptors = format!("{:?}", core.shared.descriptors);
        assert!(descriptors.contains("clients: 0, upstreams: 0"), "{descriptors}");
        assert!(core.shared.connections.is_empty(), "a client is counted that has gone");
        assert!(format!("{:?}", self.door).contains("places: Gate(0)"), "a place at the door is left");
    }
}
