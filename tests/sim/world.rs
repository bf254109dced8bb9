//! One seed's world: workers, wires, clients and origins, moved one random step at a time on a virtual clock.

mod beside;
mod turn;

use super::admin::AdminClient;
use super::checked::Checked;
use super::client::{Client, Quit};
use super::extras::{self, Extras};
use super::fair::{self, Fair};
use super::ledger::Books;
use super::ledger::Fault;
use super::many::{self, ManyClient};
use super::net::{DECOY, Roads, SimJournal, SimNet};
use super::origin::Origin;
use super::seen::{Seen, note};
use super::socket::writer;
use super::transport::SimTransport;
use super::weather::{AMPLE_DOORS, Weather};
use super::wire::{Id, Wires};
use ipnet::IpNet;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use tidegate::admin::AdminState;
use tidegate::base::address::Peer;
use tidegate::base::clock::Now;
use tidegate::base::mailbox::{Mailbox, Wake};
use tidegate::guard::descriptors::Descriptors;
use tidegate::guard::door::{Door, Paused};
use tidegate::observe::stats::WorkerStats;
use tidegate::site::Site;
use tidegate::upstream::names::Names;
use tidegate::worker::checks::Checks;
use tidegate::worker::core::Core;
use tidegate::worker::shared::{Mail, RenderJob, Shared};

pub type SimCore = Core<SimNet>;

/// Several times the steps that the longest world takes. A world that takes more has a fault.
const MAX_STEPS: u64 = 2_000_000;

struct Bell(Arc<AtomicBool>);

impl Wake for Bell {
    fn wake(&self) {
        self.0.store(true, SeqCst);
    }
}

/// A client in the kernel's queue.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer {
    id: Id,
    /// The last byte of its address.
    address: u8,
    /// Whether it has several requests at once.
    is_many: bool,
}

/// A worker, with what production keeps beside its core.
pub struct Seat {
    pub core: SimCore,
    bell: Arc<AtomicBool>,
    /// Clients in the kernel's queue.
    pub backlog: VecDeque<Newcomer>,
    /// The same, at the admin port.
    admin_backlog: VecDeque<Id>,
    /// Only those of the first worker have something to do.
    checks: Checks<SimTransport>,
    /// Sites that it was not told of yet.
    news: VecDeque<Arc<Site>>,
    phase: turn::Phase,
    is_vain: bool,
    transfers: u64,
    is_ready: bool,
    is_paused: bool,
    vain_turns: u32,
    vain_since: u64,
    fair: Fair,
}

/// The balancer's address.
pub const BALANCER: [u8; 4] = [10, 0, 0, 9];

/// Seeds from here on make worlds in which connections carry records.
pub const RECORD_SEEDS: u64 = 5_000_000_000;

/// Seeds from here on make worlds in which the balancer names each client in a header of the PROXY protocol.
pub const HEADER_SEEDS: u64 = 6_000_000_000;

/// Whose connections carry records.
#[derive(Clone, Copy, Debug)]
pub struct RecordsOf {
    pub clients: bool,
    pub origins: bool,
    /// All clients come through a balancer, whose preface names each.
    pub names_peers: bool,
    /// In headers of the PROXY protocol, which some origins expect as well.
    pub are_headers: bool,
}

impl RecordsOf {
    fn draw(seed: u64) -> Self {
        let is_of_headers = (HEADER_SEEDS..HEADER_SEEDS + 1_000_000_000).contains(&seed);
        let kind = if seed >= RECORD_SEEDS && !is_of_headers { seed % 3 } else { 3 };
        let clients = kind == 0 || kind == 2;
        Self {
            clients,
            origins: kind == 1 || kind == 2,
            are_headers: is_of_headers,
            names_peers: is_of_headers || (clients && (seed / 3).is_multiple_of(2)),
        }
    }
}

/// The world of one seed.
pub struct World {
    pub weather: Weather,
    pub extras: Extras,
    pub records: RecordsOf,
    /// The random generator of the extras.
    dice: fastrand::Rng,
    pub wires: Rc<RefCell<Wires>>,
    pub books: Rc<RefCell<Books>>,
    /// The newest.
    pub site: Arc<Site>,
    /// All sites so far.
    pub sites: Vec<Arc<Site>>,
    /// What names lead to.
    names: Names,
    pub shared: Arc<Shared>,
    /// The only listening address.
    pub door: Arc<Door>,
    pub admin_door: Arc<Door>,
    pub seats: Vec<Seat>,
    pub clients: Vec<Client>,
    arrivals: Vec<Client>,
    pub manys: Vec<ManyClient>,
    later_manys: Vec<ManyClient>,
    pub origins: Vec<Origin>,
    /// What addresses of no use do with requests.
    decoy_habit: Option<Fault>,
    pub admins: Vec<AdminClient>,
    checked: Vec<Checked>,
    rendering: VecDeque<RenderJob>,
    pub rng: fastrand::Rng,
    pub micros: u64,
    pub steps: u64,
    /// When the last client left (microseconds).
    pub busy_until: u64,
    live: Vec<Id>,
    jobs: mpsc::Receiver<RenderJob>,
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Turn(usize),
    Wire(Id),
    Client(usize),
    Origin(usize),
    Arrive,
    ArriveMany,
    Many(usize),
    ArriveAdmin,
    Admin(usize),
    Checked(usize),
    Render,
    /// A worker is told of a new site.
    News(usize),
}

impl World {
    pub fn new(seed: u64, trace: bool) -> Self {
        let records = RecordsOf::draw(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut weather = Weather::draw(&mut rng);
        if trace {
            println!("{weather:?}");
        }
        let mut dice = fastrand::Rng::with_seed(seed ^ 0x5eed_0000);
        let extras = Extras::draw(&weather, &mut dice);
        if extras.are_origins_well {
            let Weather { roads, jumps, leaves_idle, has_decoys, drain_at, .. } = &mut weather;
            (*roads, *jumps, *leaves_idle, *has_decoys, *drain_at) = (Roads::default(), false, false, false, None);
        }
        if trace {
            println!("{extras:?}");
        }
        let decoy_habit = weather.habit(seed);
        let mut config = weather.config(&mut rng);
        extras.configure(&mut config, weather.is_calm || weather.is_mild || extras.are_origins_well, &mut dice);
        if trace {
            println!("{:?}\n{:?}", config.timeouts, config.limits);
        }
        if records.names_peers {
            // Whoever asks for the balancer instead of the client believes what the client says of itself.
            config.trusted_proxies.networks.push(IpNet::from(IpAddr::from(BALANCER)));
        }
        if records.are_headers {
            extras::announce(&mut config);
        }
        let workers = weather.workers;
        let door = Arc::new(Door::new(weather.doors, workers));
        // The position at which a pool begins is random.
        fastrand::seed(seed);
        let mut names = Names::default();
        beside::numbers(&config).into_iter().for_each(|number| beside::give_address(&mut names, number, weather.has_decoys, 1));
        let site = Arc::new(Site::new(config, workers, None, &names, 5000));
        let bells: Vec<_> = (0..workers).map(|_| Arc::new(AtomicBool::new(false))).collect();
        let (renderer, jobs) = mpsc::channel();
        let stats = (0..workers).map(|_| Arc::new(WorkerStats::default())).collect();
        let shared = Arc::new(Shared {
            mailboxes: bells.iter().map(|bell| Mailbox::new(Box::new(Bell(bell.clone())))).collect(),
            running: AtomicUsize::new(workers),
            resolver: Default::default(),
            // The reserve is added.
            descriptors: Arc::new(Descriptors::new(weather.descriptors + 16, 0)),
            connections: Default::default(),
            starved: Paused::new(workers),
            starving: Default::default(),
            is_held_up: Default::default(),
            admin: Arc::new(AdminState { started_up: AtomicBool::new(true), ..AdminState::new(stats, Vec::new(), writer()) }),
            renderer,
        });
        let mut wires = Wires::new(rng.u64(..), weather.mtu, weather.max_buffer, trace);
        // A record layer takes a request before it knows whether the kernel does.
        wires.cramps = if weather.leaves_idle && !records.origins { 50 } else { 0 };
        wires.min_buffer = (weather.max_content / 10_000).max(1);
        let wires = Rc::new(RefCell::new(wires));
        let books = Rc::new(RefCell::new(Books { max_retries: weather.max_retries, ..Books::default() }));
        let seat = |(worker, bell): (usize, Arc<AtomicBool>)| {
            // The highest limit that a reload may set.
            let limit = if extras.reloads.is_empty() || weather.places > 3 { weather.places } else { 3 };
            let net = SimNet {
                wires: wires.clone(),
                books: books.clone(),
                worker,
                roads: weather.roads,
                limit,
                has_open_decoys: decoy_habit.is_some(),
                has_records: records.origins,
                has_headers: records.are_headers,
            };
            let journal = Box::new(SimJournal(books.clone()));
            let mut core = Core::new(worker, net, journal, shared.clone(), Rc::new(site.clone()), seed + worker as u64);
            // So that bodies of this size go through pipes in some worlds.
            core.long_run = [16_384, 60_000, core.long_run][seed as usize % 3];
            Seat {
                core,
                bell,
                backlog: VecDeque::new(),
                admin_backlog: VecDeque::new(),
                checks: Checks::new(seed, shared.descriptors.clone()),
                news: VecDeque::new(),
                phase: turn::Phase::Poll,
                is_vain: false,
                transfers: 0,
                is_ready: false,
                is_paused: false,
                vain_turns: 0,
                vain_since: 0,
                fair: Fair::default(),
            }
        };
        let mut seats: Vec<Seat> = bells.into_iter().enumerate().map(seat).collect();
        seats[0].checks.take_site(&site, 5000);
        let mut next_nonce = 1;
        let mut arrivals: Vec<Client> =
            (0..weather.clients).map(|_| weather.client(&extras, &mut next_nonce, &mut books.borrow_mut(), &mut rng, &mut dice)).collect();
        if records.clients && weather.doors < AMPLE_DOORS {
            // Near the limit only few connections linger, and every client sends something after its last request: its close.
            books.borrow_mut().entries.values_mut().for_each(|entry| entry.is_sure = false);
        }
        arrivals.extend(extras::greedy(&weather, seed, &mut books.borrow_mut()));
        let later_manys = many::draw(&weather, &extras, seed, &mut books.borrow_mut());
        Self {
            weather,
            extras,
            records,
            dice,
            wires,
            books,
            sites: vec![site.clone()],
            names,
            site,
            shared,
            door,
            admin_door: Arc::new(Door::new(100, workers)),
            seats,
            clients: Vec::new(),
            arrivals,
            manys: Vec::new(),
            later_manys,
            origins: Vec::new(),
            decoy_habit,
            admins: Vec::new(),
            checked: Vec::new(),
            rendering: VecDeque::new(),
            rng,
            micros: 5_000_000,
            steps: 0,
            busy_until: 0,
            live: Vec::new(),
            jobs,
        }
    }

    /// Runs until nothing can happen any more.
    pub fn run(&mut self) {
        let mut choices = Vec::new();
        let is_huge = self.weather.max_content > 1_000_000;
        loop {
            self.steps += 1;
            assert!(self.steps < MAX_STEPS, "the world does not come to rest after {MAX_STEPS} steps; what still moves: {}", self.moving());
            if self.weather.drain_at == Some(self.steps) {
                self.drain();
            }
            self.go_on_beside();
            self.choices(&mut choices);
            let spurious = self.rng.u8(0..200);
            match choices.get(self.rng.usize(0..choices.len().max(1))) {
                Some(_) if spurious == 0 => self.disturb(),
                // Where bodies are huge, turns are delayed, so that workers find more than they may move at once.
                Some(Step::Turn(_)) if is_huge && choices.len() > 1 && spurious > 10 => {}
                Some(&step) => self.step(step),
                None if self.sleep() => {}
                None => break,
            }
            if self.clients.iter().any(|client| !client.is_gone) || self.manys.iter().any(|client| !client.is_gone) {
                self.busy_until = self.micros;
            }
            // Records take more steps, and no one must be late for that.
            let most = if self.records.clients || self.records.origins { 1 } else { 2 };
            self.micros += self.rng.u64(0..3).min(most);
            if self.weather.jumps && self.rng.u16(0..500) == 0 {
                self.micros += self.rng.u64(0..1_500_000);
            }
        }
        self.check_end();
    }

    fn now(&self) -> Now {
        Now::new(self.micros, 1_700_000_000_000 + self.micros / 1000)
    }

    fn choices(&mut self, choices: &mut Vec<Step>) {
        choices.clear();
        let (wires, now) = (self.wires.borrow(), self.micros);
        for (worker, seat) in self.seats.iter().enumerate() {
            let wakes = [seat.core.next_wake(), seat.checks.next_wake()];
            let is_due = wakes.into_iter().flatten().any(|wake| wake * 1000 <= now) || seat.phase != turn::Phase::Poll;
            let accepts = (seat.is_ready && !seat.is_paused) || !seat.admin_backlog.is_empty();
            if is_due || accepts || seat.core.is_behind() || seat.bell.load(SeqCst) || wires.has_edge(worker) {
                choices.push(Step::Turn(worker));
            }
        }
        choices.extend(self.live.iter().filter(|&&id| wires.moves(id)).map(|&id| Step::Wire(id)));
        choices.extend((0..self.clients.len()).filter(|&i| self.clients[i].can_act(&wires, now)).map(Step::Client));
        choices.extend((0..self.origins.len()).filter(|&i| self.origins[i].can_act(&wires, now)).map(Step::Origin));
        choices.extend((!self.arrivals.is_empty()).then_some(Step::Arrive));
        choices.extend((!self.later_manys.is_empty()).then_some(Step::ArriveMany));
        choices.extend((0..self.manys.len()).filter(|&i| self.manys[i].can_act(&wires, now)).map(Step::Many));
        choices.extend((0..self.admins.len()).filter(|&i| self.admins[i].can_act(&wires)).map(Step::Admin));
        choices.extend((0..self.checked.len()).filter(|&i| self.checked[i].can_act(&wires)).map(Step::Checked));
        choices.extend((self.extras.admins > self.admins.len()).then_some(Step::ArriveAdmin));
        // Pages take time, and the client may have left meanwhile.
        let is_made = choices.is_empty() || self.dice.u8(0..20) == 0;
        choices.extend((is_made && !self.rendering.is_empty()).then_some(Step::Render));
        // Some workers are told late.
        let is_told = choices.is_empty() || self.dice.u8(0..20) == 0;
        choices.extend((0..self.seats.len()).filter(|&worker| is_told && !self.seats[worker].news.is_empty()).map(Step::News));
    }

    fn step(&mut self, step: Step) {
        if self.wires.borrow().trace {
            println!("{:>6} {:>9.3} ms {step:?}", self.steps, (self.micros - 5_000_000) as f64 / 1000.0);
        }
        let now = self.micros;
        match step {
            Step::Turn(worker) => self.turn(worker),
            Step::Wire(id) => self.wires.borrow_mut().step(id),
            Step::Client(index) => self.clients[index].act(&mut self.wires.borrow_mut(), &mut self.books.borrow_mut(), now),
            Step::Origin(index) => self.origins[index].act(&mut self.wires.borrow_mut(), &mut self.books.borrow_mut(), now),
            Step::Arrive => self.arrive(),
            Step::ArriveMany => self.arrive_many(),
            Step::Many(index) => self.manys[index].act(&mut self.wires.borrow_mut(), &mut self.books.borrow_mut(), now),
            Step::ArriveAdmin => self.arrive_admin(),
            Step::Admin(index) => self.admins[index].act(&mut self.wires.borrow_mut()),
            Step::Checked(index) => self.checked[index].act(&mut self.wires.borrow_mut()),
            Step::Render => self.render(),
            Step::News(worker) => self.tell(worker),
        }
        self.meet_origins();
    }

    /// A client's handshake is complete: it is in one worker's accept queue.
    fn arrive(&mut self) {
        let mut client = self.arrivals.pop().unwrap();
        let worker = self.rng.usize(0..self.seats.len());
        client.id = self.come(worker, client.quit, (client.address, false));
        self.clients.push(client);
    }

    fn arrive_many(&mut self) {
        let mut client = self.later_manys.pop().unwrap();
        let worker = self.dice.usize(0..self.seats.len());
        client.id = self.come(worker, client.quit, (client.address, true));
        self.manys.push(client);
    }

    fn come(&mut self, worker: usize, quit: Quit, (address, is_many): (u8, bool)) -> Id {
        let mut wires = self.wires.borrow_mut();
        let id = wires.open(worker, None, None);
        let peer = self.records.names_peers.then(|| SocketAddr::from(([10, 9, 8, address], 2000 + id as u16)));
        if self.records.clients {
            let may_be_mute = matches!(quit, Quit::MuteAfter(_) | Quit::DeafAfter(_));
            let greets = !may_be_mute || wires.lots.bool();
            wires.speak_records(id, greets, peer.map(Peer::from));
        } else if let Some(peer) = peer {
            wires.announce(id, peer);
        }
        self.live.push(id);
        self.seats[worker].backlog.push_back(Newcomer { id, address, is_many });
        self.seats[worker].is_ready = true;
        id
    }

    /// Connections that the proxy made get an origin.
    fn meet_origins(&mut self) {
        let dialled = std::mem::take(&mut self.books.borrow_mut().dialled);
        for id in dialled {
            self.live.push(id);
            if self.is_check(id) {
                self.meet_check(id);
                continue;
            }
            let mut origin = Origin::new(id, self.wires.borrow().conns[id].server.unwrap());
            let is_decoy = self.wires.borrow().conns[id].host == DECOY;
            origin.habit = self.decoy_habit.filter(|_| is_decoy);
            let rng = &mut self.rng;
            origin.grain = [1, 50, 2000, usize::MAX][rng.usize(0..4)].max(self.weather.max_content / 300);
            origin.sip = [1, 50, 2000, usize::MAX][rng.usize(0..4)].max(self.weather.max_content / 300);
            origin.patience = self.weather.patience(rng);
            origin.crosses = (self.weather.leaves_idle && rng.bool()).then(|| [0, 100, 5000, 20_000, 60_000][rng.usize(0..5)]);
            origin.interrupts = self.weather.leaves_idle && !self.weather.is_calm && self.dice.u8(0..3) == 0;
            self.origins.push(origin);
        }
        let wires = self.wires.borrow();
        self.live.retain(|&id| !wires.conns[id].is_dropped || wires.moves(id) || wires.peer_hears(id));
    }

    fn disturb(&mut self) {
        if !self.live.is_empty() {
            let id = self.live[self.rng.usize(0..self.live.len())];
            self.wires.borrow_mut().disturb(id);
            self.wires.borrow_mut().peer_murmurs(id);
        }
    }

    /// Time jumps to whatever is due next. Returns false if nothing ever is.
    fn sleep(&mut self) -> bool {
        self.check_rest();
        self.seats.iter().for_each(|seat| fair::check_rest(&seat.core, &self.wires.borrow()));
        let now = self.micros;
        let wakes = self.seats.iter().flat_map(|seat| [seat.core.next_wake(), seat.checks.next_wake()]);
        let timers = wakes.flatten().map(|wake| wake * 1000);
        let manys = self.manys.iter().filter_map(|client| client.wake(now));
        let actors = self.clients.iter().filter_map(|client| client.wake(now)).chain(manys);
        let origins = self.origins.iter().filter_map(|origin| origin.wake(now));
        let Some(next) = timers.chain(actors).chain(origins).min() else { return false };
        self.micros = next.max(now);
        true
    }

    /// What could happen next.
    fn moving(&mut self) -> String {
        let mut choices = Vec::new();
        self.choices(&mut choices);
        format!("{choices:?}")
    }

    fn drain(&mut self) {
        note(Seen::Drained);
        for mailbox in &self.shared.mailboxes {
            mailbox.post(Mail::Drain);
        }
    }

    /// Everything there is, for a failure.
    pub fn describe(&self) -> String {
        let mut lines = vec![format!("{:?}", self.weather), format!("{:?}", self.extras), format!("at {} ms", self.micros / 1000)];
        lines.extend(self.clients.iter().map(Client::describe));
        lines.extend(self.manys.iter().map(ManyClient::describe));
        lines.extend(self.origins.iter().filter(|origin| !origin.is_gone).map(Origin::describe));
        for (worker, seat) in self.seats.iter().enumerate() {
            lines.push(format!("worker {worker}: next {:?}, backlog {:?}", seat.core.next_wake(), seat.backlog));
            for (key, client) in &seat.core.clients {
                let front = format!("{:?}", client.front);
                lines.push(format!("  client {key}: {}", &front[..front.len().min(60)]));
            }
        }
        lines.join("\n")
    }
}
